"""What a process that is up does with an event: its overhead, its throughput, and whether either grows."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.arena import Arena, Pair, body, interleaved, record
from benchmarks.contenders import CONVENTIONAL, FLOOR, PRODUCT, SERIAL

BATCH = 10
LATENCY = 0.05
STEP_READS = 3
"""Server, attachments, volume: one after the other, as a step needs them; a batch cannot be faster than that."""


def warmed_up(arena: Arena, servers: int = BATCH) -> list[Pair]:
    """Servers and free disks, and every contender logged in and past its first invocations."""
    arena.stage.ask("clear")
    pairs = [(server, disks[0]) for server, disks in arena.stage.ask("add", servers, 1, None)]
    for _ in range(3):
        for name in arena.contenders:
            arena.invoke(name, pairs)
    return pairs


def overhead(arena: Arena, rounds: int, batch: int) -> dict[str, float]:
    """CPU milliseconds per event where the cloud answers at once; each event takes the same four calls of everybody."""
    pairs = warmed_up(arena)[:batch]
    repeated = max(1, 20 // batch)

    def measure(name: str) -> float:
        arena.stage.ask("clear_records")
        spent = sum(arena.invoke(name, pairs).cpu for _ in range(repeated))
        calls = len(arena.stage.ask("calls"))
        if calls != STEP_READS * batch * repeated:
            raise RuntimeError(f"{name} made {calls} calls: this would compare different work")
        return spent / repeated / batch * 1000

    return interleaved((FLOOR, PRODUCT, CONVENTIONAL), rounds, measure)


def profile(arena: Arena, rounds: int) -> dict[str, float]:
    """Per cent of the CPU time of an event by itself that each package of the product takes."""
    pairs = warmed_up(arena)[:1]
    event = {"Records": [record(body(*pair)) for pair in pairs]}
    found: dict[str, float] = arena.contenders[PRODUCT].ask("profiled", event, rounds)
    return found


def throughput(arena: Arena, rounds: int) -> dict[str, float]:
    """Events per second where each call to the cloud takes 50 ms: a batch of ten, each on a server of its own."""
    pairs = warmed_up(arena)
    arena.stage.ask("set_latency", LATENCY)
    try:
        return interleaved((PRODUCT, CONVENTIONAL, SERIAL), rounds, lambda name: BATCH / arena.invoke(name, pairs).wall)
    finally:
        arena.stage.ask("set_latency", 0.0)


def ideal_throughput() -> float:
    """All ten at once, and nothing but the latency of calls of which each needs the one before."""
    return BATCH / (STEP_READS * LATENCY)


@dataclass(frozen=True)
class Grown:
    """What a request costs after so many others in one process; `yardstick` is what the bare calls cost just then."""

    requests: int
    cpu: float
    yardstick: float
    calls: float
    memory: float

    @property
    def relative(self) -> float:
        return self.cpu / self.yardstick


def growth(arena: Arena, name: str, sizes: tuple[int, ...], rounds: int, seconds: float) -> list[Grown]:
    """One process that goes on and on, looked at when it has done so many; sizes that take too long are left out."""
    pairs = warmed_up(arena)
    found: list[Grown] = []
    began, done = time.monotonic(), 0
    for size in sizes:
        while done < size:
            arena.invoke(name, pairs)
            done += BATCH
            if time.monotonic() - began > seconds:
                return found
        arena.stage.ask("clear_records")
        costs = interleaved((name, FLOOR), rounds, lambda one: arena.invoke(one, pairs).cpu / BATCH * 1000)
        calls = len(arena.stage.ask("calls")) / (2 * rounds * BATCH)
        found.append(Grown(size, costs[name], costs[FLOOR], calls, arena.contenders[name].ask("memory")))
        arena.stage.ask("clear_records")
    return found
