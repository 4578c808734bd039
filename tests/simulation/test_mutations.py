"""The proofs can fail: a deliberately broken variant of each rule is caught, and by which invariant."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from shared.decision import rules as table
from shared.decision.after_delete import decide_after_delete
from shared.decision.requeue import Policy, failed
from shared.decision.rules import RULES, Case, Rule, detached
from shared.model import Classified, Decision, DetachRequest, Progress, Reason
from shared.outbox.events import EventFactory
from shared.ports import Event
from shared.telemetry.logs import logger
from shared.visit import Reconciler
from tests.simulation.stories import BY_NAME, judged
from tests.simulation.test_others import Act, attach_when_free, before, swap

Mutate = Callable[[Reconciler], Reconciler]


def without(*names: str) -> Mutate:
    """The table with rules left out."""
    kept = tuple(rule for rule in RULES if rule.__name__ not in names)
    assert len(RULES) - len(names) == len(kept)
    return lambda reconciler: replace(reconciler, rules=kept)


def with_rule(name: str, other: Rule) -> Mutate:
    """The table with one rule replaced."""
    assert name in {rule.__name__ for rule in RULES}
    return lambda reconciler: replace(
        reconciler, rules=tuple(other if rule.__name__ == name else rule for rule in RULES)
    )


def trust_block_storage_alone(case: Case) -> Decision | None:
    return None if case.volume is None or case.ours else detached("detached_now")


def trust_compute_alone(case: Case) -> Decision | None:
    return None if case.volume is None or case.listed else detached("detached_now")


def trust_the_answer(
    request: DetachRequest, progress: Progress, answer: Classified, policy: Policy, now: datetime
) -> Decision:
    """As many do: a 202 is success."""
    decision = decide_after_delete(request, progress, answer, policy, now)
    return detached("detached_now") if progress.accepted_at else decision


def a_lost_answer_is_a_refusal(
    request: DetachRequest, progress: Progress, answer: Classified, policy: Policy, now: datetime
) -> Decision:
    """As many do: no answer is a failure."""
    decision = decide_after_delete(request, progress, answer, policy, now)
    return failed(Reason.REFUSED_BY_SERVER) if progress.unsettled else decision


def idle_once_is_refused(case: Case) -> Decision | None:
    return failed(Reason.REFUSED_BY_SERVER) if case.progress.accepted_at else None


def fence_without_memory(case: Case) -> Decision | None:
    return table.fenced(replace(case, redelivered_since=None))


@dataclass(frozen=True, slots=True)
class RandomIds(EventFactory):
    """A fresh id for each emission, as in most services."""

    def verdict(self, *arguments: Any) -> Event:
        event = EventFactory.verdict(self, *arguments)
        return replace(event, body=event.body.replace(event.id, str(uuid.uuid4())))


class Forgetful:
    """A queue that says yes and keeps nothing."""

    def send(self, messages: Sequence[Any]) -> dict[int, str]:
        return {}


def talkative(reconciler: Reconciler) -> Reconciler:
    """Logs the password of the simulated cloud."""
    return replace(reconciler, observe=lambda step: logger.info("login", extra={"login": "demo-password"}))


@dataclass(frozen=True)
class Mutant:
    """A broken variant, the story in which it shows, who else acts, and the invariant that must catch it."""

    rule: str
    mutate: Mutate
    story: str
    caught_by: str
    act: Act | None = None
    deaths: bool = False


MUTANTS = (
    Mutant("rule 1, compute is not asked", with_rule("gone_from_both", trust_block_storage_alone), "planes-apart",
           "verdicts_are_true"),
    Mutant("rule 1, block storage is not asked", with_rule("gone_from_both", trust_compute_alone), "planes-ahead",
           "verdicts_are_true"),
    Mutant("rule 1, a 202 is believed", lambda r: replace(r, settle=trust_the_answer), "detach", "verdicts_are_true"),
    Mutant("rule 2, one more after an accepted one", without("refused"), "marked-late", "one_effective_delete"),
    Mutant("rule 2, a lost answer is a no", lambda r: replace(r, settle=a_lost_answer_is_a_refusal),
           "lost-with-effect", "verdicts_are_true"),
    Mutant("rule 3, no fence", without("fenced"), "newer", "gates_hold"),
    Mutant("rule 3, a newer one is taken for the old", without("another_generation"), "detach", "verdicts_are_true",
           swap),
    Mutant("rule 3, no memory of an earlier delivery", with_rule("fenced", fence_without_memory), "already-detached",
           "no_contradiction", attach_when_free, deaths=True),
    Mutant("rule 4, one idle look is a refusal", with_rule("refused", idle_once_is_refused), "marked-late",
           "verdicts_are_true"),
    Mutant("no safety gates", without("unsafe"), "unsafe", "gates_hold"),
    Mutant("random event ids", lambda r: replace(r, events=RandomIds(r.events.source, r.events.prefix)), "detach",
           "one_final_verdict_id", deaths=True),
    Mutant("continuations get lost", lambda r: replace(r, queue=Forgetful()), "detach", "one_final_verdict_id"),
    Mutant("a password is logged", talkative, "detach", "nothing_secret"),
)  # fmt: skip


def violations_of(mutant: Mutant) -> list[str]:
    """All that the mutant commits, over all points at which others act and the process dies."""
    story = BY_NAME[mutant.story]
    simulation, stage = story.begin(mutate=mutant.mutate)
    found = judged(simulation, stage)
    points = range(len(simulation.effects.log))
    for number in points if mutant.act else [None]:
        for death in [None, *points] if mutant.deaths else [None]:
            deaths = frozenset() if death is None else frozenset({(death, "after")})
            simulation, stage = story.begin(deaths, mutate=mutant.mutate)
            if mutant.act and number is not None:
                simulation.effects.interventions[number] = partial(before, mutant.act, simulation, stage)
            found += judged(simulation, stage)
    return found


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_a_broken_rule_is_caught(mutant: Mutant) -> None:
    """Each rule is needed: without it, a run breaks the invariant that guards it."""
    assert mutant.caught_by in {what.partition(":")[0] for what in violations_of(mutant)}
