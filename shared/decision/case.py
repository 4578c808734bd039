"""The case: one volume of one request, how far it is, and what was read of it; and what can come of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.decision.progress import Progress, State
from shared.model import (
    AnswerClass,
    Attachment,
    Call,
    Classified,
    DetachRequest,
    Detail,
    Message,
    Outcome,
    Reason,
    Seen,
    Volume,
    verdict_id,
)
from shared.policy import CALLS_KEPT, Policy

DELETE_CALL = "delete_attachment"


# ---------------------------------------------------------------------------------------------------- decisions


@dataclass(frozen=True, slots=True)
class Delete:
    """Send the DELETE now: the last read shows the attachment that is meant, and nobody detaching it."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """Look again in `seconds`; `announce_unconfirmed` says so to the consumers, once."""

    seconds: int
    why: str
    announce_unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Conclude:
    """The request is over, and this is how."""

    outcome: Outcome
    detail: Detail | Reason
    reason: Reason | None = None
    explanation: str = ""


Decision = Delete | Requeue | Conclude


def detached(detail: Detail, explanation: str = "") -> Conclude:
    return Conclude(Outcome.DETACHED, detail, explanation=explanation)


def failed(reason: Reason, explanation: str = "") -> Conclude:
    return Conclude(Outcome.FAILED, reason, reason, explanation)


# ----------------------------------------------------------------------------------------------------- the case


@dataclass(frozen=True, slots=True)
class Case:
    """What was asked and how it came, how far it is, and what the latest look read.

    `volume`, `ours` (the attachment to the server that this case is about) and `listed` (whether the server's list
    has the volume; None if it was not read) are derived once, by `saw`.
    """

    request: DetachRequest
    message: Message
    progress: Progress
    fresh: bool = True
    seen: Seen | None = None
    volume: Volume | None = None
    ours: Attachment | None = None
    listed: bool | None = None

    # ------------------------------------------------------------------------------------------- what it says

    @property
    def may_delete(self) -> bool:
        """Whether the next look may end in a DELETE, so that the server is to be read too."""
        return self.progress.accepted_at is None and not self.progress.detaching_seen

    @property
    def replaced(self) -> bool:
        """Whether another attachment stands where the followed one was."""
        followed = self.progress.followed
        return bool(self.ours and followed and self.ours.identity != followed.identity)

    @property
    def watching_since(self) -> datetime | None:
        """Since when a detach is under way: our accepted one, or somebody else's that we joined."""
        return self.progress.accepted_at or self.progress.detaching_since

    @property
    def state(self) -> State | None:
        """What the latest look read, in the words of the public contract; None before the first look."""
        if self.seen is None:
            return None
        return State(
            volume_status=self.volume.status if self.volume else None,
            attachment=next(self.volume.on(self.request.server_id), None) if self.volume else None,
            listed_by_server=self.listed if self.seen.listing is not None else None,
            server_status=self.seen.server.status if self.seen.server else None,
            attached_to=tuple(server for server, _ in self.volume.attachments) if self.volume else (),
        )

    def skew(self, policy: Policy) -> timedelta:
        """How far clocks may differ: not at all for a message that was delivered before, on which we may have acted."""
        return timedelta(0) if self.progress.redelivered_since else policy.fence_skew

    def is_named(self, attachment: Attachment) -> bool:
        """The attachment the request names, or any where it names none."""
        return self.request.attachment_id in (None, attachment.attachment_id)

    def is_newer(self, attachment: Attachment, skew: timedelta) -> bool:
        """Made after the request was issued: not what the requester saw (design rule 3)."""
        return attachment.attached_at is not None and attachment.attached_at > self.request.requested_at + skew

    # ---------------------------------------------------------------------------------------- how it moves on

    def saw(self, seen: Seen, policy: Policy, now: datetime) -> Case:
        """Take in a look: which attachment is followed, whether it is being detached, and for how long."""
        was, volume = self.progress, seen.volume
        ours = self._ours(seen)
        listing = [entry.volume_id for entry in seen.listing or ()]
        listed = self.request.volume_id in listing if seen.listing_read else None
        case = replace(self, seen=seen, volume=volume, ours=ours, listed=listed)
        followed = was.followed
        if ours and not followed and self.is_named(ours) and not self.is_newer(ours, self.skew(policy)):
            followed = ours
        held = ours and followed and ours.identity == followed.identity and listed is not False
        status = volume.status if held and volume else None
        progress = replace(
            was,
            polls=was.polls + 1,
            before=was.before or case.state,
            followed=followed,
            idle_reads=was.idle_reads + 1 if status == "in-use" else 0,
        )
        if status == "detaching":
            progress = replace(progress, detaching_seen=True, detaching_since=was.detaching_since or now)
            if was.unsettled and was.accepted_at is None and volume and not volume.multiattach:
                # The answer to our DELETE was lost, its effect was not. On a shared disk it may be another server's
                # detach that shows.
                progress = replace(progress, accepted_at=now, attempt=0)
        elif was.accepted_at is None and held:
            # Attached as before. If one plane is ahead of the other, a detach is about to end, and its clock runs on.
            progress = replace(progress, detaching_since=None, detaching_seen=False)
        return replace(case, progress=progress)

    def _ours(self, seen: Seen) -> Attachment | None:
        """The volume's attachment to the server; of two, as while a server is moved, the one followed or named."""
        here = list(seen.volume.on(self.request.server_id)) if seen.volume else []
        followed = self.progress.followed
        mine = [a for a in here if followed and a.identity == followed.identity]
        return next(iter(mine or [a for a in here if self.is_named(a)] or here), None)

    def sent(self, answer: Classified, receipt: str | None, now: datetime) -> Case:
        """Take in what came back of the DELETE that was just sent."""
        progress = replace(
            self.progress, deletes_sent=self.progress.deletes_sent + 1, last_delete_at=now, receipt=receipt
        )
        if answer.kind is AnswerClass.ACCEPTED:
            progress = replace(
                progress, accepted_at=now, attempt=0, idle_reads=0, detaching_seen=False, detaching_since=None
            )
        else:
            certain = answer.kind in (AnswerClass.RETRY, AnswerClass.WAIT)
            unsettled = progress.unsettled + (0 if certain else 1)
            progress = replace(progress, unsettled=unsettled, last_error=f"{answer.code}: {answer.message}")
        return replace(self, progress=progress)

    def unreadable(self, answer: Classified) -> Case:
        """Take in that the cloud could not be read."""
        return replace(self, progress=replace(self.progress, last_error=f"{answer.code}: {answer.message}"))

    def stepped(self, decision: Requeue | Conclude, calls: tuple[Call, ...]) -> Case:
        """Book the calls of this step and, if the case comes back, count it."""
        progress = replace(self.progress, calls=kept_calls(self.progress.calls, calls))
        if isinstance(decision, Requeue):
            attempt = progress.attempt + 1
            if decision.announce_unconfirmed:
                request, attempt = self.request, 0
                announced = verdict_id(request.source, request.id, request.volume_id, Outcome.UNCONFIRMED)
                progress = replace(progress, unconfirmed_id=announced)
            progress = replace(progress, attempt=attempt, redelivered_since=None)
        return replace(self, progress=progress)


def kept_calls(earlier: tuple[Call, ...], latest: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls of the latest look, every DELETE and every failed call; for want of room, DELETEs longest."""
    telling = [call for call in earlier if call.operation == DELETE_CALL or call.status >= 400 or call.status == 0]
    surplus = max(0, len(telling) + len(latest) - CALLS_KEPT)
    dropped = sorted(range(len(telling)), key=lambda at: (telling[at].operation == DELETE_CALL, at))[:surplus]
    return (*(call for at, call in enumerate(telling) if at not in dropped), *latest)[-CALLS_KEPT:]


# --------------------------------------------------------------------------------------------- what comes of it


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """There was no time: the case is put back as it was."""


@dataclass(frozen=True, slots=True)
class Broken:
    """AWS did not answer, our own code failed, or the invocation ended in the middle: the message comes again."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Step:
    """What one visit made of one case, and the calls that it took."""

    case: Case
    decision: Requeue | Conclude | NotLookedAt | Broken
    calls: tuple[Call, ...] = ()
