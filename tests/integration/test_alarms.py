"""Each alarm of the template fires when what it watches for happens, and is silent when all goes well."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from functions.detach_volume.handler import lambda_handler as detach_volume
from functions.receive_webhook.handler import lambda_handler as receive_webhook
from functions.report_dead_letter.handler import lambda_handler as report_dead_letter
from local.aws_stand_in import DEAD_LETTERS, REQUESTS, AwsStandIn
from local.cloud import bodies, faults
from local.function_url import payload
from local.poller import LambdaContext
from local.scenarios import SETTINGS, scenario_cloud
from local.scenarios.stage import Stage
from shared.adapters.aws import SQS
from shared.bootstrap import dead_letters, service
from shared.bootstrap_door import door
from shared.metrics import meters
from shared.observability import SERVICE
from shared.ports import Event, NotTaken
from shared.settings import SettingsError
from tests.contract.test_template import RESOURCES
from tests.fakes import sqs_record
from tests.simulation.measured import Measured, Samples, finished, played

ROOT = Path(__file__).parents[2]
ALARMS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
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
SECONDS_TO_STALL = 1900


class Watch:
    """What happens, and the metrics that come of it."""

    def __init__(self, written: Callable[[], str], aws: AwsStandIn, patch: pytest.MonkeyPatch) -> None:
        self.written, self.aws, self.patch = written, aws, patch

    # ------------------------------------------------------------------------- metrics of our own

    def scenario(self, name: str, settings: Mapping[str, str] = SETTINGS) -> Samples:
        return played(name, self.written, settings)

    def throttled(self) -> Samples:
        simulation, stage = self._stage()
        for _ in range(12):
            server = stage.server()
            disk = stage.disk(server)
            stage.fault(faults.answer(bodies.nova_fault("overLimit", 429, "slow down")), "get_volume", volume_id=disk)
            stage.request(server, disk)
        return self._run(simulation, stage)

    def sink_refuses(self) -> Samples:
        class Sink:
            def wants(self, event: Event, /) -> bool:
                return True

            def deliver(self, event: Event) -> NotTaken | None:
                return NotTaken("HTTP 404", again=False)

        simulation, stage = self._stage(consumers={"sink": Sink()})
        stage.request(stage.server(), stage.disk())
        return self._run(simulation, stage)

    def bus_refuses(self) -> Samples:
        simulation, stage = self._stage()
        stage.request(stage.server(), stage.disk())
        self.patch.setattr(simulation.bus, "emit", self._refuse)
        for body in stage.bodies():
            simulation.queue.put(body)
        simulation.step()
        return self._read()

    def dead_letter(self) -> Samples:
        simulation, _ = self._stage()
        simulation.queue.put('{"continuation": 99, "request": {}, "progress": {}}')  # of a release to come
        return finished(simulation, self.written)

    def no_verdict(self) -> Samples:
        simulation, stage = self._stage()
        server = stage.server()
        stage.request(server, stage.disk(server))
        for body in stage.bodies():
            simulation.queue.put(body)
        simulation.step()
        return self._read()

    def records_returned(self) -> Samples:
        """Nobody can be told anything: there are no credentials of AWS."""
        self._settings(REQUEST_QUEUE_URL="https://queue.example", OS_AUTH_URL="http://127.0.0.1:9", OS_USERNAME="u",
                       OS_PASSWORD="p", OS_PROJECT_ID="0" * 32)  # fmt: skip
        answer = detach_volume({"Records": [sqs_record("{not json", "m-1")]}, LambdaContext("detach-volume"))
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
        return Samples.of(self.written())

    # ------------------------------------------------------------------------------ AWS's own metrics

    def failing(self, function: str) -> Samples:
        """An invocation that raises is what Lambda counts as an error."""
        self._settings(REQUEST_QUEUE_URL="")
        event = payload("POST", "/", [], b"") if function.startswith("Receive") else {"Records": []}
        with pytest.raises(SettingsError):
            HANDLERS[function](event, LambdaContext(function))
        return self._of_aws("AWS/Lambda", "Errors", "FunctionName", function, 1)

    def letters(self) -> Samples:
        self.aws.send(DEAD_LETTERS, "{}")
        names = ["ApproximateNumberOfMessages"]
        answer = self.aws.client.call(
            SQS, "GetQueueAttributes", {"QueueUrl": self.aws.queue_urls[DEAD_LETTERS], "AttributeNames": names}
        )
        count = float(answer["Attributes"][names[0]])
        return self._of_aws(
            "AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "DeadLetterQueue.QueueName", count
        )

    def stalled(self) -> Samples:
        """Nobody takes a message: its age by its own timestamp, half an hour from now."""
        self.aws.send(REQUESTS, "{}")
        answer = self.aws.client.call(
            SQS, "ReceiveMessage", {"QueueUrl": self.aws.queue_urls[REQUESTS], "AttributeNames": ["All"]}
        )
        sent = int(answer["Messages"][0]["Attributes"]["SentTimestamp"]) / 1000
        age = sent + SECONDS_TO_STALL - sent
        return self._of_aws("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "RequestQueue.QueueName", age)

    # ------------------------------------------------------------------------------------------ how

    def _stage(self, **options: Any) -> tuple[Measured, Stage]:
        simulation = Measured(scenario_cloud, SETTINGS, **options)
        return simulation, Stage(simulation.cloud, "alarm")

    def _run(self, simulation: Measured, stage: Stage) -> Samples:
        for body in stage.bodies():
            simulation.queue.put(body)
        return finished(simulation, self.written)

    def _read(self) -> Samples:
        meters.flush()
        return Samples.of(self.written())

    @staticmethod
    def _refuse(events: Sequence[Event]) -> Mapping[int, str]:
        return dict.fromkeys(range(len(events)), "InternalFailure")

    @staticmethod
    def _of_aws(namespace: str, metric: str, dimension: str, name: str, value: float) -> Samples:
        return Samples({(namespace, metric, frozenset({(dimension, name)})): [value]})

    def _settings(self, **values: str) -> None:
        for name, value in values.items():
            self.patch.setenv(name, value)
        for wired in (service, dead_letters, door):
            wired.cache_clear()


FIRED_BY: Mapping[str, Callable[[Watch], Samples]] = {
    "DeadLetterQueueAlarm": Watch.letters,
    "DeadLettersAlarm": Watch.dead_letter,
    "StuckInDetachingAlarm": lambda watch: watch.scenario("stuck-for-ever", {}),
    "UnconfirmedAlarm": lambda watch: watch.scenario("stuck-then-late-success"),
    "AuthorisationAlarm": lambda watch: watch.scenario("forbidden"),
    "EmitFailuresAlarm": Watch.bus_refuses,
    "SinkFailuresAlarm": Watch.sink_refuses,
    "ThrottlingAlarm": Watch.throttled,
    "RecordsReturnedAlarm": Watch.records_returned,
    "DetachVolumeErrorsAlarm": lambda watch: watch.failing("DetachVolumeFunction"),
    "ReportDeadLetterErrorsAlarm": lambda watch: watch.failing("ReportDeadLetterFunction"),
    "ReceiveWebhookErrorsAlarm": lambda watch: watch.failing("ReceiveWebhookFunction"),
    "QueueStalledAlarm": Watch.stalled,
    "NoVerdictsAlarm": Watch.no_verdict,
}


@pytest.fixture
def watch(capsys: pytest.CaptureFixture[str], aws: AwsStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Without variables of AWS's, with empty queues, and metrics from now on."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "POWERTOOLS_METRICS_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    meters.flush()
    capsys.readouterr()
    yield Watch(lambda: json_lines(capsys.readouterr().out), aws, monkeypatch)
    for wired in (service, dead_letters, door):
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


def statistic(metric: Mapping[str, Any], stat: str, samples: Samples) -> float | None:
    dimensions = {entry["Name"]: named(entry["Value"]) for entry in metric["Dimensions"]}
    key = metric["Namespace"], metric["MetricName"], frozenset(dimensions.items())
    return Samples({key: samples.values.get(key, [])}).get(
        metric["MetricName"], stat, namespace=metric["Namespace"], **dimensions
    )


def fires(alarm: Mapping[str, Any], samples: Samples) -> bool:
    """Whether CloudWatch would find a period breached that holds these samples; nothing there is no breach."""
    math = alarm.get("Metrics")
    value = calculated(math, samples) if math else statistic(alarm, alarm["Statistic"], samples)
    assert alarm["TreatMissingData"] == "notBreaching"
    return False if value is None else COMPARED[alarm["ComparisonOperator"]](value, alarm["Threshold"])


def calculated(metrics: Sequence[Mapping[str, Any]], samples: Samples) -> float:
    """Metric math, as far as the template uses it: IF, FILL, AND and comparisons mean what they mean in Python."""
    values: dict[str, float | None] = {}
    for entry in metrics:
        if stat := entry.get("MetricStat"):
            values[entry["Id"]] = statistic(stat["Metric"], stat["Stat"], samples)
    (expression,) = [entry["Expression"] for entry in metrics if "Expression" in entry]
    assert re.fullmatch(r"[A-Za-z0-9_(),<> ]+", expression)
    known = {"IF": lambda asked, then, other: then if asked else other, "FILL": lambda v, d: d if v is None else v}
    return float(eval(expression.replace("AND", "and"), {"__builtins__": {}}, {**known, **values}))


def test_every_alarm_is_tried() -> None:
    """An alarm that nobody has seen firing is none."""
    assert set(FIRED_BY) == set(ALARMS)


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_fires(name: str, watch: Watch) -> None:
    """What it watches for sets it off, over the metrics that are really written."""
    assert fires(ALARMS[name], FIRED_BY[name](watch))


def test_nothing_fires_when_all_goes_well(watch: Watch) -> None:
    """A detach that succeeds, and one that is refused for a good reason, wake nobody."""
    for scenario in ("accepted-202", "windows-running", "silent-refusal"):
        samples = watch.scenario(scenario)
        assert [name for name, alarm in ALARMS.items() if fires(alarm, samples)] == []


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_names_its_runbook(name: str) -> None:
    """The description leads to a section that is there, and that the table of alarms names."""
    page = (ROOT / "docs" / "operations.md").read_text()
    (anchor,) = re.findall(r"docs/operations\.md#([a-z0-9-]+)", ALARMS[name]["AlarmDescription"])
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert f"`{name}`" in page
    assert f"(#{anchor})" in page


def test_the_dashboard_shows_what_is_written(watch: Watch) -> None:
    """Every metric of ours on the dashboard is one that the code writes, with those dimensions."""
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Sub"]
    shown = set(re.findall(r'\["BmsVolumeDetach", "(\w+)"', body)) | set(re.findall(r'MetricName=\\\\?"(\w+)', body))
    happened = [
        *(watch.scenario(name) for name in ("stuck-then-late-success", "forbidden")),
        *(drive() for drive in (watch.throttled, watch.sink_refuses, watch.dead_letter, watch.records_returned)),
    ]
    known = {metric for samples in happened for _, metric, _ in samples.values}
    assert shown == known
    assert json.loads(body)["widgets"]
