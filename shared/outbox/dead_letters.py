"""The last word on messages that our own code could not cope with: every request in them is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.inbox.envelopes import Fault
from shared.inbox.own_messages import PendingDelivery, Task
from shared.inbox.read import Delivery, Found, Ignored, Rejected
from shared.model import Conclude, Outcome, Progress, Reason
from shared.outbox.events import EventFactory
from shared.ports import AwsTrouble, Event, EventSink
from shared.service import read_safely

DeadLetter = Callable[[Delivery, Found | Exception], None]


@dataclass(frozen=True)
class DeadLetters:
    """Answers `detach_failed/dead_lettered`; what could not even be answered is given back to its queue."""

    prefix: str
    sink: EventSink
    events: EventFactory
    clock: Callable[[], datetime]
    observe: DeadLetter = lambda delivery, found: None

    def handle(self, deliveries: Sequence[Delivery]) -> list[BaseException | None]:
        """The error of each delivery, or None."""
        results: list[BaseException | None] = [None] * len(deliveries)
        letters = [(delivery, read_safely(delivery, self.prefix)) for delivery in deliveries]
        answers = [(at, event) for at, letter in enumerate(letters) for event in self._answers(*letter)]
        for index, why in self.sink.emit([event for _, event in answers]).items():
            results[answers[index][0]] = AwsTrouble(f"event not emitted: {why}")
        for letter, error in zip(letters, results, strict=True):
            if error is None:  # what could not be answered comes again, and counts when it is
                self.observe(*letter)
        return results

    def _answers(self, delivery: Delivery, found: Found | Exception) -> list[Event]:
        now = self.clock()
        match found:
            case list():
                return [self._dead(delivery, task, now) for task in found]
            case PendingDelivery() | Ignored() | Rejected(own="pending_delivery"):
                return []  # the verdict itself is on the bus
            case Rejected():
                return [self.events.rejected(found, now, Reason.DEAD_LETTERED)]
            case Exception():
                fault = Fault("", f"could not be read: {type(found).__name__}")
                unread = Rejected(delivery.message_id, delivery.source, delivery.sent_at, (fault,), delivery.body)
                return [self.events.rejected(unread, now, Reason.DEAD_LETTERED)]

    def _dead(self, delivery: Delivery, task: Task, now: datetime) -> Event:
        progress = task.progress or Progress(first_seen_at=delivery.first_received_at or delivery.sent_at)
        conclusion = Conclude(
            Outcome.FAILED, Reason.DEAD_LETTERED.value, Reason.DEAD_LETTERED, what_is_known(task, progress)
        )
        return self.events.verdict(task.request, progress, conclusion, None, now, original=delivery.body)


def what_is_known(task: Task, progress: Progress) -> str:
    """How far it got, by what was written down; a look that broke off may have done more than it could write."""
    request = task.request
    if progress.accepted_at:
        known = f"the cloud accepted the detach at {progress.accepted_at:%Y-%m-%dT%H:%M:%SZ}"
    elif progress.deletes_sent:
        known = f"{progress.deletes_sent} DELETE(s) were sent, the last at {progress.last_delete_at:%Y-%m-%dT%H:%M:%SZ}"
    else:
        known = "no DELETE is on record, but the look that broke off may have sent one"
    error = f"; last error: {progress.last_error}" if progress.last_error else ""
    return (
        f"{known}; whether the volume is detached is not known{error}: compare "
        f"`openstack volume show {request.volume_id} -c status -c attachments` with "
        f"`openstack server volume list {request.server_id}`"
    )
