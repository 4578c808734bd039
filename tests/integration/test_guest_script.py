"""events/workflows/guest/release-volume.sh in each shell, on fake servers and on real loop devices."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.guest import SCRIPT, SHORT, VOLUME, WWN, Guest, ScriptOutcome, shells, why_no_loop_devices

ID = f"virtio-{SHORT}"
Prepare = Callable[[Guest], Any]


@pytest.fixture
def server(tmp_path: Path) -> Guest:
    """A server with a system disk and the files of every system."""
    guest = Guest(tmp_path / "server")
    guest.disk("vda", parts=1)
    return guest


@pytest.fixture(params=shells())
def guest(request: pytest.FixtureRequest, server: Guest) -> Guest:
    """The same server with each of the shells."""
    server.shell, server.toolbox = request.param
    return server


# ------------------------------------------------------------------------------------------------- finding the disk

FOUND: dict[str, tuple[Prepare, tuple[str, ...]]] = {
    "virtio-blk": (lambda guest: guest.disk("vdb", [ID]), ()),
    "virtio-scsi, whole id": (lambda guest: guest.disk("sdb", [f"scsi-0QEMU_QEMU_HARDDISK_{VOLUME}"]), ()),
    "virtio-scsi, 20 characters": (lambda guest: guest.disk("sdb", [f"scsi-0QEMU_QEMU_HARDDISK_{SHORT}"]), ()),
    "WWN": (lambda guest: guest.disk("sdb", [f"wwn-0x{WWN}"]), ("--wwn", WWN)),
    "WWN, written otherwise": (lambda guest: guest.disk("sdb", [f"scsi-3{WWN}"]), ("--wwn", f" 0x{WWN.upper()} ")),
    "two links to one disk": (lambda guest: guest.disk("sdb", [f"scsi-3{WWN}", f"wwn-0x{WWN}"]), ("--wwn", WWN)),
    "serial number in sysfs": (lambda guest: guest.disk("vdb", serial=SHORT), ()),
    "WWN in sysfs": (lambda guest: guest.disk("sdb", device__wwid=f"naa.{WWN}"), ("--wwn", WWN)),
    "page 80": (lambda guest: guest.disk("sdb", device__vpd_pg80=f"\0\0\0${VOLUME}"), ()),
}


@pytest.mark.parametrize("how", FOUND)
def test_the_disk_is_found(server: Guest, how: str) -> None:
    """Every kind of identifier leads to the volume's disk, and to no other."""
    prepare, arguments = FOUND[how]
    prepare(server)
    server.disk("sdz", ["virtio-00000000-0000-4000-8", "wwn-0x600"])
    outcome = server.outcome(*arguments)
    assert (0, "free") == (outcome.status, outcome.report["result"])
    assert outcome.report["devices"] in (["/dev/vdb"], ["/dev/sdb"])


def test_two_paths_are_one_disk(server: Guest) -> None:
    """Disks with the same WWN are paths to one volume, even without multipath, and each is checked."""
    for name in ("sdb", "sdc"):
        server.disk(name, device__wwid=f"naa.{WWN}")
    server.swap("/dev/sdc")
    outcome = server.outcome("--wwn", WWN)
    assert (1, {"swap"}, ["/dev/sdb", "/dev/sdc"]) == (outcome.status, outcome.kinds, outcome.report["devices"])


def test_the_disk_is_found_by_lsblk(server: Guest) -> None:
    """If neither links nor sysfs identify the volume, lsblk is used."""
    server.disk("sdb")
    server.tool("lsblk", f"""echo 'NAME="vda" SERIAL="" WWN=""'; echo 'NAME="sdb" SERIAL="" WWN="0x{WWN}"'""")
    assert ["/dev/sdb"] == server.outcome("--wwn", WWN).report["devices"]


def link(guest: Guest, *starts: str) -> None:
    """Create by-id links that end in the volume's id and point to device-mapper."""
    for start in starts:
        (guest.root / f"dev/disk/by-id/{start}-{VOLUME}").symlink_to("../../dm-0")


