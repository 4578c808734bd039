"""All measurements, in order; a quick run takes fewer rounds and leaves out the emulator."""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import requests

from benchmarks import harness
from benchmarks.harness import BARE, CONVENTIONAL, ENDPOINTS, FASTAPI, MODULES, PRODUCT, WEBHOOK, Arena, Pair
from benchmarks.report import AGES, BATCHES, BILLED, DETACHES, DISKS, FILLED, Figure, about
from local.function_url import payload
from tools.artifact import Recipe
from tools.sender import LOCAL_SECRET, post_of

K = TypeVar("K")

BOTH = (PRODUCT, CONVENTIONAL)
BATCH = 10
LATENCY = 0.05
READS = 3
"""Server, attachments, volume: one after the other, as a look needs them; a batch cannot be faster than that."""

PACE = 50
"""Webhooks a second."""

WARM = 20
"""So many webhooks are sent before the ones that count."""

IMPORT = """
import importlib, time
began = time.perf_counter(), time.process_time()
importlib.import_module({module!r})
print(time.perf_counter() - began[0], time.process_time() - began[1])
"""

PACED = """
import importlib, json, sys, time, types
handle = importlib.import_module({module!r}).lambda_handler
told = dict(function_name="bench", memory_limit_in_mb=256, invoked_function_arn="arn", aws_request_id="bench")
context, events, took = types.SimpleNamespace(**told), json.load(sys.stdin), []
began = time.perf_counter()
for at, event in enumerate(events):
    due = began + at / {pace}
    time.sleep(max(0, due - time.perf_counter()))
    answer = handle(event, context)
    took.append(time.perf_counter() - due)
    if answer["statusCode"] != 202:
        sys.exit(answer["body"])
took = sorted(took[{warm}:])
print()
print(took[len(took) // 2], took[len(took) * 99 // 100])
"""
"""Each is timed from the moment at which it was due, so that whoever falls behind shows it."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    detaches: int
    requests: tuple[int, ...]
    webhooks: int
    cold_starts: bool


FULL = Plan(9, 9, (1_000, 10_000), 1_000, cold_starts=True)
QUICK = Plan(3, 3, (100,), 80, cold_starts=False)


def measured(arena: Arena, plan: Plan) -> Iterator[Figure]:
    built = harness.packages()
    if plan.cold_starts:
        yield from first_deletes(arena, plan, built)
    yield from imports(arena, plan, built)
    yield from sizes("zip", built, BOTH)
    for part in (overhead, waiting, throughput, ages, growth):
        yield from part(arena, plan)
    with harness.process(harness.QueueStub) as queue:
        yield from webhook({**arena.stage.environment(), **queue.environment()}, plan, built)


def in_turns(
    subjects: Sequence[K], rounds: int, measure: Callable[[K], tuple[float, ...]]
) -> dict[K, tuple[float, ...]]:
    """Medians of each, measured in turns, so that a busy moment of the machine meets all of them."""
    found: dict[K, list[tuple[float, ...]]] = {one: [] for one in subjects}
    for turn in range(rounds):
        first = turn % len(subjects)
        for one in (*subjects[first:], *subjects[:first]):
            found[one].append(measure(one))
    return {one: medians(rows) for one, rows in found.items()}


def medians(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(median(values) for values in zip(*rows, strict=True))


def sizes(key: str, built: Mapping[str, Recipe], names: tuple[str, str]) -> Iterator[Figure]:
    ours, theirs = (built[name].archive.stat().st_size / 1e6 for name in names)
    yield Figure(key, ours, theirs, names[1])


# ----------------------------------------------------------------------------------------------------- cold starts


def first_deletes(arena: Arena, plan: Plan, built: Mapping[str, Recipe]) -> Iterator[Figure]:
    found = in_turns(BOTH, plan.rounds, lambda name: first_delete(arena, built[name], MODULES[name]))
    (ours, our_memory), (theirs, their_memory) = found.values()
    yield Figure("cold_start", ours, theirs)
    yield Figure("memory", our_memory, their_memory)


def first_delete(arena: Arena, recipe: Recipe, module: str) -> tuple[float, float]:
    """Milliseconds until a fresh environment's DELETE is at the cloud, and its megabytes at the most up to a verdict.

    The cloud detaches at once, so the second invocation ends in a verdict, if the first one has not.
    """
    asked = harness.event(arena.stage.renew(1, 1, 0), arena.clock())
    with harness.emulated(module, recipe, arena.stage.environment()) as (url, emulator):
        began = arena.clock()
        invoked(url, asked)
        arrived = arena.stage.first_delete()
        invoked(url, asked)
        if not arena.stage.waiting_for_verdict():
            raise RuntimeError(f"{module} has come to no verdict")
        return (arrived - began).total_seconds() * 1000, harness.peak(emulator)


def invoked(url: str, asked: Any) -> float:
    """Seconds to the answer, which must be a good one."""
    answer = requests.post(url, data=json.dumps(asked), timeout=60)
    said = answer.json()
    if answer.status_code != 200 or said not in ({"batchItemFailures": []}, {**said, "statusCode": 202}):
        raise RuntimeError(f"the function answered {answer.text[:500]}")
    return answer.elapsed.total_seconds()


def imports(arena: Arena, plan: Plan, built: Mapping[str, Recipe]) -> Iterator[Figure]:
    """Milliseconds, wall and CPU, of an import in a fresh process that sees the artifact and nothing else."""

    def imported(name: str) -> tuple[float, ...]:
        return alone(IMPORT.format(module=MODULES[name]), built[name], arena.stage.environment())

    found = in_turns(BOTH, plan.rounds, imported)
    (ours, our_cpu), (theirs, their_cpu) = found.values()
    yield Figure("import", ours, theirs)
    yield Figure("import_cpu", our_cpu, their_cpu)


def alone(code: str, recipe: Recipe, variables: Mapping[str, str], given: str = "") -> tuple[float, ...]:
    """Milliseconds: what Python code that has the artifact and nothing else prints last, in seconds."""
    seen = harness.surroundings(variables, recipe.directory)
    with TemporaryDirectory() as empty:
        command = [*harness.python(), "-c", code]
        done = subprocess.run(command, cwd=empty, env=seen, input=given, capture_output=True, text=True, check=True)
    return tuple(float(seconds) * 1000 for seconds in done.stdout.splitlines()[-1].split())


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

    def per_event(subject: tuple[str, int]) -> tuple[float]:
        name, size = subject
        return cpu(arena, pairs[:size], 20 // size, name)

    subjects = [(name, size) for size in (1, *FILLED) for name in (BARE, *BOTH)]
    found = {subject: value for subject, (value,) in in_turns(subjects, plan.rounds, per_event).items()}
    for size, _ in BATCHES:
        yield Figure(f"cpu_{size}", found[PRODUCT, size], found[BARE, size], BARE)
    yield Figure("cpu_conventional", found[PRODUCT, BATCH], found[CONVENTIONAL, BATCH])
    for size in FILLED:
        yield Figure(f"filled_{size}", found[PRODUCT, size], found[PRODUCT, 1], "1 in a batch")


def throughput(arena: Arena, plan: Plan) -> Iterator[Figure]:
    """Events per second where each call to the cloud takes 50 ms: a batch of ten, each on a server of its own."""
    pairs = warmed_up(arena)
    arena.stage.set_latency(LATENCY)
    rounds = plan.rounds if plan.cold_starts else 1
    (ours,), (theirs,) = in_turns(BOTH, rounds, lambda name: (BATCH / arena.invoke(name, pairs).wall,)).values()
    arena.stage.set_latency(0)
    yield Figure("throughput", ours, theirs)
    # All ten at once, and nothing but the latency of calls of which each needs the one before.
    yield Figure("throughput_ideal", ours, BATCH / (READS * LATENCY), "ideal")


def growth(arena: Arena, plan: Plan) -> Iterator[Figure]:
    """One process that goes on and on, looked at after a few requests and after many; neither makes more calls."""
    pairs, done = warmed_up(arena), BATCH

    def look() -> tuple[float, float]:
        (ours,), (bare,) = in_turns((PRODUCT, BARE), 3 * plan.rounds, partial(cpu, arena, pairs, 1)).values()
        return ours / bare, arena.handlers[PRODUCT].memory()

    arena.invoke(PRODUCT, pairs)
    first, first_memory = look()
    for number in plan.requests:
        for _ in range(done, number, BATCH):
            arena.invoke(PRODUCT, pairs)
        done, (last, last_memory) = number, look()
        yield Figure("growth", last, first, f"after {BATCH}", f"{number:,}")
        yield Figure("growth_memory", last_memory, first_memory, f"after {BATCH}", f"{number:,}")


def ages(arena: Arena, plan: Plan) -> Iterator[Figure]:
    """A request that waits for a busy server, look after look: what it has learnt travels with it."""
    spent: dict[int, list[float]] = {age: [] for age in (1, *AGES)}
    for _ in range(plan.detaches):
        [pair] = arena.stage.renew(1, 1, 0, "rebooting")
        arena.stage.send(harness.body(pair, request_ttl=86_400))
        looks = arena.drain(PRODUCT, polls=max(AGES) + 3)
        for age, found in spent.items():
            found += [look.cpu * 1000 for look in looks[age : age + 3]]
    young, *older = (median(found) for found in spent.values())
    for age, old in zip(AGES, older, strict=True):
        yield Figure(f"age_{age}", old, young, "after 1")


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
    for disks in DISKS:
        (ours, *_), (theirs, *_) = in_turns(BOTH, min(plan.detaches, 3), partial(detach, arena, disks, 30)).values()
        yield Figure(f"calls_{disks}", ours, theirs)
    arena.stage.set_latency(LATENCY)
    for seconds in DETACHES:
        found = {name: [detach(arena, 1, one, name) for one in about(seconds, plan.detaches)] for name in BOTH}
        (calls, billed, late), (their_calls, their_billed, their_late) = map(medians, found.values())
        yield Figure(f"late_{seconds}", late, their_late)
        yield Figure(f"late_calls_{seconds}", calls, their_calls)
        if seconds in BILLED:
            yield Figure(f"billed_{seconds}", billed, their_billed)
    arena.stage.set_latency(0)


# -------------------------------------------------------------------------------------------- the webhook endpoint


def webhook(variables: Mapping[str, str], plan: Plan, built: Mapping[str, Recipe]) -> Iterator[Figure]:
    """Signature, validation, one message on the queue, 202."""

    def cold(name: str) -> tuple[float]:
        with harness.emulated(ENDPOINTS[name], built[name], variables) as (url, _):
            return (invoked(url, *webhooks(1)) * 1000,)

    def warm(name: str) -> tuple[float, ...]:
        code = PACED.format(module=ENDPOINTS[name], pace=PACE, warm=WARM)
        return alone(code, built[name], variables, json.dumps(webhooks(WARM + plan.webhooks)))

    if plan.cold_starts:
        (ours,), (theirs,) = in_turns(tuple(ENDPOINTS), plan.rounds, cold).values()
        yield Figure("webhook_cold", ours, theirs, FASTAPI)
    (our_half, our_most), (half, most) = in_turns(tuple(ENDPOINTS), 3 if plan.cold_starts else 1, warm).values()
    yield Figure("webhook_p50", our_half, half, FASTAPI)
    yield Figure("webhook_p99", our_most, most, FASTAPI)
    yield from sizes("webhook_zip", built, (WEBHOOK, FASTAPI))


def webhooks(number: int) -> list[dict[str, Any]]:
    """Requests as Lambda hands them over, signed now, no two alike."""
    pairs = [(str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(number)]
    posts = [post_of(harness.body(pair)).signed(LOCAL_SECRET, datetime.now(UTC)) for pair in pairs]
    return [payload("POST", "/", post.headers.items(), post.body) for post in posts]
