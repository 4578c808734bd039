"""How a look at the cloud moves a request's progress on (pure)."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.model import (
    AnswerClass,
    Attachment,
    AttachmentRecord,
    Call,
    Classified,
    DetachRequest,
    Observation,
    Progress,
    State,
)

CALLS_KEPT = 20
"""Evidence stays small: a request may be watched for hours, and an event must fit into 64 KB."""


def state_of(request: DetachRequest, seen: Observation) -> State:
    """What both planes say, in the words of the public contract."""
    ours = seen.volume.attachment_to(request.server_id) if seen.volume else None
    return State(
        volume_status=seen.volume.status if seen.volume else None,
        attachment=record(ours) if ours else None,
        listed_by_server=seen.listed(request.volume_id) is not None if seen.listing is not None else None,
        server_status=seen.server.status if seen.server else None,
        attached_to=tuple(a.server_id for a in seen.volume.attachments) if seen.volume else (),
    )


def record(attachment: Attachment) -> AttachmentRecord:
    return AttachmentRecord(
        attachment_id=attachment.attachment_id,
        attached_at=attachment.attached_at,
        device=attachment.device,
    )


def is_newer(request: DetachRequest, attachment: Attachment, skew: timedelta) -> bool:
    """Made after the request was issued: not what the requester saw (the fence, design rule 3)."""
    return attachment.attached_at is not None and attachment.attached_at > request.requested_at + skew


def is_named(request: DetachRequest, attachment: Attachment) -> bool:
    """The attachment the request names, or any where it names none."""
    return request.attachment_id is None or request.attachment_id == attachment.attachment_id


def attachment_here(request: DetachRequest, progress: Progress, seen: Observation) -> Attachment | None:
    """The volume's attachment to the server; of two, as while a server is moved, the one followed or named."""
    here = [a for a in (seen.volume.attachments if seen.volume else ()) if a.server_id == request.server_id]
    ours = [a for a in here if a.generation == progress.generation] or [a for a in here if is_named(request, a)]
    return next(iter(ours or here), None)


def follow(request: DetachRequest, progress: Progress, seen: Observation, now: datetime, skew: timedelta) -> Progress:
    """Take in what was just read: which attachment we follow, whether it is being detached, for how long."""
    changes: dict[str, object] = {"polls": progress.polls + 1}
    if progress.before is None:
        changes["before"] = state_of(request, seen)
    ours = attachment_here(request, progress, seen)
    generation = progress.generation
    if ours and generation is None and is_named(request, ours) and not is_newer(request, ours, skew):
        generation = ours.generation
        changes |= {"generation": generation, "followed": record(ours)}
    same = ours is not None and ours.generation == generation
    listed = seen.listed(request.volume_id) is not None
    detaching = bool(same and listed and seen.volume and seen.volume.status == "detaching")
    idle = bool(same and listed and seen.volume and seen.volume.status == "in-use")
    changes["idle_reads"] = progress.idle_reads + 1 if idle else 0
    changes["detaching_read_at"] = now if detaching else None
    if detaching:
        changes |= {"detaching_seen": True, "detaching_since": progress.detaching_since or now}
        shared_disk = seen.volume is not None and seen.volume.multiattach
        if progress.unsettled and progress.accepted_at is None and not shared_disk:
            # The answer to our DELETE was lost, its effect was not. On a shared disk it may be another
            # server's detach that shows.
            changes |= {"accepted_at": now, "attempt": 0}
    elif progress.accepted_at is None and same and listed:
        # Attached as before. One plane ahead of the other is a detach that is about to end: its clock runs on.
        changes |= {"detaching_since": None, "detaching_seen": False}
    return progress.model_copy(update=changes)


def may_delete(progress: Progress) -> bool:
    """Whether the next look may end in a DELETE, so that the server is to be read too."""
    return progress.accepted_at is None and not progress.detaching_seen


def may_glance(progress: Progress, within: timedelta, now: datetime) -> bool:
    """Whether the server's list is enough to ask: nothing can be proven until it has let go.

    It is after our acceptance: just then, and for a while once the volume was read as detaching. Both planes are read
    before long all the same, for the volume alone shows a refusal. Another's detach is none to glance at: what is
    to be done after it is still ours to do.
    """
    if progress.accepted_at is None:
        return False
    if progress.detaching_read_at:
        return now - progress.detaching_read_at < within
    return progress.idle_reads == 0 and now - progress.accepted_at < within / 10


def after_delete(progress: Progress, classified: Classified, call: Call | None, now: datetime) -> Progress:
    """Book the DELETE that was just sent, by what came back of it."""
    changes: dict[str, object] = {
        "deletes_sent": progress.deletes_sent + 1,
        "last_delete_at": now,
        "delete_request_id": call.openstack_request_id if call else None,
    }
    if classified.kind is AnswerClass.ACCEPTED:
        changes |= {
            "accepted_at": now,
            "attempt": 0,
            "idle_reads": 0,
            "detaching_seen": False,
            "detaching_since": None,
        }
    else:
        changes["last_error"] = f"{classified.code}: {classified.message}"
        if classified.kind not in (AnswerClass.RETRY, AnswerClass.WAIT):
            changes["unsettled"] = progress.unsettled + 1
    return progress.model_copy(update=changes)


def with_calls(progress: Progress, calls: tuple[Call, ...]) -> Progress:
    """Keep the calls of the latest look, every DELETE and every failed call; for want of room, DELETEs longest."""
    telling = [call for call in progress.calls if _is_delete(call) or call.status >= 400 or call.status == 0]
    surplus = max(0, len(telling) + len(calls) - CALLS_KEPT)
    dropped = sorted(range(len(telling)), key=lambda at: (_is_delete(telling[at]), at))[:surplus]
    earlier = [call for at, call in enumerate(telling) if at not in dropped]
    return progress.model_copy(update={"calls": (*earlier, *calls)[-CALLS_KEPT:]})


def _is_delete(call: Call) -> bool:
    return call.operation == "delete_attachment"
