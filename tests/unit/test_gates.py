"""The safety table of the design, complete, and how the documents' contradicting server states are read."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from shared.decision.gates import (
    Gate,
    Hold,
    OperatingSystem,
    Power,
    Refuse,
    gate,
    is_system_disk,
    operating_system,
    power,
)
from shared.model import Server, Volume
from shared.policy import RunningServerPolicy
from tests.builders import request, server, volume

# --------------------------------------------------------------------------------------------- the whole table

DIMENSIONS = (("stopped", "running", "changing"), ("data", "system"), ("linux", "windows", "unknown"),
    ("platform", "attest", "stopped_only"), ("unmounted", "-"), ("allowed", "-"))  # fmt: skip


Combination = tuple[str, ...]


def rows_of(name: str) -> list[str]:
    """The rows of a table beside this file, without its heading."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    return [" ".join(line.split()) for line in lines if line and not line.startswith("#") and "=>" not in line]


def combinations(row: Combination) -> list[Combination]:
    """What a row of the table stands for, with every `*` written out."""
    return list(product(*(values if cell == "*" else (cell,) for cell, values in zip(row, DIMENSIONS, strict=True))))


ROWS = [tuple(line.split()) for line in rows_of("gates.txt")]
EVERYTHING = list(product(*DIMENSIONS))
STOPPED = ("stopped", "data", "linux", "platform", "-", "-")
RUNNING = ("running", "data", "linux", "platform", "unmounted", "-")
CASES = [(combination, row[-1]) for row in ROWS for combination in combinations(row[:-1])]


SERVERS = {
    "stopped": {"status": "SHUTOFF", "vm_state": "stopped", "power_state": 4},
    "running": {"status": "ACTIVE", "vm_state": "active", "power_state": 1},
    "changing": {"status": "ACTIVE", "vm_state": "active", "power_state": 1, "task_state": "powering-off"},
}
SYSTEMS = {"linux": {"os_type": "Linux"}, "windows": {"os_type": "Windows"}, "unknown": {}}


def asked(combination: Combination, by_volume: str | None = "", by_server: str | None = "", **changes: Any) -> str:
    """Build what a combination says, ask the gate, and put its answer into a word."""
    state, disk, system, policy, attested, allowed = combination
    device = "/dev/sda" if disk == "system" else "/dev/sdb"
    devices = {device if one == "" else one for one in (by_volume, by_server)}
    wish = request(unmounted=attested == "unmounted", allow_system_disk=allowed == "allowed")
    disk_ = volume(metadata=changes.pop("protection", {}))
    machine = server(**{**SERVERS[state], "metadata": SYSTEMS[system], **changes})
    return word(gate(wish, disk_, devices, machine, RunningServerPolicy(policy)))


def word(answer: Gate) -> str:
    match answer:
        case None:
            return "go"
        case Hold():
            return "hold"
        case Refuse(reason):
            return reason.value


def test_table_is_complete() -> None:
    """Every combination is decided by exactly one row of the table."""
    assert sorted(EVERYTHING) == sorted(combination for combination, _ in CASES)


@pytest.mark.parametrize(("combination", "expected"), CASES, ids=lambda value: " ".join(value).replace(" ", ","))
def test_gate_answers_as_the_table_says(combination: Combination, expected: str) -> None:
    """The gate gives the answer of the design's table."""
    assert expected == asked(combination)


@pytest.mark.parametrize("combination", EVERYTHING, ids=",".join)
def test_locked_server_is_refused_whatever_else_holds(combination: Combination) -> None:
    """A locked server is left alone: running, stopped or in between, attested or not."""
    assert asked(combination, locked=True) == "server_locked"


