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


def identity(attachment: Attachment) -> str:
    """What tells an attachment from a later one of the same volume to the same server.

    Attaching a volume again makes a new attachment (EVS API, querying details of a disk).
    """
    return attachment.attachment_id or (attachment.attached_at.isoformat() if attachment.attached_at else "unnamed")


@dataclass(frozen=True, slots=True)
class Case:
    """What was asked and how it came, how far it is, and what the latest look read.

    What follows the look is derived once, by `saw`: `ours` is the attachment to the server that this case is about,
    `named` whether the request may mean it by its id, `newer` whether it was made after the request, `replaced`
    whether another one was followed before. `listed` says whether the server's list has the volume, and is None if
    the list was not read.
    """

    request: DetachRequest
    message: Message
    progress: Progress
    fresh: bool = True
    seen: Seen | None = None
    volume: Volume | None = None
    ours: Attachment | None = None
    named: bool = False
    newer: bool = False
    replaced: bool = False
    listed: bool | None = None

    # ------------------------------------------------------------------------------------------- what it says

    @property
    def may_delete(self) -> bool:
        """Whether the next look may end in a DELETE, so that the server is to be read too."""
        return self.progress.accepted_at is None and not self.progress.detaching_seen

    @property
    def watching_since(self) -> datetime | None:
        """Since when a detach is under way: our accepted one, or somebody else's that we joined."""
        return self.progress.accepted_at or self.progress.detaching_since

    @property
    def state(self) -> State | None:
        """What the latest look read, in the words of the public contract; None before the first look."""
        if self.seen is None:
            return None
        attached = self.volume.attachments if self.volume else ()
        return State(
            volume_status=self.volume.status if self.volume else None,
            attachment=next((one for server, one in attached if server == self.request.server_id), None),
            listed_by_server=self.listed if self.seen.listing is not None else None,
            server_status=self.seen.server.status if self.seen.server else None,
            attached_to=tuple(server for server, _ in attached),
        )

    def is_newer(self, attachment: Attachment, policy: Policy) -> bool:
        """Made after the request was issued: not what the requester saw (design rule 3).

        Clocks may differ a little, but not for a message that was delivered before, on which we may have acted.
        """
        skew = timedelta(0) if self.progress.redelivered_since else policy.fence_skew
        return attachment.attached_at is not None and attachment.attached_at > self.request.requested_at + skew

    # ---------------------------------------------------------------------------------------- how it moves on

    def saw(self, seen: Seen, policy: Policy, now: datetime) -> Case:
        """Take in a look: which attachment is followed, whether it is being detached, and for how long."""
        request, was, volume = self.request, self.progress, seen.volume
        attached = volume.attachments if volume else ()
        here = [one for server, one in attached if server == request.server_id]
        followed, asked = was.followed, request.attachment_id
        # Of two, as while a server is moved, the one followed or named.
        mine = [one for one in here if followed and identity(one) == identity(followed)]
        ours = next(iter(mine or [one for one in here if asked in (None, one.attachment_id)] or here), None)
        listed = any(e.volume_id == request.volume_id for e in seen.listing or ()) if seen.listing_read else None
        case = replace(
            self,
            seen=seen,
            volume=volume,
            ours=ours,
            named=bool(ours and asked in (None, ours.attachment_id)),
            newer=bool(ours and self.is_newer(ours, policy)),
            replaced=bool(ours and followed and not mine),
            listed=listed,
        )
        if ours and not followed and case.named and not case.newer:
            followed = ours
        held = ours is not None and followed is not None and not case.replaced and listed is not False
        status = volume.status if held and volume else None
        progress = replace(
            was,
            polls=was.polls + 1,
            before=was.before or case.state,
            followed=followed,
            idle_reads=was.idle_reads + 1 if listed and status == "in-use" else 0,
        )
        if status == "detaching":
            progress = replace(progress, detaching_seen=True, detaching_since=was.detaching_since or now)
            if was.unsettled and was.accepted_at is None and volume and not volume.multiattach:
                # The answer to our DELETE was lost, its effect was not. On a shared disk it may be another server's
                # detach that shows.
                progress = replace(progress, accepted_at=now, attempt=0)
        elif was.accepted_at is None and held and listed:
            # Attached as before. If one plane is, or may be, ahead of the other, a detach is about to end, and its
            # clock runs on.
            progress = replace(progress, detaching_since=None, detaching_seen=False)
        return replace(case, progress=progress)

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
