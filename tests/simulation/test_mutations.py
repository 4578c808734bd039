"""The proofs catch a broken variant of each rule, by the invariant that guards it."""

from collections import Counter

import pytest

from tests.simulation.mutants import MUTANTS, ONE_ANSWER, Mutant
from tests.simulation.page import line_of, lines_on_page
from tests.simulation.stories import STORIES, judged


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_a_broken_rule_is_caught(mutant: Mutant) -> None:
    """Each rule is needed: without it, a run breaks the invariant that guards it, in the words of `mutants.md`."""
    line = line_of(mutant)
    assert line.startswith(f"{mutant.caught_by}:")
    assert lines_on_page()[mutant.rule] == line


def test_there_are_many() -> None:
    assert len(MUTANTS) >= 30


@pytest.mark.parametrize("name", ONE_ANSWER)
def test_who_always_says_the_same_fails_nearly_every_story(name: str) -> None:
    """A product that always gives the same verdict is caught in at least 80 % of the stories."""
    found: Counter[bool] = Counter()
    for story in STORIES:
        simulation, stage = story.begin(mutate=ONE_ANSWER[name])
        found[bool(judged(simulation, stage))] += 1
    assert found[True] >= 0.8 * len(STORIES), found
