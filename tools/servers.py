"""`make servers`: the servers of a project with their disks, where a user finds the ids for a request."""

import json
import os
import sys
from contextlib import nullcontext
from typing import Any

from local.demo import demo_cloud
from local.real_cloud import cloud_values, connect
from local.stack import simulator_credentials
from shared.cloud.openstack import OpenStackCloud
from shared.decision.gates import is_system_disk, operating_system
from shared.model import Server
from shared.ports import CloudTrouble, utc_now
from simulator import CloudServer


def show(real_cloud: bool, as_json: bool) -> int:
    """Print the table; exit status 2 with one sentence if the cloud cannot be asked."""
    api = None if real_cloud else demo_cloud(utc_now)
    try:
        with CloudServer(api) if api else nullcontext():
            cloud = connect(simulator_credentials(api) if api else cloud_values(os.environ))
            rows = [_row(cloud, server) for server in cloud.servers().value]
    except CloudTrouble as trouble:
        print(f"The cloud did not answer: {trouble}.", file=sys.stderr)
        return 2
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return 0
    for row in rows:
        print(f"{row['name'] or '(no name)'}  {row['status']}, {row['os']}\n  server {row['server_id']}")
        for disk in row["disks"]:
            kind = "system disk" if disk["system_disk"] else "data disk"
            print(f"    volume {disk['volume_id']}  {disk['device'] or '?':<10} {kind:<12} {disk['status']}")
        print()
    if not rows:
        print("No servers in this project.")
    return 0


def _row(cloud: OpenStackCloud, found: Server) -> dict[str, Any]:
    """One server; its own detail is asked for too, since only that leads to the image and so to the system."""
    server = cloud.server(found.id).value or found
    disks = []
    for entry in cloud.listing(server.id).value or ():
        volume = cloud.volume(entry.volume_id).value
        attachment = next((a for on, a in volume.attachments if on == server.id), None) if volume else None
        device = entry.device or (attachment.device if attachment else None)
        disks.append(
            {
                "volume_id": entry.volume_id,
                "device": device,
                "status": volume.status if volume else "unknown to block storage",
                "system_disk": volume is not None and is_system_disk(volume, device, server),
                "attachment_id": attachment.attachment_id if attachment else None,
            }
        )
    about = {"server_id": server.id, "name": server.name, "status": server.status}
    return {**about, "os": operating_system(server).value, "disks": disks}
