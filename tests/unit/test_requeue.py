"""Requeues and deadlines: waits grow, differ, and never pass a deadline."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decision.case import Conclude, Decision, Delete, Requeue, failed
from shared.decision.progress import Progress
from shared.decision.requeue import after_delete, as_check, pause, requeue, until_next_look, when_unreadable
from shared.decision.rules import decide
from shared.model import AnswerClass, Cause, Classified, DetachRequest, Detail, Outcome, Reason, Seen, Volume
from shared.policy import OFFER_AGAIN, POLL, RETRY, WATCH, Backoff, Policy
from tests.builders import (
    FOLLOWING,
    FRESH,
    NOW,
    accepted,
    ago,
    answer,
    case,
    in_words,
    joined,
    lost,
    progress,
    request,
    seen,
    volume,
)

HOUR = 3600
SECOND = timedelta(seconds=1)
POLICY = Policy()
SAID = {"unconfirmed_id": "said"}
HOUR_AGO = request(requested_at=ago(hours=1))
ACCEPTED, WATCHED = accepted(0), accepted(0, **SAID)
BOTH_CLOCKS = accepted(0, detaching_since=ago(seconds=-9))


def let_go(status: str = "available", **span: float) -> Volume:
    """VOLUME, which has been unattached for that long."""
    return replace(volume("available", updated_at=ago(**span)), status=status)


def again(so_far: Progress, now: datetime = NOW, least: float = 0) -> Requeue | Conclude:
    return requeue(case(so_far), POLICY, now, "test", least)


# ------------------------------------------------------------------------------------------------- one backoff


@pytest.mark.parametrize("backoff", [RETRY, WATCH, OFFER_AGAIN], ids=["retry", "watch", "offer again"])
@given(attempt=st.integers(min_value=0, max_value=10_000), seed=st.text(max_size=20))
def test_wait_grows_to_its_cap_less_a_third_at_most(backoff: Backoff, attempt: int, seed: str) -> None:
    """Each wait is in whole seconds, within a queue's limit, up to a third below the backoff, and reproducible."""
    seconds = pause(backoff, attempt, seed)
    grown = min(backoff.cap, backoff.first * backoff.factor ** min(attempt, 64))
    assert isinstance(seconds, int)
    assert 1 <= seconds <= 900
    assert max(1, round(grown * 2 / 3)) <= seconds <= max(1, round(grown))
    assert seconds == pause(backoff, attempt, seed)


@pytest.mark.parametrize(
    ("backoff", "shortest", "longest"),
    [
        (RETRY, [3, 7, 13, 27, 40, 40, 40, 40], [5, 10, 20, 40, 60, 60, 60, 60]),
        (WATCH, [40, 80, 160, 320, 600, 600, 600, 600], [60, 120, 240, 480, 900, 900, 900, 900]),
    ],
    ids=["retry", "watch"],
)
def test_the_schedules(backoff: Backoff, shortest: list[int], longest: list[int]) -> None:
    """Over many requests the waits of each attempt spread from two thirds to the whole, so that none coincide."""
    waits = [{pause(backoff, attempt, f"server {n}") for n in range(3000)} for attempt in range(8)]
    assert (shortest, longest) == ([min(each) for each in waits], [max(each) for each in waits])


def test_fixed_steps_are_not_shortened() -> None:
    """The last one repeats; no wait is shorter than a second."""
    assert [pause(POLL, attempt, "any") for attempt in (0, 1, 2, 3, 10, 13, 14, 100)] == [1, 2, 2, 3, 4, 15, 15, 15]
    assert pause(Backoff(first=0.1, factor=1, cap=1), 3, "any") == 1


def test_end_of_a_detach_is_seen_soon() -> None:
    """Looks are at most 4 s apart in the first half minute, later 15 s; one follows right after a detach of 20 s."""
    due, at = [], 0.0
    while at < 300:
        at += until_next_look(at) + 0.2  # each look is a little late
        due.append(at)
    gaps = [(then, now - then) for then, now in pairwise([0.0, *due])]
    assert all(gap <= 4.5 for then, gap in gaps if then < 28)
    assert all(gap <= max(4.5, then / 3) and gap <= 15.5 for then, gap in gaps)
    assert any(20.5 <= look <= 22 for look in due)
    assert (8, 10) == (sum(look <= 22 for look in due), sum(look <= 31 for look in due))


