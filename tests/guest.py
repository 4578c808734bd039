"""A fake Linux server in a directory: the kernel's files about disks, and tools that change them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tools.documents import ROOT

SCRIPT = ROOT / "events/workflows/guest/release-volume.sh"
VOLUME = "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6"
SHORT = VOLUME[:20]
WWN = "688860300002a6d3bc4ab5bd8a4c2df1"

READERS = (
    "awk", "cat", "cut", "grep", "head", "ls", "mktemp", "paste", "readlink", "rm", "sed", "sort", "tail", "tr", "wc",
)  # fmt: skip
"""The commands that the script needs on any system."""

GONE = r"""gone() { # remove a device from sysfs
    rm -rf "$ROOT/sys/class/block/$1"
    rm -rf "$ROOT"/sys/class/block/*/holders/"$1" "$ROOT"/sys/class/block/*/*/holders/"$1"
}
mapped() { # devices whose device-mapper name is this, or begins with it
    for entry in "$ROOT"/sys/class/block/dm-*; do
        case $(cat "$entry/dm/name" 2>/dev/null) in "$1" | "$1"[0-9-]*) gone "${entry##*/}" ;; esac
    done
}
"""
TOOLS: Mapping[str, str] = {
    "umount": r"""f="$ROOT/proc/self/mountinfo"; p=$(printf %s "$1" | sed 's/ /\\040/g')
grep -vF " $p " "$f" >"$f.new"; mv "$f.new" "$f"
""",
    "swapoff": 'f="$ROOT/proc/swaps"; awk -v p="$1" \'$1 != p\' "$f" >"$f.new"; mv "$f.new" "$f"',
    "cryptsetup": 'mapped "$2"',
    "vgchange": 'mapped "$(echo "$2" | sed s/-/--/g)"',
    "mdadm": 'gone "${2##*/}"',
    "multipath": 'mapped "$2"',
    "zpool": 'case $1 in export) rm -rf "$ROOT/pools/$2" ;; list) ls "$ROOT/pools" ;;'
    ' status) cat "$ROOT/pools/$4" ;; esac',
    "blockdev": ":",
}
CHANGING = frozenset(TOOLS)
ASKING = ("zpool list", "zpool status")


@dataclass(frozen=True)
class ScriptOutcome:
    """The script's JSON report and its exit status."""

    status: int
    report: dict[str, Any]

    @property
    def kinds(self) -> set[str]:
        return {entry["kind"] for entry in self.report["held_by"]}


