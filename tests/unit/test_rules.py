"""The decision table: what is done next, by what was asked, how far we are and what both planes show.

Each row is one situation at NOW: a name, what the cloud shows, what has to come of it, and whatever is not
ordinary about the request or its history. The history is told as it stood before this look.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.decision.case import Conclude, Decision, Requeue
from shared.decision.progress import Denial, Progress
from shared.decision.requeue import pause
from shared.decision.rules import decide
from shared.model import DetachRequest, Ended, Listed, Reason, Seen
from shared.policy import RETRY, WATCH, Policy, RunningServerPolicy
from tests.builders import (
    ATTACHMENT,
    CREATED,
    FOLLOWING,
    FRESH,
    LISTED,
    NOT_LISTED,
    NOW,
    OTHER_ATTACHMENT,
    OTHER_SERVER,
    REQUESTED,
    STOPPED,
    VOLUME,
    accepted,
    ago,
    attachment,
    case,
    elsewhere,
    in_words,
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

# ------------------------------------------------------------------------------------- what the cloud may show

IDLE = seen(volume())
DETACHING = seen(volume("detaching"))
FREE = seen(volume("available"), NOT_LISTED)
COMPUTE_FIRST = seen(volume(), NOT_LISTED)
COMPUTE_FIRST_DETACHING = seen(volume("detaching"), NOT_LISTED)
STORAGE_FIRST = seen(volume("available"), LISTED)
FREE_AND_DETACHING = seen(replace(volume("available"), status="detaching"), NOT_LISTED)
BACKING_UP = seen(volume("backing-up"))

DETACHING_AGAIN = volume("detaching", updated_at=ago(seconds=20))
STUCK = replace(DETACHING, volume=volume("detaching", updated_at=ago(seconds=29)), ended=Ended.FAILED)

ATTACHED_AGAIN = (CREATED, record("attach_volume", ago(seconds=31), ago(seconds=29)))
RESIZED = (CREATED, record("resize", ago(seconds=40), ago(seconds=28)))

NEWER = attachment(attachment_id=OTHER_ATTACHMENT, attached_at=ago(seconds=30))
REPLACED = seen(volume("in-use", NEWER), actions=())
REPLACED_DETACHING = seen(volume("detaching", NEWER), actions=())
NAMED_AND_NEWER = seen(volume("in-use", replace(NEWER, attachment_id=ATTACHMENT)), actions=())
AGAIN_ATTACHED = replace(REPLACED, actions=ATTACHED_AGAIN)
AGAIN_DETACHING = replace(REPLACED_DETACHING, actions=ATTACHED_AGAIN)
AFTER_RESIZE = replace(REPLACED, actions=RESIZED)
AT_THE_EDGE = seen(volume("in-use", attachment(attached_at=REQUESTED + Policy().fence_skew)))
BOTH_HERE = seen(volume("in-use", NEWER, attachment()))
UNDATED = seen(volume("in-use", attachment(attached_at=None)))

ELSEWHERE = seen(volume("in-use", elsewhere()), NOT_LISTED)
ELSEWHERE_SINCE = seen(volume("in-use", elsewhere(attached_at=ago(seconds=30))), NOT_LISTED)
ELSEWHERE_UNDATED = seen(volume("in-use", elsewhere(attached_at=None)), NOT_LISTED)
SHARED_IDLE = seen(volume("in-use", attachment(), elsewhere(), multiattach=True))
SHARED_DETACHING = seen(volume("detaching", attachment(), elsewhere(), multiattach=True))
SHARED_ELSEWHERE = seen(volume("in-use", elsewhere(), multiattach=True), NOT_LISTED)
SHARED_ELSEWHERE_DETACHING = seen(volume("detaching", elsewhere(), multiattach=True), NOT_LISTED)

RESERVED = replace(volume("available"), status="reserved")
SHARED_BUSY = replace(volume("available"), status="backing-up", multiattach=True)
ERROR_FREE = replace(volume("available"), status="error")
OFFLOADED = server(status="SHELVED_OFFLOADED", vm_state="shelved_offloaded", power_state=4)
SHELVED = (CREATED, record("shelve", ago(seconds=90), ago(seconds=80)))
SYSTEM_LISTED = (Listed(VOLUME, "/dev/sda"),)
IDLE_UNRECORDED = replace(IDLE, actions=())
FREED_AT = REQUESTED + timedelta(seconds=1)
EDGE_ATTACHED = replace(AT_THE_EDGE, actions=(CREATED, record("attach_volume", REQUESTED + timedelta(seconds=2))))
EDGE_AGAIN = replace(EDGE_ATTACHED, actions=(*(EDGE_ATTACHED.actions or ()), record("detach_volume", FREED_AT)))

NO_SERVER = seen(volume("available"), None)
NO_SERVER_BUT_NAMED = seen(volume(), None)
NO_SERVER_ELSEWHERE = seen(volume("in-use", elsewhere()), None)
NO_VOLUME = seen(None, NOT_LISTED)
NO_VOLUME_BUT_LISTED = seen(None, LISTED)
NEITHER = seen(None, None)

RECORD_SAYS_FAILED = replace(IDLE, ended=Ended.FAILED)
RECORD_SAYS_RUNNING = replace(IDLE, ended=Ended.RUNNING)
RECORD_SAYS_SUCCEEDED = replace(IDLE, ended=Ended.SUCCEEDED)


def machine(**changes: object) -> Seen:
    return seen(volume(), server=server(**changes))


LOCKED, STOPPING = machine(locked=True), machine(task_state="powering-off")
WINDOWS = {"metadata": {"os_type": "Windows"}}

# -------------------------------------------------------------------------------- what was asked, how far we are

ASKED, POLICY = request(), Policy()
STOPPED_ONLY = Policy(running_server_policy=RunningServerPolicy.STOPPED_ONLY)
NAMED = request(attachment_id=ATTACHMENT)
OTHER_NAMED = request(attachment_id=OTHER_ATTACHMENT)
EXPIRED = request(expires_at=NOW)
DRY_RUN = request(dry_run=True)
TWO_HOURS_OLD = request(requested_at=ago(hours=2))
HOUR_AGO = request(requested_at=ago(hours=1))
LONG_AGO = request(requested_at=datetime(1970, 1, 1, tzinfo=UTC))
HOUR_OLD = progress(first_seen_at=ago(hours=1))
AGAIN = progress(redelivered_since=ago(seconds=50))
AGAIN_LATER = progress(redelivered_since=ago(seconds=10))
AGAIN_JUST_THEN = progress(redelivered_since=NEWER.attached_at)
SHOWN, SAID = {"detaching_seen": True}, {"unconfirmed_id": "said"}
HOUR = 3600


@dataclass(frozen=True)
class Row:
    name: str
    cloud: Seen
    then: str
    so_far: Progress = FRESH
    asked: DetachRequest = ASKED
    policy: Policy = POLICY

    def check(self) -> None:
        now = case(self.so_far, self.asked).saw(self.cloud, self.policy, NOW)
        assert self.then == in_words(decide(now, self.policy, NOW))


def table(*rows: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


# ------------------------------------------------------------------------------------------------ the table


@table(
    Row("attached, idle, never sent", IDLE, "delete"),
    Row("attached, idle, seen before", IDLE, "delete", FOLLOWING),
    Row("attached, idle, after a DELETE that certainly had no effect", IDLE, "delete", throttled(1)),
    Row("attached, idle, the attachment named", IDLE, "delete", asked=NAMED),
    Row("shared disk", seen(volume("in-use", attachment(), elsewhere(), multiattach=True)), "delete"),
    Row("idle again after someone else's detach", IDLE, "delete", joined(60)),
)
def test_delete_is_sent_for_what_is_attached_and_idle(row: Row) -> None:
    """A DELETE goes out when both planes show the attachment meant, nobody is detaching it, and it is safe."""
    row.check()


@table(
    Row("in-use but not listed", COMPUTE_FIRST, "wait"),
    Row("in-use but not listed, accepted", COMPUTE_FIRST, "wait", accepted(5)),
    Row("detaching but not listed", COMPUTE_FIRST_DETACHING, "wait", accepted(5)),
    Row("available but still listed", STORAGE_FIRST, "wait"),
    Row("available but still listed, accepted", STORAGE_FIRST, "wait", accepted(5)),
    Row("available, list not read", unread(volume("available")), "wait", accepted(5)),
    Row("free of servers, still detaching", FREE_AND_DETACHING, "wait", accepted(5)),
    Row("gone from both, one DELETE accepted", FREE, "detached: detached_now", accepted(5)),
    Row("gone from both, one DELETE lost", FREE, "detached: detached_meanwhile", lost(1, 5)),
    Row("gone from both, our DELETE was throttled", FREE, "detached: detached_meanwhile", throttled(5)),
    Row("gone from both, seen before, never sent", FREE, "detached: detached_by_other", FOLLOWING),
    Row("gone from both, another's detach joined", FREE, "detached: detached_by_other", joined(5)),
    Row("shared disk, still on another server", SHARED_ELSEWHERE, "detached: detached_now", accepted(5)),
    Row("shared, detaching elsewhere", SHARED_ELSEWHERE_DETACHING, "detached: detached_now", accepted(5)),
    Row("attached to another server by now", ELSEWHERE_SINCE, "detached: detached_now", accepted(60)),
)
def test_detached_is_proven_on_two_planes(row: Row) -> None:
    """It is over when neither plane has the attachment; one of them alone is "not yet"."""
    row.check()


@table(
    Row("attached nowhere", FREE, "detached: already_detached"),
    Row("on another server since before the request", ELSEWHERE, "failed: attached_elsewhere"),
    Row("on another server, nobody knows since when", ELSEWHERE_UNDATED, "failed: attached_elsewhere"),
    Row("on another server since after the request", ELSEWHERE_SINCE, "detached: already_detached"),
    Row("shared disk on another server", SHARED_ELSEWHERE, "detached: already_detached"),
)
def test_never_seen_here(row: Row) -> None:
    """What was never attached here while we looked is detached already, or the request names the wrong server."""
    row.check()


@table(
    Row("never sent: someone else's", DETACHING, "wait"),
    Row("joined before", DETACHING, "wait", joined(30)),
    Row("accepted", DETACHING, "wait", accepted(30)),
    Row("accepted, only the volume read", unread(volume("detaching")), "wait", accepted(30)),
    Row("the DELETE's answer lost", DETACHING, "wait", lost(1, 60)),
    Row("a DELETE without effect sent", DETACHING, "wait", throttled(60)),
    Row("shared disk, from whichever server", SHARED_DETACHING, "wait", lost(1, 60)),
)
def test_a_detach_under_way_is_waited_for(row: Row) -> None:
    """Ours or another's: while it is detaching, no DELETE goes out."""
    row.check()


