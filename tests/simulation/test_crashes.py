"""Death just before and just after every effect, alone and in pairs: still exactly one true verdict."""

import itertools

import pytest

from tests.simulation.prove import STEP, sampled
from tests.simulation.stories import STORIES, Story, effects_of, judged


def points(story: Story) -> list[tuple[int, str]]:
    return list(itertools.product(range(effects_of(story)), ("before", "after")))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_crash_at_any_point_changes_nothing(story: Story) -> None:
    """The process dies before or after any one effect, and the message comes back: one true verdict."""
    found = {}
    for point in sampled(points(story), max(1, STEP // 4)):
        simulation, stage = story.begin(frozenset({point}))
        if wrong := judged(simulation, stage):
            found[point] = wrong

    assert {} == found


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_two_crashes_at_any_points_change_nothing(story: Story) -> None:
    """The same for pairs of crashes, the second in what follows the first."""
    found = {}
    pairs = list(itertools.combinations(points(story), 2))
    for pair in sampled(pairs, STEP * 5):
        simulation, stage = story.begin(frozenset(pair))
        if wrong := judged(simulation, stage):
            found[pair] = wrong

    assert {} == found
