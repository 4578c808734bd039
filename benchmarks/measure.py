"""All measurements, in order. A quick run has fewer rounds and leaves out the emulator."""

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
from benchmarks.harness import BARE, CONVENTIONAL, ENDPOINTS, FASTAPI, MODULES, PRODUCT, WEBHOOK, Pair, Setup
from benchmarks.report import AGES, BATCHES, BILLED, DETACHES, DISKS, FILLED, Figure, about
from local.function_url import payload
from tools.artifact import Recipe
from tools.sender import LOCAL_SECRET, post_of

K = TypeVar("K")

BOTH = (PRODUCT, CONVENTIONAL)
BATCH = 10
LATENCY = 0.05
READS = 3
"""Reads of a look: server, attachments and volume, one after the other. No batch can be faster."""

PACE = 50
"""Webhooks a second."""

WARM = 20
"""Number of webhooks that are sent before those that count."""

IMPORT = """
import importlib, time
began = time.perf_counter(), time.process_time()
importlib.import_module({module!r})
print(time.perf_counter() - began[0], time.process_time() - began[1])
"""

PACED = """
import importlib, json, sys, time, types
handle = importlib.import_module({module!r}).lambda_handler
fields = dict(function_name="bench", memory_limit_in_mb=256, invoked_function_arn="arn", aws_request_id="bench")
context, events, took = types.SimpleNamespace(**fields), json.load(sys.stdin), []
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
"""Each request is timed from when it was due, so that a backlog shows."""


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


def measured(setup: Setup, plan: Plan) -> Iterator[Figure]:
    built = harness.packages()
    if plan.cold_starts:
        yield from first_deletes(setup, plan, built)
    yield from imports(setup, plan, built)
    yield from sizes("zip", built, BOTH)
    for part in (overhead, waiting, throughput, ages, growth):
        yield from part(setup, plan)
    with harness.process(harness.QueueStub) as queue:
        yield from webhook({**setup.backend.environment(), **queue.environment()}, plan, built)


def in_turns(
    subjects: Sequence[K], rounds: int, measure: Callable[[K], tuple[float, ...]]
) -> dict[K, tuple[float, ...]]:
    """Medians of each handler, measured in turns, so that other load on the machine affects all of them."""
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


def first_deletes(setup: Setup, plan: Plan, built: Mapping[str, Recipe]) -> Iterator[Figure]:
    found = in_turns(BOTH, plan.rounds, lambda name: first_delete(setup, built[name], MODULES[name]))
    (ours, our_memory), (theirs, their_memory) = found.values()
    yield Figure("cold_start", ours, theirs)
    yield Figure("memory", our_memory, their_memory)


def first_delete(setup: Setup, recipe: Recipe, module: str) -> tuple[float, float]:
    """Milliseconds until a fresh environment's first DELETE arrives, and its peak memory in megabytes until a verdict.

    The cloud detaches at once, so the second invocation ends in a verdict, if the first one has not.
    """
    request = harness.event(setup.backend.renew(1, 1, 0), setup.clock())
    with harness.emulated(module, recipe, setup.backend.environment()) as (url, emulator):
        began = setup.clock()
        invoked(url, request)
        arrived = setup.backend.first_delete()
        invoked(url, request)
        if not setup.backend.waiting_for_verdict():
            raise RuntimeError(f"{module} emitted no verdict")
        return (arrived - began).total_seconds() * 1000, harness.peak(emulator)


def invoked(url: str, request: Any) -> float:
    """Seconds until the answer, which must be a success."""
    answer = requests.post(url, data=json.dumps(request), timeout=60)
    body = answer.json()
    if answer.status_code != 200 or body not in ({"batchItemFailures": []}, {**body, "statusCode": 202}):
        raise RuntimeError(f"the function answered {answer.text[:500]}")
    return answer.elapsed.total_seconds()


def imports(setup: Setup, plan: Plan, built: Mapping[str, Recipe]) -> Iterator[Figure]:
    """Milliseconds, wall and CPU, of an import in a fresh process with only the artifact."""

    def imported(name: str) -> tuple[float, ...]:
        return alone(IMPORT.format(module=MODULES[name]), built[name], setup.backend.environment())

    found = in_turns(BOTH, plan.rounds, imported)
    (ours, our_cpu), (theirs, their_cpu) = found.values()
    yield Figure("import", ours, theirs)
    yield Figure("import_cpu", our_cpu, their_cpu)


def alone(code: str, recipe: Recipe, variables: Mapping[str, str], given: str = "") -> tuple[float, ...]:
    """Run Python code with only the artifact; returns the seconds that it prints last, as milliseconds."""
    environment = harness.process_environment(variables, recipe.directory)
    with TemporaryDirectory() as empty:
        command = [*harness.python(), "-c", code]
        done = subprocess.run(
            command, cwd=empty, env=environment, input=given, capture_output=True, text=True, check=True
        )
    return tuple(float(seconds) * 1000 for seconds in done.stdout.splitlines()[-1].split())


# -------------------------------------------------------------------------------------------------- warm processes


def warmed_up(setup: Setup) -> list[Pair]:
    """Create servers and free disks, and warm up every handler."""
    pairs = setup.backend.renew(BATCH, 1, None)
    for _ in range(3):
        for name in setup.handlers:
            setup.invoke(name, pairs)
    return pairs


def cpu(setup: Setup, pairs: Sequence[Pair], repeated: int, name: str) -> tuple[float]:
    """CPU milliseconds per event with a cloud that answers at once; all handlers make the same calls."""
    before, events = setup.backend.calls(), len(pairs) * repeated
    spent = sum(setup.invoke(name, pairs).cpu for _ in range(repeated))
    if (calls := setup.backend.calls() - before) != READS * events:
        raise RuntimeError(f"{name} made {calls} calls for {events} events: this would compare different work")
    return (spent / events * 1000,)


def overhead(setup: Setup, plan: Plan) -> Iterator[Figure]:
    pairs = warmed_up(setup)

    def per_event(subject: tuple[str, int]) -> tuple[float]:
        name, size = subject
        return cpu(setup, pairs[:size], 20 // size, name)

    subjects = [(name, size) for size in (1, *FILLED) for name in (BARE, *BOTH)]
    found = {subject: value for subject, (value,) in in_turns(subjects, plan.rounds, per_event).items()}
    for size, _ in BATCHES:
        yield Figure(f"cpu_{size}", found[PRODUCT, size], found[BARE, size], BARE)
    yield Figure("cpu_conventional", found[PRODUCT, BATCH], found[CONVENTIONAL, BATCH])
    for size in FILLED:
        yield Figure(f"filled_{size}", found[PRODUCT, size], found[PRODUCT, 1], "1 in a batch")


def throughput(setup: Setup, plan: Plan) -> Iterator[Figure]:
    """Events per second if each call to the cloud takes 50 ms: a batch of ten on ten servers."""
    pairs = warmed_up(setup)
    setup.backend.set_latency(LATENCY)
    rounds = plan.rounds if plan.cold_starts else 1
    (ours,), (theirs,) = in_turns(BOTH, rounds, lambda name: (BATCH / setup.invoke(name, pairs).wall,)).values()
    setup.backend.set_latency(0)
    yield Figure("throughput", ours, theirs)
    # All ten at once, with only the latency of the consecutive calls.
    yield Figure("throughput_ideal", ours, BATCH / (READS * LATENCY), "ideal")


def growth(setup: Setup, plan: Plan) -> Iterator[Figure]:
    """One long-running process, measured after a few requests and after many; neither makes more calls."""
    pairs, done = warmed_up(setup), BATCH

    def sample() -> tuple[float, float]:
        (ours,), (bare,) = in_turns((PRODUCT, BARE), 3 * plan.rounds, partial(cpu, setup, pairs, 1)).values()
        return ours / bare, setup.handlers[PRODUCT].memory()

    setup.invoke(PRODUCT, pairs)
    first, first_memory = sample()
    for number in plan.requests:
        for _ in range(done, number, BATCH):
            setup.invoke(PRODUCT, pairs)
        done, (last, last_memory) = number, sample()
        yield Figure("growth", last, first, f"after {BATCH}", f"{number:,}")
        yield Figure("growth_memory", last_memory, first_memory, f"after {BATCH}", f"{number:,}")


def ages(setup: Setup, plan: Plan) -> Iterator[Figure]:
    """A request that waits for a busy server: the CPU of a look while its progress grows."""
    spent: dict[int, list[float]] = {age: [] for age in (1, *AGES)}
    for _ in range(plan.detaches):
        [pair] = setup.backend.renew(1, 1, 0, "rebooting")
        setup.backend.send(harness.body(pair, request_ttl=86_400))
        looks = setup.drain(PRODUCT, polls=max(AGES) + 3)
        for age, found in spent.items():
            found += [look.cpu * 1000 for look in looks[age : age + 3]]
    young, *older = (median(found) for found in spent.values())
    for age, old in zip(AGES, older, strict=True):
        yield Figure(f"age_{age}", old, young, "after 1")


# ------------------------------------------------------------------------------------------------ costs of waiting


def detach(setup: Setup, disks: int, seconds: float, name: str) -> tuple[float, float, float]:
    """Calls, billed milliseconds, and seconds to the verdict, until the queue is empty and every disk has its verdict.

    One server with that many disks, one message for each disk.
    """
    for pair in setup.backend.renew(1, disks, seconds):
        setup.backend.send(harness.body(pair))
    spent = setup.drain(name)
    late = setup.backend.waiting_for_verdict()
    if len(late) != disks:
        raise RuntimeError(f"{name}: {len(late)} verdicts on {disks} disks")
    return setup.backend.calls(), sum(one.billed for one in spent) * 1000, median(late)


def waiting(setup: Setup, plan: Plan) -> Iterator[Figure]:
    for name in BOTH:  # A process logs in once, not for each detach.
        detach(setup, 1, 1, name)
    for disks in DISKS:
        (ours, *_), (theirs, *_) = in_turns(BOTH, min(plan.detaches, 3), partial(detach, setup, disks, 30)).values()
        yield Figure(f"calls_{disks}", ours, theirs)
    setup.backend.set_latency(LATENCY)
    for seconds in DETACHES:
        found = {name: [detach(setup, 1, one, name) for one in about(seconds, plan.detaches)] for name in BOTH}
        (calls, billed, late), (their_calls, their_billed, their_late) = map(medians, found.values())
        yield Figure(f"late_{seconds}", late, their_late)
        yield Figure(f"late_calls_{seconds}", calls, their_calls)
        if seconds in BILLED:
            yield Figure(f"billed_{seconds}", billed, their_billed)
    setup.backend.set_latency(0)


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
    """Distinct requests in Lambda's format, signed now."""
    pairs = [(str(uuid.uuid4()), str(uuid.uuid4())) for _ in range(number)]
    posts = [post_of(harness.body(pair)).signed(LOCAL_SECRET, datetime.now(UTC)) for pair in pairs]
    return [payload("POST", "/", post.headers.items(), post.body) for post in posts]
