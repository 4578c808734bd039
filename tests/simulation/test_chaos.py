"""Faults, crashes, duplicates and other people in any order, until it stops: one true verdict for everybody."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
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
REGRESSIONS = Path(__file__).parent / "regressions"
"""Cases that once failed, played first in every run."""

ACTS: tuple[Act, ...] = (attach_when_free, duplicate_original, everything_waiting, second_requester)


class Chaos(RuleBasedStateMachine):
    """One story, and whatever the machine thinks of while it is played."""

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
        """Some of the next calls of an operation go wrong."""
        self.simulation.cloud.faults.add(Fault(FAULTS[fault], operation, skip=skip, times=times))

    @rule(ahead=st.integers(0, 12), when=st.sampled_from(["before", "after"]))
    def die(self, ahead: int, when: str) -> None:
        """The process dies soon."""
        effects = self.simulation.effects
        effects.deaths |= {(len(effects.log) + ahead, when)}

    @rule(ahead=st.integers(0, 12), act=st.sampled_from(ACTS))
    def intervene(self, ahead: int, act: Act) -> None:
        """Somebody else acts soon."""
        effects = self.simulation.effects
        effects.interventions[len(effects.log) + ahead] = partial(before, act, self.simulation, self.stage)

    @rule()
    def deliver(self) -> None:
        """The queue hands out the next message."""
        self.simulation.step()

    @rule()
    def revoke(self) -> None:
        """All tokens become worthless."""
        self.simulation.cloud.revoke_tokens()

    def teardown(self) -> None:
        """It stops: from now on nothing goes wrong, and everybody gets a true answer."""
        if not hasattr(self, "simulation"):
            return
        self.simulation.cloud.faults.clear()
        self.simulation.effects.deaths = frozenset()
        self.simulation.effects.interventions.clear()
        found = judged(self.simulation, self.stage)
        assert [] == found


def test_chaos() -> None:
    """No order of faults, crashes, duplicates and other people's doings breaks an invariant."""
    chosen: dict[str, Any] = {
        "max_examples": RUNS,
        "stateful_step_count": 15,
        "deadline": None,
        "print_blob": True,
        "database": DirectoryBasedExampleDatabase(REGRESSIONS),
        "suppress_health_check": list(HealthCheck),
    }
    run_state_machine_as_test(Chaos, settings=settings(**chosen))
