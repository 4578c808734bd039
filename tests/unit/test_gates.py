"""The complete safety table, and the interpretation of contradicting server states."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from shared.decision.gates import (
    STATES,
    Gate,
    Hold,
    OperatingSystem,
    Power,
    Refuse,
    cloud_refuses,
    gate,
    is_system_disk,
    operating_system,
    state,
)
from shared.model import DetachRequest, Reason, Server, Volume
from shared.policy import Policy, RunningServerPolicy
from tests.builders import STOPPED, request, server, volume

# --------------------------------------------------------------------------------------------- the whole table

DIMENSIONS = (("off", "running", "changing"), ("data", "system"), ("linux", "windows", "unknown"),
    ("platform", "attest", "stopped_only"), ("unmounted", "-"), ("allowed", "-"))  # fmt: skip


Combination = tuple[str, ...]


def rows_of(name: str) -> list[str]:
    """The rows of a table beside this file, without the heading."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    return [" ".join(line.split()) for line in lines if line and not line.startswith("#") and "=>" not in line]


def combinations(row: Combination) -> list[Combination]:
    """The combinations of a row, with every `*` expanded."""
    return list(product(*(values if cell == "*" else (cell,) for cell, values in zip(row, DIMENSIONS, strict=True))))


ROWS = [tuple(line.split()) for line in rows_of("gates.txt")]
EVERYTHING = list(product(*DIMENSIONS))
OFF = ("off", "data", "linux", "platform", "-", "-")
RUNNING = ("running", "data", "linux", "platform", "unmounted", "-")
CASES = [(combination, row[-1]) for row in ROWS for combination in combinations(row[:-1])]


SERVERS = {
    "off": {"status": "SHUTOFF", "vm_state": "stopped", "power_state": 4},
    "running": {"status": "ACTIVE", "vm_state": "active", "power_state": 1},
    "changing": {"status": "ACTIVE", "vm_state": "active", "power_state": 1, "task_state": "powering-off"},
}
SYSTEMS = {"linux": {"os_type": "Linux"}, "windows": {"os_type": "Windows"}, "unknown": {}}


def asked(combination: Combination, by_volume: str | None = "", by_server: str | None = "", **changes: Any) -> str:
    """Build the objects of a combination, ask the gate, and return its answer as a word."""
    state, disk, system, policy, attested, allowed = combination
    device = "/dev/sda" if disk == "system" else "/dev/sdb"
    devices = {device if one == "" else one for one in (by_volume, by_server)}
    wish = request(unmounted=attested == "unmounted", allow_system_disk=allowed == "allowed")
    disk_ = volume(metadata=changes.pop("protection", {}))
    machine = server(**{**SERVERS[state], "metadata": SYSTEMS[system], **changes})
    return word(gate(wish, disk_, devices, machine, operator(policy)))


def operator(policy: str) -> Policy:
    return Policy(running_server_policy=RunningServerPolicy(policy))


def word(answer: Gate) -> str:
    match answer:
        case None:
            return "go"
        case Hold():
            return "hold"
        case Refuse(reason):
            return reason.value


def test_table_is_complete() -> None:
    """Exactly one row of the table decides each combination."""
    assert sorted(EVERYTHING) == sorted(combination for combination, _ in CASES)


@pytest.mark.parametrize(("combination", "expected"), CASES, ids=lambda value: " ".join(value).replace(" ", ","))
def test_gate_answers_as_the_table_says(combination: Combination, expected: str) -> None:
    """The gate answers as the safety table says."""
    assert expected == asked(combination)


@pytest.mark.parametrize("combination", EVERYTHING, ids=",".join)
def test_locked_server_is_refused_whatever_else_holds(combination: Combination) -> None:
    """Nothing is detached from a locked server: running, stopped or in between, attested or not."""
    assert asked(combination, locked=True) == "server_locked"


@pytest.mark.parametrize("combination", EVERYTHING, ids=",".join)
def test_protected_volume_is_refused_whatever_else_holds(combination: Combination) -> None:
    """A volume with `detach_protection` stays, and the refusal names it even on a locked server."""
    assert asked(combination, locked=True, protection={"detach_protection": "true"}) == "volume_protected"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", "volume_protected"), ("True", "volume_protected"), (" TRUE ", "volume_protected"), ("false", "go")],
)
def test_protection_is_read_without_regard_to_case(value: str, expected: str) -> None:
    """Any spelling of `true` protects, and nothing else."""
    assert expected == asked(OFF, protection={"detach_protection": value})


def test_unknown_lock_is_no_lock() -> None:
    """A cloud whose microversion lacks `locked` refuses the DELETE itself."""
    assert asked(RUNNING, locked=None) == "go"


