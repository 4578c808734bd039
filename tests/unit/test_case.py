"""The progress that a look, a DELETE and its answer pass to the next look."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.decision.case import Conclude, Requeue, detached, failed, kept_calls
from shared.decision.meant import Standing, identity
from shared.decision.progress import Denial, Progress, State
from shared.model import AnswerClass, Attachment, Call, Classified, Detail, Listed, Outcome, Reason, Seen, verdict_id
from shared.policy import CALLS_KEPT, Policy
from tests.builders import (
    ATTACHED,
    ATTACHMENT,
    FOLLOWING,
    FRESH,
    LISTED,
    NOT_LISTED,
    NOW,
    OTHER_ATTACHMENT,
    OTHER_SERVER,
    SERVER,
    VOLUME,
    accepted,
    ago,
    answer,
    attachment,
    call,
    case,
    elsewhere,
    joined,
    lost,
    progress,
    record,
    request,
    seen,
    server,
    throttled,
    unread,
    volume,
)

ANOTHER = attachment(attachment_id=OTHER_ATTACHMENT)
IDLE = seen(volume())
DETACHING = seen(volume("detaching"))
FREE = seen(volume("available"), NOT_LISTED)
COMPUTE_FIRST = seen(volume(), NOT_LISTED)
STORAGE_FIRST = seen(volume("available"), LISTED)


def look(so_far: Progress, *looks: Seen, now: datetime = NOW) -> Progress:
    """Progress after these looks, one after another."""
    for one in looks:
        so_far = case(so_far).saw(one, Policy(), now).progress
    return so_far


# -------------------------------------------------------------------------------------- which one we follow


@pytest.mark.parametrize(
    "looks",
    [[IDLE], [FREE, IDLE], [IDLE, FREE, seen(volume("in-use", ANOTHER))]],
    ids=["at the first look", "at a later look", "and no other after it"],
)
def test_first_attachment_that_shows_is_followed(looks: list[Seen]) -> None:
    """The first attachment that the request may mean is the one it is about, for good."""
    assert attachment() == look(FRESH, *looks).followed


@pytest.mark.parametrize(
    ("attached", "name"),
    [(attachment(), ATTACHMENT), (Attachment(attached_at=ATTACHED), ATTACHED.isoformat()), (Attachment(), "unnamed")],
)
def test_attachment_without_id_is_told_by_its_time(attached: Attachment, name: str) -> None:
    """Without an attachment id, the time of attaching distinguishes attachments."""
    assert name == identity(attached)


@pytest.mark.parametrize(
    ("so_far", "named", "expected"),
    [
        pytest.param(FOLLOWING, OTHER_ATTACHMENT, attachment(), id="the one that is followed"),
        pytest.param(FRESH, ATTACHMENT, attachment(), id="the one that is named"),
        pytest.param(FRESH, None, ANOTHER, id="the first"),
    ],
)
def test_evidence_of_two_attachments_shows_the_one_that_matters(
    so_far: Progress, named: str | None, expected: Attachment
) -> None:
    """While a server moves, the evidence shows the followed attachment, or else the requested one."""
    both = seen(volume("in-use", ANOTHER, attachment()))
    after = case(so_far, request(attachment_id=named)).saw(both, Policy(), NOW)
    assert after.state is not None
    assert after.state.attachment == expected


def test_state_before_is_kept_from_the_first_look() -> None:
    """The verdict's "before" is what the first look showed, and each look is counted as a poll."""
    after = look(progress(polls=4), seen(volume("in-use", elsewhere(), attachment())), DETACHING, FREE)
    planes = State(volume_status="in-use", attachment=attachment(), listed_by_server=True, server_status="ACTIVE")
    assert after.before == replace(planes, attached_to=(OTHER_SERVER, SERVER))
    assert after.polls == 7


def test_state_of_nothing_is_null() -> None:
    """Objects that are gone or were not read are null in the evidence, not false."""
    assert look(FRESH, seen(None, None)).before == State()
    assert look(FRESH, unread(volume("available"))).before == State(volume_status="available")


