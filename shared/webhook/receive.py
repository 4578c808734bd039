"""Decides about one HTTP request: the detach requests to enqueue with their messages, or why it is rejected."""

import re
from collections.abc import Mapping
from dataclasses import asdict, field, replace
from datetime import datetime
from typing import Any

from pydantic import JsonValue

from shared import strict_json
from shared.inbox.envelopes import OwnVerdict, Refused
from shared.inbox.read import requests_in
from shared.inbox.trace import trace_of
from shared.model import AuthType, DetachRequest, Fault, Origin, Requester, Via
from shared.own_messages import as_attributes
from shared.policy import BODY_BYTES
from shared.quick import dataclass
from shared.redact import redact
from shared.signatures import ID, SIGNATURE, Authenticated, Keys, NotAuthenticated, check_bearer, check_signature
from shared.webhook.http_binding import Mode, Unreadable, read_events

IDENTITY_HEADERS = (ID, "idempotency-key")
"""Headers in which a sender of bare JSON names its request; the same name means the same request."""


@dataclass(frozen=True)
class HttpRequest:
    """An HTTP request; header names are in lower case.

    `iam` is the ARN of the sender if AWS has proven one. The body is not read if it is `too_large`.
    """

    method: str
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    iam: str | None = None
    too_large: bool = False
    path: str = "/"


@dataclass(frozen=True)
class Rules:
    """The operator's settings for the webhook endpoint; `source` is the source of requests in bare JSON."""

    source: str
    prefix: str = "bms"
    allowed_origins: tuple[str, ...] = ()
    iam_auth: bool = False
    allowed_requesters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """The whole request is rejected; `unknown_key` means that newer keys may accept it."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    unknown_key: bool = False


@dataclass(frozen=True)
class Consent:
    """The answer to a handshake: this origin may send (CloudEvents WebHook §4.2)."""

    origin: str


@dataclass(frozen=True, eq=False)
class Entry:
    """A message for the queue: its event, and the requests in it, which are several if a summary answers them."""

    requests: tuple[DetachRequest, ...]
    event: Mapping[str, Any]

    @property
    def summary(self) -> DetachRequest | None:
        """The request without a volume, if it gets a summary."""
        first = self.requests[0]
        return replace(first, volume_id="") if first.summary else None

    @property
    def verdicts(self) -> tuple[DetachRequest, ...]:
        """The requests whose volumes are known."""
        return tuple(request for request in self.requests if request.volume_id)


@dataclass(frozen=True)
class Invalid:
    """An invalid event, with everything that is wrong with it."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Received:
    """A request of a known sender: for each event its entries, or what is wrong with it."""

    batched: bool
    events: tuple[tuple[Entry, ...] | Invalid, ...]


def receive(request: HttpRequest, rules: Rules, keys: Keys, now: datetime) -> Received | Refusal | Consent:
    """Decide about a request: cheap checks first, and the body is parsed only for known senders."""
    if request.method == "OPTIONS":
        return _handshake(request.headers, rules)
    if request.method != "POST":
        return Refusal(405, "requests are sent by POST", {"Allow": "OPTIONS, POST"})
    if request.too_large or len(request.body) > BODY_BYTES:
        return Refusal(413, f"the body must be at most {BODY_BYTES} bytes")
    sender = admitted(request, rules, keys, now)
    if isinstance(sender, Refusal):
        return sender
    try:
        mode, parsed = read_events(request.headers, request.body)
    except Unreadable as unreadable:
        return Refusal(unreadable.status, redact(str(unreadable)))  # it may quote a name
    except Refused as refused:
        return Refusal(422, "the event is not valid", faults=refused.faults)
    names = (request.headers.get(name) for name in IDENTITY_HEADERS)
    signed_at = min(sender.signed_at or now, now)
    id_ = next(filter(None, names), request.request_id)
    # The trace of the HTTP request, for an event that has no trace of its own.
    parent, state = trace_of(request.headers.get("traceparent"), request.headers.get("tracestate"))
    origin = Origin(id_, rules.source, signed_at, requester=sender.requester, traceparent=parent, tracestate=state)
    events = tuple(_validated(event, origin, rules.prefix) for event in parsed)
    return Received(mode is Mode.BATCHED, events)


def admitted(request: HttpRequest, rules: Rules, keys: Keys, now: datetime) -> Authenticated | Refusal:
    """The sender, if it is known and allowed."""
    sender = authenticate(request, rules, keys, now)
    if isinstance(sender, NotAuthenticated):
        return Refusal(401, sender.why, unknown_key=sender.unknown_key)
    if not sender.requester.is_allowed(rules.allowed_requesters):
        return Refusal(403, f"the requester is {sender.requester.name}, which may not ask for a detach here")
    return sender


