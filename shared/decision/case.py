"""The case: one volume of one request, how far it is, and what was read of it; and what can come of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from shared.decision.meant import OURS, Standing, identity, standing
from shared.decision.progress import Denial, Progress, State
from shared.model import (
    AnswerClass,
    Attachment,
    Call,
    Cause,
    Classified,
    DetachRequest,
    Detail,
    Listed,
    Message,
    Outcome,
    Reason,
    Seen,
    Volume,
    verdict_id,
)
from shared.policy import ATTACHED_TO_KEPT, CALLS_KEPT, Policy
from shared.quick import dataclass

DELETE_CALL = "delete_attachment"

NOT_SENT = ("no_token", "no_time")
"""Codes of a DELETE that did not leave: there was no token for it, or no time."""

NOT_FOUND = (Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND)
"""Which of them is missing, if any, is settled by reads (design rule 6)."""

CREDENTIALS_UNREAD = "credentials_unread"
"""The code of a look that was not possible, since the credentials could not be read."""


# ---------------------------------------------------------------------------------------------------- decisions


@dataclass(frozen=True)
class Delete:
    """Send the DELETE now: the last read shows the attachment that is meant, and nobody detaching it."""


@dataclass(frozen=True)
class Requeue:
    """Look again in `seconds`; `announce_unconfirmed` says so to the consumers, once."""

    seconds: int
    why: str
    announce_unconfirmed: bool = False


@dataclass(frozen=True)
class Conclude:
    """The request is over, and this is how; `cause` is told of a dead letter."""

    outcome: Outcome
    detail: Detail | Reason
    reason: Reason | None = None
    explanation: str = ""
    cause: Cause | None = None


Decision = Delete | Requeue | Conclude


@dataclass(frozen=True)
class Disks:
    """The data disks that the server has: from here on the request is for these."""

    volume_ids: tuple[str, ...]


def detached(detail: Detail, explanation: str = "") -> Conclude:
    return Conclude(Outcome.DETACHED, detail, explanation=explanation)


def failed(reason: Reason, explanation: str = "") -> Conclude:
    return Conclude(Outcome.FAILED, reason, reason, explanation)


# ----------------------------------------------------------------------------------------------------- the case


@dataclass(frozen=True)
class Case:
    """What was asked and how it came, how far it is, and what the latest look read.

    What follows the look is derived once, by `saw`: `ours` is the attachment to the server that this case is about,
    `standing` how it stands to the one that the request means. While a server is moved there are `several`, or the
    planes are `apart`: they name different ones. `offloaded` says that compute alone names it, since its server is
    shelved and on no host. `listed` says whether the server's list has the volume, and is None if it was not read.
    """

    request: DetachRequest
    message: Message
    progress: Progress
    fresh: bool = True
    seen: Seen | None = None
    volume: Volume | None = None
    ours: Attachment | None = None
    standing: Standing | None = None
    several: bool = False
    apart: bool = False
    offloaded: bool = False
    listed: bool | None = None

    # ------------------------------------------------------------------------------------------- what it says

    @property
    def may_delete(self) -> bool:
        """Whether the next look may end in a DELETE, so that the server is to be read too."""
        return self.progress.accepted_at is None and not self.progress.detaching_seen

    @property
    def watching_since(self) -> datetime | None:
        """Since when a detach is under way: our accepted one, or somebody else's that we joined.

        A shared disk says `detaching` for any of its servers: what shows may not be ours to join.
        """
        joined = None if self.volume and self.volume.multiattach else self.progress.detaching_since
        return self.progress.accepted_at or joined

    @property
    def state(self) -> State | None:
        """What the latest look read, in the words of the public contract; None before the first look."""
        if self.seen is None:
            return None
        attached = self.volume.attachments if self.volume else ()
        return State(
            volume_status=self.volume.status if self.volume else None,
            attachment=self.ours,
            listed_by_server=self.listed if self.seen.listing is not None else None,
            server_status=self.seen.server.status if self.seen.server else None,
            attached_to=tuple(server for server, _ in attached[:ATTACHED_TO_KEPT]),
        )

    # ---------------------------------------------------------------------------------------- how it moves on

    def saw(self, seen: Seen, policy: Policy, now: datetime) -> Case:
        """Take in a look: which attachment is followed, whether it is being detached, and for how long."""
        request, was, volume = self.request, self.progress, seen.volume
        entry = next((one for one in seen.listing or () if one.volume_id == request.volume_id), None)
        here = [one for server, one in volume.attachments if server == request.server_id] if volume else []
        kept = volume is not None and (volume.status == "reserved" or volume.multiattach)
        offloaded = bool(not here and entry and kept) and _offloaded(seen)
        if offloaded and entry:
            here = [Attachment(entry.attachment_id, None, entry.device)]
        chosen = _chosen(here, was.followed, request.attachment_id) if here else None
        ours = _bound(chosen, entry, was.followed)
        how = None
        if ours and len(here) == 1:
            old = ours.attached_at is not None and ours.attached_at <= request.requested_at
            if old and was.followed is None and request.attachment_id in (None, ours.attachment_id):
                how = Standing.MEANT  # the usual case, for which no evidence is needed
            else:
                how = standing(ours, request, was, seen.actions, policy, now)
        case = replace(
            self,
            seen=seen,
            volume=volume,
            ours=ours,
            standing=how,
            several=len(here) > 1,
            apart=bool(ours and ours.attachment_id and entry and entry.attachment_id not in (None, ours.attachment_id)),
            offloaded=offloaded,
            listed=bool(entry) if seen.listing_read else None,
        )
        held = how in OURS and case.listed is not False
        status = volume.status if held and volume else ""
        progress = replace(
            was,
            polls=was.polls + 1,
            before=was.before or case.state,
            place=was.place or seen.place,
            followed=ours if how in OURS else was.followed,
            idle_reads=was.idle_reads + 1 if case.listed and status == "in-use" else 0,
            error_reads=was.error_reads + 1 if case.listed and status.startswith("error") else 0,
        )
        if status == "detaching":
            progress = replace(progress, detaching_seen=True, detaching_since=was.detaching_since or now)
            if was.unsettled and was.accepted_at is None and volume and not volume.multiattach:
                # The answer to our DELETE was lost, its effect was not. On a shared disk it may be another server's
                # detach that shows.
                progress = replace(progress, accepted_at=now, attempt=0)
        elif was.accepted_at is None and held and case.listed:
            # Attached as before. If one plane is, or may be, ahead of the other, a detach is about to end, and its
            # clock runs on.
            progress = replace(progress, detaching_since=None, detaching_seen=False)
        return replace(case, progress=progress)

    def sent(self, answer: Classified, receipt: str | None, now: datetime) -> Case:
        """Take in what came back of the DELETE that was just sent."""
        if answer.code in NOT_SENT:
            return self.unreadable(answer)
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
            if answer.kind is AnswerClass.PERMANENT and answer.reason not in (None, *NOT_FOUND):
                denial = Denial(reason=answer.reason, why=f"DELETE: {answer.code} {answer.message}".strip())
                progress = replace(progress, denied=denial, idle_reads=0, attempt=0)
        return replace(self, progress=progress)

    def unreadable(self, answer: Classified) -> Case:
        """Take in that the cloud could not be read."""
        return replace(self, progress=replace(self.progress, last_error=f"{answer.code}: {answer.message}"))

    def stepped(self, decision: Requeue | Conclude | Disks, calls: tuple[Call, ...]) -> Case:
        """Book the calls of this step and, if the case comes back, count it: a look that was finished."""
        progress = replace(self.progress, calls=kept_calls(self.progress.calls, calls))
        if isinstance(decision, Requeue):
            attempt = progress.attempt + 1
            if decision.announce_unconfirmed:
                request, attempt = self.request, 0
                announced = verdict_id(request.source, request.id, request.volume_id, Outcome.UNCONFIRMED)
                progress = replace(progress, unconfirmed_id=announced)
            # What an earlier delivery may have done matters until it is known which attachment is meant.
            since = None if progress.followed else progress.redelivered_since
            progress = replace(progress, attempt=attempt, failures=0, redelivered_since=since)
        return replace(self, progress=progress)


def _offloaded(seen: Seen) -> bool:
    return seen.server is not None and seen.server.offloaded and not seen.server.task_state


def _chosen(here: list[Attachment], followed: Attachment | None, asked: str | None) -> Attachment:
    """Of several attachments to the server, the one followed or named, or else the first."""
    same = [one for one in here if followed and identity(one) == identity(followed)]
    return (same or [one for one in here if asked == one.attachment_id] or here)[0]


def _bound(ours: Attachment | None, entry: Listed | None, followed: Attachment | None) -> Attachment | None:
    """The attachment with the binding that compute tells of it, or that was told before.

    Nova's list was read a moment earlier; only if it names this very attachment the binding is this one's.
    """
    if ours is None:
        return None
    if entry and entry.bdm_uuid and ours.attachment_id in (None, entry.attachment_id):
        return replace(ours, bdm_uuid=entry.bdm_uuid)
    same = followed is not None and identity(followed) == identity(ours)
    return replace(ours, bdm_uuid=followed.bdm_uuid) if followed and same else ours


def kept_calls(earlier: tuple[Call, ...], latest: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls of the latest look, every DELETE and every failed call; for want of room, DELETEs longest."""
    telling = [call for call in earlier if call.operation == DELETE_CALL or call.status >= 400 or call.status == 0]
    surplus = max(0, len(telling) + len(latest) - CALLS_KEPT)
    dropped = sorted(range(len(telling)), key=lambda at: (telling[at].operation == DELETE_CALL, at))[:surplus]
    return (*(call for at, call in enumerate(telling) if at not in dropped), *latest)[-CALLS_KEPT:]


# --------------------------------------------------------------------------------------------- what comes of it


@dataclass(frozen=True)
class NotLookedAt:
    """There was no time: the case is put back as it was."""


@dataclass(frozen=True)
class Broken:
    """The look was not finished: our own code failed, or the invocation ended in the middle.

    `then` is what follows a failure of our own code (`decision.failures`); without it the message comes again.
    """

    error: BaseException
    then: Requeue | Conclude | None = None


@dataclass(frozen=True)
class Step:
    """What one visit made of one case, and the calls that it took."""

    case: Case
    decision: Requeue | Conclude | Disks | NotLookedAt | Broken
    calls: tuple[Call, ...] = ()