@table(
    Row("newer than the request", AGAIN_ATTACHED, "failed: superseded"),
    Row("newer than the request and detaching", AGAIN_DETACHING, "failed: superseded"),
    Row("newer, not listed yet", replace(AGAIN_DETACHING, listing=NOT_LISTED), "failed: superseded"),
    Row("as new as the clocks may differ", AT_THE_EDGE, "delete"),
    Row("another than the one named", AGAIN_ATTACHED, "failed: superseded", asked=NAMED),
    Row("the one named, newer than the request", NAMED_AND_NEWER, "failed: superseded", asked=NAMED),
    Row("followed one replaced, never sent", AGAIN_ATTACHED, "detached: replaced_by_newer", FOLLOWING),
    Row("followed one replaced, accepted", AGAIN_ATTACHED, "detached: replaced_by_newer", accepted(60)),
    Row("followed one replaced, that detaching", AGAIN_DETACHING, "detached: replaced_by_newer", accepted(60)),
    Row("redelivered; newer than its first delivery", AGAIN_ATTACHED, "detached: replaced_by_newer", AGAIN),
    Row("redelivered; there at its first delivery", AGAIN_ATTACHED, "failed: superseded", AGAIN_LATER),
    Row("redelivered; made at its first delivery", AGAIN_ATTACHED, "failed: superseded", AGAIN_JUST_THEN),
    Row("redelivered; still the old one", IDLE, "delete", AGAIN),
    Row("redelivered; followed and newer", REPLACED, "delete", replace(AGAIN, followed=NEWER)),
)
def test_newer_attachments_are_kept(row: Row) -> None:
    """An attachment that somebody made after the request is never cut; the one it followed, if replaced, is gone."""
    row.check()