@pytest.mark.parametrize("combination", EVERYTHING, ids=",".join)
def test_protected_volume_is_refused_whatever_else_holds(combination: Combination) -> None:
    """A volume whose metadata forbid detaching it stays, and is named as the bar even on a locked server."""
    assert asked(combination, locked=True, protection={"detach_protection": "true"}) == "volume_protected"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", "volume_protected"), ("True", "volume_protected"), (" TRUE ", "volume_protected"), ("false", "go")],
)
def test_protection_is_read_without_regard_to_case(value: str, expected: str) -> None:
    """People write metadata by hand; only what says true protects."""
    assert expected == asked(STOPPED, protection={"detach_protection": value})


def test_unknown_lock_is_no_lock() -> None:
    """A cloud whose microversion does not tell `locked` still answers a DELETE with its own refusal."""
    assert asked(RUNNING, locked=None) == "go"


@pytest.mark.parametrize(
    ("by_volume", "by_server"),
    [("/dev/sda", "/dev/sdb"), ("/dev/sdb", "/dev/sda"), (None, "/dev/sda"), ("/dev/sda", None)],
)
def test_either_plane_may_name_the_system_disk(by_volume: str | None, by_server: str | None) -> None:
    """Where the two planes give different devices, the more careful reading counts."""
    assert asked(RUNNING, by_volume, by_server) == "system_disk"


# --------------------------------------------------------------------------------- what a server's states mean


def powered(line: str) -> tuple[Server, str]:
    status, task_state, vm_state, power_state, expected = line.split()
    return server(status=status, task_state=None if task_state == "-" else task_state,
        vm_state=None if vm_state == "-" else vm_state,
        power_state=None if power_state == "-" else int(power_state)), expected  # fmt: skip


@pytest.mark.parametrize("line", rows_of("power.txt"))
def test_power_is_read_from_all_four_states(line: str) -> None:
    """Off and on are what all four states agree on; what is steady and neither counts as running."""
    machine, expected = powered(line)
    assert Power(expected) == power(machine)


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
    """Metadata speak first, then the resource code, then the image; whatever is not clearly said is unknown."""
    assert expected == operating_system(server(metadata=metadata, image_properties=image))


# ---------------------------------------------------------------------------------------------- the system disk

DATA, BOOTABLE = volume(), volume(bootable=True)


@pytest.mark.parametrize(
    ("disk", "device", "root", "expected"),
    [
        pytest.param(DATA, "/dev/sda", "/dev/sda", True, id="sda"),
        pytest.param(DATA, "/dev/sda", "/dev/vda", True, id="sda, whatever the root device"),
        pytest.param(DATA, "/dev/sda", None, True, id="sda, root device unknown"),
        pytest.param(DATA, "/dev/vda", "/dev/vda", True, id="root device"),
        pytest.param(DATA, "/dev/sdb", "/dev/sdb", True, id="root device, not the first"),
        pytest.param(DATA, "/dev/sdb", "/dev/sda", False, id="another than the root device"),
        pytest.param(BOOTABLE, "/dev/sdb", "/dev/sda", False, id="bootable, another than the root device"),
        pytest.param(DATA, "/dev/sdb", None, False, id="root device unknown, not bootable"),
        pytest.param(BOOTABLE, "/dev/sdb", None, True, id="root device unknown, bootable"),
        pytest.param(DATA, "/dev/vda", None, True, id="root device unknown, first by name"),
        pytest.param(DATA, "/dev/xvda", None, True, id="root device unknown, first by its Xen name"),
        pytest.param(DATA, None, "/dev/sda", False, id="device unknown, not bootable"),
        pytest.param(BOOTABLE, None, "/dev/sda", True, id="device unknown, bootable"),
        pytest.param(BOOTABLE, None, None, True, id="nothing known, bootable"),
        pytest.param(DATA, None, None, False, id="nothing known, not bootable"),
    ],
)
def test_system_disk(disk: Volume, device: str | None, root: str | None, expected: bool) -> None:
    """The system disk is /dev/sda or the root device; where that is not known, a bootable volume is taken for one."""
    assert expected == is_system_disk(disk, device, server(root_device=root))
