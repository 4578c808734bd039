"""The safety gates before a DELETE: they refuse what would lose data or could not be undone, with the reason."""

from collections.abc import Set
from enum import StrEnum

from shared.model import DetachRequest, Reason, Server, Volume
from shared.policy import Policy, RunningServerPolicy, ServerKind
from shared.quick import dataclass


class Power(StrEnum):
    """Whether a server may have disks mounted; `changing` means that this is about to change."""

    OFF = "off"
    RUNNING = "running"
    CHANGING = "changing"


class OperatingSystem(StrEnum):
    LINUX = "linux"
    WINDOWS = "windows"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Hold:
    """The server is changing its state; look again later."""

    why: str


@dataclass(frozen=True)
class Refuse:
    """A DELETE would lose data or is forbidden."""

    reason: Reason
    explanation: str


Gate = Hold | Refuse | None
"""None means that nothing forbids a DELETE."""


Devices = Set[str | None]


def gate(request: DetachRequest, volume: Volume, devices: Devices, server: Server, policy: Policy) -> Gate:
    """Apply the gates, from the most general to the most specific.

    The kind of server comes first: if this deployment does not serve it, nothing else matters. `devices` are the names
    that the two planes give the disk. One plane may give none; if they differ, the stricter result counts.
    """
    if policy.server_kind is ServerKind.BARE_METAL and (why_not := why_not_served(server)):
        return Refuse(Reason.NOT_BARE_METAL, why_not)
    if volume.metadata.get("detach_protection", "").strip().lower() == "true":
        return Refuse(Reason.VOLUME_PROTECTED, "the volume's metadata say detach_protection=true")
    if server.locked:
        return Refuse(Reason.SERVER_LOCKED, "the server is locked")
    row = state(server)
    read = f"the server is {row.text(server)}"
    if row.power is Power.CHANGING:
        return Hold(read)
    named = sorted(device for device in devices if device)
    disk = f"the volume ({' or '.join(named) or ('bootable, ' if volume.bootable else '') + 'device not known'})"
    system_disk = any(is_system_disk(volume, device, server) for device in named or (None,))
    if row.power is Power.OFF:
        if system_disk and not request.allow_system_disk:
            not_allowed = f"{disk} is the system disk, and the request does not allow it; {read}"
            return Refuse(Reason.SYSTEM_DISK, not_allowed + on_bare_metal(server))
        return None
    if system_disk:
        only = "a system disk is detached only from a stopped server"
        return Refuse(Reason.SYSTEM_DISK, f"{disk} is the system disk; {read}, and {only}{on_bare_metal(server)}")
    rule = policy.running_server_policy
    if rule is RunningServerPolicy.STOPPED_ONLY:
        only = "the operator allows detaching only from stopped servers"
        return Refuse(Reason.SERVER_RUNNING, f"{read}, and {only}; the request is for {disk}")
    system = operating_system(server)
    if system is OperatingSystem.UNKNOWN and server.image_unread and not request.unmounted:
        return Hold(f"{read}; its image, which may tell its operating system, could not be read")
    attested_by_rule = rule is RunningServerPolicy.ATTEST or system is not OperatingSystem.LINUX
    if attested_by_rule and not request.unmounted:
        about = f"{read}, its operating system is {system.value}"
        return Refuse(Reason.ATTESTATION_REQUIRED, f"{about}; the request does not attest that {disk} is unmounted")
    return None


@dataclass(frozen=True)
class State:
    """A row of the table below: what some statuses mean, and the source of that.

    `field` must also match: its value must be one of `values`, or, if there are none, must have been read. A row
    without statuses applies to all of them.
    """

    power: Power
    source: str
    statuses: tuple[str, ...] = ()
    field: str = "status"
    values: tuple[str | int | None, ...] = ()

    def text(self, server: Server) -> str:
        """The status as read, with the other deciding value: `ACTIVE (power state 4)`."""
        value = getattr(server, self.field)
        detail = "" if self.field == "status" or value is None else f" ({self.field.replace('_', ' ')} {value})"
        return f"{server.status}{detail}"


