"""The model of CloudWatch against CloudWatch's documentation."""

from typing import Any

import pytest

from tests.cloudwatch import Alarm, Key, Lag, Timeline

KEY: Key = ("Any", "Metric", frozenset())
STAT = {"Metric": {"Namespace": "Any", "MetricName": "Metric", "Dimensions": []}, "Period": 60, "Stat": "Sum"}


def alarm(needed: int, window: int, missing: str = "notBreaching", **changes: Any) -> Alarm:
    plain = {"Namespace": "Any", "MetricName": "Metric", "Dimensions": [], "Statistic": "Sum", "Period": 60}
    compared = {"ComparisonOperator": "GreaterThanOrEqualToThreshold", "Threshold": 1, "TreatMissingData": missing}
    return Alarm({**(changes or plain), **compared, "DatapointsToAlarm": needed, "EvaluationPeriods": window})


def minutes(datapoints: str) -> Timeline:
    """A letter for each minute, as the documentation has it: 0, X for a breaching value, - for none."""
    timeline = Timeline()
    for minute, letter in enumerate(datapoints.split()):
        if letter != "-":
            timeline.put(KEY, 60 * minute, float(letter == "X"))
    return timeline


def is_on(asked: Alarm, datapoints: str) -> bool:
    """What is decided at the end of these five minutes, all of which are retrieved."""
    states = dict(asked.states(minutes(datapoints), more=5 - asked.window))
    return states[300]


@pytest.mark.parametrize(
    ("needed", "datapoints", "breaching", "not_breaching"),
    [
        (3, "0 - X - X", False, False),
        (3, "0 - - - -", False, False),
        (3, "- - - - -", True, False),
        (3, "0 X X - X", True, True),
        (3, "- - - - X", True, False),
        (3, "X - - - -", True, False),
        (2, "0 - X - X", True, True),
        (2, "0 0 X 0 X", True, True),
        (2, "0 - X - -", True, False),
        (2, "- - - - 0", True, False),
        (2, "- - - - X", True, False),
    ],
)
def test_missing_data_are_treated_as_documented(
    needed: int, datapoints: str, breaching: bool, not_breaching: bool
) -> None:
    """The rows of the tables of "Configuring how CloudWatch alarms treat missing data": five retrieved for three."""
    decided = [is_on(alarm(needed, 3, missing), datapoints) for missing in ("breaching", "notBreaching")]
    assert decided == [breaching, not_breaching]


@pytest.mark.parametrize(("needed", "window", "fires"), [(5, 5, False), (5, 10, True)])
def test_filled_data_are_not_missing(needed: int, window: int, fires: bool) -> None:
    """With FILL late datapoints are zeros, so five of five never breach."""
    filled: dict[str, Any] = {
        "Metrics": [{"Id": "filled", "Expression": "FILL(m, 0) + 0"}, {"Id": "m", "MetricStat": STAT}]
    }
    assert alarm(needed, window, **filled).fires(minutes("X " * 30), Lag(120, 120)) is fires


def test_data_that_come_after_their_window_are_not_seen() -> None:
    """One of one misses data later than its period; one of three sees them, and is on for three periods."""
    timeline, lag = minutes("X"), Lag(90, 90)
    assert not alarm(1, 1).fires(timeline, lag)
    assert [now for now, on in alarm(1, 3).states(timeline, lag) if on] == [180]
    assert [now for now, on in alarm(1, 3).states(timeline) if on] == [60, 120, 180]
