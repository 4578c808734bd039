"""The last word on messages that our own code could not cope with: every request in them is answered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shared.decision.case import Case, failed
from shared.inbox.read import Found, Ignored, Rejected, read
from shared.model import Fault, Message, Origin, Reason
from shared.outbox.outbox import Outbox, Outlets, Receipts
from shared.own_messages import WaitingDelivery
from shared.ports import Event


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Answers `detach_failed/dead_lettered`; what could not even be answered is given back to its queue."""

    prefix: str
    outlets: Outlets

    def handle(self, messages: Sequence[Message]) -> Receipts:
        outbox = Outbox(self.outlets)
        letters = [(message, self._read(message)) for message in messages]
        for message, found in letters:
            for event in self._answers(message, found):
                outbox.post(message, event)
        receipts = outbox.send()
        for message, found in letters:
            if message.id not in receipts.unsent:  # what could not be answered comes again, and counts when it is
                for observer in self.outlets.observers:
                    observer.dead_letter(message, found)
        return receipts

    def _read(self, message: Message) -> Found | Exception:
        try:
            return read(message, self.prefix, message.first_received_at or message.sent_at, self.outlets.macs)
        except Exception as error:  # noqa: BLE001 - it may be this very bug that the message died of; it is answered
            return error

    def _answers(self, message: Message, found: Found | Exception) -> Iterator[Event]:
        events, now = self.outlets.events, self.outlets.clock()
        match found:
            case list():
                for case in found:
                    conclusion = failed(Reason.DEAD_LETTERED, what_is_known(case))
                    yield events.verdict(case, conclusion, now, original=message.body)
            case WaitingDelivery() | Ignored() | Rejected(own="pending_delivery"):
                pass  # the verdict itself is on the bus
            case Rejected():
                yield events.rejected(found, now, None if found.forged else Reason.DEAD_LETTERED)
            case Exception():
                fault = Fault("", f"could not be read: {type(found).__name__}")
                unread = Rejected(Origin(message.id, message.source, message.sent_at), (fault,), message.body)
                yield events.rejected(unread, now, Reason.DEAD_LETTERED)


def what_is_known(case: Case) -> str:
    """How far it got, by what was written down; a look that broke off may have done more than it could write."""
    request, progress = case.request, case.progress
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