@pytest.mark.parametrize(
    ("elapsed", "seconds"),
    [(0, 1), (0.3, 1), (0.5, 2), (0.6, 2), (1.2, 2), (4.2, 1), (21, 4), (22.4, 3), (69.4, 1), (69.6, 15), (1000, 15)],
)
def test_next_look_is_due_by_the_time_that_has_passed(elapsed: float, seconds: int) -> None:
    """A late or duplicate look does not delay later ones."""
    assert until_next_look(elapsed) == seconds


@pytest.mark.parametrize(
    ("seen_now", "seconds"),
    [
        pytest.param(seen(volume("detaching")), 4, id="nothing new"),
        pytest.param(seen(volume()), 1, id="idle again: once more tells a refusal"),
        pytest.param(seen(let_go(seconds=2)), 1, id="let go by storage just now"),
        pytest.param(seen(let_go(seconds=9)), 1, id="let go by storage 9 s ago"),
        pytest.param(seen(let_go(seconds=10)), 4, id="let go by storage 10 s ago"),
        pytest.param(seen(let_go("detaching", seconds=2)), 4, id="let go just now, still detaching"),
        pytest.param(seen(let_go(minutes=2)), 4, id="let go by storage long ago"),
    ],
)
def test_a_change_of_the_volume_brings_the_next_look_forward(seen_now: Seen, seconds: int) -> None:
    """If a look may have seen the end on one plane, the next one follows after a second."""
    one = case(accepted(21, detaching_seen=True)).saw(seen_now, POLICY, NOW)
    assert requeue(one, POLICY, NOW, "test") == Requeue(seconds, "test")


def test_each_stage_has_its_own_pace() -> None:
    """Before a detach we retry, after it we poll, all disks of a server in step, then we watch at a low rate."""
    one = f"{request().source} {request().id} {request().volume_id}"
    late = NOW + 601 * SECOND
    assert again(replace(ACCEPTED, attempt=4)) == again(replace(WATCHED, attempt=9)) == Requeue(1, "test")
    for so_far, now, backoff in ((FRESH, NOW, RETRY), (WATCHED, late, WATCH)):
        assert again(replace(so_far, attempt=4), now) == Requeue(pause(backoff, 4, one), "test")
    said_now = again(replace(ACCEPTED, attempt=4), NOW + 600 * SECOND)
    assert said_now == Requeue(pause(WATCH, 0, one), "test", announce_unconfirmed=True)


# ------------------------------------------------------------------------------------------------- what is due


@pytest.mark.parametrize(
    ("so_far", "after", "expected"),
    [
        pytest.param(FRESH, HOUR - 1, "wait", id="within the request's time to live"),
        pytest.param(FRESH, HOUR, "failed: gave_up", id="time to live over"),
        pytest.param(ACCEPTED, 599, "wait", id="accepted, within the confirm timeout"),
        pytest.param(ACCEPTED, 600, "wait, say unconfirmed", id="confirm timeout over"),
        pytest.param(joined(0), 599, "wait", id="joined, within the confirm timeout"),
        pytest.param(joined(0), 600, "wait, say unconfirmed", id="joined, confirm timeout over"),
        pytest.param(BOTH_CLOCKS, 600, "wait, say unconfirmed", id="accepted, and shown later"),
        pytest.param(WATCHED, 601, "wait", id="said once already"),
        pytest.param(WATCHED, 6 * HOUR - 1, "wait", id="within the watch timeout"),
        pytest.param(WATCHED, 6 * HOUR, "failed: stuck_detaching", id="watch timeout over"),
        pytest.param(ACCEPTED, 6 * HOUR, "failed: stuck_detaching", id="first look after a long outage"),
    ],
)
def test_time_is_up_to_the_second(so_far: Progress, after: int, expected: str) -> None:
    """The first look at or after a deadline ends the case, and none before."""
    assert expected == in_words(again(so_far, NOW + after * SECOND))


@pytest.mark.parametrize(("asked", "received"), [(NOW, ago(hours=5)), (ago(hours=5), NOW)])
def test_time_to_live_runs_from_the_later_of_asking_and_receiving(asked: datetime, received: datetime) -> None:
    """A request that waited in a queue for hours still has its whole time to live at its first look."""
    one = case(progress(first_seen_at=received), request(requested_at=asked))
    ends = [in_words(requeue(one, POLICY, NOW + timedelta(minutes=minutes), "test")) for minutes in (59, 60)]
    assert ends == ["wait", "failed: gave_up"]


