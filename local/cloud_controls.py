"""The simulated cloud in the hands of the page: what is in it, what would be refused, scenarios, and a reset."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from local.demo import furnish
from local.real_cloud import connect
from local.stack import simulator_credentials
from shared.cloud.openstack import OpenStackCloud
from shared.decision.gates import Hold, Refuse, cloud_refuses, gate, is_system_disk, operating_system
from shared.model import DetachRequest, Listed, Server, Volume
from shared.policy import RunningServerPolicy
from shared.ports import utc_now
from simulator import Behaviour, CloudApi, Fault, Refused, bodies, faults

MOVE_SECONDS, REFUSING_SECONDS, AWAY_SECONDS = 6.0, 5.0, 8.0


@dataclass(frozen=True)
class Scenario:
    """What the cloud does about one request, in a few words and in a sentence."""

    label: str
    sentence: str


SCENARIOS = {
    "ordinary": Scenario("Ordinary", "The disk goes after a second or two; db-01-logs is mounted and stays."),
    "moves": Scenario("Server moves", "It is being resized when the request comes: wait, then detach."),
    "refuses": Scenario("Server refuses", "The DELETE is accepted, but the system keeps the disk."),
    "away": Scenario("Cloud away", f"Every call is answered with 503 for {AWAY_SECONDS:.0f} seconds."),
}


@dataclass(frozen=True)
class CloudControls:
    """Reads through the product's own adapter, and asks the product's own gates; only names and sizes of disks,
    which the product does not read, are the simulator's word.
    """

    cloud: CloudApi
    rule: RunningServerPolicy

    def inventory(self) -> dict[str, Any]:
        """Servers with their disks, and the disks on no server. Raises CloudTrouble."""
        reader = connect(simulator_credentials(self.cloud))
        servers = [self._server(reader, found) for found in reader.servers().value]
        with self.cloud.lock:
            world = self.cloud.world
            held = {one.volume_id for plane in (world.nova, world.cinder) for one in plane.values()}
            free = [self._disk(id_) for id_ in world.volumes if id_ not in held]
        return {"servers": servers, "free": free}

    def arrange(self, scenario: str, server_id: str, volume_id: str) -> None:
        """Set the scene for one request that is about to be sent. Raises Refused where the cloud cannot do that now."""
        with self.cloud.lock:
            world, broken = self.cloud.world, self.cloud.faults
            match scenario:
                case "moves":
                    world.move(server_id, "resize", seconds=MOVE_SECONDS)
                    world.at(MOVE_SECONDS + 1, partial(world.confirm_resize, server_id))
                case "refuses":
                    if (volume := world.volumes.get(volume_id)) is None:
                        raise Refused(f"no volume {volume_id}")
                    # For so long that the DELETE comes meanwhile; another request finds the disk as it was.
                    world.set_volume(volume_id, behaviour=Behaviour(seconds=2, refuse=True))
                    world.at(REFUSING_SECONDS, partial(world.set_volume, volume_id, behaviour=volume.behaviour))
                case "away":
                    broken.add(Fault(faults.answer(bodies.html_error(503)), times=None))
                    world.at(AWAY_SECONDS, broken.clear)

    def reset(self) -> None:
        """Put the cloud back as it was at the start; requests that are under way find that out by themselves."""
        with self.cloud.lock:
            self.cloud.faults.clear()
            self.cloud.world.clear()
            furnish(self.cloud.world)

    def _server(self, reader: OpenStackCloud, found: Server) -> dict[str, Any]:
        server = reader.server(found.id).value or found
        listed = reader.listing(server.id).value or ()
        return {
            "server_id": server.id,
            "name": server.name,
            "status": server.status,
            "os": operating_system(server).value,
            "disks": [self._attached(reader, server, entry) for entry in listed],
        }

    def _attached(self, reader: OpenStackCloud, server: Server, entry: Listed) -> dict[str, Any]:
        volume = reader.volume(entry.volume_id).value
        with self.cloud.lock:
            told = self._disk(entry.volume_id)
        if volume is None:
            return told | {"status": "unknown to block storage", "device": entry.device}
        devices = {entry.device, *(one.device for on, one in volume.attachments if on == server.id)} - {None}
        device = min(filter(None, devices), default=None)
        return told | {
            "status": volume.status,
            "device": device,
            "system_disk": is_system_disk(volume, device, server),
            **self._judged(server, volume, devices),
        }

    def _disk(self, volume_id: str) -> dict[str, Any]:
        volume = self.cloud.world.volumes.get(volume_id)
        known = {"name": volume.name, "size": volume.size, "status": volume.status} if volume else {}
        return {"volume_id": volume_id, **known}

    def _judged(self, server: Server, volume: Volume, devices: set[str | None]) -> Mapping[str, Any]:
        """What the gates say to a request for this disk: `refused` with a reason, `attest`, `waits`, or nothing."""
        asked = partial(DetachRequest, "page", "/page", utc_now(), server.id, volume.id)
        attested = gate(asked(unmounted=True), volume, devices, server, self.rule)
        plain = gate(asked(unmounted=False), volume, devices, server, self.rule)
        match attested, plain:
            case Refuse(reason, why), _:
                return {"refused": reason.value, "why": why}
            case Hold(why), _:
                return {"waits": True, "why": why}
            case None, Refuse(_, why):
                return {"attest": True, "why": why}
        why_not = cloud_refuses(server)
        return {"refused": "api_rejected", "why": why_not} if why_not else {}
