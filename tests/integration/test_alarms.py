"""Each alarm of the template fires when what it watches for happens, and is silent when all goes well."""

import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
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
from shared.ports import Consumer, Event, NotTaken
from shared.settings import SettingsError
from shared.telemetry.logs import SERVICE
from shared.telemetry.metrics import meters
from simulator import RUNNING, Behaviour, bodies, faults
from simulator.scenarios import CATALOGUE, SETTINGS, scenario_cloud
from simulator.scenarios.stage import PROMPT, Stage
from tests.contract.test_template import RESOURCES
from tests.messages import START, ours, sqs_record
from tests.simulation.measured import Measured, Samples

ROOT = Path(__file__).parents[2]
ALARMS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
CANARY = ALARMS.pop("CanaryAlarm")
"""It fires where nothing happens, so it has tests of its own: test_canary_alarm.py."""
HANDLERS = {
    "DetachVolumeFunction": detach_volume,
    "ReportDeadLetterFunction": report_dead_letter,
    "ReceiveWebhookFunction": receive_webhook,
}
COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}
REBOOTING = {**RUNNING, "status": "REBOOT"}
BY_DEFAULT: Mapping[str, str] = {}
"""The settings that a deployment has if nobody sets any."""

Key = tuple[str, str, frozenset[tuple[str, str]]]


@dataclass
class Timeline:
    """Values of metrics, each with the second after START at which it was written."""

    values: dict[Key, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, at: float, samples: Samples) -> None:
        for key, values in samples.values.items():
            self.values.setdefault(key, []).extend((at, value) for value in values)

    def between(self, key: Key, start: float, end: float) -> Samples:
        return Samples({key: [value for at, value in self.values.get(key, ()) if start <= at < end]})

    @property
    def ends(self) -> float:
        return max((at for values in self.values.values() for at, _ in values), default=0)


