"""The table of rules: decides the next step from the request, its progress and what the cloud shows.

Pure: no I/O, no clock, no settings except those passed in. Each rule is a small function that answers or passes.
`RULES` is their order, and the first answer counts.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from shared.decision import gates
from shared.decision.case import Case, Conclude, Decision, Delete, Requeue, detached, failed
from shared.decision.meant import OURS, Standing, identity, is_newer
from shared.decision.requeue import as_check, requeue, time_to_live
from shared.model import Attachment, Detail, Ended, Reason
from shared.policy import (
    ERROR_AFTER,
    ERROR_READS,
    POLL,
    RECORD_SLACK,
    REFUSAL_READS,
    REFUSAL_UNMARKED_AFTER,
    UNSETTLED_LIMIT,
    UNSETTLED_PAUSE,
    Policy,
)

Rule = Callable[[Case, Policy, datetime], Decision | None]


def how_detached(case: Case) -> Detail:
    """Who detached the volume: we, perhaps we (we sent a DELETE but saw no acceptance), or somebody else."""
    progress = case.progress
    if progress.accepted_at:
        return Detail.DETACHED_NOW
    if progress.deletes_sent:
        return Detail.DETACHED_MEANWHILE
    return Detail.DETACHED_BY_OTHER


def nothing_there(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The server or the volume is gone: that is success only if nothing is left of the attachment."""
    if case.seen is None or not case.seen.listing_read:
        return None
    server_gone, volume, followed = case.seen.listing is None, case.volume, case.progress.followed
    if volume is None and case.listed:
        return _disagreeing(case, policy, now, "the server lists a volume that block storage does not know")
    if server_gone and case.ours:
        return _disagreeing(case, policy, now, "the volume names a server that compute does not know")
    if server_gone and volume and volume.status in ("reserved", "attaching"):
        return _disagreeing(case, policy, now, f"compute does not know the server, the volume is {volume.status}")
    if server_gone:
        if followed or (volume and volume.status == "available" and not volume.attachments):
            return detached(Detail.SERVER_GONE, "the server does not exist, the volume is not attached to it")
        return failed(Reason.SERVER_NOT_FOUND, _where(case))
    if volume is None:
        if followed:
            return detached(Detail.VOLUME_GONE, "the volume was deleted, the server does not list it")
        return failed(Reason.VOLUME_NOT_FOUND)
    return None


def _where(case: Case) -> str:
    if case.volume is None:
        return "the volume was not found either: check the project"
    others = ", ".join(server for server, _ in case.volume.attachments)
    where = f"attached to {others}" if others else "attached to no server"
    return f"the volume is {case.volume.status} and {where}"


