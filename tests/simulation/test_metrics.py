"""Every metric has the right value: scenarios on virtual time, with metrics read from the log."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from shared.cloud.answers import TABLE
from shared.model import AnswerClass
from shared.ports import Event
from shared.telemetry.logs import SERVICE
from shared.telemetry.metrics import NAMESPACE, THROTTLES, meters
from simulator.scenarios import SETTINGS, scenario_cloud
from simulator.scenarios.stage import Stage
from tests.simulation.measured import Measured, Samples, finished, played
from tests.simulation.stories import PROMPT

Capture = Callable[[], str]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Capture]:
    """Returns what was written to standard output since the last call; metrics of other tests are dropped first."""
    meters.flush()
    capsys.readouterr()
    yield lambda: capsys.readouterr().out
    meters.flush()


def test_a_detach_that_goes_well(written: Capture) -> None:
    """One request, one verdict, its calls and its duration; no metric of a problem."""
    metrics = played("accepted-202", written)
    assert (metrics.get("Requests"), metrics.get("Verdicts")) == (1, 1)
    assert metrics.get("Verdicts", verdict="detached", reason="none") == 1
    assert metrics.get("CloudCalls", operation="delete_attachment", answer="2xx") == 1
    assert metrics.get("CloudCalls", operation="get_volume", answer="2xx") == 3
    took = metrics.get("SecondsToVerdict", "Maximum") or 0
    assert 1.5 <= took <= 8
    assert 0 < (metrics.get("SecondsInDetaching", "Maximum") or 0) <= took
    assert 0 <= (metrics.get("OldestInFlight", "Maximum") or 0) <= took
    assert metrics.get("SecondsOverdue", "Maximum") == 0
    trouble = ("Throttled", "Unconfirmed", "EmitFailures", "AuthorisationFailures", "DeadLetters", "RecordsReturned")
    assert [metrics.get(name) for name in trouble] == [None] * len(trouble)


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [("silent-refusal", "refused_by_server"), ("windows-running", "attestation_required"),
     ("never-readable", "gave_up"), ("reattached-before-delete", "superseded")],
)  # fmt: skip
def test_failures_by_reason(scenario: str, reason: str, written: Capture) -> None:
    """A failure counts only under its own reason."""
    metrics = played(scenario, written)
    assert metrics.dimensions("Verdicts") == [{"verdict": "failed", "reason": reason}]
    assert metrics.get("Verdicts", verdict="failed", reason=reason) == 1


def test_a_summary_is_no_verdict(written: Capture) -> None:
    """A request for all data disks counts as one request with a verdict for each disk, without the summary."""
    metrics = played("all-data-disks-one-refused", written)
    assert (metrics.get("Requests"), metrics.get("Verdicts")) == (1, 3)
    assert metrics.get("Verdicts", verdict="failed", reason="refused_by_server") == 1


def test_a_detach_that_stays(written: Capture) -> None:
    """Unconfirmed once, then failed; the time in detaching is measured to the end."""
    metrics = played("stuck-for-ever", written)
    assert (metrics.get("Requests"), metrics.get("Unconfirmed"), metrics.get("Verdicts")) == (1, 1, 2)
    assert metrics.get("Verdicts", verdict="unconfirmed", reason="none") == 1
    assert metrics.get("Verdicts", verdict="failed", reason="stuck_detaching") == 1
    watched = float(SETTINGS["WATCH_TIMEOUT"]) - 1
    assert (metrics.get("SecondsInDetaching", "Maximum") or 0) >= watched
    assert (metrics.get("OldestInFlight", "Maximum") or 0) > float(SETTINGS["CONFIRM_TIMEOUT"])


@pytest.mark.parametrize("shape", ["429", "by-the-gateway", "with-400", "by-the-service"])
def test_throttling_in_its_disguises(shape: str, written: Capture) -> None:
    """A throttle counts as one with any status."""
    assert (played(f"throttled-{shape}", written).get("Throttled") or 0) >= 1


@pytest.mark.parametrize("scenario", ["forbidden", "wrong-project"])
def test_authorisation_failures(scenario: str, written: Capture) -> None:
    """Missing rights count; a wrong project is an error of the sender and does not."""
    assert played(scenario, written).get("AuthorisationFailures") == (1 if scenario == "forbidden" else None)


def test_a_cloud_that_does_not_answer(written: Capture) -> None:
    """Calls without an answer and 5xx answers of a gateway have their own dimensions."""
    lost = played("lost-answer-without-effect", written)
    assert lost.get("CloudCalls", operation="delete_attachment", answer="none") == 1
    sick = played("html-502", written)
    assert {"operation": "get_volume", "answer": "5xx"} in sick.dimensions("CloudCalls")


def test_shared_reads_count_once(written: Capture) -> None:
    """For several disks of one server in a batch, a shared read counts as one call."""
    simulation = Measured(scenario_cloud, SETTINGS)
    stage = Stage(simulation.cloud, "shared")
    server = stage.server()
    for disk in [stage.disk(server, behaviour=PROMPT) for _ in range(5)]:
        stage.request(server, disk)
    for body in stage.bodies():
        simulation.queue.put(body)
    simulation.deliver(simulation.queue.receive(10))
    meters.flush()
    metrics = Samples.of(written())
    asked = [call.operation for call in simulation.cloud.calls].count("get_server")
    assert (metrics.get("Requests"), metrics.get("CloudCalls", operation="get_server", answer="2xx")) == (5, asked)
    assert asked < 5


def test_what_is_no_request(written: Capture) -> None:
    """An invalid message counts as a request with a verdict, but without a duration."""
    simulation = Measured(scenario_cloud, SETTINGS)
    simulation.queue.put("{not json")
    metrics = finished(simulation, written)
    assert (metrics.get("Requests"), metrics.get("Verdicts")) == (1, 1)
    assert metrics.get("Verdicts", verdict="failed", reason="invalid_request") == 1
    assert metrics.get("SecondsToVerdict") is None


def test_a_bus_that_takes_nothing(written: Capture) -> None:
    """Each refusal of a verdict by the bus counts as a failure; the verdict counts once, when the bus accepts it."""
    simulation = Measured(scenario_cloud, SETTINGS)
    stage = Stage(simulation.cloud, "deaf")
    stage.request(stage.server(), stage.disk())
    simulation.queue.put(stage.bodies()[0])
    refused: list[str] = []

    def refuse(event: Event) -> bool:
        refused.append(event.id)
        return len(refused) <= 5

    simulation.bus.refuse = refuse
    metrics = finished(simulation, written)
    assert (metrics.get("EmitFailures", to="bus"), metrics.get("DeadLetters"), metrics.get("Verdicts")) == (5, None, 1)
    assert metrics.get("Verdicts", verdict="detached", reason="none") == 1


def test_dimensions_are_bounded(written: Capture) -> None:
    """No id is used as a dimension, because each value would be a separate, paid metric."""
    everything = [played(name, written) for name in ("stuck-for-ever", "forbidden", "html-502", "shared-disk")]
    names = {name for metrics in everything for _, _, dims in metrics.values for name, _ in dims}
    values = {value for metrics in everything for _, _, dims in metrics.values for _, value in dims}
    assert names == {"service", "operation", "answer", "verdict", "reason"}
    assert [value for value in values if any(c.isdigit() for c in value) and not value.endswith("xx")] == []


def test_codes_that_mean_throttling_are_known_ones() -> None:
    """Each throttling code is in the answer tables as retryable."""
    retried = {row.key.upper() for row in TABLE if row.kind is AnswerClass.RETRY}
    known = {code.upper().replace("APIG.", "APIGW.") for code in THROTTLES}
    assert known <= retried


def test_threads_lose_nothing(written: Capture) -> None:
    """Concurrent counts are all kept, and a line has at most as many values as CloudWatch accepts."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: meters.count("Requests"), range(1000)))
        list(pool.map(lambda n: meters.seconds("SecondsToVerdict", n), range(230)))
    meters.flush()
    text = written()
    metrics = Samples.of(text)
    assert metrics.get("Requests") == 1000
    assert metrics.get("SecondsToVerdict") == sum(range(230))
    assert max(len(json.loads(line).get("SecondsToVerdict", ())) for line in text.splitlines()) <= 100
    meters.flush()
    assert written() == ""


