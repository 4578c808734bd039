"""What a request tells itself: the message comes back as the task it was."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared.inbox.own_messages import Task, continuation_body

from shared.inbox.read import Delivery, Rejected, read
from shared.model import AttachmentRecord, Call, DetachRequest, Progress, State
from shared.service import OwnUnreadable
from tests.messages import QUEUE_ARN, START
from tests.stack import Bench

SERVER = "95bf2490-5428-432c-ad9b-5e3406f869dd"
VOLUME = "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6"
REQUEST = DetachRequest(id="4711", source="/changes", requested_at=START, server_id=SERVER, volume_id=VOLUME)
FOLLOWED = AttachmentRecord(attachment_id=SERVER, attached_at=START, device="/dev/sdb")
PROGRESS = Progress(
    first_seen_at=START, attempt=3, polls=4, followed=FOLLOWED, generation=SERVER,
    before=State(volume_status="in-use", attachment=FOLLOWED, listed_by_server=True, attached_to=(SERVER,)),
    deletes_sent=1, unsettled=1, last_delete_at=START, accepted_at=START + timedelta(microseconds=1),
    detaching_since=START, detaching_seen=True, detaching_read_at=START, idle_reads=1,
    unconfirmed_id="u", delete_request_id="r",
    last_error="http_502: bad", calls=(Call(operation="get_volume", at=START, status=0, code="timeout", message="m"),),
)  # fmt: skip

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TIME = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def back(body: str) -> Any:
    found = read(Delivery(body, "m-2", QUEUE_ARN, START + timedelta(minutes=5)), "bms")
    return found[0] if isinstance(found, list) else found


def message(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(continuation_body(REQUEST, PROGRESS))
    return whole | changes


def test_everything_learnt_comes_back() -> None:
    """Request and progress survive the queue unchanged, whatever the message's own id and time."""
    assert Task(REQUEST, PROGRESS) == back(continuation_body(REQUEST, PROGRESS))


def test_a_fresh_continuation_is_small() -> None:
    """What is not known yet takes no room in the message."""
    assert len(continuation_body(REQUEST, Progress(first_seen_at=START))) < 400


@given(
    context=st.none() | st.dictionaries(TEXT, JSON, max_size=3),
    trace=st.none() | TEXT,
    expires=st.none() | TIME,
    error=st.none() | TEXT,
    first=TIME,
    attempt=st.integers(0, 10_000),
)
def test_any_request_comes_back(
    context: Any, trace: str | None, expires: datetime | None, error: str | None, first: datetime, attempt: int
) -> None:
    """The round trip is exact for every value a request can hold."""
    request = REQUEST.model_copy(update={"context": context, "tracestate": trace, "expires_at": expires})
    progress = Progress(first_seen_at=first, attempt=attempt, last_error=error)
    assert Task(request, progress) == back(continuation_body(request, progress))


def test_redelivery_is_told() -> None:
    """A continuation that was delivered before says since when."""
    delivery = Delivery(continuation_body(REQUEST, PROGRESS), "m-2", QUEUE_ARN, START, START, receive_count=2)
    found: Any = read(delivery, "bms")
    (task,) = found
    assert task.redelivered_since == START


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (message(continuation=2), "continuation"),
        (message(continuation=None), "continuation"),
        (message(surprise=1), "surprise"),
        (message(request=None), "request"),
        (message(progress=[]), "progress"),
        (message(request={**message()["request"], "force": True}), "request.force"),
        (message(request={**message()["request"], "server_id": "../x"}), "request.server_id"),
        (message(progress={**message()["progress"], "mood": "good"}), "progress.mood"),
        (message(progress={**message()["progress"], "first_seen_at": "2026-11-23T08:00:00"}), "progress.first_seen_at"),
        (message(progress={**message()["progress"], "attempt": "3"}), "progress.attempt"),
        ({"continuation": 1, "progress": {}}, "request"),
    ],
)
def test_what_we_did_not_write_is_refused(body: dict[str, Any], field: str) -> None:
    """A continuation with unknown or broken fields is not half understood, and the fault is named."""
    found = back(json.dumps(body))
    assert isinstance(found, Rejected)
    assert field in [fault.field for fault in found.faults]
    assert found.own == "continuation"


def test_another_releases_continuation_is_not_answered() -> None:
    """A detach under way is not called an invalid request because we cannot read about it: the message goes back."""
    bench = Bench()
    errors = bench.service.handle([bench.delivery(json.dumps(message(continuation=2)))])
    assert [type(error) for error in errors] == [OwnUnreadable]
    assert (bench.sink.events, len(bench.queue)) == ([], 0)


def test_what_cannot_be_read_still_names_its_request() -> None:
    """Whoever answers in our place can do so under the request's own identity."""
    found = back(json.dumps(message(progress=None)))
    assert (found.id, found.source, found.server_id, found.volume_id) == ("4711", "/changes", SERVER, VOLUME)
