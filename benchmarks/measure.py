"""All measurements, in order; a quick run takes fewer rounds and leaves out the emulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchmarks import cold, waiting, warm
from benchmarks.arena import Arena, body, interleaved, record
from benchmarks.contenders import CONVENTIONAL, FLOOR, PRODUCT, SERIAL
from benchmarks.figures import Figure
from benchmarks.packages import LIBRARIES, Package, packages, runtime, shipped_without_aws
from benchmarks.profile import profile

BOTH = (PRODUCT, CONVENTIONAL)
UNCOMPILED = "without bytecode"
FLAT = 1.2
"""What a request may cost after thousands of others, against what it cost after a few."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    detaches: int
    disks: tuple[int, ...]
    seconds: tuple[float, ...]
    verdicts: int
    sizes: tuple[int, ...]
    growth_seconds: float
    cold_starts: bool


FULL = Plan(9, 7, (1, 5, 20, 40), (5, 30, 120), 40, (10, 100, 1000, 10_000), 150, cold_starts=True)
QUICK = Plan(3, 1, (1, 20), (5, 30), 4, (10, 100), 10, cold_starts=False)


@dataclass
class Measurements:
    """Runs a plan on an arena; `more` is what is told beside the figures."""

    arena: Arena
    plan: Plan
    more: dict[str, Any]

    def all(self) -> Iterator[Figure]:
        built = packages(bytecode=True)
        bare = packages(bytecode=False) if self.plan.cold_starts else {}
        if bare:
            yield from self.first_answers({**built, **{f"{name} {UNCOMPILED}": bare[name] for name in BOTH}})
        yield from self.imports({**built, **{f"{name} {UNCOMPILED}": bare[name] for name in bare}})
        yield from self.sizes(built)
        yield from self.overhead()
        yield from self.throughput()
        yield from self.calls()
        yield from self.billed()
        yield from self.lateness()
        yield from self.growth()

    def first_answers(self, built: dict[str, Package]) -> Iterator[Figure]:
        """A disk that is attached nowhere: both log in, look, and put a verdict on the bus at once."""
        self.arena.stage.ask("clear")
        [(server, [volume])] = self.arena.stage.ask("add", 1, 1, None)
        events = [{"Records": [record(body(server, volume))]} for _ in range(2)]
        client, memory = runtime(), dict[str, list[float]]()

        def first(name: str) -> float:
            answer = cold.first_answer(built[name], self.arena.environment, client, events)
            memory.setdefault(name, []).append(answer.memory)
            return answer.first * 1000

        found = interleaved(tuple(built), self.plan.rounds, first)
        yield self._cold("cold_start", "cold start to first verdict", "ms", found, 0.40)
        yield from self._uncompiled("cold_start", "the same, sources only", "ms", found)
        held = {name: median(values) for name, values in memory.items()}
        yield self._cold("memory", "peak memory after it", "MB", held, 0.60)

    def imports(self, built: dict[str, Package]) -> Iterator[Figure]:
        cpu: dict[str, list[float]] = {}
        built = {**built, LIBRARIES: replace(built[PRODUCT], name=LIBRARIES)}

        def wall(name: str) -> float:
            found = cold.imported(built[name], self.arena.environment)
            cpu.setdefault(name, []).append(found.cpu * 1000)
            return found.wall * 1000

        walls = interleaved(tuple(built), self.plan.rounds, wall)
        yield self._cold("import", "import of the handler", "ms", walls, 0.40)
        title, libraries = "import of its libraries alone", walls[LIBRARIES]
        yield Figure("import_libraries", title, "ms", libraries, walls[CONVENTIONAL])
        self.more["import_profile"] = {name: profile(built[name], self.arena.environment, 5) for name in BOTH}
        used = {name: median(values) for name, values in cpu.items()}
        yield self._cold("import_cpu", "import of the handler, CPU", "ms", used, 0.40)
        yield from self._uncompiled("import", "the same, sources only", "ms", walls)

    def sizes(self, built: dict[str, Package]) -> Iterator[Figure]:
        ours, theirs = built[PRODUCT], built[CONVENTIONAL]
        yield Figure("zip", "artifact, zipped", "MB", ours.zipped, theirs.zipped)
        lean = shipped_without_aws(theirs)
        yield Figure("zip_lean", "artifact, zipped", "MB", ours.zipped, lean, "conventional with Lambda's own boto3")

    def overhead(self) -> Iterator[Figure]:
        for batch in (warm.BATCH, 1):
            found = warm.overhead(self.arena, self.plan.rounds, batch)
            title = f"CPU per event, batch of {batch}"
            yield Figure(f"cpu_{batch}", title, "ms", found[PRODUCT], found[FLOOR], "bare calls", 1.5)
            yield Figure(f"cpu_{batch}_conventional", title, "ms", found[PRODUCT], found[CONVENTIONAL])
        self.more["cpu_profile"] = warm.profile(self.arena, 50 * self.plan.rounds)

    def throughput(self) -> Iterator[Figure]:
        rounds = self.plan.rounds if self.plan.cold_starts else 1
        found, ideal = warm.throughput(self.arena, rounds), warm.ideal_throughput()
        title, ours = "events per second, API at 50 ms", found[PRODUCT]
        yield Figure("throughput", title, "/s", ours, found[CONVENTIONAL], limit=5, at_least=True)
        yield Figure("throughput_serial", title, "/s", ours, found[SERIAL], "this, one by one", 5, at_least=True)
        yield Figure("throughput_ideal", title, "/s", ours, ideal, "ideal", 0.7, at_least=True)

    def calls(self) -> Iterator[Figure]:
        for disks in self.plan.disks:
            found = waiting.calls_for(self.arena, disks, 30, self.plan.detaches)
            title = f"API calls, {disks} disk{'s' if disks > 1 else ''} of a server"
            limit = 0.5 if disks == 20 else None
            yield Figure(f"calls_{disks}", title, "calls", found[PRODUCT], found[CONVENTIONAL], limit=limit)

    def billed(self) -> Iterator[Figure]:
        for seconds in self.plan.seconds:
            found = waiting.billed_for(self.arena, seconds, self.plan.detaches)
            title, limit = f"billed, a detach of {seconds:g} s", 0.03 if seconds == 30 else None
            yield Figure(f"billed_{seconds:g}", title, "ms", found[PRODUCT], found[CONVENTIONAL], limit=limit)

    def lateness(self) -> Iterator[Figure]:
        late = waiting.lateness(self.arena, waiting.durations(self.plan.verdicts))
        self.more["seconds_to_verdict"] = {name: sorted(round(one, 2) for one in late[name]) for name in BOTH}
        ours, theirs = (median(late[name]) for name in BOTH)
        yield Figure("verdict", "cloud finished → verdict", "s", ours, theirs)

    def growth(self) -> Iterator[Figure]:
        grown = {
            name: warm.growth(self.arena, name, self.plan.sizes, 3 * self.plan.rounds, self.plan.growth_seconds)
            for name in BOTH
        }
        self.more["growth"] = {name: [vars(one) for one in rows] for name, rows in grown.items()}
        for name, rows in grown.items():
            first, last = rows[0], rows[-1]
            title, unit = f"CPU per request after {last.requests:,}", "× bare calls"
            if name == PRODUCT:
                yield Figure("growth", title, unit, last.relative, first.relative, f"after {first.requests}", FLAT)
                yield Figure("growth_cpu", title, "ms", last.cpu, first.cpu, f"after {first.requests}")
                title = f"memory after {last.requests:,}"
                yield Figure("growth_memory", title, "MB", last.memory, first.memory, f"after {first.requests}", FLAT)
            else:
                title += ", conventional"
                yield Figure(
                    "growth_conventional", title, unit, last.relative, first.relative, f"after {first.requests}"
                )

    def _cold(self, key: str, title: str, unit: str, found: dict[str, float], limit: float) -> Figure:
        return Figure(key, title, unit, found[PRODUCT], found[CONVENTIONAL], limit=limit)

    def _uncompiled(self, key: str, title: str, unit: str, found: dict[str, float]) -> Iterator[Figure]:
        ours = found.get(f"{PRODUCT} {UNCOMPILED}")
        if ours is not None:
            yield Figure(f"{key}_sources", title, unit, ours, found[f"{CONVENTIONAL} {UNCOMPILED}"])
            yield Figure(f"{key}_bytecode", title, unit, ours, found[PRODUCT], "compiled")
