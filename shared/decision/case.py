"""The case: one volume of one request, its progress, what the latest look read, and the possible results of a step."""

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
"""Codes of a DELETE that was not sent: there was no token for it, or no time."""

NOT_FOUND = (Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND)
"""A 404 to the DELETE does not say what is missing; reads settle that."""

CREDENTIALS_UNREAD = "credentials_unread"
"""The code of a look that was impossible because the credentials could not be read."""


# ---------------------------------------------------------------------------------------------------- decisions


@dataclass(frozen=True)
class Delete:
    """Send the DELETE now: the last read shows the requested attachment, and no detach under way."""


@dataclass(frozen=True)
class Requeue:
    """Look again in `seconds`; `announce_unconfirmed` emits `unconfirmed`, once."""

    seconds: int
    why: str
    announce_unconfirmed: bool = False


@dataclass(frozen=True)
class Conclude:
    """The request ends with this outcome; `cause` is for dead letters."""

    outcome: Outcome
    detail: Detail | Reason
    reason: Reason | None = None
    explanation: str = ""
    cause: Cause | None = None


Decision = Delete | Requeue | Conclude


@dataclass(frozen=True)
class Disks:
    """The data disks of the server at the time of the listing: the request is for these."""

    volume_ids: tuple[str, ...]


def detached(detail: Detail, explanation: str = "") -> Conclude:
    return Conclude(Outcome.DETACHED, detail, explanation=explanation)


def failed(reason: Reason, explanation: str = "") -> Conclude:
    return Conclude(Outcome.FAILED, reason, reason, explanation)


# ----------------------------------------------------------------------------------------------------- the case


@dataclass(frozen=True)
class Case:
    """A request for one volume, its message, its progress, and what the latest look read.

    `saw` derives the remaining fields from the look. `ours` is the attachment to the server that this case is about;
    `standing` is its relation to the attachment that the request means. While a server is moved, there may be `several`
    attachments, or the planes name different ones (`apart`). `offloaded` means that only compute names the attachment,
    because the server is shelved and on no host. `listed` says whether the server's list has the volume; None if it was
    not read.
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
        """Whether the next look may lead to a DELETE, so that it must read the server too."""
        return self.progress.accepted_at is None and not self.progress.detaching_seen

    @property
    def watching_since(self) -> datetime | None:
        """When the detach under way began: our accepted one, or another requester's that we joined.

        A shared volume is `detaching` for any of its servers, so its status is no reason to join.
        """
        joined = None if self.volume and self.volume.multiattach else self.progress.detaching_since
        return self.progress.accepted_at or joined

    @property
    def state(self) -> State | None:
        """What the latest look read, in the terms of the public contract; None before the first look."""
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
        """Update the case from a look: which attachment is followed, whether it is being detached, and since when."""
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
                # The answer to our DELETE was lost, but the DELETE had its effect. A shared volume may be detaching
                # from another server.
                progress = replace(progress, accepted_at=now, attempt=0)
        elif was.accepted_at is None and held and case.listed:
            # Attached as before. If only one plane shows the attachment, a detach is about to end, and its time keeps
            # running.
            progress = replace(progress, detaching_since=None, detaching_seen=False)
        return replace(case, progress=progress)

    def sent(self, answer: Classified, receipt: str | None, now: datetime) -> Case:
        """Update the case from the answer to the DELETE that was just sent."""
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
        """Update the case after the cloud could not be read."""
        return replace(self, progress=replace(self.progress, last_error=f"{answer.code}: {answer.message}"))

    def stepped(self, decision: Requeue | Conclude | Disks, calls: tuple[Call, ...]) -> Case:
        """Record the calls of this step and, if the case is requeued, count the finished look."""
        progress = replace(self.progress, calls=kept_calls(self.progress.calls, calls))
        if isinstance(decision, Requeue):
            attempt = progress.attempt + 1
            if decision.announce_unconfirmed:
                request, attempt = self.request, 0
                announced = verdict_id(request.source, request.id, request.volume_id, Outcome.UNCONFIRMED)
                progress = replace(progress, unconfirmed_id=announced)
            # An earlier delivery matters only until a look has shown what it left, and which attachment is meant.
            looked = self.seen is not None and self.standing is not Standing.ASK
            since = None if looked and progress.followed else progress.redelivered_since
            progress = replace(progress, attempt=attempt, failures=0, redelivered_since=since)
        return replace(self, progress=progress)


def _offloaded(seen: Seen) -> bool:
    return seen.server is not None and seen.server.offloaded and not seen.server.task_state


def _chosen(here: list[Attachment], followed: Attachment | None, asked: str | None) -> Attachment:
    """Of several attachments to the server, the one that is followed or named, or else the first."""
    same = [one for one in here if followed and identity(one) == identity(followed)]
    return (same or [one for one in here if asked == one.attachment_id] or here)[0]


def _bound(ours: Attachment | None, entry: Listed | None, followed: Attachment | None) -> Attachment | None:
    """The attachment with its binding: the one that compute names now, or the one known before.

    Nova's list was read a moment earlier, so its binding counts only if it names this very attachment.
    """
    if ours is None:
        return None
    if entry and entry.bdm_uuid and ours.attachment_id in (None, entry.attachment_id):
        return replace(ours, bdm_uuid=entry.bdm_uuid)
    same = followed is not None and identity(followed) == identity(ours)
    return replace(ours, bdm_uuid=followed.bdm_uuid) if followed and same else ours


def kept_calls(earlier: tuple[Call, ...], latest: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls of the latest look, every DELETE and every failed call. If there are too many, DELETEs are kept
    longest."""
    telling = [call for call in earlier if call.operation == DELETE_CALL or call.status >= 400 or call.status == 0]
    surplus = max(0, len(telling) + len(latest) - CALLS_KEPT)
    dropped = sorted(range(len(telling)), key=lambda at: (telling[at].operation == DELETE_CALL, at))[:surplus]
    return (*(call for at, call in enumerate(telling) if at not in dropped), *latest)[-CALLS_KEPT:]


# --------------------------------------------------------------------------------------------- what comes of it


@dataclass(frozen=True)
class NotLookedAt:
    """There was no time to look: the case is requeued unchanged."""


@dataclass(frozen=True)
class Broken:
    """The look was not finished: our own code failed, or the invocation ended during it.

    `then` is what follows a failure of our own code (`decision.failures`). Without it, the message is redelivered.
    """

    error: BaseException
    then: Requeue | Conclude | None = None


@dataclass(frozen=True)
class Step:
    """The result of one visit for one case, and the calls that it made."""

    case: Case
    decision: Requeue | Conclude | Disks | NotLookedAt | Broken
    calls: tuple[Call, ...] = ()
