"""Crashes before and after every effect, singly and in pairs: each request still gets exactly one true verdict."""

import itertools

import pytest

from tests.simulation.prove import STEP, sampled
from tests.simulation.stories import STORIES, Story, effects_of, judged


def points(story: Story) -> list[tuple[int, str]]:
    return list(itertools.product(range(effects_of(story)), ("before", "after")))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_crash_at_any_point_changes_nothing(story: Story) -> None:
    """The process dies before or after an effect, and the message is redelivered: one true verdict."""
    found = {}
    for point in sampled(points(story), max(1, STEP // 4)):
        simulation, stage = story.begin(frozenset({point}))
        if wrong := judged(simulation, stage):
            found[point] = wrong

    assert {} == found


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_two_crashes_at_any_points_change_nothing(story: Story) -> None:
    """The same for two crashes in one run."""
    found = {}
    pairs = list(itertools.combinations(points(story), 2))
    for pair in sampled(pairs, STEP * 5):
        simulation, stage = story.begin(frozenset(pair))
        if wrong := judged(simulation, stage):
            found[pair] = wrong

    assert {} == found