NOT_FOUND: dict[str, tuple[Prepare, tuple[str, ...], str]] = {
    "no such disk": (lambda guest: guest.disk("vdb", ["virtio-00000000-0000-4000-8"]), (), "not_found"),
    "a partition's link": (lambda guest: guest.disk("vdb", [f"{ID}-part1"]), (), "not_found"),
    "a logical volume that is called so": (
        lambda guest: link(guest.disk("vdb").mapped("dm-0", ["vdb"], VOLUME, "LVM-x"), "dm-name-data", "scsi-data"),
        (), "not_found",
    ),
    "the WWN was not given": (lambda guest: guest.disk("sdb", [f"wwn-0x{WWN}"]), (), "not_found"),
    "the WWN is another's": (
        lambda guest: (guest.disk("vdb", [ID]), guest.disk("vdc", [f"wwn-0x{WWN}"])), ("--wwn", WWN), "ambiguous",
    ),
    "20 characters of two": (
        lambda guest: [guest.disk(name, serial=SHORT) for name in ("vdb", "vdc")], (), "ambiguous",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_FOUND)
def test_an_ambiguous_disk_is_left_alone(server: Guest, case: str) -> None:
    """Without a disk, or with more than one, the status is 3, and nothing is changed."""
    prepare, arguments, result = NOT_FOUND[case]
    prepare(server)
    outcome = server.outcome(*arguments, "--release")
    assert (3, result, []) == (outcome.status, outcome.report["result"], server.changes)


# ----------------------------------------------------------------------------------------------- users of the disk


def plain(guest: Guest, parts: int = 1) -> Guest:
    return guest.disk("vdb", [ID], parts=parts)


def logical(guest: Guest, others: str = "") -> None:
    """A volume group on the first partition, with two logical volumes; a dash in a name is doubled."""
    plain(guest)
    guest.mapped("dm-0", ["vdb1"], "my--data-one", "LVM-abc")
    guest.mapped("dm-1", ["vdb1"], "my--data-two", "LVM-def")
    guest.tool("pvs", f"echo '  my-data|/dev/vdb1'; {others}")


def without_tools(guest: Guest) -> None:
    logical(guest)
    (guest.root / "bin/pvs").unlink()


def paths(guest: Guest) -> None:
    """Two paths to the volume, under one map with one partition."""
    for name in ("sdb", "sdc"):
        guest.disk(name, device__wwid=f"naa.{WWN}")
    guest.mapped("dm-0", ["sdb", "sdc"], "mpatha", f"mpath-3{WWN}")
    guest.mapped("dm-1", ["dm-0"], "mpatha1", f"part1-mpath-3{WWN}")
    (guest.root / f"dev/disk/by-id/wwn-0x{WWN}").symlink_to("../../dm-0")


def swap_file(guest: Guest) -> None:
    plain(guest)
    guest.mount("vdb1", "/data")
    guest.swap("/data/swapfile", "file")


def elsewhere(guest: Guest) -> None:
    plain(guest)
    guest.process(77, "container", namespace=2)
    guest.mount("vdb1", "/data", process="77")


def hidden(guest: Guest) -> None:
    plain(guest)
    (guest.root / "sys/fs/xfs/vdb1").mkdir(parents=True)


def several(guest: Guest) -> None:
    """A btrfs file system that mountinfo shows with its own number and another disk."""
    plain(guest)
    (guest.root / "sys/fs/btrfs/1234/devices/vdb1").mkdir(parents=True)


def opened(guest: Guest) -> None:
    plain(guest)
    guest.process(88, "database", opens="/dev/vdb1")


def looped(guest: Guest) -> None:
    plain(guest)
    guest.disk("loop7", loop__backing_file="/dev/vdb1")


def encrypted(guest: Guest) -> None:
    plain(guest)
    guest.mapped("dm-0", ["vdb1"], "secret", "CRYPT-LUKS2-abc-secret")


def system(guest: Guest) -> None:
    plain(guest)
    guest.mount("vdb1", "/boot/efi", "vfat")


HELD: dict[str, tuple[Prepare, set[str]]] = {
    "mount": (lambda guest: plain(guest).mount("vdb1", "/data"), {"mount"}),
    "by number alone": (lambda guest: plain(guest).mount("vdb1", "/srv/a", source="/dev/root"), {"mount"}),
    "btrfs": (lambda guest: plain(guest).mount("vdb1", "/data", "btrfs", number="0:45"), {"mount"}),
    "mount namespace": (elsewhere, {"namespace"}),
    "file system that nobody shows": (hidden, {"filesystem"}),
    "file system on several disks": (several, {"filesystem"}),
    "swap": (lambda guest: plain(guest).swap("/dev/vdb1"), {"swap"}),
    "swap file": (swap_file, {"mount", "swap"}),
    "LVM": (logical, {"lvm"}),
    "LVM without its tools": (without_tools, {"lvm", "shared"}),
    "LVM on other disks as well": (lambda guest: logical(guest, "echo '  my-data|/dev/vdc'"), {"lvm", "shared"}),
    "md": (lambda guest: plain(guest).array("md0", ["vdb1"]), {"raid"}),
    "md with another disk": (
        lambda guest: plain(guest).disk("vdc").array("md0", ["vdb1", "vdc"]), {"raid", "shared"},
    ),
    "dm-crypt": (encrypted, {"crypt"}),
    "multipath": (paths, {"multipath"}),
    "ZFS": (lambda guest: plain(guest).pool("tank", "/dev/vdb1"), {"zfs"}),
    "ZFS with another disk": (
        lambda guest: plain(guest).disk("vdc").pool("tank", "/dev/vdb1", "/dev/vdc"), {"zfs", "shared"},
    ),
    "bcache": (lambda guest: plain(guest).other("bcache0", ["vdb1"]), {"other"}),
    "loop device": (looped, {"loop"}),
    "process": (opened, {"process"}),
    "the running system": (system, {"mount", "system"}),
}  # fmt: skip
MINE = {"mount", "swap", "lvm", "crypt", "multipath", "raid", "zfs"}


@pytest.mark.parametrize("case", HELD)
def test_the_user_of_the_disk_is_named(guest: Guest, case: str) -> None:
    """A check has status 1, names the user of the disk, and changes nothing."""
    prepare, kinds = HELD[case]
    prepare(guest)
    outcome = guest.outcome("--check", "--wwn", WWN)
    assert (1, "held", kinds) == (outcome.status, outcome.report["result"], outcome.kinds)
    assert [] == guest.changes


@pytest.mark.parametrize("case", [case for case, (_, kinds) in HELD.items() if kinds - MINE])
def test_a_user_that_cannot_be_stopped_prevents_the_release(server: Guest, case: str) -> None:
    """A release changes nothing if it cannot release everything."""
    HELD[case][0](server)
    outcome = server.outcome("--release")
    assert (1, "held", []) == (outcome.status, outcome.report["result"], server.changes)
    assert "nothing was changed" in outcome.report["message"]


def test_other_disks_do_not_count(server: Guest) -> None:
    """Mounts, swap and processes of another disk do not hold this one."""
    plain(server)
    server.disk("vdc", parts=1)
    server.mount("vdc1", "/data")
    server.swap("/dev/vdc")
    server.process(88, "database", opens="/dev/vdc")
    server.mapped("dm-0", ["vdc1"], "secret", "CRYPT-x")
    assert 0 == server.outcome().status


def test_multipathd_does_not_count_as_a_user(server: Guest) -> None:
    """The daemon has each path open, and closes it with the map."""
    paths(server)
    server.process(9, "multipathd", opens="/dev/sdb")
    assert {"multipath"} == server.outcome("--wwn", WWN).kinds


# ---------------------------------------------------------------------------------------------------------- release


def deep(guest: Guest) -> None:
    """Nested mounts on encryption, a volume group and an array."""
    guest.disk("vdb", [ID], parts=2)
    guest.array("md0", ["vdb1"])
    guest.mapped("dm-0", ["md0"], "group-one", "LVM-abc")
    guest.mapped("dm-1", ["md0"], "group-two", "LVM-def")
    guest.mapped("dm-2", ["dm-1"], "secret", "CRYPT-x")
    guest.tool("pvs", "echo '  group|/dev/md0'")
    guest.mount("dm-0", "/data")
    guest.mount("dm-2", "/data/my secrets", "xfs")
    guest.swap("/dev/vdb2")


FLUSHED = "blockdev --flushbufs /dev/vdb"
RELEASED: dict[str, tuple[Prepare, list[str]]] = {
    "nothing to do": (plain, [FLUSHED]),
    "nested": (
        deep,
        [
            "swapoff /dev/vdb2", "umount /data/my secrets", "umount /data", "cryptsetup close secret",
            "vgchange -an group", "mdadm --stop /dev/md0", FLUSHED,
        ],
    ),
    "swap file": (swap_file, ["swapoff /data/swapfile", "umount /data", FLUSHED]),
    "LVM": (logical, ["vgchange -an my-data", FLUSHED]),
    "ZFS": (lambda guest: plain(guest).pool("tank", "/dev/vdb1"), ["zpool export tank", FLUSHED]),
    "multipath": (paths, ["multipath -f mpatha", "blockdev --flushbufs /dev/sdb", "blockdev --flushbufs /dev/sdc"]),
}  # fmt: skip


@pytest.mark.parametrize("case", RELEASED)
def test_a_release_goes_from_the_top_down(guest: Guest, case: str) -> None:
    """Afterwards nothing uses the disk, and the script lists its steps in order."""
    prepare, done = RELEASED[case]
    prepare(guest)
    outcome = guest.outcome("--release", "--wwn", WWN)
    assert (0, "released", []) == (outcome.status, outcome.report["result"], outcome.report["held_by"])
    assert done == guest.changes == outcome.report["did"]
    assert 0 == guest.outcome("--wwn", WWN).status


def test_the_first_failure_ends_a_release(guest: Guest) -> None:
    """A mount that cannot be unmounted stays, with everything below it; the output lists the earlier steps."""
    deep(guest)
    guest.tool("umount", "echo 'umount: target is busy.' >&2; exit 32")
    guest.tool("fuser", 'case $1 in -m) echo " 88" ;; esac')
    guest.process(88, "database")
    outcome = guest.outcome("--release")
    assert (1, ["swapoff /dev/vdb2"]) == (outcome.status, outcome.report["did"])
    assert ["swapoff /dev/vdb2", "umount /data/my secrets"] == guest.changes
    assert "target is busy" in outcome.report["message"]
    assert "process 88 (database)" in outcome.report["message"]
    assert {"mount", "crypt", "lvm", "raid"} == outcome.kinds


def test_a_device_that_stays_ends_a_release(guest: Guest) -> None:
    """The script notices a tool that succeeds without an effect."""
    encrypted(guest)
    guest.tool("cryptsetup", ":")
    outcome = guest.outcome("--release")
    assert (1, {"crypt"}) == (outcome.status, outcome.kinds)
    assert "still there" in outcome.report["message"]


def test_a_mount_that_stays_ends_a_release(guest: Guest) -> None:
    """The script notices an unmount without an effect."""
    plain(guest)
    guest.mount("vdb1", "/data")
    guest.tool("umount", ":")
    outcome = guest.outcome("--release")
    assert (1, ["umount /data"]) == (outcome.status, guest.changes)
    assert "still mounted" in outcome.report["message"]


def test_remains_after_a_release_are_reported(guest: Guest) -> None:
    """A copy of a mount in another namespace that outlives ours is reported."""
    plain(guest)
    guest.mount("vdb1", "/data")
    guest.process(77, "container", namespace=2)
    guest.mount("vdb1", "/data", process="77")
    outcome = guest.outcome("--release")
    assert (1, {"namespace"}) == (outcome.status, outcome.kinds)
    assert ["umount /data", FLUSHED] == outcome.report["did"]
    assert "77 (container)" in outcome.report["held_by"][0]["detail"]


def test_the_scsi_device_is_deleted_on_request(server: Guest) -> None:
    """The device is deleted only on request, once nothing uses it."""
    server.disk("sdb", [f"wwn-0x{WWN}"], device__delete="")
    switch = server.root / "sys/class/block/sdb/device/delete"
    server.outcome("--wwn", WWN, "--release")
    assert "\n" == switch.read_text()
    assert 0 == server.outcome("--wwn", WWN, "--release", "--delete-device").status
    assert "1\n" == switch.read_text()


TABLES = """# /dev/vdb1 /old ext4 defaults 0 2
UUID=1234-abcd /data ext4 defaults 0 2
/dev/vdb1 /safe ext4 defaults,nofail 0 2
/dev/vda1 / ext4 defaults 0 1
LABEL="data" /labelled xfs defaults 0 0
"""


def test_settings_that_need_the_disk_at_the_next_start_are_reported(guest: Guest) -> None:
    """Entries of fstab and crypttab without nofail, and a volume group on the disk, are warnings."""
    plain(guest)
    for link in ("by-uuid/1234-abcd", "by-label/data"):
        (guest.root / "dev/disk" / link).parent.mkdir(exist_ok=True)
        (guest.root / "dev/disk" / link).symlink_to("../../vdb1")
    (guest.root / "etc/fstab").write_text(TABLES)
    (guest.root / "etc/crypttab").write_text("secret /dev/vdb1 none luks\n")
    guest.tool("pvs", "echo '  my-data|/dev/vdb1'; echo '  |/dev/vdb'")
    outcome = guest.outcome()
    assert 0 == outcome.status
    starts = [warning.split(" has ")[0].split(" is on")[0] for warning in outcome.report["warnings"]]
    assert [
        "/etc/fstab, line 2: UUID=1234-abcd", "/etc/fstab, line 5: LABEL=data", "/etc/crypttab, line 1: /dev/vdb1",
        "volume group my-data",
    ] == starts  # fmt: skip


# ------------------------------------------------------------------------------------------------ arguments and output

MISUSED: list[tuple[str, ...]] = [
    (), ("--volume-id",), ("--volume-id", "vdb"), ("--volume-id", f"{VOLUME}; reboot"),
    ("--volume-id", VOLUME[1:] + "-"), ("--volume-id", VOLUME, "--force"), ("--volume-id", VOLUME, "/dev/sdb"),
    ("--volume-id", VOLUME, "--wwn", "xyz"), ("--volume-id", VOLUME, "--delete-device"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", MISUSED)
def test_misuse_is_status_2(server: Guest, arguments: tuple[str, ...]) -> None:
    """The script reports the mistake and its usage, and changes nothing."""
    plain(server)
    done = server.run(*arguments)
    assert (2, "") == (done.returncode, done.stdout)
    assert "usage: release-volume.sh --volume-id" in done.stderr
    assert [] == server.changes


def test_the_output_for_people(server: Guest) -> None:
    """Without --json there is a line for each user of the disk, and the result comes last."""
    swap_file(server)
    done = server.run("--volume-id", VOLUME.upper())
    assert 1 == done.returncode
    assert "held by  mount: /dev/vdb1, mounted at /data (ext4)" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1].startswith("result   held: ")


def test_any_name_is_json(guest: Guest) -> None:
    """A mount point with blanks, quotes and backslashes is unchanged in the JSON."""
    plain(guest)
    point = r'/mnt/a "b"\new'
    guest.mount("vdb1", point)
    (entry,) = guest.outcome().report["held_by"]
    assert f"mounted at {point} (ext4)" == entry["detail"]


def test_shellcheck_finds_nothing() -> None:
    """The script is plain POSIX sh."""
    found = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not found:
        pytest.skip("shellcheck is not installed: make setup")
    done = subprocess.run([found, "--shell=sh", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout)


# ------------------------------------------------------------------------------------------------- on a real kernel


@dataclass
class LoopDisk:
    """A loop device as the volume's disk on this server."""

    path: Path
    home: Path
    shell: list[str]

    def outcome(self, *arguments: str) -> ScriptOutcome:
        done = subprocess.run(
            [*self.shell, str(SCRIPT), "--volume-id", VOLUME, *arguments, "--json"],
            env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "ROOT": str(self.home / "root")},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "" == done.stderr
        return ScriptOutcome(done.returncode, json.loads(done.stdout))

    def formatted(self) -> None:
        run("mkfs.ext4", "-q", "-F", str(self.path))

    def mounted(self, name: str) -> Path:
        point = self.home / name
        point.mkdir(parents=True, exist_ok=True)
        run("mount", str(self.path), str(point))
        return point


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


WHY_NOT = why_no_loop_devices()


@pytest.fixture(params=shells())
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LoopDisk]:
    """A disk of 32 MB, which is cleaned up after the test."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 32 << 20)
    path = Path(run("losetup", "--show", "--find", str(image)).strip())
    by_id = tmp_path / "root/dev/disk/by-id"
    by_id.mkdir(parents=True)
    for name in ("sys", "proc", "etc"):
        (tmp_path / "root" / name).symlink_to(f"/{name}")
    (tmp_path / "root/dev" / path.name).symlink_to(path)
    (by_id / ID).symlink_to(f"../../{path.name}")
    try:
        yield LoopDisk(path, tmp_path, request.param[0])
    finally:
        subprocess.run(["swapoff", str(path)], capture_output=True, check=False)
        while not subprocess.run(["umount", str(path)], capture_output=True, check=False).returncode:
            pass
        run("losetup", "--detach", str(path))


def test_real_mounts_are_released(disk: LoopDisk) -> None:
    """A mount and a bind mount inside it are found and released, and the file stays on the disk."""
    disk.formatted()
    point = disk.mounted("data with blanks")
    (point / "file").write_text("kept")
    (point / "inside").mkdir()
    run("mount", "--bind", str(point), str(point / "inside"))
    assert {"mount"} == disk.outcome().kinds
    outcome = disk.outcome("--release")
    assert (0, [f"umount {point}/inside", f"umount {point}"]) == (outcome.status, outcome.report["did"][:2])
    assert 0 == disk.outcome().status
    assert "kept" == (disk.mounted("again") / "file").read_text()


def test_a_real_mount_that_is_busy_stays(disk: LoopDisk) -> None:
    """The kernel refuses the unmount because of an open file, and the script stops and reports it."""
    disk.formatted()
    point = disk.mounted("data")
    with (point / "file").open("w"):
        outcome = disk.outcome("--release")
    assert (1, []) == (outcome.status, outcome.report["did"])
    assert f"stopped at umount {point}" in outcome.report["message"]
    assert point.is_mount()


def test_real_swap_is_released(disk: LoopDisk) -> None:
    """Swap space is switched off."""
    run("mkswap", str(disk.path))
    run("swapon", str(disk.path))
    assert {"swap"} == disk.outcome().kinds
    assert f"swapoff {disk.path}" == disk.outcome("--release").report["did"][0]
    assert disk.path.name not in Path("/proc/swaps").read_text()


def test_a_real_process_with_the_device_open_is_named(disk: LoopDisk) -> None:
    """This process has the device open, and is named with its id."""
    with disk.path.open("rb"):
        outcome = disk.outcome("--release")
    assert (1, {"process"}, []) == (outcome.status, outcome.kinds, outcome.report["did"])
    assert f"process {os.getpid()} " in outcome.report["held_by"][0]["detail"]


def test_a_real_mount_namespace_is_seen(disk: LoopDisk) -> None:
    """A mount that exists only in another mount namespace is reported."""
    disk.formatted()
    (disk.home / "there").mkdir()
    script = 'mount "$1" "$2" && echo ready && read -r line'
    apart = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    command = [*apart, str(disk.path), str(disk.home / "there")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin
        assert other.stdout
        assert "ready\n" == other.stdout.readline()
        outcome = disk.outcome("--release")
        other.stdin.write("\n")
        other.stdin.close()
        other.wait(60)
    assert (1, {"namespace"}, []) == (outcome.status, outcome.kinds, outcome.report["did"])
    assert 0 == disk.outcome().status


def test_a_real_lazy_unmount_is_seen(disk: LoopDisk) -> None:
    """A lazily unmounted file system with an open file is still in use."""
    disk.formatted()
    point = disk.mounted("data")
    with (point / "file").open("w"):
        run("umount", "--lazy", str(point))
        assert {"filesystem"} == disk.outcome().kinds
