"""The inventory of a project: servers, their disks, and which detach would be refused and why."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.cloud.openstack import OpenStackCloud
from shared.decision.bare_metal import kind
from shared.decision.gates import Hold, Refuse, cloud_refuses, gate, is_system_disk, operating_system
from shared.model import DetachRequest, Listed, Reason, Server, Volume
from shared.policy import Policy
from shared.ports import CloudTrouble
from shared.settings import Settings, load

NOT_NOW = "not now"
"""Stands for a reason when the request would wait, because the server is between two states."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume on a server. `refused` is the reason, and its text, if a plain request would be refused now."""

    volume_id: str
    name: str
    size: int | None
    device: str | None
    status: str
    system_disk: bool
    attachment_id: str | None = None
    refused: tuple[str, str] | None = None

    @property
    def kind(self) -> str:
        return "system disk" if self.system_disk else "data disk"


@dataclass(frozen=True, slots=True)
class Machine:
    """A server with its disks. `kind` is bare metal, virtual or unknown; `trouble` says what could not be read."""

    server_id: str
    name: str
    status: str
    system: str
    kind: str = "unknown"
    disks: tuple[Disk, ...] = ()
    trouble: str | None = None


GATES = ("RUNNING_SERVER_POLICY", "SERVER_KIND")


def policy_of(environment: Mapping[str, str]) -> Policy:
    """The operator's settings for the gates, from an environment. Raises SettingsError."""
    told = {name: environment.get(name, "") for name in GATES}
    return load(Settings, {"REQUEST_QUEUE_URL": "unused", **told}).policy


class NotFound(LookupError):
    """There is no such server or volume, or more than one; the text is one sentence for the user."""


def machines(cloud: OpenStackCloud, policy: Policy, now: datetime, like: str = "") -> Iterator[Machine]:
    """The servers whose name or id contains a text, ignoring case. Raises CloudTrouble if the list cannot be read."""
    for found in cloud.servers().value:
        if like.lower() in found.name.lower() or like.lower() in found.id:
            yield machine(cloud, found, policy, now)


def machine(cloud: OpenStackCloud, found: Server, policy: Policy, now: datetime) -> Machine:
    """One server. It is read by its id too, because only that names the image, and so the operating system."""
    told = Machine(found.id, found.name, found.status, operating_system(found).value, kind(found).value)
    try:
        server = cloud.server(found.id).value or found
        told = replace(told, status=server.status, system=operating_system(server).value, kind=kind(server).value)
        entries = cloud.listing(server.id).value or ()
    except CloudTrouble as trouble:
        return replace(told, trouble=str(trouble).rstrip("."))
    disks, troubles = [], []
    for entry in entries:
        try:
            disks.append(_disk(entry, cloud.volume(entry.volume_id).value, server, policy, now))
        except CloudTrouble as trouble:
            disks.append(Disk(entry.volume_id, "", None, entry.device, "not readable", False, entry.attachment_id))
            troubles.append(str(trouble).rstrip("."))
    return replace(told, disks=tuple(disks), trouble="; ".join(dict.fromkeys(troubles)) or None)


def _disk(entry: Listed, volume: Volume | None, server: Server, policy: Policy, now: datetime) -> Disk:
    if volume is None:
        return Disk(entry.volume_id, "", None, entry.device, "unknown to block storage", False, entry.attachment_id)
    attachment = next((one for on, one in volume.attachments if on == server.id), None)
    devices = {entry.device, attachment.device if attachment else None}
    device = entry.device or (attachment.device if attachment else None)
    plain = DetachRequest("inventory", "/inventory", now, server.id, volume.id)
    held = gate(plain, volume, devices, server, policy)
    refusal = cloud_refuses(server)
    refused: tuple[str, str] | None = None
    if isinstance(held, Refuse):
        refused = held.reason.value, held.explanation
    elif isinstance(held, Hold):
        refused = NOT_NOW, held.why
    elif refusal:
        refused = Reason.API_REJECTED.value, refusal
    return Disk(
        volume.id, volume.name, volume.size, device, volume.status, is_system_disk(volume, device, server),
        entry.attachment_id or (attachment.attachment_id if attachment else None), refused,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ by id or name


def server_called(cloud: OpenStackCloud, asked: str) -> Server:
    """The server of that id or name. Raises NotFound, CloudTrouble."""
    if is_id(asked):
        found = cloud.server(asked.lower()).value
        if found is None:
            raise NotFound(f"There is no server {asked} in this project: `make servers` lists the servers.")
        return found
    known = cloud.servers().value
    named = [server for server in known if asked and server.name == asked] or [
        server for server in known if asked and server.name.lower() == asked.lower()
    ]
    if len(named) > 1:
        ids = ", ".join(server.id for server in named)
        raise NotFound(f"{len(named)} servers are called {asked}: give the id of one of them: {ids}.")
    if not named:
        raise NotFound(f"No server is called {asked}; there {_there([server.name for server in known])}.")
    return named[0]


def disk_called(found: Machine, asked: str) -> Disk | None:
    """The server's disk of that id, name or device; None for an id that the server does not list. Raises NotFound."""
    if is_id(asked):
        return next((disk for disk in found.disks if disk.volume_id == asked.lower()), None)
    named = [disk for disk in found.disks if asked and asked in (disk.name, disk.device)] or [
        disk for disk in found.disks if asked and asked.lower() in (disk.name.lower(), (disk.device or "").lower())
    ]
    if found.trouble:
        raise NotFound(
            f"Some disks of {found.name} cannot be read, so the name may be ambiguous ({found.trouble}): "
            "give the id of the volume."
        )
    if len(named) > 1:
        ids = ", ".join(disk.volume_id for disk in named)
        raise NotFound(f"{len(named)} disks of {found.name} are called {asked}: give the id of one of them: {ids}.")
    if not named:
        there = _there([f"{disk.name or disk.volume_id} ({disk.device or 'no device'})" for disk in found.disks])
        raise NotFound(f"No disk called {asked} is attached to {found.name}; there {there}. See also `make servers`.")
    return named[0]


MOST_NAMED = 10


def _there(names: Sequence[str]) -> str:
    if not names:
        return "is none"
    shown = ", ".join(name or "(no name)" for name in sorted(names)[:MOST_NAMED])
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{'is' if len(names) == 1 else 'are'} {shown}{more}"


def is_id(text: str) -> bool:
    """Whether a text is an id of Nova and Cinder: 32 hexadecimal digits in groups."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