class Watch:
    """What happens, and the metrics that come of it; what lasts begins at START and lasts so many seconds."""

    def __init__(self, written: Callable[[], str], aws: AwsStandIn, patch: pytest.MonkeyPatch) -> None:
        self.written, self.aws, self.patch = written, aws, patch
        self.happened = Timeline()

    # ------------------------------------------------------------------------- metrics of our own

    def scenario(self, name: str, settings: Mapping[str, str] = SETTINGS) -> Timeline:
        simulation = Measured(scenario_cloud, settings)
        return self._run(simulation, CATALOGUE[name].on(simulation.cloud))

    def throttled(self, seconds: float) -> Timeline:
        """Twelve requests, and a cloud that answers each of them "not so fast" until it has had enough of that."""
        simulation, stage = self._stage(BY_DEFAULT)
        for _ in range(12):
            server = stage.server()
            disk = stage.disk(server)
            slow_down = faults.answer(bodies.nova_fault("overLimit", 429, "slow down"))
            stage.fault(slow_down, "get_volume", volume_id=disk, times=None)
            stage.request(server, disk)
        stage.later(seconds, stage.cloud.faults.clear)
        return self._run(simulation, stage)

    def sink_refuses(self) -> Timeline:
        return self._told(sink=Deaf(NotTaken("HTTP 404", again=False)))

    def sink_is_away(self) -> Timeline:
        return self._told(sink=Deaf(NotTaken("HTTP 503", again=True)))

    def task_cannot_be_told(self) -> Timeline:
        return self._told(task=Deaf(NotTaken("SendTaskSuccess: AccessDeniedException (400)", again=True)))

    def bus_refuses(self) -> Timeline:
        simulation, stage = self._stage()
        stage.request(stage.server(), stage.disk())
        simulation.bus.refuse = lambda event: True
        return self._run(simulation, stage, until=1)

    def dead_letter(self) -> Timeline:
        simulation, stage = self._stage()
        simulation.queue.put(ours({"continuation": 99, "request": {}, "progress": {}}))  # of a release to come
        return self._run(simulation, stage)

    def forged(self) -> Timeline:
        simulation, stage = self._stage()
        simulation.queue.put('{"continuation": 1, "request": {}, "progress": {}}')
        return self._run(simulation, stage)

    def no_verdict(self, seconds: float, behaviour: Behaviour | None = None) -> Timeline:
        """A request every five minutes, none of which gets anywhere as long as servers do nothing but reboot."""
        simulation, stage = self._stage(BY_DEFAULT)
        server = stage.server(state=RUNNING if behaviour else REBOOTING)
        for at in range(0, round(seconds), 300):
            stage.request(server, stage.disk(server, behaviour=behaviour or PROMPT))
            simulation.queue.put(stage.bodies()[-1], delay=at)
        return self._run(simulation, until=seconds)

    def records_returned(self, seconds: float) -> Timeline:
        """Nobody can be told anything, as there are no credentials of AWS: SQS hands the message out again and again.

        Both are the template's: for how long it is held back each time, and how often it is handed out.
        """
        self._settings(REQUEST_QUEUE_URL="https://queue.example", OS_AUTH_URL="http://127.0.0.1:9", OS_USERNAME="u",
                       OS_PASSWORD="p", OS_PROJECT_ID="0" * 32)  # fmt: skip
        queue = RESOURCES["RequestQueue"]["Properties"]
        for received in range(queue["RedrivePolicy"]["maxReceiveCount"]):
            at = received * queue["VisibilityTimeout"]
            if at < seconds:
                answer = detach_volume({"Records": [sqs_record("{not json", "m-1")]}, LambdaContext("detach-volume"))
                assert answer == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
                self._write(at)
        return self.happened

    # ------------------------------------------------------------------------------ AWS's own metrics

    def failing(self, function: str) -> Timeline:
        """Lambda itself counts errors, one for each invocation that raises: that it raises is what is shown here."""
        self._settings(REQUEST_QUEUE_URL="")
        event = payload("POST", "/", [], b"") if function.startswith("Receive") else {"Records": []}
        with pytest.raises(SettingsError):
            HANDLERS[function](event, LambdaContext(function))
        self._of_aws(0, "AWS/Lambda", "Errors", ("FunctionName", function), 1)
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
                self._of_aws(
                    at, "AWS/SQS", f"ApproximateNumberOfMessages{metric}", ("QueueName", "DeadLetterQueue.QueueName"),
                    float(counted[f"ApproximateNumberOfMessages{attribute}"]),
                )  # fmt: skip
        return self.happened

    def stalled(self, seconds: float) -> Timeline:
        """SQS itself measures ages, once a minute: that of a message which nobody takes, half an hour and longer."""
        simulation, _ = self._stage()
        message = simulation.queue.put("{}")
        threshold = ALARMS["QueueStalledAlarm"]["Threshold"]
        for _ in range(0, round(threshold + seconds), 60):
            age = (simulation.clock() - message.sent_at).total_seconds()
            self._of_aws(age, "AWS/SQS", "ApproximateAgeOfOldestMessage", ("QueueName", "RequestQueue.QueueName"), age)
            simulation.clock.sleep(60)
        return self.happened

    # ------------------------------------------------------------------------------------------ how

    def _stage(self, settings: Mapping[str, str] = SETTINGS, **options: Any) -> tuple[Measured, Stage]:
        simulation = Measured(scenario_cloud, settings, **options)
        return simulation, Stage(simulation.cloud, "alarm")

    def _told(self, **consumers: Consumer) -> Timeline:
        simulation, stage = self._stage(consumers=consumers)
        stage.request(stage.server(), stage.disk())
        return self._run(simulation, stage)

    def _run(self, simulation: Measured, stage: Stage | None = None, until: float = math.inf) -> Timeline:
        """Each delivery an invocation, whose metrics bear the time at which it ended."""
        for body in stage.bodies() if stage else ():
            simulation.queue.put(body)
        while (simulation.clock() - START).total_seconds() < until and simulation.step():
            self._write((simulation.clock() - START).total_seconds())
        return self.happened

    def _write(self, at: float) -> None:
        meters.flush()
        self.happened.add(at, Samples.of(self.written()))

    def _of_aws(self, at: float, namespace: str, metric: str, dimension: tuple[str, str], value: float) -> None:
        self.happened.add(at, Samples({(namespace, metric, frozenset({dimension})): [value]}))

    def _settings(self, **values: str) -> None:
        for name, value in values.items():
            self.patch.setenv(name, value)
        for wired in (service, dead_letters, webhook_endpoint):
            wired.cache_clear()


@dataclass(frozen=True)
class Deaf:
    """A consumer that says no, to whatever it is."""

    no: NotTaken

    def wants(self, event: Event, /) -> bool:
        return True

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        return self.no


AT_ONCE: Mapping[str, Callable[[Watch], Timeline]] = {
    "DeadLettersAlarm": Watch.dead_letter,
    "ForgedMessagesAlarm": Watch.forged,
    "StuckInDetachingAlarm": lambda watch: watch.scenario("stuck-for-ever", BY_DEFAULT),
    "UnconfirmedAlarm": lambda watch: watch.scenario("stuck-then-late-success"),
    "AuthorisationAlarm": lambda watch: watch.scenario("forbidden"),
    "EmitFailuresAlarm": Watch.bus_refuses,
    "SinkFailuresAlarm": Watch.sink_refuses,
    "TaskFailuresAlarm": Watch.task_cannot_be_told,
    "DetachVolumeErrorsAlarm": lambda watch: watch.failing("DetachVolumeFunction"),
    "ReportDeadLetterErrorsAlarm": lambda watch: watch.failing("ReportDeadLetterFunction"),
    "ReceiveWebhookErrorsAlarm": lambda watch: watch.failing("ReceiveWebhookFunction"),
}
"""What sets off the alarms that one period is enough for."""

