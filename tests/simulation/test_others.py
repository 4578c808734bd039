"""Acts of others at every point: duplicates, other requesters, people who attach the disk again or move the server."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from simulator import Refused
from simulator.scenarios.stage import Stage
from tests.simulation.prove import STEP, sampled
from tests.simulation.stories import BY_NAME, SHARED_STAGE, Story, effects_of, judged
from tests.stack import Stack

Act = Callable[[Stack, Stage], None]


def attach_when_free(simulation: Stack, stage: Stage) -> None:
    """Somebody attaches the disk again as soon as it is free."""
    asked = stage.requests[0]["data"]

    def attempt() -> None:
        with suppress(Refused):
            stage.world.attach(asked["server_id"], asked["volume_id"])

    for tenth in range(400):
        stage.later(tenth / 10, attempt)


def swap(simulation: Stack, stage: Stage) -> None:
    """Somebody forces the disk off and attaches it again, at one moment."""
    asked = stage.requests[0]["data"]
    world, volume = stage.world, asked["volume_id"]
    for attachment in [a for a in world.cinder.values() if a.volume_id == volume]:
        world._cinder_detach(attachment)
        world._nova_detach(attachment)
        with suppress(Refused):
            world.attach(attachment.server_id, volume, attachment.device)


def duplicate_original(simulation: Stack, stage: Stage) -> None:
    """The queue delivers the first message again while its first delivery is being processed."""
    again = simulation.queue.put(stage.bodies()[0], id="message-1")
    simulation.deliver(simulation.queue.take(again), elsewhere=True)


def everything_waiting(simulation: Stack, stage: Stage) -> None:
    """The queue delivers all waiting messages now: continuations before their delay, and before the acknowledgement."""
    for message in list(simulation.queue.messages):
        if message.receive_count == 0:
            message.visible_at = simulation.clock()
            simulation.deliver(simulation.queue.take(message), elsewhere=True)


def second_requester(simulation: Stack, stage: Stage) -> None:
    """Somebody else sends the same request."""
    stage.requests.append({**stage.requests[0], "id": f"{stage.name}-again-{len(stage.requests)}"})
    simulation.queue.put(stage.bodies()[-1])


def resize(simulation: Stack, stage: Stage) -> None:
    """An operator resizes the server, which gives its disks new attachments."""
    with suppress(Refused):
        stage.world.move(stage.requests[0]["data"]["server_id"], "resize", seconds=20)


def migrate_live(simulation: Stack, stage: Stage) -> None:
    """The cloud migrates the running server; for a while each disk has two attachments."""
    with suppress(Refused):
        stage.world.move(stage.requests[0]["data"]["server_id"], "live-migration", seconds=20)


ACTS: tuple[Act, ...] = (
    attach_when_free, swap, duplicate_original, everything_waiting, second_requester, resize, migrate_live,
)  # fmt: skip


def before(act: Act, simulation: Stack, stage: Stage, effect: str) -> None:
    """Act just before an effect, but not before a DELETE, because the service cannot read between look and DELETE."""
    if not effect.startswith("DELETE"):
        act(simulation, stage)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("story", SHARED_STAGE, ids=lambda story: story.name)
def test_somebody_acts_at_any_point(story: Story, act: Act) -> None:
    """Others act just before an effect: one true verdict, and no newer attachment is detached."""
    found = {}
    for number in sampled(range(effects_of(story)), max(1, STEP // 4)):
        simulation, stage = story.begin()
        simulation.effects.interventions[number] = partial(before, act, simulation, stage)
        if wrong := judged(simulation, stage):
            found[number] = wrong

    assert {} == found


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("name", ["detach", "lost-with-effect", "already-detached"])
def test_somebody_acts_and_the_process_dies(name: str, act: Act) -> None:
    """The same with a crash at another point of the run."""
    story, found = BY_NAME[name], {}
    numbers = range(effects_of(story))
    pairs = list(itertools.product(numbers, itertools.product(numbers, ("before", "after"))))
    for number, death in sampled(pairs, STEP):
        simulation, stage = story.begin(frozenset({death}))
        simulation.effects.interventions[number] = partial(before, act, simulation, stage)
        if wrong := judged(simulation, stage):
            found[number, death] = wrong

    assert {} == found
