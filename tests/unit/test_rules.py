"""The decision table: what is done next, by what was asked, how far we are and what both planes show.

Each row is one situation at NOW: a name, what the cloud shows, what has to come of it, and whatever is not
ordinary about the request or its history. The history is told as it stood before this look.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from shared.decision.case import Decision, Delete, Requeue
from shared.decision.progress import Progress
from shared.decision.requeue import after_delete, pause, when_unreadable
from shared.decision.rules import decide
from shared.model import AnswerClass, Classified, DetachRequest, Ended, Reason, Seen
from shared.policy import POLL, RETRY, Backoff, Policy, RunningServerPolicy
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
    case,
    progress,
    request,
    said,
    seen,
    server,
    unlisted,
    volume,
)

# ------------------------------------------------------------------------------------- what the cloud may show

IDLE = seen(volume("in-use"))
DETACHING = seen(volume("detaching"))
FREE = seen(volume("available"), NOT_LISTED)
COMPUTE_FIRST = seen(volume("in-use"), NOT_LISTED)
STORAGE_FIRST = seen(volume("available"), LISTED)
FREE_AND_DETACHING = seen(replace(volume("available"), status="detaching"), NOT_LISTED)

NEWER = attachment(attachment_id=OTHER_ATTACHMENT, attached_at=ago(seconds=30))
REPLACED = seen(volume("in-use", NEWER))
ELSEWHERE = attachment(OTHER_SERVER, attachment_id=OTHER_ATTACHMENT)
SHARED = seen(volume("in-use", attachment(), ELSEWHERE, multiattach=True))
ELSEWHERE_SINCE = attachment(OTHER_SERVER, attachment_id=OTHER_ATTACHMENT, attached_at=ago(seconds=30))

NO_SERVER = seen(volume("available"), None, server=None)
NO_SERVER_BUT_NAMED = seen(volume("in-use"), None, server=None)
NO_SERVER_ELSEWHERE = seen(volume("in-use", ELSEWHERE), None, server=None)
NO_VOLUME = seen(None, NOT_LISTED)
NO_VOLUME_BUT_LISTED = seen(None, LISTED)
NEITHER = seen(None, None, server=None)


def with_server(**changes: object) -> Seen:
    return seen(volume("in-use"), server=server(**changes))


# ---------------------------------------------------------------------------------------- how far we may be

FRESH = progress()
HOUR_OLD = progress(first_seen_at=ago(hours=1))
FOLLOWING = progress(followed=FOLLOWED)


def accepted(seconds_ago: float, **changes: object) -> Progress:
    """One DELETE sent and accepted."""
    at = ago(seconds=seconds_ago)
    return progress(**{"first_seen_at": at, "followed": FOLLOWED, "deletes_sent": 1, "last_delete_at": at,
        "accepted_at": at, **changes})  # fmt: skip


def lost(deletes: int, seconds_ago: float, **changes: object) -> Progress:
    """So many DELETEs sent whose outcome is not known, the last of them so long ago."""
    return progress(**{"followed": FOLLOWED, "deletes_sent": deletes, "unsettled": deletes,
        "last_delete_at": ago(seconds=seconds_ago), **changes})  # fmt: skip


def throttled(seconds_ago: float) -> Progress:
    """One DELETE sent that certainly had no effect."""
    return lost(1, seconds_ago, unsettled=0, last_error="http_429: slow down")


def joined(seconds_ago: float, **changes: object) -> Progress:
    """Nothing sent; somebody else's detach has been seen for so long."""
    since = ago(seconds=seconds_ago)
    return progress(
        **{"first_seen_at": since, "followed": FOLLOWED, "detaching_since": since, "detaching_seen": True, **changes}
    )


ASKED, POLICY = request(), Policy()
HOUR = 3600

# ------------------------------------------------------------------------------------------------- one row


