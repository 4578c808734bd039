"""The stories of the crash and fault proofs: short setups with requests, each played on a new simulation."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from simulator import ORDINARY, Behaviour, Kind, Refused, bodies, faults
from simulator.scenarios import BMS_V1, CATALOGUE, scenario_cloud
from simulator.scenarios.stage import Stage
from tests.simulation.oracle import Run, violations
from tests.stack import API, Stack

SETTINGS = {"CONFIRM_TIMEOUT": "600", "WATCH_TIMEOUT": "6000", "REQUEST_TTL": "1800"}

PROMPT = Behaviour(seconds=3, nova_lag=0.5)


@dataclass(frozen=True)
class Story:
    """A setup with requests (`arrange`), its batch size and its settings."""

    name: str
    arrange: Callable[[Stage], None]
    batch: int = 1
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)

    def begin(
        self, deaths: frozenset[tuple[int, str]] = frozenset(), dry: bool = False, **options: Any
    ) -> tuple[Stack, Stage]:
        """A new simulation with the story's requests in the queue; with `dry`, all of them are dry runs."""
        simulation = Stack(scenario_cloud, self.settings, deaths, **options)
        simulation.batch = self.batch
        stage = Stage(simulation.cloud, self.name)
        self.arrange(stage)
        for request in stage.requests if dry else ():
            request["data"]["dry_run"] = True
        for body, delay in zip(stage.bodies(), stage.delays, strict=True):
            simulation.queue.put(body, delay)
        return simulation, stage


def one(behaviour: Behaviour = PROMPT, kind: Kind | None = None, **asked: Any) -> Callable[[Stage], None]:
    """One request for one disk; its first DELETE may meet a fault."""

    def arrange(stage: Stage) -> None:
        server = stage.server()
        disk = stage.disk(server, behaviour=behaviour)
        if kind:
            stage.fault(kind, "delete_attachment", volume_id=disk)
        stage.request(server, disk, **asked)

    return arrange


def barred(disk: Mapping[str, Any] | None = None, **server: Any) -> Callable[[Stage], None]:
    """A request for a disk that must stay attached."""

    def arrange(stage: Stage) -> None:
        where = stage.server(**server)
        what = stage.disk(where, **(disk or {}))
        stage.untouchable.add(what)
        stage.request(where, what)

    return arrange


def _system_disk(stage: Stage) -> None:
    server = stage.server()
    stage.untouchable.add(stage.system_disk(server))
    stage.request(server, stage.system_disk(server), allow_system_disk=True, unmounted=True)


def _wrong_server(stage: Stage) -> None:
    stage.request(stage.world.new_id(), stage.disk(stage.server()))


def _unauthorized(stage: Stage) -> None:
    """The user was deleted in Keystone."""
    stage.cloud.identity.forget_user()
    server = stage.server()
    disk = stage.disk(server)
    stage.untouchable.add(disk)
    stage.request(server, disk)


def _slow_cloud(stage: Stage) -> None:
    """Every call takes most of an invocation's time."""
    server = stage.server()
    disk = stage.disk(server)
    for operation in ("get_token", "get_server", "list_attachments", "get_volume"):
        stage.fault(faults.slow(13), operation, times=4)
    stage.fault(faults.slow(14), "delete_attachment", times=4)
    stage.request(server, disk)


def _expires_meanwhile(stage: Stage) -> None:
    server = stage.server()
    disk = stage.disk(server, behaviour=Behaviour(seconds=30))
    over = (stage.world.now + timedelta(seconds=10)).isoformat()
    stage.request(server, disk, envelope={"expirytime": over})


def _expires_unsettled(stage: Stage) -> None:
    """Every DELETE is lost before it takes effect, and the request expires soon."""
    server = stage.server()
    disk = stage.disk(server, behaviour=PROMPT)
    stage.fault(faults.RESET_BEFORE, "delete_attachment", volume_id=disk, times=None)
    over = (stage.world.now + timedelta(seconds=10)).isoformat()
    stage.request(server, disk, envelope={"expirytime": over}, request_ttl=900)


def _absent(stage: Stage) -> None:
    stage.request(stage.server(), stage.disk())


def _joined(stage: Stage) -> None:
    server = stage.server()
    disk = stage.disk(server, behaviour=PROMPT)
    stage.world.begin_detach(server, disk)
    stage.request(server, disk)


def _unsafe(stage: Stage) -> None:
    server = stage.server("windows")
    disk = stage.disk(server)
    stage.untouchable.add(disk)
    stage.request(server, disk)


def _dry(stage: Stage) -> None:
    server = stage.server()
    disk = stage.disk(server)
    stage.untouchable.add(disk)
    stage.request(server, disk, dry_run=True)


def _dry_unsafe(stage: Stage) -> None:
    _unsafe(stage)
    stage.requests[-1]["data"]["dry_run"] = True


