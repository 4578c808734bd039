"""All measurements, in order; a quick run takes fewer rounds and leaves out the emulator."""

import json
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import requests

from benchmarks import harness
from benchmarks.harness import BARE, CONVENTIONAL, MODULES, PRODUCT, Arena, Pair
from benchmarks.report import Figure
from tools.artifact import Recipe

BOTH = (PRODUCT, CONVENTIONAL)
ONE_BY_ONE = "this, one by one"
BATCH = 10
LATENCY = 0.05
READS = 3
"""Server, attachments, volume: one after the other, as a look needs them; a batch cannot be faster than that."""

IMPORT = """
import importlib, time
began = time.perf_counter(), time.process_time()
importlib.import_module({module!r})
print(time.perf_counter() - began[0], time.process_time() - began[1])
"""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    detaches: int
    disks: tuple[int, ...]
    seconds: tuple[int, ...]
    verdicts: int
    requests: int
    cold_starts: bool


FULL = Plan(9, 7, (1, 5, 20, 40), (5, 30, 120), 40, 10_000, cold_starts=True)
QUICK = Plan(3, 1, (1, 20), (5, 30), 4, 100, cold_starts=False)


def measured(arena: Arena, plan: Plan) -> Iterator[Figure]:
    built = harness.packages()
    if plan.cold_starts:
        yield from first_answers(arena, plan, built)
    yield from imports(arena, plan, built)
    ours, theirs = (built[name].archive.stat().st_size / 1e6 for name in BOTH)
    yield Figure("zip", "artifact, zipped", "MB", ours, theirs)
    for part in (overhead, throughput, waiting, growth):
        yield from part(arena, plan)


