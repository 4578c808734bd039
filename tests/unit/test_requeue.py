"""Waits grow, differ between requests, and never run past the moment at which something has to be said."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decision.case import Conclude, Requeue, failed
from shared.decision.progress import Progress
from shared.decision.requeue import pause, requeue
from shared.model import Reason
from shared.policy import POLL, RETRY, WATCH, Backoff, Policy
from tests.builders import FOLLOWED, NOW, ago, case, progress, request, said

BACKOFFS = pytest.mark.parametrize("backoff", [POLL, RETRY, WATCH], ids=["poll", "retry", "watch"])
ATTEMPTS = st.integers(min_value=0, max_value=10_000)
SECOND = timedelta(seconds=1)

FRESH = progress()
ACCEPTED = progress(followed=FOLLOWED, deletes_sent=1, accepted_at=NOW)
WATCHED = replace(ACCEPTED, unconfirmed_id="said")


def again(
    so_far: Progress, now: datetime = NOW, why: str = "test", least: float = 0, policy: Policy | None = None
) -> Requeue | Conclude:
    return requeue(case(so_far), policy or Policy(), now, why, least)


# ------------------------------------------------------------------------------------------------- one backoff


@BACKOFFS
@given(attempt=ATTEMPTS, seed=st.text(max_size=20))
def test_a_pause_is_what_a_queue_can_do(backoff: Backoff, attempt: int, seed: str) -> None:
    """Whole seconds up to fifteen minutes, a third of them jitter at most, and the same each time a message comes."""
    seconds = pause(backoff, attempt, seed)
    grown = min(backoff.cap, backoff.first * backoff.factor ** min(attempt, 64))
    assert isinstance(seconds, int)
    assert 1 <= seconds <= 900
    assert max(1, round(grown * 2 / 3)) <= seconds <= max(1, round(grown))
    assert seconds == pause(backoff, attempt, seed)


@BACKOFFS
def test_wait_grows_to_its_cap(backoff: Backoff) -> None:
    """The mean over many requests grows with each attempt and then stays."""
    means = [sum(pause(backoff, attempt, f"request {n}") for n in range(300)) / 300 for attempt in range(12)]
    growing = [mean for mean in means if mean < backoff.cap * 0.6]
    assert len(growing) >= 3
    assert all(earlier < later for earlier, later in pairwise([*growing, means[len(growing)]]))
    assert means[-1] == pytest.approx(backoff.cap * 5 / 6, rel=0.05)


SCHEDULES = {
    "poll": (POLL, [1, 1, 2, 3, 4, 7, 10, 10, 10], [1, 2, 3, 4, 7, 10, 15, 15, 15]),
    "retry": (RETRY, [3, 7, 13, 27, 40, 40], [5, 10, 20, 40, 60, 60]),
    "watch": (WATCH, [40, 80, 160], [60, 120, 240]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedules_are_these(name: str) -> None:
    """From the shortest to the longest pause that any of many requests makes at each attempt."""
    backoff, shortest, longest = SCHEDULES[name]
    pauses = [[pause(backoff, attempt, f"server {n}") for n in range(300)] for attempt in range(len(shortest))]
    assert [min(each) for each in pauses] == shortest
    assert [max(each) for each in pauses] == longest


def test_requests_do_not_march_in_step() -> None:
    """Twenty requests that begin together do not come back together."""
    assert len({pause(RETRY, 3, f"/changes {n} volume") for n in range(20)}) > 5


# ------------------------------------------------------------------------------------------------- which clock


@pytest.mark.parametrize(
    ("so_far", "after", "expected"),
    [
        pytest.param(FRESH, timedelta(hours=1) - SECOND, "wait", id="within the request's time to live"),
        pytest.param(FRESH, timedelta(hours=1), "failed: gave_up", id="time to live over"),
        pytest.param(ACCEPTED, timedelta(seconds=599), "wait", id="accepted, within the confirm timeout"),
        pytest.param(ACCEPTED, timedelta(seconds=600), "wait, say unconfirmed", id="confirm timeout over"),
        pytest.param(WATCHED, timedelta(seconds=601), "wait", id="said once already"),
        pytest.param(WATCHED, timedelta(hours=6) - SECOND, "wait", id="within the watch timeout"),
        pytest.param(WATCHED, timedelta(hours=6), "failed: stuck_detaching", id="watch timeout over"),
        pytest.param(ACCEPTED, timedelta(hours=6), "failed: stuck_detaching", id="first look after a long outage"),
    ],
)
def test_time_is_up_to_the_second(so_far: Progress, after: timedelta, expected: str) -> None:
    """Each deadline is met by the first look at or after it, and by none before."""
    assert expected == said(again(so_far, NOW + after))


@pytest.mark.parametrize(
    ("requested_at", "first_seen_at"),
    [(NOW, ago(hours=5)), (ago(hours=5), NOW)],
    ids=["asked later than received", "received later than asked"],
)
def test_time_to_live_runs_from_the_later_of_asking_and_receiving(
    requested_at: datetime, first_seen_at: datetime
) -> None:
    """A request that lay in a queue for hours still has its whole time once somebody looks at it."""
    one = case(progress(first_seen_at=first_seen_at), request(requested_at=requested_at))
    assert said(requeue(one, Policy(), NOW + timedelta(minutes=59), "test")) == "wait"
    assert said(requeue(one, Policy(), NOW + timedelta(minutes=60), "test")) == "failed: gave_up"


def test_giving_up_tells_the_last_error() -> None:
    """What the cloud said last is in the verdict; where it said nothing, what we waited for is."""
    late = NOW + timedelta(hours=1)
    mute, told = progress(), progress(last_error="http_503: busy")
    assert again(mute, late, "the server reboots") == failed(Reason.GAVE_UP, "last: the server reboots")
    assert again(told, late, "the server reboots") == failed(Reason.GAVE_UP, "last: http_503: busy")


# ---------------------------------------------------------------------------------------------------- how long


def deadline(so_far: Progress) -> datetime:
    """The next moment at which a request has something to say, if nothing changes."""
    if so_far.accepted_at is None:
        return max(request().requested_at, so_far.first_seen_at) + Policy().request_ttl
    return so_far.accepted_at + (Policy().watch_timeout if so_far.unconfirmed_id else Policy().confirm_timeout)


@pytest.mark.parametrize("so_far", [FRESH, ACCEPTED, WATCHED], ids=["fresh", "accepted", "watched"])
@given(
    left=st.floats(min_value=0.001, max_value=1200),
    attempt=st.integers(min_value=0, max_value=40),
    least=st.floats(min_value=0, max_value=4000),
)
def test_no_wait_runs_past_a_deadline(so_far: Progress, left: float, attempt: int, least: float) -> None:
    """The last wait ends at the deadline, to the second a queue can do, however long the cloud asked for."""
    now = deadline(so_far) - timedelta(seconds=left)
    decision = again(replace(so_far, attempt=attempt), now, least=least)
    assert isinstance(decision, Requeue)
    assert 1 <= decision.seconds <= 900
    assert now + timedelta(seconds=decision.seconds) < deadline(so_far) + SECOND


@pytest.mark.parametrize(
    ("so_far", "least", "left", "expected", "announce"),
    [
        pytest.param(FRESH, 120, 3000, 120, False, id="as asked"),
        pytest.param(FRESH, 29.2, 3000, 30, False, id="never earlier than asked"),
        pytest.param(ACCEPTED, 120, 500, 120, False, id="as asked while a detach is under way"),
        pytest.param(WATCHED, 899, 9000, 899, False, id="as asked while watching"),
        pytest.param(ACCEPTED, 120, -1, 120, True, id="as asked when it is said to be unconfirmed"),
        pytest.param(FRESH, 120, 100, 100, False, id="but not past the deadline"),
        pytest.param(FRESH, 120, 3, 3, False, id="but not past the deadline, by a second either"),
        pytest.param(FRESH, 3600, 3000, 900, False, id="and not longer than a queue can delay"),
    ],
)
def test_retry_after_is_honoured(so_far: Progress, least: float, left: float, expected: int, announce: bool) -> None:
    """The cloud's Retry-After is waited for in full, within what the deadline and the queue leave."""
    now = deadline(so_far) - timedelta(seconds=left)
    assert again(so_far, now, least=least) == Requeue(expected, "test", announce)


