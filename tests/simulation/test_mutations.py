"""The proofs can fail: a deliberately broken variant of each rule is caught, and by which invariant."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue, detached, failed
from shared.decision.meant import Standing
from shared.decision.requeue import after_delete
from shared.decision.rules import RULES, Rule, decide, not_meant
from shared.model import Classified, Detail, Reason
from shared.outbox.events import EventFactory
from shared.outbox.observer import Observer
from shared.policy import Policy
from shared.ports import Event
from shared.service import Service
from shared.telemetry.logs import logger
from simulator.scenarios.stage import Stage
from tests.simulation.stories import BY_NAME, judged
from tests.simulation.test_others import Act, before, swap
from tests.stack import Stack

Mutate = Callable[[Service], Service]


def with_rules(rules: Sequence[Rule]) -> Mutate:
    return lambda service: replace(service, visits=replace(service.visits, decide=partial(decide, rules=rules)))


def without(*names: str) -> Mutate:
    """The table with rules left out."""
    kept = tuple(rule for rule in RULES if rule.__name__ not in names)
    assert len(RULES) - len(names) == len(kept)
    return with_rules(kept)


def with_rule(name: str, other: Rule) -> Mutate:
    """The table with one rule replaced."""
    assert name in {rule.__name__ for rule in RULES}
    return with_rules(tuple(other if rule.__name__ == name else rule for rule in RULES))


def settling(after: Any) -> Mutate:
    """What follows a DELETE, replaced."""
    return lambda service: replace(service, visits=replace(service.visits, after_delete=after))


def with_outlets(**changes: Any) -> Mutate:
    return lambda service: replace(service, outlets=replace(service.outlets, **changes))


def trust_block_storage_alone(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    return None if case.volume is None or case.ours else detached(Detail.DETACHED_NOW)


def trust_compute_alone(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    return None if case.volume is None or case.listed else detached(Detail.DETACHED_NOW)


def trust_the_answer(case: Case, answer: Classified, policy: Policy, now: datetime) -> Requeue | Conclude:
    """As many do: a 202 is success."""
    decision = after_delete(case, answer, policy, now)
    return detached(Detail.DETACHED_NOW) if case.progress.accepted_at else decision


def a_lost_answer_is_a_refusal(case: Case, answer: Classified, policy: Policy, now: datetime) -> Requeue | Conclude:
    """As many do: no answer is a failure."""
    decision = after_delete(case, answer, policy, now)
    return failed(Reason.REFUSED_BY_SERVER) if case.progress.unsettled else decision


def one_more(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    return Delete() if case.progress.accepted_at and case.progress.idle_reads else None


def idle_once_is_refused(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    return failed(Reason.REFUSED_BY_SERVER) if case.progress.accepted_at else None


def fence_without_memory(case: Case, policy: Policy, now: datetime) -> Decision | None:
    return not_meant(replace(case, progress=replace(case.progress, redelivered_since=None)), policy, now)


def any_other_is_newer(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """As the first version did: what was followed has another id, so somebody must have attached the disk again."""
    if case.standing is Standing.MOVED:
        return detached(Detail.REPLACED_BY_NEWER)
    return not_meant(case, policy, now)


def unknown_is_moved(case: Case, policy: Policy, now: datetime) -> Decision | None:
    return None if case.standing is Standing.UNKNOWN else not_meant(case, policy, now)


@dataclass(frozen=True, slots=True)
class RandomIds(EventFactory):
    """A fresh id for each emission, as in most services."""

    def verdict(self, *arguments: Any) -> Event:
        event = EventFactory.verdict(self, *arguments)
        return replace(event, body=event.body.replace(event.id, str(uuid.uuid4())))


class Forgetful:
    """A queue that says yes and keeps nothing."""

    def send(self, messages: Any, deadline: Any = None) -> dict[Any, Any]:
        return {}


class Talkative(Observer):
    """Logs the password of the simulated cloud."""

    def step(self, step: Any) -> None:
        logger.info("login", extra={"login": "demo-password"})


def attach_later(simulation: Stack, stage: Stage) -> None:
    """Somebody attaches the free disk to the server, when no two clocks can disagree any more that it is newer."""
    asked = stage.requests[0]["data"]
    stage.later(20, partial(stage.world.attach, asked["server_id"], asked["volume_id"]))


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
    Mutant("rule 1, a 202 is believed", settling(trust_the_answer), "detach", "verdicts_are_true"),
    Mutant("rule 2, one more after an accepted one", with_rule("refused", one_more), "marked-very-late",
           "one_effective_delete"),
    Mutant("rule 2, a lost answer is a no", settling(a_lost_answer_is_a_refusal),
           "lost-with-effect", "verdicts_are_true"),
    Mutant("rule 3, any attachment is meant", without("not_meant"), "newer", "gates_hold"),
    Mutant("rule 3, a newer one is taken for the old", without("not_meant"), "detach", "verdicts_are_true", swap),
    Mutant("rule 3, a moved one is taken for a newer", with_rule("not_meant", any_other_is_newer), "resized",
           "verdicts_are_true"),
    Mutant("rule 3, an unknown one is taken for moved", with_rule("not_meant", unknown_is_moved), "newer-unknown",
           "gates_hold"),
    Mutant("rule 3, no memory of an earlier delivery", with_rule("not_meant", fence_without_memory), "already-detached",
           "no_contradiction", attach_later, deaths=True),
    Mutant("rule 4, one idle look is a refusal", with_rule("refused", idle_once_is_refused), "marked-late",
           "verdicts_are_true"),
    Mutant("no safety gates", without("unsafe"), "unsafe", "gates_hold"),
    Mutant("random event ids", with_outlets(events=RandomIds()), "detach",
           "one_final_verdict_id", deaths=True),
    Mutant("continuations get lost", with_outlets(queue=Forgetful()), "detach", "one_final_verdict_id"),
    Mutant("a password is logged", with_outlets(observers=(Talkative(),)), "detach", "nothing_secret"),
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
