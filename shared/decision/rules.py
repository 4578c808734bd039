"""The table: from what was asked, how far we are and what the cloud shows, to the one next thing to do.

Pure: no I/O, no clock, no settings but those handed in. Each rule is a small function that answers or passes;
`RULES` is the order in which they are asked, and the first answer stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.decision import gates as safety
from shared.decision import requeue as waiting
from shared.decision.progress import attachment_here, is_named, is_newer
from shared.decision.requeue import Policy, failed
from shared.model import (
    Attachment,
    Conclude,
    Decision,
    Delete,
    DetachRequest,
    Inspect,
    Listed,
    Observation,
    Outcome,
    Progress,
    Reason,
    Volume,
    Wait,
)

UNSETTLED_LIMIT = 3
UNSETTLED_PAUSE = timedelta(seconds=30)
REFUSAL_READS = 2
REFUSAL_UNMARKED_AFTER = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a rule may look at."""

    request: DetachRequest
    progress: Progress
    seen: Observation
    policy: Policy
    now: datetime
    redelivered_since: datetime | None = None

    @property
    def volume(self) -> Volume | None:
        return self.seen.volume

    @property
    def ours(self) -> Attachment | None:
        return attachment_here(self.request, self.progress, self.seen)

    @property
    def listed(self) -> bool:
        return self.seen.listed(self.request.volume_id) is not None

    @property
    def expired(self) -> bool:
        return self.request.expires_at is not None and self.now >= self.request.expires_at

    @property
    def skew(self) -> timedelta:
        """How far clocks may differ. None for a message that was delivered before: then we may have acted on it."""
        return timedelta(0) if self.redelivered_since else self.policy.fence_skew

    @property
    def followed(self) -> bool:
        return self.progress.generation is not None


# ------------------------------------------------------------------------------------------ conclusions


def detached(detail: str, explanation: str = "") -> Conclude:
    return Conclude(Outcome.DETACHED, detail, explanation=explanation)


def how_detached(progress: Progress) -> str:
    """Whose work it was: ours, perhaps ours (the answer was lost), someone else's, or nobody's that we saw."""
    if progress.accepted_at and progress.deletes_sent:
        return "detached_now"
    if progress.unsettled:
        return "detached_meanwhile"
    return "detached_by_other" if progress.generation else "already_detached"


def wait(case: Case, why: str, least: float = 0) -> Decision:
    return waiting.wait(case.request, case.progress, case.policy, case.now, why, least)


# ------------------------------------------------------------------------------------------------- rules

Rule = Callable[[Case], Decision | None]


def nothing_there(case: Case) -> Decision | None:
    """Server or volume are gone: success only for an attachment that this request has seen (rule 6)."""
    server_gone, volume_gone = case.seen.listing is None, case.volume is None
    if volume_gone and case.listed:
        return _disagreeing(case, "the server lists a volume that block storage does not know")
    if server_gone and case.ours:
        return _disagreeing(case, "the volume names a server that compute does not know")
    if server_gone:
        if case.followed:
            return detached("server_gone", "the server was deleted, the volume is not attached to it")
        return failed(Reason.SERVER_NOT_FOUND, _where(case))
    if volume_gone:
        if case.followed:
            return detached("volume_gone", "the volume was deleted, the server does not list it")
        return failed(Reason.VOLUME_NOT_FOUND)
    return None


def _where(case: Case) -> str:
    if case.volume is None:
        return "the volume is not to be found either: check the project"
    others = ", ".join(a.server_id for a in case.volume.attachments)
    return f"the volume is attached to {others}" if others else "the volume is attached to no server"


def another_generation(case: Case) -> Decision | None:
    """The attachment we followed is gone and another took its place: we succeeded, and leave that one alone."""
    if case.ours and case.followed and case.ours.generation != case.progress.generation:
        return detached(
            "replaced_by_newer",
            f"the attachment asked for is gone; a newer one ({case.ours.generation}) was not touched",
        )
    return None


def fenced(case: Case) -> Decision | None:
    """An attachment that the request cannot have meant is never detached (rule 3)."""
    if case.ours is None or case.followed:
        return None
    skew = case.skew
    named = is_named(case.request, case.ours)
    if named and not is_newer(case.request, case.ours, skew):
        return None
    since = case.redelivered_since
    if since and case.ours.attached_at and case.ours.attached_at > since + skew:
        # This message was delivered before, when the newer attachment did not exist yet: what it asked for
        # is gone, and an earlier delivery may have said so already.
        return detached("replaced_by_newer", f"a newer attachment ({case.ours.generation}) was not touched")
    if not named:
        return failed(
            Reason.SUPERSEDED,
            f"the request names attachment {case.request.attachment_id}, "
            f"the volume is attached as {case.ours.attachment_id}",
        )
    return failed(Reason.SUPERSEDED, f"attached at {case.ours.attached_at}, after the request was issued")


def gone_from_both(case: Case) -> Decision | None:
    """The proof on two planes (rule 1)."""
    volume = case.volume
    if volume is None or case.ours or case.listed:
        return None
    if volume.status == "detaching" and not volume.multiattach:
        return wait(case, "the volume is free of servers and still detaching")
    if case.followed:
        return detached(how_detached(case.progress))
    elsewhere = [a for a in volume.attachments if not is_newer(case.request, a, case.skew)]
    if elsewhere and not volume.multiattach:
        return failed(Reason.ATTACHED_ELSEWHERE, _where(case))
    return detached("already_detached")


