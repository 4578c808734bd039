"""Holds a verdict against the simulated cloud's own record of what happened."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from simulator import Happened, What

VOLUME_READS = ("get_volume", "list_volumes")

STILL_ATTACHED = {
    *("refused_by_server", "system_disk", "attestation_required", "server_running", "server_locked"),
    *("volume_locked", "volume_frozen", "volume_protected", "volume_error", "expired", "superseded"),
}
"""Reasons that claim: the disk is attached as before."""


class Record:
    """The history, up to a moment, of one volume on one server."""

    def __init__(self, history: Sequence[Happened], server_id: str, volume_id: str, until: datetime) -> None:
        about = [h for h in history if h.at <= until]
        self.events = [h for h in about if (h.server_id, h.volume_id) == (server_id, volume_id)]
        self.server_deleted = any(h.what is What.SERVER_DELETED and h.server_id == server_id for h in about)
        self.volume_deleted = any(h.what is What.VOLUME_DELETED and h.volume_id == volume_id for h in about)

    def of(self, what: What) -> list[str | None]:
        return [h.attachment_id for h in self.events if h.what is what]

    @property
    def held(self) -> set[str | None]:
        """The attachments that a plane still holds."""
        gone = set(self.of(What.CINDER_DETACHED)) & set(self.of(What.NOVA_DETACHED))
        return set(self.of(What.ATTACHED)) - gone


def disagreement(history: Sequence[Happened], event: Mapping[str, Any]) -> str | None:
    """Why a verdict is not true by the cloud's record at its time; None if it is."""
    data = event["data"]
    if not (data.get("server_id") and data.get("volume_id")):
        return None
    # A verdict speaks of the world as it was last looked at; the volume is what is read last.
    looks = [call["at"] for call in data["evidence"].get("calls", ()) if call["operation"] in VOLUME_READS]
    until = datetime.fromisoformat((looks or [data["timing"]["concluded_at"]])[-1])
    record = Record(history, data["server_id"], data["volume_id"], until)
    return CLAIMS[data["verdict"]](record, data)


def _detached(record: Record, data: Mapping[str, Any]) -> str | None:
    followed = data.get("attachment_id")
    if followed in record.held:
        return f"said detached while attachment {followed} was still there"
    if data["detail"] == "replaced_by_newer":
        return None if record.held else "said that a newer attachment was there, and there was none"
    if record.held and not record.server_deleted:
        return f"said detached while {record.held} was there"
    accepted = record.of(What.DELETE_ACCEPTED).count(followed) - record.of(What.DETACH_REFUSED).count(followed)
    if data["detail"] == "detached_now" and accepted != 1:
        return f"claims the detach as its own, with {accepted} accepted DELETEs that were not refused later"
    gone = {"server_gone": record.server_deleted, "volume_gone": record.volume_deleted}
    return None if gone.get(data["detail"], True) else f"said {data['detail']}, and it was there"


def _failed(record: Record, data: Mapping[str, Any]) -> str | None:
    code = data["reason"]["code"]
    if code in STILL_ATTACHED and not record.held:
        return f"said {code} of a disk that was not attached any more"
    followed = data.get("attachment_id")
    if code in ("refused_by_server", "stuck_detaching") and followed not in record.held:
        return f"said {code} of an attachment that was gone"
    if code == "refused_by_server" and not record.of(What.DETACH_REFUSED):
        return "said that the server refused, and it had not"
    if code == "server_not_found" and record.held:
        return "said that there is no such server, and it held the disk"
    return None


def _unconfirmed(record: Record, data: Mapping[str, Any]) -> str | None:
    """Whoever could not look may say so; whoever looked must have seen it still under way."""
    looked = "after" in data["evidence"]
    return "said that it is not known, when it was over" if looked and not record.held else None


def _checked(record: Record, _data: Mapping[str, Any]) -> str | None:
    return "a dry run sent a DELETE" if record.of(What.DELETE_RECEIVED) else None


CLAIMS = {"detached": _detached, "failed": _failed, "unconfirmed": _unconfirmed, "checked": _checked}
"""What each kind of verdict claims of the world."""
