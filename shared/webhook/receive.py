"""What one HTTP request asks for: the detach requests to enqueue with their messages, or why it is rejected."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from pydantic import JsonValue

from shared import strict_json
from shared.inbox.envelopes import OwnVerdict, Refused
from shared.inbox.read import requests_in
from shared.model import DetachRequest, Fault, Origin
from shared.policy import BODY_BYTES
from shared.ports import QueueMessage
from shared.signatures import ID, SIGNATURE, Authenticated, Keys, NotAuthenticated, check_bearer, check_signature
from shared.webhook.http_binding import Mode, Unreadable, read_events

IDENTITY_HEADERS = (ID, "idempotency-key")
"""Where a sender of bare JSON names its request: the same name again is the same request again."""

CHALLENGE = 'StandardWebhooks realm="detach requests", Bearer realm="detach requests"'


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request as it came; header names are in lower case, `iam` is AWS's word that it knows the sender."""

    method: str
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    iam: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator set for the webhook endpoint; `source` is the source of requests in bare JSON."""

    source: str
    prefix: str = "bms"
    allowed_origins: tuple[str, ...] = ()
    iam_auth: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The whole request is rejected; `unknown_key` says that it may be accepted with newer keys."""

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
class Invalid:
    """An event that becomes nothing, and everything wrong with it."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """A request of a known sender, event by event: an entry for each volume, or what is wrong with the event."""

    batched: bool
    events: tuple[tuple[Entry, ...] | Invalid, ...]


def receive(request: HttpRequest, rules: Rules, keys: Keys, now: datetime) -> Received | Refusal | Consent:
    """Decide what becomes of a request; the cheap checks come first."""
    if request.method == "OPTIONS":
        return _handshake(request.headers, rules)
    if request.method != "POST":
        return Refusal(405, "requests are sent by POST", {"Allow": "OPTIONS, POST"})
    if len(request.body) > BODY_BYTES:
        return Refusal(413, f"the body must be at most {BODY_BYTES} bytes, this one has {len(request.body)}")
    sender = authenticate(request, rules, keys, now)
    if isinstance(sender, NotAuthenticated):
        return Refusal(401, sender.why, {"WWW-Authenticate": CHALLENGE}, unknown_key=sender.unknown_key)
    try:
        mode, parsed = read_events(request.headers, request.body)
    except Unreadable as unreadable:
        return Refusal(unreadable.status, str(unreadable))
    except Refused as refused:
        return Refusal(422, "the event is not valid", faults=refused.faults)
    names = (request.headers.get(name) for name in IDENTITY_HEADERS)
    signed_at = min(sender.signed_at or now, now)
    origin = Origin(id=next(filter(None, names), request.request_id), source=rules.source, time=signed_at)
    events = tuple(_validated(event, origin, rules.prefix) for event in parsed)
    return Received(mode is Mode.BATCHED, events)


def authenticate(request: HttpRequest, rules: Rules, keys: Keys, now: datetime) -> Authenticated | NotAuthenticated:
    """Whether the sender is known in one of the configured ways; of a signed request only the signature counts."""
    headers = request.headers
    if keys.secrets and SIGNATURE in headers:
        return check_signature(headers, request.body, keys, now)
    if rules.iam_auth and request.iam:
        return Authenticated()
    if keys.bearer_tokens and "authorization" in headers:
        return check_bearer(headers, keys)
    presented = SIGNATURE in headers or "authorization" in headers
    why = "the delivery must be signed (Standard Webhooks) by a sender this webhook endpoint knows"
    return NotAuthenticated(why, unknown_key=presented)


def _handshake(headers: Mapping[str, str], rules: Rules) -> Consent | Refusal:
    """Only the header gives consent, no status does; without consent the specification asks for 405."""
    asked = headers.get("webhook-request-origin", "").strip().lower()
    if asked and "*" in rules.allowed_origins:
        return Consent("*")
    if asked in rules.allowed_origins:
        return Consent(asked)
    return Refusal(405, "no allowed origin asks to send here", {"Allow": "POST"})


def _validated(event: JsonValue, origin: Origin, prefix: str) -> tuple[Entry, ...] | Invalid:
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
        try:
            requests_in(strict_json.loads(entry.message.body), origin, prefix)
        except Refused as refused:
            return Invalid(refused.faults)
        except strict_json.NotJson as error:
            return Invalid((Fault("", str(error)),))
    return entries


def message_for(request: DetachRequest, prefix: str) -> QueueMessage:
    """The request as a structured CloudEvent of its own; whatever it came in, the queue holds no other form."""
    fields = {name: value for name, value in asdict(request).items() if value not in (None, False)}
    attributes = {attribute: fields.pop(name) for name, attribute in ATTRIBUTES.items() if name in fields}
    event = {
        "specversion": "1.0",
        "type": f"{prefix}.volume.detach_requested.v1",
        "datacontenttype": "application/json",
        **attributes,
        "data": fields,
    }
    return QueueMessage(json.dumps(event, default=datetime.isoformat))


ATTRIBUTES = {
    "id": "id", "source": "source", "requested_at": "time", "expires_at": "expirytime",
    "correlation_id": "correlationid", "traceparent": "traceparent", "tracestate": "tracestate",
}  # fmt: skip
"""The fields of a request that are attributes of its event, and their names there."""
