"""Each alarm of the template fires when what it watches for happens, with data as late as CloudWatch's are; it goes
back, and is silent when all goes well. `tests.cloudwatch` is the model of CloudWatch.

To try one more alarm: how it is set off stands in CAUSES, what it has to be silent about in PASSING.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from functions.detach_volume.handler import lambda_handler as detach_volume
from functions.receive_webhook.handler import lambda_handler as receive_webhook
from functions.report_dead_letter.handler import lambda_handler as report_dead_letter
from local.aws_stand_in import DEAD_LETTERS, AwsStandIn
from local.function_url import payload
from local.poller import LambdaContext
from shared.aws.client import SQS
from shared.bootstrap.dead_letters import dead_letters
from shared.bootstrap.detach import service
from shared.bootstrap.webhook import webhook_endpoint
from shared.decision.case import Requeue
from shared.policy import INVOCATION, LATE_LOOK, LATE_VERDICT, LONGEST_DELAY, MAX_RECEIVES, VISIBILITY
from shared.ports import Consumer, Event, NotTaken
from shared.service import Service
from shared.settings import SettingsError
from shared.telemetry.logs import SERVICE
from shared.telemetry.metrics import NAMESPACE, meters
from simulator import RUNNING, Behaviour, Fault, bodies, faults
from simulator.scenarios import CATALOGUE, SETTINGS, scenario_cloud
from simulator.scenarios.stage import PROMPT, Stage
from tests.cloudwatch import Alarm, Key, Lag, Timeline
from tests.contract.test_template import RESOURCES, TEMPLATE
from tests.messages import START, ours, sqs_record
from tests.simulation.measured import Measured, Samples

ROOT = Path(__file__).parents[2]
TIMEOUTS: Mapping[str, Mapping[str, int]] = TEMPLATE["Mappings"]["Timeouts"]


def with_timeout(value: Any, timeout: str) -> Any:
    """The value with what follows from the functions' timeout."""
    match value:
        case {"FindInMap": ["Timeouts", {"Ref": "Timeout"}, str(key)]}:
            return TIMEOUTS[timeout][key]
        case dict():
            return {name: with_timeout(item, timeout) for name, item in value.items()}
    return value


def alarms(timeout: str = str(INVOCATION)) -> dict[str, Alarm]:
    """The alarms of a stack whose functions have this timeout."""
    found = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    return {name: Alarm(with_timeout(properties, timeout)) for name, properties in found.items()}


ALARMS = alarms()
CANARY = ALARMS.pop("CanaryAlarm")
"""It fires where nothing happens, so it has tests of its own: test_canary_alarm.py."""

PAGES = [name for name, alarm in ALARMS.items() if alarm.properties["AlarmDescription"].startswith("PAGE: ")]
HANDLERS = {
    "DetachVolumeFunction": detach_volume,
    "ReportDeadLetterFunction": report_dead_letter,
    "ReceiveWebhookFunction": receive_webhook,
}
REBOOTING = {**RUNNING, "status": "REBOOT"}
BY_DEFAULT: Mapping[str, str] = {}
"""The settings that a deployment has if nobody sets any."""

LAGS = (Lag(), Lag(0, 300), Lag(300, 300))
"""Data that are there at once, that come when they come, and that are five minutes late, as those of SQS may be."""

MORE = (0, 2, 5)
"""By how many periods more than the alarm evaluates CloudWatch may look back."""

HOUR = 3600
DAY = 24 * HOUR