# ------------------------------------------------------------------------------------- what a look makes of a case

OFFLOADED = server(status="SHELVED_OFFLOADED", vm_state="shelved_offloaded")
NAMED_ENTRY = Listed(VOLUME, "/dev/sdb", ATTACHMENT, "b")
NAMED_LIST, FREE_OF_HOSTS = (NAMED_ENTRY,), replace(volume("available"), status="reserved")
BY_COMPUTE = Attachment(ATTACHMENT, None, "/dev/sdb", "b")
BOUND = attachment(bdm_uuid="b")
SHARED_ELSEWHERE = volume("in-use", elsewhere(), multiattach=True)
NEWER = attachment(attachment_id=OTHER_ATTACHMENT, attached_at=ago(minutes=10))
RESIZED = (record("resize", ago(minutes=11), ago(minutes=9)),)
MEANT = {"ours": attachment(), "standing": Standing.MEANT, "listed": True}
FOUND = {"followed": attachment()}


@pytest.mark.parametrize(
    ("so_far", "named", "cloud", "told", "booked"),
    [
        pytest.param(FRESH, None, IDLE, MEANT, {**FOUND, "idle_reads": 1}, id="idle"),
        pytest.param(FRESH, ATTACHMENT, IDLE, MEANT, {**FOUND, "idle_reads": 1}, id="idle, and named"),
        pytest.param(FRESH, OTHER_ATTACHMENT, IDLE, {**MEANT, "standing": Standing.ASK}, {}, id="another is named"),
        pytest.param(FRESH, None, seen(volume("in-use", attachment(attached_at=None))),
            {**MEANT, "ours": attachment(attached_at=None), "standing": Standing.ASK}, {}, id="without a time"),
        pytest.param(FRESH, None, seen(volume("in-use", NEWER), actions=RESIZED),
            {"ours": NEWER, "standing": Standing.MOVED, "listed": True}, {"followed": NEWER, "idle_reads": 1},
            id="moved"),
        pytest.param(FRESH, None, COMPUTE_FIRST, {**MEANT, "listed": False}, FOUND, id="let go by compute"),
        pytest.param(FRESH, None, STORAGE_FIRST, {"listed": True}, {}, id="let go by storage"),
        pytest.param(FRESH, None, FREE, {"listed": False}, {}, id="free"),
        pytest.param(FRESH, None, unread(volume()), {**MEANT, "listed": None}, FOUND, id="list not read"),
        pytest.param(progress(place="a", polls=4), None, replace(IDLE, place="b"), MEANT,
            {**FOUND, "idle_reads": 1, "polls": 5}, id="another place"),
        pytest.param(FRESH, None, replace(IDLE, place="b"), MEANT, {**FOUND, "idle_reads": 1, "place": "b"},
            id="the first place"),
        pytest.param(progress(error_reads=1, idle_reads=1), None, seen(volume("error_extending")), MEANT,
            {**FOUND, "error_reads": 2, "idle_reads": 0}, id="in error"),
        pytest.param(progress(error_reads=1), None, seen(volume("error"), NOT_LISTED), {**MEANT, "listed": False},
            {**FOUND, "error_reads": 0}, id="in error, let go by compute"),
        pytest.param(progress(error_reads=1), None, IDLE, MEANT, {**FOUND, "error_reads": 0, "idle_reads": 1},
            id="in error before"),
        pytest.param(FRESH, None, DETACHING, MEANT, {**FOUND, "detaching_seen": True, "detaching_since": NOW},
            id="detaching"),
        pytest.param(joined(60), None, IDLE, MEANT,
            {"idle_reads": 1, "detaching_seen": False, "detaching_since": None}, id="idle again"),
        pytest.param(accepted(60, detaching_seen=True), None, IDLE, MEANT, {"idle_reads": 1}, id="idle, accepted"),
        pytest.param(lost(1, 60, attempt=3), None, DETACHING, MEANT, {"detaching_seen": True, "detaching_since": NOW,
            "accepted_at": NOW, "attempt": 0}, id="detaching, an answer lost"),
        pytest.param(FRESH, None, seen(volume("in-use", NEWER, attachment())),
            {"ours": NEWER, "several": True, "listed": True}, {}, id="two"),
        pytest.param(FRESH, None, seen(volume("in-use", NEWER, attachment(), attachment(attachment_id="3"))),
            {"ours": NEWER, "several": True, "listed": True}, {}, id="three"),
        pytest.param(FRESH, None, seen(volume("in-use", NEWER), NAMED_LIST),
            {"ours": NEWER, "standing": Standing.ASK, "apart": True, "listed": True}, {}, id="planes apart"),
        pytest.param(FRESH, None, seen(volume(), NAMED_LIST), {**MEANT, "ours": BOUND},
            {"followed": BOUND, "idle_reads": 1}, id="planes agree"),
        pytest.param(progress(followed=BOUND), None, IDLE, {**MEANT, "ours": BOUND}, {"idle_reads": 1},
            id="bound before"),
        pytest.param(progress(followed=BOUND), None, seen(volume("in-use", NEWER)),
            {"ours": NEWER, "standing": Standing.ASK, "listed": True}, {}, id="another was bound before"),
        pytest.param(progress(followed=BY_COMPUTE), None, seen(FREE_OF_HOSTS, NAMED_LIST, server=OFFLOADED),
            {"ours": BY_COMPUTE, "standing": Standing.MEANT, "offloaded": True, "listed": True}, {}, id="offloaded"),
        pytest.param(progress(followed=BY_COMPUTE), None, seen(SHARED_ELSEWHERE, NAMED_LIST, server=OFFLOADED),
            {"ours": BY_COMPUTE, "standing": Standing.MEANT, "offloaded": True, "listed": True}, {"idle_reads": 1},
            id="offloaded, a shared disk"),
        pytest.param(FRESH, None, seen(replace(FREE_OF_HOSTS, status="available"), NAMED_LIST, server=OFFLOADED),
            {"listed": True}, {}, id="offloaded, let go by storage"),
        pytest.param(FRESH, None, seen(FREE_OF_HOSTS, (), server=OFFLOADED), {"listed": False}, {},
            id="offloaded, let go by compute"),
        pytest.param(FRESH, None, seen(volume("reserved"), NAMED_LIST, server=OFFLOADED), {**MEANT, "ours": BOUND},
            {"followed": BOUND}, id="offloaded, and held by storage"),
        pytest.param(FRESH, None, seen(FREE_OF_HOSTS, NAMED_LIST, server=replace(OFFLOADED, task_state="spawning")),
            {"listed": True}, {}, id="about to be unshelved"),
        pytest.param(FRESH, None, seen(FREE_OF_HOSTS, NAMED_LIST), {"listed": True}, {}, id="not offloaded"),
        pytest.param(FRESH, None, seen(None, None), {"listed": False}, {}, id="neither"),
        pytest.param(FRESH, None, seen(None, NAMED_LIST, server=OFFLOADED), {"listed": True}, {}, id="no volume"),
    ],
)  # fmt: skip
def test_look_is_taken_in(
    so_far: Progress, named: str | None, cloud: Seen, told: dict[str, Any], booked: dict[str, Any]
) -> None:
    """The inputs of the rules, and the progress for the next look."""
    before = case(so_far, request(attachment_id=named))
    after = before.saw(cloud, Policy(), NOW)
    expected = replace(before, seen=cloud, volume=cloud.volume, **told)
    first = {"polls": so_far.polls + 1, "before": after.state}
    assert after == replace(expected, progress=replace(so_far, **{**first, **booked}))


