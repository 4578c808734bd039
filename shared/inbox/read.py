"""Reads a message: finds the cases in it, in any envelope, or everything that is wrong with it."""

from __future__ import annotations

from dataclasses import field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Union

from pydantic import JsonValue, ValidationError

from shared import strict_json
from shared.decision.case import Case
from shared.decision.progress import Progress
from shared.inbox.envelopes import ENVELOPE_KINDS, OwnVerdict, Refused, in_binary_mode, is_text, unquoted
from shared.inbox.request import (
    context_faults,
    faults_of,
    request_faults,
    requests_of,
    valid_id,
    valid_token,
    without_token,
)
from shared.model import NOBODY_KNOWN, DetachRequest, Fault, Message, Origin, Reason
from shared.own_messages import (
    NEEDS,
    Continuation,
    WaitingDelivery,
    is_of_the_release_before,
    is_signed,
    requester_in,
    without_mac,
)
from shared.policy import ENVELOPES, FAULTS
from shared.ports import Macs
from shared.quick import dataclass
from shared.redact import redact
from shared.strict_json import MAC

if TYPE_CHECKING:
    from shared.group import Group


@dataclass(frozen=True)
class Rejected:
    """A message that is not a valid request: it gets a verdict with all its faults, and no retry.

    If `own` is set, it names the kind of our own message that cannot be read. Then the request is not at fault: most
    likely another release wrote it. `unconfirmed_id` is the id of its `unconfirmed` event, if that was emitted.
    `open_volumes` are the volumes of a group that have no verdict yet.
    """

    origin: Origin
    faults: tuple[Fault, ...]
    original: str
    server_id: str | None = None
    volume_id: str | None = None
    context: dict[str, JsonValue] | None = None
    task_token: str | None = field(default=None, repr=False)
    own: str | None = None
    dry_run: bool = False
    unconfirmed_id: str | None = None
    reason: Reason = Reason.INVALID_REQUEST
    open_volumes: tuple[str | None, ...] = ()

    @property
    def forged(self) -> bool:
        """Whether nothing in the message can be trusted, not even which request it is about."""
        return self.reason is Reason.NOT_AUTHENTIC