@dataclass(frozen=True)
class Row:
    name: str
    cloud: Seen
    then: str
    so_far: Progress = FRESH
    asked: DetachRequest = ASKED
    policy: Policy = POLICY
    redelivered_since: datetime | None = None

    def decision(self) -> Decision:
        so_far = replace(self.so_far, redelivered_since=self.redelivered_since)
        return decide(case(so_far, self.asked).saw(self.cloud, self.policy, NOW), self.policy, NOW)

    def __str__(self) -> str:
        return self.name


def table(*rows: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=str)


# ------------------------------------------------------------------------------------------------ the table


@table(
    Row("attached, idle, never sent", IDLE, "delete"),
    Row("attached, idle, seen before", IDLE, "delete", FOLLOWING),
    Row("attached, idle, after a DELETE that certainly had no effect", IDLE, "delete", throttled(1)),
    Row("attached, idle, the attachment named", IDLE, "delete", asked=request(attachment_id=ATTACHMENT)),
    Row("attached, idle, the server not read", replace(IDLE, server=None), "wait"),
    Row("shared disk, idle on two servers", SHARED, "delete"),
)
def test_delete_is_sent_for_what_is_attached_and_idle(row: Row) -> None:
    """A DELETE goes out when both planes show the attachment meant, nobody is detaching it, and it is safe."""
    assert row.then == said(row.decision())


@table(
    Row("in-use but not listed", COMPUTE_FIRST, "wait"),
    Row("in-use but not listed, accepted", COMPUTE_FIRST, "wait", accepted(5)),
    Row("detaching but not listed", seen(volume("detaching"), NOT_LISTED), "wait", accepted(5)),
    Row("available but still listed", STORAGE_FIRST, "wait"),
    Row("available but still listed, accepted", STORAGE_FIRST, "wait", accepted(5)),
    Row("free of servers, still detaching", FREE_AND_DETACHING, "wait", accepted(5)),
    Row("gone from both, one DELETE accepted", FREE, "detached: detached_now", accepted(5)),
    Row("gone from both, one DELETE lost", FREE, "detached: detached_meanwhile", lost(1, 5)),
    Row("gone from both, our DELETE had no effect", FREE, "detached: detached_by_other", throttled(5)),
    Row("gone from both, seen before, never sent", FREE, "detached: detached_by_other", FOLLOWING),
    Row("gone from both, another's detach joined", FREE, "detached: detached_by_other", joined(5)),
    Row("shared disk, gone from here, still on another server", seen(volume("in-use", ELSEWHERE, multiattach=True),
        NOT_LISTED), "detached: detached_now", accepted(5)),
    Row("shared disk, gone from here, detaching from another server",
        seen(volume("detaching", ELSEWHERE, multiattach=True), NOT_LISTED), "detached: detached_now", accepted(5)),
    Row("gone from here, attached to another server by now", seen(volume("in-use", ELSEWHERE_SINCE), NOT_LISTED),
        "detached: detached_now", accepted(60)),
)  # fmt: skip
def test_detached_is_proven_on_two_planes(row: Row) -> None:
    """It is over when neither plane has the attachment; one of them alone is "not yet"."""
    assert row.then == said(row.decision())


@table(
    Row("attached nowhere", FREE, "detached: already_detached"),
    Row("on another server since before the request", seen(volume("in-use", ELSEWHERE), NOT_LISTED),
        "failed: attached_elsewhere"),
    Row("on another server, nobody knows since when",
        seen(volume("in-use", attachment(OTHER_SERVER, attached_at=None)), NOT_LISTED),
        "failed: attached_elsewhere"),
    Row("on another server since after the request", seen(volume("in-use", ELSEWHERE_SINCE), NOT_LISTED),
        "detached: already_detached"),
    Row("shared disk on another server since before the request", seen(volume("in-use", ELSEWHERE, multiattach=True),
        NOT_LISTED), "detached: already_detached"),
)  # fmt: skip
def test_never_seen_here(row: Row) -> None:
    """What was never attached here while we looked is detached already, or the request names the wrong server."""
    assert row.then == said(row.decision())


