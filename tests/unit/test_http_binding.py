"""The HTTP binding of CloudEvents: which mode it is, and what event comes out of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from shared.inbox.envelopes import Refused
from shared.webhook.http_binding import (
    BATCH_LIMIT,
    BATCHED,
    STRUCTURED,
    Mode,
    Unreadable,
    decoded,
    mode_of,
    read_events,
)
from tests.http_requests import DATA, cloudevent

CE_HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "4711",
    "ce-source": "/changes",
    "ce-type": "bms.volume.detach_requested.v1",
    "ce-time": "2026-11-23T08:00:00Z",
}


def event_in(headers: dict[str, str], value: Any) -> Any:
    """The one event in a request."""
    (event,) = read_events(headers, json.dumps(value).encode()).events
    return event


def status_of(headers: dict[str, str], body: bytes = b"{}") -> int:
    with pytest.raises(Unreadable) as unreadable:
        read_events(headers, body)
    return unreadable.value.status


@pytest.mark.parametrize(
    ("content_type", "mode"),
    [
        (STRUCTURED, Mode.STRUCTURED),
        ("Application/CloudEvents+JSON; charset=UTF-8", Mode.STRUCTURED),
        (BATCHED, Mode.BATCHED),
        ("application/json", Mode.BARE),
        ('application/json; charset="utf-8"', Mode.BARE),
        ("application/vnd.example+json", Mode.BARE),
        ("text/json", Mode.BARE),
    ],
)
def test_the_content_type_decides(content_type: str, mode: Mode) -> None:
    """`ce-` headers make a binary event of JSON, and change nothing about an event that is structured (§3)."""
    assert mode_of({"content-type": content_type}) is mode
    assert mode_of({"content-type": content_type} | CE_HEADERS) is (Mode.BINARY if mode is Mode.BARE else mode)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/xml"} | CE_HEADERS,
        {"content-type": "application/cloudevents"},
        {"content-type": "application/cloudevents+xml"},
        {"content-type": "application/cloudevents+avro"} | CE_HEADERS,
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_formats_are_not_read(headers: dict[str, str]) -> None:
    """What is not JSON in UTF-8 is 415, with or without `ce-` headers."""
    assert status_of(headers) == 415


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a":1,"a":2}', b"NaN", b"[" * 100_000, b'"\\ud800"'])
@pytest.mark.parametrize("content_type", [STRUCTURED, BATCHED, "application/json"])
def test_a_body_that_is_not_json(body: bytes, content_type: str) -> None:
    """Nothing that can be read in no way, or in two, goes further than 400."""
    assert status_of({"content-type": content_type}, body) == 400


def test_structured() -> None:
    """The event is the body; its attributes in headers beside it are passed over."""
    assert event_in({"content-type": STRUCTURED, "ce-id": "another"}, cloudevent()) == cloudevent()


def test_structured_stays_a_cloudevent_without_specversion() -> None:
    """What is called a CloudEvent is never taken for bare JSON, so that its missing attributes are named."""
    assert event_in({"content-type": STRUCTURED}, DATA) == {"specversion": None, **DATA}


def test_binary() -> None:
    """Attributes from the headers, `datacontenttype` from the content type, data from the body (§3.1)."""
    event = event_in({"content-type": "application/json", "host": "x", **CE_HEADERS}, DATA)
    assert event == cloudevent(datacontenttype="application/json")


def test_binary_values_are_decoded() -> None:
    """Percent-encoding is undone once, quotes of older senders are taken off (§3.1.3.2)."""
    headers = {"content-type": "application/json", "ce-subject": "caf%C3%A9%20%2541", "ce-id": r'"a \"b\" \\c"'}
    event = event_in(headers, {})
    assert (event["subject"], event["id"]) == ("café %41", r'a "b" \c')


@pytest.mark.parametrize(
    ("header", "value"),
    [("ce-id", "%"), ("ce-id", "%4"), ("ce-id", "%zz"), ("ce-id", "%FF"), ("ce-id", "café"), ("ce-data", "{}"),
     ("ce-datacontenttype", "text/plain"), ("ce-data_base64", "e30="), ("ce-", "x"), ("ce-my-ext", "x")],
)  # fmt: skip
def test_headers_that_are_no_attributes(header: str, value: str) -> None:
    """A header that cannot be an attribute is named, not guessed at and not dropped."""
    with pytest.raises(Refused) as refused:
        event_in({"content-type": "application/json", **CE_HEADERS, header: value}, DATA)
    assert [fault.field for fault in refused.value.faults] == [header]


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_every_text_survives_a_header(text: str) -> None:
    """What a sender encodes as the binding says comes out as it was."""
    assert decoded(quote(text, safe="")) == text


def test_what_the_sdk_sends() -> None:
    """The CloudEvents SDK's structured and binary messages lead to the same event."""
    attributes = {name: value for name, value in cloudevent().items() if name not in ("data", "time")}
    attributes |= {"subject": "ü %", "datacontenttype": "application/json"}
    event = CloudEvent(dict(attributes), dict(DATA))
    messages = [to_structured_event(event, JSONFormat()), to_binary_event(event, JSONFormat())]
    found = [
        read_events({name.lower(): value for name, value in message.headers.items()}, message.body).events[0]
        for message in messages
    ]
    shown = [{name: value for name, value in one.items() if name != "time"} for one in found if isinstance(one, dict)]
    assert shown == [{**attributes, "data": DATA}] * 2


def test_batched() -> None:
    """A batch is its events in their order, each a CloudEvent for certain."""
    found = read_events({"content-type": BATCHED}, json.dumps([cloudevent(), DATA, 5]).encode())
    assert found.events == (cloudevent(), {"specversion": None, **DATA}, 5)


@pytest.mark.parametrize(("value", "status"), [({}, 422), ("x", 422), ([], 422), ([{}] * (BATCH_LIMIT + 1), 413)])
def test_batches_that_are_none(value: Any, status: int) -> None:
    """A batch is a list, of one event at least and of a hundred at most."""
    assert status_of({"content-type": BATCHED}, json.dumps(value).encode()) == status