def _newer(stage: Stage) -> None:
    server = stage.server()
    disk = stage.world.add_volume(name=stage.name).id
    made = stage.world.now - timedelta(minutes=1)
    stage.world.attach(server, disk)
    stage.untouchable.add(disk)
    stage.request(server, disk, envelope={"time": made.isoformat()})


def _newer_unknown(stage: Stage) -> None:
    """The same on a cloud without action records."""
    stage.cloud.deployment.instance_actions = False
    _newer(stage)


def _shared(stage: Stage) -> None:
    server, other = stage.server(), stage.server()
    disk = stage.disk(server, other, behaviour=PROMPT, multiattach=True)
    stage.request(server, disk)
    stage.request(other, disk)


def _two_requesters(stage: Stage) -> None:
    server = stage.server()
    disk = stage.disk(server, behaviour=PROMPT)
    stage.request(server, disk)
    stage.request(server, disk)


def moving(kind: str, **deployment: Any) -> Callable[[Stage], None]:
    """A server is moved after the first look, which found the disk busy; `deployment` limits what the cloud shows."""

    def arrange(stage: Stage) -> None:
        for name, value in deployment.items():
            setattr(stage.cloud.deployment, name, value)
        server = stage.server()
        disk = stage.disk(server, behaviour=PROMPT)
        stage.request(server, disk)
        stage.world.set_volume(disk, status="backing-up")
        stage.later(5.9, partial(end_backup, stage, disk))
        stage.later(6, partial(begin_move, stage, kind, server, disk))

    return arrange


def end_backup(stage: Stage, disk: str) -> None:
    """End the backup, unless the disk has another status by now."""
    if stage.world.volumes[disk].status == "backing-up":
        stage.world.set_volume(disk, status="in-use")


def begin_move(stage: Stage, kind: str, server: str, disk: str) -> None:
    """Begin a move of 40 s, shelve the server for 30 s, or migrate the volume at once."""
    if kind == "shelve":
        stage.world.shelve(server)
        stage.later(30, partial(stage.world.unshelve, server))
    elif kind == "swap":
        stage.world.swap_volume(server, disk)
    else:
        stage.world.move(server, kind, seconds=40.0)


DENIED = ("forbidden", 403, "Policy doesn't allow it to be performed.")
THROTTLED = ("APIGW.0308", "The throttling threshold has been reached", 429)

NEITHER = {"max_compute_version": (2, 60), "instance_actions": False}
"""A cloud on which a moved disk cannot be told from a re-attached one."""


def _two_disks(stage: Stage) -> None:
    server = stage.server()
    for _ in range(2):
        stage.request(server, stage.disk(server, behaviour=PROMPT))


def all_disks(*behaviours: Behaviour, **asked: Any) -> Callable[[Stage], None]:
    """A request for all data disks of a server with such disks and a system disk."""

    def arrange(stage: Stage) -> None:
        server = stage.server()
        stage.untouchable.add(stage.system_disk(server))
        disks = {stage.disk(server, behaviour=behaviour) for behaviour in behaviours}
        stage.untouchable |= disks if asked.get("dry_run") else set()
        stage.request(server, all_data_disks=True, **asked)

    return arrange


def _all_disks_of_a_server_that_goes(stage: Stage) -> None:
    """The server is deleted while its disks are being detached."""
    server = stage.server()
    for seconds in (3, 30):
        stage.disk(server, behaviour=Behaviour(seconds=seconds))
    stage.request(server, all_data_disks=True)
    stage.later(6, partial(stage.world.delete_server, server))


def _one_of_all_disks_leaves(stage: Stage) -> None:
    """Somebody moves one of the disks to another server after they were listed."""
    server, other = stage.server(), stage.server()
    _, second = (stage.disk(server, behaviour=PROMPT) for _ in range(2))
    stage.request(server, all_data_disks=True)

    def move_away() -> None:
        with suppress(Refused):
            stage.world.begin_detach(server, second)
            stage.later(4, partial(stage.world.attach, other, second))

    stage.later(0.5, move_away)


def _summed_up(stage: Stage) -> None:
    """Three disks by id: one is detached, one the server refuses to release, one is attached to another server."""
    server = stage.server()
    refused = stage.disk(server, behaviour=Behaviour(seconds=3, refuse=True))
    disks = [stage.disk(server, behaviour=PROMPT), refused, stage.disk(stage.server())]
    token = "AAAAKgAAAAIAAAAAAAAAATask-token-of-a-summary"
    stage.request(server, volume_ids=disks, summary=True, task_token=token, context={"token": token})


OPERATORS: Mapping[str, dict[str, str]] = {
    "stopped-only": {"RUNNING_SERVER_POLICY": "stopped_only"},
    "attested-only": {"RUNNING_SERVER_POLICY": "attest"},
    "bare-metal-only": {"SERVER_KIND": "bare_metal"},
    "virtual": {"SERVER_KIND": "bare_metal"},
}
"""The operator's settings in some stories."""