@dataclass(frozen=True)
class Ignored:
    """A message that must get no verdict: one of our own verdicts that was routed back to us."""

    why: str


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The earliest time of a request. Times near year 1 would break time arithmetic."""

Found = Union[list[Case], "Group", WaitingDelivery, Rejected, Ignored]


def read(message: Message, prefix: str, now: datetime, macs: Macs) -> Found:
    """Read a message: return its cases (one per volume), the group of a request with a summary, a waiting delivery, or
    why there is none of these.

    Raises AwsTrouble if the message has a MAC, or looks like one of our own, and the keys cannot be read.
    """
    origin = Origin(message.id, message.source, message.sent_at, requester=message.sender)
    own: str | None = None
    try:
        value = strict_json.loads(message.body)
        if isinstance(value, dict):
            own = next((kind for kind, needs in NEEDS.items() if kind in value and needs in value), None)
        if own and isinstance(value, dict):
            grouped = "volumes" in value  # every release has signed these
            if not (is_signed(value, macs) or (not grouped and is_of_the_release_before(value, message.sent_at, macs))):
                return _forged(message, origin, own)
            if grouped:
                return _grouped(message, value)
            return _waiting(value) if own == "pending_delivery" else [_continued(message, value)]
        if isinstance(value, dict) and MAC in value and is_signed(value, macs):
            origin = replace(origin, requester=requester_in(value) or message.sender)
        elif message.attributes:  # a signed message takes nothing from its attributes
            value = in_binary_mode(value, message.attributes)
        since = message.first_received_at if message.receive_count > 1 else None
        progress = Progress(first_seen_at=now, redelivered_since=since)
        # A request was made no later than it was sent, and no later than now, whatever time its sender gives.
        latest, found = min(message.sent_at, now), requests_in(value, origin, prefix)
        dated = (replace(request, requested_at=max(EPOCH, min(request.requested_at, latest))) for request in found)
        cases = [Case(request, message, progress) for request in dated]
        return _together(cases) if cases[0].request.summary else cases
    except strict_json.NotJson as error:
        return _rejected(message, origin, Refused([Fault("", str(error))]))
    except Refused as refused:
        rejected = _rejected(message, origin, refused, own)
        return replace(rejected, unconfirmed_id=_announced(value), open_volumes=_open(value)) if own else rejected
    except OwnVerdict as verdict:
        return Ignored(str(verdict))


def requests_in(value: JsonValue, origin: Origin, prefix: str) -> list[DetachRequest]:
    """Open the envelopes in whatever order they are nested, then validate the request. Raises Refused."""
    for _ in range(ENVELOPES + 1):
        if isinstance(value, str):
            value = _unquoted(value, origin)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and "specversion" in value[0]:
            (value,) = value  # a batch of one, as some brokers send (CloudEvents JSON format §4)
        if not isinstance(value, dict):
            raise Refused([Fault("", f"must be a JSON object, is {_json_type(value)}")], origin)
        envelope = next((unwrap for belongs, unwrap in ENVELOPE_KINDS if belongs(value)), None)
        if envelope is None:
            return requests_of(value, origin)
        try:
            origin, value = envelope(value, origin, prefix)
        except Refused as refused:
            if isinstance(refused.data, dict):
                refused.faults += tuple(request_faults(refused.data, at="data"))
            raise
    raise Refused([Fault("", f"wrapped more than {ENVELOPES} times")], origin)


def _unquoted(text: str, origin: Origin) -> JsonValue:
    """The value in a JSON text. Raises Refused for any other text."""
    try:
        return unquoted(text)
    except strict_json.NotJson as error:
        raise Refused([Fault("", f"must be a JSON object, is a string: {error}")], origin) from error


# ---------------------------------------------------------------------------------------------- our own messages


def _continued(message: Message, value: dict[str, JsonValue]) -> Case:
    """Read a continuation. If it is invalid, the rejection names the request, since the final verdict needs its id."""
    try:
        found = Continuation.parse(value)
    except ValidationError as error:
        asked = value.get("request")
        raise Refused(faults_of(error), _asker(asked, message), asked) from error
    since = (message.first_received_at if message.receive_count > 1 else None) or found.progress.redelivered_since
    return Case(found.request, message, replace(found.progress, redelivered_since=since), fresh=False)


def _together(cases: list[Case]) -> Group:
    # Imported only for requests with a summary.
    from shared.group import Group

    return Group.of(cases)


def _grouped(message: Message, value: dict[str, JsonValue]) -> Group:
    """Read a group. If it is invalid, the rejection names the request."""
    from shared.group import Group

    try:
        return Group.parse(value)
    except ValidationError as error:
        asked = value.get("request")
        raise Refused(faults_of(error), _asker(asked, message), asked) from error


def _asker(request: JsonValue, message: Message) -> Origin:
    told = request if isinstance(request, dict) else {}
    names = ("id", "source", "correlation_id", "traceparent", "tracestate")
    text: dict[str, Any] = {name: value for name in names if is_text(value := told.get(name))}
    said = told.get("requester")
    requester = requester_in({f"auth{name}": value for name, value in said.items()}) if isinstance(said, dict) else None
    origin = Origin(message.id, message.source, message.sent_at, requester=requester or NOBODY_KNOWN)
    return replace(origin, **text)


def _announced(value: JsonValue) -> str | None:
    """The id of the `unconfirmed` event that an invalid continuation names."""
    progress = value.get("progress") if isinstance(value, dict) else None
    announced = progress.get("unconfirmed_id") if isinstance(progress, dict) else None
    return announced if is_text(announced) else None


def _open(value: JsonValue) -> tuple[str | None, ...]:
    """The volumes without a verdict on the bus that an invalid group names."""
    from shared.group import members_in

    listed = members_in(value) if isinstance(value, dict) and "volumes" in value else None
    members = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    open_ = [one for one in members if one.get("said") is None or one.get("unsent") is not None]
    return tuple(valid_id(one.get("volume_id")) for one in open_)


def _waiting(value: dict[str, JsonValue]) -> WaitingDelivery:
    try:
        return WaitingDelivery.parse(value)
    except ValidationError as error:
        raise Refused(faults_of(error)) from error


# ------------------------------------------------------------------------------------------------ what is wrong


def _forged(message: Message, origin: Origin, kind: str) -> Rejected:
    """The verdict has the message's own id: the sender must not be able to end the request that the message names."""
    fault = Fault("mac", f"must be the MAC of this service, since the message says that it is its own {kind}")
    return Rejected(origin, (fault,), message.body, reason=Reason.NOT_AUTHENTIC)


def _rejected(message: Message, known: Origin, refused: Refused, own: str | None = None) -> Rejected:
    data = refused.data if isinstance(refused.data, dict) else {}
    context = data.get("context")
    return Rejected(
        origin=without_token(refused.origin or known, data.get("task_token")),
        faults=_limited(refused.faults),
        original=without_mac(message.body),
        server_id=valid_id(data.get("server_id")),
        volume_id=valid_id(data.get("volume_id")),
        context=context if isinstance(context, dict) and not context_faults(context) else None,
        task_token=valid_token(data.get("task_token")),
        own=own,
        dry_run=data.get("dry_run") is True,
    )


def _limited(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """The faults, limited in number and length: their names come from the sender and may have any length."""
    told = [Fault(redact(fault.field, 128), redact(fault.message, 256)) for fault in faults[:FAULTS]]
    more = len(faults) - len(told)
    return (*told, Fault("", f"has {more} more faults")) if more else tuple(told)


def _json_type(value: JsonValue) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
