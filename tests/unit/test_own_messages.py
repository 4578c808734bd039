"""What a request tells itself: the message comes back as the task it was."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decision.case import Case
from shared.decision.progress import Progress, State
from shared.inbox.read import Rejected, read
from shared.model import Attachment, Call, DetachRequest, Message
from tests.messages import QUEUE_ARN, SERVER, START, VOLUME, continuation
from tests.stack import Bench

REQUEST = DetachRequest(id="4711", source="/changes", requested_at=START, server_id=SERVER, volume_id=VOLUME)
FOLLOWED = Attachment(attachment_id=SERVER, attached_at=START, device="/dev/sdb")
PROGRESS = Progress(
    first_seen_at=START, attempt=3, polls=4, followed=FOLLOWED,
    before=State(volume_status="in-use", attachment=FOLLOWED, listed_by_server=True, attached_to=(SERVER,)),
    deletes_sent=1, unsettled=1, last_delete_at=START, accepted_at=START + timedelta(microseconds=1),
    detaching_since=START, detaching_seen=True, idle_reads=1,
    unconfirmed_id="u", receipt="r", redelivered_since=START,
    last_error="http_502: bad", calls=(Call(operation="get_volume", at=START, status=0, code="timeout", message="m"),),
)  # fmt: skip

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TIME = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def received(body: str, receive_count: int = 1) -> Message:
    return Message(body, "m-2", QUEUE_ARN, START + timedelta(minutes=5), START + timedelta(minutes=6), receive_count)


def back(body: str) -> Any:
    found = read(received(body), "bms", START + timedelta(minutes=7))
    return found[0] if isinstance(found, list) else found


def same(case: Case, request: DetachRequest, progress: Progress) -> bool:
    return (case.request, case.progress, case.fresh) == (request, progress, False)


def message(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(continuation(REQUEST, PROGRESS))
    return whole | changes


def test_everything_learnt_comes_back() -> None:
    """Request and progress survive the queue unchanged, whatever the message's own id and time."""
    assert same(back(continuation(REQUEST, PROGRESS)), REQUEST, PROGRESS)


@pytest.mark.parametrize("name", ["generation", "detaching_read_at"])
def test_what_is_of_no_use_any_more_is_dropped(name: str) -> None:
    """A message may still carry what an earlier state of this code wrote."""
    assert same(back(json.dumps(message(progress={**message()["progress"], name: "x"}))), REQUEST, PROGRESS)


def test_a_fresh_continuation_is_small() -> None:
    """What is not known yet takes no room in the message."""
    assert len(continuation(REQUEST, Progress(first_seen_at=START))) < 400


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
    request = replace(REQUEST, context=context, tracestate=trace, expires_at=expires)
    progress = Progress(first_seen_at=first, attempt=attempt, last_error=error)
    assert same(back(continuation(request, progress)), request, progress)


def test_redelivery_is_told() -> None:
    """A continuation that was delivered before says since when; what it brought along is not forgotten."""
    found: Any = read(received(continuation(REQUEST, PROGRESS), receive_count=2), "bms", START)
    assert found[0].progress.redelivered_since == START + timedelta(minutes=6)
    assert back(continuation(REQUEST, PROGRESS)).progress.redelivered_since == START


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
    assert ["m-0"] == list(bench.handle(json.dumps(message(continuation=2))))
    assert (bench.bus.events, len(bench.queue)) == ([], 0)


def test_what_cannot_be_read_still_names_its_request() -> None:
    """Whoever answers in our place can do so under the request's own identity."""
    found = back(json.dumps(message(progress=None)))
    assert (found.origin.id, found.origin.source, found.server_id, found.volume_id) == ("4711",
        "/changes", SERVER, VOLUME)  # fmt: skip
