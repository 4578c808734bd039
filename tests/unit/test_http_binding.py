"""The HTTP binding of CloudEvents: the mode of a request, and the resulting event."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from shared.webhook.http_binding import BATCHED, STRUCTURED, Mode, decoded, mode_of, read_events
from tests.http_requests import DATA, cloudevent


def event_in(headers: dict[str, str], value: Any) -> Any:
    """The one event in a request."""
    _, (event,) = read_events(headers, json.dumps(value).encode())
    return event


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
    assert mode_of({"content-type": content_type, "ce-id": "1"}) is (Mode.BINARY if mode is Mode.BARE else mode)


def test_structured() -> None:
    """The event is the body; attributes in headers are ignored."""
    assert event_in({"content-type": STRUCTURED, "ce-id": "another"}, cloudevent()) == cloudevent()


def test_binary_values_are_decoded() -> None:
    """Percent-encoding is decoded once, and quotes of older senders are removed (§3.1.3.2)."""
    headers = {"content-type": "application/json", "ce-subject": "caf%C3%A9%20%2541", "ce-id": r'"a \"b\" \\c"'}
    event = event_in(headers, {})
    assert (event["subject"], event["id"]) == ("café %41", r'a "b" \c')


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_every_text_survives_a_header(text: str) -> None:
    """Text that is encoded by the binding is decoded unchanged."""
    assert decoded(quote(text, safe="")) == text


def test_events_of_the_sdk() -> None:
    """The CloudEvents SDK's structured and binary messages lead to the same event."""
    attributes = {name: value for name, value in cloudevent().items() if name not in ("data", "time")}
    attributes |= {"subject": "ü %", "datacontenttype": "application/json"}
    event = CloudEvent(dict(attributes), dict(DATA))
    messages = [to_structured_event(event, JSONFormat()), to_binary_event(event, JSONFormat())]
    found = [
        read_events({name.lower(): value for name, value in message.headers.items()}, message.body)[1][0]
        for message in messages
    ]
    shown = [{name: value for name, value in one.items() if name != "time"} for one in found if isinstance(one, dict)]
    assert shown == [{**attributes, "data": DATA}] * 2
