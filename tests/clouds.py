"""A small simulated cloud and the adapter that talks to it, over whichever skin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import requests

from shared.cloud.openstack import OpenStackCloud
from simulator import CloudApi, Deployment, World
from tests.fakes import LONG_AGO, VirtualClock, credentials_of, long_lived


@dataclass
class Site:
    """A simulated cloud with one server and one data disk on it, and the adapter that talks to it."""

    deployment: Deployment = field(default_factory=long_lived)
    http: Callable[[CloudApi], requests.Session | None] = lambda api: None
    over_socket: bool = True

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.world = World(self.clock)
        self.api = CloudApi(self.world, deployment=self.deployment)
        self.server = self.world.add_server(metadata={"os_type": "Linux"}, root_device="/dev/sda").id
        self.volume = self.world.add_volume().id
        self.attachment = self.world.attach(self.server, self.volume, device="/dev/sdb", attached_at=LONG_AGO)

    def connect(self, **changes: object) -> OpenStackCloud:
        """Log in anew, with other credentials if asked."""
        return OpenStackCloud(credentials_of(self.api, **changes), self.http(self.api), self.clock)

    def count(self, operation: str) -> int:
        """How often the cloud was asked for this."""
        return [call.operation for call in self.api.calls].count(operation)

    def paths(self, operation: str) -> set[str]:
        return {call.path for call in self.api.calls if call.operation == operation}
