"""Runs simulations with the product's metrics, and reads the metrics as CloudWatch would."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.ports import Consumer
from shared.settings import Settings, load
from shared.telemetry.logs import SERVICE, Logs
from shared.telemetry.metrics import NAMESPACE, Metrics, meters
from simulator import CloudApi
from simulator.scenarios import CATALOGUE, SETTINGS, scenario_cloud
from tests.stack import Stack

STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "SampleCount": len,
}


class Measured(Stack):
    """A stack with the product's own observers, which write logs and metrics."""

    def __init__(
        self,
        make_cloud: Callable[[Callable[[], datetime]], CloudApi],
        settings: Mapping[str, str] | None = None,
        consumers: Mapping[str, Consumer] | None = None,
        **options: Any,
    ) -> None:
        policy = load(Settings, {"REQUEST_QUEUE_URL": "virtual", **(settings or {})}).policy
        observers = (Logs(), Metrics(meters, policy, lambda: self.clock()))
        super().__init__(make_cloud, settings, observers=observers, consumers=consumers, **options)


@dataclass(frozen=True)
class Samples:
    """The values of metrics, by namespace, metric and dimensions, as in CloudWatch."""

    values: Mapping[tuple[str, str, frozenset[tuple[str, str]]], list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> Samples:
        """The values of the embedded metrics in the lines of a log."""
        found: dict[tuple[str, str, frozenset[tuple[str, str]]], list[float]] = {}
        for line in text.splitlines():
            record: dict[str, Any] = json.loads(line)
            for directive in record.get("_aws", {}).get("CloudWatchMetrics", ()):
                for names in directive["Dimensions"]:
                    dimensions = frozenset((name, record[name]) for name in names)
                    for metric in directive["Metrics"]:
                        key = directive["Namespace"], metric["Name"], dimensions
                        found.setdefault(key, []).extend(record[metric["Name"]])
        return cls(found)

    def get(
        self, metric: str, statistic: str = "Sum", /, namespace: str = NAMESPACE, **dimensions: str
    ) -> float | None:
        """A statistic over all values; None if there are none."""
        ours = {"service": SERVICE} if namespace == NAMESPACE else {}
        values = self.values.get((namespace, metric, frozenset((ours | dimensions).items())))
        return STATISTICS[statistic](values) if values else None

    def dimensions(self, metric: str) -> list[dict[str, str]]:
        """The dimensions of a metric, without `service`."""
        found = [dict(dimensions) for _, name, dimensions in self.values if name == metric]
        return [{name: value for name, value in d.items() if name != "service"} for d in found if len(d) > 1]


def played(name: str, capture: Callable[[], str], settings: Mapping[str, str] | None = None) -> Samples:
    """Play a scenario; returns the metrics that its invocations wrote."""
    simulation = Measured(scenario_cloud, SETTINGS if settings is None else settings)
    for body in CATALOGUE[name].on(simulation.cloud).bodies():
        simulation.queue.put(body)
    return finished(simulation, capture)


def finished(simulation: Stack, capture: Callable[[], str]) -> Samples:
    """Run a simulation to its end, with one invocation for each delivery; returns its metrics."""
    while simulation.step():
        meters.flush()
    meters.flush()
    return Samples.of(capture())
