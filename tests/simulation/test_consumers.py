"""Death between the bus and the others, and others that are away: everybody has the one verdict in the end."""

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
class Taker:
    """A consumer of the simulation: each event it is handed is one effect; away for its first `away` ones."""

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
    """One request on its way, with a sink and a task that wait for its verdict."""

    ending: str
    deaths: Iterable[tuple[int, str]] = ()
    away: int = 0

    def __post_init__(self) -> None:
        self.sink, self.task = Taker("sink", self.away), Taker("task")
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
        """The event ids that the bus, the sink and the task have."""
        return [{event["id"] for event in events} for events in self.seen]

    @property
    def finals(self) -> list[set[tuple[str, str]]]:
        """The final verdicts that each of them has, by id and by what they say."""
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
    """Who lacks the verdict when the process dies at a point, or has another one.

    An `unconfirmed` may be missing where a sink was away, if by the time of the redelivery the final verdict has taken
    its place.
    """
    run = Run(ending, [point], away=away)
    bus, sink, task = run.finals
    everything, *parts = run.ids
    whole = bus == sink == task and len(bus) == 1 and everything >= set().union(*parts) and run.left == 0
    return [] if whole else [f"{run.finals}, {run.left} left"]


@pytest.mark.parametrize("away", [0, 2], ids=["there", "away at first"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_death_anywhere_leaves_nobody_without_the_verdict(ending: str, away: int) -> None:
    """Before or after any effect, between bus and sink, between sink and task: each has it, under one id."""
    effects = Run(ending, away=away).simulation.effects.log
    assert {"emit", "deliver to sink", "deliver to task"} <= set(effects)
    found = {point: wrong for point in sampled(points(ending, away), 1) if (wrong := lacking(ending, point, away))}
    assert {} == found


def test_a_sink_that_is_away_costs_the_bus_nothing() -> None:
    """While the sink is away the bus is told once, and the request is stepped no more."""
    here, away = Run("detached"), Run("detached", away=5)
    assert 1 == len(away.simulation.bus.events) == len(away.task.taken) == len(away.sink.taken)
    calls = [[name for name in run.simulation.effects.log if "os-volume" in name] for run in (here, away)]
    assert calls[0] == calls[1]


def test_the_token_is_in_no_event_and_no_line() -> None:
    """Readers of events or logs cannot answer in our place."""
    run = Run("refused", away=1)
    assert TOKEN not in json.dumps(list(run.seen))
    assert [] == [line for line in run.simulation.logs if TOKEN in line]
