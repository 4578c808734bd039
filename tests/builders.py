"""Builders of values for tests of the decision. Each builds an ordinary value, and a test changes what it needs."""

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue
from shared.decision.progress import Progress
from shared.model import (
    Action,
    AnswerClass,
    Attachment,
    Call,
    Classified,
    DetachRequest,
    Listed,
    Message,
    Reason,
    Seen,
    Server,
    Volume,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

SERVER = "95bf2490-5428-432c-ad9b-5e3406f869dd"
OTHER_SERVER = "c3d3250c-7ce5-42cc-b620-dd2b63d19ca5"
VOLUME = "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6"
ATTACHMENT = "011a2bdb-a033-4479-845b-50bd8ed7f4d4"
OTHER_ATTACHMENT = "d42a3356-2c63-4d7c-b56e-25b2e3c1fb38"


def ago(**span: float) -> datetime:
    """A time before NOW: `ago(seconds=15)`."""
    return NOW - timedelta(**span)


REQUESTED = ago(minutes=30)
ATTACHED = ago(days=30)


def request(**changes: Any) -> DetachRequest:
    """A request, half an hour old, to detach VOLUME from SERVER."""
    ordinary = {"id": "4711", "source": "/changes", "requested_at": REQUESTED, "server_id": SERVER, "volume_id": VOLUME}
    return DetachRequest(**{**ordinary, **changes})


def attachment(**changes: Any) -> Attachment:
    """An attachment as /dev/sdb, a month old."""
    return Attachment(**{"attachment_id": ATTACHMENT, "attached_at": ATTACHED, "device": "/dev/sdb", **changes})


def elsewhere(**changes: Any) -> tuple[str, Attachment]:
    """An attachment to another server, a month old."""
    return OTHER_SERVER, attachment(**{"attachment_id": OTHER_ATTACHMENT, **changes})


def volume(status: str = "in-use", *attachments: Attachment | tuple[str, Attachment], **changes: Any) -> Volume:
    """VOLUME, by default attached to SERVER."""
    attached = attachments or (() if status == "available" else (attachment(),))
    return Volume(
        VOLUME, status, tuple(one if isinstance(one, tuple) else (SERVER, one) for one in attached), **changes
    )


STOPPED = {"status": "SHUTOFF", "vm_state": "stopped", "power_state": 4}


def server(**changes: Any) -> Server:
    """SERVER, running Linux from /dev/sda."""
    running = {"status": "ACTIVE", "vm_state": "active", "power_state": 1, "locked": False}
    return Server(**{"id": SERVER, **running, "root_device": "/dev/sda", "metadata": {"os_type": "Linux"}, **changes})


def record(kind: str, began: datetime, ended: datetime | None = None, **changes: Any) -> Action:
    """An action record of the server; a cloud that does not report the end gives none."""
    return Action(kind, began, ended, **changes)


CREATED = record("create", ago(days=90), ago(days=90))
"""The first record of every server."""

LISTED = (Listed("6d0cb1a4-5b0e-4e2a-a1d5-1f2f6c5ac1d1", "/dev/sda"), Listed(VOLUME, "/dev/sdb"))
NOT_LISTED = LISTED[:1]


def seen(volume: Volume | None, listing: tuple[Listed, ...] | None = LISTED, **changes: Any) -> Seen:
    """What a look at both planes and the running server returns."""
    return Seen(volume, listing, **{"server": server() if listing is not None else None, **changes})


def unread(volume: Volume | None) -> Seen:
    """What a look at the volume only returns, as during a detach."""
    return Seen(volume, listing_read=False)


def progress(**changes: Any) -> Progress:
    """The progress of a request that is first seen now."""
    return Progress(**{"first_seen_at": NOW, **changes})


FRESH = progress()
FOLLOWING = progress(followed=attachment())


def lost(deletes: int, seconds_ago: float, **changes: Any) -> Progress:
    """Progress with that many DELETEs of unknown outcome, the last one that long ago."""
    sent = {"deletes_sent": deletes, "unsettled": deletes, "last_delete_at": ago(seconds=seconds_ago)}
    return progress(**{"followed": attachment(), **sent, **changes})


def throttled(seconds_ago: float) -> Progress:
    """Progress with one DELETE that certainly had no effect."""
    return lost(1, seconds_ago, unsettled=0, last_error="http_429: slow down")


def accepted(seconds_ago: float, **changes: Any) -> Progress:
    """Progress with one accepted DELETE."""
    at = ago(seconds=seconds_ago)
    return lost(1, seconds_ago, **{"unsettled": 0, "first_seen_at": at, "accepted_at": at, **changes})


def joined(seconds_ago: float, **changes: Any) -> Progress:
    """Progress without a DELETE, while somebody else's detach has been under way for that long."""
    since = ago(seconds=seconds_ago)
    shown = {"first_seen_at": since, "detaching_since": since, "detaching_seen": True}
    return progress(**{"followed": attachment(), **shown, **changes})


def case(so_far: Progress = FRESH, asked: DetachRequest | None = None) -> Case:
    """A case that has not been looked at in this delivery."""
    return Case(asked or request(), Message("{}", "m-1", "queue", NOW), so_far)


def call(operation: str = "get_volume", status: int = 200) -> Call:
    return Call(operation=operation, at=NOW, status=status)


def answer(kind: AnswerClass, reason: Reason | None = None, retry_after: float | None = None) -> Classified:
    """The classified answer of a call."""
    return Classified(kind, f"test.{kind.value}", "as the cloud put it", reason, retry_after)


def in_words(decision: Decision) -> str:
    """A decision in a word or two, for readable tables."""
    match decision:
        case Delete():
            return "delete"
        case Requeue(announce_unconfirmed=True):
            return "wait, say unconfirmed"
        case Requeue():
            return "wait"
        case Conclude(outcome, detail, reason) if reason and reason.value != detail:
            return f"{outcome}: {detail} {reason}"
        case Conclude(outcome, detail):
            return f"{outcome}: {detail}"
