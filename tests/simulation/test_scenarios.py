"""Every scenario on virtual time: the expected verdicts, and each of them true by the cloud's own record."""

import pytest

from simulator.oracle import disagreement
from simulator.scenarios import CATALOGUE, SETTINGS, Scenario, scenario_cloud
from tests.stack import Stack


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=CATALOGUE)
def test_scenario_ends_as_expected_and_in_truth(scenario: Scenario) -> None:
    """Each request ends in the verdicts that its scenario names, and the simulator's record agrees with each."""
    simulation = Stack(scenario_cloud, SETTINGS)
    stage = scenario.on(simulation.cloud)
    for body, delay in zip(stage.bodies(), stage.delays, strict=True):
        simulation.queue.put(body, delay)

    simulation.run()

    heard = list({event["id"]: event for event in reversed(simulation.bus.events)}.values())[::-1]
    got = [
        " then ".join(event["data"]["detail"] for event in heard if event["data"]["request"]["id"] == request["id"])
        for request in stage.requests
    ]
    assert list(scenario.expected) == got
    assert simulation.errors == []
    history = simulation.cloud.world.history
    objections = [disagreement(history, event, stage.keeps_records) for event in simulation.bus.events]
    assert [None] * len(objections) == objections
