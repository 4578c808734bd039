"""Opens the envelopes of a request (SNS, EventBridge, CloudEvents, Argo Events, in any order) and reads its origin."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from pydantic import JsonValue

from shared import strict_json
from shared.inbox.times import parse_time
from shared.inbox.trace import trace_of
from shared.model import SUMMARY, Fault, Origin, Outcome

Envelope = Mapping[str, JsonValue]


class Refused(Exception):
    """The message has faults; with the origin known so far."""

    def __init__(self, faults: list[Fault], origin: Origin | None = None, data: JsonValue = None) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = tuple(faults)
        self.origin = origin
        self.data = data


class OwnVerdict(Exception):
    """The event is a verdict or a summary of this product."""


def _unwrap_sns(value: Envelope, outer: Origin, _prefix: str) -> tuple[Origin, JsonValue]:
    """Open an SNS notification, which carries the message as JSON text."""
    origin = _named_by(value, outer, "MessageId", "TopicArn", "Timestamp")
    try:
        return origin, in_binary_mode(strict_json.loads(str(value["Message"])), _sns_attributes(value))
    except strict_json.NotJson as error:
        raise Refused([Fault("Message", str(error))], origin) from error


def _sns_attributes(value: Envelope) -> dict[str, str]:
    """The message attributes of type string."""
    found = value.get("MessageAttributes")
    entries = found.items() if isinstance(found, dict) else ()
    values = {name: entry.get("Value") for name, entry in entries if isinstance(entry, dict)}
    return {name: text for name, text in values.items() if isinstance(text, str)}


PREFIXES = ("ce-", "ce_", "cloudEvents_")
"""The prefixes of event attributes beside the data in the CloudEvents 1.0.2 bindings for HTTP, Kafka and AMQP.