@dataclass
class Guest:
    """The server. Devices have the numbers 8:n. Methods that add something return the server, for chaining."""

    root: Path
    shell: Sequence[str] = ("/bin/sh",)
    toolbox: str | None = None
    _numbers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in ("dev/disk/by-id", "dev/mapper", "proc/self/ns", "sys/block", "sys/class/block"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("etc", "bin", "pools"):
            (self.root / folder).mkdir()
        (self.root / "proc/self/mountinfo").write_text("22 1 254:1 / / rw - ext4 /dev/vda1 rw\n")
        (self.root / "proc/self/ns/mnt").symlink_to("mnt:[1]")
        (self.root / "proc/swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
        for name, effect in TOOLS.items():
            self.tool(name, effect)

    # ---------------------------------------------------------------------------------------------- contents

    def tool(self, name: str, effect: str) -> None:
        """A command that records its call, and then runs this."""
        path = self.root / "bin" / name
        helpers = f"ROOT='{self.root}'\nPATH='{os.environ['PATH']}'\n{GONE}"
        path.write_text(f'#!/bin/sh\n{helpers}echo "{name} $*" >>"$ROOT/calls"\n{effect}\n')
        path.chmod(0o755)

    def disk(self, name: str, ids: Iterable[str] = (), parts: int = 0, **attributes: str) -> "Guest":
        """A disk with that many partitions, and its links in by-id."""
        self._device(self.root / "sys/class/block" / name, name)
        (self.root / "sys/block" / name).symlink_to(f"../class/block/{name}")
        for number in range(1, parts + 1):
            part = f"{name}{number}"
            self._device(self.root / "sys/class/block" / name / part, part)
            (self.root / f"sys/class/block/{name}/{part}/partition").write_text(f"{number}\n")
            (self.root / f"sys/class/block/{part}").symlink_to(f"{name}/{part}")
        for link in ids:
            (self.root / "dev/disk/by-id" / link).symlink_to(f"../../{name}")
        for path, value in attributes.items():
            file = self.root / "sys/class/block" / name / path.replace("__", "/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(value + "\n")
        return self

    def mapped(self, name: str, on: Sequence[str], called: str, uuid: str) -> "Guest":
        """A device-mapper device on top of others."""
        path = self._stacked(name, on)
        (path / "dm").mkdir()
        (path / "dm/name").write_text(f"{called}\n")
        (path / "dm/uuid").write_text(f"{uuid}\n")
        (self.root / "dev/mapper" / called).symlink_to(f"../{name}")
        return self

    def array(self, name: str, on: Sequence[str]) -> "Guest":
        """An md array."""
        (self._stacked(name, on) / "md").mkdir()
        return self

    def other(self, name: str, on: Sequence[str]) -> "Guest":
        """Another kind of device on top of others."""
        self._stacked(name, on)
        return self

    def mount(
        self, name: str, point: str, kind: str = "ext4", process: str = "self",
        number: str | None = None, source: str | None = None,
    ) -> "Guest":  # fmt: skip
        """A line of mountinfo, as the kernel escapes it."""
        escaped = point.replace("\\", r"\134").replace(" ", r"\040")
        file = self.root / "proc" / process / "mountinfo"
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as text:
            device = f"{number or self._numbers[name]} / {escaped} rw shared:1 - {kind} {source or f'/dev/{name}'}"
            text.write(f"30 22 {device} rw\n")
        return self

    def process(self, number: int, called: str, opens: str | None = None, namespace: int = 1) -> "Guest":
        """A process with its open device and its mount namespace."""
        home = self.root / "proc" / str(number)
        for folder in ("fd", "ns"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        (home / "comm").write_text(f"{called}\n")
        (home / "ns/mnt").symlink_to(f"mnt:[{namespace}]")
        if opens:
            (home / "fd/3").symlink_to(opens)
        return self

    def swap(self, path: str, kind: str = "partition") -> "Guest":
        with (self.root / "proc/swaps").open("a") as text:
            text.write(f"{path} {kind}\t1024\t0\t-2\n")
        return self

    def pool(self, name: str, *paths: str) -> "Guest":
        """An imported ZFS pool."""
        (self.root / "sys/module/zfs").mkdir(parents=True, exist_ok=True)
        lines = "".join(f"\t  {path}  ONLINE  0 0 0\n" for path in paths)
        (self.root / "pools" / name).write_text(f"  pool: {name}\n\t{name}  ONLINE  0 0 0\n{lines}")
        return self

    def _device(self, path: Path, name: str) -> None:
        self._numbers[name] = f"8:{len(self._numbers) + 16}"
        (path / "holders").mkdir(parents=True)
        (path / "slaves").mkdir()
        (path / "dev").write_text(self._numbers[name] + "\n")
        (self.root / "dev" / name).touch()

    def _stacked(self, name: str, on: Sequence[str]) -> Path:
        path = self.root / "sys/class/block" / name
        self._device(path, name)
        for below in on:
            (self.root / f"sys/class/block/{below}/holders/{name}").mkdir()
            (path / "slaves" / below).mkdir()
        return path

    # ------------------------------------------------------------------------------------------ running the script

    @cached_property
    def path(self) -> str:
        readers = self.root / "readers"
        readers.mkdir()
        for name in READERS:
            (readers / name).symlink_to(self.toolbox or shutil.which(name) or f"/bin/{name}")
        return f"{self.root / 'bin'}:{readers}"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the script as a user does."""
        return subprocess.run(
            [*self.shell, str(SCRIPT), *arguments],
            env={"PATH": self.path, "ROOT": str(self.root), "TMPDIR": str(self.root)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def outcome(self, *arguments: str) -> ScriptOutcome:
        """Run the script for the volume, and parse its JSON output."""
        done = self.run("--volume-id", VOLUME, *arguments, "--json")
        assert "" == done.stderr
        return ScriptOutcome(done.returncode, json.loads(done.stdout))

    @property
    def changes(self) -> list[str]:
        """The recorded calls of commands that change something."""
        calls = self.root / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [
            line.replace(str(self.root), "") for line in lines
            if line.split()[0] in CHANGING and not line.startswith(ASKING)
        ]  # fmt: skip


def shells() -> list[Any]:
    """The shells that servers use as /bin/sh, each with the commands of its system."""
    busybox = shutil.which("busybox")
    known = [
        ("dash", [shutil.which("dash")], None),
        ("bash", [shutil.which("bash"), "--posix"], None),
        ("busybox", [busybox, "sh"], busybox),
    ]
    return [
        pytest.param(
            ([str(word) for word in shell], toolbox), id=name,
            marks=[] if shell[0] else pytest.mark.skip(reason=f"this machine has no {name}"),
        )
        for name, shell, toolbox in known
    ]  # fmt: skip


def why_no_loop_devices() -> str | None:
    """Why tests with real block devices cannot run on this machine."""
    if os.geteuid() != 0:
        return "only root may set up loop devices"
    missing = [tool for tool in ("losetup", "mkfs.ext4", "mkswap", "mount", "unshare") if not shutil.which(tool)]
    if missing:
        return f"this machine has no {', '.join(missing)}"
    free = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    return None if free.returncode == 0 else f"this machine has no loop devices: {free.stderr.strip()}"
