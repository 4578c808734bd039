"""Faults, crashes, duplicates and acts of others in any order (Hypothesis): each request gets one true verdict."""

import os
from functools import partial
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from simulator import Fault
from tests.simulation.stories import SHARED_STAGE, Story, judged
from tests.simulation.test_faults import FAULTS, OPERATIONS, PASSING
from tests.simulation.test_others import (
    Act,
    attach_when_free,
    before,
    duplicate_original,
    everything_waiting,
    second_requester,
)

RUNS = int(os.environ.get("CHAOS_RUNS", "40"))
ACTS: tuple[Act, ...] = (attach_when_free, duplicate_original, everything_waiting, second_requester)


class Chaos(RuleBasedStateMachine):
    """Plays one story, disturbed by random rules."""

    @initialize(story=st.sampled_from(SHARED_STAGE))
    def begin(self, story: Story) -> None:
        note(f"story {story.name}")
        self.simulation, self.stage = story.begin()

    @rule(
        operation=st.sampled_from(OPERATIONS),
        fault=st.sampled_from(sorted(PASSING)),
        skip=st.integers(0, 3),
        times=st.integers(1, 3),
    )
    def strike(self, operation: str, fault: str, skip: int, times: int) -> None:
        """Let some of the next calls of an operation fail."""
        self.simulation.cloud.faults.add(Fault(FAULTS[fault], operation, skip=skip, times=times))

    @rule(ahead=st.integers(0, 12), when=st.sampled_from(["before", "after"]))
    def die(self, ahead: int, when: str) -> None:
        """Let the process die at one of the next effects."""
        effects = self.simulation.effects
        effects.deaths |= {(len(effects.log) + ahead, when)}

    @rule(ahead=st.integers(0, 12), act=st.sampled_from(ACTS))
    def intervene(self, ahead: int, act: Act) -> None:
        """Let somebody else act before one of the next effects."""
        effects = self.simulation.effects
        effects.interventions[len(effects.log) + ahead] = partial(before, act, self.simulation, self.stage)

    @rule()
    def deliver(self) -> None:
        """Deliver the next message."""
        self.simulation.step()

    @rule()
    def revoke(self) -> None:
        """Revoke all tokens."""
        self.simulation.cloud.revoke_tokens()

    def teardown(self) -> None:
        """Stop all disturbances, run to the end, and check the run."""
        if not hasattr(self, "simulation"):
            return
        self.simulation.cloud.faults.clear()
        self.simulation.effects.deaths = frozenset()
        self.simulation.effects.interventions.clear()
        found = judged(self.simulation, self.stage)
        assert [] == found


def test_chaos() -> None:
    """No order of faults, crashes, duplicates and acts of others breaks an invariant."""
    chosen: dict[str, Any] = {
        "max_examples": RUNS,
        "stateful_step_count": 15,
        "deadline": None,
        "print_blob": True,
        "database": None,
        "suppress_health_check": list(HealthCheck),
    }
    run_state_machine_as_test(Chaos, settings=settings(**chosen))