class Watch:
    """What happens, and the metrics that come of it; what lasts begins at START and lasts so many seconds."""

    def __init__(self, written: Callable[[], str], aws: AwsStandIn, patch: pytest.MonkeyPatch) -> None:
        self.written, self.aws, self.patch = written, aws, patch
        self.happened = Timeline()

    # ------------------------------------------------------------------------- metrics of our own

    def scenario(self, name: str, settings: Mapping[str, str] = SETTINGS) -> Timeline:
        simulation = Measured(scenario_cloud, settings)
        return self.run(simulation, CATALOGUE[name].on(simulation.cloud))

    def throttled(self, seconds: float) -> Timeline:
        """Twelve requests, and a cloud that answers each of them "not so fast" until it has had enough of that."""
        simulation, stage = self.staged(BY_DEFAULT)
        for _ in range(12):
            server = stage.server()
            disk = stage.disk(server)
            slow_down = faults.answer(bodies.nova_fault("overLimit", 429, "slow down"))
            stage.fault(slow_down, "get_volume", volume_id=disk, times=None)
            stage.request(server, disk)
        stage.later(seconds, stage.cloud.faults.clear)
        return self.run(simulation, stage)

    def sink_refuses(self) -> Timeline:
        return self._told(sink=Deaf(NotTaken("HTTP 404", again=False)))

    def sink_is_away(self) -> Timeline:
        return self._told(sink=Deaf(NotTaken("HTTP 503", again=True)))

    def task_cannot_be_told(self) -> Timeline:
        return self._told(task=Deaf(NotTaken("SendTaskSuccess: AccessDeniedException (400)", again=True)))

    def bus_refuses(self, seconds: float) -> Timeline:
        """One verdict, which the bus takes after so long; it is told apart by its time from the verdicts of others."""
        simulation, stage = self.staged()
        stage.request(stage.server(), stage.disk())
        simulation.bus.refuse = lambda event: (simulation.clock() - START).total_seconds() < seconds
        return self.run(simulation, stage)

    def never_ends(self) -> Timeline:
        """A bug in the rules: a request that never ends, and is looked at for two hours."""
        simulation, stage = self.staged(BY_DEFAULT, mutate=endless)
        stage.request(stage.server(), stage.disk())
        return self.run(simulation, stage, until=2 * HOUR)

    def refused_login(self) -> Timeline:
        """Keystone refuses the password, and goes on doing so."""
        simulation, stage = self.staged()
        no = faults.answer(bodies.unauthorized("http://keystone"))
        simulation.cloud.faults.add(Fault(no, "get_token", times=None))
        stage.request(stage.server(), stage.disk())
        return self.run(simulation, stage)

    def stuck(self, detaches: int) -> Timeline:
        """So many detaches at one time that the cloud does not finish, for an hour."""
        simulation, stage = self.staged(BY_DEFAULT)
        for _ in range(detaches):
            stage.request(*stage.attached(behaviour=Behaviour(stuck=True)))
        return self.run(simulation, stage, until=HOUR)

    def dead_letter(self) -> Timeline:
        simulation, stage = self.staged()
        simulation.queue.put(ours({"continuation": 99, "request": {}, "progress": {}}))  # of a release to come
        return self.run(simulation, stage)

    def forged(self) -> Timeline:
        simulation, stage = self.staged()
        simulation.queue.put('{"continuation": 1, "request": {}, "progress": {}}')
        return self.run(simulation, stage)

    def slow(self, detaches: int) -> Timeline:
        """So many detaches at one time that take a quarter of an hour."""
        simulation, stage = self.staged(BY_DEFAULT)
        for _ in range(detaches):
            stage.request(*stage.attached(behaviour=Behaviour(seconds=900)))
        return self.run(simulation, stage)

    def reboots(self, seconds: float) -> Timeline:
        """One request, for a server that reboots for so long."""
        simulation, stage = self.staged(BY_DEFAULT)
        server = stage.server(state=REBOOTING)
        stage.request(server, stage.disk(server))
        stage.later(seconds, lambda: stage.world.set_server(server, status="ACTIVE"))
        return self.run(simulation, stage)

    def no_verdict(self, seconds: float, behaviour: Behaviour | None = None) -> Timeline:
        """A request every ten minutes, none of which gets anywhere as long as servers do nothing but reboot."""
        simulation, stage = self.staged(BY_DEFAULT)
        server = stage.server(state=RUNNING if behaviour else REBOOTING)
        for at in range(0, round(seconds), 600):
            stage.request(server, stage.disk(server, behaviour=behaviour or PROMPT))
            simulation.queue.put(stage.bodies()[-1], delay=at)
        return self.run(simulation, until=seconds)

    def records_returned(self, seconds: float) -> Timeline:
        """Without AWS credentials nothing can be emitted, so SQS redelivers the message each time."""
        self._settings(REQUEST_QUEUE_URL="https://queue.example", OS_AUTH_URL="http://127.0.0.1:9", OS_USERNAME="u",
                       OS_PASSWORD="p", OS_PROJECT_ID="0" * 32)  # fmt: skip
        for received in range(MAX_RECEIVES):
            at = received * VISIBILITY
            if at < seconds:
                answer = detach_volume({"Records": [sqs_record("{not json", "m-1")]}, LambdaContext("detach-volume"))
                assert answer == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
                self._write(at)
        return self.happened

    # ------------------------------------------------------------------------------ AWS's own metrics

    def failing(self, function: str, metric: str, seconds: float) -> Timeline:
        """Lambda itself counts errors, one for each invocation that raises: that it raises is what is shown here.

        The message of a failed invocation comes again, and fails again, after its visibility timeout.
        """
        self._settings(REQUEST_QUEUE_URL="")
        event = payload("POST", "/", [], b"") if function.startswith("Receive") else {"Records": []}
        with pytest.raises(SettingsError):
            HANDLERS[function](event, LambdaContext(function))
        return self.counted("AWS/Lambda", metric, {"FunctionName": function}, range(0, round(seconds), VISIBILITY))

    def throttles(self, function: str, seconds: float) -> Timeline:
        """An account without concurrency to spare: each delivery is throttled, and comes again."""
        at = range(0, round(seconds), VISIBILITY)
        return self.counted("AWS/Lambda", "Throttles", {"FunctionName": function}, at)

    def rule(self, metric: str, seconds: float = 60) -> Timeline:
        """EventBridge counts each minute what its rule, or the target of it, did not take."""
        dimensions = {"EventBusName": "EventBus.Name", "RuleName": "RequestsFromBus.Arn"}
        return self.counted("AWS/Events", metric, dimensions, range(0, round(seconds), 60))

    def counted(
        self, namespace: str, metric: str, dimensions: Mapping[str, str], at: Iterable[int], value: float = 1
    ) -> Timeline:
        """What AWS itself counts: the value at each of these seconds."""
        for second in at:
            self.happened.put((namespace, metric, frozenset(dimensions.items())), second, value)
        return self.happened

    def letters(self, seconds: float) -> Timeline:
        """SQS itself counts messages, once a minute: so many are in the stand-in after the reporter failed at one."""
        self.aws.send(DEAD_LETTERS, "{}")
        url = {"QueueUrl": self.aws.queue_urls[DEAD_LETTERS]}
        assert self.aws.client.call(SQS, "ReceiveMessage", {**url, "VisibilityTimeout": 360})["Messages"]
        names = {"": "Visible", "NotVisible": "NotVisible"}
        asked = {**url, "AttributeNames": [f"ApproximateNumberOfMessages{name}" for name in names]}
        counted = self.aws.client.call(SQS, "GetQueueAttributes", asked)["Attributes"]
        for at in range(0, round(seconds), 60):
            for attribute, metric in names.items():
                value = float(counted[f"ApproximateNumberOfMessages{attribute}"])
                queue = {"QueueName": "DeadLetterQueue.QueueName"}
                self.counted("AWS/SQS", f"ApproximateNumberOfMessages{metric}", queue, [at], value)
        return self.happened

    def stalled(self, seconds: float) -> Timeline:
        """SQS itself measures ages, once a minute: that of a message which nobody takes for so long."""
        simulation, _ = self.staged()
        message, queue = simulation.queue.put("{}"), {"QueueName": "RequestQueue.QueueName"}
        while (age := (simulation.clock() - message.sent_at).total_seconds()) < seconds:
            self.counted("AWS/SQS", "ApproximateAgeOfOldestMessage", queue, [round(age)], age)
            simulation.clock.sleep(60)
        return self.happened

    # ------------------------------------------------------------------------------------------ how

    def staged(self, settings: Mapping[str, str] = SETTINGS, **options: Any) -> tuple[Measured, Stage]:
        simulation = Measured(scenario_cloud, settings, **options)
        return simulation, Stage(simulation.cloud, "alarm")

    def _told(self, **consumers: Consumer) -> Timeline:
        simulation, stage = self.staged(consumers=consumers)
        stage.request(stage.server(), stage.disk())
        return self.run(simulation, stage)

    def run(self, simulation: Measured, stage: Stage | None = None, until: float = math.inf) -> Timeline:
        """Each delivery an invocation, whose metrics bear the time at which it ended."""
        for body in stage.bodies() if stage else ():
            simulation.queue.put(body)
        while (simulation.clock() - START).total_seconds() < until and simulation.step():
            self._write((simulation.clock() - START).total_seconds())
        return self.happened

    def _write(self, at: float) -> None:
        meters.flush()
        self.happened.add(at, Samples.of(self.written()))

    def _settings(self, **values: str) -> None:
        for name, value in values.items():
            self.patch.setenv(name, value)
        for wired in (service, dead_letters, webhook_endpoint):
            wired.cache_clear()