@pytest.mark.parametrize(
    ("asked", "limit", "ends"),
    [
        pytest.param(None, 86400, HOUR, id="nothing asked: the operator's"),
        pytest.param(60, 86400, 60, id="less"),
        pytest.param(7200, 86400, 7200, id="more"),
        pytest.param(604_800, 86400, 86400, id="more than the limit: cut to it"),
        pytest.param(None, 600, 600, id="the operator's own, cut to it as well"),
    ],
)
def test_a_request_may_say_how_long_it_is_tried(asked: int | None, limit: int, ends: int) -> None:
    """In seconds, up to the operator's limit."""
    policy = Policy(request_ttl_limit=limit * SECOND)
    one = case(FRESH, request(requested_at=NOW, request_ttl=asked))
    at_end = [in_words(requeue(one, policy, NOW + (ends + late) * SECOND, "test")) for late in (-1, 0)]
    assert at_end == ["wait", "failed: gave_up"]


def test_giving_up_tells_the_last_error() -> None:
    """The verdict has the cloud's last error, or else what the request waited for."""
    late = NOW + timedelta(hours=1)
    assert again(FRESH, late) == failed(Reason.GAVE_UP, "last: test")
    assert again(progress(last_error="http_503: busy"), late) == failed(Reason.GAVE_UP, "last: http_503: busy")


# ---------------------------------------------------------------------------------------------------- how long

DUE = {"fresh": (FRESH, HOUR), "accepted": (ACCEPTED, 600), "joined": (joined(0), 600), "watched": (WATCHED, 6 * HOUR)}


@pytest.mark.parametrize("stage", DUE)
@given(
    left=st.floats(min_value=0.001, max_value=1200),
    attempt=st.integers(min_value=0, max_value=40),
    least=st.floats(min_value=0, max_value=4000),
)
def test_no_wait_runs_past_a_deadline(stage: str, left: float, attempt: int, least: float) -> None:
    """The last wait ends at the deadline, rounded to seconds, whatever the cloud's Retry-After."""
    so_far, due = DUE[stage]
    left = min(left, due)
    decision = again(replace(so_far, attempt=attempt), NOW + (due - left) * SECOND, least)
    assert isinstance(decision, Requeue)
    assert 1 <= decision.seconds <= 900
    assert decision.seconds < left + 1


@pytest.mark.parametrize(
    ("stage", "least", "left", "expected"),
    [
        pytest.param("fresh", 120, 3000, 120, id="as asked"),
        pytest.param("fresh", 29.2, 3000, 30, id="never earlier than asked"),
        pytest.param("accepted", 120, 500, 120, id="as asked while a detach is under way"),
        pytest.param("accepted", 120, 0, 120, id="as asked while saying unconfirmed"),
        pytest.param("watched", 899, 9000, 899, id="as asked while watching"),
        pytest.param("fresh", 120, 100, 100, id="but not past the deadline"),
        pytest.param("fresh", 120, 3, 3, id="but not past the deadline, by a second either"),
        pytest.param("fresh", 3600, 3000, 900, id="and not longer than a queue can delay"),
    ],
)
def test_retry_after_is_honoured(stage: str, least: float, left: float, expected: int) -> None:
    """The cloud's Retry-After is waited for in full, within the deadline and the queue's limit."""
    so_far, due = DUE[stage]
    decision = again(so_far, NOW + (due - left) * SECOND, least)
    assert isinstance(decision, Requeue)
    assert decision.seconds == expected


def test_a_request_that_had_expired_ends_as_expired() -> None:
    """A redelivery finds it expired at once; a case that was followed to its time to live ends the same way."""
    asked, so_far = replace(HOUR_AGO, expires_at=ago(minutes=30)), lost(3, 600, first_seen_at=ago(hours=1))
    looked_at = case(so_far, asked).saw(seen(volume()), POLICY, NOW)
    assert in_words(requeue(looked_at, POLICY, NOW, "why")) == "failed: expired"
    assert in_words(requeue(replace(looked_at, request=HOUR_AGO), POLICY, NOW, "why")) == "failed: gave_up"


def test_nothing_is_called_expired_without_a_look() -> None:
    """Another delivery may have sent a DELETE before the request expired."""
    asked = replace(HOUR_AGO, expires_at=ago(minutes=30))
    assert in_words(requeue(case(progress(first_seen_at=ago(hours=1)), asked), POLICY, NOW, "why")) == "failed: gave_up"


