"""`make prove`: runs the long proofs on all cores and reports what they reached; `make slices` runs a part of each.

With arguments, such as `rough`, it runs only the proofs whose names begin with one of them. With PROOF_API=bms_v1
(`make prove API=bms_v1`) it uses the job API of bare metal servers, on a cloud whose compute API is closed. ACCESS is
the login method (`tests.access.LOGINS`); the default is a password. EVERY=20 takes every 20th case of each proof, and
other cases for each login method and API.
"""

import itertools
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, TypeVar

from tests.simulation.reach import Counts, count_verdicts, counting, everything, illegal, report, report_model

WRONG: list[str] = []
"""What is wrong with variables of the environment, and what is allowed."""


def _number(name: str, usual: int) -> int:
    text = os.environ.get(name) or str(usual)
    if re.fullmatch("0*[1-9][0-9]{0,8}", text, re.ASCII):
        return int(text)
    WRONG.append(f"{name}={text} is no whole number from 1 to 999999999; the default is {usual}.")
    return usual


STEP = _number("PROOF_STEP", 29)
"""The tests take every STEP-th case of long enumerations; 1 takes all."""

EVERY = _number("EVERY", 1)
"""The long proofs take every EVERY-th case; 1 takes all."""

MOST = _number("PROOF_MOST", 8)
"""The tests take at most about this many cases of one story: some stories have hundreds of effects."""

SEED = 20261123

T = TypeVar("T")


