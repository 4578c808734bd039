"""Every scenario on virtual time: the expected verdicts, and each of them true by the cloud's own record."""

from dataclasses import dataclass, field

import pytest

from local.verdicts import told
from shared.decision.case import Broken, Conclude, Step
from shared.decision.overdue import bound
from shared.outbox.observer import Observer
from shared.policy import Policy
from shared.ports import Clock
from simulator import What
from simulator.oracle import disagreement
from simulator.scenarios import CATALOGUE, Scenario, Stage, scenario_cloud
from tests.stack import Stack


def played(scenario: Scenario) -> tuple[Stack, Stage]:
    """The scenario on a cloud of its own, with each request sent at its time, until nothing is left to do."""
    simulation = Stack(scenario_cloud, scenario.settings)
    stage = scenario.on(simulation.cloud)
    for body, delay in zip(stage.bodies(), stage.delays, strict=True):
        simulation.queue.put(body, delay)
    simulation.run()
    return simulation, stage


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=CATALOGUE)
def test_scenario_ends_as_expected_and_in_truth(scenario: Scenario) -> None:
    """Each request ends in the verdicts that its scenario names, and the simulator's record agrees with each.

    As consumers do, an event is heard once: a copy of it has the same id.
    """
    simulation, stage = played(scenario)
    events, history = simulation.bus.events, simulation.cloud.world.history
    heard = [event for n, event in enumerate(events) if event["id"] not in {earlier["id"] for earlier in events[:n]}]
    got = [
        told([event for event in heard if event["data"]["request"]["id"] == request["id"]])
        for request in stage.requests
    ]
    assert list(scenario.expected) == got
    assert simulation.errors == []
    assert [None] * len(events) == [disagreement(history, event, stage.keeps_records) for event in events]
    accepted = [entry.attachment_id for entry in history if entry.what is What.DELETE_ACCEPTED]
    assert len(accepted) == len(set(accepted)), "one attachment, two DELETEs that were accepted"


@pytest.mark.parametrize("name", ["resized", "migrated-live", "evacuated", "volume-migrated"])
def test_scenario_follows_a_disk_through_a_move(name: str) -> None:
    """The first look saw the attachment of before the move, and the verdict is about the one that the move made."""
    simulation, _ = played(CATALOGUE[name])
    (data,) = simulation.bus.data
    (move,) = [
        entry
        for entry in simulation.cloud.world.history
        if entry.what is What.MOVED and entry.volume_id == data["volume_id"]
    ]
    assert data["evidence"]["before"]["attachment"]["attachment_id"] == move.detail
    assert data["attachment_id"] == move.attachment_id


@dataclass(eq=False)
class Waits(Observer):
    """By how many seconds each request that goes on waiting is past its bound, without any slack."""

    policy: Policy
    clock: Clock
    past: list[float] = field(default_factory=list)

    def step(self, step: Step) -> None:
        then = step.decision.then if isinstance(step.decision, Broken) else step.decision
        if not isinstance(then, Conclude):
            self.past.append((self.clock() - bound(step.case, self.policy)).total_seconds())


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=CATALOGUE)
def test_no_scenario_waits_past_its_bound(scenario: Scenario) -> None:
    """Whatever the cloud does, the look that meets the bound ends the request: the slack is for the queue alone."""
    waits: list[Waits] = []
    simulation = Stack(scenario_cloud, scenario.settings, observers=waits)
    waits.append(Waits(simulation.settings.policy, simulation.clock))
    stage = scenario.on(simulation.cloud)
    for body, delay in zip(stage.bodies(), stage.delays, strict=True):
        simulation.queue.put(body, delay)
    simulation.run()
    assert max(waits[0].past, default=-1) <= 0
