"""`make prove`: the long proofs, on all cores, with their counts; `make test` takes a slice of each."""

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

STEP = int(os.environ.get("PROOF_STEP", "29"))
"""Every STEP-th case of the long enumerations; 1 takes them all."""

SEED = 20261123


@dataclass(frozen=True)
class Proof:
    """What is tried, how it is judged, and how many have to be tried at least."""

    name: str
    cases: Callable[[], Iterable[Any]]
    judge: Callable[[Any], list[str]]
    at_least: int


def crash_cases() -> Iterator[tuple[Any, ...]]:
    """Every single death of every story, pairs of deaths, others acting at every point, and both together."""
    from tests.simulation.stories import SHARED_STAGE, STORIES, effects_of
    from tests.simulation.test_others import ACTS

    random = Random(SEED)
    for story in STORIES:
        points = list(itertools.product(range(effects_of(story)), ("before", "after")))
        yield from ((story.name, frozenset({point}), None, 0) for point in points)
        pairs = list(itertools.combinations(points, 2))
        chosen = random.sample(pairs, min(len(pairs), 120))
        yield from ((story.name, frozenset(pair), None, 0) for pair in chosen)
    for story, act in itertools.product(SHARED_STAGE, ACTS):
        count = effects_of(story)
        yield from ((story.name, frozenset(), act.__name__, number) for number in range(count))
        for _ in range(8):
            death = (random.randrange(count), random.choice(("before", "after")))
            yield story.name, frozenset({death}), act.__name__, random.randrange(count)


def judge_crash(case: tuple[Any, ...]) -> list[str]:
    from tests.simulation.stories import BY_NAME, judged
    from tests.simulation.test_others import ACTS, before

    name, deaths, act_name, number = case
    simulation, stage = BY_NAME[name].begin(deaths)
    act = next((act for act in ACTS if act.__name__ == act_name), None)
    if act:
        simulation.effects.interventions[number] = partial(before, act, simulation, stage)
    return judged(simulation, stage)


def fault_cases() -> Iterator[tuple[Any, ...]]:
    """Every fault at every call, and random pairs of them."""
    from tests.simulation.test_faults import CASES, FAULTS, OPERATIONS, STORIES

    yield from ((story, (operation, fault, skip)) for story, operation, fault, skip in CASES)
    random = Random(SEED)
    for _ in range(1000):
        strikes = [(random.choice(OPERATIONS), random.choice(list(FAULTS)), random.randrange(3)) for _ in range(2)]
        yield random.choice(STORIES), *strikes


def judge_fault(case: tuple[Any, ...]) -> list[str]:
    from tests.simulation.test_faults import wrong_with

    return wrong_with(*case)


def hostile_cases() -> Iterator[int]:
    return iter(range(1000))


def judge_hostile(case: int) -> list[str]:
    """Ten batches of ten: nine hostile messages of kinds that are drawn, and one ordinary request in each."""
    from tests.simulation.hostile import drawn, play

    return [
        f"seed {seed}: {wrong}"
        for seed in range(case * 10, case * 10 + 10)
        for wrong in play(drawn(seed), seed).violations()
    ]


def never_drawn() -> list[str]:
    """The kinds of hostile messages that no batch of the proof holds."""
    from tests.simulation.hostile import KINDS, drawn

    return sorted(set(KINDS) - {name for seed in range(10_000) for name in drawn(seed)})


PROOFS = (
    Proof("crash schedules", crash_cases, judge_crash, 2000),
    Proof("fault runs", fault_cases, judge_fault, 5000),
    Proof("hostile inputs, hundreds of", hostile_cases, judge_hostile, 1000),
)


def _judged(judge: Callable[[Any], list[str]], case: Any) -> tuple[Any, list[str]]:
    try:
        return case, judge(case)
    except Exception as error:  # noqa: BLE001 - whatever is raised is a finding
        return case, [f"raised {error!r}"]


def main() -> int:
    good = not never_drawn()
    began = time.monotonic()
    with ProcessPoolExecutor() as pool:
        for proof in PROOFS:
            cases = list(proof.cases())
            found: list[tuple[Any, list[str]]] = []
            for done, (case, wrong) in enumerate(pool.map(partial(_judged, proof.judge), cases, chunksize=10), 1):
                found += [(case, wrong)] if wrong else []
                if done % 500 == 0:
                    print(f"  {done:>6} of {len(cases)} {proof.name}", file=sys.stderr, flush=True)
            enough = len(cases) >= proof.at_least
            good &= enough and not found
            print(f"{len(cases):>7,} {proof.name:<30} {len(found)} violations", flush=True)
            for case, wrong in found[:5]:
                print(f"        {case}: {wrong}", file=sys.stderr)
    print(f"{time.monotonic() - began:>6.0f} s; seed {SEED}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
