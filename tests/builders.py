"""Values for tests of the core: one ordinary case, said once, and changed in the one point that matters."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue
from shared.decision.progress import Progress
from shared.model import (
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
from tests.messages import SERVER, VOLUME

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

OTHER_SERVER = "c3d3250c-7ce5-42cc-b620-dd2b63d19ca5"
ATTACHMENT = "011a2bdb-a033-4479-845b-50bd8ed7f4d4"
OTHER_ATTACHMENT = "d42a3356-2c63-4d7c-b56e-25b2e3c1fb38"


def ago(**span: float) -> datetime:
    """A moment before NOW: `ago(seconds=15)`."""
    return NOW - timedelta(**span)


REQUESTED = ago(hours=7)
FOLLOWED = Attachment(ATTACHMENT, ago(days=30), "/dev/sdb")
"""VOLUME on SERVER, for a month."""

On = tuple[str, Attachment]
"""An attachment, and the server that it is to."""


def request(**changes: Any) -> DetachRequest:
    """A wish, some hours old, to have VOLUME off SERVER."""
    return replace(DetachRequest("4711", "/changes", REQUESTED, SERVER, VOLUME), **changes)


def attachment(server_id: str = SERVER, **changes: Any) -> On:
    return server_id, replace(FOLLOWED, **changes)


def volume(status: str = "in-use", *attachments: On, **changes: Any) -> Volume:
    """VOLUME, attached to SERVER unless its status or its attachments say otherwise."""
    default = () if status == "available" else (attachment(),)
    return Volume(VOLUME, status, attachments or default, **changes)


LINUX_SERVER = Server(SERVER, "ACTIVE", vm_state="active", power_state=1, locked=False, root_device="/dev/sda",
                      metadata={"os_type": "Linux"})  # fmt: skip


def server(**changes: Any) -> Server:
    """SERVER, running Linux from /dev/sda."""
    return replace(LINUX_SERVER, **changes)


LISTED = (Listed("6d0cb1a4-5b0e-4e2a-a1d5-1f2f6c5ac1d1", "/dev/sda"), Listed(VOLUME, "/dev/sdb"))
NOT_LISTED = LISTED[:1]


def seen(volume: Volume | None, listing: tuple[Listed, ...] | None = LISTED, **changes: Any) -> Seen:
    """Both planes, and the running server, as just read."""
    return Seen(volume, listing, **{"server": LINUX_SERVER, **changes})


def unlisted(volume: Volume | None) -> Seen:
    """A look that the volume alone settled, or did not: the list was not read."""
    return Seen(volume, listing_read=False)


def progress(**changes: Any) -> Progress:
    """A request first seen now, of which nothing is known yet."""
    return Progress(**{"first_seen_at": NOW, **changes})


def case(so_far: Progress | None = None, asked: DetachRequest | None = None) -> Case:
    return Case(asked or request(), Message("", "m-1", "queue", REQUESTED), so_far or progress())


def call(operation: str = "get_volume", status: int = 200, **changes: Any) -> Call:
    return Call(operation=operation, at=NOW, status=status, **changes)


def answer(kind: AnswerClass, reason: Reason | None = None, retry_after: float | None = None) -> Classified:
    """What came back of a call, understood."""
    return Classified(kind, f"test.{kind.value}", "as the cloud put it", reason, retry_after)


def said(decision: Decision) -> str:
    """A decision in a word or two, so that a table of them can be read."""
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
