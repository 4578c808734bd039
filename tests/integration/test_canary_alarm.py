"""The canary's alarm fires when runs stop passing, at any offset of its periods, but not for one failed run."""

from collections.abc import Sequence

import pytest

from shared.telemetry.logs import SERVICE
from tests.cloudwatch import Alarm, Timeline
from tests.contract.test_template import TEMPLATE
from tests.integration.test_alarms import CANARY
from tests.simulation.measured import Samples

EVERY = {name: int(each["Seconds"]) for name, each in TEMPLATE["Mappings"]["CanaryEvery"].items() if name != "off"}
PASSED = ("BmsVolumeDetach", "CanarySeconds", frozenset({("service", SERVICE)}))
LATE = 120
"""Seconds, more than the delays of a schedule and of a metric together."""


def runs(every: int, passed: Sequence[bool]) -> Timeline:
    """The metric of passed runs; every other one has the maximum delay."""
    timeline = Timeline()
    for number, good in enumerate(passed):
        if good:
            timeline.add(number * every + LATE * (number % 2), Samples({PASSED: [2.5]}))
    timeline.ends = len(passed) * every
    return timeline


def of_period(every: int) -> Alarm:
    """The alarm of a canary with this interval."""
    metrics = [
        {**one, "MetricStat": {**one["MetricStat"], "Period": every}} if "MetricStat" in one else one
        for one in CANARY.properties["Metrics"]
    ]
    return Alarm({**CANARY.properties, "Metrics": metrics})


def alarms(every: int, passed: Sequence[bool]) -> list[int]:
    """The seconds, from the fourth run on, at which the alarm is on; CloudWatch evaluates each minute."""
    states = of_period(every).states(runs(every, passed))
    return [at for at, on in states if on and 3 * every <= at < len(passed) * every]


def test_its_periods_are_those_of_the_schedule() -> None:
    """Missing data are breaching, because a metric that was never written cannot be filled."""
    (seen,) = (entry["MetricStat"] for entry in CANARY.properties["Metrics"] if "MetricStat" in entry)
    assert seen["Period"] == {"FindInMap": ["CanaryEvery", {"Ref": "Canary"}, "Seconds"]}
    assert (seen["Metric"]["MetricName"], seen["Stat"]) == ("CanarySeconds", "SampleCount")
    assert CANARY.properties["TreatMissingData"] == "breaching"


@pytest.mark.parametrize("every", EVERY.values(), ids=EVERY)
def test_it_is_silent_while_runs_pass(every: int) -> None:
    assert alarms(every, [True] * 12) == []


@pytest.mark.parametrize("every", EVERY.values(), ids=EVERY)
def test_one_failed_run_raises_no_alarm(every: int) -> None:
    """No alarm fires, whichever run fails and however late the next one is."""
    for failed in (5, 6):
        assert alarms(every, [number != failed for number in range(12)]) == []


@pytest.mark.parametrize("every", EVERY.values(), ids=EVERY)
def test_it_fires_when_runs_stop_passing(every: int) -> None:
    """It fires at most three periods and the delay after the last passed run."""
    on = alarms(every, [True] * 5 + [False] * 7)
    last = 4 * every
    assert on
    assert min(on) - last <= 3 * every + LATE + 60
    assert on == list(range(min(on), 12 * every, 60))


@pytest.mark.parametrize("every", EVERY.values(), ids=EVERY)
def test_it_ends_with_the_next_run_that_passes(every: int) -> None:
    on = alarms(every, [True] * 5 + [False] * 4 + [True] * 4)
    assert on
    assert max(on) <= 9 * every + LATE