No binding exists for SQS. Names of SQS message attributes may contain letters, digits, hyphens, underscores and full
stops.
"""


def in_binary_mode(data: JsonValue, attributes: Mapping[str, str]) -> JsonValue:
    """The event with attributes beside its data, as structured JSON; the data alone if it has no such attributes."""
    event: dict[str, JsonValue] = {}
    for name, value in attributes.items():
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
        if prefix:
            event[name.removeprefix(prefix)] = value
    if "specversion" not in event or (isinstance(data, dict) and "specversion" in data):
        return data
    content_type = next((text for name, text in attributes.items() if name.lower() in CONTENT_TYPE), None)
    return {"datacontenttype": content_type, **event, "data": data}


CONTENT_TYPE = ("content-type", "contenttype", "content_type")


def _unwrap_eventbridge(value: Envelope, outer: Origin, _prefix: str) -> tuple[Origin, JsonValue]:
    return _named_by(value, outer, "id", "source", "time"), value["detail"]


def _unwrap_argo(value: Envelope, outer: Origin, prefix: str) -> tuple[Origin, JsonValue]:
    """Open an event of Argo Events: attributes under `context`, data as base64 or JSON.

    A webhook event source has the request's payload under `body`.
    """
    context = value["context"]
    event = {**context, "data": value["data"]} if isinstance(context, dict) else {}
    if isinstance(value["data"], str) and BASE64.fullmatch(value["data"].rstrip("\r\n")):
        event["data_base64"] = event.pop("data")
    origin, data = _unwrap_cloudevent(event, outer, prefix)
    return origin, data["body"] if isinstance(data, dict) and {"header", "body"} <= data.keys() else data


BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]+={0,2}")


def _named_by(value: Envelope, outer: Origin, id_name: str, source_name: str, time_name: str) -> Origin:
    """The origin that the envelope gives; values that it lacks come from the outer envelope."""
    id_, source = value.get(id_name), value.get(source_name)
    return replace(
        outer,
        id=id_ if is_text(id_) else outer.id,
        source=source if is_text(source) else outer.source,
        time=parse_time(value.get(time_name)) or outer.time,
    )


def _unwrap_cloudevent(value: Envelope, outer: Origin, prefix: str) -> tuple[Origin, JsonValue]:
    """Open and validate a structured CloudEvent, including its required attributes (CloudEvents 1.0.2 §3.1).

    The SDK would invent a missing id, and so a second identity for a redelivered event.
    """
    present = {name: item for name, item in value.items() if item is not None}
    type_ = present.get("type")
    if is_text(type_) and type_ in {f"{prefix}.volume.{verdict.event_name}.v1" for verdict in Outcome}:
        raise OwnVerdict(f"{type_} is a verdict of this service, not a request")
    if type_ == f"{prefix}.volume.{SUMMARY}.v1":
        raise OwnVerdict(f"{type_} is a summary by this service, not a request")
    faults = [
        Fault(name, "is required and must be a non-empty string without control characters")
        for name in ("id", "source", "type")
        if not is_text(present.get(name))
    ]
    if present.get("specversion") != "1.0":
        faults.append(Fault("specversion", 'must be "1.0"'))
    expected = f"{prefix}.volume.detach_requested.v1"
    if is_text(type_) and type_ != expected:
        faults.append(Fault("type", f"must be {expected}"))
    times = {name: parse_time(present.get(name)) for name in ("time", "expirytime")}
    faults += [
        Fault(name, "must be an RFC 3339 time with a zone, such as 2026-11-23T08:00:00Z")
        for name, time in times.items()
        if name in present and time is None
    ]
    faults += [
        Fault(name, "must be a non-empty string without control characters")
        for name in ("correlationid", "subject")
        if name in present and not is_text(present[name])
    ]
    if "data" in present and "data_base64" in present:
        faults.append(Fault("data_base64", "must not stand beside data"))
    data, data_faults = _data_of(present)
    faults += data_faults
    correlation_id, (traceparent, tracestate) = present.get("correlationid"), _trace(present, outer)
    origin = replace(
        _named_by(present, outer, "id", "source", "time"),
        expires_at=times["expirytime"] or outer.expires_at,
        correlation_id=correlation_id if is_text(correlation_id) else outer.correlation_id,
        traceparent=traceparent,
        tracestate=tracestate,
    )
    if faults:
        raise Refused(faults, origin, data)
    return origin, data


def _trace(event: Envelope, outer: Origin) -> tuple[str | None, str | None]:
    found = trace_of(event.get("traceparent"), event.get("tracestate"))
    return found if found[0] else (outer.traceparent, outer.tracestate)


def _data_of(event: Envelope) -> tuple[JsonValue, list[Fault]]:
    """The data, which must be JSON: as a value, as JSON text (some libraries write it so), or in base64."""
    content_type = str(event.get("datacontenttype", "application/json")).partition(";")[0].strip().lower()
    untold = isinstance(event.get("data"), str) or "data_base64" in event
    if not (JSON_TYPE.fullmatch(content_type) or (untold and content_type in NO_TYPE)):
        return None, [Fault("datacontenttype", "must be JSON")]
    name, must = ("data_base64", "the base64 of a JSON object") if "data_base64" in event else ("data", "a JSON object")
    try:
        data = unquoted(strict_json.loads(_from_base64(event[name])) if name == "data_base64" else event.get(name))
    except ValueError as error:  # no base64, or no JSON
        return None, [Fault(name, f"must be {must}: {error}")]
    return data, [] if isinstance(data, dict) else [Fault(name, f"must be {must}")]


JSON_TYPE = re.compile(r"[^/\s]+/(json|[^/\s]+\+json)")
"""Judged by the subtype alone (CloudEvents JSON format §3.1)."""

NO_TYPE = ("text/plain", "application/octet-stream")
"""What libraries write if the sender sets no content type for a text or bytes."""


def _from_base64(text: JsonValue) -> bytes:
    """Decode RFC 4648 §4, ignoring the line breaks of MIME (RFC 2045 §6.8). Raises ValueError."""
    return base64.b64decode(re.sub(r"[\r\n]", "", str(text)), validate=True)


QUOTES = 2
"""How many times JSON may be encoded as a JSON string again."""


def unquoted(value: JsonValue) -> JsonValue:
    """The value in a JSON text; any other value unchanged. Raises NotJson."""
    for _ in range(QUOTES):
        if not isinstance(value, str):
            break
        value = strict_json.loads(value)
    return value


ENVELOPE_KINDS: tuple[
    tuple[Callable[[Envelope], bool], Callable[[Envelope, Origin, str], tuple[Origin, JsonValue]]], ...
] = (
    (lambda v: v.get("Type") == "Notification" and "TopicArn" in v and "Message" in v, _unwrap_sns),
    (lambda v: "detail-type" in v and "detail" in v, _unwrap_eventbridge),
    (lambda v: "specversion" in v, _unwrap_cloudevent),
    (
        lambda v: "data" in v and isinstance(context := v.get("context"), dict) and "specversion" in context,
        _unwrap_argo,
    ),
)
"""How each kind of envelope is recognised and opened."""


NO_TEXT = "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]|[" + "".join(
    chr(plane + last) for plane in range(0x10000, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
) + "]"  # fmt: skip
"""Matches characters that no attribute may contain (CloudEvents 1.0.2 §3, String): control characters, surrogates,
noncharacters. It is compiled when needed, since plain ASCII, the usual case, is recognised faster."""

TEXT_BYTES = 2048
"""The longest attribute in UTF-8. Each attribute becomes part of every event, which must stay small."""


def is_text(value: Any) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and bool(value.strip())
        and len(value) <= TEXT_BYTES
        and ((value.isascii() and value.isprintable()) or not re.search(NO_TEXT, value))
        and len(value.encode()) <= TEXT_BYTES
    )