def expired(case: Case) -> Decision | None:
    """Too old to act on; a DELETE that may have had its effect is followed to its end."""
    expires_at, begun = case.request.expires_at, case.progress.accepted_at or case.progress.unsettled
    if expires_at and case.expired and not begun:
        return failed(Reason.EXPIRED, f"expired at {expires_at.isoformat()}")
    return None


def planes_disagree(case: Case) -> Decision | None:
    """One plane alone is "not yet" (rule 1)."""
    if case.ours and not case.listed:
        return _disagreeing(case, "compute has let go, block storage has not")
    if case.listed and not case.ours:
        return _disagreeing(case, "block storage has let go, compute has not")
    return None


def _disagreeing(case: Case, why: str) -> Decision:
    decision = wait(case, why)
    if isinstance(decision, Conclude):
        return failed(Reason.INCONSISTENT_STATE, why)
    return decision


def in_progress(case: Case) -> Decision | None:
    """Being detached, by us or by someone else: join, never send again (rule 2)."""
    if case.volume and case.volume.status == "detaching":
        return wait(case, "the volume is detaching")
    return None


def broken_volume(case: Case) -> Decision | None:
    """An error status ends it: nobody but the provider gets a volume out of it."""
    if case.volume and case.volume.status.startswith("error"):
        return failed(Reason.VOLUME_ERROR, f"the volume's status is {case.volume.status}")
    return None


def busy_volume(case: Case) -> Decision | None:
    """Backing up, extending, attaching…: the cloud would refuse a detach now."""
    if case.volume and case.volume.status != "in-use":
        return wait(case, f"the volume is {case.volume.status}")
    return None


def refused(case: Case) -> Decision | None:
    """Accepted, and idle again with the same attachment: the server would not let go (rule 4)."""
    accepted_at = case.progress.accepted_at
    if accepted_at is None:
        return None
    if case.seen.action_failed:
        return failed(Reason.REFUSED_BY_SERVER, "the server's action record says that the detach failed")
    settled = case.progress.detaching_seen or case.now >= accepted_at + REFUSAL_UNMARKED_AFTER
    if settled and case.progress.idle_reads >= REFUSAL_READS:
        return failed(Reason.REFUSED_BY_SERVER, "the volume went back to in-use with the same attachment")
    return wait(case, "accepted; the volume is in-use")


def unsettled(case: Case) -> Decision | None:
    """After an answer was lost: not before a pause, and not for ever (rule 2)."""
    if not case.progress.unsettled or case.progress.last_delete_at is None:
        return None
    if case.progress.unsettled >= UNSETTLED_LIMIT or case.expired:
        return wait(case, f"{case.progress.unsettled} DELETEs without a known outcome; not sending another")
    pause = (case.progress.last_delete_at + UNSETTLED_PAUSE - case.now).total_seconds()
    return wait(case, "the outcome of the last DELETE is unknown", least=pause) if pause > 0 else None


def unsafe(case: Case) -> Decision | None:
    """The safety gates, asked again before each DELETE."""
    if case.seen.server is None:
        return Inspect()
    listed = case.seen.listed(case.request.volume_id)
    if not (case.volume and case.ours and listed):
        return wait(case, "not attached on both planes")
    match safety.gate(
        case.request,
        case.volume,
        case.ours,
        listed,
        case.seen.server,
        case.policy.running_server_policy,
    ):
        case safety.Refuse(reason, explanation):
            return failed(reason, explanation)
        case safety.Hold(why):
            return wait(case, why)
    return None


RULES: tuple[Rule, ...] = (
    nothing_there,
    another_generation,
    fenced,
    gone_from_both,
    expired,
    planes_disagree,
    in_progress,
    broken_volume,
    busy_volume,
    refused,
    unsettled,
    unsafe,
)


def decide(
    request: DetachRequest,
    progress: Progress,
    seen: Observation,
    policy: Policy,
    now: datetime,
    redelivered_since: datetime | None = None,
    rules: Sequence[Rule] = RULES,
) -> Decision:
    """The first rule that answers; when none objects the attachment is there, idle, meant and safe: Delete.

    `progress` must have taken in `seen` (see `progress.follow`). `redelivered_since` is when this very message
    was first delivered, if it was delivered before.
    """
    case = Case(request, progress, seen, policy, now, redelivered_since)
    answers = (rule(case) for rule in rules)
    decision = next((answer for answer in answers if answer is not None), Delete())
    return as_check(decision) if request.dry_run else decision


def glance(
    request: DetachRequest, progress: Progress, listing: tuple[Listed, ...] | None, policy: Policy, now: datetime
) -> Wait | None:
    """A server that still lists the volume has not let go: wait. Anything else takes a look at both planes."""
    if not any(entry.volume_id == request.volume_id for entry in listing or ()):
        return None
    decision = waiting.wait(request, progress, policy, now, "the server still lists the volume")
    return decision if isinstance(decision, Wait) and not decision.announce_unconfirmed else None


def as_check(decision: Decision) -> Decision:
    """A dry run ends where anything would begin: it says what would happen, and nothing happens."""
    match decision:
        case Delete():
            return Conclude(Outcome.CHECKED, "would_detach", explanation="all checks passed")
        case Wait(why=why):
            return Conclude(Outcome.CHECKED, "would_wait", explanation=why)
        case Conclude(Outcome.DETACHED, detail, _, explanation):
            return Conclude(Outcome.CHECKED, f"would_report_{detail}", explanation=explanation)
        case Conclude(Outcome.FAILED, _, reason, explanation):
            return Conclude(Outcome.CHECKED, "would_fail", reason, explanation)
    return decision
