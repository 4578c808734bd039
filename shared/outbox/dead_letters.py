"""Gives a verdict on every request in the dead-letter queue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from shared.decision.case import Case, Conclude
from shared.decision.failures import died
from shared.inbox.envelopes import is_text
from shared.inbox.read import Found, Ignored, Rejected, read
from shared.inbox.request import valid_id, valid_token
from shared.model import Fault, Message, Origin, Outcome, Reason
from shared.outbox.observer import BUS
from shared.outbox.outbox import Outbox, Outlets, Receipts
from shared.own_messages import NEEDS, WaitingDelivery, without_mac
from shared.policy import VOLUMES
from shared.ports import AwsTrouble, Event
from shared.quick import dataclass

if TYPE_CHECKING:
    from shared.group import Group

Single: TypeAlias = list[Case] | WaitingDelivery | Rejected | Ignored
"""What a message without a group can contain."""


@dataclass(frozen=True)
class DeadLetters:
    """Gives verdicts with the reason `dead_lettered`; messages whose verdict cannot be sent return to their queue."""

    prefix: str
    outlets: Outlets

    def handle(self, messages: Sequence[Message]) -> Receipts:
        outbox = Outbox(self.outlets)
        letters = [(message, self._read(message)) for message in messages]
        for message, found in letters:
            if isinstance(found, AwsTrouble):
                outbox.give_back(message, str(found), found)
                continue
            if isinstance(found, WaitingDelivery) and found.to == BUS:
                outbox.offer_again(message, found)  # a verdict that the bus never got
            if isinstance(found, list | WaitingDelivery | Rejected | Ignored | Exception):
                for event in self._answers(message, found):
                    outbox.post(message, event)
            else:
                self._conclude(message, found, outbox)
        receipts = outbox.send()
        for message, found in letters:
            if message.id not in receipts.unsent:  # the others are redelivered, and counted then
                for observer in self.outlets.observers:
                    observer.dead_letter(message, found)
        return receipts

    def _read(self, message: Message) -> Found | Exception:
        try:
            return read(message, self.prefix, message.first_received_at or message.sent_at, self.outlets.macs)
        except Exception as error:  # noqa: BLE001 - this bug may be why it is a dead letter; it gets a verdict
            return error

    def _conclude(self, message: Message, group: Group, outbox: Outbox) -> None:
        """Give each volume without a verdict one; the summary follows when all have theirs."""
        outbox.gather(message, group, group.unsent())
        for case in group.cases(message):
            conclusion = died(case)
            outbox.conclude(case, conclusion, _original(message, conclusion))

    def _answers(self, message: Message, found: Single | Exception) -> Iterator[Event]:
        events, now = self.outlets.events, self.outlets.clock()
        match found:
            case list():
                for case in found:
                    conclusion = died(case)
                    yield events.verdict(case, conclusion, now, _original(message, conclusion))
            case WaitingDelivery() | Ignored() | Rejected(own="pending_delivery"):
                pass  # the verdict itself is on the bus
            case Rejected(open_volumes=volumes) if volumes:
                for volume in dict.fromkeys(volumes):
                    yield events.rejected(replace(found, volume_id=volume), now, Reason.DEAD_LETTERED)
            case Rejected():
                yield events.rejected(found, now, None if found.forged else Reason.DEAD_LETTERED)
            case Exception():
                for rejected in unread(message, found):
                    yield events.rejected(rejected, now, Reason.DEAD_LETTERED)


def _original(message: Message, conclusion: Conclude) -> str | None:
    """The message, for a failed verdict; a `checked` verdict has no field for it."""
    return without_mac(message.body) if conclusion.outcome is Outcome.FAILED else None


def unread(message: Message, error: Exception) -> list[Rejected]:
    """Rejections for a message that our own code fails to read, one for each volume that it clearly names.

    A CloudEvent is the form in which the webhook endpoint enqueues requests, with a promised verdict id. A message that
    looks like one of our own is not trusted, since nothing was checked.
    """
    fault = Fault("", f"could not be read: {type(error).__name__}")
    origin = Origin(message.id, message.source, message.sent_at, requester=message.sender)
    value = _object(message.body)
    if any(kind in value and name in value for kind, name in NEEDS.items()):
        value = {}
    data = value["data"] if isinstance(value.get("data"), dict) else value
    if data is not value and is_text(value.get("id")) and is_text(value.get("source")):
        told: dict[str, Any] = {name: value[key] for name, key in ATTRIBUTES.items() if is_text(value.get(key))}
        origin = replace(origin, **told)
    named = data.get("volume_ids")
    volumes = named[:VOLUMES] if isinstance(named, list) and named else [data.get("volume_id")]
    return [
        Rejected(
            origin,
            (fault,),
            without_mac(message.body),
            server_id=valid_id(data.get("server_id")),
            volume_id=volume,
            task_token=valid_token(data.get("task_token")),
            dry_run=data.get("dry_run") is True,
        )
        for volume in dict.fromkeys(map(valid_id, volumes))
    ]


ATTRIBUTES = {
    "id": "id", "source": "source", "correlation_id": "correlationid",
    "traceparent": "traceparent", "tracestate": "tracestate",
}  # fmt: skip
"""The fields of an origin and the CloudEvent attributes that hold them."""


def _object(body: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
