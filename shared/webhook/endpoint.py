"""The webhook endpoint: authenticates a request, puts its events on the queue, and answers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from shared import strict_json
from shared.model import UNNAMED_PROJECT
from shared.ports import AwsTrouble, Clock, Macs, Queue, QueueMessage, Unsent, VerdictStore
from shared.quick import dataclass
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
    summary_of,
)
from shared.webhook.status import READS, answer_of, mark_of, may_read, segment_of, verdict_id_in

T = TypeVar("T")

WORST_FIRST = (503, 429, 202, 422)
"""The status of a batch is the first of these that an event has. It is 202 only if no valid event was lost, since
senders do not read a success."""

SUMMARY = {
    422: "nothing valid was sent: see errors",
    429: "the queue takes no more at the moment: send the same again later",
    503: "the queue did not take everything: send the same again later, what it took already is not done twice",
}


class KeyRing(Protocol):
    """Returns the keys of the endpoint; `newest` is for a sender whose key is unknown. Raises AwsTrouble."""

    def keys(self, newest: bool = False) -> Keys: ...


@dataclass(frozen=True)
class WebhookEndpoint:
    """Answers HTTP requests; 202 to a POST means that the messages are in the queue.

    With a `store` each request has a status resource.
    """

    rules: Rules
    key_ring: KeyRing
    queue: Queue
    macs: Macs
    clock: Clock
    store: VerdictStore | None = None
    observe: Callable[[HttpRequest, HttpAnswer], None] = lambda request, answer: None

    def answer(self, request: HttpRequest) -> HttpAnswer:
        segment = segment_of(request.path)
        if segment is not None and request.method in READS:
            answer = self._status(request, segment)  # also for HEAD: the HTTP server drops the body
        elif segment is not None and self.store and verdict_id_in(segment):
            answer = problem(405, "use GET to read the status of a request", {"Allow": ", ".join(READS)})
        else:
            answer = self._received(request)
        self.observe(request, answer)
        return answer

    def _received(self, request: HttpRequest) -> HttpAnswer:
        result = self._with_keys(partial(receive, request, self.rules))
        if isinstance(result, AwsTrouble | Refusal):
            return _refused(result)
        return consent(result.origin) if isinstance(result, Consent) else self._enqueue(result)

    def _status(self, request: HttpRequest, segment: str) -> HttpAnswer:
        """The status of a request, for senders that may ask for a detach."""
        if self.store is None:
            return problem(404, "this deployment keeps no verdicts: they are on the event bus")
        sender = self._with_keys(partial(may_read, request, self.rules))
        if isinstance(sender, AwsTrouble | Refusal):
            return _refused(sender)
        verdict_id = verdict_id_in(segment)
        if verdict_id is None:
            return problem(404, "a verdict id must be a UUID")
        try:
            answer = answer_of(verdict_id, self.store.find(verdict_id))
        except AwsTrouble as trouble:
            answer = problem(503, "what is kept of this request cannot be read at the moment", note=str(trouble))
        return replace(answer, about=verdict_id)

    def _with_keys(self, decide: Callable[[Keys, datetime], T]) -> T | AwsTrouble:
        """Decide with the cached keys; read the newest if the sender's key is unknown, since it may be new."""
        now = self.clock()
        try:
            keys = self.key_ring.keys()
        except AwsTrouble as trouble:
            return trouble
        result = decide(keys, now)
        if not (isinstance(result, Refusal) and result.unknown_key):
            return result
        try:
            newest = self.key_ring.keys(newest=True)
        except AwsTrouble:
            return result
        return decide(newest, now) if newest != keys else result

    def _enqueue(self, received: Received) -> HttpAnswer:
        entries = [entry for event in received.events if not isinstance(event, Invalid) for entry in event]
        missing = self._sent(entries) if entries else {}
        unmarked = self._marked([entry for entry in entries if entry not in missing])
        note = "; ".join([*sorted({unsent.why for unsent in missing.values()}), *unmarked])
        results = [_result(event, missing, linked=self.store is not None) for event in received.events]
        return _batch_answer(results, note) if received.batched else _single_answer(results[0], note)

    def _sent(self, entries: list[Entry]) -> Mapping[Entry, Unsent]:
        """Put every event on the queue, signed because it names its sender; return those that were not accepted."""
        try:
            bodies = {entry: strict_json.signed(entry.event, self.macs.mac) for entry in entries}
        except AwsTrouble as trouble:
            return dict.fromkeys(entries, Unsent(str(trouble)))
        messages = {
            entry: QueueMessage(body, 0, entry.requests[0].project_id or UNNAMED_PROJECT)
            for entry, body in bodies.items()
        }
        return self.queue.send(messages)

    def _marked(self, entries: list[Entry]) -> list[str]:
        """Store a mark for each accepted request if that takes only a moment; return what went wrong, for the log."""
        if not (self.store and entries):
            return []
        now = self.clock()
        marks = dict(mark_of(request, now) for entry in entries for request in entry.verdicts)
        marks |= dict(mark_of(entry.summary, now) for entry in entries if entry.summary)
        why = self.store.mark(marks)
        return [why] if why else []


def _refused(no: AwsTrouble | Refusal) -> HttpAnswer:
    if isinstance(no, AwsTrouble):
        return problem(503, "the keys of this webhook endpoint cannot be read at the moment", note=str(no))
    return problem(no.status, no.detail, no.headers, errors=shown(no.faults) or None)


def _result(event: tuple[Entry, ...] | Invalid, missing: Mapping[Entry, Unsent], linked: bool) -> EventResult:
    if isinstance(event, Invalid):
        return EventResult(status=422, errors=shown(event.faults))
    lost = [missing[entry] for entry in event if entry in missing]
    status = 202 if not lost else 429 if all(unsent.throttled for unsent in lost) else 503
    taken = [entry for entry in event if entry not in missing]
    return EventResult(
        status=status,
        requests=tuple(entry_of(request, linked) for entry in taken for request in entry.verdicts) or None,
        missing=tuple(entry_of(one) for entry in event if entry in missing for one in entry.verdicts) or None,
        summary=next((summary_of(entry.summary, linked) for entry in taken if entry.summary), None),
    )


def _single_answer(result: EventResult, note: str) -> HttpAnswer:
    if result.status == 202:
        return accepted(result.requests or (), result.summary, note)
    members: dict[str, Any] = {"errors": result.errors, "enqueued": result.requests, "missing": result.missing}
    return problem(result.status, SUMMARY[result.status], note=note, **members)


def _batch_answer(results: list[EventResult], note: str) -> HttpAnswer:
    status = next(status for status in WORST_FIRST if status in {result.status for result in results})
    if status == 202:
        return accepted_batch(results, note)
    return problem(status, SUMMARY[status], note=note, events=tuple(results))
