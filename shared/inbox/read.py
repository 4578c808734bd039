"""From a delivered message to the requests in it, whatever it is wrapped in; or to all that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import JsonValue, ValidationError

from shared import strict_json
from shared.inbox.envelopes import ENVELOPES, Fault, Identity, OwnVerdict, Refused, is_text
from shared.inbox.own_messages import Continuation, PendingDelivery, Task, is_continuation, is_pending_delivery
from shared.inbox.request import (
    CONTEXT_LIMIT,
    context_size,
    faults_of,
    request_faults,
    requests_of,
    valid_id,
    valid_token,
)
from shared.model import DetachRequest

ENVELOPES_LIMIT = 4
FAULTS_LIMIT = 50
"""More than any honest request can have; all of them together have to fit into one event."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is no valid request: it is answered with all its faults, not retried.

    Unless `own` names the kind of our own messages it is: then nothing is wrong with the request, but we, most
    likely another release of us, wrote what we cannot read.
    """

    id: str
    source: str
    received_at: datetime
    faults: tuple[Fault, ...]
    original: str
    server_id: str | None = None
    volume_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    context: dict[str, JsonValue] | None = None
    task_token: str | None = field(default=None, repr=False)
    own: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that must not be answered: one of our own verdicts that was routed back to us."""

    why: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as the queue handed it over."""

    body: str
    message_id: str
    source: str
    sent_at: datetime
    first_received_at: datetime | None = None
    receive_count: int = 1

    @property
    def redelivered_since(self) -> datetime | None:
        return self.first_received_at if self.receive_count > 1 else None


Found = list[Task] | PendingDelivery | Rejected | Ignored


def read(delivery: Delivery, prefix: str) -> Found:
    """All requests in a message (one per volume), or the delivery that waited in it, or why there is neither."""
    identity = Identity(delivery.message_id, delivery.source, delivery.sent_at)
    own: str | None = None
    try:
        value = strict_json.loads(delivery.body)
        for name, belongs, read_own in OWN:
            if belongs(value):
                own = name
                return read_own(delivery, value)
        return [
            Task(request, redelivered_since=delivery.redelivered_since)
            for request in requests_in(value, identity, prefix)
        ]
    except strict_json.NotJson as error:
        return _rejected(delivery, identity, Refused([Fault("", str(error))]))
    except Refused as refused:
        return replace(_rejected(delivery, identity, refused), own=own)
    except OwnVerdict as verdict:
        return Ignored(str(verdict))


def requests_in(value: JsonValue, identity: Identity, prefix: str) -> list[DetachRequest]:
    """Unwrap SNS, EventBridge and CloudEvents in any order they were wrapped, then validate the request."""
    for _ in range(ENVELOPES_LIMIT + 1):
        if not isinstance(value, dict):
            raise Refused([Fault("", f"must be a JSON object, is {_json_type(value)}")], identity)
        envelope = next((unwrap for belongs, unwrap in ENVELOPES if belongs(value)), None)
        if envelope is None:
            return requests_of(value, identity)
        try:
            identity, value = envelope(value, identity, prefix)
        except Refused as refused:
            if isinstance(refused.data, dict):
                refused.faults += tuple(request_faults(refused.data, at="data"))
            raise
    raise Refused([Fault("", f"wrapped more than {ENVELOPES_LIMIT} times")], identity)


def _continued(delivery: Delivery, value: JsonValue) -> list[Task]:
    """What cannot be read still says whose request it is: the final verdict must bear that request's id."""
    try:
        message = Continuation.model_validate_json(json.dumps(value))
    except ValidationError as error:
        asked = value.get("request") if isinstance(value, dict) else None
        raise Refused(faults_of(error), _asker(asked, delivery), asked) from error
    return [Task(message.request, message.progress, delivery.redelivered_since)]


def _asker(request: JsonValue, delivery: Delivery) -> Identity:
    told = request if isinstance(request, dict) else {}

    def text(name: str) -> str | None:
        value = told.get(name)
        return value if is_text(value) else None

    return Identity(
        id=text("id") or delivery.message_id,
        source=text("source") or delivery.source,
        time=delivery.sent_at,
        correlation_id=text("correlation_id"),
        traceparent=text("traceparent"),
        tracestate=text("tracestate"),
    )


def _pending(_: Delivery, value: JsonValue) -> PendingDelivery:
    try:
        return PendingDelivery.model_validate_json(json.dumps(value))
    except ValidationError as error:
        raise Refused(faults_of(error)) from error


OWN: tuple[tuple[str, Callable[[object], bool], Callable[[Delivery, JsonValue], Found]], ...] = (
    ("continuation", is_continuation, _continued),
    ("pending_delivery", is_pending_delivery, _pending),
)
"""The messages we send to ourselves: how each is told from requests, and how it is read."""


def _rejected(delivery: Delivery, known: Identity, refused: Refused) -> Rejected:
    identity = refused.identity or known
    data = refused.data if isinstance(refused.data, dict) else {}
    context = data.get("context")
    return Rejected(
        id=identity.id,
        source=identity.source,
        received_at=identity.time,
        faults=_told(refused.faults),
        original=delivery.body,
        server_id=valid_id(data.get("server_id")),
        volume_id=valid_id(data.get("volume_id")),
        correlation_id=identity.correlation_id,
        traceparent=identity.traceparent,
        tracestate=identity.tracestate,
        context=context if isinstance(context, dict) and context_size(context) <= CONTEXT_LIMIT else None,
        task_token=valid_token(data.get("task_token")),
    )


def _told(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Enough to correct the request by, and no more than can be sent: names are the sender's and of any length."""
    told = [Fault(fault.field[:128], fault.message[:256]) for fault in faults[:FAULTS_LIMIT]]
    more = len(faults) - len(told)
    return (*told, Fault("", f"has {more} more faults")) if more else tuple(told)


def _json_type(value: JsonValue) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
