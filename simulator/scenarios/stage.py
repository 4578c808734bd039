"""Where a scenario plays: its own servers and disks in a cloud that other scenarios share."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from simulator import RUNNING, Behaviour, CloudApi, Deployment, Fault, Kind, RootDetach, World

PROMPT = Behaviour(seconds=1.5)
ATTACHED_BEFORE = timedelta(days=3)


COMPUTE, BMS_V1 = "compute", "bms_v1"
"""The APIs by which a scenario may be played: the values of DETACH_API."""


def scenario_cloud(clock: Callable[[], datetime]) -> CloudApi:
    """A cloud that, as Open Telekom Cloud does, lets a stopped server's system disk go."""
    return CloudApi(World(clock), deployment=Deployment(root_detach=RootDetach.WHEN_STOPPED))


@dataclass
class Stage:
    """What a scenario is told with; everything it makes belongs to it alone.

    `delays` are the seconds after which each of the `requests` is sent. `keeps_records` says whether the cloud tells
    what was done to this scenario's servers.
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
        """A server, running and with its system disk at /dev/sda unless said otherwise; its id."""
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
        """A data disk, attached three days ago to each of the servers, at the next free device; its id."""
        volume = self.world.add_volume(name=self.name, behaviour=behaviour, **attributes)
        for server_id in server_ids:
            self.world.attach(server_id, volume.id, device, self.world.now - ATTACHED_BEFORE)
        return volume.id

    def attached(self, server_id: str | None = None, **attributes: Any) -> tuple[str, str]:
        """A server, an ordinary one unless given, and a data disk of its own; their ids."""
        server_id = server_id or self.server()
        return server_id, self.disk(server_id, **attributes)

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Something that happens in the cloud while the request is under way."""
        self.world.at(seconds, action)

    def fault(self, kind: Kind, operation: str, **match: Any) -> None:
        """Something that goes wrong with a call about this scenario's server or disk."""
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
        """A request that was made so long `ago`, and is sent after a `delay` in seconds.

        Without a volume, `data` says which ones are meant.
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
    """A sentence, how it is set up, and what must come of it: for each request the details of its verdicts.

    By the API of bare metal servers something else may come of it (`by_jobs`); some scenarios are about that API alone.
    `operator` has the settings that it is about.
    Of a request with a summary, what that says: its outcome, and the details that it lists.
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
        """The same by another API; one that is about the bare metal service alone stays as it is."""
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
"""Hours are seconds here, so that even the longest scenario ends within a minute."""

CATALOGUE: dict[str, Scenario] = {}


Arrange = Callable[[Stage], None]


def scenario(
    *expected: str, by_jobs: tuple[str, ...] = (), api: str = COMPUTE, operator: Mapping[str, str] | None = None
) -> Callable[[Arrange], Arrange]:
    """Enter a function as a scenario; its docstring is the sentence, `expected` one entry for each request.

    Several verdicts of one request are joined by " then "; a summary is `outcome: detail, detail`. `by_jobs` is what
    comes of it by the API of bare metal servers, if that is something else; `operator` has settings beside the
    catalogue's own.
    """

    def enter(arrange: Arrange) -> Arrange:
        name = arrange.__name__.replace("_", "-")
        sentence = (arrange.__doc__ or "").strip()
        CATALOGUE[name] = Scenario(name, sentence, expected, arrange, by_jobs, api, operator or {})
        return arrange

    return enter
