"""Any input in the queue becomes a request, a rejection or nothing, and never an exception."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.decision.case import Case
from shared.inbox.read import Ignored, Rejected, read
from shared.model import Message
from shared.outbox.events import EventFactory
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, SERVER, START, VOLUME, bare, cloudevent, cloudevent_faults

DATA = bare(SERVER, VOLUME)

NAMES = st.sampled_from(
    ["specversion", "id", "source", "type", "time", "data", "data_base64", "datacontenttype", "expirytime",
     "correlationid", "traceparent", "subject", "detail", "detail-type", "Type", "TopicArn", "Message", "MessageId",
     "Timestamp", "continuation", "request", "progress", "first_seen_at", "server_id", "volume_id", "volume_ids",
     "project_id", "attachment_id", "unmounted", "dry_run", "context", "task_token", "requested_at"]
)  # fmt: skip
TEXTS = st.sampled_from(
    ["1.0", "Notification", "bms.volume.detach_requested.v1", "bms.volume.detached.v1", "2026-11-23T08:00:00Z", SERVER,
     VOLUME, "application/json", "{}", '{"server_id": 5}', "e30=", "\x00", "a\nb", "0001-01-01T00:00:00+23:59"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=8), inner, max_size=8),
    max_leaves=25,
)


def outcome_of(body: str) -> list[Case] | Rejected | Ignored:
    """The result for a body; the answer to a rejected one must be an event that can be sent."""
    found = read(Message(body, "m-1", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)
    if isinstance(found, Rejected):
        event = EventFactory().rejected(found, START)
        assert cloudevent_faults(json.loads(event.body)) == []
        assert len(event.body.encode()) < 128 * 1024
        assert found.faults
    else:
        assert isinstance(found, list | Ignored)
        assert found != []
    return found


@given(body=st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_text(body: str) -> None:
    """A body of arbitrary characters or bytes is answered."""
    assert isinstance(outcome_of(body), Rejected)


@settings(max_examples=200, deadline=None)
@given(value=VALUES)
def test_any_json(value: Any) -> None:
    """Any JSON value, built of the very names that are looked for, comes to one of the three outcomes."""
    outcome_of(json.dumps(value))


@settings(max_examples=200, deadline=None)
@given(name=NAMES, value=VALUES, inside=st.booleans())
def test_one_thing_wrong(name: str, value: Any, inside: bool) -> None:
    """A valid event with one arbitrary value in any place has one of the three outcomes."""
    event = cloudevent({**DATA, name: value}) if inside else cloudevent(DATA) | {name: value}
    outcome_of(json.dumps(event))


HOSTILE = {
    "empty": "",
    "blank": "   \n",
    "duplicate key": f'{{"server_id": "{SERVER}", "volume_id": "{VOLUME}", "dry_run": true, "dry_run": false}}',
    "NaN": f'{{"server_id": "{SERVER}", "volume_id": "{VOLUME}", "context": {{"a": NaN}}}}',
    "overflow": f'{{"server_id": "{SERVER}", "volume_id": "{VOLUME}", "context": {{"a": 1e999}}}}',
    "huge int": f'{{"server_id": "{SERVER}", "volume_id": "{VOLUME}", "context": {{"a": {"9" * 5000}}}}}',
    "lone surrogate": f'{{"server_id": "{SERVER}", "volume_id": "{VOLUME}", "context": {{"a": "\\ud83d"}}}}',
    "unencodable": "\ud800",
    "raw NUL": f'{{"server_id": "{SERVER}\x00", "volume_id": "{VOLUME}"}}',
    "escaped NUL": f'{{"server_id": "{SERVER}\\u0000", "volume_id": "{VOLUME}"}}',
    "deep": '{"a":' * 100_000,
    "deep and closed": '{"context":' * 500 + "1" + "}" * 500,
    "256 KB of text": "x" * 262_144,
    "256 KB of brackets": "[" * 262_144,
    "256 KB of escapes": '"' + "\\" * 262_142 + '"',
    "256 KB of NUL": "\x00" * 262_144,
    "256 KB in a name": json.dumps({**DATA, "x" * 262_000: 1}),
    "unknown names": json.dumps({**DATA, **{f"unknown {number}": number for number in range(12_000)}}),
    "control names": json.dumps({**DATA, **{"\x00" * 300 + str(number): 1 for number in range(100)}}),
    "many volumes": json.dumps({"server_id": SERVER, "volume_ids": ["x"] * 60_000}),
    "256 KB in an id": json.dumps({"server_id": "0" * 262_000, "volume_id": VOLUME}),
    "256 KB of event id": json.dumps(cloudevent(DATA, id="x" * 262_000)),
    "256 KB of EventBridge id": json.dumps({"detail-type": "x", "id": "y" * 262_000, "detail": {}}),
    "256 KB of SNS id": json.dumps({"Type": "Notification", "TopicArn": "t", "MessageId": "y" * 262_000,
        "Message": "{}"}),
    "context of 256 KB": json.dumps({**DATA, "context": {"a": "x" * 262_000}}),
    "type is a list": json.dumps(cloudevent(DATA, type=["bms.volume.detached.v1"])),
    "continuation of nothing": '{"continuation": {}, "progress": {}, "request": {}}',
    "continuation with names": json.dumps({"continuation": 1, "progress": dict.fromkeys(map(str, range(9000))),
        "request": {}}),
}  # fmt: skip


def test_faults_have_a_limit() -> None:
    """Of thousands of faults only the first are listed, with the number of all."""
    found = outcome_of(HOSTILE["unknown names"])
    assert isinstance(found, Rejected)
    assert (len(found.faults), found.faults[-1].message) == (51, "has 11950 more faults")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_answered_at_once(name: str) -> None:
    """A malicious body is answered quickly, with an event that fits the bus."""
    started = time.perf_counter()
    assert isinstance(outcome_of(HOSTILE[name]), Rejected)
    assert time.perf_counter() - started < 3
