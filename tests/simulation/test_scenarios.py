"""Every scenario on virtual time gives the expected verdicts, and the cloud's own record justifies each."""

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
    """Play a scenario in its own cloud to the end."""
    simulation = Stack(scenario_cloud, scenario.settings)
    stage = scenario.on(simulation.cloud)
    for body, delay in zip(stage.bodies(), stage.delays, strict=True):
        simulation.queue.put(body, delay)
    simulation.run()
    return simulation, stage


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=CATALOGUE)
def test_scenario_ends_as_expected_and_in_truth(scenario: Scenario) -> None:
    """Each request ends in its scenario's expected verdicts, and the simulator's record justifies each.

    Events with the same id count once, as for consumers.
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
    assert len(accepted) == len(set(accepted)), "two accepted DELETEs for one attachment"


@pytest.mark.parametrize("name", ["resized", "migrated-live", "evacuated", "volume-migrated"])
def test_scenario_follows_a_disk_through_a_move(name: str) -> None:
    """The first look saw the attachment from before the move; the verdict is about the one that the move made."""
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
    """Records for each requeue how many seconds the request is past its bound, without slack."""

    policy: Policy
    clock: Clock
    past: list[float] = field(default_factory=list)

    def step(self, step: Step) -> None:
        then = step.decision.then if isinstance(step.decision, Broken) else step.decision
        if not isinstance(then, Conclude):
            self.past.append((self.clock() - bound(step.case, self.policy)).total_seconds())


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=CATALOGUE)
def test_no_scenario_waits_past_its_bound(scenario: Scenario) -> None:
    """The first look after its bound ends a request; the slack is needed only for the queue."""
    waits: list[Waits] = []
    simulation = Stack(scenario_cloud, scenario.settings, observers=waits)
    waits.append(Waits(simulation.settings.policy, simulation.clock))
    stage = scenario.on(simulation.cloud)
    for body, delay in zip(stage.bodies(), stage.delays, strict=True):
        simulation.queue.put(body, delay)
    simulation.run()
    assert max(waits[0].past, default=-1) <= 0