@dataclass(frozen=True)
class Deaf:
    """A consumer that refuses every event."""

    no: NotTaken

    def wants(self, event: Event, /) -> bool:
        return True

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        return self.no


def endless(wired: Service) -> Service:
    """The service with rules that always wait."""
    return replace(wired, visits=replace(wired.visits, decide=lambda case, policy, now: Requeue(LONGEST_DELAY, "why")))


WORKER, REPORTER, WEBHOOK = HANDLERS
Cause = Callable[[Watch], Timeline]

CAUSES: Mapping[str, Cause] = {
    "RequestOverdueAlarm": Watch.never_ends,
    "QueueStalledAlarm": lambda watch: watch.stalled(HOUR),
    "NoVerdictsAlarm": lambda watch: watch.no_verdict(HOUR),
    "DeadLetterQueueAlarm": lambda watch: watch.letters(900),
    "EmitFailuresAlarm": lambda watch: watch.bus_refuses(HOUR),
    "UnauthorizedAlarm": Watch.refused_login,
    "RecordsReturnedAlarm": lambda watch: watch.records_returned(HOUR),
    "DetachVolumeErrorsAlarm": lambda watch: watch.failing(WORKER, "Errors", HOUR),
    "DetachVolumeThrottlesAlarm": lambda watch: watch.throttles(WORKER, HOUR),
    "RequestsRuleAlarm": lambda watch: watch.rule("FailedInvocations"),
    "RequestsLostAlarm": lambda watch: watch.rule("InvocationsFailedToBeSentToDlq"),
    "WebhookFailuresAlarm": lambda watch: watch.failing(WEBHOOK, "Url5xxCount", HOUR),
    "DeadLettersAlarm": Watch.dead_letter,
    "StuckInDetachingAlarm": lambda watch: watch.scenario("stuck-for-ever", BY_DEFAULT),
    "UnconfirmedAlarm": lambda watch: watch.stuck(3),
    "AuthorisationAlarm": lambda watch: watch.scenario("forbidden"),
    "ForgedMessagesAlarm": Watch.forged,
    "SinkFailuresAlarm": Watch.sink_refuses,
    "TaskFailuresAlarm": Watch.task_cannot_be_told,
    "ThrottlingAlarm": lambda watch: watch.throttled(1500),
    "ReportDeadLetterErrorsAlarm": lambda watch: watch.failing(REPORTER, "Errors", HOUR),
    "ReportDeadLetterThrottlesAlarm": lambda watch: watch.throttles(REPORTER, HOUR),
    "WebhookThrottlesAlarm": lambda watch: watch.throttles(WEBHOOK, HOUR),
    "RequestsRuleThrottledAlarm": lambda watch: watch.rule("ThrottledRules", HOUR),
}
"""What sets off each alarm."""

