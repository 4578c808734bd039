"""From a delivered message to the requests in it, whatever it is wrapped in; or to all that is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue, ValidationError

from shared import strict_json
from shared.continuation import Continuation, Task, is_continuation
from shared.envelopes import ENVELOPES, Fault, Identity, OwnVerdict, Refused
from shared.model import DetachRequest
from shared.request_data import CONTEXT_LIMIT, context_size, faults_of, request_faults, requests_of, valid_id

ENVELOPES_LIMIT = 4


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is no valid request: it is answered with all its faults, not retried."""

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


def read(delivery: Delivery, prefix: str) -> list[Task] | Rejected | Ignored:
    """All requests in a message (one per volume), or why there is none."""
    identity = Identity(delivery.message_id, delivery.source, delivery.sent_at)
    try:
        value = strict_json.loads(delivery.body)
        if is_continuation(value):
            return [_continued(delivery, value)]
        return [
            Task(request, redelivered_since=delivery.redelivered_since)
            for request in requests_in(value, identity, prefix)
        ]
    except strict_json.NotJson as error:
        return _rejected(delivery, identity, Refused([Fault("", str(error))]))
    except Refused as refused:
        return _rejected(delivery, identity, refused)
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


def _continued(delivery: Delivery, value: JsonValue) -> Task:
    try:
        message = Continuation.model_validate_json(json.dumps(value))
    except ValidationError as error:
        raise Refused(faults_of(error)) from error
    return Task(message.request, message.progress, delivery.redelivered_since)


def _rejected(delivery: Delivery, known: Identity, refused: Refused) -> Rejected:
    identity = refused.identity or known
    data = refused.data if isinstance(refused.data, dict) else {}
    context = data.get("context")
    return Rejected(
        id=identity.id,
        source=identity.source,
        received_at=identity.time,
        faults=refused.faults,
        original=delivery.body,
        server_id=valid_id(data.get("server_id")),
        volume_id=valid_id(data.get("volume_id")),
        correlation_id=identity.correlation_id,
        traceparent=identity.traceparent,
        tracestate=identity.tracestate,
        context=context if isinstance(context, dict) and context_size(context) <= CONTEXT_LIMIT else None,
    )


def _json_type(value: JsonValue) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