@table(
    Row("detaching, never sent: someone else's", DETACHING, "wait"),
    Row("detaching, joined before", DETACHING, "wait", joined(30)),
    Row("detaching, accepted", DETACHING, "wait", accepted(30)),
    Row("detaching, the DELETE's answer lost", DETACHING, "wait", lost(1, 60)),
    Row("detaching, a DELETE without effect sent", DETACHING, "wait", throttled(60)),
    Row("shared disk, detaching from whichever server",
        seen(volume("detaching", attachment(), ELSEWHERE, multiattach=True)), "wait", lost(1, 60)),
    Row("idle again after someone else's detach", IDLE, "delete", joined(60)),
)  # fmt: skip
def test_what_is_being_detached_is_waited_for(row: Row) -> None:
    """Ours or another's: while it is detaching, no DELETE goes out."""
    assert row.then == said(row.decision())


AT_THE_EDGE = seen(volume("in-use", attachment(attached_at=REQUESTED + Policy().fence_skew)))
NAMED = request(attachment_id=ATTACHMENT)
LONG_BEFORE, SINCE_THEN = ago(seconds=50), ago(seconds=10)


@table(
    Row("newer than the request", REPLACED, "failed: superseded"),
    Row("newer than the request and detaching", seen(volume("detaching", NEWER)), "failed: superseded"),
    Row("newer than the request, not listed yet", seen(volume("attaching", NEWER), NOT_LISTED), "failed: superseded"),
    Row("as new as the clocks may differ", AT_THE_EDGE, "delete"),
    Row("of unknown age", seen(volume("in-use", attachment(attached_at=None))), "delete"),
    Row("another than the one named", REPLACED, "failed: superseded", asked=NAMED),
    Row("another than the one named, and older", seen(volume("in-use", attachment(attachment_id=OTHER_ATTACHMENT))),
        "failed: superseded", asked=NAMED),
    Row("the one named, newer than the request", seen(volume("in-use", attachment(attached_at=ago(seconds=30)))),
        "failed: superseded", asked=NAMED),
    Row("followed one replaced, never sent", REPLACED, "detached: replaced_by_newer", FOLLOWING),
    Row("followed one replaced, accepted", REPLACED, "detached: replaced_by_newer", accepted(60)),
    Row("followed one replaced, the new one detaching", seen(volume("detaching", NEWER)),
        "detached: replaced_by_newer", accepted(60)),
    Row("followed one there beside a second to the same server", seen(volume("in-use", NEWER, attachment())), "wait",
        accepted(5)),
    Row("redelivered; newer than its first delivery", REPLACED, "detached: replaced_by_newer",
        redelivered_since=LONG_BEFORE),
    Row("redelivered; newer than its first delivery, another than the one named", REPLACED,
        "detached: replaced_by_newer", asked=NAMED, redelivered_since=LONG_BEFORE),
    Row("redelivered; there at its first delivery", REPLACED, "failed: superseded", redelivered_since=SINCE_THEN),
    Row("redelivered; there at its first delivery, another than the one named", REPLACED, "failed: superseded",
        asked=NAMED, redelivered_since=SINCE_THEN),
    Row("redelivered; as new as clocks may differ", AT_THE_EDGE, "failed: superseded", redelivered_since=LONG_BEFORE),
    Row("redelivered; still the old one", IDLE, "delete", redelivered_since=LONG_BEFORE),
)  # fmt: skip
def test_fence_keeps_newer_attachments(row: Row) -> None:
    """An attachment that the request cannot have meant is never cut; the one it followed, if replaced, is gone."""
    assert row.then == said(row.decision())