@table(
    Row("followed", AFTER_RESIZE, "delete", FOLLOWING),
    Row("older request", AFTER_RESIZE, "delete"),
    Row("redelivered", AFTER_RESIZE, "delete", AGAIN),
    Row("named", AFTER_RESIZE, "delete", asked=NAMED),
    Row("accepted before the move", AFTER_RESIZE, "wait", accepted(45)),
    Row("dry run", AFTER_RESIZE, "checked: would_detach", FOLLOWING, request(dry_run=True)),
    Row("expired", AFTER_RESIZE, "failed: expired", FOLLOWING, EXPIRED),
)
def test_moved_attachment_is_the_one_that_was_meant(row: Row) -> None:
    """A server that was moved keeps its disk: the new attachment is adopted, and detached like the old one."""
    row.check()


@table(
    Row("followed", REPLACED, "failed: superseded", FOLLOWING),
    Row("followed, accepted", REPLACED, "failed: superseded", accepted(60)),
    Row("older request", REPLACED, "failed: superseded"),
    Row("redelivered", REPLACED, "failed: superseded", AGAIN),
    Row("named", IDLE_UNRECORDED, "failed: superseded", asked=OTHER_NAMED),
    Row("undated, old request", replace(UNDATED, actions=()), "failed: superseded"),
    Row("followed, the server still busy", replace(REPLACED, server=server(task_state="migrating")), "wait", FOLLOWING),
    Row("followed, records not read yet", replace(REPLACED, actions=None), "wait", FOLLOWING),
)
def test_an_attachment_of_unknown_identity_is_not_detached(row: Row) -> None:
    """Where nothing tells a move from an attach, the attachment is not touched, and "detached" is not said."""
    row.check()


@table(
    Row("followed one beside a newer one", BOTH_HERE, "wait", FOLLOWING),
    Row("followed one beside a newer one, accepted", BOTH_HERE, "wait", accepted(5)),
    Row("the one named of two", BOTH_HERE, "wait", asked=NAMED),
    Row("for an hour", BOTH_HERE, "failed: inconsistent_state", HOUR_OLD, HOUR_AGO),
    Row("no attachment, reserved, listed", seen(RESERVED), "wait", FOLLOWING),
    Row("no attachment, attaching, listed", seen(replace(RESERVED, status="attaching")), "wait", FOLLOWING),
    Row("no attachment, reserved, listed, first look", seen(RESERVED), "wait"),
)
def test_server_that_is_being_moved_is_waited_for(row: Row) -> None:
    """While it moves, a disk has two attachments to its server, or none that block storage tells of."""
    row.check()


@table(
    Row("first look at a new request", seen(RESERVED, server=OFFLOADED), "delete", asked=request(requested_at=NOW)),
    Row("old request, no attach since", seen(RESERVED, server=OFFLOADED, actions=RESIZED), "delete"),
    Row("old request, an attach since", seen(RESERVED, server=OFFLOADED, actions=ATTACHED_AGAIN), "failed: superseded"),
    Row("followed, shelved since", seen(RESERVED, server=OFFLOADED, actions=SHELVED), "delete", FOLLOWING),
    Row("system disk", seen(RESERVED, SYSTEM_LISTED, server=OFFLOADED, actions=RESIZED), "failed: system_disk"),
    Row("busy", seen(RESERVED, server=replace(OFFLOADED, task_state="spawning")), "wait"),
    Row("shared, and being backed up", seen(SHARED_BUSY, server=OFFLOADED, actions=RESIZED), "wait"),
    Row("accepted", seen(RESERVED, server=OFFLOADED, actions=SHELVED), "wait", accepted(2)),
    Row("gone", FREE, "detached: detached_now", accepted(2)),
)
def test_offloaded_server_lets_go_of_a_reserved_volume(row: Row) -> None:
    """Compute alone names the disk of a server that is shelved and on no host: that is enough for a DELETE."""
    row.check()


@table(
    Row("at the first look", UNDATED, "delete", asked=request(requested_at=NOW)),
    Row("an hour old, no attach since", replace(UNDATED, actions=(CREATED,)), "delete"),
    Row("an attach since, of whichever disk", replace(UNDATED, actions=ATTACHED_AGAIN), "failed: superseded"),
    Row("named", UNDATED, "delete", asked=NAMED),
    Row("records not read yet", UNDATED, "wait"),
    Row("redelivered within the skew, no attach since", replace(AT_THE_EDGE, actions=(CREATED,)), "delete", AGAIN),
    Row("redelivered within the skew, no records", replace(AT_THE_EDGE, actions=()), "delete", AGAIN),
    Row("redelivered within the skew, an attach since", EDGE_ATTACHED, "delete", AGAIN),
    Row("redelivered within the skew, detached and attached since", EDGE_AGAIN, "failed: superseded", AGAIN),
)
def test_attachment_whose_time_does_not_decide(row: Row) -> None:
    """Without a time, or with one that two clocks may read differently, the action records decide."""
    row.check()


