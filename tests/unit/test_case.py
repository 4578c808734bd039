"""What a look, a DELETE and its answer leave behind for the next delivery."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decision.case import Requeue, failed, kept_calls
from shared.decision.progress import Progress, State
from shared.model import AnswerClass, Call, Outcome, Reason, Seen, verdict_id
from shared.policy import CALLS_KEPT, Policy
from tests.builders import (
    ATTACHMENT,
    FOLLOWED,
    LISTED,
    NOT_LISTED,
    NOW,
    OTHER_ATTACHMENT,
    OTHER_SERVER,
    REQUESTED,
    ago,
    answer,
    attachment,
    call,
    case,
    progress,
    request,
    seen,
    unlisted,
    volume,
)
from tests.messages import SERVER, VOLUME

SKEW = Policy().fence_skew
IDLE = seen(volume("in-use"))
DETACHING = seen(volume("detaching"))
FREE = seen(volume("available"), NOT_LISTED)
FOLLOWING = progress(followed=FOLLOWED)
SENT = replace(FOLLOWING, deletes_sent=1, last_delete_at=ago(seconds=5))
ACCEPTED = replace(SENT, accepted_at=ago(seconds=5))
LOST = replace(SENT, unsettled=1)


def look(so_far: Progress, *looks: Seen, at: datetime = NOW, **asked: Any) -> Progress:
    """Progress after these looks, one after another."""
    one = case(so_far, request(**asked))
    for each in looks:
        one = one.saw(each, Policy(), at)
    return one.progress


# -------------------------------------------------------------------------------------- which one we follow


def test_first_look_pins_the_attachment() -> None:
    """The attachment that is there at the first look is the one this request is about."""
    assert look(progress(), IDLE).followed == FOLLOWED


def test_attachment_is_pinned_once() -> None:
    """A later attachment to the same server does not take the place of the one we follow."""
    newer = seen(volume("in-use", attachment(attachment_id=OTHER_ATTACHMENT)))
    assert look(progress(), IDLE, FREE, newer).followed == FOLLOWED


def test_attachment_may_be_pinned_by_a_later_look() -> None:
    """What was not there at the first look is pinned when it shows, if it is old enough."""
    assert look(progress(), FREE, IDLE).followed == FOLLOWED


def test_attachment_without_id_is_told_by_its_time() -> None:
    """Where a cloud gives no attachment id, the moment of attaching tells one attachment from the next."""
    nameless, later = (
        volume("in-use", attachment(attachment_id=None, attached_at=at)) for at in (ago(days=9), ago(days=8))
    )
    one = case().saw(seen(nameless), Policy(), NOW)
    assert one.progress.followed == replace(FOLLOWED, attachment_id=None, attached_at=ago(days=9))
    assert [one.saw(seen(disk), Policy(), NOW).replaced for disk in (nameless, later)] == [False, True]


def test_of_two_attachments_the_named_one_is_pinned() -> None:
    """While a server is moved the volume shows both; the request says which it means."""
    both = seen(volume("in-use", attachment(), attachment(attachment_id=OTHER_ATTACHMENT)))
    followed = [look(progress(), both, attachment_id=asked).followed for asked in (ATTACHMENT, OTHER_ATTACHMENT)]
    assert [one and one.attachment_id for one in followed] == [ATTACHMENT, OTHER_ATTACHMENT]


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [
        pytest.param({}, {"attached_at": REQUESTED + SKEW}, ATTACHMENT, id="at the edge of the skew"),
        pytest.param({}, {"attached_at": REQUESTED + SKEW * 1.001}, None, id="newer than the request"),
        pytest.param({}, {"attached_at": None}, ATTACHMENT, id="of unknown age"),
        pytest.param({"attachment_id": ATTACHMENT}, {}, ATTACHMENT, id="named"),
        pytest.param({"attachment_id": OTHER_ATTACHMENT}, {}, None, id="another than the one named"),
        pytest.param({}, {"server_id": OTHER_SERVER}, None, id="on another server"),
        pytest.param({}, {"attached_at": REQUESTED + SKEW, "again": True}, None,
            id="newer than a request that came again"),
    ],
)  # fmt: skip
def test_only_what_the_request_means_is_pinned(
    asked: dict[str, Any], there: dict[str, Any], expected: str | None
) -> None:
    """An attachment that the request cannot have meant is not followed."""
    so_far = progress(redelivered_since=NOW if there.pop("again", False) else None)
    followed = look(so_far, seen(volume("in-use", attachment(**there))), **asked).followed
    assert expected == (followed and followed.attachment_id)


def test_state_before_is_kept_from_the_first_look() -> None:
    """The verdict's "before" is what the first look showed, not what came of it."""
    assert look(progress(), IDLE, DETACHING, FREE).before == State(volume_status="in-use",
        attachment=FOLLOWED, listed_by_server=True, server_status="ACTIVE", attached_to=(SERVER,))  # fmt: skip