def test_retry_after_does_not_shorten_a_wait() -> None:
    """Where our own wait has grown longer than what the cloud asks for, ours counts."""
    patient = progress(attempt=10)
    assert again(patient, least=1) == again(patient)


ONE_REQUEST = f"{request().source} {request().id} {request().volume_id}"


@pytest.mark.parametrize(
    ("so_far", "backoff", "seed"),
    [(FRESH, RETRY, ONE_REQUEST), (ACCEPTED, POLL, request().server_id), (WATCHED, WATCH, ONE_REQUEST)],
    ids=["nothing under way: retry", "accepted: poll", "unconfirmed: watch"],
)
def test_each_stage_has_its_own_pace(so_far: Progress, backoff: Backoff, seed: str) -> None:
    """Before a detach we retry, after it we poll, all disks of a server in step, then we watch at a low rate."""
    assert again(replace(so_far, attempt=4)) == Requeue(pause(backoff, 4, seed), "test")


@given(
    since=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=2)),
    confirm=st.integers(min_value=0, max_value=90_000),
    watch=st.integers(min_value=0, max_value=90_000),
)
def test_any_timeouts_are_coped_with(since: timedelta, confirm: int, watch: int) -> None:
    """Whatever an operator sets, the watch ends at its timeout and before that there is a wait."""
    policy = Policy(confirm_timeout=timedelta(seconds=confirm), watch_timeout=timedelta(seconds=watch))
    decision = again(ACCEPTED, NOW + since, policy=policy)
    assert isinstance(decision, Conclude) == (since >= policy.watch_timeout)