@table(
    Row("a copy of two hours ago", IDLE, "failed: expired", asked=TWO_HOURS_OLD),
    Row("a copy of two hours ago, detached already", FREE, "detached: already_detached", asked=TWO_HOURS_OLD),
    Row("a copy of an hour ago", IDLE, "failed: expired", asked=HOUR_AGO),
    Row("seen in time, looked at when its time is up", IDLE, "failed: gave_up", HOUR_OLD, HOUR_AGO),
    Row("one minute short of it", IDLE, "delete", asked=request(requested_at=ago(minutes=59))),
    Row(
        "received in time, redelivered late", IDLE, "delete", progress(redelivered_since=ago(minutes=90)), TWO_HOURS_OLD
    ),
    Row(
        "seen in time, looked at late", IDLE, "failed: gave_up", progress(first_seen_at=ago(minutes=70)), TWO_HOURS_OLD
    ),
    Row("accepted in another life", DETACHING, "wait", replace(accepted(60), first_seen_at=NOW), TWO_HOURS_OLD),
    Row("of 1970", replace(IDLE, actions=(CREATED,)), "failed: superseded", asked=LONG_AGO),
    Row("of 1970, undated", replace(UNDATED, actions=(CREATED,)), "failed: expired", asked=LONG_AGO),
)
def test_old_copies_begin_nothing(row: Row) -> None:
    """A request that is first seen after its time to live is expired, unless it is detached already."""
    row.check()


@table(
    Row("server gone, never seen, the volume free", NO_SERVER, "detached: server_gone"),
    Row("server gone, never seen, the volume reserved", seen(RESERVED, None), "wait"),
    Row("server gone, attachment seen before, the volume reserved", seen(RESERVED, None), "wait", FOLLOWING),
    Row("server gone, never seen, the volume in error", seen(ERROR_FREE, None), "failed: server_not_found"),
    Row("server gone, never seen, the volume elsewhere", NO_SERVER_ELSEWHERE, "failed: server_not_found"),
    Row("server gone, attachment seen before", NO_SERVER, "detached: server_gone", FOLLOWING),
    Row("server gone, DELETE accepted", NO_SERVER, "detached: server_gone", accepted(60)),
    Row("server gone, the volume still names it", NO_SERVER_BUT_NAMED, "wait", accepted(60)),
    Row("server gone, the volume still names it, never seen", NO_SERVER_BUT_NAMED, "wait"),
    Row("volume gone, never seen", NO_VOLUME, "failed: volume_not_found"),
    Row("volume gone, attachment seen before", NO_VOLUME, "detached: volume_gone", FOLLOWING),
    Row("volume gone, DELETE accepted", NO_VOLUME, "detached: volume_gone", accepted(60)),
    Row("volume gone, the server still lists it", NO_VOLUME_BUT_LISTED, "wait", FOLLOWING),
    Row("volume gone, list not read", unread(None), "wait", accepted(60)),
    Row("both gone, never seen", NEITHER, "failed: server_not_found"),
    Row("both gone, attachment seen before", NEITHER, "detached: server_gone", FOLLOWING),
)
def test_server_or_volume_gone(row: Row) -> None:
    """What is gone holds no disk, but only for who has seen it; else the ids are wrong."""
    row.check()


VOLUME_ERROR = "failed: volume_error"
HISTORIES = (("never sent", FRESH), ("accepted", accepted(60)))
BUSY = (
    *("creating", "attaching", "restoring-backup", "backing-up", "uploading", "downloading", "extending", "deleting"),
    *("rollbacking", "awaiting-transfer", "reserved", "maintenance", "retyping", "a-status-of-tomorrow", "In-Use", ""),
)


@table(
    *(
        Row(f"{status}, {history}", seen(volume(status)), "failed: volume_error", replace(so_far, error_reads=1))
        for status in ("error", "error_detaching", "error_extending", "error_restoring", "error_deleting")
        for history, so_far in HISTORIES
    ),
    *(Row(f"error, once, {history}", seen(volume("error")), "wait", so_far) for history, so_far in HISTORIES),
    Row("error, dry run", seen(volume("error")), "checked: would_fail volume_error", asked=request(dry_run=True)),
    Row("error, not listed", seen(volume("error"), NOT_LISTED), "wait", accepted(5, error_reads=5)),
    Row("error, attached to nothing", seen(ERROR_FREE, NOT_LISTED), "detached: detached_now", accepted(5)),
    Row(
        "error, the record says running",
        replace(seen(volume("error")), ended=Ended.RUNNING),
        "wait",
        accepted(5, error_reads=5),
    ),
    Row(
        "error, the record says running, a while later",
        replace(seen(volume("error")), ended=Ended.RUNNING),
        "wait",
        accepted(60, error_reads=5),
    ),
    Row("error, the record says failed", replace(seen(volume("error")), ended=Ended.FAILED), VOLUME_ERROR, accepted(5)),
    Row("error, 29 s after the DELETE", seen(volume("error")), "wait", accepted(29, error_reads=5)),
    Row("error, 30 s after the DELETE", seen(volume("error")), VOLUME_ERROR, accepted(30, error_reads=5)),
    *(
        Row(f"{status}, {history}", seen(volume(status, attachment())), "wait", so_far)
        for status in (*BUSY, "available")
        for history, so_far in HISTORIES
    ),
)
def test_error_ends_it_and_any_other_status_is_waited_for(row: Row) -> None:
    """Only the cloud's operator gets a volume out of an error; what else it does, known to us or not, may pass."""
    row.check()


