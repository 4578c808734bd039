"""Counts and times what happens, as CloudWatch embedded metrics, written once per invocation.

The code limits the dimensions (never an id): `service`, and what distinguishes the values of a metric.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import partial

from aws_lambda_powertools.metrics.functions import is_metrics_disabled

from shared.decision.case import CREDENTIALS_UNREAD, Broken, Conclude, Requeue, Step
from shared.decision.overdue import seconds_overdue, seconds_undelivered
from shared.inbox.read import Found, Ignored, Rejected
from shared.model import Call, Message, Outcome, Reason
from shared.outbox.observer import BUS, Attempt, Observer
from shared.own_messages import WaitingDelivery
from shared.policy import Policy
from shared.ports import Clock
from shared.quick import dataclass
from shared.telemetry.logs import SERVICE

NAMESPACE = "BmsVolumeDetach"

COUNT, SECONDS = "Count", "Seconds"
"""The units of CloudWatch."""

VALUES_PER_LINE = 50
"""How many values of a metric one line holds; embedded metrics accept a hundred."""

THROTTLES = frozenset({"BMS.0212", "Common.0024", "Common.1503", "APIG.0308", "APIGW.0308", "IAM.0012", "overLimit"})
"""Codes that mean throttling with any status."""

NOT_PERMITTED = (Reason.FORBIDDEN, Reason.UNAUTHORIZED)

Counted = tuple[str, Mapping[str, str]]
"""A metric and its dimensions."""

Dimensions = tuple[tuple[str, str], ...]
Values = defaultdict[Dimensions, defaultdict[tuple[str, str], list[float]]]
no_values: Callable[[], Values] = partial(defaultdict, partial(defaultdict, list))
"""The values of each metric since the last line was written."""


@dataclass
class Meters:
    """Collects values until `flush`. Outside Lambda several invocations may share the process."""

    counted: set[Call] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _metrics: Values = field(default_factory=no_values)

    def count(self, name: str, **dimensions: str) -> None:
        self.add([(name, dimensions)])

    def seconds(self, name: str, value: float) -> None:
        self.add([], [(name, value)])

    def add(self, counted: Iterable[Counted], seconds: Iterable[tuple[str, float]] = ()) -> None:
        with self._lock:
            for name, dimensions in counted:
                values = self._metrics[tuple(sorted(dimensions.items()))][name, COUNT]
                values[:] = [sum(values) + 1]
            for name, value in seconds:
                self._metrics[()][name, SECONDS].append(round(value, 3))

    def flush(self) -> None:
        """Write everything to standard output, from where Lambda passes it to CloudWatch; then start again."""
        with self._lock:
            metrics, self._metrics, self.counted = self._metrics, no_values(), set()
        if not metrics or is_metrics_disabled():
            return
        # CloudWatch's embedded metric format is written here, since Powertools takes half a millisecond per invocation.
        at, lines = time.time_ns() // 1_000_000, []
        for told_apart, named in metrics.items():
            dimensions = {**dict(told_apart), "service": SERVICE}
            for start in range(0, max(map(len, named.values())), VALUES_PER_LINE):
                part = {told: values[start : start + VALUES_PER_LINE] for told, values in named.items()}
                units = [{"Name": name, "Unit": unit} for (name, unit), values in part.items() if values]
                directive = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": units}
                about = {"Timestamp": at, "CloudWatchMetrics": [directive]}
                values_of = {name: values for (name, _), values in part.items() if values}
                lines.append(json.dumps({"_aws": about, **dimensions, **values_of}, separators=(",", ":")))
        print("\n".join(lines))  # noqa: T201 - Lambda reads standard output


@dataclass(frozen=True, eq=False)
class Metrics(Observer):
    """Counts and times what is observed."""

    meters: Meters
    policy: Policy
    clock: Clock

    def step(self, step: Step) -> None:
        """One look at one case; its time is that of its last call."""
        meters, progress = self.meters, step.case.progress
        counted: list[Counted] = []
        seconds: list[tuple[str, float]] = []
        first = step.case.fresh and step.case.message.receive_count == 1
        if first:
            counted.append(("Requests", {}))
        for call in step.calls:
            if call in meters.counted:
                continue  # counted for another case: cases of one visit share reads
            meters.counted.add(call)
            answer = f"{call.status // 100}xx" if call.status else "none"
            counted.append(("CloudCalls", {"operation": call.operation, "answer": answer}))
            if call.status == 429 or call.code in THROTTLES:
                counted.append(("Throttled", {}))
        if not first and not _is_over(step):  # lateness is measured after the first look
            seconds.append(("SecondsOverdue", seconds_overdue(step.case, self.policy, self.clock())))
        match step.decision:
            case Broken(then=Requeue()):
                counted.append(("RecordsReturned", {}))
            case Broken(then=Conclude()):
                counted.append(("DeadLetters", {}))
            case Requeue(why=why) if why.startswith(CREDENTIALS_UNREAD):
                counted.append(("AuthorisationFailures", {}))
        now = step.calls[-1].at if step.calls else None
        if now and isinstance(step.decision, Requeue):
            seconds.append(("OldestInFlight", (now - progress.first_seen_at).total_seconds()))
        if now and (since := progress.accepted_at or progress.detaching_since):
            seconds.append(("SecondsInDetaching", (now - since).total_seconds()))
        meters.add(counted, seconds)

    def attempt(self, attempt: Attempt) -> None:
        """Count a verdict once the bus has taken it. Each refusal by the bus is a failure; of a consumer only the last
        one is."""
        meters, event = self.meters, attempt.event
        if attempt.refusal:
            if attempt.again_in is None or attempt.to == BUS:
                meters.count("EmitFailures", to=attempt.to)
            if attempt.to == BUS:
                meters.seconds("SecondsOverdue", seconds_undelivered(attempt.waited))
            return
        if attempt.to != BUS or event.is_summary:
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
        """An invalid message counts as a request too: it gets a verdict."""
        if isinstance(found, Rejected) and not found.own:
            self.meters.count("Requests")
            if found.forged:
                self.meters.count("ForgedMessages")

    def dead_letter(self, message: Message, found: Found | Exception) -> None:
        """A verdict that a consumer never took is a failure to emit; anything else is a dead-lettered request."""
        match found:
            case WaitingDelivery(to=to):
                self.meters.count("EmitFailures", to=to)
            case Ignored():
                pass
            case _:
                self.meters.count("DeadLetters")

    def returned(self, message_id: str, why: str, error: BaseException | None) -> None:
        self.meters.count("RecordsReturned")


def _is_over(step: Step) -> bool:
    """Whether the step ends its request."""
    decision = step.decision
    return isinstance(decision.then if isinstance(decision, Broken) else decision, Conclude)


meters = Meters()
