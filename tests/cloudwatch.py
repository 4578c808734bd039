"""A model of CloudWatch's alarms: which values it keeps, when they arrive, and when alarms fire.

It follows the CloudWatch User Guide ("Alarm evaluation", "Configuring how CloudWatch alarms treat missing
data", "Metric math syntax and functions"):

- An alarm is evaluated every minute. A datapoint is the statistic over one period; the periods of an evaluation end at
  its time, so they slide.
- CloudWatch retrieves more periods than EvaluationPeriods, the *evaluation range*. AWS does not document how many
  more (five for three in its example), so this is a parameter here, and an alarm has to work with any value.
- The most recent EvaluationPeriods of the existing datapoints count. If there are fewer, the missing ones count as
  TreatMissingData says. The alarm is on if DatapointsToAlarm of them are breaching.
- FILL makes a datapoint for each period without one, including the latest, even if its data are only late.

The data of a minute arrive together and late. The delay is a parameter too (`Lag`), because AWS does not guarantee
one. The model leaves out values of one minute that arrive in parts, and data that never arrive.
"""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from zlib import crc32

from shared.telemetry.logs import SERVICE
from tests.simulation.measured import Samples

MINUTE = 60
COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}
FILLED: Mapping[str, float] = {"breaching": 1, "notBreaching": 0}

Key = tuple[str, str, frozenset[tuple[str, str]]]
"""A metric: its namespace, its name and its dimensions."""

Minute = tuple[float, float, int]
"""The sum of the values of one minute, the largest, and how many there are."""


@dataclass(frozen=True)
class Lag:
    """The delay in seconds of the data of a minute: random from `least` to `most`, for each minute."""

    least: int = 0
    most: int = 0

    def of(self, key: Key, minute: int) -> int:
        if self.least == self.most:
            return self.most
        return self.least + crc32(f"{key[1]} {minute}".encode()) % (self.most - self.least + 1)


PROMPT = Lag()


@dataclass
class Timeline:
    """Values of metrics by the minute in which they were written. All times are seconds from the start."""

    metrics: dict[Key, dict[int, Minute]] = field(default_factory=dict)
    ends: float = 0

    def add(self, at: float, samples: Samples) -> None:
        self.ends = max(self.ends, at)
        for key, values in samples.values.items():
            self.put(key, at, sum(values), max(values), len(values))

    def put(self, key: Key, at: float, total: float, most: float | None = None, count: int = 1) -> None:
        """One value, or several by their sum and the largest."""
        self.ends = max(self.ends, at)
        minutes, minute = self.metrics.setdefault(key, {}), math.floor(at / MINUTE)
        was = minutes.get(minute, (0.0, -math.inf, 0))
        minutes[minute] = was[0] + total, max(was[1], total if most is None else most), was[2] + count

    def add_shifted(self, other: "Timeline", at: float) -> None:
        """Add another timeline, shifted to start at the second `at`, in whole minutes."""
        shift = round(at / MINUTE)
        for key, minutes in other.metrics.items():
            for minute, (total, most, count) in minutes.items():
                self.put(key, (minute + shift) * MINUTE, total, most, count)
        self.ends = max(self.ends, other.ends + shift * MINUTE)