@table(
    Row("once, detaching seen", IDLE, "wait", accepted(5, **SHOWN)),
    Row("twice, detaching seen", IDLE, "failed: refused_by_server", accepted(5, idle_reads=1, **SHOWN)),
    Row("twice, detaching never seen, after 59 s", IDLE, "wait", accepted(59, idle_reads=1)),
    Row("five times, detaching never seen, after 59 s", IDLE, "wait", accepted(59, idle_reads=4)),
    Row("twice, detaching never seen, after 60 s", IDLE, "failed: refused_by_server", accepted(60, idle_reads=1)),
    Row("once, detaching never seen, after a minute", IDLE, "wait", accepted(60)),
    Row("then detaching", DETACHING, "wait", accepted(60, idle_reads=1)),
    Row("then compute lets go", COMPUTE_FIRST, "wait", accepted(60, idle_reads=5, **SHOWN)),
    Row("twice, list not read", unread(volume()), "wait", accepted(60, idle_reads=1, **SHOWN)),
    Row("once, the record says failed", RECORD_SAYS_FAILED, "failed: refused_by_server", accepted(2)),
    Row("twice, record: running", RECORD_SAYS_RUNNING, "wait", accepted(90, idle_reads=5, **SHOWN)),
    Row(
        "twice, record: running, after 10 min",
        RECORD_SAYS_RUNNING,
        "failed: refused_by_server",
        accepted(600, idle_reads=5, **SHOWN),
    ),
    Row("twice, record: succeeded", RECORD_SAYS_SUCCEEDED, "wait", accepted(90, idle_reads=5, **SHOWN)),
    Row("detaching, record: failed", STUCK, "failed: stuck_detaching", accepted(30)),
    Row(
        "detaching, record: failed, changed a slack later",
        replace(STUCK, volume=volume("detaching", updated_at=ago(seconds=25))),
        "failed: stuck_detaching",
        accepted(30),
    ),
    Row("detaching, record: failed, a later change", replace(STUCK, volume=DETACHING_AGAIN), "wait", accepted(30)),
    Row("detaching, record: failed, no time of change", replace(DETACHING, ended=Ended.FAILED), "wait", accepted(30)),
    Row("detaching, record: running", replace(DETACHING, ended=Ended.RUNNING), "wait", accepted(30)),
    Row("gone, record: failed", replace(FREE, ended=Ended.FAILED), "detached: detached_now", accepted(2)),
    Row("never accepted, the record says failed", RECORD_SAYS_FAILED, "delete", FOLLOWING),
    Row("twice, unconfirmed", IDLE, "failed: refused_by_server", accepted(HOUR, idle_reads=1, **SAID)),
)
def test_refusal_is_seen_early(row: Row) -> None:
    """Accepted and idle again is a refusal; too early a look, or one alone, is not enough to say so."""
    row.check()


@table(
    Row("one, 29 s ago", IDLE, "wait", lost(1, 29)),
    Row("one, 30 s ago", IDLE, "delete", lost(1, 30)),
    Row("two, 29 s ago", IDLE, "wait", lost(2, 29)),
    Row("two, 30 s ago", IDLE, "delete", lost(2, 30)),
    Row("three, 10 min ago", IDLE, "wait", lost(3, 600)),
    Row("three, time is up", IDLE, "failed: gave_up", lost(3, 600, first_seen_at=ago(hours=1)), HOUR_AGO),
)
def test_unsettled_deletes_are_few_and_far_between(row: Row) -> None:
    """At most three DELETEs whose outcome is not known, 30 s apart, each after a look."""
    row.check()


def refused(seconds_ago: float, **changes: Any) -> Progress:
    """One DELETE sent, and answered with a clear no."""
    denial = Denial(reason=Reason.FORBIDDEN, why="DELETE: http_403 no")
    return lost(1, seconds_ago, denied=denial, **changes)


@table(
    Row("once idle", IDLE, "wait", refused(1)),
    Row("twice idle", IDLE, "failed: forbidden", refused(3, idle_reads=1)),
    Row("once idle, time is up", IDLE, "failed: forbidden", refused(120, first_seen_at=ago(hours=1)), HOUR_AGO),
    Row("detaching, time is up", DETACHING, "wait", refused(120, first_seen_at=ago(hours=1)), HOUR_AGO),
    Row("twice idle, list not read", unread(volume()), "wait", refused(3, idle_reads=1)),
    Row("detaching", DETACHING, "wait", refused(3, idle_reads=1)),
    Row("gone from compute", COMPUTE_FIRST, "wait", refused(3, idle_reads=1)),
    Row("gone from both", FREE, "detached: detached_meanwhile", refused(3)),
    Row("re-attached", AGAIN_ATTACHED, "detached: replaced_by_newer", refused(60)),
    Row("offloaded", seen(RESERVED, server=OFFLOADED, actions=SHELVED), "failed: forbidden", refused(3)),
)
def test_clear_no_is_held_against_both_planes(row: Row) -> None:
    """Somebody in front of the service may say no after the DELETE has had its effect: the disk is looked at twice."""
    row.check()


@table(
    Row("twice, a shared disk", SHARED_IDLE, "wait", accepted(5, idle_reads=1, **SHOWN)),
    Row("twice, a shared disk, after 60 s", SHARED_IDLE, "failed: refused_by_server", accepted(60, idle_reads=1)),
)
def test_another_servers_detach_is_no_sign_of_ours(row: Row) -> None:
    """On a shared disk `detaching` may have been that of another server."""
    row.check()


@pytest.mark.parametrize(("state", "words"), [
    ({"status": "SUSPENDED", "vm_state": "suspended"}, "would_fail api_rejected"),
    ({"status": "RESCUE", "vm_state": "rescued"}, "would_fail api_rejected"),
    ({"status": "PAUSED", "vm_state": "paused"}, "would_detach"),
    ({"status": "SOFT_DELETED", "vm_state": "soft-delete"}, "would_detach"),
])  # fmt: skip
def test_dry_run_knows_what_the_cloud_refuses(state: dict[str, str], words: str) -> None:
    """Nova detaches nothing from a server in some states, and a dry run does not promise it."""
    asked = request(dry_run=True, unmounted=True)
    now = case(FRESH, asked).saw(machine(**state), POLICY, NOW)
    assert in_words(decide(now, POLICY, NOW)) == f"checked: {words}"