def test_a_past_expiry_does_not_shorten_waits() -> None:
    """An expired request with an unsettled DELETE is looked at at the usual rate."""
    late = requeue(case(lost(1, 600), request(expires_at=ago(minutes=5))), POLICY, NOW, "why")
    assert late == requeue(case(lost(1, 600)), POLICY, NOW, "why")


def test_retry_after_does_not_shorten_a_wait() -> None:
    """If our own wait is longer than the cloud's Retry-After, ours counts."""
    assert again(progress(attempt=10), least=1) == again(progress(attempt=10))


# ------------------------------------------------------------------------------------------- after the DELETE

LATE = replace(FOLLOWING, first_seen_at=ago(hours=2))
ACCEPTANCE, DOWN = answer(AnswerClass.ACCEPTED), answer(AnswerClass.RECONCILE)
THROTTLED, BUSY = answer(AnswerClass.RETRY), answer(AnswerClass.WAIT)
UNAUTHORIZED, FORBIDDEN = answer(AnswerClass.REAUTHENTICATE), answer(AnswerClass.PERMANENT, Reason.FORBIDDEN)
TO_BE_READ = [answer(AnswerClass.PERMANENT, why) for why in (Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND, None)]


def after(back: Classified, so_far: Progress = FOLLOWING) -> Decision:
    return after_delete(case(so_far, HOUR_AGO).sent(back, None, NOW), back, POLICY, NOW)


@pytest.mark.parametrize(
    ("back", "so_far", "expected"),
    [
        pytest.param(ACCEPTANCE, LATE, "wait", id="accepted, late"),
        pytest.param(answer(AnswerClass.DONE_VERIFY), FOLLOWING, "wait", id="not attached: verify"),
        pytest.param(DOWN, LATE, "wait", id="outcome unknown, late: a look first"),
        pytest.param(THROTTLED, LATE, "failed: gave_up", id="throttled, time is up"),
        pytest.param(BUSY, LATE, "failed: gave_up", id="server busy, time is up"),
        pytest.param(UNAUTHORIZED, LATE, "wait", id="token refused: a look first"),
        pytest.param(FORBIDDEN, FOLLOWING, "wait", id="a clear no: a look first"),
        *(pytest.param(back, LATE, "wait", id=f"to be read: {back.reason}") for back in TO_BE_READ),
    ],
)
def test_after_a_delete(back: Classified, so_far: Progress, expected: str) -> None:
    """No answer ends the request: the next look settles a clear no, a not-found and an unknown outcome."""
    assert expected == in_words(after(back, so_far))


@pytest.mark.parametrize(
    ("back", "so_far", "why"),
    [
        pytest.param(ACCEPTANCE, LATE, "accepted", id="accepted"),
        pytest.param(FORBIDDEN, FOLLOWING, "DELETE: test.permanent as the cloud put it", id="a clear no"),
        pytest.param(replace(FORBIDDEN, retry_after=60), FOLLOWING, "DELETE: test.permanent as the cloud put it",
            id="a clear no, whatever it says of later"),
        pytest.param(DOWN, LATE, "DELETE: test.reconcile as the cloud put it", id="nobody knows"),
        pytest.param(replace(DOWN, message=""), FOLLOWING, "DELETE: test.reconcile", id="no words"),
    ],
)  # fmt: skip
def test_the_effect_of_a_delete_is_looked_at_after_a_second(back: Classified, so_far: Progress, why: str) -> None:
    """At any time: the next look shows the effect, and the log has the answer."""
    assert after(back, so_far) == Requeue(1, why)


@pytest.mark.parametrize("kind", [AnswerClass.RETRY, AnswerClass.WAIT, AnswerClass.RECONCILE])
@pytest.mark.parametrize(("asked_for", "expected"), [(60, 60), (29.2, 30), (3600, 900)])
def test_retry_after_of_a_delete_is_honoured(kind: AnswerClass, asked_for: float, expected: int) -> None:
    """The next look is not earlier than the cloud's Retry-After, within the queue's limit."""
    assert after(answer(kind, retry_after=asked_for)) == Requeue(expected, f"DELETE: test.{kind} as the cloud put it")