@pytest.mark.parametrize(
    ("by_volume", "by_server"),
    [("/dev/sda", "/dev/sdb"), ("/dev/sdb", "/dev/sda"), (None, "/dev/sda"), ("/dev/sda", None)],
)
def test_either_plane_may_name_the_system_disk(by_volume: str | None, by_server: str | None) -> None:
    """If the planes name different devices, either can make it the system disk."""
    assert asked(RUNNING, by_volume, by_server) == "system_disk"


# --------------------------------------------------------------------------------- what a server's states mean


def powered(line: str) -> tuple[Server, str]:
    status, task_state, vm_state, power_state, expected = line.split()
    return server(status=status, task_state=None if task_state == "-" else task_state,
        vm_state=None if vm_state == "-" else vm_state,
        power_state=None if power_state == "-" else int(power_state)), expected  # fmt: skip


STATE_LINES = rows_of("power.txt")


@pytest.mark.parametrize("line", STATE_LINES)
def test_power_is_read_from_all_four_states(line: str) -> None:
    """A server is off only if that is certain; contradictory or unknown states count as running."""
    machine, expected = powered(line)
    assert Power(expected) == state(machine).power


def test_every_row_of_states_is_reached() -> None:
    """No row hides another, and each has an example in this test's table."""
    assert set(STATES) == {state(powered(line)[0]) for line in STATE_LINES}


DOCUMENTED = {
    "active": "ACTIVE PASSWORD REBOOT HARD_REBOOT REBUILD RESIZE MIGRATING UNKNOWN",
    "building": "BUILD",
    "stopped": "SHUTOFF RESIZE REBUILD",
    "paused": "PAUSED MIGRATING",
    "suspended": "SUSPENDED",
    "rescued": "RESCUE",
    "resized": "VERIFY_RESIZE REVERT_RESIZE",
    "shelved": "SHELVED",
    "shelved_offloaded": "SHELVED_OFFLOADED",
    "soft-delete": "SOFT_DELETED",
    "deleted": "DELETED",
    "error": "ERROR REBUILD",
}
"""How Nova derives a server's status from vm_state and task (nova.api.openstack.common, and the API guide)."""

COMBINATIONS = [
    (status, vm_state, task, power_state)
    for vm_state, statuses in DOCUMENTED.items()
    for status, task, power_state in product(statuses.split(), (None, "rebuilding"), (None, 0, 1, 3, 4, 6, 7))
]


def test_every_documented_combination_has_a_row() -> None:
    """Only undocumented states reach the last row; a task makes every server a changing one."""
    rows = {key: state(server(**dict(zip(("status", "vm_state", "task_state", "power_state"), key, strict=True))))
        for key in COMBINATIONS}  # fmt: skip
    assert [key for key, row in rows.items() if row is STATES[-1]] == []
    assert {row.power for (_, _, task, _), row in rows.items() if task} == {Power.CHANGING}


# ----------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({"status": "ACTIVE", "vm_state": "active", "power_state": 4}, "ACTIVE (power state 4)"),
        ({"status": "ACTIVE", "vm_state": "active", "power_state": 0}, "ACTIVE (power state 0)"),
        ({"status": "ACTIVE", "vm_state": "active", "power_state": None}, "ACTIVE"),
        ({"status": "ACTIVE", "vm_state": "stopped", "power_state": 4}, "ACTIVE (vm state stopped)"),
        ({"status": "ACTIVE", "task_state": "powering-off"}, "ACTIVE (task state powering-off)"),
        ({"status": "SUSPENDED", "vm_state": "suspended", "power_state": 1}, "SUSPENDED"),
        ({"status": "SHELVED_OFFLOADED", "vm_state": "shelved_offloaded", "power_state": 4}, "SHELVED_OFFLOADED"),
        ({"status": "VERIFY_RESIZE", "vm_state": "resized", "power_state": 1}, "VERIFY_RESIZE (power state 1)"),
        ({"status": "SOMETHING", "vm_state": "new", "power_state": 9}, "SOMETHING"),
    ],
)
def test_text_says_the_state_that_was_read(states: dict[str, Any], expected: str) -> None:
    """The text has the cloud's own status, and the value that decided."""
    machine = server(**states)
    assert expected == state(machine).text(machine)


SUSPENDED = {"status": "SUSPENDED", "vm_state": "suspended", "power_state": 1}
SHELVED = {"status": "SHELVED", "vm_state": "shelved", "power_state": 4}


