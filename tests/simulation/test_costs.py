"""The counts behind the computed costs match a simulation of the service and the measured benchmark."""

import io
import json
from contextlib import redirect_stdout

import pytest

from shared.policy import POLL
from shared.telemetry.logs import logger
from shared.telemetry.metrics import meters
from simulator import Behaviour
from simulator.scenarios import scenario_cloud
from simulator.scenarios.stage import Stage
from tests.simulation.measured import Measured, Samples
from tools.costs.bill import Usage, works
from tools.costs.counted import CHECK, DETACHES, Counted, between
from tools.costs.measured import LATENCY, VCPU_MB, our_bench

measured_with_this_schedule = pytest.mark.skipif(
    our_bench().looks != POLL, reason="benchmarks/results.json is of another look schedule: make bench"
)


def done(seconds: float, dry_run: bool = False) -> Counted:
    """The counts of a single request for a disk whose detach takes `seconds`."""
    logger.clear_state()  # a handler that ran in this process may have added keys
    stack = Measured(scenario_cloud)
    stage = Stage(stack.cloud, "cost")
    server = stage.server()
    volume = stage.disk(server, behaviour=Behaviour(seconds=seconds))
    stage.request(server, volume, dry_run=dry_run)
    stack.queue.put(stage.bodies()[0])
    meters.flush()
    written = io.StringIO()
    invocations = 0
    with redirect_stdout(written):
        while stack.step():
            invocations += 1
            meters.flush()
    embedded = written.getvalue()
    calls = [call.operation for call in stack.cloud.calls if call.operation != "get_token"]
    return Counted(
        seconds=seconds,
        invocations=invocations,
        calls=len(calls),
        events=len(stack.bus.events),
        event_bytes=sum(len(json.dumps(event)) for event in stack.bus.events),
        log_bytes=len(embedded) + sum(len(line) + 1 for line in stack.logs),
        metrics=len(Samples.of(embedded).values),
    )


def counts(one: Counted) -> tuple[float, ...]:
    return one.invocations, one.calls, one.events, one.metrics


@pytest.mark.parametrize("row", DETACHES, ids=lambda row: f"{row.seconds:g} s")
def test_a_row_of_the_counts(row: Counted) -> None:
    """Each row of `DETACHES` has the counts of a simulated detach of that length."""
    seen = done(row.seconds)

    assert counts(row) == counts(seen)
    assert row.log_bytes == pytest.approx(seen.log_bytes, rel=0.05)
    assert row.event_bytes == pytest.approx(seen.event_bytes, rel=0.05)


def test_a_dry_run() -> None:
    """A dry run, as a canary sends it, is one look and one event."""
    seen = done(5, dry_run=True)

    assert counts(CHECK) == counts(seen)
    assert CHECK.log_bytes == pytest.approx(seen.log_bytes, rel=0.05)
    assert CHECK.event_bytes == pytest.approx(seen.event_bytes, rel=0.05)


@pytest.mark.parametrize("seconds", [2, 10, 45, 300, 1800])
def test_between_two_rows(seconds: float) -> None:
    """For a length between two rows, the interpolated counts are off by a few looks at most."""
    seen = done(seconds)

    assert between(seconds).invocations == pytest.approx(seen.invocations, rel=0.15, abs=1)
    assert between(seconds).calls == pytest.approx(seen.calls, rel=0.15, abs=1)


@measured_with_this_schedule
def test_the_bench_made_as_many_calls() -> None:
    assert between(30).calls == our_bench().calls_30


@measured_with_this_schedule
def test_the_bench_was_billed_as_much() -> None:
    """With the benchmark's cloud and a full core, the formula is within a tenth of the measured times."""
    bench = our_bench()

    def warm(seconds: float) -> float:
        usage = Usage(detaches=1, seconds=seconds, cloud_ms=LATENCY, aws_ms=0, memory=VCPU_MB, cold=0)
        return works(usage, bench, VCPU_MB).detaches.warm_ms

    assert bench.billed
    assert {seconds: pytest.approx(ms, rel=0.1) for seconds, ms in bench.billed.items()} == {
        seconds: warm(seconds) for seconds in bench.billed
    }
