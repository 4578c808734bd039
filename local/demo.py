"""The simulated cloud of `make run`: a few servers and disks, including those of the sample events."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from simulator import STOPPED, Behaviour, CloudApi, Deployment, RootDetach, World

PROJECT = "c685484a8cc2416b97260938705deb65"
SERVER = "95bf2490-5428-432c-ad9b-5e3406f869dd"
VOLUME = "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6"
FREE_VOLUME = "4b02f8ad-1c4f-4c2e-9d0b-7a6c1d0a52f3"
MOUNTED_VOLUME = "0d1f7a52-9f3e-4a61-8a35-2f1c8f6d9e10"
WINDOWS_SERVER = "5f2c7d0e-3b1a-4c86-9d57-0a4e6b8c1f23"
WINDOWS_VOLUME = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
STOPPED_SERVER = "e3b0c442-98fc-4c14-9afb-f4c8996fb924"
STOPPED_VOLUME = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"

PROMPT = Behaviour(seconds=1.5)
LONG_AGO = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
"""When the disks were attached: before every sample request."""


def demo_cloud(clock: Callable[[], datetime]) -> CloudApi:
    """A project with three bare metal servers, as on Open Telekom Cloud."""
    world = World(clock)
    furnish(world)
    return CloudApi(world, deployment=Deployment(bare_metal=True, root_detach=RootDetach.WHEN_STOPPED))


def furnish(world: World) -> None:
    """Put the servers and disks into an empty world."""
    _server(world, SERVER, "db-01", "linux")
    _server(world, WINDOWS_SERVER, "ad-01", "windows")
    _server(world, STOPPED_SERVER, "app-01", "linux", **STOPPED)
    _disk(world, VOLUME, "db-01-data", SERVER)
    _disk(world, MOUNTED_VOLUME, "db-01-logs", SERVER, Behaviour(seconds=2, refuse=True))
    _disk(world, WINDOWS_VOLUME, "ad-01-data", WINDOWS_SERVER)
    _disk(world, STOPPED_VOLUME, "app-01-data", STOPPED_SERVER)
    world.add_volume(FREE_VOLUME, name="spare")


def _server(world: World, id: str, name: str, system: str, **state: Any) -> None:
    """A server that boots from a volume at /dev/sda."""
    metadata = {"os_type": system.capitalize(), "metering.resourcespeccode": f"physical.o2.medium.{system}"}
    world.add_server(id, name=name, root_device="/dev/sda", metadata=metadata, **state)
    root = world.add_volume(name=f"{name}-system", bootable=True)
    world.attach(id, root.id, device="/dev/sda", attached_at=LONG_AGO)


def _disk(world: World, id: str, name: str, server_id: str, behaviour: Behaviour = PROMPT) -> None:
    world.add_volume(id, name=name, behaviour=behaviour)
    world.attach(server_id, id, attached_at=LONG_AGO)
