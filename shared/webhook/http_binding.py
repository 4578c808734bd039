"""Reads the HTTP binding of CloudEvents 1.0.2: turns headers and a body into structured JSON events, or bare JSON."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from pydantic import JsonValue

from shared import strict_json
from shared.inbox.envelopes import Refused
from shared.model import Fault
from shared.policy import BATCH_EVENTS

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
JSON_TYPE = re.compile(r"(application|text)/(json|[^/\s;]+\+json)")


class Mode(StrEnum):
    """The content modes of the binding, and JSON that is not a CloudEvent."""

    STRUCTURED = "structured"
    BINARY = "binary"
    BATCHED = "batched"
    BARE = "bare"


CLOUDEVENTS = {STRUCTURED: Mode.STRUCTURED, BATCHED: Mode.BATCHED}


class Unreadable(Exception):
    """The request holds no readable events; `status` is the HTTP status for that."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def read_events(headers: Mapping[str, str], body: bytes) -> tuple[Mode, tuple[JsonValue, ...]]:
    """The content mode and the events, not yet validated; header names must be in lower case.

    Raises Unreadable, or Refused for invalid attribute headers.
    """
    mode = mode_of(headers)
    try:
        value = strict_json.loads(body)
    except strict_json.NotJson as error:
        raise Unreadable(400, f"the body cannot be read: {error}") from error
    return mode, READERS[mode](value, headers)


def mode_of(headers: Mapping[str, str]) -> Mode:
    """The content mode, decided by the content type (§3): a structured event may repeat its attributes as `ce-`
    headers."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unreadable(415, "the body must not be compressed")
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    media_type = media_type.strip().lower()
    charset = re.search(r'(?i)(?:^|;)\s*charset\s*=\s*"?([^";\s]*)', parameters)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Unreadable(415, f"JSON comes in UTF-8, not in {charset[1][:40]}")
    if media_type in CLOUDEVENTS:
        return CLOUDEVENTS[media_type]
    if "content-type" not in headers and "ce-specversion" in headers:
        return Mode.BINARY  # some libraries omit it if the event has no datacontenttype
    if media_type.startswith("application/cloudevents") or not JSON_TYPE.fullmatch(media_type):
        raise Unreadable(415, f"Content-Type must be one of {', '.join((*CLOUDEVENTS, 'application/json'))}")
    return Mode.BINARY if any(name.startswith("ce-") for name in headers) else Mode.BARE


def _structured(value: JsonValue, _: Mapping[str, str]) -> tuple[JsonValue, ...]:
    """The content type says CloudEvent, so it is validated as one, even without a `specversion`."""
    return ({"specversion": None, **value} if isinstance(value, dict) else value,)


def _batched(value: JsonValue, headers: Mapping[str, str]) -> tuple[JsonValue, ...]:
    if not isinstance(value, list) or not value:
        raise Unreadable(422, "a batch must be a JSON array of at least one CloudEvent")
    if len(value) > BATCH_EVENTS:
        raise Unreadable(413, f"a batch holds at most {BATCH_EVENTS} events, this one {len(value)}")
    return tuple(event for item in value for event in _structured(item, headers))


def _binary(value: JsonValue, headers: Mapping[str, str]) -> tuple[JsonValue, ...]:
    """Attributes from the `ce-` headers, `datacontenttype` from `Content-Type`, `data` from the body (§3.1)."""
    event: dict[str, JsonValue] = {"specversion": None, "datacontenttype": headers.get("content-type"), "data": value}
    faults = []
    for header, encoded in headers.items():
        name = header.removeprefix("ce-")
        if name == header:
            continue
        if not re.fullmatch(r"[a-z0-9]+", name) or name in ("data", "datacontenttype"):
            faults.append(Fault(header, "is not the header of an attribute"))
            continue
        try:
            event[name] = decoded(encoded)
        except ValueError as error:
            faults.append(Fault(header, str(error)))
    if faults:
        raise Refused(faults)
    return (event,)


def decoded(value: str) -> str:
    """The attribute's value from a header: remove quotes, then percent-decode once (§3.1.3.2)."""
    value = value.strip()
    if not value.isascii():
        raise ValueError("must be percent-encoded outside of ASCII")
    quoted = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', value)
    if quoted:
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    if re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise ValueError("holds a percent sign that starts no encoded byte")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8 once percent-decoded") from error


READERS: Mapping[Mode, Callable[[JsonValue, Mapping[str, str]], tuple[JsonValue, ...]]] = {
    Mode.STRUCTURED: _structured,
    Mode.BATCHED: _batched,
    Mode.BINARY: _binary,
    Mode.BARE: lambda value, _: (value,),
}