def test_state_of_nothing_is_null() -> None:
    """What is gone, or was not read, is null in the evidence, and not false."""
    assert look(progress(), seen(None, None, server=None)).before == State()


def test_looks_are_counted() -> None:
    """Each look is one poll of the evidence."""
    assert look(progress(polls=4), IDLE, FREE).polls == 6


# ------------------------------------------------------------------------------- idle, detaching, accepted


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([IDLE], 1, id="once"),
        pytest.param([IDLE, IDLE], 2, id="twice"),
        pytest.param([IDLE, DETACHING], 0, id="then detaching"),
        pytest.param([IDLE, IDLE, DETACHING, IDLE], 1, id="counted anew after detaching"),
        pytest.param([IDLE, seen(volume("in-use"), NOT_LISTED)], 0, id="then let go by compute"),
        pytest.param([IDLE, seen(volume("available"), LISTED)], 0, id="then let go by block storage"),
        pytest.param([IDLE, seen(volume("in-use", attachment(attachment_id=OTHER_ATTACHMENT)))], 0, id="then another"),
        pytest.param([IDLE, seen(None, None)], 0, id="then gone"),
        pytest.param([IDLE, unlisted(volume())], 0, id="then without the list"),
    ],
)
def test_idle_looks_count_in_a_row(looks: list[Seen], expected: int) -> None:
    """Idle is: in-use, listed, and the attachment we follow; anything between begins the count anew."""
    assert expected == look(FOLLOWING, *looks).idle_reads


def test_detaching_is_remembered_with_its_beginning() -> None:
    """Since when the volume is detaching is the first of the looks that show it."""
    since = ago(seconds=40)
    joined = look(progress(), DETACHING, at=since)
    assert (True, since) == (joined.detaching_seen, joined.detaching_since)
    later = look(joined, DETACHING)
    assert (True, since) == (later.detaching_seen, later.detaching_since)


def test_another_ones_detach_that_came_to_nothing_is_forgotten() -> None:
    """Where the volume is idle again and nothing of ours was accepted, no detach is under way."""
    idle_again = look(FOLLOWING, DETACHING, IDLE)
    assert (False, None) == (idle_again.detaching_seen, idle_again.detaching_since)


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(seen(volume("detaching"), NOT_LISTED), id="compute has let go"),
        pytest.param(seen(volume("available"), LISTED), id="block storage has let go"),
    ],
)
def test_another_ones_detach_stays_under_way_until_both_planes_have_let_go(half: Seen) -> None:
    """One plane ahead of the other is a detach about to end: its clock runs on."""
    since = ago(hours=2)
    joined = look(FOLLOWING, DETACHING, at=since)
    assert since == look(joined, half).detaching_since


def test_our_own_detach_is_not_forgotten() -> None:
    """That the volume was seen detaching after our DELETE is what tells a refusal from a slow start."""
    refused = look(ACCEPTED, DETACHING, IDLE, IDLE)
    assert refused.detaching_seen
    assert refused.idle_reads == 2


