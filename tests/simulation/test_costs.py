"""The table of costs in the operator's page is what the simulator counts, times the prices it names."""

from pathlib import Path

import pytest

from simulator import Behaviour
from simulator.scenarios import scenario_cloud
from simulator.scenarios.stage import Stage
from tests.stack import Stack
from tools.costs import Detach

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("seconds", [5, 30, 60, 120, 600])
def test_a_row_of_the_table(seconds: int) -> None:
    """A detach that takes so long is looked at so often, and the page says what that comes to."""
    simulation = Stack(scenario_cloud, {})
    stage = Stage(simulation.cloud, "cost")
    server = stage.server()
    stage.request(server, stage.disk(server, behaviour=Behaviour(seconds=seconds)))
    simulation.queue.put(stage.bodies()[0])
    invocations = 0
    while simulation.step():
        invocations += 1
    assert Detach(seconds, invocations).row in PAGE