@pytest.mark.parametrize(
    ("states", "devices", "policy", "reason"),
    [
        pytest.param(SHELVED, {"/dev/vda"}, "platform", "system_disk", id="system disk, off"),
        pytest.param(SUSPENDED, {"/dev/vda"}, "platform", "system_disk", id="system disk, memory kept"),
        pytest.param(SUSPENDED, {"/dev/sdb", None}, "stopped_only", "server_running", id="stopped only"),
        pytest.param(SUSPENDED, {"/dev/vdb"}, "attest", "attestation_required", id="attest"),
        pytest.param(SUSPENDED, {"/dev/vdb", "/dev/vdc"}, "platform", "attestation_required", id="two names"),
    ],
)
def test_refusals_name_state_and_device(states: dict[str, Any], devices: set[str], policy: str, reason: str) -> None:
    """A refusal says what was read, and never calls a stopped server running."""
    machine = server(root_device="/dev/vda", metadata={}, **states)
    answer = gate(request(), volume(), devices, machine, operator(policy))
    assert isinstance(answer, Refuse)
    assert answer.reason == reason
    for said in (f"the server is {states['status']}", *devices - {None}):
        assert said in answer.explanation
    assert "is running" not in answer.explanation


ON_WINDOWS: dict[str, Any] = {"metadata": {"os_type": "Windows"}}
NOT_TOLD: dict[str, Any] = {"metadata": {}}
RUNS = "the server is ACTIVE (power state 1)"


@pytest.mark.parametrize(
    ("disk", "machine", "wish", "policy", "expected"),
    [
        (volume(metadata={"detach_protection": "true"}), server(), request(), "platform",
            Refuse(Reason.VOLUME_PROTECTED, "the volume's metadata say detach_protection=true")),
        (volume(), server(locked=True), request(), "platform", Refuse(Reason.SERVER_LOCKED, "the server is locked")),
        (volume(), server(task_state="powering-off"), request(), "platform",
            Hold("the server is ACTIVE (task state powering-off)")),
        (volume(), server(root_device="/dev/sdb"), request(allow_system_disk=True), "platform",
            Refuse(Reason.SYSTEM_DISK, f"the volume (/dev/sdb) is the system disk; {RUNS}, and a system disk is "
                "detached only from a stopped server")),
        (volume(), server(root_device="/dev/sdb", **STOPPED), request(), "platform",
            Refuse(Reason.SYSTEM_DISK, "the volume (/dev/sdb) is the system disk, and the request does not allow it; "
                "the server is SHUTOFF (vm state stopped)")),
        (volume(), server(), request(), "stopped_only",
            Refuse(Reason.SERVER_RUNNING, f"{RUNS}, and the operator allows detaching only from stopped servers; "
                "the request is for the volume (/dev/sdb)")),
        (volume(), server(**ON_WINDOWS), request(), "platform",
            Refuse(Reason.ATTESTATION_REQUIRED, f"{RUNS}, its operating system is windows; the request does "
                "not attest that the volume (/dev/sdb) is unmounted")),
        (volume(), server(), request(), "attest",
            Refuse(Reason.ATTESTATION_REQUIRED, f"{RUNS}, its operating system is linux; the request does "
                "not attest that the volume (/dev/sdb) is unmounted")),
        (volume(), server(**NOT_TOLD, image_unread=True), request(), "platform",
            Hold(f"{RUNS}; its image, which may tell its operating system, could not be read")),
        (volume(), server(**NOT_TOLD), request(), "platform",
            Refuse(Reason.ATTESTATION_REQUIRED, f"{RUNS}, its operating system is unknown; the request does "
                "not attest that the volume (/dev/sdb) is unmounted")),
        (volume(), server(**NOT_TOLD, image_unread=True), request(unmounted=True), "platform", None),
        (volume(), server(image_unread=True), request(), "platform", None),
    ],
)  # fmt: skip
def test_answer_in_full(disk: Volume, machine: Server, wish: DetachRequest, policy: str, expected: Gate) -> None:
    """The texts in the verdict, or in the log during the wait."""
    assert gate(wish, disk, {"/dev/sdb"}, machine, operator(policy)) == expected


def test_refusal_says_that_no_device_is_known() -> None:
    """A bootable volume without a device is refused, and the text says why."""
    answer = gate(request(), volume(bootable=True), {None}, server(), Policy())
    assert isinstance(answer, Refuse)
    assert "bootable, device not known" in answer.explanation


@pytest.mark.parametrize(
    ("status", "vm_state", "refused"),
    [
        ("SUSPENDED", None, True),
        ("rescue", "active", True),
        ("ACTIVE", "rescued", True),
        ("ACTIVE", "ERROR", True),
        ("ERROR", "error", True),
        ("ACTIVE", None, False),
        ("PAUSED", "paused", False),
    ],
)
def test_status_or_vm_state_predicts_the_clouds_refusal(status: str, vm_state: str | None, refused: bool) -> None:
    """Status or vm_state, in any case; the text has the cloud's own status."""
    words = f"the cloud refuses to detach from a server that is {status}" if refused else None
    assert words == cloud_refuses(server(status=status, vm_state=vm_state))