def test_pace_after_a_delete() -> None:
    """An overloaded cloud gets a pause; a case that may change soon is polled."""
    waits = [after(back, replace(FOLLOWING, attempt=4)) for back in (THROTTLED, BUSY, ACCEPTANCE, DOWN)]
    seconds = [wait.seconds for wait in waits if isinstance(wait, Requeue)]
    one = f"{request().source} {request().id} {request().volume_id}"
    assert seconds == [pause(RETRY, 4, one), pause(POLL, 4, one), 1, 1]


@pytest.mark.parametrize("back", TO_BE_READ[:2])
def test_a_cloud_that_denies_what_it_shows_is_not_retried_for_ever(back: Classified) -> None:
    """Three DELETEs that are answered "not found", while the reads show the attachment, end the request."""
    one, now, sent = case(), NOW, 0
    decision: Decision = Requeue(0, "not looked yet")
    while isinstance(decision, Requeue) and sent < 10:
        now += decision.seconds * SECOND
        one = one.saw(seen(volume()), POLICY, now)
        decision = decide(one, POLICY, now)
        if isinstance(decision, Delete):
            one, sent = one.sent(back, None, now), sent + 1
            decision = after_delete(one, back, POLICY, now)
    assert (3, "failed: gave_up") == (sent, in_words(decision))


# ----------------------------------------------------------------------------- when the cloud cannot be read

HOUR_OLD = progress(first_seen_at=ago(hours=1))
EXPIRED, DRY = request(expires_at=NOW), request(dry_run=True, requested_at=ago(hours=1))
OLD_AND_EXPIRED = replace(HOUR_AGO, expires_at=ago(minutes=30))
LONG_ACCEPTED, LONG_JOINED = accepted(6 * HOUR, **SAID), joined(6 * HOUR, **SAID)


@pytest.mark.parametrize(
    ("back", "so_far", "asked", "expected"),
    [
        pytest.param(DOWN, FRESH, request(), "wait", id="down"),
        pytest.param(DOWN, HOUR_OLD, HOUR_AGO, "failed: gave_up", id="down for 60 min"),
        pytest.param(DOWN, FRESH, request(expires_at=ago(seconds=-1)), "wait", id="down, about to expire"),
        pytest.param(DOWN, FRESH, EXPIRED, "wait", id="down, expired"),
        pytest.param(DOWN, HOUR_OLD, OLD_AND_EXPIRED, "failed: gave_up", id="down for 60 min, expired"),
        pytest.param(FORBIDDEN, FRESH, EXPIRED, "failed: forbidden", id="forbidden, expired"),
        pytest.param(DOWN, accepted(60), EXPIRED, "wait", id="down, expired, accepted"),
        pytest.param(DOWN, accepted(600), request(), "wait, say unconfirmed", id="down, accepted 10 min ago"),
        pytest.param(DOWN, LONG_ACCEPTED, request(), "failed: gave_up", id="down, accepted 6 h ago"),
        pytest.param(DOWN, LONG_JOINED, request(), "failed: gave_up", id="down, joined 6 h ago"),
        pytest.param(FORBIDDEN, FRESH, request(), "failed: forbidden", id="forbidden"),
        pytest.param(FORBIDDEN, FOLLOWING, request(), "failed: forbidden", id="forbidden, seen before"),
        pytest.param(FORBIDDEN, accepted(60), request(), "wait", id="forbidden, accepted"),
        pytest.param(FORBIDDEN, LONG_ACCEPTED, request(), "failed: forbidden", id="forbidden for 6 h"),
        pytest.param(FORBIDDEN, lost(1, 60), request(), "wait", id="forbidden, a DELETE lost"),
        pytest.param(FORBIDDEN, progress(redelivered_since=NOW), request(), "wait", id="forbidden, redelivered"),
        pytest.param(FORBIDDEN, replace(FOLLOWING, redelivered_since=NOW), request(), "wait",
            id="forbidden, seen before, redelivered"),
        pytest.param(FORBIDDEN, progress(deletes_sent=1), request(), "wait", id="forbidden, a DELETE throttled"),
        pytest.param(FORBIDDEN, joined(60), request(), "wait", id="forbidden, joined"),
        pytest.param(FORBIDDEN, replace(HOUR_OLD, redelivered_since=ago(hours=1)), HOUR_AGO, "failed: forbidden",
            id="forbidden for 60 min, redelivered"),
        pytest.param(FORBIDDEN, progress(redelivered_since=NOW), request(dry_run=True),
            "checked: would_fail forbidden", id="dry run, forbidden, redelivered"),
        pytest.param(UNAUTHORIZED, FRESH, request(), "failed: unauthorized", id="unauthorized"),
        pytest.param(UNAUTHORIZED, accepted(60), request(), "wait", id="unauthorized, accepted"),
        pytest.param(DOWN, FRESH, DRY, "wait", id="dry run, down"),
        pytest.param(FORBIDDEN, FRESH, DRY, "checked: would_fail forbidden", id="dry run, forbidden"),
        pytest.param(DOWN, HOUR_OLD, DRY, "checked: would_fail gave_up", id="dry run, down for 60 min"),
    ],
)  # fmt: skip
def test_cloud_cannot_be_read(back: Classified, so_far: Progress, asked: DetachRequest, expected: str) -> None:
    """A clear no ends the request, unless a detach may be under way: then only a look can show the outcome."""
    assert expected == in_words(when_unreadable(case(so_far, asked), back, POLICY, NOW))


