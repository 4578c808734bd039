"""Each alarm of the template fires for its cause, even with data as late as CloudWatch's; it ends again, and stays
silent when all goes well. `tests.cloudwatch` is the model of CloudWatch.

To test another alarm, add its cause to CAUSES, and trouble that must not fire it to PASSING.
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
    """The value with its lookups by the functions' timeout resolved."""
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
"""It fires when nothing happens, so it has its own tests: test_canary_alarm.py."""

PAGES = [name for name, alarm in ALARMS.items() if alarm.properties["AlarmDescription"].startswith("PAGE: ")]
HANDLERS = {
    "DetachVolumeFunction": detach_volume,
    "ReportDeadLetterFunction": report_dead_letter,
    "ReceiveWebhookFunction": receive_webhook,
}
REBOOTING = {**RUNNING, "status": "REBOOT"}
BY_DEFAULT: Mapping[str, str] = {}
"""The settings of a deployment without parameters."""

LAGS = (Lag(), Lag(0, 300), Lag(300, 300))
"""Data without delay, with a random delay, and with five minutes, as SQS's can have."""

MORE = (0, 2, 5)
"""The number of additional periods that CloudWatch may retrieve."""

HOUR = 3600
DAY = 24 * HOUR


class Watch:
    """Produces incidents and their metrics. Incidents with a duration begin at START; durations are in seconds."""

    def __init__(self, written: Callable[[], str], aws: AwsStandIn, patch: pytest.MonkeyPatch) -> None:
        self.written, self.aws, self.patch = written, aws, patch
        self.timeline = Timeline()

    # --------------------------------------------------------------------------- our own metrics

    def scenario(self, name: str, settings: Mapping[str, str] = SETTINGS) -> Timeline:
        simulation = Measured(scenario_cloud, settings)
        return self.run(simulation, CATALOGUE[name].on(simulation.cloud))

    def throttled(self, seconds: float) -> Timeline:
        """Twelve requests, and a cloud that throttles them for so many seconds."""
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
        return self._delivered(sink=RefusingConsumer(NotTaken("HTTP 404", again=False)))

    def sink_is_away(self) -> Timeline:
        return self._delivered(sink=RefusingConsumer(NotTaken("HTTP 503", again=True)))

    def task_refuses(self) -> Timeline:
        return self._delivered(
            task=RefusingConsumer(NotTaken("SendTaskSuccess: AccessDeniedException (400)", again=True))
        )

    def bus_refuses(self, seconds: float) -> Timeline:
        """One verdict, which the bus refuses for so many seconds."""
        simulation, stage = self.staged()
        stage.request(stage.server(), stage.disk())
        simulation.bus.refuse = lambda event: (simulation.clock() - START).total_seconds() < seconds
        return self.run(simulation, stage)

    def never_ends(self) -> Timeline:
        """A bug in the rules: a request is looked at for two hours and never ends."""
        simulation, stage = self.staged(BY_DEFAULT, mutate=always_wait)
        stage.request(stage.server(), stage.disk())
        return self.run(simulation, stage, until=2 * HOUR)

    def refused_login(self) -> Timeline:
        """Keystone refuses the password every time."""
        simulation, stage = self.staged()
        no = faults.answer(bodies.unauthorized("http://keystone"))
        simulation.cloud.faults.add(Fault(no, "get_token", times=None))
        stage.request(stage.server(), stage.disk())
        return self.run(simulation, stage)

    def stuck(self, detaches: int) -> Timeline:
        """So many concurrent detaches that the cloud does not finish within an hour."""
        simulation, stage = self.staged(BY_DEFAULT)
        for _ in range(detaches):
            stage.request(*stage.attached(behaviour=Behaviour(stuck=True)))
        return self.run(simulation, stage, until=HOUR)

    def dead_letter(self) -> Timeline:
        simulation, stage = self.staged()
        simulation.queue.put(ours({"continuation": 99, "request": {}, "progress": {}}))  # of a future release
        return self.run(simulation, stage)

    def forged(self) -> Timeline:
        simulation, stage = self.staged()
        simulation.queue.put('{"continuation": 1, "request": {}, "progress": {}}')
        return self.run(simulation, stage)

    def slow(self, detaches: int) -> Timeline:
        """So many concurrent detaches that take a quarter of an hour."""
        simulation, stage = self.staged(BY_DEFAULT)
        for _ in range(detaches):
            stage.request(*stage.attached(behaviour=Behaviour(seconds=900)))
        return self.run(simulation, stage)

    def reboots(self, seconds: float) -> Timeline:
        """One request for a server that reboots for so many seconds."""
        simulation, stage = self.staged(BY_DEFAULT)
        server = stage.server(state=REBOOTING)
        stage.request(server, stage.disk(server))
        stage.later(seconds, lambda: stage.world.set_server(server, status="ACTIVE"))
        return self.run(simulation, stage)

    def no_verdict(self, seconds: float, behaviour: Behaviour | None = None) -> Timeline:
        """A request every ten minutes; none gets a verdict while the server reboots."""
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
        return self.timeline

    # ------------------------------------------------------------------------------ AWS's own metrics

    def failing(self, function: str, metric: str, seconds: float) -> Timeline:
        """Lambda counts an error for each invocation that raises; this shows that the handler raises.

        The message of a failed invocation is redelivered after its visibility timeout, and fails again.
        """
        self._settings(REQUEST_QUEUE_URL="")
        event = payload("POST", "/", [], b"") if function.startswith("Receive") else {"Records": []}
        with pytest.raises(SettingsError):
            HANDLERS[function](event, LambdaContext(function))
        return self.counted("AWS/Lambda", metric, {"FunctionName": function}, range(0, round(seconds), VISIBILITY))

    def throttles(self, function: str, seconds: float) -> Timeline:
        """An account without free concurrency: each delivery is throttled, and repeated."""
        at = range(0, round(seconds), VISIBILITY)
        return self.counted("AWS/Lambda", "Throttles", {"FunctionName": function}, at)

    def rule(self, metric: str, seconds: float = 60) -> Timeline:
        """EventBridge counts failures of its rule or of the rule's target each minute."""
        dimensions = {"EventBusName": "EventBus.Name", "RuleName": "RequestsFromBus.Arn"}
        return self.counted("AWS/Events", metric, dimensions, range(0, round(seconds), 60))

    def counted(
        self, namespace: str, metric: str, dimensions: Mapping[str, str], at: Iterable[int], value: float = 1
    ) -> Timeline:
        """A metric of AWS with this value at each of these seconds."""
        for second in at:
            self.timeline.put((namespace, metric, frozenset(dimensions.items())), second, value)
        return self.timeline

    def letters(self, seconds: float) -> Timeline:
        """SQS counts messages once a minute; the counts are the stand-in's after the reporter has received one."""
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
        return self.timeline

    def stalled(self, seconds: float) -> Timeline:
        """SQS measures the age of the oldest message once a minute; nobody receives this one for so many seconds."""
        simulation, _ = self.staged()
        message, queue = simulation.queue.put("{}"), {"QueueName": "RequestQueue.QueueName"}
        while (age := (simulation.clock() - message.sent_at).total_seconds()) < seconds:
            self.counted("AWS/SQS", "ApproximateAgeOfOldestMessage", queue, [round(age)], age)
            simulation.clock.sleep(60)
        return self.timeline

    # -------------------------------------------------------------------------------------- helpers

    def staged(self, settings: Mapping[str, str] = SETTINGS, **options: Any) -> tuple[Measured, Stage]:
        simulation = Measured(scenario_cloud, settings, **options)
        return simulation, Stage(simulation.cloud, "alarm")

    def _delivered(self, **consumers: Consumer) -> Timeline:
        simulation, stage = self.staged(consumers=consumers)
        stage.request(stage.server(), stage.disk())
        return self.run(simulation, stage)

    def run(self, simulation: Measured, stage: Stage | None = None, until: float = math.inf) -> Timeline:
        """Run each delivery as an invocation; its metrics have the time of its end."""
        for body in stage.bodies() if stage else ():
            simulation.queue.put(body)
        while (simulation.clock() - START).total_seconds() < until and simulation.step():
            self._write((simulation.clock() - START).total_seconds())
        return self.timeline

    def _write(self, at: float) -> None:
        meters.flush()
        self.timeline.add(at, Samples.of(self.written()))

    def _settings(self, **values: str) -> None:
        for name, value in values.items():
            self.patch.setenv(name, value)
        for wired in (service, dead_letters, webhook_endpoint):
            wired.cache_clear()


