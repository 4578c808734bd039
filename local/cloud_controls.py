"""The page's access to the simulated cloud: inventory with refusals, scenarios, and reset."""

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
    """What the cloud does about one request: a label and a sentence."""

    label: str
    sentence: str


SCENARIOS = {
    "ordinary": Scenario("Ordinary", "The disk detaches within two seconds; db-01-logs is mounted, so it stays."),
    "moves": Scenario("Server moves", "The server is being resized when the request arrives: wait, then detach."),
    "refuses": Scenario("Server refuses", "The DELETE is accepted, but the operating system keeps the disk."),
    "away": Scenario("Cloud away", f"Every call is answered with 503 for {AWAY_SECONDS:.0f} seconds."),
}


@dataclass(frozen=True)
class CloudControls:
    """Reads servers through the product's own adapter and gates.

    The product cannot list unattached disks, so those are read from the simulator.
    """

    cloud: CloudApi
    policy: Policy
    usual: dict[str, Behaviour] = field(default_factory=dict)
    """The usual behaviour of the disks that refuse at the moment."""

    def inventory(self) -> dict[str, Any]:
        """Servers with their disks, and the unattached disks. Raises CloudTrouble."""
        reader = connect(simulator_credentials(self.cloud))
        servers = [_server(found) for found in machines(reader, self.policy, utc_now())]
        with self.cloud.lock:
            world = self.cloud.world
            held = {one.volume_id for plane in (world.nova, world.cinder) for one in plane.values()}
            free = [self._disk(id_) for id_ in world.volumes if id_ not in held]
        return {"servers": servers, "free": free}

    def arrange(self, scenario: str, server_id: str, volume_id: str) -> None:
        """Prepare the cloud for the next request. Raises Refused if the cloud cannot play the scenario now."""
        with self.cloud.lock:
            world, broken = self.cloud.world, self.cloud.faults
            match scenario:
                case "moves":
                    world.move(server_id, "resize", seconds=MOVE_SECONDS)
                    world.at(MOVE_SECONDS + 1, partial(world.confirm_resize, server_id))
                case "refuses":
                    if (volume := world.volumes.get(volume_id)) is None:
                        raise Refused(f"no volume {volume_id}")
                    # Long enough for the DELETE to arrive; later requests find the disk's usual behaviour.
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
        """Restore the cloud's initial state. Requests in flight see the change on their next look."""
        with self.cloud.lock:
            self.cloud.faults.clear()
            self.usual.clear()
            self.cloud.world.clear()
            furnish(self.cloud.world)
        service.cache_clear()  # it remembers DELETEs that the new cloud has never seen

    def _disk(self, volume_id: str) -> dict[str, Any]:
        volume = self.cloud.world.volumes[volume_id]
        return {"volume_id": volume_id, "name": volume.name, "size": volume.size, "status": volume.status}


def _server(found: Machine) -> dict[str, Any]:
    about = {"server_id": found.server_id, "name": found.name, "status": found.status, "os": found.system}
    return {**about, "disks": [_attached(disk) for disk in found.disks]}


def _attached(disk: Disk) -> dict[str, Any]:
    """A disk and what the gates say about a request for it: `refused` with a reason, `attest`, `waits`, or nothing."""
    about = {"volume_id": disk.volume_id, "name": disk.name, "size": disk.size, "device": disk.device}
    told = {**about, "status": disk.status, "system_disk": disk.system_disk}
    if disk.refused is None:
        return told
    reason, why = disk.refused
    said: dict[str, Any] = WORDS.get(reason, {"refused": reason})
    return {**told, **said, "why": why}


WORDS: Mapping[str, dict[str, Any]] = {NOT_NOW: {"waits": True}, Reason.ATTESTATION_REQUIRED: {"attest": True}}
"""Refusals that are not permanent: the request would wait, or needs an attestation."""