# ------------------------------------------------------------------------------- idle, detaching, accepted


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([IDLE], 1, id="once"),
        pytest.param([IDLE, IDLE], 2, id="twice"),
        pytest.param([IDLE, DETACHING], 0, id="then detaching"),
        pytest.param([IDLE, IDLE, DETACHING, IDLE], 1, id="counted anew after detaching"),
        pytest.param([IDLE, COMPUTE_FIRST], 0, id="then let go by compute"),
        pytest.param([IDLE, STORAGE_FIRST], 0, id="then let go by block storage"),
        pytest.param([IDLE, seen(volume("in-use", ANOTHER))], 0, id="then another"),
        pytest.param([IDLE, seen(None, None)], 0, id="then gone"),
        pytest.param([IDLE, unread(volume())], 0, id="then with the list not read"),
    ],
)
def test_idle_looks_count_in_a_row(looks: list[Seen], expected: int) -> None:
    """Idle means in-use, listed, and the followed attachment; any other look resets the count."""
    assert expected == look(FOLLOWING, *looks).idle_reads


@pytest.mark.parametrize(
    ("cloud", "under_way"),
    [
        pytest.param(DETACHING, True, id="still detaching"),
        pytest.param(unread(volume("detaching")), True, id="still detaching, list not read"),
        pytest.param(seen(volume("detaching"), NOT_LISTED), True, id="detaching, compute has let go"),
        pytest.param(unread(volume()), True, id="in-use, list not read"),
        pytest.param(COMPUTE_FIRST, True, id="in-use, compute has let go"),
        pytest.param(STORAGE_FIRST, True, id="block storage has let go"),
        pytest.param(IDLE, False, id="idle again"),
    ],
)
def test_a_foreign_detach_is_under_way_until_the_volume_is_idle_again(cloud: Seen, under_way: bool) -> None:
    """Its time runs from the first look that shows it, also while one plane is ahead; a refusal resets it."""
    since = ago(hours=2)
    shown = look(FOLLOWING, DETACHING, now=since)
    after = case(look(shown, cloud))
    assert (since if under_way else None) == after.watching_since
    assert after.may_delete is not under_way