@table(
    Row("server gone, never seen", NO_SERVER, "failed: server_not_found"),
    Row("server gone, never seen, the volume elsewhere", NO_SERVER_ELSEWHERE, "failed: server_not_found"),
    Row("server gone, attachment seen before", NO_SERVER, "detached: server_gone", FOLLOWING),
    Row("server gone, DELETE accepted", NO_SERVER, "detached: server_gone", accepted(60)),
    Row("server gone, the volume still names it", NO_SERVER_BUT_NAMED, "wait", accepted(60)),
    Row("server gone, the volume still names it, never seen", NO_SERVER_BUT_NAMED, "wait"),
    Row("volume gone, never seen", NO_VOLUME, "failed: volume_not_found"),
    Row("volume gone, attachment seen before", NO_VOLUME, "detached: volume_gone", FOLLOWING),
    Row("volume gone, DELETE accepted", NO_VOLUME, "detached: volume_gone", accepted(60)),
    Row("volume gone, the server still lists it", NO_VOLUME_BUT_LISTED, "wait", FOLLOWING),
    Row("both gone, never seen", NEITHER, "failed: server_not_found"),
    Row("both gone, attachment seen before", NEITHER, "detached: server_gone", FOLLOWING),
)
def test_server_or_volume_gone(row: Row) -> None:
    """What is gone holds no disk, but only for who has seen it; else the ids are wrong."""
    assert row.then == said(row.decision())


@table(
    *(
        Row(f"{status}, {history}", seen(volume(status)), "failed: volume_error", so_far)
        for status in ("error", "error_detaching", "error_extending", "error_restoring", "error_deleting")
        for history, so_far in (("never sent", FRESH), ("accepted", accepted(60)))
    )
)
def test_error_status_ends_it(row: Row) -> None:
    """Nobody but the cloud's operator gets a volume out of an error status."""
    assert row.then == said(row.decision())


@table(
    *(
        Row(f"{status}, {history}", seen(volume(status, attachment())), "wait", so_far)
        for status in (
            *("creating", "attaching", "available", "restoring-backup", "backing-up", "uploading", "downloading"),
            *("extending", "deleting", "rollbacking", "awaiting-transfer", "reserved", "maintenance", "retyping"),
            *("a-status-of-tomorrow", "In-Use", ""),
        )
        for history, so_far in (("never sent", FRESH), ("accepted", accepted(60)))
    )
)
def test_busy_volume_is_waited_for(row: Row) -> None:
    """Whatever else a volume is doing, known to us or not, it is not the moment for a DELETE."""
    assert row.then == said(row.decision())


DETACHING_SEEN = {"detaching_seen": True}


@table(
    Row("idle once, detaching seen", IDLE, "wait", accepted(5, **DETACHING_SEEN)),
    Row("idle twice, detaching seen", IDLE, "failed: refused_by_server", accepted(5, idle_reads=1, **DETACHING_SEEN)),
    Row("idle once, detaching never seen, after 14 s", IDLE, "wait", accepted(14)),
    Row("idle twice, detaching never seen, after 14 s", IDLE, "wait", accepted(14, idle_reads=1)),
    Row("idle five times, detaching never seen, after 14 s", IDLE, "wait", accepted(14, idle_reads=4)),
    Row("idle twice, detaching never seen, after 15 s", IDLE, "failed: refused_by_server", accepted(15, idle_reads=1)),
    Row("idle once, detaching never seen, after a minute", IDLE, "wait", accepted(60)),
    Row("idle, then detaching", DETACHING, "wait", accepted(60, idle_reads=1)),
    Row("idle, then compute lets go", COMPUTE_FIRST, "wait", accepted(60, idle_reads=5, **DETACHING_SEEN)),
    Row("idle once, the action record says failed", replace(IDLE, ended=Ended.FAILED), "failed: refused_by_server",
        accepted(2)),
    Row("idle once, the action record says not failed", replace(IDLE, ended=Ended.NOT_FAILED), "wait", accepted(2)),
    Row("idle twice, the action record says not failed", replace(IDLE, ended=Ended.NOT_FAILED),
        "failed: refused_by_server", accepted(60, idle_reads=1)),
    Row("gone, the action record says failed", replace(FREE, ended=Ended.FAILED), "detached: detached_now",
        accepted(2)),
    Row("never accepted, the action record says failed", replace(IDLE, ended=Ended.FAILED), "delete", FOLLOWING),
    Row("answer lost, then detaching, then idle twice", IDLE, "failed: refused_by_server", lost(1, 60,
        accepted_at=ago(seconds=8), idle_reads=1, **DETACHING_SEEN)),
    Row("idle twice, already said to be unconfirmed", IDLE, "failed: refused_by_server", accepted(HOUR, idle_reads=1,
        unconfirmed_id="said")),
)  # fmt: skip
def test_refusal_is_seen_early(row: Row) -> None:
    """Accepted and idle again is a refusal; too early a look, or one alone, is not enough to say so."""
    assert row.then == said(row.decision())


