"""What the handlers call: deliveries of the queue in, the error of each out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.inbox.own_messages import PendingDelivery
from shared.inbox.read import Delivery, Found, Ignored, Rejected, read
from shared.outbox.consumers import Deliveries
from shared.outbox.events import EventFactory
from shared.ports import AwsTrouble
from shared.visit import Clock, Reconciler

Unanswerable = Callable[[Delivery, Rejected | Ignored], None]


class OwnUnreadable(Exception):
    """A message that another release of ours wrote: to be read by that one, or answered as a dead letter."""


@dataclass(frozen=True)
class Service:
    """Reads every delivery, steps the requests in them, delivers what waited, and answers those that are neither."""

    prefix: str
    reconciler: Reconciler
    sink: Deliveries
    events: EventFactory
    clock: Clock
    observe: Unanswerable = lambda delivery, found: None

    def handle(self, deliveries: Sequence[Delivery], deadline: datetime | None = None) -> list[BaseException | None]:
        """The error of each delivery, or None: one fails if anything it led to could not be sent.

        What does not fit in before `deadline` is given back unharmed, or asked later.
        """
        sink = self.sink.until(deadline)
        found = [read_safely(delivery, self.prefix) for delivery in deliveries]
        results: list[BaseException | None] = [item if isinstance(item, Exception) else None for item in found]
        tasks = [(at, task) for at, tasks in enumerate(found) if isinstance(tasks, list) for task in tasks]
        errors = replace(self.reconciler, sink=sink).run([task for _, task in tasks], deadline)
        for (at, task), error in zip(tasks, errors, strict=True):
            if error:
                error.add_note(f"request {task.request.source} {task.request.id}, {task.request.subject}")
            results[at] = results[at] or error
        self._answer([(at, bad) for at, bad in enumerate(found) if isinstance(bad, Rejected)], results, sink)
        pending = [(at, item) for at, item in enumerate(found) if isinstance(item, PendingDelivery)]
        for index, why in sink.resume([item for _, item in pending]).items():
            results[pending[index][0]] = AwsTrouble(why)
        for delivery, item in zip(deliveries, found, strict=True):
            if isinstance(item, Rejected | Ignored):
                self.observe(delivery, item)
        return results

    def _answer(
        self, rejected: list[tuple[int, Rejected]], results: list[BaseException | None], sink: Deliveries
    ) -> None:
        for at, bad in rejected:
            if bad.own:
                results[at] = OwnUnreadable(f"a {bad.own} that cannot be read: {bad.faults[0].field}")
        answered = [(at, bad) for at, bad in rejected if not bad.own]
        now = self.clock()
        failed = sink.emit([self.events.rejected(bad, now) for _, bad in answered])
        for index, why in failed.items():
            results[answered[index][0]] = AwsTrouble(f"event not emitted: {why}")


def read_safely(delivery: Delivery, prefix: str) -> Found | Exception:
    """A bug of ours that one message brings to light must not take the others of its batch along."""
    try:
        return read(delivery, prefix)
    except Exception as error:  # noqa: BLE001
        return error
