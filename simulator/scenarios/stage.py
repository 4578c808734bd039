"""Builds and registers scenarios; a stage creates a scenario's own servers and disks in the shared cloud."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from simulator import RUNNING, Behaviour, CloudApi, Deployment, Fault, Kind, RootDetach, World

PROMPT = Behaviour(seconds=1.5)
ATTACHED_BEFORE = timedelta(days=3)


COMPUTE, BMS_V1 = "compute", "bms_v1"
"""The APIs for playing a scenario, as values of DETACH_API."""


def scenario_cloud(clock: Callable[[], datetime]) -> CloudApi:
    """A cloud that allows detaching the system disk of a stopped server, as Open Telekom Cloud does."""
    return CloudApi(World(clock), deployment=Deployment(root_detach=RootDetach.WHEN_STOPPED))


@dataclass
class Stage:
    """Creates the servers, disks, faults and requests of one scenario; no other scenario uses them.

    `delays` has the delay of each of the `requests`, in seconds. `keeps_records` says whether the cloud shows action
    records of this scenario's servers. `untouchable` has the volumes that must stay attached.
    """

    cloud: CloudApi
    name: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    keeps_records: bool = True
    untouchable: set[str] = field(default_factory=set)

    @property
    def world(self) -> World:
        return self.cloud.world

    def server(self, system: str | None = "linux", state: Mapping[str, str | int] = RUNNING, **attributes: Any) -> str:
        """Create a server with a system disk and return its id; by default it is running and its root is /dev/sda."""
        metadata = {"os_type": system.capitalize()} if system else {}
        attributes = {"metadata": metadata, "root_device": "/dev/sda", **state, **attributes}
        server = self.world.add_server(name=self.name, **attributes)
        root = self.world.add_volume(name=f"{self.name}-system", bootable=True, behaviour=PROMPT)
        self.world.attach(server.id, root.id, server.root_device, self.world.now - ATTACHED_BEFORE)
        return server.id

    def system_disk(self, server_id: str) -> str:
        return next(a.volume_id for a in self.world.nova.values() if (a.server_id, a.device) == (server_id, "/dev/sda"))

    def disk(
        self, *server_ids: str, behaviour: Behaviour = PROMPT, device: str | None = None, **attributes: Any
    ) -> str:
        """Create a disk, attached to each of the servers three days ago, and return its id."""
        volume = self.world.add_volume(name=self.name, behaviour=behaviour, **attributes)
        for server_id in server_ids:
            self.world.attach(server_id, volume.id, device, self.world.now - ATTACHED_BEFORE)
        return volume.id

    def attached(self, server_id: str | None = None, **attributes: Any) -> tuple[str, str]:
        """Create a data disk on a server, which is created too unless given; returns both ids."""
        server_id = server_id or self.server()
        return server_id, self.disk(server_id, **attributes)

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule an action in the cloud, in `seconds` from now."""
        self.world.at(seconds, action)

    def fault(self, kind: Kind, operation: str, **match: Any) -> None:
        """Script a fault; `match` names this scenario's server or disk."""
        self.cloud.faults.add(Fault(kind, operation, **match))

    def request(
        self,
        server_id: str,
        volume_id: str | None = None,
        *,
        ago: timedelta = timedelta(),
        delay: int = 0,
        envelope: dict[str, Any] | None = None,
        **data: Any,
    ) -> None:
        """Add a request whose time is `ago` before now, and which is sent after `delay` seconds.

        Without `volume_id`, `data` names the volumes.
        """
        if volume_id is not None:
            data = {"volume_id": volume_id, **data}
        request = {
            "specversion": "1.0",
            "id": f"{self.name}-{len(self.requests) + 1}",
            "source": "/scenarios",
            "type": "bms.volume.detach_requested.v1",
            "time": (self.world.now - ago).isoformat(),
            "data": {"server_id": server_id, **data},
        }
        self.requests.append(request | (envelope or {}))
        self.delays.append(delay)

    def bodies(self) -> list[str]:
        return [json.dumps(request) for request in self.requests]


@dataclass(frozen=True)
class Scenario:
    """A scenario: its sentence, its setup (`arrange`), and the expected details of the verdicts of each request.

    For a request with a summary, `expected` has the summary's outcome and the details that it lists. `by_jobs` is the
    expectation for the bare metal API if it differs; with `api=BMS_V1` the scenario exists for that API only.
    `operator` has settings of this scenario.
    """

    name: str
    sentence: str
    expected: tuple[str, ...]
    arrange: Callable[[Stage], None]
    by_jobs: tuple[str, ...] = ()
    api: str = COMPUTE
    operator: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        return {**SETTINGS, "DETACH_API": self.api, **self.operator}

    def by(self, api: str) -> "Scenario":
        """The same scenario by another API; a scenario for the bare metal API only stays unchanged."""
        if api == self.api or self.api == BMS_V1:
            return self
        return replace(self, api=api, expected=self.by_jobs or self.expected)

    def on(self, cloud: CloudApi) -> Stage:
        if self.api == BMS_V1:
            cloud.deployment.close_compute()
        stage = Stage(cloud, self.name, keeps_records=cloud.deployment.instance_actions)
        with cloud.lock:
            self.arrange(stage)
        return stage


SETTINGS = {"CONFIRM_TIMEOUT": "36", "WATCH_TIMEOUT": "48", "REQUEST_TTL": "50", "EVENT_TYPE_PREFIX": "bms"}
"""Times in seconds, short enough that the longest scenario ends within a minute."""

CATALOGUE: dict[str, Scenario] = {}


Arrange = Callable[[Stage], None]


def scenario(
    *expected: str, by_jobs: tuple[str, ...] = (), api: str = COMPUTE, operator: Mapping[str, str] | None = None
) -> Callable[[Arrange], Arrange]:
    """Register a function as a scenario. Its docstring is the sentence; `expected` has one entry for each request.

    Several verdicts of one request are joined by " then "; a summary is written as `outcome: detail, detail`. `by_jobs`
    is the expectation for the bare metal API, if it differs. `operator` has settings in addition to `SETTINGS`.
    """

    def enter(arrange: Arrange) -> Arrange:
        name = arrange.__name__.replace("_", "-")
        sentence = (arrange.__doc__ or "").strip()
        CATALOGUE[name] = Scenario(name, sentence, expected, arrange, by_jobs, api, operator or {})
        return arrange

    return enter
