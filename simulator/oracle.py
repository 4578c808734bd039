"""Checks a verdict against the simulated cloud's history."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from simulator import Happened, What

VOLUME_READS = ("get_volume", "list_volumes")
READS = (*VOLUME_READS, "list_attachments")

STILL_ATTACHED = {
    *("refused_by_server", "system_disk", "attestation_required", "server_running", "server_locked"),
    *("volume_locked", "volume_frozen", "volume_protected", "volume_error", "expired", "superseded", "not_bare_metal"),
}
"""Reasons that claim that the disk is still attached."""

REMOVALS = (What.CINDER_DETACHED, What.NOVA_DETACHED)
CREATIONS = (What.ATTACHED, What.MOVED)


def bindings(events: Sequence[Happened]) -> dict[str, str]:
    """The binding of each attachment of one volume to one server; a binding's id is that of its first attachment.

    Only one binding exists at a time. An attachment without an entry of its own was made by a move that did not finish,
    and has the current binding.
    """
    known: dict[str, str] = {}
    current = ""
    for entry in events:
        if entry.attachment_id is None:
            continue
        if entry.what is What.ATTACHED:
            current = known[entry.attachment_id] = entry.attachment_id
        known.setdefault(entry.attachment_id, current)
    return known


class Record:
    """The history of one volume on one server up to a moment, by binding.

    `keeps_records` says whether the cloud shows its users action records of the server.
    """

    def __init__(
        self, history: Sequence[Happened], server_id: str, volume_id: str, until: datetime, keeps_records: bool = True
    ) -> None:
        about = [h for h in history if h.at <= until]
        self.events = [h for h in about if (h.server_id, h.volume_id) == (server_id, volume_id)]
        known = [h.what for h in about if h.server_id == server_id]
        self.server_gone = What.SERVER_CREATED not in known or What.SERVER_DELETED in known
        self.volume_deleted = any(h.what is What.VOLUME_DELETED and h.volume_id == volume_id for h in about)
        self.keeps_records = keeps_records
        # The binding of an attachment never changes, so later entries are used here, too.
        self._bindings = bindings([h for h in history if (h.server_id, h.volume_id) == (server_id, volume_id)])

    def binding(self, attachment_id: str | None) -> str | None:
        """The binding of an attachment; None for an attachment that never existed."""
        return self._bindings.get(attachment_id or "")

    def of(self, *whats: What) -> list[str | None]:
        """The bindings of all entries of these kinds, in order."""
        return [self.binding(h.attachment_id) for h in self.events if h.what in whats]

    @property
    def held_bindings(self) -> set[str | None]:
        """The bindings that at least one plane still holds."""
        gone = set(self.of(What.CINDER_DETACHED)) & set(self.of(What.NOVA_DETACHED))
        return set(self.of(What.ATTACHED)) - gone

    @property
    def held(self) -> set[str | None]:
        """The current attachments (after moves) of the bindings that at least one plane still holds."""
        made = {self.binding(h.attachment_id): h.attachment_id for h in self.events if h.what in CREATIONS}
        return {made[binding] for binding in self.held_bindings}

    def holds(self, attachment_id: str | None) -> bool:
        """Whether at least one plane still holds the binding of an attachment, moved or not."""
        return self.binding(attachment_id) in self.held_bindings

    def meant(self, data: Mapping[str, Any]) -> set[str | None]:
        """The bindings that the request means: that of the verdict's attachment, or those made before the request."""
        if named := self.binding(data.get("attachment_id")):
            return {named}
        asked = datetime.fromisoformat(data["timing"]["requested_at"])
        return {self.binding(h.attachment_id) for h in self.events if h.what is What.ATTACHED and h.at <= asked}


