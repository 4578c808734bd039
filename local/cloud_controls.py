"""The simulated cloud in the hands of the page: what is in it, what would be refused, scenarios, and a reset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from local.demo import furnish
from local.real_cloud import connect
from local.stack import simulator_credentials
from shared.bootstrap.detach import service
from shared.model import Reason
from shared.policy import Policy
from shared.ports import utc_now
from simulator import Behaviour, CloudApi, Fault, Refused, bodies, faults
from tools.inventory import NOT_NOW, Disk, Machine, machines

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
    """Reads through the product's own adapter, and asks the product's own gates; disks on no server, which the product
    cannot list, are the simulator's word.
    """

    cloud: CloudApi
    policy: Policy
    usual: dict[str, Behaviour] = field(default_factory=dict)
    """How the disks behave that refuse just now, when they do not."""

    def inventory(self) -> dict[str, Any]:
        """Servers with their disks, and the disks on no server. Raises CloudTrouble."""
        reader = connect(simulator_credentials(self.cloud))
        servers = [_server(found) for found in machines(reader, self.policy, utc_now())]
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
                    self.usual.setdefault(volume_id, volume.behaviour)
                    world.set_volume(volume_id, behaviour=Behaviour(seconds=2, refuse=True))
                    world.at(REFUSING_SECONDS, partial(self._as_usual, volume_id))
                case "away":
                    broken.add(Fault(faults.answer(bodies.html_error(503)), times=None))
                    world.at(AWAY_SECONDS, broken.clear)

    def _as_usual(self, volume_id: str) -> None:
        if (usual := self.usual.pop(volume_id, None)) and volume_id in self.cloud.world.volumes:
            self.cloud.world.set_volume(volume_id, behaviour=usual)

    def reset(self) -> None:
        """Put the cloud back as it was at the start; requests that are under way find that out by themselves."""
        with self.cloud.lock:
            self.cloud.faults.clear()
            self.usual.clear()
            self.cloud.world.clear()
            furnish(self.cloud.world)
        service.cache_clear()  # with what it remembers of DELETEs: nothing of that has happened in this cloud

    def _disk(self, volume_id: str) -> dict[str, Any]:
        volume = self.cloud.world.volumes[volume_id]
        return {"volume_id": volume_id, "name": volume.name, "size": volume.size, "status": volume.status}


def _server(found: Machine) -> dict[str, Any]:
    about = {"server_id": found.server_id, "name": found.name, "status": found.status, "os": found.system}
    return {**about, "disks": [_attached(disk) for disk in found.disks]}


def _attached(disk: Disk) -> dict[str, Any]:
    """A disk, and what the gates say to a request for it: `refused` by a reason, `attest`, `waits`, or nothing."""
    about = {"volume_id": disk.volume_id, "name": disk.name, "size": disk.size, "device": disk.device}
    told = {**about, "status": disk.status, "system_disk": disk.system_disk}
    if disk.refused is None:
        return told
    reason, why = disk.refused
    said: dict[str, Any] = WORDS.get(reason, {"refused": reason})
    return {**told, **said, "why": why}


WORDS: Mapping[str, dict[str, Any]] = {NOT_NOW: {"waits": True}, Reason.ATTESTATION_REQUIRED: {"attest": True}}
"""Reasons that are none for good."""