@table(
    Row("one lost, 29 s ago", IDLE, "wait", lost(1, 29)),
    Row("one lost, 30 s ago", IDLE, "delete", lost(1, 30)),
    Row("two lost, 29 s ago", IDLE, "wait", lost(2, 29)),
    Row("two lost, 30 s ago", IDLE, "delete", lost(2, 30)),
    Row("three lost, 10 min ago", IDLE, "wait", lost(3, 600)),
    Row("three lost, time is up", IDLE, "failed: gave_up", lost(3, 600, first_seen_at=ago(hours=1))),
    Row("one lost, now detaching on a shared disk", seen(volume("detaching", multiattach=True)), "wait", lost(1, 60)),
)
def test_unsettled_deletes_are_few_and_far_between(row: Row) -> None:
    """At most three DELETEs whose outcome is not known, 30 s apart, each after a look."""
    assert row.then == said(row.decision())


def test_unsettled_delete_is_repeated_after_the_rest_of_its_pause() -> None:
    """The next look comes when the pause of 30 s is over, not at the next round of the backoff."""
    decision = Row("one lost, 10 s ago", IDLE, "wait", lost(1, 10)).decision()
    assert decision == Requeue(20, "the outcome of the last DELETE is unknown")


EXPIRED = request(expires_at=NOW)


@table(
    Row("not expired yet", IDLE, "delete", asked=request(expires_at=ago(seconds=-1))),
    Row("expired, never sent", IDLE, "failed: expired", asked=EXPIRED),
    Row("expired, someone else detaching", DETACHING, "failed: expired", asked=EXPIRED),
    Row("expired, planes disagree", COMPUTE_FIRST, "failed: expired", asked=EXPIRED),
    Row("expired, detached meanwhile", FREE, "detached: already_detached", asked=EXPIRED),
    Row("expired, newer attachment", REPLACED, "failed: superseded", asked=EXPIRED),
    Row("expired after a DELETE without effect", IDLE, "failed: expired", throttled(60), EXPIRED),
    Row("expired after a DELETE that was lost", IDLE, "wait", lost(1, 60), EXPIRED),
    Row("expired after a DELETE that was lost, detaching", DETACHING, "wait", lost(1, 60), EXPIRED),
    Row("expired after a DELETE that was lost, gone", FREE, "detached: detached_meanwhile", lost(1, 60), EXPIRED),
    Row("expired after acceptance, detaching", DETACHING, "wait", accepted(60), EXPIRED),
    Row("expired after acceptance, idle", IDLE, "wait", accepted(5), EXPIRED),
    Row("expired after acceptance, gone", FREE, "detached: detached_now", accepted(60), EXPIRED),
)
def test_expiry_bars_deletes_and_nothing_else(row: Row) -> None:
    """After its expiry a request begins nothing; what it has begun is followed to its end."""
    assert row.then == said(row.decision())


SAID = {"unconfirmed_id": "said"}