STORIES = tuple(
    Story(name, arrange, batch[0] if batch else 1, SETTINGS | OPERATORS.get(name, {}))
    for name, arrange, *batch in (
        ("detach", one()),
        ("already-detached", _absent),
        ("joined", _joined),
        ("refused", one(Behaviour(seconds=3, refuse=True))),
        ("lost-with-effect", one(kind=faults.RESET_AFTER)),
        ("lost-without-effect", one(kind=faults.RESET_BEFORE)),
        ("late", one(Behaviour(stuck=True, stuck_seconds=120))),
        ("never", one(Behaviour(stuck=True))),
        ("marked-late", one(Behaviour(seconds=9, mark_lag=6))),
        ("marked-very-late", one(Behaviour(seconds=50, mark_lag=45))),
        ("planes-ahead", one(Behaviour(seconds=7, nova_lag=-6))),
        ("planes-apart", one(Behaviour(seconds=1, nova_lag=6))),
        ("unsafe", _unsafe),
        ("dry-run", _dry),
        ("newer", _newer),
        ("newer-unknown", _newer_unknown),
        ("shared", _shared),
        ("two-requesters", _two_requesters),
        ("two-disks", _two_disks, 10),
        ("resized", moving("resize")),
        ("migrated-live", moving("live-migration")),
        ("evacuated-by-records", moving("evacuate", max_compute_version=(2, 60))),
        ("shelved-and-back", moving("shelve")),
        ("volume-migrated", moving("swap")),
        ("moved-unknown", moving("resize", **NEITHER)),
        ("denied-after-effect", one(Behaviour(seconds=30), faults.answer_after_effect(bodies.nova_fault(*DENIED)))),
        ("throttled-with-effect", one(kind=faults.answer_after_effect(bodies.gateway_error(*THROTTLED)))),
        ("lost-and-marked-late", one(Behaviour(seconds=28, mark_lag=20), faults.RESET_AFTER)),
        ("system-disk", _system_disk),
        ("locked", barred(locked=True)),
        ("protected", barred({"metadata": {"detach_protection": "true"}})),
        ("wrong-server", _wrong_server),
        ("slow-cloud", _slow_cloud),
        ("expires-meanwhile", _expires_meanwhile),
        ("expires-unsettled", _expires_unsettled),
        ("task-token", one(task_token="AAAAKgAAAAIAAAAAAAAAATask-token-of-a-story")),
        ("dry-run-unsafe", _dry_unsafe),
        ("stopped-only", barred()),
        ("attested-only", barred()),
        ("bare-metal-only", one()),
        ("virtual", barred(**ORDINARY)),
        ("unauthorized", _unauthorized),
        ("all-data-disks", all_disks(PROMPT, Behaviour(seconds=9), PROMPT)),
        ("all-data-disks-one-stuck", all_disks(PROMPT, Behaviour(stuck=True, stuck_seconds=700))),
        ("no-data-disks", all_disks()),
        ("all-data-disks-checked", all_disks(PROMPT, PROMPT, dry_run=True)),
        ("all-data-disks-server-goes", _all_disks_of_a_server_that_goes),
        ("summed-up", _summed_up),
    )
)
SUMMED = ("all-data-disks", "all-data-disks-one-stuck", "no-data-disks", "all-data-disks-checked",
          "all-data-disks-server-goes", "summed-up")  # fmt: skip
"""Stories with summaries; `test_summaries` lets others act in them."""

ALONE = (*SUMMED, "marked-late", "marked-very-late", "lost-and-marked-late", "dry-run-unsafe", "unauthorized")
SHARED_STAGE = tuple(story for story in STORIES if story.name not in ALONE)
"""The stories in which others may act.

If the cloud marks the volume late, it may accept a second DELETE in the meantime, which has no further effect; only the
cloud could prevent that. A dry run that is repeated after a death may find its server moving. The story of the deleted
user needs its own setup.
"""

SCENARIOS = tuple(Story(name, one.arrange, settings=one.by(API).settings) for name, one in CATALOGUE.items())
"""Every scenario of the catalogue as a story, with the scenario's short timeouts."""


def by_jobs(story: Story) -> Story:
    """The same story by the job API, on a cloud whose compute API is closed to tenants."""
    return replace(story, settings={**story.settings, "DETACH_API": BMS_V1})


DISTURBED = (Story("all-data-disks-one-leaves", _one_of_all_disks_leaves),)
"""Stories in which others change the requested disks. A delivery after a death may find a different world."""

BY_NAME: Mapping[str, Story] = {story.name: story for story in (*SCENARIOS, *STORIES, *DISTURBED)}


def effects_of(story: Story) -> int:
    """The number of effects in an undisturbed run of the story."""
    simulation, stage = story.begin()
    assert [] == judged(simulation, stage)
    return len(simulation.effects.log)


def judged(simulation: Stack, stage: Stage) -> list[str]:
    """Run to the end and return every violation."""
    simulation.run()
    requests = [json.loads(body) for body in stage.bodies()]
    return violations(Run.of(simulation, requests, stage.untouchable, stage.keeps_records))
