"""What is counted and timed, as CloudWatch embedded metrics: collected by the observers, written once an invocation.

Dimensions are bounded by the code (never an id): `service`, and what a metric is told apart by.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from shared.decision.case import Requeue, Step
from shared.inbox.read import Found, Ignored, Rejected
from shared.model import Call, Message, Outcome, Reason
from shared.outbox.observer import BUS, Attempt, Observer
from shared.own_messages import WaitingDelivery
from shared.telemetry.logs import SERVICE

NAMESPACE = "BmsVolumeDetach"

VALUES_PER_LINE = 50
"""Embedded metrics take a hundred values of one metric in one line."""

THROTTLES = frozenset({"BMS.0212", "Common.0024", "Common.1503", "APIG.0308", "APIGW.0308", "IAM.0012", "overLimit"})
"""Codes that mean "not so fast", whatever the status beside them."""

NOT_PERMITTED = (Reason.FORBIDDEN, Reason.UNAUTHORIZED)

Dimensions = tuple[tuple[str, str], ...]


@dataclass
class _Metric:
    """The values of one metric since the last line was written."""

    unit: MetricUnit
    values: list[float] = field(default_factory=list)


class Meters:
    """Collects for one line at the end. Where it is not Lambda's, several invocations may share the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics: dict[Dimensions, dict[str, _Metric]] = defaultdict(dict)
        self._counted: set[Call] = set()

    def count(self, name: str, value: float = 1, **dimensions: str) -> None:
        with self._lock:
            metric = self._metric(name, MetricUnit.Count, dimensions)
            metric.values[:] = [sum(metric.values) + value]

    def seconds(self, name: str, value: float, **dimensions: str) -> None:
        with self._lock:
            self._metric(name, MetricUnit.Seconds, dimensions).values.append(round(value, 3))

    def first_time(self, call: Call) -> bool:
        """Requests on one server share what they read: each of them shows the call, and it was made once."""
        with self._lock:
            new = call not in self._counted
            self._counted.add(call)
            return new

    def flush(self) -> None:
        """Write everything to standard output, where Lambda hands it to CloudWatch; then begin anew."""
        with self._lock:
            metrics, self._metrics = self._metrics, defaultdict(dict)
            self._counted.clear()
        for dimensions, named in metrics.items():
            for values in _lines(named):
                line = EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
                for name, told_apart in dimensions:
                    line.add_dimension(name, told_apart)
                for name, value in values:
                    line.add_metric(name, named[name].unit, value)
                line.flush_metrics()

    def _metric(self, name: str, unit: MetricUnit, dimensions: Mapping[str, str]) -> _Metric:
        return self._metrics[tuple(sorted(dimensions.items()))].setdefault(name, _Metric(unit))


def _lines(named: Mapping[str, _Metric]) -> Iterator[list[tuple[str, float]]]:
    longest = max(len(metric.values) for metric in named.values())
    for start in range(0, longest, VALUES_PER_LINE):
        yield [(name, v) for name, metric in named.items() for v in metric.values[start : start + VALUES_PER_LINE]]


def answer_of(call: Call) -> str:
    """The class of an answer: `2xx` to `5xx`, or `none`."""
    return f"{call.status // 100}xx" if call.status else "none"


class Metrics(Observer):
    """Counts and times what is observed."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def step(self, step: Step) -> None:
        """One look at one case; the time of the look is that of its last call."""
        meters, progress = self._meters, step.case.progress
        if step.case.fresh and step.case.message.receive_count == 1:
            meters.count("Requests")
        for call in filter(meters.first_time, step.calls):
            meters.count("CloudCalls", operation=call.operation, answer=answer_of(call))
            if call.status == 429 or call.code in THROTTLES:
                meters.count("Throttled")
        if not step.calls:
            return
        now = step.calls[-1].at
        if isinstance(step.decision, Requeue):
            meters.seconds("OldestInFlight", (now - progress.first_seen_at).total_seconds())
        if since := step.case.watching_since:
            meters.seconds("SecondsInDetaching", (now - since).total_seconds())

    def attempt(self, attempt: Attempt) -> None:
        """Verdicts count once the bus has them; what a consumer will be asked again is no failure yet."""
        meters, event = self._meters, attempt.event
        if attempt.refusal:
            if attempt.again_in is None:
                meters.count("EmitFailures", to=attempt.to)
            return
        if attempt.to != BUS:
            return
        meters.count("Verdicts")
        meters.count("Verdicts", verdict=event.outcome.value, reason=event.reason.value if event.reason else "none")
        if event.outcome is Outcome.UNCONFIRMED:
            meters.count("Unconfirmed")
        elif event.reason is not Reason.INVALID_REQUEST:
            meters.seconds("SecondsToVerdict", json.loads(event.body)["data"]["timing"]["seconds"])
        if event.reason in NOT_PERMITTED:
            meters.count("AuthorisationFailures")

    def unanswerable(self, message: Message, found: Rejected | Ignored) -> None:
        """A message that is no valid request is a request all the same: it gets a verdict."""
        if isinstance(found, Rejected) and not found.own:
            self._meters.count("Requests")

    def dead_letter(self, message: Message, found: Found | Exception) -> None:
        """A verdict that a consumer never took is a failure to emit; all else is a request we could not cope with."""
        match found:
            case WaitingDelivery(to=to):
                self._meters.count("EmitFailures", to=to)
            case Ignored():
                pass
            case _:
                self._meters.count("DeadLetters")

    def returned(self, message_id: str, why: str, error: BaseException | None) -> None:
        self._meters.count("RecordsReturned")


meters = Meters()