@table(
    Row("accepted 599 s ago", DETACHING, "wait", accepted(599)),
    Row("accepted 600 s ago", DETACHING, "wait, say unconfirmed", accepted(600)),
    Row("accepted 601 s ago, said already", DETACHING, "wait", accepted(601, **SAID)),
    Row("accepted just under 6 h ago", DETACHING, "wait", accepted(6 * HOUR - 1, **SAID)),
    Row("accepted 6 h ago", DETACHING, "failed: stuck_detaching", accepted(6 * HOUR, **SAID)),
    Row("accepted 6 h ago, gone at last", FREE, "detached: detached_now", accepted(6 * HOUR, **SAID)),
    Row("joined 599 s ago", DETACHING, "wait", joined(599)),
    Row("joined 600 s ago", DETACHING, "wait, say unconfirmed", joined(600)),
    Row("joined 6 h ago", DETACHING, "failed: stuck_detaching", joined(6 * HOUR, **SAID)),
    Row("joined 2 h ago, compute has let go", seen(volume("detaching"), NOT_LISTED), "wait", joined(2 * HOUR, **SAID)),
    Row("joined 2 h ago, block storage has let go", STORAGE_FIRST, "wait", joined(2 * HOUR, **SAID)),
    Row("busy for 59 min", seen(volume("backing-up")), "wait", progress(first_seen_at=ago(minutes=59))),
    Row("busy for 60 min", seen(volume("backing-up")), "failed: gave_up", HOUR_OLD),
    Row("compute ahead for 60 min", COMPUTE_FIRST, "failed: inconsistent_state", HOUR_OLD),
    Row("storage ahead for 60 min", STORAGE_FIRST, "failed: inconsistent_state", HOUR_OLD),
    Row("accepted, compute ahead for 10 min", COMPUTE_FIRST, "wait, say unconfirmed", accepted(600)),
    Row("accepted, compute ahead for 6 h", COMPUTE_FIRST, "failed: inconsistent_state", accepted(6 * HOUR, **SAID)),
    Row("accepted, storage ahead for 6 h", STORAGE_FIRST, "failed: inconsistent_state", accepted(6 * HOUR, **SAID)),
    Row("server gone, yet named for 60 min", NO_SERVER_BUT_NAMED, "failed: inconsistent_state", HOUR_OLD),
    Row("volume gone, yet listed for 60 min", NO_VOLUME_BUT_LISTED, "failed: inconsistent_state", HOUR_OLD),
)
def test_time_runs_out(row: Row) -> None:
    """A timeout is said once and not called a failure; the end of the watch, or of the request's time, is final."""
    assert row.then == said(row.decision())


WINDOWS = {"metadata": {"os_type": "Windows"}}
STOPPED = {"status": "SHUTOFF", "vm_state": "stopped", "power_state": 4}


@table(
    Row("running Linux", with_server(), "delete"),
    Row("running Windows", with_server(**WINDOWS), "failed: attestation_required"),
    Row("running, system unknown", with_server(metadata={}), "failed: attestation_required"),
    Row("running Windows, attested", with_server(**WINDOWS), "delete", asked=request(unmounted=True)),
    Row("stopped Windows", with_server(**WINDOWS, **STOPPED), "delete"),
    Row("stopping", with_server(task_state="powering-off"), "wait"),
    Row("locked", with_server(locked=True), "failed: server_locked"),
    Row("protected", seen(volume(metadata={"detach_protection": "true"})), "failed: volume_protected"),
    Row("system disk of a running server", with_server(root_device="/dev/sdb"), "failed: system_disk"),
    Row("running Linux, the operator wants it stopped", with_server(), "failed: server_running",
        policy=Policy(running_server_policy=RunningServerPolicy.STOPPED_ONLY)),
    Row("locked since the last DELETE, which was lost", with_server(locked=True), "failed: server_locked", lost(1, 60)),
    Row("stopping for 60 min", with_server(task_state="powering-off"), "failed: gave_up", HOUR_OLD),
    Row("locked, but accepted before", with_server(locked=True), "wait", accepted(5)),
    Row("locked, but not attached", replace(FREE, server=server(locked=True)), "detached: already_detached"),
)  # fmt: skip
def test_safety_gates_are_asked_before_each_delete(row: Row) -> None:
    """What would lose data is refused at the moment of the DELETE, and only then asked."""
    assert row.then == said(row.decision())


DRY = request(dry_run=True)