LASTING: Mapping[str, Callable[[Watch, float], Timeline]] = {
    "DeadLetterQueueAlarm": Watch.letters,
    "ThrottlingAlarm": Watch.throttled,
    "RecordsReturnedAlarm": Watch.records_returned,
    "QueueStalledAlarm": Watch.stalled,
    "NoVerdictsAlarm": Watch.no_verdict,
}
"""What sets off the others, if it lasts."""


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


def named(value: Any) -> str:
    """A dimension's value: the stack's name is the service, other things go by their names in the template."""
    match value:
        case {"Ref": "AWS::StackName"}:
            return SERVICE
        case {"Ref": str(name)} | {"GetAtt": str(name)}:
            return name
    return str(value)


def statistic(metric: Mapping[str, Any], stat: str, happened: Timeline, start: float, end: float) -> float | None:
    """What CloudWatch makes of the values of one period; None without any."""
    dimensions = {entry["Name"]: named(entry["Value"]) for entry in metric["Dimensions"]}
    key = metric["Namespace"], metric["MetricName"], frozenset(dimensions.items())
    samples = happened.between(key, start, end)
    return samples.get(metric["MetricName"], stat, namespace=metric["Namespace"], **dimensions)


def period_of(alarm: Mapping[str, Any]) -> int:
    """The length of its periods; those of metric math have one in common."""
    periods = {e["MetricStat"]["Period"] for e in alarm.get("Metrics", ()) if "MetricStat" in e} or {alarm["Period"]}
    (period,) = periods
    return int(period)


def needed_of(alarm: Mapping[str, Any]) -> int:
    """How many of the last EvaluationPeriods have to be breaching."""
    return int(alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]))


def breached(alarm: Mapping[str, Any], happened: Timeline, start: float) -> bool:
    """Whether the period that begins at `start` is breaching; one without data is not, as each alarm says."""
    assert alarm["TreatMissingData"] == "notBreaching"
    math = alarm.get("Metrics")
    end = start + period_of(alarm)
    value = (
        calculated(math, happened, start, end) if math else statistic(alarm, alarm["Statistic"], happened, start, end)
    )
    return False if value is None else COMPARED[alarm["ComparisonOperator"]](value, alarm["Threshold"])


def states(alarm: Mapping[str, Any], happened: Timeline, phase: float = 0) -> list[bool]:
    """In alarm or not, after each period: enough of the last EvaluationPeriods are breaching.

    CloudWatch's window slides: it asks anew each minute, and periods begin whenever they have to for that. `phase` is
    by how much one begins before START.
    """
    period, window = period_of(alarm), alarm["EvaluationPeriods"]
    count = math.floor((happened.ends + phase) / period) + 1
    found = [False] * (window - 1) + [breached(alarm, happened, at * period - phase) for at in range(count)]
    return [sum(found[at : at + window]) >= needed_of(alarm) for at in range(count)]


def fires(alarm: Mapping[str, Any], happened: Timeline, phase: float = 0) -> bool:
    return any(states(alarm, happened, phase))


def calculated(metrics: Sequence[Mapping[str, Any]], happened: Timeline, start: float, end: float) -> float:
    """Metric math, as far as the template uses it: IF, FILL, AND and the operators mean what they mean in Python."""
    values: dict[str, float | None] = {}
    for entry in metrics:
        if stat := entry.get("MetricStat"):
            values[entry["Id"]] = statistic(stat["Metric"], stat["Stat"], happened, start, end)
    (expression,) = [entry["Expression"] for entry in metrics if "Expression" in entry]
    assert re.fullmatch(r"[A-Za-z0-9_(),<>+ ]+", expression)
    known = {"IF": lambda asked, then, other: then if asked else other, "FILL": lambda v, d: d if v is None else v}
    return float(eval(expression.replace("AND", "and"), {"__builtins__": {}}, {**known, **values}))


def lasting(name: str, periods: int) -> float:
    return float(periods * period_of(ALARMS[name]))


def test_every_alarm_is_tried() -> None:
    """An alarm that nobody has seen firing is none, and one that has to last is seen not to fire too early."""
    assert {name for name, alarm in ALARMS.items() if alarm["EvaluationPeriods"] == 1} == set(AT_ONCE)
    assert {name for name, alarm in ALARMS.items() if alarm["EvaluationPeriods"] > 1} == set(LASTING)


@pytest.mark.parametrize("name", AT_ONCE)
def test_an_alarm_fires(name: str, watch: Watch) -> None:
    """What it watches for sets it off at once, over the metrics that are really written."""
    assert fires(ALARMS[name], AT_ONCE[name](watch))