@pytest.mark.parametrize(
    ("so_far", "cloud", "found"),
    [
        pytest.param(lost(1, 5, attempt=3), DETACHING, True, id="an answer was lost"),
        pytest.param(lost(1, 5), seen(volume("detaching", multiattach=True)), False, id="lost, on a shared disk"),
        pytest.param(lost(1, 5), seen(volume("detaching"), NOT_LISTED), False, id="lost, and let go by compute"),
        pytest.param(lost(1, 5), IDLE, False, id="lost, and still idle"),
        pytest.param(FOLLOWING, DETACHING, False, id="nothing sent"),
        pytest.param(throttled(5), DETACHING, False, id="a DELETE without effect sent"),
    ],
)
def test_lost_answer_is_found_by_its_effect(so_far: Progress, cloud: Seen, found: bool) -> None:
    """A DELETE whose answer was lost counts as accepted from the look that shows it detaching.

    Not on a shared disk, where that may be another server's detach, nor if our DELETE certainly had no effect.
    """
    after = look(so_far, cloud)
    assert (NOW if found else None) == after.accepted_at
    assert after.attempt == (0 if found else so_far.attempt)


@pytest.mark.parametrize("so_far", [accepted(5), lost(1, 60, accepted_at=ago(seconds=5))], ids=["told", "found"])
def test_acceptance_keeps_its_moment(so_far: Progress) -> None:
    """The confirm timeout runs from the acceptance, not from later looks; their evidence adds up."""
    after = look(so_far, DETACHING, IDLE, DETACHING, IDLE, IDLE)
    assert (ago(seconds=5), True, 2) == (after.accepted_at, after.detaching_seen, after.idle_reads)
    assert case(after).watching_since == ago(seconds=5)
    assert not case(after).may_delete


# ------------------------------------------------------------------------------------------- after a DELETE


