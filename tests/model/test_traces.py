"""Tests that the model allows every step of the product in the simulations, and that other steps are found."""

from collections import Counter

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.reach import Counts, illegal, watching
from tests.simulation.stories import STORIES, Story, judged

BY_RULE = {mutant.rule: mutant for mutant in MUTANTS}
FOUND = {
    "block storage is not asked": "detached detached_now",
    "another DELETE after an accepted one": "delete",
    "one idle look is a refusal": "failed refused_by_server",
    "unconfirmed is announced at once": "announce",
    "a missing server is success": "detached",
}
"""Mutants by the rule that they break, and the step that the model must not allow."""


WITHOUT_A_LOOK = ("unauthorized", "no-data-disks")
"""Stories in which the product does not look at any disk."""


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_every_step_is_one_of_the_model(story: Story) -> None:
    counts: Counts = Counter()
    simulation, stage = story.begin(mutate=watching(counts))
    assert judged(simulation, stage) == []
    assert list(illegal(counts)) == []
    looks = sum(count for (kind, _), count in counts.items() if kind.startswith("model"))
    assert (looks > 0) == (story.name not in WITHOUT_A_LOOK)


@pytest.mark.parametrize("rule", FOUND)
def test_a_step_that_the_model_does_not_allow_is_found(rule: str) -> None:
    mutant, counts = BY_RULE[rule], Counter[tuple[str, str]]()
    story = next(story for story in STORIES if story.name == mutant.story)
    simulation, _ = story.begin(mutate=lambda service: watching(counts)(mutant.mutate(service)))
    simulation.run()
    found = [line for line in illegal(counts) if line.startswith("not a step of the model")]
    assert any(f": {FOUND[rule]}" in line for line in found)