NOT_READ = [replace(IDLE, server=None), replace(unread(volume()), server=server()), unread(ELSEWHERE.volume)]


@pytest.mark.parametrize("cloud", NOT_READ)
def test_objects_that_were_not_read_are_not_called_gone(cloud: Seen) -> None:
    """Where no DELETE can follow because a read is missing, that is what we say we wait for."""
    decision = decide(case().saw(cloud, POLICY, NOW), POLICY, NOW)
    assert isinstance(decision, Requeue)
    assert decision.why == "the server or its list was not read"


def test_unsettled_delete_is_repeated_after_the_rest_of_its_pause() -> None:
    """The next look comes when the pause of 30 s is over, not at the next round of the backoff."""
    decision = decide(case(lost(1, 10)).saw(IDLE, POLICY, NOW), POLICY, NOW)
    assert decision == Requeue(20, "the outcome of the last DELETE is unknown")


@table(
    Row("not yet", IDLE, "delete", asked=request(expires_at=ago(seconds=-1))),
    Row("never sent", IDLE, "failed: expired", asked=EXPIRED),
    Row("someone else detaching", DETACHING, "wait", asked=EXPIRED),
    Row("another's detach joined, block storage has let go", seen(volume("available")), "wait", joined(5), EXPIRED),
    Row("someone else detaching, compute has let go", COMPUTE_FIRST_DETACHING, "wait", asked=EXPIRED),
    Row("compute has let go", COMPUTE_FIRST, "wait", asked=EXPIRED),
    Row("block storage has let go", seen(volume("available")), "wait", asked=EXPIRED),
    Row(
        "compute had let go until the time to live was over",
        COMPUTE_FIRST,
        "failed: inconsistent_state",
        progress(first_seen_at=ago(hours=1)),
        replace(HOUR_AGO, expires_at=NOW),
    ),
    Row("detached meanwhile", FREE, "detached: already_detached", asked=EXPIRED),
    Row("newer attachment", AGAIN_ATTACHED, "failed: superseded", asked=EXPIRED),
    Row("after a DELETE without effect", IDLE, "failed: expired", throttled(60), EXPIRED),
    Row("after a DELETE that was lost", IDLE, "wait", lost(1, 60), EXPIRED),
    Row("after a DELETE that was lost, detaching", DETACHING, "wait", lost(1, 60), EXPIRED),
    Row("after a DELETE that was lost, gone", FREE, "detached: detached_meanwhile", lost(1, 60), EXPIRED),
    Row("after acceptance, detaching", DETACHING, "wait", accepted(60), EXPIRED),
    Row("after acceptance, idle", IDLE, "wait", accepted(5), EXPIRED),
    Row("after acceptance, gone", FREE, "detached: detached_now", accepted(60), EXPIRED),
)
def test_expiry_bars_deletes_and_nothing_else(row: Row) -> None:
    """After its expiry a request begins nothing; what has begun, by whomever, is followed to its end."""
    row.check()


@table(
    Row("accepted 6 h ago, gone at last", FREE, "detached: detached_now", accepted(6 * HOUR, **SAID)),
    Row("joined 599 s ago", DETACHING, "wait", joined(599)),
    Row("joined 600 s ago", DETACHING, "wait, say unconfirmed", joined(600)),
    Row("joined 6 h ago", DETACHING, "failed: stuck_detaching", joined(6 * HOUR, **SAID)),
    Row("joined 2 h ago, detaching, not listed", COMPUTE_FIRST_DETACHING, "wait", joined(2 * HOUR, **SAID)),
    Row("joined 2 h ago, compute has let go", COMPUTE_FIRST, "wait", joined(2 * HOUR, **SAID)),
    Row("joined 2 h ago, block storage has let go", STORAGE_FIRST, "wait", joined(2 * HOUR, **SAID)),
    Row("busy for 59 min", BACKING_UP, "wait", progress(first_seen_at=ago(minutes=59))),
    Row("busy for 60 min", BACKING_UP, "failed: gave_up", HOUR_OLD, HOUR_AGO),
    Row("compute ahead for 60 min", COMPUTE_FIRST, "failed: inconsistent_state", HOUR_OLD, HOUR_AGO),
    Row("storage ahead for 60 min", STORAGE_FIRST, "failed: inconsistent_state", HOUR_OLD, HOUR_AGO),
    Row("accepted, compute ahead for 10 min", COMPUTE_FIRST, "wait, say unconfirmed", accepted(600)),
    Row("accepted, compute ahead for 6 h", COMPUTE_FIRST, "failed: inconsistent_state", accepted(6 * HOUR, **SAID)),
    Row("accepted, storage ahead for 6 h", STORAGE_FIRST, "failed: inconsistent_state", accepted(6 * HOUR, **SAID)),
    Row("server gone, yet named for 60 min", NO_SERVER_BUT_NAMED, "failed: inconsistent_state", HOUR_OLD, HOUR_AGO),
    Row("volume gone, yet listed for 60 min", NO_VOLUME_BUT_LISTED, "failed: inconsistent_state", HOUR_OLD, HOUR_AGO),
)
def test_time_runs_out(row: Row) -> None:
    """What is waited for when time is up decides how it ends; a detach under way has a clock of its own."""
    row.check()


@table(
    Row("running Windows", machine(**WINDOWS), "failed: attestation_required"),
    Row("running Windows, attested", machine(**WINDOWS), "delete", asked=request(unmounted=True)),
    Row("stopped Windows", machine(**WINDOWS, **STOPPED), "delete"),
    Row("stopping", STOPPING, "wait"),
    Row("stopping for 60 min", STOPPING, "failed: gave_up", HOUR_OLD, HOUR_AGO),
    Row("protected", seen(volume(metadata={"detach_protection": "true"})), "failed: volume_protected"),
    Row("system disk of a running server", machine(root_device="/dev/sdb"), "failed: system_disk"),
    Row("not stopped, as the operator wants it", IDLE, "failed: server_running", policy=STOPPED_ONLY),
    Row("locked", LOCKED, "failed: server_locked"),
    Row("locked since the last DELETE, which was lost", LOCKED, "failed: server_locked", lost(1, 60)),
    Row("locked, but accepted before", LOCKED, "wait", accepted(5)),
    Row("locked, but not attached", replace(FREE, server=server(locked=True)), "detached: already_detached"),
)
def test_safety_gates_are_asked_before_each_delete(row: Row) -> None:
    """What would lose data is refused at the moment of the DELETE, and only then asked."""
    row.check()


