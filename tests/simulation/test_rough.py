"""Parts of `make prove`: rough worlds, scenarios and senders."""

import pytest

from tests.simulation.prove import judge_rough, judge_scenario, judge_sender_case, scenario_cases, sender_cases
from tests.simulation.reach import illegal
from tests.simulation.rough import Rough

SEEDS, AT_ONCE = 100, 10


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_a_rough_world_breaks_nothing(first: int) -> None:
    """Each request of a rough world gets one true verdict, by allowed steps only."""
    found = {}
    for seed in range(first, first + AT_ONCE):
        judged = judge_rough(seed)
        if wrong := [*judged.wrong, *illegal(judged.counts)]:
            found[seed] = wrong
    assert {} == found


def test_a_seed_gives_the_same_world_again() -> None:
    """The same seed gives the same violations, events and effects."""
    first, again = Rough(7), Rough(7)
    assert first.violations() == again.violations()
    assert first.simulation.bus.events == again.simulation.bus.events
    assert first.simulation.effects.log == again.simulation.effects.log


def test_every_kind_of_sender_is_answered_once() -> None:
    """Invalid, forged and not allowed requests and dead letters get one answer with the right reason."""
    assert {case: judged.wrong for case in sender_cases() if (judged := judge_sender_case(case)).wrong} == {}


def test_scenarios_and_dry_runs_of_them_are_judged_true() -> None:
    """Each scenario as a dry run, and some cases with a death."""
    cases = [case for number, case in enumerate(scenario_cases()) if case[1:] == (True, None) or number % 41 == 0]
    found = {case: judged.wrong for case in cases if (judged := judge_scenario(case)).wrong}
    assert found == {}