def sampled(cases: Sequence[T], step: int) -> Sequence[T]:
    """The part of an enumeration that the tests take, evenly distributed."""
    return cases[:: max(step, len(cases) // MOST)]


@dataclass
class Judged:
    """The result of a case: its violations, and what it reached."""

    wrong: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counter)


@dataclass(frozen=True)
class Proof:
    """A proof: its cases, the check of a case, the least number of cases, and the check for ends not reached."""

    name: str
    cases: Callable[[], Iterable[Any]]
    judge: Callable[[Any], list[str] | Judged]
    at_least: int
    gaps: Callable[[Counts], list[str]] = lambda counts: []


def crash_cases() -> Iterator[tuple[Any, ...]]:
    """For every story: every single death, pairs of deaths, acts of others at every point, and deaths with acts."""
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


def judge_crash(case: tuple[Any, ...]) -> Judged:
    from tests.simulation.stories import BY_NAME
    from tests.simulation.test_others import ACTS, before

    name, deaths, act_name, number = case
    found = Judged()
    simulation, stage = BY_NAME[name].begin(deaths, mutate=counting(found.counts))
    act = next((act for act in ACTS if act.__name__ == act_name), None)
    if act:
        simulation.effects.interventions[number] = partial(before, act, simulation, stage)
    return finished(found, simulation, stage)


def finished(found: Judged, simulation: Any, stage: Any) -> Judged:
    """Run to the end; add the violations and the verdicts to the result."""
    from tests.simulation.stories import judged

    found.wrong += judged(simulation, stage)
    count_verdicts(simulation.bus.events, found.counts)
    return found


def consumer_cases() -> Iterator[tuple[str, tuple[int, str], int]]:
    """A death at every point of a request with a sink and a task token; the sink is there, or unavailable at first."""
    from tests.simulation.test_consumers import ENDINGS, points

    for ending, away in itertools.product(ENDINGS, (0, 2)):
        yield from ((ending, point, away) for point in points(ending, away))


def judge_consumer(case: tuple[str, tuple[int, str], int]) -> list[str]:
    from tests.simulation.test_consumers import lacking

    return lacking(*case)


GIVEN_ONCE = {"api_rejected", "forbidden", "server_locked", "volume_frozen", "volume_locked"}


def scenario_cases() -> Iterator[tuple[str, bool, tuple[int, str] | None]]:
    """Every scenario, as a detach and as a dry run, undisturbed and with a death at each point.

    No deaths in scenarios with a refusal that the cloud gives only once: the delivery after a death does not get it.
    """
    from simulator.scenarios import CATALOGUE
    from tests.simulation.stories import SCENARIOS

    for story, dry in itertools.product(SCENARIOS, (False, True)):
        yield story.name, dry, None
        simulation, _ = story.begin(dry=dry)
        simulation.run()
        if dry or not set(CATALOGUE[story.name].expected) & GIVEN_ONCE:
            points = itertools.product(range(len(simulation.effects.log)), ("before", "after"))
            yield from ((story.name, dry, point) for point in points)


def judge_scenario(case: tuple[str, bool, tuple[int, str] | None]) -> Judged:
    from tests.simulation.stories import SCENARIOS, SETTINGS

    name, dry, death = case
    found = Judged()
    story = next(one for one in SCENARIOS if one.name == name)
    if death:  # a message is redelivered after six minutes, so the time to live must be longer
        story = replace(story, settings={**story.settings, **SETTINGS})
    deaths = frozenset({death} if death else ())
    return finished(found, *story.begin(deaths, mutate=counting(found.counts), dry=dry))


def fault_cases() -> Iterator[tuple[Any, ...]]:
    """Every fault at every call, and random pairs of faults."""
    from tests.simulation.test_faults import CASES, FAULTS, OPERATIONS, STORIES

    yield from ((story, (operation, fault, skip)) for story, operation, fault, skip in CASES)
    groups = itertools.product(("all-data-disks", "summed-up"), OPERATIONS, FAULTS, (0, 1, 3))
    yield from ((story, (operation, fault, skip)) for story, operation, fault, skip in groups)
    random = Random(SEED)
    for _ in range(1000):
        strikes = [(random.choice(OPERATIONS), random.choice(list(FAULTS)), random.randrange(3)) for _ in range(2)]
        yield random.choice(STORIES), *strikes


def judge_fault(case: tuple[Any, ...]) -> Judged:
    from tests.simulation.stories import BY_NAME
    from tests.simulation.test_faults import struck

    name, *strikes = case
    found = Judged()
    simulation, stage = BY_NAME[name].begin(mutate=counting(found.counts))
    struck(simulation, *strikes)
    return finished(found, simulation, stage)


def refusal_cases() -> Iterator[tuple[Any, ...]]:
    """Refusals after a death at random points of random stories."""
    from tests.simulation.test_faults import refusals_after_death

    return refusals_after_death(Random(SEED), 6000)


def judge_refusal(case: tuple[Any, ...]) -> Judged:
    from tests.simulation.test_faults import wrong_after

    counts: Counts = Counter()
    return Judged(wrong_after(case, mutate=counting(counts)), counts)


ROUGH_RUNS = _number("ROUGH_RUNS", 4000)


def rough_cases() -> Iterator[int]:
    """The seeds of rough worlds."""
    return iter(range(ROUGH_RUNS))


def judge_rough(seed: int) -> Judged:
    """Play the rough world of a seed."""
    from tests.simulation.rough import Rough

    found = Judged()
    rough = Rough(seed, counting(found.counts))
    found.wrong += rough.violations()
    count_verdicts(rough.simulation.bus.events, found.counts)
    found.counts["requests", "rough"] += len(rough.stage.requests)
    return found


def judge_sender_case(case: Any) -> Judged:
    from tests.simulation.senders import judge_sender

    return Judged(*judge_sender(case))


def sender_cases() -> Iterator[tuple[str, int | None]]:
    """The cases of `senders`."""
    from tests.simulation import senders

    return senders.sender_cases()


HOSTILE_BATCHES = 10_640
"""Batches of nine hostile messages each: enough for 100,000 hostile messages that the queue accepts."""


def hostile_cases() -> Iterator[range]:
    """The seeds of the batches, in groups."""
    return (range(start, start + 20) for start in range(0, HOSTILE_BATCHES, 20))


def judge_hostile(seeds: range) -> Judged:
    """Play batches of ten: nine hostile messages of random kinds and one ordinary request."""
    from tests.simulation.hostile import drawn, play

    found = Judged()
    for seed in seeds:
        batch = play(drawn(seed), seed)
        found.wrong.extend(f"seed {seed}: {wrong}" for wrong in batch.violations())
        found.counts.update(batch.counts())
        count_verdicts(batch.bus.events, found.counts)
    return found


def hostile_gaps(counts: Counts) -> list[str]:
    """Print how the hostile messages of each kind ended; return what was not reached, or not often enough."""
    from tests.simulation.hostile import KINDS, NOT_SENT, never_reached

    ends = sorted({end for name, end in counts if name in KINDS})
    print(f"{'':>32}" + "".join(f"{end:>18}" for end in ends))
    for name in KINDS:
        print(f"{name:>32}" + "".join(f"{counts[name, end]:>18,}" for end in ends))
    for (name, end), count in sorted(counts.items()):
        if name not in KINDS and name not in everything():
            print(f"{name:>32}  {end}: {count:,}")
    sent = sum(count for (name, end), count in counts.items() if name in KINDS and end != NOT_SENT)
    print(f"{sent:>7,} hostile inputs reached the function")
    return never_reached(counts) + ([] if sent >= 100_000 // EVERY else [f"only {sent} hostile inputs"])


PROOFS = (
    Proof("senders", sender_cases, judge_sender_case, 20),
    Proof("scenarios", scenario_cases, judge_scenario, 4000),
    Proof("deaths among consumers", consumer_cases, judge_consumer, 300),
    Proof("crash schedules", crash_cases, judge_crash, 2000),
    Proof("fault runs", fault_cases, judge_fault, 5000),
    Proof("refusals after a death", refusal_cases, judge_refusal, 6000),
    Proof("rough worlds", rough_cases, judge_rough, ROUGH_RUNS),
    Proof("groups of hostile batches", hostile_cases, judge_hostile, HOSTILE_BATCHES // 20, hostile_gaps),
)


def _judged(judge: Callable[[Any], list[str] | Judged], case: Any) -> tuple[Any, Judged]:
    try:
        found = judge(case)
    except Exception as error:  # noqa: BLE001 - whatever is raised is a finding
        found = [f"raised {error!r}"]
    return case, found if isinstance(found, Judged) else Judged(found)


def main() -> int:
    from shared.settings import DetachApi
    from tests.access import LOGINS, chosen
    from tests.stack import API

    asked = sys.argv[1:]
    names = [proof.name for proof in PROOFS]
    wrong = list(WRONG)
    if chosen() not in LOGINS:
        wrong.append(f"ACCESS={chosen()} is not a login method. Use one of {', '.join(LOGINS)}.")
    if API not in set(DetachApi):
        wrong.append(f"PROOF_API={API} is not a detach API. Use one of {', '.join(DetachApi)} (make: API=…).")
    unknown = [one for one in asked if not any(name.startswith(one) for name in names)]
    wrong += [f"No proof begins with {one!r} (make: ONLY=…). The proofs are {', '.join(names)}." for one in unknown]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    first = (list(LOGINS).index(chosen()) + list(DetachApi).index(DetachApi(API))) % EVERY
    print(f"logging in by {chosen()}, detaching by {API}" + (f", every {EVERY}th case" if EVERY > 1 else ""))
    good = True
    began = time.monotonic()
    reached: Counts = Counter()
    rows: list[tuple[str, int, int]] = []
    with ProcessPoolExecutor() as pool:
        for proof in PROOFS:
            if asked and not any(proof.name.startswith(name) for name in asked):
                continue
            cases = list(proof.cases())[first::EVERY]
            found: list[tuple[Any, list[str]]] = []
            counts: Counts = Counter()
            chunk = 1 if len(cases) < 1000 else 10
            for done, (case, judged) in enumerate(pool.map(partial(_judged, proof.judge), cases, chunksize=chunk), 1):
                wrong = [*judged.wrong, *illegal(judged.counts)]
                found += [(case, wrong)] if wrong else []
                counts.update(judged.counts)
                if done % max(100, chunk * 50) == 0:
                    print(f"  {done:>6} of {len(cases)} {proof.name}", file=sys.stderr, flush=True)
            gaps = proof.gaps(counts)
            reached.update(counts)
            rows.append((proof.name, len(cases), len(found)))
            good &= len(cases) >= proof.at_least // EVERY and not found and not gaps
            print(f"{len(cases):>7,} {proof.name:<30} {len(found)} violations", flush=True)
            for case, wrong in found[:5]:
                print(f"        {case}: {wrong}", file=sys.stderr)
            for gap in gaps:
                print(f"        never reached: {gap}", file=sys.stderr)
    print(f"\n{'proof':<30} {'cases':>10} {'violations':>11}")
    for name, tried, violations in rows:
        print(f"{name:<30} {tried:>10,} {violations:>11,}")
    events = sum(count for (kind, _), count in reached.items() if kind == "detail")
    print(f"{'events checked':<30} {events:>10,}\n")
    missing = report(reached, print)
    report_model(reached, print)
    for name in missing:
        print(f"        not reached: {name}")
    # Some allowed steps are rare. Missing ones are printed, but do not fail the proof.
    good &= all(name.startswith("transition") for name in missing) or bool(asked) or EVERY > 1
    print(f"{time.monotonic() - began:>6.0f} s; seed {SEED}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