PASSING: Mapping[str, Cause] = {
    "one cold start that takes too long": lambda watch: watch.failing(WORKER, "Errors", 60),
    "one throttled delivery": lambda watch: watch.throttles(WORKER, 60),
    "two answers with 5xx, five minutes apart": lambda watch: watch.failing(WEBHOOK, "Url5xxCount", VISIBILITY + 1),
    "a burst at the webhook": lambda watch: watch.throttles(WEBHOOK, 60),
    "one failed invocation of the reporter": lambda watch: watch.failing(REPORTER, "Errors", 60),
    "a letter that is answered after two minutes": lambda watch: watch.letters(120),
    "a bus that is away for four minutes": lambda watch: watch.bus_refuses(240),
    "AWS away for five minutes": lambda watch: watch.records_returned(300),
    "a cloud that throttles for five minutes": lambda watch: watch.throttled(300),
    "a delay of fifteen minutes and two redeliveries": lambda watch: watch.stalled(LONGEST_DELAY + 2 * VISIBILITY + 60),
    "two detaches that take long": lambda watch: watch.slow(2),
    "a rule that is throttled for five minutes": lambda watch: watch.rule("ThrottledRules", 300),
    "a request that waits for a reboot of half an hour": lambda watch: watch.reboots(1740),
}
"""Passing trouble that must raise no alarm."""