def test_lines_are_those_of_powertools(written: Capture) -> None:
    """The embedded metric format is the one that Powertools writes, but for the time."""
    meters.count("CloudCalls", operation="get_volume", answer="2xx")
    meters.count("Requests")
    meters.seconds("SecondsToVerdict", 1.5)
    meters.seconds("SecondsToVerdict", 2)
    meters.flush()
    ours = [json.loads(line) for line in written().splitlines()]

    calls, totals = (EphemeralMetrics(namespace=NAMESPACE, service=SERVICE) for _ in range(2))
    for name, value in (("answer", "2xx"), ("operation", "get_volume")):
        calls.add_dimension(name, value)
    calls.add_metric("CloudCalls", MetricUnit.Count, 1)
    totals.add_metric("Requests", MetricUnit.Count, 1)
    for seconds in (1.5, 2):
        totals.add_metric("SecondsToVerdict", MetricUnit.Seconds, seconds)
    calls.flush_metrics()
    totals.flush_metrics()
    theirs = [json.loads(line) for line in written().splitlines()]

    for line in (*ours, *theirs):
        assert isinstance(line["_aws"].pop("Timestamp"), int)
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        directive["Dimensions"] = [sorted(names) for names in directive["Dimensions"]]
    assert ours == theirs


def test_metrics_can_be_switched_off(written: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of Powertools keeps metrics out of standard output."""
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    meters.count("Requests")
    meters.flush()
    assert written() == ""