# ----------------------------------------------------------------------------------------------- what people read


def in_full(decision: Decision) -> str:
    """A decision with its seconds and its explanation."""
    match decision:
        case Requeue(seconds, why):
            return f"{in_words(decision)} {seconds} s: {why}"
        case Conclude(explanation=explanation):
            return f"{in_words(decision)}; {explanation}"
    return in_words(decision)


FIRST = f"wait {pause(RETRY, 0, f'{ASKED.source} {ASKED.id} {VOLUME}')} s"
RARELY = f"{pause(WATCH, 0, f'{ASKED.source} {ASKED.id} {VOLUME}')} s"
NEW = f"attachment {OTHER_ATTACHMENT}, made at 2026-11-23T08:59:30+00:00"
OLD = "made at 2026-10-24T09:00:00+00:00"
NEWER_ONE = f"{NEW}, is newer and was not touched"
ISSUED = "the request was issued (2026-11-23T08:30:00+00:00)"
NOT_KNOWN = "and whether the server was moved or somebody attached the volume again is not known"
KNOWN_THEN = f"it is not the one that is known to have existed when {ISSUED}, {NOT_KNOWN}"
NO_TIME = replace(UNDATED, actions=ATTACHED_AGAIN)
ON_TWO = seen(volume("in-use", elsewhere(), ("another", attachment(attachment_id="3"))), NOT_LISTED)
APART = seen(volume(), (Listed(VOLUME, "/dev/sdb", attachment_id=OTHER_ATTACHMENT),))
FAILED, TWO = "failed: ", ", as during a migration"
AHEAD, BEHIND = (
    "compute no longer has the attachment, block storage does",
    "block storage no longer has the attachment, compute does",
)


