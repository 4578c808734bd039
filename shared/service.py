"""What the handlers call: deliveries of the queue in, the error of each out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.continuation import Task
from shared.events import EventFactory
from shared.intake import Delivery, Ignored, Rejected, read
from shared.ports import AwsTrouble, EventSink
from shared.reconcile import Clock, Reconciler

Unanswerable = Callable[[Delivery, Rejected | Ignored], None]


@dataclass(frozen=True)
class Service:
    """Reads every delivery, steps the requests in them, and answers those that are none."""

    prefix: str
    reconciler: Reconciler
    sink: EventSink
    events: EventFactory
    clock: Clock
    observe: Unanswerable = lambda delivery, found: None

    def handle(self, deliveries: Sequence[Delivery]) -> list[BaseException | None]:
        """The error of each delivery, or None: one fails if anything it led to could not be sent."""
        found = [self._read(delivery) for delivery in deliveries]
        results: list[BaseException | None] = [item if isinstance(item, Exception) else None for item in found]
        tasks = [(at, task) for at, tasks in enumerate(found) if isinstance(tasks, list) for task in tasks]
        errors = self.reconciler.run([task for _, task in tasks])
        for (at, _), error in zip(tasks, errors, strict=True):
            results[at] = results[at] or error
        self._answer([(at, bad) for at, bad in enumerate(found) if isinstance(bad, Rejected)], results)
        for delivery, item in zip(deliveries, found, strict=True):
            if isinstance(item, Rejected | Ignored):
                self.observe(delivery, item)
        return results

    def _read(self, delivery: Delivery) -> list[Task] | Rejected | Ignored | Exception:
        """A bug of ours that one message brings to light must not take the others of its batch along."""
        try:
            return read(delivery, self.prefix)
        except Exception as error:  # noqa: BLE001
            return error

    def _answer(self, rejected: list[tuple[int, Rejected]], results: list[BaseException | None]) -> None:
        now = self.clock()
        failed = self.sink.emit([self.events.rejected(bad, now) for _, bad in rejected])
        for index, why in failed.items():
            results[rejected[index][0]] = AwsTrouble(f"event not emitted: {why}")
