"""The table: from what was asked, how far we are and what the cloud shows, to the one next thing to do.

Pure: no I/O, no clock, no settings but those handed in. Each rule is a small function that answers or passes.
`RULES` is the order in which they are asked, and the first answer stands.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from shared.decision import gates
from shared.decision.case import Case, Conclude, Decision, Delete, detached, failed, identity
from shared.decision.requeue import as_check, requeue
from shared.model import Detail, Ended, Reason
from shared.policy import REFUSAL_READS, REFUSAL_UNMARKED_AFTER, UNSETTLED_LIMIT, UNSETTLED_PAUSE, Policy

Rule = Callable[[Case, Policy, datetime], Decision | None]


def how_detached(case: Case) -> Detail:
    """Whose work it was: ours, perhaps ours (the answer was lost), someone else's, or nobody's that we saw."""
    progress = case.progress
    if progress.accepted_at:
        return Detail.DETACHED_NOW
    if progress.unsettled:
        return Detail.DETACHED_MEANWHILE
    return Detail.DETACHED_BY_OTHER if progress.followed else Detail.ALREADY_DETACHED


def nothing_there(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """Server or volume are gone: success only for an attachment that this request has seen (rule 6)."""
    if case.seen is None or not case.seen.listing_read:
        return None
    server_gone, volume_gone = case.seen.listing is None, case.volume is None
    if volume_gone and case.listed:
        return _disagreeing(case, policy, now, "the server lists a volume that block storage does not know")
    if server_gone and case.ours:
        return _disagreeing(case, policy, now, "the volume names a server that compute does not know")
    if server_gone:
        if case.progress.followed:
            return detached(Detail.SERVER_GONE, "the server was deleted, the volume is not attached to it")
        return failed(Reason.SERVER_NOT_FOUND, _where(case))
    if volume_gone:
        if case.progress.followed:
            return detached(Detail.VOLUME_GONE, "the volume was deleted, the server does not list it")
        return failed(Reason.VOLUME_NOT_FOUND)
    return None


def _where(case: Case) -> str:
    if case.volume is None:
        return "the volume is not to be found either: check the project"
    others = ", ".join(server for server, _ in case.volume.attachments)
    return f"the volume is attached to {others}" if others else "the volume is attached to no server"


def moved_or_reattached(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    """The attachment we followed is gone and another took its place: we succeeded, and leave that one alone."""
    if case.ours and case.replaced:
        newer = identity(case.ours)
        return detached(
            Detail.REPLACED_BY_NEWER, f"the attachment asked for is gone; a newer one ({newer}) was not touched"
        )
    return None


def not_meant(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    """An attachment that the request cannot have meant is never detached (rule 3)."""
    ours = case.ours
    if ours is None or case.progress.followed:
        return None
    if case.named and not case.newer:
        return None
    since = case.progress.redelivered_since
    if since and ours.attached_at and ours.attached_at > since:
        # This message was delivered before, when the newer attachment did not exist yet: what it asked for is gone,
        # and an earlier delivery may have said so already.
        return detached(Detail.REPLACED_BY_NEWER, f"a newer attachment ({identity(ours)}) was not touched")
    if not case.named:
        asked = case.request.attachment_id
        return failed(
            Reason.SUPERSEDED, f"the request names attachment {asked}, the volume is attached as {ours.attachment_id}"
        )
    return failed(Reason.SUPERSEDED, f"attached at {ours.attached_at}, after the request was issued")


def gone_from_both(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The proof on two planes (rule 1)."""
    volume = case.volume
    if volume is None or case.ours or case.listed is not False:
        return None
    if volume.status == "detaching" and not volume.multiattach:
        return requeue(case, policy, now, "the volume is free of servers and still detaching")
    if case.progress.followed:
        return detached(how_detached(case))
    elsewhere = [server for server, attachment in volume.attachments if not case.is_newer(attachment, policy)]
    if elsewhere and not volume.multiattach:
        return failed(Reason.ATTACHED_ELSEWHERE, _where(case))
    return detached(Detail.ALREADY_DETACHED)