STATES = (
    State(Power.CHANGING, "Nova answers 409 until the task has ended (recordings 05, 16)", field="task_state"),
    # Nova, API guide, server status. Upstream Nova shows most of these with a task; the BMS API shows them without one.
    State(Power.CHANGING, "Nova, API guide: each is an operation under way; DELETED soon becomes a 404",
        ("BUILD", "REBOOT", "HARD_REBOOT", "REBUILD", "RESIZE", "REVERT_RESIZE", "MIGRATING", "PASSWORD", "DELETED")),
    State(Power.OFF, "Nova, API guide: removed from its host (recordings 09, 14)", ("SHELVED_OFFLOADED",)),
    State(Power.RUNNING, "shelving powers off (Nova, API guide): power contradicts it, and nothing corrects that",
        ("SHELVED",), "power_state", (1,)),
    State(Power.OFF, "Nova, API guide: shelving powers off (recording 14)", ("SHELVED",)),
    State(Power.RUNNING, "its memory is kept, including its mounts (recording 13)", ("PAUSED", "SUSPENDED")),
    State(Power.OFF, "Nova: a server that was off stays off when it is resized",
        ("VERIFY_RESIZE",), "power_state", (4,)),
    State(Power.RUNNING, "Nova, API guide: waits until somebody confirms it (recording 08)",
        ("VERIFY_RESIZE",), "power_state"),
    State(Power.RUNNING, "another system may run (RESCUE), the state is not known (ERROR, UNKNOWN), or it can return "
        "with its disks (SOFT_DELETED); none of them ends soon by itself (recordings 05, 15)",
        ("RESCUE", "ERROR", "UNKNOWN", "SOFT_DELETED")),
    # Statuses that say less than they seem to (BMS API, querying details of a BMS): ACTIVE includes Stopping and
    # Deleting, SHUTOFF includes Starting, Deleting and Rebuilding. vm_state is `stopped` or `shutoff` by edition.
    State(Power.RUNNING, "vm_state of the BMS API: the memory is kept, whatever the status says",
        ("ACTIVE", "SHUTOFF"), "vm_state", ("paused", "suspended")),
    State(Power.CHANGING, "BMS API: ACTIVE includes Stopping and Deleting; a reboot may show in vm_state alone",
        ("ACTIVE",), "vm_state", ("stopped", "shutoff", "deleted", "building", "reboot")),
    State(Power.CHANGING, "BMS API: ACTIVE includes Stopping; Nova sets a server without power to SHUTOFF, and stops "
        "one that crashed (6) or was suspended from outside (7) (sync_power_state_interval)",
        ("ACTIVE",), "power_state", (4, 6, 7)),
    State(Power.RUNNING, "restored and moved servers stay so (0: recordings 15, 18, 21); Nova does not change a server "
        "that was paused from outside (3)", ("ACTIVE",), "power_state", (0, 3)),
    State(Power.RUNNING, "Nova, API guide", ("ACTIVE",), "power_state"),
    State(Power.CHANGING, "BMS API: SHUTOFF includes Starting, Deleting and Rebuilding",
        ("SHUTOFF",), "vm_state", ("active", "deleted", "building", "reboot")),
    State(Power.CHANGING, "BMS API: SHUTOFF includes Starting; Nova turns such a server off again "
        "(sync_power_state_interval)", ("SHUTOFF",), "power_state", (1,)),
    State(Power.OFF, "Nova and BMS API. Its power state is 4, in one table of the BMS API 3: the status is trusted",
        ("SHUTOFF",), "vm_state", (None, "stopped", "shutoff")),
    State(Power.RUNNING, "vm_state contradicts the status, and no document says that this passes",
        ("SHUTOFF",), "vm_state"),
    State(Power.RUNNING, "the power state is not given, and the status does not say that it is off",
        ("ACTIVE", "VERIFY_RESIZE")),
    State(Power.RUNNING, "anything else: the stricter rules, and no wait for a change that may never come"),
)  # fmt: skip
"""What the four state fields of a server mean together; the first matching row counts. No single field is enough."""


def state(server: Server) -> State:
    """The row of the table that describes the server."""
    told = {"status": server.status.upper(), "vm_state": server.vm_state and server.vm_state.lower(),
        "task_state": server.task_state or None, "power_state": server.power_state}  # fmt: skip
    return next(
        row
        for row in STATES
        if (not row.statuses or told["status"] in row.statuses)
        and (told[row.field] in row.values if row.values else told[row.field] is not None)
    )


def operating_system(server: Server) -> OperatingSystem:
    """From metadata, then the resource code's suffix, then the image; otherwise unknown."""
    candidates = (
        server.metadata.get("os_type"),
        server.metadata.get("metering.resourcespeccode", "").rpartition(".")[2],
        server.image_properties.get("__os_type") or server.image_properties.get("os_type"),
    )
    named = ((candidate or "").strip().lower() for candidate in candidates)
    return next((OperatingSystem(name) for name in named if name in ("linux", "windows")), OperatingSystem.UNKNOWN)


FIRST_DISKS = ("/dev/sda", "/dev/vda", "/dev/xvda", "/dev/hda")
"""Names of the root device for servers that do not give it, as upstream Nova does not to ordinary users. The data
volumes of an image-booted server begin at the second name (recording 11)."""


def is_system_disk(volume: Volume | None, device: str | None, server: Server) -> bool:
    """Whether the volume is the disk at the server's root device or, if that is not given, at a first disk's name.

    A volume that the cloud names as boot volume is a system disk at any device. If the device is not known, a bootable
    volume is taken for the system disk. Otherwise `bootable` does not matter: a data disk can be bootable (recording
    11).
    """
    if volume is not None and volume.id.lower() in server.boot_volumes:
        return True
    if not device:
        return volume is not None and volume.bootable
    return device == server.root_device if server.root_device else device in FIRST_DISKS


NOT_DETACHED_FROM = {"SUSPENDED": "suspended", "RESCUE": "rescued", "ERROR": "error"}
"""Statuses, and Nova's vm_state for them, in which Nova answers a DELETE with 409 (recordings 05, 13, 15)."""


def cloud_refuses(server: Server) -> str | None:
    """Why the cloud is known to refuse a DELETE that the gates allow; None if no such reason is known."""
    status, state = server.status.upper(), (server.vm_state or "").lower()
    if status in NOT_DETACHED_FROM or state in NOT_DETACHED_FROM.values():
        return f"the cloud refuses to detach from a server that is {server.status}"
    return None


def why_not_served(server: Server) -> str | None:
    """Why SERVER_KIND=bare_metal refuses the server; None if it is known to be bare metal."""
    from shared.decision.bare_metal import Kind, kind, seen  # imported only where needed

    found = kind(server)
    if found is Kind.BARE_METAL:
        return None
    what = "nothing says that the server is bare metal"
    unknown = what if found is Kind.VIRTUAL else f"{what}, and its flavor, which could say so, is not known"
    return f"{unknown}; looked for: {seen(server)}"


def on_bare_metal(server: Server) -> str:
    """Why a disk counts as the system disk of a bare metal server that does not name its root device."""
    from shared.decision.bare_metal import SYSTEM_DISK, Kind, kind

    by_name = not (server.root_device or server.boot_volumes) and kind(server) is Kind.BARE_METAL
    return f"; {SYSTEM_DISK.text}" if by_name else ""