@pytest.mark.parametrize("name", LASTING)
def test_an_alarm_fires_if_it_lasts(name: str, watch: Watch) -> None:
    """What lasts for all of its periods sets it off."""
    assert fires(ALARMS[name], LASTING[name](watch, lasting(name, ALARMS[name]["EvaluationPeriods"])))


@pytest.mark.parametrize("name", LASTING)
def test_an_alarm_fires_wherever_its_periods_begin(name: str, watch: Watch) -> None:
    """What lasts for one period more sets it off whenever it began."""
    happened = LASTING[name](watch, lasting(name, ALARMS[name]["EvaluationPeriods"] + 1))
    phases = range(0, period_of(ALARMS[name]), 60)
    assert [phase for phase in phases if not fires(ALARMS[name], happened, phase)] == []


@pytest.mark.parametrize("name", LASTING)
def test_an_alarm_is_silent_if_it_does_not_last(name: str, watch: Watch) -> None:
    """One period less than is needed wakes nobody, though something has happened."""
    happened = LASTING[name](watch, lasting(name, needed_of(ALARMS[name]) - 1))
    assert happened.values
    assert not fires(ALARMS[name], happened)


def test_nothing_fires_when_all_goes_well(watch: Watch) -> None:
    """A detach that succeeds, and one that is refused for a good reason, wake nobody."""
    for scenario in ("accepted-202", "windows-running", "silent-refusal"):
        happened = watch.scenario(scenario)
        assert [name for name, alarm in ALARMS.items() if fires(alarm, happened)] == []


def test_a_stuck_detach_is_one_alarm(watch: Watch) -> None:
    """From half an hour after its acceptance to its verdict the alarm stays as it is, wherever its periods begin."""
    alarm = ALARMS["StuckInDetachingAlarm"]
    happened = watch.scenario("stuck-for-ever", BY_DEFAULT)
    assert happened.ends > 6 * 3600
    for phase in range(0, period_of(alarm), 60):
        after = states(alarm, happened, phase)
        first = after.index(True)
        assert first * period_of(alarm) - phase <= 2 * alarm["Threshold"]
        assert all(after[first:])


def test_a_sink_that_is_away_for_a_day_is_told_of(watch: Watch) -> None:
    """A verdict that nobody took in all that time is a failure, like one that was refused."""
    happened = watch.sink_is_away()
    assert happened.ends >= 24 * 3600
    assert fires(ALARMS["SinkFailuresAlarm"], happened)


def test_no_verdicts_are_told_of_before_requests_give_up(watch: Watch) -> None:
    """The alarm is on, wherever its periods begin, in half the time after which `gave_up` ends the silence."""
    alarm = ALARMS["NoVerdictsAlarm"]
    period = period_of(alarm)
    happened = watch.no_verdict(2 * 3600)
    (silent, _), *_ = happened.values["BmsVolumeDetach", "Verdicts", frozenset({("service", SERVICE)})]
    assert 3600 <= silent < 3700
    on = [period * (states(alarm, happened, phase).index(True) + 1) - phase for phase in range(0, period, 60)]
    assert max(on) <= silent / 2


def test_slow_detaches_are_not_without_verdicts(watch: Watch) -> None:
    """What the cloud has accepted is told of as unconfirmed in time, however long it takes."""
    alarm = ALARMS["NoVerdictsAlarm"]
    happened = watch.no_verdict(2 * 3600, Behaviour(stuck=True))
    assert [phase for phase in range(0, period_of(alarm), 60) if fires(alarm, happened, phase)] == []


@pytest.mark.parametrize("name", [*ALARMS, "CanaryAlarm"])
def test_an_alarm_names_its_runbook(name: str) -> None:
    """The description leads to a section that is there, and that the table of alarms names."""
    page = (ROOT / "docs" / "operations.md").read_text()
    (anchor,) = re.findall(
        r"docs/operations\.md#([a-z0-9-]+)", (ALARMS | {"CanaryAlarm": CANARY})[name]["AlarmDescription"]
    )
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert f"`{name}`" in page
    assert f"(#{anchor})" in page


def test_the_dashboard_shows_what_is_written(watch: Watch) -> None:
    """Every metric of ours on the dashboard is one that the code writes, with those dimensions."""
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Sub"]
    shown = set(re.findall(r'\["BmsVolumeDetach", "(\w+)"', body)) | set(re.findall(r'MetricName=\\\\?"(\w+)', body))
    for name in ("stuck-then-late-success", "forbidden"):
        watch.scenario(name)
    watch.throttled(60)
    watch.sink_refuses()
    watch.dead_letter()
    watch.forged()
    watch.records_returned(60)
    assert shown == {metric for _, metric, _ in watch.happened.values}
    assert json.loads(body)["widgets"]