def not_meant(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """An attachment is detached only if the request is known to mean it; a newer one is never touched.

    While a server is migrated, a disk has two attachments to it, and it is not known which one will stay.
    """
    ours, followed = case.ours, case.progress.followed
    if case.several or case.apart:
        two = "the volume has two attachments to the server" if case.several else "the planes name two attachments"
        return _disagreeing(case, policy, now, f"{two}, as during a migration")
    if ours is None or case.standing in (None, *OURS):
        return None
    if case.standing is Standing.REATTACHED:
        newer = f"attachment {identity(ours)}, made at {_time(ours)}, is newer and was not touched"
        since = _delivered_before(case)
        if followed:
            return detached(Detail.REPLACED_BY_NEWER, f"attachment {identity(followed)} is gone; {newer}")
        if since and ours.attached_at and ours.attached_at > since:
            # This message was delivered before the newer attachment existed: what it asked for is gone, and an earlier
            # delivery may have said so.
            return detached(Detail.REPLACED_BY_NEWER, newer)
        return failed(Reason.SUPERSEDED, f"{newer}: somebody attached the volume {_than(case)}")
    server = case.seen.server if case.seen else None
    if case.standing is Standing.ASK or server is None or server.task_state:
        waiting = requeue(case, policy, now, f"the server may be moving; the volume is attached as {identity(ours)}")
        if isinstance(waiting, Requeue):
            return waiting
    known = f"attachment {identity(ours)}, made at {_time(ours)}, was not touched"
    unknown = "whether the server was moved or somebody attached the volume again is not known"
    return failed(Reason.SUPERSEDED, f"{known}: it is not the one {_than(case, asked_for=True)}, and {unknown}")


def _delivered_before(case: Case) -> datetime | None:
    """Since when an earlier delivery may have detached the volume; for a listed disk, since the listing."""
    since, listed_at = case.progress.redelivered_since, case.progress.listed_at
    return max(since, listed_at) if since and listed_at else since


def _than(case: Case, asked_for: bool = False) -> str:
    """What the attachment that was read is compared with: the one followed or named, or the time of the request."""
    asked, followed = case.request.attachment_id, case.progress.followed
    if followed:
        return f"that was followed ({identity(followed)}, made at {_time(followed)})"
    if asked and case.ours and asked != case.ours.attachment_id:
        return f"that the request names ({asked})" if asked_for else f"after {asked}, which the request names"
    issued = f"the request was issued ({case.request.requested_at.isoformat()})"
    return f"that is known to have existed when {issued}" if asked_for else f"after {issued}"


def _time(attachment: Attachment) -> str:
    return attachment.attached_at.isoformat() if attachment.attached_at else "an unknown time"


def gone_from_both(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """Neither plane has the attachment: the volume is detached. One plane alone proves nothing."""
    volume = case.volume
    if volume is None or case.ours or case.listed is not False:
        return None
    still = (case.watching_since or now) + policy.confirm_timeout
    if volume.status == "detaching" and not volume.multiattach and now < still:
        waiting = requeue(case, policy, now, "the volume has no attachment to the server, and is still detaching")
        if isinstance(waiting, Requeue):
            return waiting
    status = "" if volume.status in ("available", "in-use") else f"the volume is {volume.status}"
    if case.progress.followed:
        return detached(how_detached(case), status)
    elsewhere = [server for server, one in volume.attachments if not is_newer(one, case.request, policy)]
    if elsewhere and not volume.multiattach:
        return failed(Reason.ATTACHED_ELSEWHERE, _where(case))
    return detached(Detail.ALREADY_DETACHED, status)


def expired(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The request is too old to begin. A DELETE that may have had an effect, or a visible detach, is followed to its
    end.

    Too old means past the expiry that the request sets or, if this copy is first seen so late, past the time to live. A
    detach is visible as `detaching`, or if only one plane has the attachment.
    """
    request, progress = case.request, case.progress
    halfway = case.listed is not None and case.listed != (case.ours is not None)
    shows = halfway or (case.ours and case.volume and case.volume.status == "detaching")
    if progress.accepted_at or progress.unsettled or progress.detaching_since or shows:
        return None
    if request.expires_at and now >= request.expires_at:
        return failed(Reason.EXPIRED, f"expired at {request.expires_at.isoformat()}")
    age = min(progress.redelivered_since or progress.first_seen_at, progress.first_seen_at) - request.requested_at
    if age >= (ttl := time_to_live(request, policy)):
        issued, seen_at = request.requested_at.isoformat(), progress.first_seen_at.isoformat()
        why = f"issued at {issued} and first seen at {seen_at}, after its time to live ({ttl})"
        return failed(Reason.EXPIRED, why)
    return None


def planes_disagree(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """Only one plane has the attachment: the detach is not finished, or a server is being moved and only compute has
    it."""
    if case.ours and case.listed is False:
        return _disagreeing(case, policy, now, "compute no longer has the attachment, block storage does")
    if case.listed and not case.ours:
        moving = case.volume is not None and case.volume.status in ("reserved", "attaching")
        why = f"the volume is {case.volume.status}, compute still has it" if moving and case.volume else None
        return _disagreeing(case, policy, now, why or "block storage no longer has the attachment, compute does")
    return None


def _disagreeing(case: Case, policy: Policy, now: datetime, why: str) -> Decision:
    decision = requeue(case, policy, now, why)
    return failed(Reason.INCONSISTENT_STATE, why) if isinstance(decision, Conclude) else decision


def in_progress(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The volume is being detached, by us or by somebody else: watch, and never send another DELETE.

    Only a record of the failure shows that a detach failed in the storage back end. It counts if the volume has not
    changed since our DELETE; otherwise another detach may be visible.
    """
    if case.volume is None or case.volume.status != "detaching":
        return None
    accepted_at, updated_at = case.progress.accepted_at, case.volume.updated_at
    ours = accepted_at and updated_at and updated_at <= accepted_at + timedelta(seconds=RECORD_SLACK)
    if ours and case.seen and case.seen.ended is Ended.FAILED:
        return failed(Reason.STUCK_DETACHING, f"{_said(case)}, and the volume is still detaching")
    return requeue(case, policy, now, "the volume is detaching")


def _said(case: Case) -> str:
    """The statement that the detach failed, in the words of the record."""
    return (case.seen and case.seen.said) or "the server's action record says that the detach failed"


def broken_volume(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """An error status that stays ends the request, if both planes have the attachment; during a detach it may pass."""
    if case.volume is None or not case.volume.status.startswith("error"):
        return None
    why = f"the volume's status is {case.volume.status}"
    accepted_at, ended = case.progress.accepted_at, case.seen.ended if case.seen else None
    may_pass = ended is Ended.RUNNING or (accepted_at and now < accepted_at + timedelta(seconds=ERROR_AFTER))
    if ended is Ended.FAILED or (not may_pass and (case.request.dry_run or case.progress.error_reads >= ERROR_READS)):
        return failed(Reason.VOLUME_ERROR, f"{why}; {_said(case)}" if ended is Ended.FAILED else why)
    return requeue(case, policy, now, why, schedule=POLL)


def busy_volume(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The volume is busy (backing up, extending, attaching…): the cloud would refuse a detach now.

    The volume of an offloaded server is reserved.
    """
    idle = ("in-use", "reserved") if case.offloaded else ("in-use",)
    if case.volume and case.volume.status not in idle:
        return requeue(case, policy, now, f"the volume is {case.volume.status}")
    return None


def refused(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The DELETE was accepted, and the volume is idle again with the same attachment: the server refused to release it.

    The record of the operation decides. While it says that the detach runs or has succeeded, this is not its end.
    Without a record, two looks decide, and more time if the volume was never seen detaching.
    """
    accepted_at = case.progress.accepted_at
    if accepted_at is None:
        return None
    status, ended = case.volume.status if case.volume else "gone", case.seen.ended if case.seen else None
    if ended is Ended.FAILED:
        told = case.seen.reason if case.seen else None
        return failed(told or Reason.REFUSED_BY_SERVER, f"{_said(case)}; the volume is {status}")
    over = ended not in (Ended.RUNNING, Ended.SUCCEEDED) or now >= accepted_at + policy.confirm_timeout
    # The status of a shared volume may come from another server's detach.
    seen = case.progress.detaching_seen and not (case.volume and case.volume.multiattach)
    settled = seen or now >= accepted_at + timedelta(seconds=REFUSAL_UNMARKED_AFTER)
    if over and settled and case.progress.idle_reads >= REFUSAL_READS:
        how = "went back to" if seen else "has stayed"
        return failed(Reason.REFUSED_BY_SERVER, f"the volume {how} {status} with the same attachment")
    return requeue(case, policy, now, f"accepted; the volume is {status}")


def denied(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The DELETE was clearly refused. The refusal is reported once looks show the volume attached as before."""
    denial = case.progress.denied
    if denial is None:
        return None
    if case.offloaded or case.progress.idle_reads >= REFUSAL_READS:
        return failed(denial.reason, denial.why)
    decision = requeue(case, policy, now, f"{denial.why}; checking whether it had an effect", schedule=POLL)
    # When the time is up, the refusal is the better reason.
    return (
        failed(denial.reason, denial.why) if isinstance(decision, Conclude) and case.progress.idle_reads else decision
    )


def unsettled(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The answer to a DELETE was lost: another one is sent only after a pause, and only a few times."""
    sent, last = case.progress.unsettled, case.progress.last_delete_at
    if not sent or last is None:
        return None
    expires_at = case.request.expires_at
    if sent >= UNSETTLED_LIMIT or (expires_at and now >= expires_at):
        return requeue(case, policy, now, f"{sent} DELETEs without a known outcome; not sending another")
    pause = UNSETTLED_PAUSE - (now - last).total_seconds()
    return requeue(case, policy, now, "the outcome of the last DELETE is unknown", least=pause) if pause > 0 else None


def unsafe(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The safety gates, checked before each DELETE. Nothing is begun after the time to live."""
    begun = max(case.request.requested_at, case.progress.first_seen_at)
    if now >= begun + time_to_live(case.request, policy):
        return failed(Reason.GAVE_UP, f"last: {case.progress.last_error or 'no look was made in time'}")
    server, volume_id = case.seen.server if case.seen else None, case.request.volume_id
    listed = next((entry for entry in (case.seen and case.seen.listing) or () if entry.volume_id == volume_id), None)
    if not (server and case.volume and case.ours and listed):
        return requeue(case, policy, now, "the server or its list was not read")
    devices = {case.ours.device, listed.device}
    match gates.gate(case.request, case.volume, devices, server, policy):
        case gates.Refuse(reason, explanation):
            return failed(reason, explanation)
        case gates.Hold(why):
            return requeue(case, policy, now, why)
    return None


RULES: tuple[Rule, ...] = (
    nothing_there, not_meant, gone_from_both, expired, planes_disagree,
    in_progress, broken_volume, busy_volume, refused, denied, unsettled, unsafe,
)  # fmt: skip


def decide(case: Case, policy: Policy, now: datetime, rules: Sequence[Rule] = RULES) -> Decision:
    """The answer of the first rule that has one. If none has, the attachment exists, is idle, meant and safe: Delete.

    `case` must include the latest look (`Case.saw`).
    """
    answers = (rule(case, policy, now) for rule in rules)
    decision = next((answer for answer in answers if answer is not None), Delete())
    if not case.request.dry_run:
        return decision
    server = case.seen.server if case.seen else None
    refusal = gates.cloud_refuses(server) if server and isinstance(decision, Delete) else None
    return as_check(failed(Reason.API_REJECTED, refusal) if refusal else decision)
