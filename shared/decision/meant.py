"""Finds out whether an attachment is the one that a request means: the one at the time of the request, or the one it
names.

An attachment with another id may still be the same one. A resize, migration, evacuation, shelve or unshelve of the
server renews the attachment, and so does a migration of the disk. Or somebody attached the disk again, and then the
request does not mean it. The two are told apart by evidence: Nova's `bdm_uuid`, which a move keeps and an attach
renews, or else the server's action records. Without evidence, the answer is unknown.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from shared.decision.progress import Progress
from shared.model import Action, Attachment, DetachRequest
from shared.policy import RECORD_SLACK, Policy

ATTACH, DETACH = "attach_volume", "detach_volume"


class Standing(StrEnum):
    """The relation of the attachment that was read to the one that the request means."""

    MEANT = "meant"
    MOVED = "moved"
    REATTACHED = "reattached"
    ASK = "ask"
    UNKNOWN = "unknown"


OURS = (Standing.MEANT, Standing.MOVED)
"""The request means this attachment; after a move it has another id."""


def identity(attachment: Attachment) -> str:
    """The identity of an attachment among those of the same volume to the same server.

    Attaching a volume again makes a new attachment (EVS API, querying details of a disk); so does a move.
    """
    return attachment.attachment_id or (attachment.attached_at.isoformat() if attachment.attached_at else "unnamed")


def is_newer(attachment: Attachment, request: DetachRequest, policy: Policy) -> bool:
    """Whether it was made after the request, with an allowance for different clocks of the sender and the cloud."""
    return attachment.attached_at is not None and attachment.attached_at > request.requested_at + policy.fence_skew


def standing(
    ours: Attachment,
    request: DetachRequest,
    progress: Progress,
    actions: tuple[Action, ...] | None,
    policy: Policy,
    now: datetime,
) -> Standing:
    """The relation of `ours` to the attachment that the request means.

    `actions` are the server's action records: None if they were not read, empty if the cloud keeps none.
    """
    followed = progress.followed
    if followed is None:
        return _first_seen(ours, request, progress, actions, policy, now)
    same = identity(ours) == identity(followed)
    if ours.bdm_uuid and followed.bdm_uuid:
        again = ours.bdm_uuid != followed.bdm_uuid
        return Standing.REATTACHED if again else Standing.MEANT if same else Standing.MOVED
    if same and (ours.attachment_id or ours.attached_at):
        return Standing.MEANT
    # The followed attachment existed at the time of the request. Earlier attaches, of other disks, do not matter.
    asked_at = request.requested_at - policy.fence_skew
    if same:
        # Neither has an id or a time, so they may differ although they look equal.
        return _by_absence(actions, asked_at)
    return _by_records(ours, actions, max(followed.attached_at or asked_at, asked_at))


def _first_seen(
    ours: Attachment,
    request: DetachRequest,
    progress: Progress,
    actions: tuple[Action, ...] | None,
    policy: Policy,
    now: datetime,
) -> Standing:
    """No attachment is followed yet: compare times, then the id that the request names, then the records."""
    made, since, asked = request.requested_at, request.requested_at - policy.fence_skew, request.attachment_id
    if asked not in (None, ours.attachment_id):
        return _named_before(ours, actions, since)
    if is_newer(ours, request, policy):
        return _by_records(ours, actions, since)
    if ours.attached_at is None and not asked and now - policy.fence_skew > made:
        # The attachment has no time to compare. It is older than the request if no attach has begun since.
        return _by_absence(actions, made)
    if progress.redelivered_since and ours.attached_at and ours.attached_at > made:
        # The clocks may explain the difference, but an earlier delivery may have detached the requested attachment.
        return _unless_detached(ours, actions, since)
    return Standing.MEANT


def _by_records(ours: Attachment, actions: tuple[Action, ...] | None, since: datetime) -> Standing:
    """Moved if a move explains the attachment and no attach has begun since; re-attached if only an attach explains
    it."""
    if actions is None:
        return Standing.ASK
    attached = any(one.started_at > since for one in actions if one.kind == ATTACH)
    moved = any(_accounts_for(one, ours, actions, since) for one in actions if one.moves)
    if moved and not attached:
        return Standing.MOVED
    by_attach = any(_accounts_for(one, ours, actions, since) for one in actions if one.kind == ATTACH)
    return Standing.REATTACHED if by_attach and attached and not moved else Standing.UNKNOWN


def _named_before(ours: Attachment, actions: tuple[Action, ...] | None, since: datetime) -> Standing:
    """The request names another attachment. It is the same one if a move made this one, with no detach before that.

    The age of the named attachment is unknown, so the times of attaches before the request exclude nothing. But a
    volume must be detached before it is attached again, and no attach may have begun since the request.
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
    """Meant if no attach has begun since; the records do not say which disk an attach was for."""
    if actions is None:
        return Standing.ASK
    attached = any(one.kind == ATTACH and one.started_at > since for one in actions)
    return Standing.MEANT if actions and not attached else Standing.UNKNOWN


def _unless_detached(ours: Attachment, actions: tuple[Action, ...] | None, since: datetime) -> Standing:
    """Meant unless a detach came before it: without a detach, nothing can have been attached again."""
    if actions is None:
        return Standing.ASK
    return Standing.UNKNOWN if _detached_before(ours, actions, since) else Standing.MEANT


def _detached_before(ours: Attachment, actions: tuple[Action, ...], since: datetime) -> bool:
    """Whether a detach of any disk began between `since` and the time of the attachment."""
    until = ours.attached_at + timedelta(seconds=RECORD_SLACK) if ours.attached_at else None
    begun = (one.started_at for one in actions if one.kind == DETACH)
    return any(since <= moment and (until is None or moment <= until) for moment in begun)


def _accounts_for(action: Action, ours: Attachment, actions: tuple[Action, ...], since: datetime) -> bool:
    """Whether this action can have made the attachment: the attachment's time lies between its begin and end.

    Both times are whole seconds of two services, and a record closes a little before its effect shows. Before
    microversion 2.58 records have no end: then the next attach or move ends the action. An attachment without a time
    was made while its server was shelved, and gets a time when the server is unshelved.
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