def test_accepted_delete_begins_the_watch() -> None:
    """Acceptance resets all counts that start from it."""
    before = joined(9, attempt=4, idle_reads=3)
    after = case(before).sent(answer(AnswerClass.ACCEPTED), "req-1", NOW).progress
    sent = replace(before, deletes_sent=1, last_delete_at=NOW, accepted_at=NOW, receipt="req-1")
    assert after == replace(sent, attempt=0, idle_reads=0, detaching_seen=False, detaching_since=None)


@pytest.mark.parametrize(
    ("kind", "reason", "unsettled"),
    [
        (AnswerClass.RETRY, None, 0),
        (AnswerClass.WAIT, None, 0),
        (AnswerClass.RECONCILE, None, 1),
        (AnswerClass.DONE_VERIFY, None, 1),
        (AnswerClass.REAUTHENTICATE, None, 1),
        (AnswerClass.PERMANENT, Reason.SERVER_NOT_FOUND, 1),
        (AnswerClass.PERMANENT, Reason.VOLUME_NOT_FOUND, 1),
    ],
)
def test_deletes_of_unknown_outcome_are_counted(kind: AnswerClass, reason: Reason | None, unsettled: int) -> None:
    """An answer of unknown outcome counts towards the limit, a clear "not now" does not; its error is kept."""
    after = case(FOLLOWING).sent(answer(kind, reason), None, NOW).progress
    assert (1, unsettled, NOW, None) == (after.deletes_sent, after.unsettled, after.last_delete_at, after.accepted_at)
    assert after.last_error == f"test.{kind}: as the cloud put it"


def test_clear_no_is_kept_until_it_can_be_told() -> None:
    """The cloud's words are kept, and the looks that have to confirm them are counted from zero."""
    before = replace(FOLLOWING, idle_reads=3, attempt=4, error_reads=1)
    forbidden = answer(AnswerClass.PERMANENT, Reason.FORBIDDEN)
    after = case(before).sent(forbidden, "req-1", NOW).progress
    sent = replace(before, deletes_sent=1, unsettled=1, last_delete_at=NOW, receipt="req-1")
    denial = Denial(reason=Reason.FORBIDDEN, why="DELETE: test.permanent as the cloud put it")
    last_error = "test.permanent: as the cloud put it"
    assert after == replace(sent, idle_reads=0, attempt=0, last_error=last_error, denied=denial)


@pytest.mark.parametrize("code", ["no_token", "no_time"])
def test_delete_that_was_not_sent_is_not_counted(code: str) -> None:
    """Only the reason why it was not sent is recorded."""
    kept_back = Classified(AnswerClass.RETRY, code, "not now")
    assert case(FOLLOWING).sent(kept_back, None, NOW).progress == replace(FOLLOWING, last_error=f"{code}: not now")


@pytest.mark.parametrize("kind", sorted(set(AnswerClass) - {AnswerClass.PERMANENT, AnswerClass.ACCEPTED}))
def test_only_a_clear_no_is_passed_on(kind: AnswerClass) -> None:
    """A mere "not now" is no reason for a verdict."""
    assert case(FOLLOWING).sent(answer(kind, Reason.FORBIDDEN), None, NOW).progress.denied is None


def test_receipt_is_that_of_the_last_delete() -> None:
    """The outcome of a DELETE is read with its own receipt, never with an earlier one."""
    first = case(FOLLOWING).sent(answer(AnswerClass.RECONCILE), "req-1", NOW)
    assert first.progress.receipt == "req-1"
    assert first.sent(answer(AnswerClass.RECONCILE), None, NOW).progress.receipt is None


def test_conclusion_without_an_explanation() -> None:
    """A conclusion has no explanation unless one is given."""
    assert detached(Detail.DETACHED_NOW) == Conclude(Outcome.DETACHED, Detail.DETACHED_NOW, None, "", None)
    assert failed(Reason.GAVE_UP) == Conclude(Outcome.FAILED, Reason.GAVE_UP, Reason.GAVE_UP, "", None)
    assert failed(Reason.GAVE_UP, "x").explanation == detached(Detail.DETACHED_NOW, "x").explanation == "x"


