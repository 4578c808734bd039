"""One HTTP delivery, understood: the requests to enqueue with their messages, or why it is turned away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from pydantic import JsonValue

from shared.inbox.envelopes import OwnVerdict, Refused
from shared.inbox.read import Ignored, Rejected, read, requests_in
from shared.model import DetachRequest, Fault, Message, Origin
from shared.policy import BODY_BYTES
from shared.ports import QueueMessage
from shared.signatures import ID, SIGNATURE, Keys, Proven, Unproven, check_bearer, check_signature
from shared.webhook.http_binding import Mode, Unreadable, open_delivery

IDENTITY_HEADERS = (ID, "idempotency-key")
"""Where a sender of bare JSON names its request: the same name again is the same request again."""

CHALLENGE = 'StandardWebhooks realm="detach requests", Bearer realm="detach requests"'


@dataclass(frozen=True, slots=True)
class HttpDelivery:
    """An HTTP request as it came; header names are in lower case, `iam` is AWS's word that it knows the sender."""

    method: str
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    iam: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator set for the door; `source` names it in requests which come as bare JSON."""

    source: str
    prefix: str = "bms"
    allowed_origins: tuple[str, ...] = ()
    iam_auth: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The whole delivery is turned away; `unknown_key` says that newer keys might let it in."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    unknown_key: bool = False


@dataclass(frozen=True, slots=True)
class Consent:
    """The answer to a handshake: this origin may send (CloudEvents WebHook §4.2)."""

    origin: str


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A request and the message that takes it to the queue."""

    request: DetachRequest
    message: QueueMessage


@dataclass(frozen=True, slots=True)
class Valid:
    """An event that becomes one request for each of its volumes."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Invalid:
    """An event that becomes nothing, and everything wrong with it."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery of a known sender, event by event."""

    batched: bool
    events: tuple[Valid | Invalid, ...]


def receive(delivery: HttpDelivery, rules: Rules, keys: Keys, now: datetime) -> Arrived | Refusal | Consent:
    """Everything the door decides; what the cheap questions turn away costs nothing more."""
    if delivery.method == "OPTIONS":
        return _handshake(delivery.headers, rules)
    if delivery.method != "POST":
        return Refusal(405, "requests are sent by POST", {"Allow": "OPTIONS, POST"})
    if len(delivery.body) > BODY_BYTES:
        return Refusal(413, f"the body must be at most {BODY_BYTES} bytes, this one has {len(delivery.body)}")
    proof = prove(delivery, rules, keys, now)
    if isinstance(proof, Unproven):
        return Refusal(401, proof.why, {"WWW-Authenticate": CHALLENGE}, unknown_key=proof.unknown_key)
    try:
        opened = open_delivery(delivery.headers, delivery.body)
    except Unreadable as unreadable:
        return Refusal(unreadable.status, str(unreadable))
    except Refused as refused:
        return Refusal(422, "the event is not valid", faults=refused.faults)
    names = (delivery.headers.get(name) for name in IDENTITY_HEADERS)
    origin = Origin(id=next(filter(None, names), delivery.request_id), source=rules.source, time=proof.signed_at or now)
    events = tuple(_validated(event, origin, rules.prefix, now) for event in opened.events)
    return Arrived(opened.mode is Mode.BATCHED, events)


def prove(delivery: HttpDelivery, rules: Rules, keys: Keys, now: datetime) -> Proven | Unproven:
    """Whether one of the configured proofs holds; a delivery that is signed is judged by its signature alone."""
    headers = delivery.headers
    if keys.secrets and SIGNATURE in headers:
        return check_signature(headers, delivery.body, keys, now)
    if rules.iam_auth and delivery.iam:
        return Proven()
    if keys.bearer_tokens and "authorization" in headers:
        return check_bearer(headers, keys)
    presented = SIGNATURE in headers or "authorization" in headers
    return Unproven("the delivery must be signed (Standard Webhooks) by a sender this door knows", presented)


def _handshake(headers: Mapping[str, str], rules: Rules) -> Consent | Refusal:
    """Only the header is consent, no status is; 405 is what the specification asks of those who do not agree."""
    asked = headers.get("webhook-request-origin", "").strip().lower()
    if asked and "*" in rules.allowed_origins:
        return Consent("*")
    if asked in rules.allowed_origins:
        return Consent(asked)
    return Refusal(405, "no allowed origin asks to send here", {"Allow": "POST"})


def _validated(event: JsonValue, origin: Origin, prefix: str, now: datetime) -> Valid | Invalid:
    try:
        # No event was issued after it was signed. This bounds `ce-time`, which stands in a header and is not signed.
        requests = tuple(
            replace(request, requested_at=min(request.requested_at, origin.time))
            for request in requests_in(event, origin, prefix)
        )
    except Refused as refused:
        return Invalid(refused.faults)
    except OwnVerdict as verdict:
        return Invalid((Fault("type", str(verdict)),))
    entries = tuple(Entry(request, message_for(request, prefix)) for request in requests)
    # The queue's consumer has the last word: what it would reject (one level of nesting more) is rejected here.
    for entry in entries:
        match read(Message(entry.message.body, origin.id, origin.source, origin.time), prefix, now):
            case Rejected(faults=faults):
                return Invalid(faults)
            case Ignored(why=why):
                return Invalid((Fault("", why),))
    return Valid(entries)


def message_for(request: DetachRequest, prefix: str) -> QueueMessage:
    """The request as a structured CloudEvent of its own; whatever it came in, the queue holds no other form."""
    attributes = {
        "specversion": "1.0",
        "id": request.id,
        "source": request.source,
        "type": f"{prefix}.volume.detach_requested.v1",
        "time": request.requested_at.isoformat(),
        "datacontenttype": "application/json",
        "expirytime": request.expires_at.isoformat() if request.expires_at else None,
        "correlationid": request.correlation_id,
        "traceparent": request.traceparent,
        "tracestate": request.tracestate,
    }
    event = {name: value for name, value in attributes.items() if value is not None}
    data = {
        name: value for name, value in asdict(request).items() if name not in ATTRIBUTES and value not in (None, False)
    }
    return QueueMessage(json.dumps({**event, "data": data}, ensure_ascii=False))


ATTRIBUTES = {
    "id", "source", "requested_at", "expires_at", "correlation_id", "traceparent", "tracestate"
}  # fmt: skip
"""The fields of a request that are attributes of its event."""
