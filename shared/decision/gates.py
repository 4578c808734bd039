"""The gates before a DELETE: what would lose data or could not be undone is refused, with the reason."""

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from shared.model import DetachRequest, Reason, Server, Volume
from shared.policy import RunningServerPolicy


class Power(StrEnum):
    STOPPED = "stopped"
    RUNNING = "running"
    CHANGING = "changing"


class OperatingSystem(StrEnum):
    LINUX = "linux"
    WINDOWS = "windows"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Hold:
    """The server is between two states; look again."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """A DELETE would lose data or is forbidden."""

    reason: Reason
    explanation: str


Gate = Hold | Refuse | None
"""None: nothing speaks against a DELETE."""


def power(server: Server) -> Power:
    """Read status, task_state, vm_state and power_state together: none of them alone tells (BMS: querying details).

    ACTIVE includes "stopping", SHUTOFF includes "starting"; vm_state is `stopped` or `shutoff` by edition of
    the documents; power_state 4 is off in every implementation, whatever the table of one page says. A steady
    state that is neither on nor off (paused, rescued, error) counts as running: the stricter rules apply.
    """
    if server.task_state:
        return Power.CHANGING
    match server.status.upper():
        case "SHUTOFF":
            off = server.vm_state in (None, "stopped", "shutoff") and server.power_state != 1
            return Power.STOPPED if off else Power.CHANGING
        case "ACTIVE":
            on = server.vm_state in (None, "active") and server.power_state in (None, 1)
            return Power.RUNNING if on else Power.CHANGING
        case "BUILD" | "REBOOT" | "HARD_REBOOT" | "REBUILD" | "RESIZE" | "MIGRATING" | "PASSWORD" | "DELETED":
            return Power.CHANGING
        case _:
            return Power.RUNNING


def operating_system(server: Server) -> OperatingSystem:
    """From metadata, then the resource code's suffix, then the image; whatever is not said is unknown."""
    candidates = (
        server.metadata.get("os_type"),
        server.metadata.get("metering.resourcespeccode", "").rpartition(".")[2],
        server.image_properties.get("__os_type") or server.image_properties.get("os_type"),
    )
    named = ((candidate or "").strip().lower() for candidate in candidates)
    return next((OperatingSystem(name) for name in named if name in ("linux", "windows")), OperatingSystem.UNKNOWN)


def is_system_disk(volume: Volume, device: str | None, server: Server) -> bool:
    """`/dev/sda` and the root device are; where neither is known a bootable volume is taken for one."""
    if device == "/dev/sda" or (device and device == server.root_device):
        return True
    if device and server.root_device:
        return False
    return volume.bootable or device in ("/dev/vda", "/dev/xvda", "/dev/hda")


Devices = Set[str | None]


def gate(request: DetachRequest, volume: Volume, devices: Devices, server: Server, rule: RunningServerPolicy) -> Gate:
    """The design's safety table, from the most general bar to the most particular.

    `devices` are what the two planes call the disk. One may leave it out; where they name two, the stricter counts.
    """
    if volume.metadata.get("detach_protection", "").strip().lower() == "true":
        return Refuse(Reason.VOLUME_PROTECTED, "the volume's metadata say detach_protection=true")
    if server.locked:
        return Refuse(Reason.SERVER_LOCKED, "the server is locked")
    state = power(server)
    if state is Power.CHANGING:
        return Hold(f"the server is {server.status}, task {server.task_state or 'none'}")
    system_disk = any(is_system_disk(volume, device, server) for device in devices - {None} or {None})
    if state is Power.STOPPED:
        if system_disk and not request.allow_system_disk:
            return Refuse(Reason.SYSTEM_DISK, "the server is stopped, and the request does not allow it")
        return None
    if system_disk:
        return Refuse(Reason.SYSTEM_DISK, "the server is running from it")
    if rule is RunningServerPolicy.STOPPED_ONLY:
        return Refuse(Reason.SERVER_RUNNING, "the operator allows detaching from stopped servers only")
    system = operating_system(server)
    attested_by_rule = rule is RunningServerPolicy.ATTEST or system is not OperatingSystem.LINUX
    if attested_by_rule and not request.unmounted:
        return Refuse(Reason.ATTESTATION_REQUIRED, f"the server is running, its operating system is {system.value}")
    return None
