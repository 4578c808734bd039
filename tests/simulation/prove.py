"""`make prove`: the long proofs, on all cores, with their counts; `make test` takes a slice of each."""

import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

STEP = int(os.environ.get("PROOF_STEP", "29"))
"""Every STEP-th case of the long enumerations; 1 takes them all."""

SEED = 20261123


Counts = Counter[tuple[str, str]]


@dataclass
class Judged:
    """What is wrong with a case, and what happened in it."""

    wrong: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counter)


@dataclass(frozen=True)
class Proof:
    """What is tried, how it is judged, how many have to be tried at least, and what of them is missing all the same."""

    name: str
    cases: Callable[[], Iterable[Any]]
    judge: Callable[[Any], list[str] | Judged]
    at_least: int
    gaps: Callable[[Counts], list[str]] = lambda counts: []


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


HOSTILE_BATCHES = 10_640
"""Of nine hostile messages each, so that there are 100,000 of them that the queue takes."""


def hostile_cases() -> Iterator[range]:
    """The seeds of the batches, some together."""
    return (range(start, start + 20) for start in range(0, HOSTILE_BATCHES, 20))


def judge_hostile(seeds: range) -> Judged:
    """Batches of ten: nine hostile messages of kinds that are drawn, and one ordinary request in each."""
    from tests.simulation.hostile import drawn, play

    found = Judged()
    for seed in seeds:
        batch = play(drawn(seed), seed)
        found.wrong.extend(f"seed {seed}: {wrong}" for wrong in batch.violations())
        found.counts.update(batch.counts())
    return found


def hostile_gaps(counts: Counts) -> list[str]:
    """Prints what became of the hostile messages, by kind; what was never reached, or not often enough."""
    from tests.simulation.hostile import KINDS, NOT_SENT, never_reached

    ends = sorted({end for name, end in counts if name in KINDS})
    print(f"{'':>32}" + "".join(f"{end:>18}" for end in ends))
    for name in KINDS:
        print(f"{name:>32}" + "".join(f"{counts[name, end]:>18,}" for end in ends))
    for (name, end), count in sorted(counts.items()):
        if name not in KINDS:
            print(f"{name:>32}  {end}: {count:,}")
    sent = sum(count for (name, end), count in counts.items() if name in KINDS and end != NOT_SENT)
    print(f"{sent:>7,} hostile inputs reached the function")
    return never_reached(counts) + ([] if sent >= 100_000 else [f"only {sent} hostile inputs"])


PROOFS = (
    Proof("crash schedules", crash_cases, judge_crash, 2000),
    Proof("fault runs", fault_cases, judge_fault, 5000),
    Proof("groups of hostile batches", hostile_cases, judge_hostile, HOSTILE_BATCHES // 20, hostile_gaps),
)


def _judged(judge: Callable[[Any], list[str] | Judged], case: Any) -> tuple[Any, Judged]:
    try:
        found = judge(case)
    except Exception as error:  # noqa: BLE001 - whatever is raised is a finding
        found = [f"raised {error!r}"]
    return case, found if isinstance(found, Judged) else Judged(found)


def main() -> int:
    good = True
    began = time.monotonic()
    with ProcessPoolExecutor() as pool:
        for proof in PROOFS:
            cases = list(proof.cases())
            found: list[tuple[Any, list[str]]] = []
            counts: Counts = Counter()
            chunk = 1 if len(cases) < 1000 else 10
            for done, (case, judged) in enumerate(pool.map(partial(_judged, proof.judge), cases, chunksize=chunk), 1):
                found += [(case, judged.wrong)] if judged.wrong else []
                counts.update(judged.counts)
                if done % max(100, chunk * 50) == 0:
                    print(f"  {done:>6} of {len(cases)} {proof.name}", file=sys.stderr, flush=True)
            gaps = proof.gaps(counts)
            good &= len(cases) >= proof.at_least and not found and not gaps
            print(f"{len(cases):>7,} {proof.name:<30} {len(found)} violations", flush=True)
            for case, wrong in found[:5]:
                print(f"        {case}: {wrong}", file=sys.stderr)
            for gap in gaps:
                print(f"        never reached: {gap}", file=sys.stderr)
    print(f"{time.monotonic() - began:>6.0f} s; seed {SEED}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
