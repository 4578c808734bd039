"""Requests with summaries under acts of others, faults, and refusals of the bus and the queue."""

import itertools
from functools import partial
from random import Random

import pytest

from simulator import Fault
from tests.simulation.prove import STEP, sampled
from tests.simulation.rough import Left
from tests.simulation.stories import BY_NAME, DISTURBED, SUMMED, Story, effects_of, judged
from tests.simulation.test_faults import FAULTS, OPERATIONS
from tests.simulation.test_others import (
    Act,
    before,
    duplicate_original,
    everything_waiting,
    migrate_live,
    resize,
    second_requester,
)

ACTS: tuple[Act, ...] = (duplicate_original, everything_waiting, second_requester, resize, migrate_live)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("name", SUMMED)
def test_somebody_acts_at_any_point(name: str, act: Act) -> None:
    """After duplicates, another request for the same disks, or moves, all verdicts and summaries are true."""
    found = {}
    for number in sampled(range(effects_of(BY_NAME[name])), max(1, STEP // 4)):
        simulation, stage = BY_NAME[name].begin()
        simulation.effects.interventions[number] = partial(before, act, simulation, stage)
        if wrong := judged(simulation, stage):
            found[number] = wrong

    assert {} == found


@pytest.mark.parametrize("name", ["all-data-disks", "summed-up"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_fault_at_one_call(name: str, operation: str) -> None:
    """A fault of any kind at the first, second or fourth call, which lists the disks or reads one of them."""
    found = {}
    for fault, skip in list(itertools.product(FAULTS, (0, 1, 3)))[::STEP]:
        simulation, stage = BY_NAME[name].begin()
        simulation.cloud.faults.add(Fault(FAULTS[fault], operation, skip=skip))
        if wrong := judged(simulation, stage):
            found[fault, skip] = wrong

    assert {} == found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", SUMMED)
def test_the_bus_and_the_queue_refuse_now_and_then(name: str, seed: int) -> None:
    """No summary precedes a verdict that the bus has not accepted yet, and no summary is lost."""
    simulation, stage = BY_NAME[name].begin()
    simulation.bus.refuse = Left(Random(seed), 6)
    simulation.queue.refuse = Left(Random(seed + 100), 3)
    assert [] == judged(simulation, stage)


@pytest.mark.parametrize("story", DISTURBED, ids=lambda story: story.name)
def test_others_change_what_was_asked_for(story: Story) -> None:
    """The summary has the outcome of each listed disk."""
    simulation, stage = story.begin()
    assert [] == judged(simulation, stage)
