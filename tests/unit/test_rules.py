"""The decision table: what is done next, by what was asked, how far we are and what both planes show.

Each row is one situation at NOW: a name, what the cloud shows, what has to come of it, and whatever is not
ordinary about the request or its history. The history is told as it stood before this look.
"""

from dataclasses import dataclass, replace

import pytest

from shared.decision.case import Requeue
from shared.decision.progress import Progress
from shared.decision.rules import decide
from shared.model import DetachRequest, Ended, Seen
from shared.policy import Policy, RunningServerPolicy
from tests.builders import (
    ATTACHMENT,
    FOLLOWING,
    FRESH,
    LISTED,
    NOT_LISTED,
    NOW,
    OTHER_ATTACHMENT,
    REQUESTED,
    STOPPED,
    accepted,
    ago,
    attachment,
    case,
    elsewhere,
    joined,
    lost,
    progress,
    request,
    said,
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

NEWER = attachment(attachment_id=OTHER_ATTACHMENT, attached_at=ago(seconds=30))
REPLACED = seen(volume("in-use", NEWER))
REPLACED_DETACHING = seen(volume("detaching", NEWER))
NAMED_AND_NEWER = seen(volume("in-use", replace(NEWER, attachment_id=ATTACHMENT)))
AT_THE_EDGE = seen(volume("in-use", attachment(attached_at=REQUESTED + Policy().fence_skew)))
BOTH_HERE = seen(volume("in-use", NEWER, attachment()))

ELSEWHERE = seen(volume("in-use", elsewhere()), NOT_LISTED)
ELSEWHERE_SINCE = seen(volume("in-use", elsewhere(attached_at=ago(seconds=30))), NOT_LISTED)
ELSEWHERE_UNDATED = seen(volume("in-use", elsewhere(attached_at=None)), NOT_LISTED)
SHARED_DETACHING = seen(volume("detaching", attachment(), elsewhere(), multiattach=True))
SHARED_ELSEWHERE = seen(volume("in-use", elsewhere(), multiattach=True), NOT_LISTED)
SHARED_ELSEWHERE_DETACHING = seen(volume("detaching", elsewhere(), multiattach=True), NOT_LISTED)

NO_SERVER = seen(volume("available"), None)
NO_SERVER_BUT_NAMED = seen(volume(), None)
NO_SERVER_ELSEWHERE = seen(volume("in-use", elsewhere()), None)
NO_VOLUME = seen(None, NOT_LISTED)
NO_VOLUME_BUT_LISTED = seen(None, LISTED)
NEITHER = seen(None, None)

RECORD_SAYS_FAILED = replace(IDLE, ended=Ended.FAILED)
RECORD_SAYS_NOT_FAILED = replace(IDLE, ended=Ended.NOT_FAILED)


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
        assert self.then == said(decide(now, self.policy, NOW))


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
    Row("gone from both, our DELETE had no effect", FREE, "detached: detached_by_other", throttled(5)),
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
def test_what_is_being_detached_is_waited_for(row: Row) -> None:
    """Ours or another's: while it is detaching, no DELETE goes out."""
    row.check()


@table(
    Row("newer than the request", REPLACED, "failed: superseded"),
    Row("newer than the request and detaching", REPLACED_DETACHING, "failed: superseded"),
    Row("newer, not listed yet", seen(volume("attaching", NEWER), NOT_LISTED), "failed: superseded"),
    Row("as new as the clocks may differ", AT_THE_EDGE, "delete"),
    Row("of unknown age", seen(volume("in-use", attachment(attached_at=None))), "delete"),
    Row("another than the one named", REPLACED, "failed: superseded", asked=NAMED),
    Row("another than the one named, and older", IDLE, "failed: superseded", asked=OTHER_NAMED),
    Row("the one named, newer than the request", NAMED_AND_NEWER, "failed: superseded", asked=NAMED),
    Row("the one named of two", BOTH_HERE, "delete", asked=NAMED),
    Row("followed one replaced, never sent", REPLACED, "detached: replaced_by_newer", FOLLOWING),
    Row("followed one replaced, accepted", REPLACED, "detached: replaced_by_newer", accepted(60)),
    Row("followed one replaced, that detaching", REPLACED_DETACHING, "detached: replaced_by_newer", accepted(60)),
    Row("followed one beside a newer one", BOTH_HERE, "wait", accepted(5)),
    Row("redelivered; newer than its first delivery", REPLACED, "detached: replaced_by_newer", AGAIN),
    Row("redelivered; newer, another than the one named", REPLACED, "detached: replaced_by_newer", AGAIN, NAMED),
    Row("redelivered; there at its first delivery", REPLACED, "failed: superseded", AGAIN_LATER),
    Row("redelivered; made at its first delivery", REPLACED, "failed: superseded", AGAIN_JUST_THEN),
    Row("redelivered; there, another than the one named", REPLACED, "failed: superseded", AGAIN_LATER, NAMED),
    Row("redelivered; as new as clocks may differ", AT_THE_EDGE, "failed: superseded", AGAIN),
    Row("redelivered; still the old one", IDLE, "delete", AGAIN),
    Row("redelivered; followed and newer", REPLACED, "delete", replace(AGAIN, followed=NEWER)),
)
def test_newer_attachments_are_kept(row: Row) -> None:
    """An attachment that the request cannot have meant is never cut; the one it followed, if replaced, is gone."""
    row.check()


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
    Row("volume gone, list not read", unread(None), "wait", accepted(60)),
    Row("both gone, never seen", NEITHER, "failed: server_not_found"),
    Row("both gone, attachment seen before", NEITHER, "detached: server_gone", FOLLOWING),
)
def test_server_or_volume_gone(row: Row) -> None:
    """What is gone holds no disk, but only for who has seen it; else the ids are wrong."""
    row.check()


