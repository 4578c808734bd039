"""Rough worlds: random combinations of everything that clouds, queues, senders and other people may do.

Servers move at any moment, clocks differ, invocations overlap. The queue delivers late, twice and out of order, and
refuses messages; the bus throttles; secrets rotate. Clouds show less, and answer slowly or not at all. Other people act
on the same servers. Time is virtual, and a seed always gives the same run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from shared.service import Service
from simulator import (
    MOVES,
    PAUSED,
    RUNNING,
    STOPPED,
    SUSPENDED,
    Behaviour,
    CloudApi,
    Deployment,
    Fault,
    ListShape,
    Refused,
    RootDetach,
    World,
    faults,
)
from simulator.scenarios.stage import BMS_V1, Stage
from tests.messages import RotatingKeys
from tests.simulation.oracle import Run, violations
from tests.simulation.test_faults import FAULTS, PASSING
from tests.stack import API, Queued, Stack

SETTINGS = {"CONFIRM_TIMEOUT": "600", "WATCH_TIMEOUT": "6000", "REQUEST_TTL": "1800"}
OPERATIONS = ("get_token", "get_server", "list_attachments", "get_volume", "list_volumes", "delete_attachment",
              "get_action", "list_actions")  # fmt: skip
BY_JOBS = (*OPERATIONS[:-2], "get_job", "get_job")
SKEW = 2.0
"""The most seconds by which a clock is wrong: two clocks differ by less than FENCE_SKEW."""

STATES = (RUNNING, RUNNING, RUNNING, RUNNING, STOPPED, STOPPED, PAUSED, SUSPENDED)
TOKEN = "AAAAKgAAAAIAAAAAAAAAAtask-token-of-the-rough-world-{}"


def behaviour(random: Random) -> Behaviour:
    """A random behaviour of a volume."""
    kind = random.choice(("prompt", "prompt", "slow", "apart", "ahead", "refuse", "late", "marked", "error", "fails"))
    seconds = random.uniform(0.5, 9)
    return {
        "prompt": Behaviour(seconds=seconds, nova_lag=0.5),
        "slow": Behaviour(seconds=random.uniform(20, 500)),
        "apart": Behaviour(seconds=seconds, nova_lag=random.uniform(1, 30)),
        "ahead": Behaviour(seconds=seconds + 6, nova_lag=-random.uniform(0.5, 6)),
        "refuse": Behaviour(seconds=seconds, refuse=True),
        "late": Behaviour(stuck=True, stuck_seconds=random.choice((650, 3000))),
        "marked": Behaviour(seconds=seconds + 12, mark_lag=random.uniform(1, 12)),
        "error": Behaviour(seconds=seconds + 8, error_status="error", error_seconds=random.uniform(1, 7)),
        "fails": Behaviour(error_after=seconds),
    }[kind]


@dataclass
class Rough:
    """One run. In a `tame` one, nobody changes what the safety gates depend on.

    If a delivery dies or is duplicated, a later one may find a different world and give a different verdict with the
    same id. A service without a database cannot avoid this, and the proof accepts it.
    """

    seed: int
    mutate: Callable[[Service], Service] = lambda service: service
    api: str = API
    simulation: Stack = field(init=False)
    stage: Stage = field(init=False)
    keeps_records: bool = field(init=False)
    summing: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random = Random(self.seed)
        self.summing = Random(f"summaries {self.seed}")
        self.tame = random.random() < 0.6
        self.keys = RotatingKeys()
        ahead = timedelta(seconds=random.uniform(-SKEW, SKEW))
        settings = SETTINGS | {"DETACH_API": self.api}
        self.simulation = Stack(
            partial(self._cloud, ahead), settings, macs=self.keys, cloud_ahead=ahead, mutate=self.mutate
        )
        self.simulation.batch = random.randint(1, 10)
        self.simulation.queue.ahead = timedelta(seconds=random.uniform(-SKEW, SKEW) / 2)
        self.stage = Stage(self.simulation.cloud, f"rough-{self.seed}")
        self._people()
        self._weather()
        for body, delay in zip(self.stage.bodies(), self.stage.delays, strict=True):
            self.simulation.queue.put(body, delay)
        self._queue()

    def _cloud(self, ahead: timedelta, clock: Callable[[], Any]) -> CloudApi:
        """A random cloud: some have no action records, some no new microversions."""
        random = self.random
        self.keeps_records = random.random() < 0.7
        deployment = Deployment(
            instance_actions=self.keeps_records,
            max_compute_version=random.choice(((2, 96), (2, 96), (2, 60), (2, 51), (2, 30))),
            root_detach=random.choice(tuple(RootDetach)),
            list_shape=random.choice(tuple(ListShape)),
            regions=random.choice(((), ("eu-nl",), ("eu-nl", "eu-ch2"))),
            volume_version=random.random() < 0.8,
        )
        self.keeps_records &= self.api != BMS_V1
        return CloudApi(World(lambda: clock() + ahead, seed=self.seed), deployment=deployment)

    # --------------------------------------------------------------------------------------------------- requests

    def _people(self) -> None:
        random, stage = self.random, self.stage
        self.servers = [self._server() for _ in range(random.randint(1, 4))]
        self.disks: list[tuple[str, str]] = []
        for server in self.servers:
            self.disks += [(server, self._disk(server)) for _ in range(random.randint(1, 3))]
            if random.random() < 0.1:
                with suppress(Refused):
                    stage.world.shelve(server, seconds=0)
        for number in range(random.randint(1, 10)):
            self._request(number)

    def _server(self) -> str:
        random = self.random
        system = random.choice(("linux", "linux", "linux", "windows", None))
        locked, host = random.random() < 0.05, random.choice(("host-1", "host-2"))
        state = random.choice(STATES)
        return self.stage.server(system, state=state, locked=locked, host=host)

    def _disk(self, server: str) -> str:
        random = self.random
        shared = random.random() < 0.15
        others = [one for one in self.servers if one != server][:1] if shared and len(self.servers) > 1 else []
        metadata = {"detach_protection": "true"} if random.random() < 0.05 else {}
        more: dict[str, Any] = {"metadata": metadata, "multiattach": bool(others), "bootable": random.random() < 0.1}
        return self.stage.disk(server, *others, behaviour=behaviour(random), **more)

    def _request(self, number: int) -> None:
        random, stage = self.random, self.stage
        server, disk = random.choice(self.disks)
        if random.random() < 0.06:
            server = random.choice((*self.servers, stage.world.new_id()))
        if random.random() < 0.06:
            disk = random.choice((stage.system_disk(self.servers[0]), stage.world.new_id()))
        data: dict[str, Any] = {
            name: value
            for name, value, chance in (
                ("dry_run", True, 0.1),
                ("unmounted", True, 0.3),
                ("allow_system_disk", True, 0.3),
                ("request_ttl", random.choice((30, 120, 7200)), 0.15),
                ("attachment_id", stage.world.is_attached(server, disk) or stage.world.new_id(), 0.15),
                ("project_id", random.choice((stage.world.project.id, "0" * 32)), 0.1),
                ("task_token", TOKEN.format(number), 0.2),
                ("context", {"ticket": number}, 0.2),
            )
            if random.random() < chance
        }
        several = self._several(server, data) if self.summing.random() < 0.15 else None
        skew = timedelta(seconds=random.uniform(-SKEW, SKEW))
        ago = random.choice((timedelta(), timedelta(), timedelta(), timedelta(minutes=1), timedelta(hours=2)))
        if several and any(one.server_id == server and not one.attached_at for one in stage.world.nova.values()):
            ago = timedelta()  # a disk that was attached while its server was shelved is only as old as this world
        envelope: dict[str, Any] = {"id": f"{stage.name}-{number}", "time": _text(self.simulation.clock() + skew - ago)}
        if random.random() < 0.1:
            over = timedelta(seconds=random.choice((-60, 5, 90, 4000)))
            envelope["expirytime"] = _text(self.simulation.clock() + over)
        delay = random.choice((0, 0, 0, 3, 30))
        if several:
            stage.request(server, delay=delay, envelope=envelope, **several)
        else:
            stage.request(server, disk, delay=delay, envelope=envelope, **data)

    def _several(self, server: str, data: dict[str, Any]) -> dict[str, Any]:
        """The request's data, changed to all data disks of the server or to several volumes with a summary.

        It uses a random generator of its own, so that the other choices of a seed stay the same.
        """
        rest = {name: value for name, value in data.items() if name not in ("attachment_id", "allow_system_disk")}
        volumes = list(dict.fromkeys(disk for where, disk in self.disks if where == server))
        if self.summing.random() < 0.6 or not volumes:
            return {**rest, "all_data_disks": True}
        return {
            **rest,
            "volume_ids": self.summing.sample(volumes, self.summing.randint(1, len(volumes))),
            "summary": True,
        }

    # --------------------------------------------------------------------------------- faults, acts of others, queue

    def _weather(self) -> None:
        random, cloud = self.random, self.simulation.cloud
        self.deadly = random.random() < 0.5 and self.tame
        self.lasting = self.tame and not self.deadly and random.random() < 0.5
        kinds = sorted(FAULTS) if self.lasting else sorted(PASSING)
        operations = BY_JOBS if self.api == BMS_V1 else OPERATIONS
        for _ in range(random.choice((0, 0, 1, 3, 8))):
            kind = faults.slow(random.uniform(1, 14)) if random.random() < 0.2 else FAULTS[random.choice(kinds)]
            times, skip = random.randint(1, 4), random.randint(0, 8)
            cloud.faults.add(Fault(kind, random.choice(operations), skip=skip, times=times))
        for _ in range(random.choice((0, 0, 1, 2, 4))):
            server, disk = random.choice(self.disks)
            acts = MOVING if self.tame else (*MOVING, *CHANGING)
            _, act = random.choice(acts)
            when = random.choice((random.uniform(0, 8), random.uniform(0, 60), random.uniform(0, 900)))
            self.stage.later(when, partial(act, self, server, disk))
        # Each change happens at most once: only one earlier key stays valid after a rotation.
        for change in random.sample(
            (self._change_password, cloud.revoke_tokens, self.keys.rotate), random.randint(0, 3)
        ):
            self.stage.later(random.uniform(0, 60), change)
        if self.deadly:
            deaths = {(random.randrange(60), random.choice(("before", "after"))) for _ in range(random.randint(1, 3))}
            self.simulation.effects.deaths = frozenset(deaths)

    def _change_password(self) -> None:
        identity = self.simulation.cloud.identity
        identity.rotate(f"password-{self.random.getrandbits(64):x}")
        identity.revoke_tokens()

    def _queue(self) -> None:
        random, queue, bus = self.random, self.simulation.queue, self.simulation.bus
        if random.random() < 0.5:
            queue.order = Random(self.seed)
        if random.random() < 0.3:
            left = Left(random, random.randint(1, 12))
            queue.refuse = left
        if random.random() < 0.3:
            bus.refuse = Left(random, random.randint(1, 12))
        # No copies with lasting faults: one delivery may get a final refusal that the next does not get.
        if self.tame and not self.lasting and random.random() < 0.3:
            for message in random.sample(queue.ever, min(len(queue.ever), 2)):
                queue.put(message.body, random.choice((0, 1, 7, 100)), id=message.id)
        for _ in range(random.choice((0, 0, 1, 2)) if self.tame else 0):
            self.simulation.effects.interventions[random.randrange(80)] = self._side_by_side

    def _side_by_side(self, effect: str) -> None:
        """Run another invocation with a waiting message during this one, but not between a look and its DELETE."""
        waiting: list[Queued] = [one for one in self.simulation.queue.messages if one.receive_count == 0]
        if effect.startswith("DELETE") or not waiting:
            return
        message = self.random.choice(waiting)
        message.visible_at = self.simulation.clock()
        self.simulation.deliver(self.simulation.queue.take(message), elsewhere=True)

    # ------------------------------------------------------------------------------------------------ the verdict

    def violations(self) -> list[str]:
        """Run to the end and return all violations."""
        self.simulation.run(most_deliveries=20_000)
        requests = [json.loads(body) for body in self.stage.bodies()]
        run = Run.of(self.simulation, requests, set(), self.keeps_records, rough=True)
        return [*violations(run), *(f"AWS refused {why}" for why in self.simulation.queue.illegal)]


def _text(time: Any) -> str:
    text: str = time.isoformat()
    return text


@dataclass
class Left:
    """Refuses about every second call, until it has refused `left` calls."""

    random: Random
    left: int

    def __call__(self, _: object) -> bool:
        if self.left <= 0 or self.random.random() < 0.5:
            return False
        self.left -= 1
        return True


# ---------------------------------------------------------------------------------------------------- acts of others

Do = Callable[[Rough, str, str], None]


def _move(kind: str) -> Do:
    def act(rough: Rough, server: str, disk: str) -> None:
        rough.stage.world.move(server, kind, seconds=rough.random.uniform(4, 90))

    return act


def _shelve(rough: Rough, server: str, disk: str) -> None:
    rough.stage.world.shelve(server, seconds=4)
    rough.stage.later(rough.random.uniform(6, 60), partial(rough.stage.world.unshelve, server))


def _swap(rough: Rough, server: str, disk: str) -> None:
    rough.stage.world.swap_volume(server, disk)


def _back_up(rough: Rough, server: str, disk: str) -> None:
    world = rough.stage.world
    if disk in world.volumes and world.volumes[disk].status == "in-use":
        world.set_volume(disk, status="backing-up")
        rough.stage.later(rough.random.uniform(1, 40), partial(_end_back_up, rough, disk))


def _end_back_up(rough: Rough, disk: str) -> None:
    world = rough.stage.world
    if disk in world.volumes and world.volumes[disk].status == "backing-up":
        world.set_volume(disk, status="in-use")


def _attach_again(rough: Rough, server: str, disk: str) -> None:
    """Somebody attaches the disk again as soon as it is free."""

    def attempt() -> None:
        world = rough.stage.world
        if disk in world.volumes and server in world.servers and world.volumes[disk].status == "available":
            world.attach(server, disk)

    for tenth in range(0, 600, 3):
        rough.stage.later(tenth / 10, attempt)


def _detach(rough: Rough, server: str, disk: str) -> None:
    rough.stage.world.begin_detach(server, disk)


def _delete_server(rough: Rough, server: str, disk: str) -> None:
    rough.stage.world.delete_server(server)


def _delete_volume(rough: Rough, server: str, disk: str) -> None:
    rough.stage.world.delete_volume(disk)


def _lock(rough: Rough, server: str, disk: str) -> None:
    world = rough.stage.world
    world.set_server(server, locked=not world.server(server).locked)


def _power(rough: Rough, server: str, disk: str) -> None:
    """Somebody starts or stops the server; this takes a while."""
    world, now = rough.stage.world, rough.stage.world.server(server)
    if now.task_state is None and now.status in ("ACTIVE", "SHUTOFF"):
        task, then = ("powering-off", STOPPED) if now.status == "ACTIVE" else ("powering-on", RUNNING)
        world.set_server(server, task_state=task)
        rough.stage.later(rough.random.uniform(1, 30), partial(_settle, rough, server, then))


def _settle(rough: Rough, server: str, then: Mapping[str, Any]) -> None:
    rough.stage.world.set_server(server, task_state=None, **then)


MOVING: tuple[tuple[str, Do], ...] = (
    *((kind, _move(kind)) for kind in MOVES),
    ("shelve", _shelve),
    ("swap", _swap),
    ("back up", _back_up),
)
CHANGING: tuple[tuple[str, Do], ...] = (
    ("attach again", _attach_again),
    ("detach", _detach),
    ("delete server", _delete_server),
    ("delete volume", _delete_volume),
    ("lock", _lock),
    ("power", _power),
)


def rough_seeds(count: int, first: int = 0) -> Iterator[int]:
    return iter(range(first, first + count))
