"""What waiting costs: calls, billed time, how late the verdict comes; on a clock that skips what nobody works in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.arena import Arena, body
from benchmarks.contenders import CONVENTIONAL, PRODUCT

LATENCY = 0.05
CONTENDERS = (PRODUCT, CONVENTIONAL)


@dataclass(frozen=True)
class Detached:
    """What detaching some disks took until their verdicts."""

    calls: int
    billed: float
    invocations: int
    late: tuple[float, ...]


def detach(arena: Arena, name: str, disks: int, seconds: float) -> Detached:
    """One server, so many disks of it, one message each, until the queue is empty and all have their verdict."""
    arena.stage.ask("clear")
    [(server, volumes)] = arena.stage.ask("add", 1, disks, seconds)
    for volume in volumes:
        arena.stage.ask("send", body(server, volume))
    spent = arena.drain(name)
    late = arena.stage.ask("waiting_for_verdict")
    if len(late) != disks:
        raise RuntimeError(f"{name}: {len(late)} verdicts on {disks} disks")
    calls = arena.stage.ask("calls")
    return Detached(len(calls), sum(one.billed for one in spent), len(spent), tuple(late))


def logged_in(arena: Arena) -> None:
    """Logging in is once for a process and not once for a detach."""
    for name in CONTENDERS:
        detach(arena, name, 1, 1)


def calls_for(arena: Arena, disks: int, seconds: float, rounds: int) -> dict[str, float]:
    """Calls to the cloud, the median."""
    logged_in(arena)
    found: dict[str, list[int]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            found[name].append(detach(arena, name, disks, seconds).calls)
    return {name: median(values) for name, values in found.items()}


def billed_for(arena: Arena, seconds: float, rounds: int, latency: float = LATENCY) -> dict[str, float]:
    """Milliseconds of invocations for one disk, the median; a call to the cloud takes 50 ms."""
    logged_in(arena)
    arena.stage.ask("set_latency", latency)
    try:
        found: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for _ in range(rounds):
            for name in CONTENDERS:
                found[name].append(detach(arena, name, 1, seconds).billed * 1000)
        return {name: median(values) for name, values in found.items()}
    finally:
        arena.stage.ask("set_latency", 0.0)


def lateness(arena: Arena, durations: Sequence[float]) -> dict[str, list[float]]:
    """Seconds from the cloud's end of a detach to its verdict on the bus, for detaches that take so long."""
    logged_in(arena)
    return {name: [detach(arena, name, 1, seconds).late[0] for seconds in durations] for name in CONTENDERS}


def durations(count: int) -> list[float]:
    """From 1 to 60 seconds, spread as durations are: many short ones; the same in every run."""
    chance = random.Random(7)
    return [60 ** chance.random() for _ in range(count)]