@table(
    Row("detaching", unlisted(volume("detaching")), "wait", accepted(5)),
    Row("detaching for 10 min", unlisted(volume("detaching")), "wait, say unconfirmed", accepted(600)),
    Row("detaching for 6 h", unlisted(volume("detaching")), "failed: stuck_detaching", accepted(6 * HOUR, **SAID)),
    Row("detaching for somebody else", unlisted(volume("detaching")), "wait", joined(5)),
    Row("idle", unlisted(volume()), "wait", accepted(60, idle_reads=1, detaching_seen=True)),
    Row("free", unlisted(volume("available")), "wait", accepted(5)),
    Row("volume unknown", unlisted(None), "wait", accepted(5)),
    Row("never sent", unlisted(volume()), "wait", FOLLOWING),
)
def test_a_list_that_was_not_read_proves_nothing(row: Row) -> None:
    """While a detach is under way the volume is read alone: that may end the watch, and nothing else."""
    assert said(row.decision()) == row.then


# ----------------------------------------------------------------------------------------- after the DELETE

SENT_LATE = progress(followed=FOLLOWED, first_seen_at=ago(hours=2))


ONE_REQUEST = f"{ASKED.source} {ASKED.id} {ASKED.volume_id}"


def after(back: Classified, so_far: Progress = FOLLOWING) -> Decision:
    return after_delete(case(so_far).sent(back, None, NOW), back, POLICY, NOW)


@pytest.mark.parametrize(
    ("back", "so_far", "expected"),
    [
        pytest.param(answer(AnswerClass.ACCEPTED), FOLLOWING, "wait", id="accepted"),
        pytest.param(answer(AnswerClass.ACCEPTED), SENT_LATE, "wait", id="accepted, late"),
        pytest.param(answer(AnswerClass.DONE_VERIFY), FOLLOWING, "wait", id="not attached: verify"),
        pytest.param(answer(AnswerClass.RECONCILE), FOLLOWING, "wait", id="outcome unknown"),
        pytest.param(answer(AnswerClass.RECONCILE), SENT_LATE, "wait", id="outcome unknown, late: a look first"),
        pytest.param(answer(AnswerClass.RETRY), FOLLOWING, "wait", id="throttled"),
        pytest.param(answer(AnswerClass.RETRY), SENT_LATE, "failed: gave_up", id="throttled, time is up"),
        pytest.param(answer(AnswerClass.WAIT), FOLLOWING, "wait", id="server busy"),
        pytest.param(answer(AnswerClass.WAIT), SENT_LATE, "failed: gave_up", id="server busy, time is up"),
        pytest.param(answer(AnswerClass.REAUTHENTICATE), FOLLOWING, "failed: unauthorized", id="token refused twice"),
        *(
            pytest.param(
                answer(AnswerClass.PERMANENT, reason), FOLLOWING, f"failed: {reason}", id=f"clear no: {reason}"
            )
            for reason in (Reason.FORBIDDEN, Reason.SERVER_LOCKED, Reason.VOLUME_FROZEN, Reason.API_REJECTED)
        ),
        *(
            pytest.param(answer(AnswerClass.PERMANENT, reason), FOLLOWING, "wait", id=f"to be read: {reason}")
            for reason in (Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND, None)
        ),
    ],
)
def test_after_a_delete(back: Classified, so_far: Progress, expected: str) -> None:
    """Only a clear no ends the request; not-found and the unknown are settled by the next look."""
    assert expected == said(after(back, so_far))


@pytest.mark.parametrize("kind", [AnswerClass.RETRY, AnswerClass.WAIT, AnswerClass.RECONCILE])
@pytest.mark.parametrize(("asked_for", "expected"), [(60, 60), (29.2, 30), (3600, 900)])
def test_retry_after_of_a_delete_is_honoured(kind: AnswerClass, asked_for: float, expected: int) -> None:
    """The next look comes no earlier than the cloud asked for, within what a queue can delay."""
    back = answer(kind, retry_after=asked_for)
    assert after(back) == Requeue(expected, f"DELETE: test.{kind} as the cloud put it")