def in_turns(names: Sequence[str], rounds: int, measure: Callable[[str], tuple[float, ...]]) -> dict[str, list[float]]:
    """Each measured in turns, so that a busy moment of the machine meets all of them."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            found[name].append(measure(name))
    return {name: [median(values) for values in zip(*rows, strict=True)] for name, rows in found.items()}


# ----------------------------------------------------------------------------------------------------- cold starts


def first_answers(arena: Arena, plan: Plan, built: Mapping[str, Recipe]) -> Iterator[Figure]:
    """A disk that is attached nowhere: both log in, look, and put a verdict on the bus at once."""
    asked = harness.event(arena.stage.renew(1, 1, None))
    found = in_turns(BOTH, plan.rounds, lambda name: first_answer(name, built[name], arena.stage.environment(), asked))
    (ours, our_memory), (theirs, their_memory) = found.values()
    yield Figure("cold_start", "cold start to first verdict", "ms", ours, theirs, aim="≤ 0.4×")
    yield Figure("memory", "peak memory after it", "MB", our_memory, their_memory, aim="≤ 0.6×")


def first_answer(name: str, recipe: Recipe, variables: Mapping[str, str], asked: Any) -> tuple[float, float]:
    """Milliseconds of the first invocation of a fresh environment, and megabytes at the most after a second one."""
    with TemporaryDirectory() as empty:
        lambda_handler = f"{MODULES[name]}.lambda_handler"
        with harness.started(lambda_handler, recipe.directory, variables, Path(empty)) as (url, emulator):
            took = invoked(url, asked)
            invoked(url, asked)
            children = " ".join(path.read_text() for path in Path(f"/proc/{emulator.pid}/task").glob("*/children"))
            return took * 1000, max(harness.megabytes(child, "VmHWM") for child in children.split())


def invoked(url: str, asked: Any) -> float:
    answer = requests.post(url, data=json.dumps(asked), timeout=60)
    if answer.status_code != 200 or answer.json() != {"batchItemFailures": []}:
        raise RuntimeError(f"the function answered {answer.text[:500]}")
    return answer.elapsed.total_seconds()


def imports(arena: Arena, plan: Plan, built: Mapping[str, Recipe]) -> Iterator[Figure]:
    found = in_turns(BOTH, plan.rounds, lambda name: imported(name, built[name], arena.stage.environment()))
    (ours, our_cpu), (theirs, their_cpu) = found.values()
    yield Figure("import", "import of the handler", "ms", ours, theirs, aim="≤ 0.4×")
    yield Figure("import_cpu", "import of the handler, CPU", "ms", our_cpu, their_cpu, aim="≤ 0.4×")


def imported(name: str, recipe: Recipe, variables: Mapping[str, str]) -> tuple[float, ...]:
    """Milliseconds, wall and CPU, of an import in a fresh process that sees the artifact and nothing else."""
    command = [*harness.python(), "-c", IMPORT.format(module=MODULES[name])]
    seen = harness.surroundings(variables, recipe.directory)
    with TemporaryDirectory() as empty:
        done = subprocess.run(command, cwd=empty, env=seen, capture_output=True, text=True, check=True)
    return tuple(float(seconds) * 1000 for seconds in done.stdout.split())


# -------------------------------------------------------------------------------------------- a process that is up


def warmed_up(arena: Arena) -> list[Pair]:
    """Servers and free disks, and every handler logged in and past its first invocations."""
    pairs = arena.stage.renew(BATCH, 1, None)
    for _ in range(3):
        for name in arena.handlers:
            arena.invoke(name, pairs)
    return pairs


def cpu(arena: Arena, pairs: Sequence[Pair], repeated: int, name: str) -> tuple[float]:
    """CPU milliseconds per event where the cloud answers at once; each event takes the same calls of everybody."""
    before, events = arena.stage.calls(), len(pairs) * repeated
    spent = sum(arena.invoke(name, pairs).cpu for _ in range(repeated))
    if (calls := arena.stage.calls() - before) != READS * events:
        raise RuntimeError(f"{name} made {calls} calls for {events} events: this would compare different work")
    return (spent / events * 1000,)


def overhead(arena: Arena, plan: Plan) -> Iterator[Figure]:
    pairs = warmed_up(arena)
    for batch in (BATCH, 1):
        found = in_turns((BARE, *BOTH), plan.rounds, partial(cpu, arena, pairs[:batch], 20 // batch))
        (bare,), (ours,), (theirs,) = found.values()
        title = f"CPU per event, batch of {batch}"
        yield Figure(f"cpu_{batch}", title, "ms", ours, bare, BARE, "≤ 1.5×")
        yield Figure(f"cpu_{batch}_conventional", title, "ms", ours, theirs)


def throughput(arena: Arena, plan: Plan) -> Iterator[Figure]:
    """Events per second where each call to the cloud takes 50 ms: a batch of ten, each on a server of its own."""
    pairs = warmed_up(arena)

    def rate(name: str) -> tuple[float]:
        if name == ONE_BY_ONE:
            return (BATCH / sum(arena.invoke(PRODUCT, [pair]).wall for pair in pairs),)
        return (BATCH / arena.invoke(name, pairs).wall,)

    arena.stage.set_latency(LATENCY)
    found = in_turns((*BOTH, ONE_BY_ONE), plan.rounds if plan.cold_starts else 1, rate)
    arena.stage.set_latency(0)
    (ours,), (theirs,), (one_by_one,) = found.values()
    title = "events per second, API at 50 ms"
    yield Figure("throughput", title, "/s", ours, theirs, aim="≥ 5×")
    yield Figure("throughput_serial", title, "/s", ours, one_by_one, ONE_BY_ONE, "≥ 5×")
    # All ten at once, and nothing but the latency of calls of which each needs the one before.
    yield Figure("throughput_ideal", title, "/s", ours, BATCH / (READS * LATENCY), "ideal", "≥ 0.7×")


def growth(arena: Arena, plan: Plan) -> Iterator[Figure]:
    """One process that goes on and on, looked at after a few requests and after many; neither makes more calls."""
    pairs = warmed_up(arena)

    def look() -> tuple[float, float]:
        (ours,), (bare,) = in_turns((PRODUCT, BARE), 3 * plan.rounds, partial(cpu, arena, pairs, 1)).values()
        return ours / bare, arena.handlers[PRODUCT].memory()

    arena.invoke(PRODUCT, pairs)
    first, first_memory = look()
    for _ in range(plan.requests // BATCH):
        arena.invoke(PRODUCT, pairs)
    last, last_memory = look()
    after = f"after {BATCH}"
    yield Figure("growth", f"CPU per request after {plan.requests:,}", "× bare calls", last, first, after, "≤ 1.2×")
    yield Figure("growth_memory", f"memory after {plan.requests:,}", "MB", last_memory, first_memory, after, "≤ 1.2×")


# ---------------------------------------------------------------------------------------------- what waiting costs


def detach(arena: Arena, disks: int, seconds: float, name: str) -> tuple[float, float, float]:
    """Calls, milliseconds billed, and seconds to the verdict, until the queue is empty and all have their verdict.

    One server, so many disks of it, one message each.
    """
    for pair in arena.stage.renew(1, disks, seconds):
        arena.stage.send(harness.body(pair))
    spent = arena.drain(name)
    late = arena.stage.waiting_for_verdict()
    if len(late) != disks:
        raise RuntimeError(f"{name}: {len(late)} verdicts on {disks} disks")
    return arena.stage.calls(), sum(one.billed for one in spent) * 1000, median(late)


def waiting(arena: Arena, plan: Plan) -> Iterator[Figure]:
    for name in BOTH:  # Logging in is once for a process, and not once for a detach.
        detach(arena, 1, 1, name)
    for disks in plan.disks:
        found = in_turns(BOTH, plan.detaches, partial(detach, arena, disks, 30))
        (ours, *_), (theirs, *_) = found.values()
        title = f"API calls, {disks} disk{'s' if disks > 1 else ''} of a server"
        yield Figure(f"calls_{disks}", title, "calls", ours, theirs, aim="≤ 0.5×" if disks == 20 else None)
    arena.stage.set_latency(LATENCY)
    for seconds in plan.seconds:
        found = in_turns(BOTH, plan.detaches, partial(detach, arena, 1, seconds))
        (_, ours, _), (_, theirs, _) = found.values()
        title, aim = f"billed, a detach of {seconds} s", "≤ 0.03×" if seconds == 30 else None
        yield Figure(f"billed_{seconds}", title, "ms", ours, theirs, aim=aim)
    arena.stage.set_latency(0)
    # From 1 to 60 seconds, spread as durations are: many short ones; the same in every run.
    chance = random.Random(7)
    durations = [60 ** chance.random() for _ in range(plan.verdicts)]
    ours, theirs = (median(detach(arena, 1, one, name)[2] for one in durations) for name in BOTH)
    yield Figure("verdict", "cloud finished → verdict", "s", ours, theirs)
