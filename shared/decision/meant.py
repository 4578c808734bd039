"""Which attachment a request means: the one that was there when it was made, or the one it names (design rule 3).

An attachment that is not that one may be the same one all the same: a server that is resized, migrated, evacuated,
shelved or unshelved keeps its disk under a new attachment, and so does a disk that is migrated. Or somebody attached
the disk again. The two mean opposite things, so what tells them apart has to be evidence: Nova's `bdm_uuid`, which a
move keeps and an attach renews, or else the server's action records. Where neither tells, it is not known.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from shared.decision.progress import Progress
from shared.model import Action, Attachment, DetachRequest
from shared.policy import RECORD_SLACK, Policy

ATTACH, DETACH = "attach_volume", "detach_volume"


class Standing(StrEnum):
    """How the attachment that was read stands to the one that the request means."""

    MEANT = "meant"
    MOVED = "moved"
    REATTACHED = "reattached"
    ASK = "ask"
    UNKNOWN = "unknown"


OURS = (Standing.MEANT, Standing.MOVED)
"""The request means it; after a move it goes by another id."""


def identity(attachment: Attachment) -> str:
    """What tells an attachment from the next one of the same volume to the same server.

    Attaching a volume again makes a new attachment (EVS API, querying details of a disk); so does a move.
    """
    return attachment.attachment_id or (attachment.attached_at.isoformat() if attachment.attached_at else "unnamed")


def is_newer(attachment: Attachment, request: DetachRequest, policy: Policy) -> bool:
    """Made after the request was issued, as far as the clocks of the sender and of the cloud agree."""
    return attachment.attached_at is not None and attachment.attached_at > request.requested_at + policy.fence_skew


def standing(
    ours: Attachment,
    request: DetachRequest,
    progress: Progress,
    actions: tuple[Action, ...] | None,
    policy: Policy,
    now: datetime,
) -> Standing:
    """`actions` are the server's action records: None if they were not read, empty if the cloud keeps none."""
    followed = progress.followed
    if followed is None:
        return _first_seen(ours, request, progress, actions, policy, now)
    same = identity(ours) == identity(followed)
    if ours.bdm_uuid and followed.bdm_uuid:
        again = ours.bdm_uuid != followed.bdm_uuid
        return Standing.REATTACHED if again else Standing.MEANT if same else Standing.MOVED
    if same and (ours.attachment_id or ours.attached_at):
        return Standing.MEANT
    # It was there when the request was made. Attaches before that, of other disks, say nothing.
    asked_at = request.requested_at - policy.fence_skew
    if same:
        return _by_absence(actions, asked_at)  # neither has an id or a time: they look alike, and may not be
    return _by_records(ours, actions, max(followed.attached_at or asked_at, asked_at))


def _first_seen(
    ours: Attachment,
    request: DetachRequest,
    progress: Progress,
    actions: tuple[Action, ...] | None,
    policy: Policy,
    now: datetime,
) -> Standing:
    """Nothing is followed yet: the fence in time, the id that the request names, and then the records."""
    made, since, asked = request.requested_at, request.requested_at - policy.fence_skew, request.attachment_id
    if asked not in (None, ours.attachment_id):
        return _named_before(ours, actions, since)
    if is_newer(ours, request, policy):
        return _by_records(ours, actions, since)
    if ours.attached_at is None and not asked and now - policy.fence_skew > made:
        # No time to hold against the request's: what was attached before it has no attach since.
        return _by_absence(actions, made)
    if progress.redelivered_since and ours.attached_at and ours.attached_at > made:
        # Within what clocks may differ by. But an earlier delivery may have detached the one that was meant.
        return _unless_detached(ours, actions, since)
    return Standing.MEANT


def _by_records(ours: Attachment, actions: tuple[Action, ...] | None, since: datetime) -> Standing:
    """Moved if a move accounts for it and no attach has begun since; re-attached if it is the other way round."""
    if actions is None:
        return Standing.ASK
    attached = any(one.started_at > since for one in actions if one.kind == ATTACH)
    moved = any(_accounts_for(one, ours, actions, since) for one in actions if one.moves)
    if moved and not attached:
        return Standing.MOVED
    by_attach = any(_accounts_for(one, ours, actions, since) for one in actions if one.kind == ATTACH)
    return Standing.REATTACHED if by_attach and attached and not moved else Standing.UNKNOWN


def _named_before(ours: Attachment, actions: tuple[Action, ...] | None, since: datetime) -> Standing:
    """The request names another one. That one is this one if a move made it, and nothing was detached before that.

    How long before the request the named one was attached is not known, so that no attach can be ruled out by its
    time. But to attach a volume again it has to be detached first; and none was attached since the request.
    """
    if actions is None:
        return Standing.ASK
    beginning = min((one.started_at for one in actions), default=since)
    by_move = any(one.moves and _accounts_for(one, ours, actions, beginning) for one in actions)
    attached = any(one.kind == ATTACH and one.started_at > since for one in actions)
    if by_move and not attached and not _detached_before(ours, actions, beginning):
        return Standing.MOVED
    by_attach = any(one.kind == ATTACH and _accounts_for(one, ours, actions, since) for one in actions)
    newer = ours.attached_at is not None and ours.attached_at > since
    return Standing.REATTACHED if by_attach and newer and not by_move else Standing.UNKNOWN


def _by_absence(actions: tuple[Action, ...] | None, since: datetime) -> Standing:
    """Meant if no attach has begun since; of which disk one was, the records do not say."""
    if actions is None:
        return Standing.ASK
    attached = any(one.kind == ATTACH and one.started_at > since for one in actions)
    return Standing.MEANT if actions and not attached else Standing.UNKNOWN


def _unless_detached(ours: Attachment, actions: tuple[Action, ...] | None, since: datetime) -> Standing:
    """Meant unless a detach came before it: without one, nothing can have been attached again."""
    if actions is None:
        return Standing.ASK
    return Standing.UNKNOWN if _detached_before(ours, actions, since) else Standing.MEANT


def _detached_before(ours: Attachment, actions: tuple[Action, ...], since: datetime) -> bool:
    """Whether a detach, of whichever disk, began between a moment and the time of the attachment."""
    until = ours.attached_at + timedelta(seconds=RECORD_SLACK) if ours.attached_at else None
    begun = (one.started_at for one in actions if one.kind == DETACH)
    return any(since <= moment and (until is None or moment <= until) for moment in begun)


def _accounts_for(action: Action, ours: Attachment, actions: tuple[Action, ...], since: datetime) -> bool:
    """Whether the attachment can have been made by this action: its time lies between the action's begin and end.

    Both are whole seconds of two services, and a record is closed a little before its effect shows. Before
    microversion 2.58 records have no end: then the next attach or move is one. An attachment without a time was
    made while its server was shelved, and gets its time when it is unshelved.
    """
    slack = timedelta(seconds=RECORD_SLACK)
    if ours.attached_at is None:
        return action.started_at > since or action.open or bool(action.updated_at and action.updated_at > since)
    if action.started_at > ours.attached_at + slack:
        return False
    if action.open:
        return True
    if action.updated_at:
        return ours.attached_at <= action.updated_at + slack
    later = [
        one.started_at for one in actions if one.started_at > action.started_at and (one.moves or one.kind == ATTACH)
    ]
    return not later or ours.attached_at < min(later)