@table(
    Row("gone, no error", NO_VOLUME, FAILED + "volume_not_found; "),
    Row("server and volume", NEITHER,
        FAILED + "server_not_found; the volume was not found either: check the project"),
    Row("server", seen(ERROR_FREE, None), FAILED + "server_not_found; the volume is error and attached to no server"),
    Row("on two others", ON_TWO,
        FAILED + f"attached_elsewhere; the volume is in-use and attached to {OTHER_SERVER}, another"),
    Row("server, free", NO_SERVER,
        "detached: server_gone; the server does not exist, the volume is not attached to it"),
    Row("volume, followed", NO_VOLUME, "detached: volume_gone; the volume was deleted, the server does not list it",
        FOLLOWING),
    Row("server, reserved", seen(RESERVED, None),
        FIRST + ": compute does not know the server, the volume is reserved"),
    Row("server, attaching", seen(replace(RESERVED, status="attaching"), None),
        FIRST + ": compute does not know the server, the volume is attaching"),
    Row("server, named", NO_SERVER_BUT_NAMED, FIRST + ": the volume names a server that compute does not know"),
    Row("volume, listed", NO_VOLUME_BUT_LISTED, FIRST + ": the server lists a volume that block storage does not know"),
    Row("two here", BOTH_HERE, FIRST + f": the volume has two attachments to the server{TWO}"),
    Row("planes apart", APART, FIRST + f": the planes name two attachments{TWO}"),
    Row("for an hour", APART, FAILED + f"inconsistent_state; the planes name two attachments{TWO}", HOUR_OLD, HOUR_AGO),
    Row("newer", AGAIN_ATTACHED, FAILED + f"superseded; {NEWER_ONE}: somebody attached the volume after {ISSUED}"),
    Row("newer than the one named", AGAIN_ATTACHED, FAILED + f"superseded; {NEWER_ONE}: somebody attached the volume "
        f"after {ATTACHMENT}, which the request names", asked=NAMED),
    Row("newer, named itself", replace(NAMED_AND_NEWER, actions=ATTACHED_AGAIN), FAILED + "superseded; attachment "
        f"{ATTACHMENT}, made at 2026-11-23T08:59:30+00:00, is newer and was not touched: somebody attached the "
        f"volume after {ISSUED}", asked=NAMED),
    Row("followed one replaced", AGAIN_ATTACHED,
        f"detached: replaced_by_newer; attachment {ATTACHMENT} is gone; {NEWER_ONE}", FOLLOWING),
    Row("newer than the first delivery", AGAIN_ATTACHED, f"detached: replaced_by_newer; {NEWER_ONE}", AGAIN),
    Row("not known", REPLACED, FAILED + f"superseded; {NEW}, was not touched: {KNOWN_THEN}"),
    Row("not known, followed", REPLACED, FAILED + f"superseded; {NEW}, was not touched: it is not the one that was "
        f"followed ({ATTACHMENT}, {OLD}), {NOT_KNOWN}", FOLLOWING),
    Row("not known, named", IDLE_UNRECORDED, FAILED + f"superseded; attachment {ATTACHMENT}, {OLD}, was not touched: "
        f"it is not the one that the request names ({OTHER_ATTACHMENT}), {NOT_KNOWN}", asked=OTHER_NAMED),
    Row("not known, undated", NO_TIME, FAILED + f"superseded; attachment {ATTACHMENT}, made at an unknown time, "
        f"was not touched: {KNOWN_THEN}"),
    Row("moving", UNDATED, FIRST + f": the server may be moving; the volume is attached as {ATTACHMENT}"),
    Row("free, still detaching", FREE_AND_DETACHING, "wait 3 s: the volume has no attachment to the server, and is "
        "still detaching", accepted(5)),
    Row("gone, in error", seen(ERROR_FREE, NOT_LISTED), "detached: already_detached; the volume is error"),
    Row("gone, in error, accepted", seen(ERROR_FREE, NOT_LISTED), "detached: detached_now; the volume is error",
        accepted(5)),
    Row("gone", FREE, "detached: detached_now; ", accepted(5)),
    Row("gone, still detaching when time is up", FREE_AND_DETACHING,
        "detached: detached_now; the volume is detaching", accepted(600)),
    Row("elsewhere by now", ELSEWHERE_SINCE, "detached: already_detached; "),
    Row("expired", IDLE, FAILED + "expired; expired at 2026-11-23T09:00:00+00:00", asked=EXPIRED),
    Row("too old", IDLE, FAILED + "expired; issued at 2026-11-23T07:00:00+00:00 and first seen at "
        "2026-11-23T09:00:00+00:00, after its time to live (1:00:00)", asked=TWO_HOURS_OLD),
    Row("compute ahead", COMPUTE_FIRST, f"{FIRST}: {AHEAD}"),
    Row("storage ahead", STORAGE_FIRST, f"{FIRST}: {BEHIND}"),
    Row("storage ahead for an hour", STORAGE_FIRST, FAILED + f"inconsistent_state; {BEHIND}", HOUR_OLD, HOUR_AGO),
    Row("storage ahead, in error", seen(ERROR_FREE), f"{FIRST}: {BEHIND}"),
    Row("reserved", seen(RESERVED), FIRST + ": the volume is reserved, compute still has it"),
    Row("attaching", seen(replace(RESERVED, status="attaching")),
        FIRST + ": the volume is attaching, compute still has it"),
    Row("detaching", DETACHING, "wait 1 s: the volume is detaching"),
    Row("joined 10 min ago", DETACHING, f"wait, say unconfirmed {RARELY}: the volume is detaching", joined(600)),
    Row("joined 6 h ago", DETACHING, FAILED + "stuck_detaching; the volume is detaching; watched for 6:00:00",
        joined(6 * HOUR, **SAID)),
    Row("stuck", STUCK, FAILED + "stuck_detaching; the server's action record says that the detach failed, and the "
        "volume is still detaching", accepted(30)),
    Row("error", seen(volume("error")), FAILED + "volume_error; the volume's status is error", progress(error_reads=1)),
    Row("error, once", seen(volume("error")), "wait 3 s: the volume's status is error", progress(attempt=3)),
    Row("backing up", BACKING_UP, FIRST + ": the volume is backing-up"),
    Row("accepted", IDLE, "wait 10 s: accepted; the volume is in-use", accepted(60)),
    Row("accepted, gone", unread(None), "wait 10 s: accepted; the volume is gone", accepted(60)),
    Row("refused, by the record", RECORD_SAYS_FAILED, FAILED + "refused_by_server; the server's action record says "
        "that the detach failed; the volume is in-use", accepted(2)),
    Row("refused", IDLE, FAILED + "refused_by_server; the volume went back to in-use with the same attachment",
        accepted(5, idle_reads=1, **SHOWN)),
    Row("refused, not seen detaching", IDLE, FAILED + "refused_by_server; the volume has stayed in-use with the same "
        "attachment", accepted(60, idle_reads=1)),
    Row("denied", IDLE, FAILED + "forbidden; DELETE: http_403 no", refused(3, idle_reads=1)),
    Row("denied, once idle", IDLE, "wait 3 s: DELETE: http_403 no; checking whether it had an effect",
        refused(1, attempt=3)),
    Row("lost", IDLE, "wait 25 s: the outcome of the last DELETE is unknown", lost(1, 5)),
    Row("lost thrice", IDLE, FIRST + ": 3 DELETEs without a known outcome; not sending another", lost(3, 600)),
    Row("not looked at in time", IDLE, FAILED + "gave_up; last: no look was made in time",
        progress(first_seen_at=ago(minutes=70)), TWO_HOURS_OLD),
    Row("in trouble all the time", IDLE, FAILED + "gave_up; last: http_503: busy",
        progress(first_seen_at=ago(minutes=70), last_error="http_503: busy"), TWO_HOURS_OLD),
    Row("server not read", replace(IDLE, server=None), FIRST + ": the server or its list was not read"),
    Row("stopping", STOPPING, FIRST + ": the server is ACTIVE (task state powering-off)"),
    Row("locked", LOCKED, FAILED + "server_locked; the server is locked"),
    Row("dry run", IDLE, "checked: would_detach; all checks passed", asked=DRY_RUN),
    Row("dry run, would wait", BACKING_UP, "checked: would_wait; the volume is backing-up", asked=DRY_RUN),
    Row("dry run, detached", NO_SERVER, "checked: would_report_server_gone; the server does not exist, the volume is "
        "not attached to it", asked=DRY_RUN),
    Row("dry run, would fail", LOCKED, "checked: would_fail server_locked; the server is locked", asked=DRY_RUN),
    Row("dry run, would fail before the cloud refuses", machine(status="RESCUE", vm_state="rescued", locked=True),
        "checked: would_fail server_locked; the server is locked", asked=DRY_RUN),
    Row("dry run, the cloud refuses", machine(status="RESCUE", vm_state="rescued"), "checked: would_fail api_rejected; "
        "the cloud refuses to detach from a server that is RESCUE", asked=replace(DRY_RUN, unmounted=True)),
)  # fmt: skip
def test_explanations_say_what_was_read_and_when_the_next_look_is(row: Row) -> None:
    """The whole decision, in the words that stand in the verdict, the log and the evidence."""
    now = case(row.so_far, row.asked).saw(row.cloud, row.policy, NOW)
    assert row.then == in_full(decide(now, row.policy, NOW))
