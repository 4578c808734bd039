"""`make servers`: list the servers of a project with their disks, and which of these would be refused and why."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from local.demo import demo_cloud
from local.real_cloud import api_of, cloud_values, connect, unread
from local.stack import simulator_credentials
from shared.ports import CloudTrouble, utc_now
from simulator import CloudServer
from tools.exit_status import Exit
from tools.inventory import Disk, Machine, machines, policy_of


def show(real_cloud: bool, as_json: bool, like: str = "") -> Exit:
    """Print servers as they are read; returns FAILED if a part could not be read, USAGE if nothing could."""
    api = None if real_cloud else demo_cloud(utc_now)
    policy = policy_of(os.environ)
    broken = shown = 0
    detach_api = api_of(os.environ)
    if api:
        print("A simulated cloud, new for each command; CLOUD=env lists yours.", file=sys.stderr)
    try:
        with CloudServer(api) if api else nullcontext():
            values = simulator_credentials(api) if api else cloud_values(os.environ)
            cloud = connect(values, detach_api)
            for found in machines(cloud, policy, utc_now(), like):
                shown += 1
                broken += bool(found.trouble)
                print(json.dumps(as_data(found)) if as_json else "\n".join(as_text(found)) + "\n", flush=True)
    except CloudTrouble as trouble:
        print(unread(trouble, detach_api), file=sys.stderr)
        return Exit.USAGE
    if not shown and not as_json:
        print(f"No server of this project has {like} in its name or id." if like else "No servers in this project.")
    if broken:
        print(f"{broken} of {shown} servers could not be read completely.", file=sys.stderr)
    return Exit.FAILED if broken else Exit.DETACHED


def as_text(found: Machine) -> Iterator[str]:
    yield f"{found.name or '(no name)'}  {found.status}, {found.system}, {kind_of(found)}"
    yield f"  server {found.server_id}"
    names = max((len(disk.name) for disk in found.disks), default=0)
    for disk in found.disks:
        yield f"    volume {disk.volume_id}  {disk_line(disk, names)}"
        if disk.refused:
            reason, why = disk.refused
            yield f"           {reason}: {why}"
    if found.trouble:
        yield f"    some of it cannot be read: {found.trouble}"


def kind_of(found: Machine) -> str:
    """The kind of the server, in words."""
    return "kind unknown" if found.kind == "unknown" else found.kind


def disk_line(disk: Disk, names: int = 0) -> str:
    """A disk in one line, with its name in a column of at least `names` characters."""
    size = f"{disk.size} GiB" if disk.size is not None else "? GiB"
    return f"{disk.name or '-':<{names}}  {size:>9}  {disk.device or '?':<9} {disk.kind:<12} {disk.status}".rstrip()


def as_data(found: Machine) -> dict[str, Any]:
    about = {"server_id": found.server_id, "name": found.name, "status": found.status}
    about |= {"os": found.system, "kind": found.kind}
    disks = [
        {
            "volume_id": disk.volume_id,
            "name": disk.name,
            "size_gib": disk.size,
            "device": disk.device,
            "status": disk.status,
            "system_disk": disk.system_disk,
            "attachment_id": disk.attachment_id,
            "refused": dict(zip(("reason", "why"), disk.refused, strict=True)) if disk.refused else None,
        }
        for disk in found.disks
    ]
    return {**about, "disks": disks, **({"trouble": found.trouble} if found.trouble else {})}