def authenticate(request: HttpRequest, rules: Rules, keys: Keys, now: datetime) -> Authenticated | NotAuthenticated:
    """Identify the sender in one of the configured ways; for a signed request only the signature counts."""
    headers = request.headers
    if keys.secrets and SIGNATURE in headers:
        return check_signature(headers, request.body, keys, now)
    if rules.iam_auth and request.iam is not None:
        return Authenticated(iam_requester(request.iam))
    if keys.bearer_tokens and "authorization" in headers:
        return check_bearer(headers, keys)
    presented = SIGNATURE in headers or "authorization" in headers
    why = "the delivery must be signed (Standard Webhooks) by a sender this webhook endpoint knows"
    return NotAuthenticated(why, unknown_key=presented)


ARN = re.compile(r"arn:[a-z0-9-]+:(iam|sts)::[0-9]{12}:(root|[a-z-]+/)?[!-~]{0,400}")
PRINCIPALS = {
    "assumed-role/": AuthType.SERVICE_ACCOUNT,
    "role/": AuthType.SERVICE_ACCOUNT,
    "user/": AuthType.USER,
    "federated-user/": AuthType.USER,
    "root": AuthType.USER,
}
"""What an ARN of IAM or STS names (IAM, identifiers: ARNs)."""


def iam_requester(arn: str) -> Requester:
    """The sender that AWS has proven; text that is not an ARN is not passed on."""
    found = ARN.fullmatch(arn)
    kind = PRINCIPALS.get(found[2] or "", AuthType.UNKNOWN) if found else AuthType.UNKNOWN
    return Requester(kind, arn if found else None, Via.WEBHOOK_IAM)


def _handshake(headers: Mapping[str, str], rules: Rules) -> Consent | Refusal:
    """Answer a handshake: only the header gives consent, whatever the status. Without consent the specification asks
    for 405."""
    asked = headers.get("webhook-request-origin", "").strip().lower()
    if asked and "*" in rules.allowed_origins:
        return Consent("*")
    if asked in rules.allowed_origins:
        return Consent(asked)
    return Refusal(405, "the origin is missing or not allowed", {"Allow": "POST"})


def _validated(event: JsonValue, origin: Origin, prefix: str) -> tuple[Entry, ...] | Invalid:
    try:
        # An event is not newer than its signature. This limits `ce-time`, a header that is not signed.
        requests = tuple(
            replace(request, requested_at=min(request.requested_at, origin.time))
            for request in requests_in(event, origin, prefix)
        )
    except Refused as refused:
        return Invalid(refused.faults)
    except OwnVerdict as verdict:
        return Invalid((Fault("type", str(verdict)),))
    together = [requests] if requests[0].summary else [(request,) for request in requests]
    entries = tuple(Entry(several, event_for(several, prefix)) for several in together)
    # What the queue's consumer would reject (for example one more level of nesting) is rejected here.
    for entry in entries:
        try:
            requests_in(strict_json.loads(strict_json.canonical(entry.event)), origin, prefix)
        except Refused as refused:
            return Invalid(refused.faults)
        except strict_json.NotJson as error:
            return Invalid((Fault("", str(error)),))
    return entries


def event_for(requests: tuple[DetachRequest, ...], prefix: str) -> Mapping[str, Any]:
    """The request as a structured CloudEvent of its own: the queue holds no other form.

    Requests that share a summary become one event. The sender chooses no name at the top level, so the event cannot
    pass as another kind of signed message.
    """
    request = requests[0]
    fields = {name: value for name, value in asdict(request).items() if value not in (None, False)}
    if request.summary:
        volumes = [fields.pop("volume_id"), *(other.volume_id for other in requests[1:])]
        fields |= {"volume_ids": volumes} if request.volume_id else {"all_data_disks": True}
    fields |= {name: value.isoformat() for name, value in fields.items() if isinstance(value, datetime)}
    fields.pop("requester")
    attributes = {attribute: fields.pop(name) for name, attribute in ATTRIBUTES.items() if name in fields}
    return {
        "specversion": "1.0",
        "type": f"{prefix}.volume.detach_requested.v1",
        "datacontenttype": "application/json",
        **attributes,
        **as_attributes(request.requester),
        "data": fields,
    }


ATTRIBUTES = {
    "id": "id", "source": "source", "requested_at": "time", "expires_at": "expirytime",
    "correlation_id": "correlationid", "traceparent": "traceparent", "tracestate": "tracestate",
}  # fmt: skip
"""The request's fields that become attributes of its event, and the attributes' names."""