def disagreement(history: Sequence[Happened], event: Mapping[str, Any], keeps_records: bool = True) -> str | None:
    """Why a verdict contradicts the cloud's history at its time; None if it does not.

    If the cloud shows no action records (`Deployment.instance_actions`), a client cannot tell a move from a
    re-attachment. Then `superseded` is accepted for an attachment that was moved.
    """
    data = event["data"]
    if not (data.get("server_id") and data.get("volume_id")):
        return None
    # A verdict is about the world at the last look: for `detached` at the last read of either plane, otherwise at the
    # last read of the volume.
    relevant = READS if data["verdict"] == "detached" else VOLUME_READS
    looks = [call["at"] for call in data["evidence"].get("calls", ()) if call["operation"] in relevant]
    until = datetime.fromisoformat((looks or [data["timing"]["concluded_at"]])[-1])
    record = Record(history, data["server_id"], data["volume_id"], until, keeps_records)
    return CLAIMS[data["verdict"]](record, data)


def _detached(record: Record, data: Mapping[str, Any]) -> str | None:
    followed = data.get("attachment_id")
    if record.holds(followed):
        return f"said detached while attachment {followed} was still there, as {record.held}"
    if data["detail"] == "replaced_by_newer":
        return _replaced(record, data)
    if record.held and not record.server_gone:
        return f"said detached while {record.held} was there"
    # An older cloud gives no id for an attachment that only compute lists. Then it may be any binding.
    ours = [record.binding(followed)] if followed else [*record.of(What.ATTACHED)]
    lost = [*record.of(What.DETACH_REFUSED)]
    accepted = sum(one in ours for one in record.of(What.DELETE_ACCEPTED)) - sum(one in ours for one in lost)
    if data["detail"] == "detached_now" and accepted != 1:
        return f"claims the detach as its own, with {accepted} accepted DELETEs that were not refused later"
    gone = {"server_gone": record.server_gone, "volume_gone": record.volume_deleted}
    return None if gone.get(data["detail"], True) else f"said {data['detail']}, but it existed"


def _replaced(record: Record, data: Mapping[str, Any]) -> str | None:
    """A new binding exists that was made after the meant one was gone from both planes."""
    meant = record.meant(data)
    if meant & record.held_bindings:
        return f"said that a newer attachment was there, but the meant one was still there, as {record.held}"
    ends = [n for n, h in enumerate(record.events) if h.what in REMOVALS and record.binding(h.attachment_id) in meant]
    made = {h.attachment_id for h in record.events[max(ends, default=-1) + 1 :] if h.what is What.ATTACHED}
    return None if made & record.held_bindings else "said that a newer attachment was there, but there was none"


def _superseded(record: Record, data: Mapping[str, Any]) -> str | None:
    moved = set(record.of(What.MOVING, What.MOVED)) & record.meant(data) & record.held_bindings
    if moved and record.keeps_records:
        return f"said superseded, but the attachment was only moved and is {record.held}"
    return None


def _failed(record: Record, data: Mapping[str, Any]) -> str | None:
    code = data["reason"]["code"]
    if code in STILL_ATTACHED and not record.held:
        return f"said {code}, but the disk was not attached any more"
    followed = data.get("attachment_id")
    if code in ("refused_by_server", "stuck_detaching") and not record.holds(followed):
        return f"said {code}, but the attachment was gone"
    if code == "refused_by_server" and not record.of(What.DETACH_REFUSED, What.DETACH_FAILED):
        return "said that the server refused, but it had not"
    if code == "superseded":
        return _superseded(record, data)
    if code == "server_not_found" and record.held:
        return "said that there is no such server, but it held the disk"
    return None


def _unconfirmed(record: Record, data: Mapping[str, Any]) -> str | None:
    """`unconfirmed` is true if nothing could be read, or if the disk was still attached at the last look."""
    looked = "after" in data["evidence"]
    return "said unconfirmed, but the detach was over" if looked and not record.held else None


def _checked(record: Record, _data: Mapping[str, Any]) -> str | None:
    return "a dry run sent a DELETE" if record.of(What.DELETE_RECEIVED) else None


CLAIMS = {"detached": _detached, "failed": _failed, "unconfirmed": _unconfirmed, "checked": _checked}
"""The check for each kind of verdict."""
