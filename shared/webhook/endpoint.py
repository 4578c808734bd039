"""The webhook endpoint: authenticates a request, puts what it asks for on the queue, and answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from shared import strict_json
from shared.ports import AwsTrouble, Clock, Macs, Queue, QueueMessage, Unsent
from shared.signatures import Keys
from shared.webhook.receive import Consent, Entry, HttpRequest, Invalid, Received, Refusal, Rules, receive
from shared.webhook.responses import (
    EventResult,
    HttpAnswer,
    accepted,
    accepted_batch,
    consent,
    entry_of,
    problem,
    shown,
)

WORST_FIRST = (503, 429, 202, 422)
"""The status of a whole batch. 202 only if nothing valid was lost: a sender does not look into a success."""

SUMMARY = {
    422: "nothing valid was sent: see errors",
    429: "the queue takes no more at the moment: send the same again later",
    503: "the queue did not take everything: send the same again later, what it took already is not done twice",
}


class KeyRing(Protocol):
    """Gives the keys of the endpoint; `newest` is for a sender whose key is not among them. Raises AwsTrouble."""

    def keys(self, newest: bool = False) -> Keys: ...


@dataclass(frozen=True)
class WebhookEndpoint:
    """Answers HTTP requests; 202 means that the messages are in the queue."""

    rules: Rules
    key_ring: KeyRing
    queue: Queue
    macs: Macs
    clock: Clock
    observe: Callable[[HttpRequest, HttpAnswer], None] = lambda request, answer: None

    def answer(self, request: HttpRequest) -> HttpAnswer:
        match self._receive(request):
            case AwsTrouble() as trouble:
                detail = "the keys of this webhook endpoint cannot be read at the moment"
                answer = problem(503, detail, note=str(trouble))
            case Consent(origin=origin):
                answer = consent(origin)
            case Refusal(status, detail, headers, faults):
                answer = problem(status, detail, headers, errors=shown(faults) or None)
            case Received() as received:
                answer = self._enqueue(received)
        self.observe(request, answer)
        return answer

    def _receive(self, request: HttpRequest) -> Received | Refusal | Consent | AwsTrouble:
        """Try the keys at hand; read the newest if the sender's key is not among them, since it may be rotated."""
        now = self.clock()
        try:
            keys = self.key_ring.keys()
        except AwsTrouble as trouble:
            return trouble
        result = receive(request, self.rules, keys, now)
        if not (isinstance(result, Refusal) and result.unknown_key):
            return result
        try:
            newest = self.key_ring.keys(newest=True)
        except AwsTrouble:
            return result
        return receive(request, self.rules, newest, now) if newest != keys else result

    def _enqueue(self, received: Received) -> HttpAnswer:
        entries = [entry for event in received.events if not isinstance(event, Invalid) for entry in event]
        missing = self._sent(entries) if entries else {}
        note = "; ".join(sorted({unsent.why for unsent in missing.values()}))
        results = [_result(event, missing) for event in received.events]
        return _batch_answer(results, note) if received.batched else _single_answer(results[0], note)

    def _sent(self, entries: list[Entry]) -> Mapping[Entry, Unsent]:
        """Put every event on the queue, signed, since it says who sent it; those that could not be put there."""
        try:
            bodies = {entry: strict_json.signed(entry.event, self.macs.mac) for entry in entries}
        except AwsTrouble as trouble:
            return dict.fromkeys(entries, Unsent(str(trouble)))
        return self.queue.send({entry: QueueMessage(body) for entry, body in bodies.items()})


def _result(event: tuple[Entry, ...] | Invalid, missing: Mapping[Entry, Unsent]) -> EventResult:
    if isinstance(event, Invalid):
        return EventResult(status=422, errors=shown(event.faults))
    lost = [missing[entry] for entry in event if entry in missing]
    status = 202 if not lost else 429 if all(unsent.throttled for unsent in lost) else 503
    return EventResult(
        status=status,
        requests=tuple(entry_of(entry.request) for entry in event if entry not in missing) or None,
        missing=tuple(entry_of(entry.request) for entry in event if entry in missing) or None,
    )


def _single_answer(result: EventResult, note: str) -> HttpAnswer:
    if result.status == 202:
        return accepted(result.requests or ())
    members: dict[str, Any] = {"errors": result.errors, "enqueued": result.requests, "missing": result.missing}
    return problem(result.status, SUMMARY[result.status], note=note, **members)


def _batch_answer(results: list[EventResult], note: str) -> HttpAnswer:
    status = next(status for status in WORST_FIRST if status in {result.status for result in results})
    if status == 202:
        return accepted_batch(results)
    return problem(status, SUMMARY[status], note=note, events=tuple(results))