# ----------------------------------------------------------------------------------------- what a step books


UNCONFIRMED = verdict_id("/changes", "4711", VOLUME, Outcome.UNCONFIRMED)


@pytest.mark.parametrize(
    ("decision", "changes"),
    [
        pytest.param(Requeue(5, "busy"), {"attempt": 4, "failures": 0}, id="requeued"),
        pytest.param(
            Requeue(5, "slow", announce_unconfirmed=True),
            {"attempt": 0, "failures": 0, "unconfirmed_id": UNCONFIRMED},
            id="announced: the watch begins anew",
        ),
        pytest.param(failed(Reason.GAVE_UP), {}, id="concluded"),
    ],
)
def test_step_is_counted(decision: Requeue | Conclude, changes: dict[str, Any]) -> None:
    """A requeued case counts one more attempt, or starts again after an unconfirmed verdict; failures are reset."""
    before = progress(attempt=3, redelivered_since=NOW, failures=2)
    after = case(before).stepped(decision, (call(),)).progress
    assert after == replace(before, calls=(call(),), **changes)


@pytest.mark.parametrize(
    ("so_far", "look", "since"),
    [
        pytest.param(progress(), True, NOW, id="no attachment is followed"),
        pytest.param(progress(followed=attachment()), True, None, id="an attachment is followed"),
        pytest.param(progress(followed=attachment()), False, NOW, id="the cloud could not be read"),
    ],
)
def test_earlier_deliveries_matter_until_a_look_shows_what_they_left(
    so_far: Progress, look: bool, since: datetime | None
) -> None:
    """An earlier delivery may have detached the disk, until a look shows the attachment that is followed."""
    one = case(replace(so_far, redelivered_since=NOW))
    one = replace(one, seen=Seen(volume())) if look else one
    assert one.stepped(Requeue(5, "busy"), ()).progress.redelivered_since == since


def test_the_error_of_a_failed_read_is_kept() -> None:
    """The cloud's last answer is kept for the verdict of a request that is given up."""
    assert case().unreadable(answer(AnswerClass.RETRY)).progress.last_error == "test.retry: as the cloud put it"


def test_reads_of_earlier_looks_are_dropped() -> None:
    """Only DELETEs and failed calls of earlier looks stay, before the calls of the latest look."""
    failures = (call("get_volume", 503), call("get_server", 0), call("get_volume", 400))
    earlier = (call("list_attachments"), *failures, call("get_volume", 399), call("delete_attachment", 202))
    latest = (call("list_attachments"), call("get_volume"))
    assert kept_calls(earlier, latest) == (*failures, earlier[-1], *latest)


def test_deletes_outlast_any_number_of_failed_reads() -> None:
    """DELETEs stay after any number of failed reads; of too many DELETEs the last stay, with the accepted one."""
    calls: tuple[Call, ...] = ()
    for status in [429] * 50 + [202]:
        calls = kept_calls(calls, (call("list_attachments"), call("delete_attachment", status)))
    for _ in range(100):
        calls = kept_calls(calls, (call("list_attachments", 503),))
    assert calls[-2:] == (call("delete_attachment", 202), call("list_attachments", 503))
    assert len(calls) == CALLS_KEPT


OPERATIONS = st.sampled_from(["get_volume", "delete_attachment"])
CALLS = st.lists(st.builds(call, OPERATIONS, st.sampled_from([0, 200, 503])), max_size=30).map(tuple)


@given(looks=st.lists(CALLS, max_size=8))
def test_evidence_is_bounded_and_ends_with_the_latest_calls(looks: list[tuple[Call, ...]]) -> None:
    """The evidence fits into an event, in order, and includes the latest look."""
    kept: tuple[Call, ...] = ()
    for calls in looks:
        kept = kept_calls(kept, calls)
        assert len(kept) <= CALLS_KEPT
        assert kept[len(kept) - min(len(calls), CALLS_KEPT) :] == calls[-CALLS_KEPT:]
