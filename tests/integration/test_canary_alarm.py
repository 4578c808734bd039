"""The canary's alarm fires when runs stop to pass, whenever its periods begin, and not for one run that failed."""

from collections.abc import Sequence

import pytest

from shared.telemetry.logs import SERVICE
from tests.contract.test_template import TEMPLATE
from tests.integration.test_alarms import CANARY, COMPARED, Timeline, calculated, needed_of
from tests.simulation.measured import Samples

EVERY = {name: int(each["Seconds"]) for name, each in TEMPLATE["Mappings"]["CanaryEvery"].items() if name != "off"}
PASSED = ("BmsVolumeDetach", "CanarySeconds", frozenset({("service", SERVICE)}))
LATE = 120
"""Seconds, more than what a schedule and the way of a metric to CloudWatch are late together."""


def runs(every: int, passed: Sequence[bool]) -> Timeline:
    """The metric of runs that passed; each second one is as late as it may be."""
    happened = Timeline()
    for number, good in enumerate(passed):
        if good:
            happened.add(number * every + LATE * (number % 2), Samples({PASSED: [2.5]}))
    return happened


def in_alarm(happened: Timeline, every: int, now: float) -> bool:
    """What CloudWatch makes of the last three periods before `now`: FILL leaves none of them without a value."""
    last = range(1, CANARY["EvaluationPeriods"] + 1)
    values = [calculated(CANARY["Metrics"], happened, now - every * ago, now - every * (ago - 1)) for ago in last]
    breaching = [COMPARED[CANARY["ComparisonOperator"]](value, CANARY["Threshold"]) for value in values]
    return sum(breaching) >= needed_of(CANARY)


def alarms(every: int, passed: Sequence[bool]) -> list[int]:
    """The minutes, from the fourth run on, in which the alarm is on; CloudWatch asks each minute."""
    happened = runs(every, passed)
    return [at for at in range(3 * every, len(passed) * every, 60) if in_alarm(happened, every, at)]


def test_its_periods_are_those_of_the_schedule() -> None:
    """And what is missing is breaching: a metric that was never written cannot be filled."""
    (seen,) = (entry["MetricStat"] for entry in CANARY["Metrics"] if "MetricStat" in entry)
    assert seen["Period"] == {"FindInMap": ["CanaryEvery", {"Ref": "Canary"}, "Seconds"]}
    assert (seen["Metric"]["MetricName"], seen["Stat"]) == ("CanarySeconds", "SampleCount")
    assert CANARY["TreatMissingData"] == "breaching"


@pytest.mark.parametrize("every", EVERY.values(), ids=EVERY)
def test_it_is_silent_while_runs_pass(every: int) -> None:
    assert alarms(every, [True] * 12) == []


@pytest.mark.parametrize("every", EVERY.values(), ids=EVERY)
def test_one_run_that_failed_wakes_nobody(every: int) -> None:
    """Whichever of two runs it is, and however late the one after it."""
    for failed in (5, 6):
        assert alarms(every, [number != failed for number in range(12)]) == []


@pytest.mark.parametrize("every", EVERY.values(), ids=EVERY)
def test_it_fires_when_runs_stop_to_pass(every: int) -> None:
    """No later than three periods after the last one that passed, and a period more by the minutes it is late."""
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