@dataclass
class ArrivedData:
    """The values of a metric that have arrived. Periods that have arrived completely are computed once."""

    timeline: Timeline
    lag: Lag
    _whole: dict[tuple[Key, str, int, int], float | None] = field(default_factory=dict)

    def statistic(self, key: Key, stat: str, start: int, end: int, now: int) -> float | None:
        """The statistic from `start` to `end`, as known by `now`, all in seconds; None without a value."""
        minutes = self.timeline.metrics.get(key)
        if not minutes:
            return None
        asked, whole = (key, stat, start, end), now >= end + self.lag.most
        if whole and asked in self._whole:
            return self._whole[asked]
        known = [
            minutes[at]
            for at in range(start // MINUTE, end // MINUTE)
            if at in minutes and (whole or (at + 1) * MINUTE + self.lag.of(key, at) <= now)
        ]
        value = STATISTICS[stat](known) if known else None
        if whole:
            self._whole[asked] = value
        return value


def _total(known: list[Minute]) -> float:
    return sum(total for total, _, _ in known)


def _most(known: list[Minute]) -> float:
    return max(most for _, most, _ in known)


def _count(known: list[Minute]) -> float:
    return sum(count for _, _, count in known)


STATISTICS = {"Sum": _total, "Maximum": _most, "SampleCount": _count}


def dimension_value(value: Any) -> str:
    """The value of a dimension: the stack's name is the service; resources have their names in the template."""
    match value:
        case {"Ref": "AWS::StackName"}:
            return SERVICE
        case {"Ref": str(name)} | {"GetAtt": str(name)}:
            return name
        case {"Select": [_, {"Split": [_, inner]}]}:
            return dimension_value(inner)
    return str(value)


def key_of(metric: Mapping[str, Any]) -> Key:
    dimensions = frozenset((entry["Name"], dimension_value(entry["Value"])) for entry in metric["Dimensions"])
    return metric["Namespace"], metric["MetricName"], dimensions


@dataclass(frozen=True)
class Alarm:
    """An alarm of the template, by its properties."""

    properties: Mapping[str, Any]

    @cached_property
    def period(self) -> int:
        """The period in seconds; metrics of an expression share one."""
        stats = [entry["MetricStat"] for entry in self.properties.get("Metrics", ()) if "MetricStat" in entry]
        (period,) = {stat["Period"] for stat in stats or [self.properties]}
        return int(period)

    @property
    def window(self) -> int:
        """EvaluationPeriods: N of "M of N"."""
        return int(self.properties["EvaluationPeriods"])

    @property
    def needed(self) -> int:
        """DatapointsToAlarm: M of "M of N"."""
        return int(self.properties.get("DatapointsToAlarm", self.window))

    @cached_property
    def metrics(self) -> dict[str, tuple[Key, str]]:
        """The watched metrics and their statistics, by their names in metric math."""
        if "Metrics" not in self.properties:
            return {"": (key_of(self.properties), self.properties["Statistic"])}
        stats = {entry["Id"]: entry["MetricStat"] for entry in self.properties["Metrics"] if "MetricStat" in entry}
        return {id_: (key_of(stat["Metric"]), stat["Stat"]) for id_, stat in stats.items()}

    def is_on(self, known: ArrivedData, now: int, more: int) -> bool:
        """Whether the alarm is on, with an evaluation range of `more` periods than the alarm evaluates."""
        ends = (now - at * self.period for at in range(self.window + more))
        datapoints = [value for end in ends if (value := self.datapoint(known, end, now)) is not None]
        compared, threshold = COMPARED[self.properties["ComparisonOperator"]], self.properties["Threshold"]
        breaching = sum(compared(value, threshold) for value in datapoints[: self.window])
        missing = max(0, self.window - len(datapoints))
        return breaching + missing * FILLED[self.properties["TreatMissingData"]] >= self.needed

    def datapoint(self, known: ArrivedData, end: int, now: int) -> float | None:
        """The datapoint of the period that ends then, as known now."""
        values = {
            id_: known.statistic(key, stat, end - self.period, end, now) for id_, (key, stat) in self.metrics.items()
        }
        return self._calculated(values) if "Metrics" in self.properties else values[""]

    def _calculated(self, values: Mapping[str, float | None]) -> float | None:
        """The metric math that the template uses: IF, FILL, AND, and operators as in Python.

        A metric without a datapoint and without FILL gives no result.
        """
        (expression,) = [entry["Expression"] for entry in self.properties["Metrics"] if "Expression" in entry]
        assert re.fullmatch(r"[A-Za-z0-9_(),<>+ ]+", expression)
        functions = {"IF": lambda asked, then, other: then if asked else other,
                     "FILL": lambda value, other: other if value is None else value}  # fmt: skip
        try:
            return float(eval(expression.replace("AND", "and"), {"__builtins__": {}}, {**functions, **values}))
        except TypeError:
            return None

    def states(self, timeline: Timeline, lag: Lag = PROMPT, more: int = 0) -> Iterator[tuple[int, bool]]:
        """The second of each evaluation, and whether the alarm is on, until its range has no more values."""
        span = (self.window + more + 1) * self.period + lag.most
        known = ArrivedData(timeline, lag)
        for now in range(MINUTE, math.ceil(timeline.ends / MINUTE) * MINUTE + span, MINUTE):
            yield now, self.is_on(known, now, more)

    def fires(self, timeline: Timeline, lag: Lag = PROMPT, more: int = 0) -> bool:
        return any(is_on for _, is_on in self.states(timeline, lag, more))