def test_retry_after_of_a_read_is_honoured() -> None:
    """The cloud's Retry-After is honoured."""
    busy = answer(AnswerClass.RETRY, retry_after=120)
    assert when_unreadable(case(), busy, POLICY, NOW) == Requeue(120, "test.retry: as the cloud put it")


AS_PUT = "as the cloud put it"


@pytest.mark.parametrize(
    ("back", "so_far", "asked", "expected"),
    [
        (FORBIDDEN, FRESH, request(), failed(Reason.FORBIDDEN, f"test.permanent: {AS_PUT}")),
        (UNAUTHORIZED, FRESH, request(), failed(Reason.UNAUTHORIZED, f"test.reauthenticate: {AS_PUT}")),
        (replace(FORBIDDEN, message=""), FRESH, request(), failed(Reason.FORBIDDEN, "test.permanent")),
        (replace(FORBIDDEN, message="not in X"), FRESH, request(),
            failed(Reason.FORBIDDEN, "test.permanent: not in X")),
        (DOWN, HOUR_OLD, OLD_AND_EXPIRED, failed(Reason.GAVE_UP, f"last: test.reconcile: {AS_PUT}")),
        (DOWN, HOUR_OLD, replace(HOUR_AGO, dry_run=True),
            Conclude(Outcome.CHECKED, Detail.WOULD_FAIL, Reason.GAVE_UP, f"last: test.reconcile: {AS_PUT}")),
        (DOWN, HOUR_OLD, HOUR_AGO, failed(Reason.GAVE_UP, f"last: test.reconcile: {AS_PUT}")),
        (DOWN, LONG_ACCEPTED, request(),
            failed(Reason.GAVE_UP, f"the cloud could no longer be read: test.reconcile: {AS_PUT}")),
        (DOWN, LONG_JOINED, request(),
            failed(Reason.GAVE_UP, f"the cloud could no longer be read: test.reconcile: {AS_PUT}")),
        (FORBIDDEN, LONG_ACCEPTED, request(),
            failed(Reason.FORBIDDEN, f"the cloud could no longer be read: test.permanent: {AS_PUT}")),
    ],
)  # fmt: skip
def test_the_verdict_quotes_the_cloud(
    back: Classified, so_far: Progress, asked: DetachRequest, expected: Conclude
) -> None:
    """The verdict on a request whose reads failed has the cloud's own words."""
    assert when_unreadable(case(so_far, asked), back, POLICY, NOW) == expected


# -------------------------------------------------------------------------------------------------- a dry run


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Delete(), Conclude(Outcome.CHECKED, Detail.WOULD_DETACH, None, "all checks passed", None)),
        (Requeue(5, "busy"), Conclude(Outcome.CHECKED, Detail.WOULD_WAIT, None, "busy", None)),
        (Conclude(Outcome.DETACHED, Detail.SERVER_GONE, None, "no server"),
            Conclude(Outcome.CHECKED, Detail.WOULD_REPORT_SERVER_GONE, None, "no server", None)),
        (Conclude(Outcome.FAILED, Reason.DEAD_LETTERED, Reason.DEAD_LETTERED, "died", Cause.CODE_FAILED),
            Conclude(Outcome.CHECKED, Detail.WOULD_FAIL, Reason.DEAD_LETTERED, "died", Cause.CODE_FAILED)),
    ],
)  # fmt: skip
def test_dry_run_says_what_would_happen(decision: Decision, expected: Conclude) -> None:
    """It reports what would start, wait or end, and nothing happens."""
    assert as_check(decision) == expected