def test_lost_answer_and_detaching_is_accepted() -> None:
    """A DELETE whose answer was lost is seen by its effect, and counts as accepted from that look on."""
    found = look(replace(LOST, attempt=3), DETACHING)
    assert (NOW, 0) == (found.accepted_at, found.attempt)


def test_lost_answer_and_detaching_is_not_accepted_on_a_shared_disk() -> None:
    """On a shared disk the detaching may be another server's, and proves nothing about our DELETE."""
    assert look(LOST, seen(volume("detaching", multiattach=True))).accepted_at is None


@pytest.mark.parametrize("so_far", [FOLLOWING, SENT], ids=["nothing sent", "a DELETE without effect sent"])
def test_detaching_alone_is_not_accepted(so_far: Progress) -> None:
    """A detach that shows while none of our DELETEs may have had an effect is somebody else's."""
    assert look(so_far, DETACHING).accepted_at is None


def test_acceptance_keeps_its_moment() -> None:
    """The confirm timeout runs from the answer, not from the looks that follow."""
    assert ACCEPTED.accepted_at == look(ACCEPTED, DETACHING, IDLE, DETACHING).accepted_at


@pytest.mark.parametrize(
    ("so_far", "expected"),
    [
        pytest.param(progress(), True, id="fresh"),
        pytest.param(FOLLOWING, True, id="seen before"),
        pytest.param(LOST, True, id="outcome unknown"),
        pytest.param(look(FOLLOWING, DETACHING), False, id="being detached"),
        pytest.param(look(FOLLOWING, DETACHING, IDLE), True, id="not being detached any more"),
        pytest.param(ACCEPTED, False, id="accepted"),
    ],
)
def test_server_is_read_where_a_delete_may_follow(so_far: Progress, expected: bool) -> None:
    """While a detach is under way the next look needs two reads, not three."""
    assert expected == case(so_far).may_delete


def test_two_attachments_to_one_server_do_not_hide_the_followed_one() -> None:
    """While a server is moved the volume shows both; the one we follow is found wherever it stands."""
    other = attachment(attachment_id=OTHER_ATTACHMENT)
    assert look(FOLLOWING, seen(volume("in-use", other, attachment()))).idle_reads == 1


# ------------------------------------------------------------------------------------------- after a DELETE


def test_accepted_delete_begins_the_watch() -> None:
    """Acceptance begins all that is counted from it anew, and leaves its receipt."""
    before = progress(attempt=4, idle_reads=3, detaching_seen=True, detaching_since=ago(seconds=9))
    after = case(before).sent(answer(AnswerClass.ACCEPTED), "req-1", NOW).progress
    assert after == progress(deletes_sent=1, last_delete_at=NOW, accepted_at=NOW, receipt="req-1")


@pytest.mark.parametrize(
    ("kind", "reason", "unsettled"),
    [
        (AnswerClass.ACCEPTED, None, 0),
        (AnswerClass.RETRY, None, 0),
        (AnswerClass.WAIT, None, 0),
        (AnswerClass.RECONCILE, None, 1),
        (AnswerClass.DONE_VERIFY, None, 1),
        (AnswerClass.PERMANENT, Reason.SERVER_NOT_FOUND, 1),
        (AnswerClass.PERMANENT, Reason.VOLUME_NOT_FOUND, 1),
    ],
)
def test_what_the_reads_must_settle_is_counted(kind: AnswerClass, reason: Reason | None, unsettled: int) -> None:
    """An answer that needs a look to be understood counts towards the limit; a clear "not now" does not."""
    after = case(FOLLOWING).sent(answer(kind, reason), None, NOW).progress
    assert (1, unsettled) == (after.deletes_sent, after.unsettled)


def test_failed_delete_leaves_its_error() -> None:
    """What the cloud said is kept for the verdict of a request that is given up."""
    after = case(FOLLOWING).sent(answer(AnswerClass.RETRY), None, NOW).progress
    assert after.last_error == "test.retry: as the cloud put it"
    assert after.accepted_at is None