# ----------------------------------------------------------------------------------------- the operating system

LINUX, WINDOWS, UNKNOWN = OperatingSystem.LINUX, OperatingSystem.WINDOWS, OperatingSystem.UNKNOWN


@pytest.mark.parametrize(
    ("metadata", "image", "expected"),
    [
        pytest.param({"os_type": "Linux"}, {}, LINUX, id="metadata"),
        pytest.param({"os_type": " windows "}, {}, WINDOWS, id="metadata, in any case"),
        pytest.param({"metering.resourcespeccode": "physical.o2.medium.linux"}, {}, LINUX, id="resource code"),
        pytest.param({"metering.resourcespeccode": "physical.o2.medium.Windows"}, {}, WINDOWS, id="code, any case"),
        pytest.param({"metering.resourcespeccode": "physical.linux.medium"}, {}, UNKNOWN, id="only the code's suffix"),
        pytest.param({}, {"__os_type": "Windows"}, WINDOWS, id="image, by the platform's name"),
        pytest.param({}, {"os_type": "linux"}, LINUX, id="image, by OpenStack's name"),
        pytest.param({}, {"__os_type": "Other", "os_type": "linux"}, UNKNOWN, id="the platform's name first"),
        pytest.param({"os_type": "Windows", "metering.resourcespeccode": "physical.o2.medium.linux"},
            {"__os_type": "Linux"}, WINDOWS, id="metadata before resource code and image"),
        pytest.param({"metering.resourcespeccode": "physical.o2.medium.windows"}, {"__os_type": "Linux"}, WINDOWS,
            id="resource code before image"),
        pytest.param({"os_type": "Other"}, {"__os_type": "Linux"}, LINUX, id="what says nothing is passed over"),
        pytest.param({"os_type": "FreeBSD"}, {"os_type": "BSD"}, UNKNOWN, id="neither of the two"),
        pytest.param({"os_type": ""}, {}, UNKNOWN, id="empty"),
        pytest.param({}, {}, UNKNOWN, id="nothing said"),
    ],
)  # fmt: skip
def test_operating_system(metadata: dict[str, str], image: dict[str, str], expected: OperatingSystem) -> None:
    """Metadata first, then the resource code, then the image; anything unclear is unknown."""
    assert expected == operating_system(server(metadata=metadata, image_properties=image))


# ---------------------------------------------------------------------------------------------- the system disk

DATA, BOOTABLE = volume(), volume(bootable=True)


@pytest.mark.parametrize(
    ("disk", "device", "root", "expected"),
    [
        pytest.param(DATA, "/dev/sda", "/dev/sda", True, id="root device"),
        pytest.param(DATA, "/dev/sdb", "/dev/sdb", True, id="root device, not the first"),
        pytest.param(DATA, "/dev/sda", "/dev/vda", False, id="first by name, another than the root device"),
        pytest.param(BOOTABLE, "/dev/sda", "/dev/vda", False, id="bootable too, another than the root device"),
        pytest.param(BOOTABLE, "/dev/sdb", "/dev/sda", False, id="bootable, another than the root device"),
        pytest.param(DATA, "/dev/sda", None, True, id="root device unknown, sda"),
        pytest.param(DATA, "/dev/vda", None, True, id="root device unknown, vda"),
        pytest.param(DATA, "/dev/xvda", None, True, id="root device unknown, xvda"),
        pytest.param(DATA, "/dev/hda", None, True, id="root device unknown, hda"),
        pytest.param(DATA, "/dev/sdb", None, False, id="root device unknown, another"),
        pytest.param(DATA, "/dev/sdaa", None, False, id="root device unknown, not quite the first"),
        pytest.param(BOOTABLE, "/dev/sdb", None, False, id="bootable data disk of an image-booted server"),
        pytest.param(DATA, None, "/dev/sda", False, id="device unknown, not bootable"),
        pytest.param(BOOTABLE, None, "/dev/sda", True, id="device unknown, bootable"),
        pytest.param(BOOTABLE, None, None, True, id="nothing known, bootable"),
        pytest.param(DATA, None, None, False, id="nothing known, not bootable"),
    ],
)
def test_system_disk(disk: Volume, device: str | None, root: str | None, expected: bool) -> None:
    """The root device; without one, the first disk; for a disk without a device, a bootable one."""
    assert expected == is_system_disk(disk, device, server(root_device=root))
