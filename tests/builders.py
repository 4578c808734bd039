"""Values for tests of the core: one ordinary case, said once, and changed in the one point that matters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.model import (
    AnswerClass,
    Attachment,
    Call,
    Classified,
    Conclude,
    Decision,
    Delete,
    DetachRequest,
    Inspect,
    Listed,
    Observation,
    Progress,
    Reason,
    Server,
    Volume,
    Wait,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

SERVER = "95bf2490-5428-432c-ad9b-5e3406f869dd"
OTHER_SERVER = "c3d3250c-7ce5-42cc-b620-dd2b63d19ca5"
VOLUME = "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6"
ATTACHMENT = "011a2bdb-a033-4479-845b-50bd8ed7f4d4"
OTHER_ATTACHMENT = "d42a3356-2c63-4d7c-b56e-25b2e3c1fb38"


def ago(**span: float) -> datetime:
    """A moment before NOW: `ago(seconds=15)`."""
    return NOW - timedelta(**span)


REQUESTED = ago(hours=7)
ATTACHED = ago(days=30)


def request(**changes: Any) -> DetachRequest:
    """A wish, some hours old, to have VOLUME off SERVER."""
    ordinary: Mapping[str, Any] = {
        "id": "4711",
        "source": "/changes",
        "requested_at": REQUESTED,
        "server_id": SERVER,
        "volume_id": VOLUME,
    }
    return DetachRequest(**{**ordinary, **changes})


def attachment(**changes: Any) -> Attachment:
    """VOLUME on SERVER as /dev/sdb, for a month."""
    ordinary = {"server_id": SERVER, "attachment_id": ATTACHMENT, "attached_at": ATTACHED, "device": "/dev/sdb"}
    return Attachment(**{**ordinary, **changes})


def volume(status: str = "in-use", *attachments: Attachment, **changes: Any) -> Volume:
    """VOLUME, attached to SERVER unless its status or its attachments say otherwise."""
    default = () if status == "available" else (attachment(),)
    return Volume(VOLUME, status, attachments or default, **changes)


def server(**changes: Any) -> Server:
    """SERVER, running Linux from /dev/sda."""
    ordinary = {
        "id": SERVER,
        "status": "ACTIVE",
        "vm_state": "active",
        "power_state": 1,
        "locked": False,
        "root_device": "/dev/sda",
        "metadata": {"os_type": "Linux"},
    }
    return Server(**{**ordinary, **changes})


LISTED = (Listed("6d0cb1a4-5b0e-4e2a-a1d5-1f2f6c5ac1d1", "/dev/sda"), Listed(VOLUME, "/dev/sdb"))
NOT_LISTED = LISTED[:1]


def seen(volume: Volume | None, listing: tuple[Listed, ...] | None = LISTED, **changes: Any) -> Observation:
    """Both planes, and the running server, as just read."""
    return Observation(volume, listing, **{"server": server(), **changes})


def progress(**changes: Any) -> Progress:
    """A request first seen now, of which nothing is known yet."""
    return Progress(**{"first_seen_at": NOW, **changes})


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
        case Inspect():
            return "inspect"
        case Wait(announce_unconfirmed=True):
            return "wait, say unconfirmed"
        case Wait():
            return "wait"
        case Conclude(outcome, detail, reason) if reason and reason.value != detail:
            return f"{outcome}: {detail} {reason}"
        case Conclude(outcome, detail):
            return f"{outcome}: {detail}"
