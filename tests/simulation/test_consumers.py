"""Crashes between bus and consumers, and unavailable consumers: each of them gets the one verdict in the end."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from shared.ports import Event, NotTaken
from simulator import Behaviour
from simulator.scenarios import scenario_cloud
from simulator.scenarios.stage import Stage
from tests.simulation.prove import sampled
from tests.stack import Effects, Stack

SETTINGS = {"CONFIRM_TIMEOUT": "60", "WATCH_TIMEOUT": "600", "REQUEST_TTL": "1800"}
ENDINGS = {
    "detached": Behaviour(seconds=3),
    "refused": Behaviour(seconds=3, refuse=True),
    "unconfirmed first": Behaviour(stuck=True, stuck_seconds=120),
}
TOKEN = "AQC-token"


@dataclass
class RecordingConsumer:
    """A consumer; each delivery to it is one effect. It refuses its first `away` deliveries."""

    name: str
    away: int = 0
    effects: Effects = field(default_factory=Effects)
    taken: list[dict[str, Any]] = field(default_factory=list)

    def wants(self, _: Event) -> bool:
        return True

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        answer: NotTaken | None = self.effects.perform(f"deliver to {self.name}", lambda: self._take(event))
        return answer

    def _take(self, event: Event) -> NotTaken | None:
        if self.away:
            self.away -= 1
            return NotTaken("HTTP 503", again=True)
        self.taken.append(json.loads(event.body))
        return None


@dataclass
class Run:
    """A finished run of one request with a sink and a task token."""

    ending: str
    deaths: Iterable[tuple[int, str]] = ()
    away: int = 0

    def __post_init__(self) -> None:
        self.sink, self.task = RecordingConsumer("sink", self.away), RecordingConsumer("task")
        consumers = {"sink": self.sink, "task": self.task}
        self.simulation = Stack(scenario_cloud, SETTINGS, frozenset(self.deaths), consumers=consumers)
        self.sink.effects = self.task.effects = self.simulation.effects
        stage = Stage(self.simulation.cloud, "consumers")
        server = stage.server()
        stage.request(server, stage.disk(server, behaviour=ENDINGS[self.ending]), task_token=TOKEN)
        self.simulation.queue.put(stage.bodies()[0])
        self.simulation.run()

    @property
    def ids(self) -> list[set[str]]:
        """The event ids that the bus, the sink and the task got."""
        return [{event["id"] for event in events} for events in self.seen]

    @property
    def finals(self) -> list[set[tuple[str, str]]]:
        """The final verdicts that each of them got, as id and outcome."""
        return [
            {(event["id"], event["data"]["verdict"]) for event in events if event["data"]["verdict"] != "unconfirmed"}
            for events in self.seen
        ]

    @property
    def seen(self) -> tuple[list[dict[str, Any]], ...]:
        return self.simulation.bus.events, self.sink.taken, self.task.taken

    @property
    def left(self) -> int:
        return len(self.simulation.queue.messages) + len(self.simulation.queue.dead_letters)


def points(ending: str, away: int = 0) -> list[tuple[int, str]]:
    return list(itertools.product(range(len(Run(ending, away=away).simulation.effects.log)), ("before", "after")))


def lacking(ending: str, point: tuple[int, str], away: int = 0) -> list[str]:
    """What is wrong if the process dies at a point: a receiver without the verdict, or with a different one.

    A sink that was unavailable may lack an `unconfirmed`, if the final verdict existed at the redelivery.
    """
    run = Run(ending, [point], away=away)
    bus, sink, task = run.finals
    everything, *parts = run.ids
    whole = bus == sink == task and len(bus) == 1 and everything >= set().union(*parts) and run.left == 0
    return [] if whole else [f"{run.finals}, {run.left} left"]


@pytest.mark.parametrize("away", [0, 2], ids=["there", "away at first"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_death_anywhere_leaves_nobody_without_the_verdict(ending: str, away: int) -> None:
    """After a death before or after any effect, bus, sink and task all have the verdict, with one id."""
    effects = Run(ending, away=away).simulation.effects.log
    assert {"emit", "deliver to sink", "deliver to task"} <= set(effects)
    found = {point: wrong for point in sampled(points(ending, away), 1) if (wrong := lacking(ending, point, away))}
    assert {} == found


def test_a_sink_that_is_away_costs_the_bus_nothing() -> None:
    """While the sink is unavailable, the bus gets the verdict once, and the cloud is not read again."""
    here, away = Run("detached"), Run("detached", away=5)
    assert 1 == len(away.simulation.bus.events) == len(away.task.taken) == len(away.sink.taken)
    calls = [[name for name in run.simulation.effects.log if "os-volume" in name] for run in (here, away)]
    assert calls[0] == calls[1]


def test_the_token_is_in_no_event_and_no_line() -> None:
    """A reader of events or logs does not get the task token, so it cannot answer the task."""
    run = Run("refused", away=1)
    assert TOKEN not in json.dumps(list(run.seen))
    assert [] == [line for line in run.simulation.logs if TOKEN in line]