@dataclass(frozen=True)
class RefusingConsumer:
    """A consumer that refuses every event."""

    no: NotTaken

    def wants(self, event: Event, /) -> bool:
        return True

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        return self.no


def always_wait(wired: Service) -> Service:
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
    "TaskFailuresAlarm": Watch.task_refuses,
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

OWN_DELAY: Mapping[str, float] = {
    "RequestOverdueAlarm": HOUR + LATE_LOOK,
    "QueueStalledAlarm": 1800,
    "NoVerdictsAlarm": 900,
}
"""Seconds that an alarm needs by its meaning, or that its cause needs to begin here."""


@pytest.fixture
def watch(capsys: pytest.CaptureFixture[str], aws: AwsStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """A watch without AWS variables, with empty queues and empty metrics."""
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


PLAYED: dict[str, Timeline] = {}


def cause_of(name: str, watch: Watch) -> Timeline:
    """The timeline of the alarm's cause, produced once."""
    if name not in PLAYED:
        PLAYED[name] = CAUSES[name](watch)
    return PLAYED[name]


def evaluations(name: str, timeline: Timeline, lag: Lag, more: int) -> tuple[list[int], list[int]]:
    """The seconds at which the alarm is on, and the later ones at which it is off again."""
    states = list(ALARMS[name].states(timeline, lag, more))
    on = [now for now, is_on in states if is_on]
    return on, [now for now, is_on in states if not is_on and on and now > on[-1]]


def test_every_alarm_has_a_cause() -> None:
    """CAUSES has an entry for every alarm."""
    assert set(ALARMS) == set(CAUSES)


@pytest.mark.parametrize("name", CAUSES)
def test_an_alarm_fires_and_ends(name: str, watch: Watch) -> None:
    """It does so with the written metrics, late data, any offset of its periods, and any evaluation range.

    CloudWatch's periods slide from minute to minute. An alarm that is on at each offset of its period would also fire
    with periods at fixed minutes.
    """
    timeline, period = cause_of(name, watch), ALARMS[name].period
    for lag in LAGS:
        for more in MORE:
            on, after = evaluations(name, timeline, lag, more)
            assert {now % period for now in on} == set(range(0, period, 60)), (lag, more)
            assert after, (lag, more)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_comes_within_half_an_hour(name: str, watch: Watch) -> None:
    """A page fires within half an hour of its cause, with data that are five minutes late."""
    timeline = cause_of(name, watch)
    on, _ = evaluations(name, timeline, Lag(300, 300), 0)
    assert on[0] <= OWN_DELAY.get(name, 0) + 1800


@pytest.mark.parametrize("what", PASSING)
def test_passing_trouble_raises_no_alarm(what: str, watch: Watch) -> None:
    """No alarm fires, not even a ticket."""
    timeline = PASSING[what](watch)
    assert timeline.metrics
    fired = [
        name for name, alarm in ALARMS.items() for lag in LAGS for more in MORE if alarm.fires(timeline, lag, more)
    ]
    assert fired == []


# --------------------------------------------------------------------------------------------- a healthy day


def usual(watch: Watch) -> list[Timeline]:
    """The metrics of one request for each usual outcome, with the default settings."""
    found: list[Timeline] = []
    for seconds in (1.5, 5, 30, 60, 120, 540):
        watch.timeline = Timeline()
        simulation, stage = watch.staged(BY_DEFAULT)
        stage.request(*stage.attached(behaviour=Behaviour(seconds=seconds)))
        found.append(watch.run(simulation, stage))
    for scenario in ("windows-running", "silent-refusal", "already-detached", "volume-busy", "migrated-live", "joined",
                     "throttled-429", "expired", "dry-run", "token-expired", "html-502"):  # fmt: skip
        watch.timeline = Timeline()
        found.append(watch.scenario(scenario, BY_DEFAULT))
    watch.timeline = Timeline()
    return [*found, watch.reboots(600)]


QUEUES = ("RequestQueue", "DeadLetterQueue")


def a_day(outcomes: list[Timeline], starts: list[int], random: Random) -> Timeline:
    """Requests that begin at these seconds, each with one of `outcomes`, and AWS's own metrics of the day.

    Lambda writes errors, throttles and 5xx answers in minutes with invocations. SQS writes each minute, since the
    pollers keep both queues active; the oldest message may be at the end of its delay.
    """
    day = Timeline()
    for start in starts:
        day.add_shifted(random.choice(outcomes), start)
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


def daily_incidents(day: Timeline, random: Random) -> None:
    """Add incidents that happen once on a day and pass."""
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
    """No alarm fires with any load, the usual failures of requests, and daily incidents."""
    random = Random(requests)
    outcomes = usual(watch)
    day = a_day(outcomes, [random.randrange(DAY - HOUR) for _ in range(requests)], random)
    daily_incidents(day, random)
    assert sum(total for total, _, _ in day.metrics[REQUESTS].values()) == requests
    fired = [
        (n, lag, more) for n, a in ALARMS.items() for lag in LAGS[:2] for more in (0, 5) if a.fires(day, lag, more)
    ]
    assert fired == []


def of_ours(metric: str) -> Key:
    return NAMESPACE, metric, frozenset({("service", SERVICE)})


REQUESTS = of_ours("Requests")


def test_a_page_fires_on_a_busy_day(watch: Watch) -> None:
    """One request that never ends fires the alarm among nine thousand good verdicts."""
    random = Random(1)
    day = a_day(usual(watch), [random.randrange(DAY - HOUR) for _ in range(9_000)], random)
    watch.timeline = Timeline()
    day.add_shifted(watch.never_ends(), 6 * HOUR)
    assert ALARMS["RequestOverdueAlarm"].fires(day, LAGS[1])


# ------------------------------------------------------------------------------------------ single alarms


def test_nothing_fires_when_all_goes_well(watch: Watch) -> None:
    """A successful detach, and a refused one, raise no alarm."""
    for scenario in ("accepted-202", "windows-running", "silent-refusal"):
        timeline = watch.scenario(scenario)
        assert [name for name, alarm in ALARMS.items() if alarm.fires(timeline)] == []


def test_a_stuck_detach_is_one_alarm(watch: Watch) -> None:
    """The alarm stays on from an hour at most after the acceptance to the verdict, however late data are."""
    timeline = watch.scenario("stuck-for-ever", BY_DEFAULT)
    assert timeline.ends > 6 * HOUR
    for lag in LAGS:
        on, _ = evaluations("StuckInDetachingAlarm", timeline, lag, 0)
        assert on[0] <= HOUR
        assert on == list(range(on[0], on[-1] + 60, 60))


def test_an_overdue_request_is_one_alarm(watch: Watch) -> None:
    """It stays on while the request is looked at every quarter of an hour."""
    for lag in LAGS:
        watch.timeline = Timeline()
        on, _ = evaluations("RequestOverdueAlarm", watch.never_ends(), lag, 0)
        assert on == list(range(on[0], on[-1] + 60, 60))


def test_a_verdict_that_the_bus_refuses_is_overdue(watch: Watch) -> None:
    """The alarm fires within five minutes of the limit, after the alarm that shows the cause."""
    timeline = watch.bus_refuses(HOUR)
    late, why = (evaluations(name, timeline, LAGS[0], 0)[0] for name in ("RequestOverdueAlarm", "EmitFailuresAlarm"))
    assert why[0] < LATE_VERDICT < late[0] <= LATE_VERDICT + 300


def test_one_sender_is_enough_to_fire_the_webhook_alarm(watch: Watch) -> None:
    """A sender that follows Standard Webhooks gets 5xx for its four tries in the first hour."""
    tries, url = (0, 5, 305, 2105), {"FunctionName": WEBHOOK}
    timeline = watch.counted("AWS/Lambda", "Url5xxCount", url, tries)
    assert all(ALARMS["WebhookFailuresAlarm"].fires(timeline, lag) for lag in LAGS)


@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_windows_follow_the_timeout(timeout: str, watch: Watch) -> None:
    """A longer timeout delays redeliveries: three failures in a row still fire the alarm, two do not."""
    visibility, worker = TIMEOUTS[timeout]["Visibility"], {"FunctionName": WORKER}
    errors = alarms(timeout)["DetachVolumeErrorsAlarm"]
    for deliveries, fires in ((3, True), (2, False)):
        watch.timeline = Timeline()
        timeline = watch.counted("AWS/Lambda", "Errors", worker, range(0, deliveries * visibility, visibility))
        assert {errors.fires(timeline, lag, more) for lag in LAGS for more in MORE} == {fires}
    watch.timeline = Timeline()
    usual = watch.stalled(LONGEST_DELAY + 2 * visibility + int(timeout))
    assert not any(alarms(timeout)["QueueStalledAlarm"].fires(usual, lag) for lag in LAGS)
    watch.timeline = Timeline()
    stalled = watch.stalled(LONGEST_DELAY + 2 * visibility + HOUR)
    assert all(alarms(timeout)["QueueStalledAlarm"].fires(stalled, lag) for lag in LAGS)


def test_a_sink_that_is_away_for_a_day_raises_an_alarm(watch: Watch) -> None:
    """A verdict that the sink does not accept for a day counts as a failure, like a refused one."""
    timeline = watch.sink_is_away()
    assert timeline.ends >= DAY
    assert ALARMS["SinkFailuresAlarm"].fires(timeline)


def test_missing_verdicts_fire_before_requests_give_up(watch: Watch) -> None:
    """The alarm is on well before the first `gave_up`."""
    timeline = watch.no_verdict(2 * HOUR)
    silent = 60 * min(timeline.metrics[of_ours("Verdicts")])
    assert HOUR <= silent < 3720
    on, _ = evaluations("NoVerdictsAlarm", timeline, Lag(300, 300), 0)
    assert on[0] <= silent / 2


def test_slow_detaches_do_not_count_as_missing_verdicts(watch: Watch) -> None:
    """An accepted detach is reported as unconfirmed in time, however long it takes."""
    timeline = watch.no_verdict(2 * HOUR, Behaviour(stuck=True))
    assert [lag for lag in LAGS for more in MORE if ALARMS["NoVerdictsAlarm"].fires(timeline, lag, more)] == []


# ------------------------------------------------------------------------------------------- recipients


PAGED = {"If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
TICKETED = {"If": ["HasTicketTopic", [{"Ref": "TicketTopicArn"}], PAGED]}


@pytest.mark.parametrize("name", [*ALARMS, "CanaryAlarm"])
def test_an_alarm_names_its_tier_and_its_runbook(name: str) -> None:
    """It notifies the topic of its tier when it fires and when it ends, and its runbook names it with its tier."""
    page = (ROOT / "docs" / "operations.md").read_text()
    properties = alarms()[name].properties
    tier, _, words = properties["AlarmDescription"].partition(": ")
    (anchor,) = re.findall(r"docs/operations\.md#([a-z0-9-]+)", words)
    assert (properties["AlarmActions"], properties["OKActions"]) == ({"PAGE": PAGED, "TICKET": TICKETED}[tier],) * 2
    parts = [part.partition("\n") for part in re.split(r"^#+ ", page, flags=re.MULTILINE)]
    sections = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-"): text for head, _, text in parts}
    (shown,) = re.findall(rf"`{name}`[^()]*\((page|ticket)\b", sections[anchor])
    assert shown == tier.lower()
    assert [at for at, text in sections.items() if f"`{name}`" in text] == [anchor]


@pytest.mark.parametrize("name", ALARMS)
def test_webhook_alarms_exist_only_with_the_webhook(name: str) -> None:
    """Alarms for parts that are switched off are not created, because they would cost money."""
    of_webhook = any(
        (("FunctionName", WEBHOOK) in dimensions) for (_, _, dimensions), _ in ALARMS[name].metrics.values()
    )
    assert (RESOURCES[name].get("Condition") == "HasWebhook") is of_webhook


def test_the_dashboard_shows_only_existing_metrics(watch: Watch) -> None:
    """The dashboard shows exactly the metrics that the code writes."""
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Sub"][0]
    shown = set(re.findall(r'\["BmsVolumeDetach", "(\w+)"', body)) | set(re.findall(r'MetricName=\\\\?"(\w+)', body))
    for name in ("stuck-then-late-success", "forbidden"):
        watch.scenario(name)
    watch.throttled(60)
    watch.sink_refuses()
    watch.dead_letter()
    watch.forged()
    watch.records_returned(60)
    assert shown == {metric for _, metric, _ in watch.timeline.metrics}
    assert json.loads(body)["widgets"]