def expired(case: Case, _policy: Policy, now: datetime) -> Decision | None:
    """Too old to act on; a DELETE that may have had its effect is followed to its end."""
    expires_at, begun = case.request.expires_at, case.progress.accepted_at or case.progress.unsettled
    if expires_at and now >= expires_at and not begun:
        return failed(Reason.EXPIRED, f"expired at {expires_at.isoformat()}")
    return None


def planes_disagree(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """One plane alone is "not yet" (rule 1)."""
    if case.ours and case.listed is False:
        return _disagreeing(case, policy, now, "compute has let go, block storage has not")
    if case.listed and not case.ours:
        return _disagreeing(case, policy, now, "block storage has let go, compute has not")
    return None


def _disagreeing(case: Case, policy: Policy, now: datetime, why: str) -> Decision:
    decision = requeue(case, policy, now, why)
    return failed(Reason.INCONSISTENT_STATE, why) if isinstance(decision, Conclude) else decision


def in_progress(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """Being detached, by us or by someone else: join, never send again (rule 2)."""
    if case.volume and case.volume.status == "detaching":
        return requeue(case, policy, now, "the volume is detaching")
    return None


def broken_volume(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    """An error status ends it: nobody but the provider gets a volume out of it."""
    if case.volume and case.volume.status.startswith("error"):
        return failed(Reason.VOLUME_ERROR, f"the volume's status is {case.volume.status}")
    return None


def busy_volume(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """Backing up, extending, attaching…: the cloud would refuse a detach now."""
    if case.volume and case.volume.status != "in-use":
        return requeue(case, policy, now, f"the volume is {case.volume.status}")
    return None


def refused(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """Accepted, and idle again with the same attachment: the server would not let go (rule 4)."""
    accepted_at = case.progress.accepted_at
    if accepted_at is None:
        return None
    if case.seen and case.seen.ended is Ended.FAILED:
        return failed(Reason.REFUSED_BY_SERVER, "the server's action record says that the detach failed")
    settled = case.progress.detaching_seen or now >= accepted_at + timedelta(seconds=REFUSAL_UNMARKED_AFTER)
    if settled and case.progress.idle_reads >= REFUSAL_READS:
        return failed(Reason.REFUSED_BY_SERVER, "the volume went back to in-use with the same attachment")
    return requeue(case, policy, now, "accepted; the volume is in-use")


def unsettled(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """After an answer was lost: not before a pause, and not for ever (rule 2)."""
    sent, last = case.progress.unsettled, case.progress.last_delete_at
    if not sent or last is None:
        return None
    expires_at = case.request.expires_at
    if sent >= UNSETTLED_LIMIT or (expires_at and now >= expires_at):
        return requeue(case, policy, now, f"{sent} DELETEs without a known outcome; not sending another")
    pause = UNSETTLED_PAUSE - (now - last).total_seconds()
    return requeue(case, policy, now, "the outcome of the last DELETE is unknown", least=pause) if pause > 0 else None


def unsafe(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The safety gates, asked again before each DELETE."""
    server, volume_id = case.seen.server if case.seen else None, case.request.volume_id
    listed = next((entry for entry in (case.seen and case.seen.listing) or () if entry.volume_id == volume_id), None)
    if not (server and case.volume and case.ours and listed):
        return requeue(case, policy, now, "the server or its list was not read")
    devices = {case.ours.device, listed.device}
    match gates.gate(case.request, case.volume, devices, server, policy.running_server_policy):
        case gates.Refuse(reason, explanation):
            return failed(reason, explanation)
        case gates.Hold(why):
            return requeue(case, policy, now, why)
    return None


RULES: tuple[Rule, ...] = (
    nothing_there, moved_or_reattached, not_meant, gone_from_both, expired, planes_disagree,
    in_progress, broken_volume, busy_volume, refused, unsettled, unsafe,
)  # fmt: skip


def decide(case: Case, policy: Policy, now: datetime, rules: Sequence[Rule] = RULES) -> Decision:
    """The first rule that answers; when none objects the attachment is there, idle, meant and safe: Delete.

    `case` must have taken in what was read (`Case.saw`).
    """
    answers = (rule(case, policy, now) for rule in rules)
    decision = next((answer for answer in answers if answer is not None), Delete())
    return as_check(decision) if case.request.dry_run else decision