HISTORIES = (("never sent", FRESH), ("accepted", accepted(60)))
BUSY = (
    *("creating", "attaching", "restoring-backup", "backing-up", "uploading", "downloading", "extending", "deleting"),
    *("rollbacking", "awaiting-transfer", "reserved", "maintenance", "retyping", "a-status-of-tomorrow", "In-Use", ""),
)


@table(
    *(
        Row(f"{status}, {history}", seen(volume(status)), "failed: volume_error", so_far)
        for status in ("error", "error_detaching", "error_extending", "error_restoring", "error_deleting")
        for history, so_far in HISTORIES
    ),
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
    Row("twice, detaching never seen, after 14 s", IDLE, "wait", accepted(14, idle_reads=1)),
    Row("five times, detaching never seen, after 14 s", IDLE, "wait", accepted(14, idle_reads=4)),
    Row("twice, detaching never seen, after 15 s", IDLE, "failed: refused_by_server", accepted(15, idle_reads=1)),
    Row("once, detaching never seen, after a minute", IDLE, "wait", accepted(60)),
    Row("then detaching", DETACHING, "wait", accepted(60, idle_reads=1)),
    Row("then compute lets go", COMPUTE_FIRST, "wait", accepted(60, idle_reads=5, **SHOWN)),
    Row("twice, list not read", unread(volume()), "wait", accepted(60, idle_reads=1, **SHOWN)),
    Row("once, the record says failed", RECORD_SAYS_FAILED, "failed: refused_by_server", accepted(2)),
    Row("once, the record says not failed", RECORD_SAYS_NOT_FAILED, "wait", accepted(2)),
    Row("twice, record: not failed", RECORD_SAYS_NOT_FAILED, "failed: refused_by_server", accepted(60, idle_reads=1)),
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
    Row("three, time is up", IDLE, "failed: gave_up", lost(3, 600, first_seen_at=ago(hours=1))),
)
def test_unsettled_deletes_are_few_and_far_between(row: Row) -> None:
    """At most three DELETEs whose outcome is not known, 30 s apart, each after a look."""
    row.check()


NOT_READ = [replace(IDLE, server=None), replace(unread(volume()), server=server()), unread(ELSEWHERE.volume)]


@pytest.mark.parametrize("cloud", NOT_READ)
def test_what_was_not_read_is_not_called_gone(cloud: Seen) -> None:
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
    Row("someone else detaching", DETACHING, "failed: expired", asked=EXPIRED),
    Row("planes disagree", COMPUTE_FIRST, "failed: expired", asked=EXPIRED),
    Row("detached meanwhile", FREE, "detached: already_detached", asked=EXPIRED),
    Row("newer attachment", REPLACED, "failed: superseded", asked=EXPIRED),
    Row("after a DELETE without effect", IDLE, "failed: expired", throttled(60), EXPIRED),
    Row("after a DELETE that was lost", IDLE, "wait", lost(1, 60), EXPIRED),
    Row("after a DELETE that was lost, detaching", DETACHING, "wait", lost(1, 60), EXPIRED),
    Row("after a DELETE that was lost, gone", FREE, "detached: detached_meanwhile", lost(1, 60), EXPIRED),
    Row("after acceptance, detaching", DETACHING, "wait", accepted(60), EXPIRED),
    Row("after acceptance, idle", IDLE, "wait", accepted(5), EXPIRED),
    Row("after acceptance, gone", FREE, "detached: detached_now", accepted(60), EXPIRED),
)
def test_expiry_bars_deletes_and_nothing_else(row: Row) -> None:
    """After its expiry a request begins nothing; what it has begun is followed to its end."""
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
    Row("busy for 60 min", BACKING_UP, "failed: gave_up", HOUR_OLD),
    Row("compute ahead for 60 min", COMPUTE_FIRST, "failed: inconsistent_state", HOUR_OLD),
    Row("storage ahead for 60 min", STORAGE_FIRST, "failed: inconsistent_state", HOUR_OLD),
    Row("accepted, compute ahead for 10 min", COMPUTE_FIRST, "wait, say unconfirmed", accepted(600)),
    Row("accepted, compute ahead for 6 h", COMPUTE_FIRST, "failed: inconsistent_state", accepted(6 * HOUR, **SAID)),
    Row("accepted, storage ahead for 6 h", STORAGE_FIRST, "failed: inconsistent_state", accepted(6 * HOUR, **SAID)),
    Row("server gone, yet named for 60 min", NO_SERVER_BUT_NAMED, "failed: inconsistent_state", HOUR_OLD),
    Row("volume gone, yet listed for 60 min", NO_VOLUME_BUT_LISTED, "failed: inconsistent_state", HOUR_OLD),
)
def test_time_runs_out(row: Row) -> None:
    """What is waited for when time is up decides how it ends; a detach under way has a clock of its own."""
    row.check()


@table(
    Row("running Windows", machine(**WINDOWS), "failed: attestation_required"),
    Row("running Windows, attested", machine(**WINDOWS), "delete", asked=request(unmounted=True)),
    Row("stopped Windows", machine(**WINDOWS, **STOPPED), "delete"),
    Row("stopping", STOPPING, "wait"),
    Row("stopping for 60 min", STOPPING, "failed: gave_up", HOUR_OLD),
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
