"""The webhook door: lets a delivery in, puts its requests on the queue, and says what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from shared.model import DetachRequest, Fault, Outcome, verdict_id
from shared.ports import AwsTrouble, Clock, Queue, Unsent
from shared.signatures import Keys
from shared.webhook.receive import Arrived, Consent, Entry, HttpDelivery, Refusal, Rules, Valid, receive
from shared.webhook.responses import (
    TITLES,
    Accepted,
    AcceptedBatch,
    EnqueuedRequest,
    EventResult,
    FieldFault,
    HttpAnswer,
    Problem,
)

RETRY_AFTER = {429: "10", 503: "30"}
"""Seconds, by status."""

WORST_FIRST = (503, 429, 202, 422)
"""What a whole delivery is answered. 202 only if nothing valid was lost: a sender does not look into a success."""

SUMMARY = {
    422: "nothing valid was sent: see errors",
    429: "the queue takes no more at the moment: send the same again later",
    503: "the queue did not take everything: send the same again later, what it took already is not done twice",
}


class KeyRing(Protocol):
    """Hands out the keys of the door; `newest` is for a sender whose key is not among them. Raises AwsTrouble."""

    def keys(self, newest: bool = False) -> Keys: ...


@dataclass(frozen=True)
class Door:
    """Answers deliveries; 202 means that the messages are in the queue."""

    rules: Rules
    key_ring: KeyRing
    queue: Queue
    clock: Clock
    observe: Callable[[HttpDelivery, HttpAnswer], None] = lambda delivery, answer: None

    def answer(self, delivery: HttpDelivery) -> HttpAnswer:
        match self._receive(delivery):
            case AwsTrouble() as trouble:
                answer = problem(503, "the keys of this door cannot be read at the moment", note=str(trouble))
            case Consent(origin=origin):
                headers = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*", "Allow": "POST"}
                answer = HttpAnswer(200, headers)
            case Refusal(status, detail, headers, faults):
                answer = problem(status, detail, headers, errors=_shown(faults) or None)
            case Arrived() as arrived:
                answer = self._enqueue(arrived)
        self.observe(delivery, answer)
        return answer

    def _receive(self, delivery: HttpDelivery) -> Arrived | Refusal | Consent | AwsTrouble:
        """With the keys at hand first; with the newest if the sender's key is not among them: it may be rotated."""
        now = self.clock()
        try:
            keys = self.key_ring.keys()
        except AwsTrouble as trouble:
            return trouble
        result = receive(delivery, self.rules, keys, now)
        if not (isinstance(result, Refusal) and result.unknown_key):
            return result
        try:
            newest = self.key_ring.keys(newest=True)
        except AwsTrouble:
            return result
        return receive(delivery, self.rules, newest, now) if newest != keys else result

    def _enqueue(self, arrived: Arrived) -> HttpAnswer:
        entries = [entry for event in arrived.events if isinstance(event, Valid) for entry in event.entries]
        messages = {entry: entry.message for entry in entries}
        missing = self.queue.send(messages) if messages else {}
        note = "; ".join(sorted({unsent.why for unsent in missing.values()}))
        results = [
            _result(event, missing)
            if isinstance(event, Valid)
            else EventResult(status=422, errors=_shown(event.faults))
            for event in arrived.events
        ]
        return _batch_answer(results, note) if arrived.batched else _single_answer(results[0], note)


def _result(event: Valid, missing: Mapping[Entry, Unsent]) -> EventResult:
    lost = [missing[entry] for entry in event.entries if entry in missing]
    status = 202 if not lost else 429 if all(unsent.throttled for unsent in lost) else 503
    return EventResult(
        status=status,
        requests=tuple(entry_of(entry.request) for entry in event.entries if entry not in missing) or None,
        missing=tuple(entry_of(entry.request) for entry in event.entries if entry in missing) or None,
    )


def _single_answer(result: EventResult, note: str) -> HttpAnswer:
    if result.status == 202:
        return HttpAnswer(202, content=Accepted(requests=result.requests or ()))
    return problem(
        result.status,
        SUMMARY[result.status],
        note=note,
        errors=result.errors,
        enqueued=result.requests,
        missing=result.missing,
    )


def _batch_answer(results: list[EventResult], note: str) -> HttpAnswer:
    status = next(status for status in WORST_FIRST if status in {result.status for result in results})
    if status == 202:
        return HttpAnswer(202, content=AcceptedBatch(events=tuple(results)))
    return problem(status, SUMMARY[status], note=note, events=tuple(results))


def entry_of(request: DetachRequest) -> EnqueuedRequest:
    """The request as the sender is told of it; its verdict has the same id whenever and however often it is asked."""

    def event(outcome: Outcome) -> str:
        return verdict_id(request.source, request.id, request.volume_id, outcome)

    return EnqueuedRequest(
        id=request.id,
        source=request.source,
        server_id=request.server_id,
        volume_id=request.volume_id,
        requested_at=request.requested_at,
        verdict_id=event(Outcome.CHECKED if request.dry_run else Outcome.DETACHED),
        unconfirmed_id=None if request.dry_run else event(Outcome.UNCONFIRMED),
    )


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, note: str = "", **members: Any
) -> HttpAnswer:
    """An RFC 9457 problem; `about:blank` means that the title is the status's own (§4.2.1)."""
    retry = {"Retry-After": RETRY_AFTER[status]} if status in RETRY_AFTER else {}
    content = Problem(title=TITLES[status], status=status, detail=detail, **members)
    return HttpAnswer(status, {**retry, **(headers or {})}, content, note)


def _shown(faults: tuple[Fault, ...]) -> tuple[FieldFault, ...]:
    """Validation names a field of the data now with, now without `data.`; senders get one name for it."""
    return tuple(FieldFault(field=fault.field.removeprefix("data."), detail=fault.message) for fault in faults)