@pytest.mark.parametrize(
    ("kind", "pace"), [(AnswerClass.RETRY, RETRY), (AnswerClass.WAIT, POLL), (AnswerClass.ACCEPTED, POLL)]
)
def test_pace_after_a_delete(kind: AnswerClass, pace: Backoff) -> None:
    """A cloud out of breath is left alone for a while; a server about to be ready, or to detach, is polled."""
    decision = after(answer(kind))
    assert isinstance(decision, Requeue)
    assert decision.seconds == pause(pace, 0, ONE_REQUEST)


@pytest.mark.parametrize("reason", [Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND])
def test_cloud_that_denies_what_it_shows_is_not_asked_for_ever(reason: Reason) -> None:
    """Three DELETEs answered "not found" of what the reads show attached are enough."""
    one, now, sent = case(), NOW, 0
    decision: Decision = Requeue(0, "not looked yet")
    while isinstance(decision, Requeue) and sent < 10:
        now += timedelta(seconds=decision.seconds)
        one = one.saw(IDLE, POLICY, now)
        decision = decide(one, POLICY, now)
        if isinstance(decision, Delete):
            sent += 1
            back = answer(AnswerClass.PERMANENT, reason)
            one = one.sent(back, None, now)
            decision = after_delete(one, back, POLICY, now)
    assert (3, "failed: gave_up") == (sent, said(decision))


# ----------------------------------------------------------------------------- when the cloud cannot be read

FORBIDDEN = answer(AnswerClass.PERMANENT, Reason.FORBIDDEN)
UNAUTHORIZED = answer(AnswerClass.REAUTHENTICATE)
DOWN = answer(AnswerClass.RECONCILE)


@pytest.mark.parametrize(
    ("back", "so_far", "asked", "expected"),
    [
        pytest.param(DOWN, FRESH, request(), "wait", id="down"),
        pytest.param(DOWN, HOUR_OLD, request(), "failed: gave_up", id="down for 60 min"),
        pytest.param(DOWN, FRESH, EXPIRED, "failed: expired", id="down, expired"),
        pytest.param(DOWN, accepted(60), EXPIRED, "wait", id="down, expired, accepted"),
        pytest.param(DOWN, accepted(600), request(), "wait, say unconfirmed", id="down, accepted 10 min ago"),
        pytest.param(DOWN, accepted(6 * HOUR, **SAID), request(), "failed: gave_up", id="down, accepted 6 h ago"),
        pytest.param(FORBIDDEN, FRESH, request(), "failed: forbidden", id="forbidden"),
        pytest.param(FORBIDDEN, FOLLOWING, request(), "failed: forbidden", id="forbidden, seen before"),
        pytest.param(FORBIDDEN, accepted(60), request(), "wait", id="forbidden, accepted"),
        pytest.param(FORBIDDEN, accepted(6 * HOUR, **SAID), request(), "failed: forbidden", id="forbidden for 6 h"),
        pytest.param(FORBIDDEN, lost(1, 60), request(), "wait", id="forbidden, a DELETE lost"),
        pytest.param(UNAUTHORIZED, FRESH, request(), "failed: unauthorized", id="unauthorized"),
        pytest.param(UNAUTHORIZED, accepted(60), request(), "wait", id="unauthorized, accepted"),
        pytest.param(DOWN, FRESH, DRY, "wait", id="dry run, down"),
        pytest.param(FORBIDDEN, FRESH, DRY, "checked: would_fail forbidden", id="dry run, forbidden"),
        pytest.param(DOWN, HOUR_OLD, DRY, "checked: would_fail gave_up", id="dry run, down for 60 min"),
    ],
)
def test_cloud_cannot_be_read(back: Classified, so_far: Progress, asked: DetachRequest, expected: str) -> None:
    """Before a DELETE a clear no is an answer; after one nothing but a look can say how it ended."""
    assert expected == said(when_unreadable(case(so_far, asked), back, POLICY, NOW))


def test_retry_after_of_a_read_is_honoured() -> None:
    """A cloud that asks for time is given it."""
    busy = answer(AnswerClass.RETRY, retry_after=120)
    assert when_unreadable(case(), busy, POLICY, NOW) == Requeue(120, "test.retry: as the cloud put it")