ITSELF: Mapping[str, float] = {
    "RequestOverdueAlarm": HOUR + LATE_LOOK,
    "QueueStalledAlarm": 1800,
    "NoVerdictsAlarm": 900,
}
"""For so long a page waits by what it means, or by what it is set off by here."""


@pytest.fixture
def watch(capsys: pytest.CaptureFixture[str], aws: AwsStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Without variables of AWS's, with empty queues, and metrics from now on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "POWERTOOLS_METRICS_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    meters.flush()
    capsys.readouterr()
    yield Watch(lambda: json_lines(capsys.readouterr().out), aws, monkeypatch)
    for wired in (service, dead_letters, webhook_endpoint):
        wired.cache_clear()
    meters.flush()


def json_lines(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("{"))


MADE: dict[str, Timeline] = {}


def cause_of(name: str, watch: Watch) -> Timeline:
    """What sets off the alarm; it is played once."""
    if name not in MADE:
        MADE[name] = CAUSES[name](watch)
    return MADE[name]


def evaluations(name: str, happened: Timeline, lag: Lag, more: int) -> tuple[list[int], list[int]]:
    """The seconds at which the alarm is on, and those after that at which it is not any more."""
    states = list(ALARMS[name].states(happened, lag, more))
    on = [now for now, is_on in states if is_on]
    return on, [now for now, is_on in states if not is_on and on and now > on[-1]]


def test_every_alarm_is_tried() -> None:
    """Every alarm is shown to fire."""
    assert set(ALARMS) == set(CAUSES)


@pytest.mark.parametrize("name", CAUSES)
def test_an_alarm_fires_and_goes_back(name: str, watch: Watch) -> None:
    """Over what is really written, with data that are late, wherever its periods begin, and however far back it looks.

    CloudWatch lets periods slide from minute to minute. An alarm that is on at as many minutes in a row as a period has
    would fire as well if they began at the same minutes each time.
    """
    happened, period = cause_of(name, watch), ALARMS[name].period
    for lag in LAGS:
        for more in MORE:
            on, after = evaluations(name, happened, lag, more)
            assert {now % period for now in on} == set(range(0, period, 60)), (lag, more)
            assert after, (lag, more)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_comes_within_half_an_hour(name: str, watch: Watch) -> None:
    """From what it means on, with data that are five minutes late, and without more of them than it evaluates."""
    happened = cause_of(name, watch)
    on, _ = evaluations(name, happened, Lag(300, 300), 0)
    assert on[0] <= ITSELF.get(name, 0) + 1800


@pytest.mark.parametrize("what", PASSING)
def test_passing_trouble_raises_no_alarm(what: str, watch: Watch) -> None:
    """No alarm fires, not even a ticket."""
    happened = PASSING[what](watch)
    assert happened.metrics
    fired = [
        name for name, alarm in ALARMS.items() for lag in LAGS for more in MORE if alarm.fires(happened, lag, more)
    ]
    assert fired == []


# --------------------------------------------------------------------------------------------- a healthy day


def usual(watch: Watch) -> list[Timeline]:
    """What one request writes, for each way in which requests end on a good day; all with a deployment's own times."""
    found: list[Timeline] = []
    for seconds in (1.5, 5, 30, 60, 120, 540):
        watch.happened = Timeline()
        simulation, stage = watch.staged(BY_DEFAULT)
        stage.request(*stage.attached(behaviour=Behaviour(seconds=seconds)))
        found.append(watch.run(simulation, stage))
    for scenario in ("windows-running", "silent-refusal", "already-detached", "volume-busy", "migrated-live", "joined",
                     "throttled-429", "expired", "dry-run", "token-expired", "html-502"):  # fmt: skip
        watch.happened = Timeline()
        found.append(watch.scenario(scenario, BY_DEFAULT))
    watch.happened = Timeline()
    return [*found, watch.reboots(600)]


QUEUES = ("RequestQueue", "DeadLetterQueue")


def a_day(ways: list[Timeline], starts: list[int], random: Random) -> Timeline:
    """Requests that begin at these seconds, each as one of `ways`, and what AWS itself counts in the meantime.

    Lambda counts errors and throttles where it runs a function, and answers of the endpoint where there is one. SQS
    counts each minute, since the pollers keep both queues active; the oldest message may be at the end of its delay.
    """
    day = Timeline()
    for start in starts:
        day.add_shifted(random.choice(ways), start)
    for minute in sorted({start // 60 for start in starts}):
        for function in HANDLERS:
            for metric in ("Errors", "Throttles", *(["Url5xxCount"] if function == WEBHOOK else [])):
                day.put(("AWS/Lambda", metric, frozenset({("FunctionName", function)})), 60 * minute, 0)
    for minute in range(DAY // 60):
        for queue in QUEUES:
            of = frozenset({("QueueName", f"{queue}.QueueName")})
            for state in ("Visible", "NotVisible"):
                waiting = random.randint(0, 9) if queue == QUEUES[0] else 0
                day.put(("AWS/SQS", f"ApproximateNumberOfMessages{state}", of), 60 * minute, waiting)
        age = frozenset({("QueueName", f"{QUEUES[0]}.QueueName")})
        day.put(("AWS/SQS", "ApproximateAgeOfOldestMessage", age), 60 * minute, random.randint(0, LONGEST_DELAY + 60))
    return day


def happenings(day: Timeline, random: Random) -> None:
    """What happens once on a day, at any time of it, and passes."""
    worker, reporter, webhook = ({"FunctionName": function} for function in HANDLERS)
    once: list[tuple[str, str, Mapping[str, str]]] = [
        ("AWS/Lambda", "Errors", worker),
        ("AWS/Lambda", "Errors", reporter),
        ("AWS/Lambda", "Throttles", worker),
        ("AWS/Lambda", "Throttles", webhook),
        ("AWS/Lambda", "Url5xxCount", webhook),
        (NAMESPACE, "RecordsReturned", {"service": SERVICE}),
        (NAMESPACE, "Unconfirmed", {"service": SERVICE}),
        (NAMESPACE, "EmitFailures", {"service": SERVICE, "to": "bus"}),
    ]
    for namespace, metric, dimensions in once:
        day.put((namespace, metric, frozenset(dimensions.items())), random.randrange(DAY), 1)


@pytest.mark.parametrize("requests", [10_000, 3])
def test_a_healthy_day_is_silent(requests: int, watch: Watch) -> None:
    """With any load, the usual failures of requests, and daily passing trouble."""
    random = Random(requests)
    ways = usual(watch)
    day = a_day(ways, [random.randrange(DAY - HOUR) for _ in range(requests)], random)
    happenings(day, random)
    assert sum(total for total, _, _ in day.metrics[REQUESTS].values()) == requests
    fired = [
        (n, lag, more) for n, a in ALARMS.items() for lag in LAGS[:2] for more in (0, 5) if a.fires(day, lag, more)
    ]
    assert fired == []


def of_ours(metric: str) -> Key:
    return NAMESPACE, metric, frozenset({("service", SERVICE)})


REQUESTS = of_ours("Requests")


def test_a_page_is_heard_on_a_busy_day(watch: Watch) -> None:
    """What nine thousand good verdicts stand beside is one request that nothing ends."""
    random = Random(1)
    day = a_day(usual(watch), [random.randrange(DAY - HOUR) for _ in range(9_000)], random)
    watch.happened = Timeline()
    day.add_shifted(watch.never_ends(), 6 * HOUR)
    assert ALARMS["RequestOverdueAlarm"].fires(day, LAGS[1])


# --------------------------------------------------------------------------------------------- one by one


def test_nothing_fires_when_all_goes_well(watch: Watch) -> None:
    """A successful detach, and a refused one, raise no alarm."""
    for scenario in ("accepted-202", "windows-running", "silent-refusal"):
        happened = watch.scenario(scenario)
        assert [name for name, alarm in ALARMS.items() if alarm.fires(happened)] == []


def test_a_stuck_detach_is_one_alarm(watch: Watch) -> None:
    """From half an hour after its acceptance to its verdict the alarm stays as it is, however late data are."""
    happened = watch.scenario("stuck-for-ever", BY_DEFAULT)
    assert happened.ends > 6 * HOUR
    for lag in LAGS:
        on, _ = evaluations("StuckInDetachingAlarm", happened, lag, 0)
        assert on[0] <= HOUR
        assert on == list(range(on[0], on[-1] + 60, 60))


def test_an_overdue_request_is_one_alarm(watch: Watch) -> None:
    """It is on as long as the request is looked at, which is every quarter of an hour."""
    for lag in LAGS:
        watch.happened = Timeline()
        on, _ = evaluations("RequestOverdueAlarm", watch.never_ends(), lag, 0)
        assert on == list(range(on[0], on[-1] + 60, 60))


def test_a_verdict_that_the_bus_does_not_take_is_overdue(watch: Watch) -> None:
    """After the alarm that says why, and no later than a few minutes after its time."""
    happened = watch.bus_refuses(HOUR)
    late, why = (evaluations(name, happened, LAGS[0], 0)[0] for name in ("RequestOverdueAlarm", "EmitFailuresAlarm"))
    assert why[0] < LATE_VERDICT < late[0] <= LATE_VERDICT + 300


def test_one_sender_is_enough_to_hear_of_the_webhook(watch: Watch) -> None:
    """It tries four times in the first hour, as Standard Webhooks has it, and is answered 5xx each time."""
    tries, url = (0, 5, 305, 2105), {"FunctionName": WEBHOOK}
    happened = watch.counted("AWS/Lambda", "Url5xxCount", url, tries)
    assert all(ALARMS["WebhookFailuresAlarm"].fires(happened, lag) for lag in LAGS)


@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_windows_follow_the_timeout(timeout: str, watch: Watch) -> None:
    """With a longer timeout messages come again later: what fails each time is still heard of, two failures are not."""
    visibility, worker = TIMEOUTS[timeout]["Visibility"], {"FunctionName": WORKER}
    errors = alarms(timeout)["DetachVolumeErrorsAlarm"]
    for deliveries, heard in ((3, True), (2, False)):
        watch.happened = Timeline()
        happened = watch.counted("AWS/Lambda", "Errors", worker, range(0, deliveries * visibility, visibility))
        assert {errors.fires(happened, lag, more) for lag in LAGS for more in MORE} == {heard}
    watch.happened = Timeline()
    usual = watch.stalled(LONGEST_DELAY + 2 * visibility + int(timeout))
    assert not any(alarms(timeout)["QueueStalledAlarm"].fires(usual, lag) for lag in LAGS)
    watch.happened = Timeline()
    stalled = watch.stalled(LONGEST_DELAY + 2 * visibility + HOUR)
    assert all(alarms(timeout)["QueueStalledAlarm"].fires(stalled, lag) for lag in LAGS)


def test_a_sink_that_is_away_for_a_day_raises_an_alarm(watch: Watch) -> None:
    """A verdict that was not accepted in all that time is a failure, like a refused one."""
    happened = watch.sink_is_away()
    assert happened.ends >= DAY
    assert ALARMS["SinkFailuresAlarm"].fires(happened)


def test_no_verdicts_are_told_of_before_requests_give_up(watch: Watch) -> None:
    """The alarm is on well before `gave_up` ends the silence."""
    happened = watch.no_verdict(2 * HOUR)
    silent = 60 * min(happened.metrics[of_ours("Verdicts")])
    assert HOUR <= silent < 3720
    on, _ = evaluations("NoVerdictsAlarm", happened, Lag(300, 300), 0)
    assert on[0] <= silent / 2


def test_slow_detaches_are_not_without_verdicts(watch: Watch) -> None:
    """An accepted detach is reported as unconfirmed in time, however long it takes."""
    happened = watch.no_verdict(2 * HOUR, Behaviour(stuck=True))
    assert [lag for lag in LAGS for more in MORE if ALARMS["NoVerdictsAlarm"].fires(happened, lag, more)] == []


# --------------------------------------------------------------------------------------------- who is told


PAGED = {"If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
TICKETED = {"If": ["HasTicketTopic", [{"Ref": "TicketTopicArn"}], PAGED]}


@pytest.mark.parametrize("name", [*ALARMS, "CanaryAlarm"])
def test_an_alarm_names_its_tier_and_its_runbook(name: str) -> None:
    """Its topic is that of its tier, when it fires and when it ends; its runbook names it, with its tier."""
    page = (ROOT / "docs" / "operations.md").read_text()
    properties = alarms()[name].properties
    tier, _, words = properties["AlarmDescription"].partition(": ")
    (anchor,) = re.findall(r"docs/operations\.md#([a-z0-9-]+)", words)
    assert (properties["AlarmActions"], properties["OKActions"]) == ({"PAGE": PAGED, "TICKET": TICKETED}[tier],) * 2
    parts = [part.partition("\n") for part in re.split(r"^#+ ", page, flags=re.MULTILINE)]
    sections = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-"): text for head, _, text in parts}
    (told,) = re.findall(rf"`{name}`[^()]*\((page|ticket)\b", sections[anchor])
    assert told == tier.lower()
    assert [at for at, text in sections.items() if f"`{name}`" in text] == [anchor]


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_on_the_webhook_is_there_with_it(name: str) -> None:
    """Alarms for parts that are switched off are not created, because they would cost money."""
    of_webhook = any(
        (("FunctionName", WEBHOOK) in dimensions) for (_, _, dimensions), _ in ALARMS[name].metrics.values()
    )
    assert (RESOURCES[name].get("Condition") == "HasWebhook") is of_webhook


def test_the_dashboard_shows_what_is_written(watch: Watch) -> None:
    """Every metric of ours on the dashboard is one that the code writes, with those dimensions."""
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Sub"][0]
    shown = set(re.findall(r'\["BmsVolumeDetach", "(\w+)"', body)) | set(re.findall(r'MetricName=\\\\?"(\w+)', body))
    for name in ("stuck-then-late-success", "forbidden"):
        watch.scenario(name)
    watch.throttled(60)
    watch.sink_refuses()
    watch.dead_letter()
    watch.forged()
    watch.records_returned(60)
    assert shown == {metric for _, metric, _ in watch.happened.metrics}
    assert json.loads(body)["widgets"]