def test_the_receipt_is_that_of_the_last_delete() -> None:
    """The cloud is asked how the last DELETE ended, never how an earlier one did."""
    first = case(FOLLOWING).sent(answer(AnswerClass.RECONCILE), "req-1", NOW)
    second = first.sent(answer(AnswerClass.RECONCILE), None, NOW)
    assert (first.progress.receipt, second.progress.receipt) == ("req-1", None)


# --------------------------------------------------------------------------------------------- coming back


def test_a_case_that_comes_back_is_counted() -> None:
    """An attempt is counted, begins anew when the consumers are told, and an end counts nothing."""
    so_far = progress(attempt=3, redelivered_since=ago(seconds=9))
    for decision, attempt in ((Requeue(1, "why"), 4), (Requeue(1, "why", announce_unconfirmed=True), 0)):
        stepped = case(so_far).stepped(decision, ()).progress
        assert (stepped.attempt, stepped.redelivered_since) == (attempt, None)
    assert case(so_far).stepped(failed(Reason.GAVE_UP), ()).progress == so_far


def test_what_was_announced_is_remembered() -> None:
    """The id of the unconfirmed event is what the final verdict names as its cause."""
    stepped = case().stepped(Requeue(1, "why", announce_unconfirmed=True), ()).progress
    assert stepped.unconfirmed_id == verdict_id("/changes", "4711", VOLUME, Outcome.UNCONFIRMED)


def test_what_could_not_be_read_is_remembered() -> None:
    """The last error is in the verdict of a request that is given up."""
    assert case().unreadable(answer(AnswerClass.RECONCILE)).progress.last_error == "test.reconcile: as the cloud put it"


# --------------------------------------------------------------------------------------------------- evidence

CALLS = st.lists(st.builds(call, st.sampled_from(["get_volume", "list_attachments", "delete_attachment"]),
    st.sampled_from([0, 200, 503])), max_size=30)  # fmt: skip


def told(calls: tuple[Call, ...]) -> list[str]:
    return [f"{one.operation} {one.status}" for one in calls]


def test_reads_of_earlier_looks_are_dropped() -> None:
    """Of earlier looks only DELETEs and failed calls stay, before the calls of the latest."""
    reads = (call("list_attachments"), call("get_volume", 503), call("get_server"), call("get_volume", 0))
    latest = (call("list_attachments"), call("get_volume"))
    assert told(kept_calls((*reads, call("delete_attachment", 202)), latest)) == [
        "get_volume 503", "get_volume 0", "delete_attachment 202", "list_attachments 200", "get_volume 200",
    ]  # fmt: skip


def test_deletes_outlast_any_number_of_failed_reads() -> None:
    """However long the cloud could not be read after it, the DELETE and its answer stay in the evidence."""
    kept: tuple[Call, ...] = (call("delete_attachment", 202),)
    for _ in range(100):
        kept = kept_calls(kept, (call("list_attachments", 503),))
    assert told(kept) == ["delete_attachment 202"] + ["list_attachments 503"] * (CALLS_KEPT - 1)


def test_last_deletes_outlast_the_first() -> None:
    """Where there are more DELETEs than room, the last ones stay: the accepted one is the last."""
    kept: tuple[Call, ...] = ()
    for status in [429] * 50 + [202]:
        kept = kept_calls(kept, (call("list_attachments"), call("delete_attachment", status)))
    assert told(kept)[-1] == "delete_attachment 202"
    assert len(kept) == CALLS_KEPT


@given(looks=st.lists(CALLS, max_size=8))
def test_evidence_is_bounded_and_ends_with_the_latest_calls(looks: list[list[Call]]) -> None:
    """Whatever is called, the evidence fits into an event, in order, and the latest look is in it."""
    kept: tuple[Call, ...] = ()
    for calls in looks:
        kept = kept_calls(kept, tuple(calls))
        assert len(kept) <= CALLS_KEPT
        assert kept[-len(calls) :][-CALLS_KEPT:] == tuple(calls[-CALLS_KEPT:]) or not calls
