"""A handler in a process of its own, invoked as Lambda does, with its time and memory measured from inside."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from benchmarks.cpu_profile import OneThread, by_package
from benchmarks.stage import moved

PRODUCT, CONVENTIONAL, FLOOR, SERIAL = "product", "conventional", "floor", "serial"
TIMEOUTS = {PRODUCT: 60, SERIAL: 60, CONVENTIONAL: 900, FLOOR: 60}
"""Seconds an invocation may take: the template's for ours, Lambda's longest for the one that waits inline."""

Handler = Callable[[dict[str, Any], Any], Any]


@dataclass(frozen=True)
class Measured:
    """One invocation; `slept` are the seconds that were skipped in it, billed like all others."""

    failures: int
    wall: float
    cpu: float
    slept: float

    @property
    def billed(self) -> float:
        return self.wall + self.slept


@dataclass
class Context:
    """Lambda's context, on the moved clock."""

    name: str
    skipped: Synchronized[float]
    function_name: str = "benchmark"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:benchmark"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"

    def __post_init__(self) -> None:
        self._ends = moved(self.skipped).timestamp() + TIMEOUTS[self.name]

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - moved(self.skipped).timestamp()) * 1000)


@dataclass
class Contender:
    """One of the handlers under an environment; what it logs goes nowhere, as far as its price is concerned."""

    name: str
    environment: dict[str, str]
    skipped: Synchronized[float]

    def __enter__(self) -> Contender:
        os.environ.update(self.environment)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self._handler = MAKERS[self.name](self.skipped)
        return self

    def __exit__(self, *_: object) -> None: ...

    def invoke(self, event: dict[str, Any]) -> tuple[Any, Measured]:
        """The handler's answer, and what it cost."""
        context = Context(self.name, self.skipped)
        skipped, cpu, began = self.skipped.value, time.process_time(), time.perf_counter()
        answer = self._handler(event, context)
        wall, used = time.perf_counter() - began, time.process_time() - cpu
        failures = len((answer or {}).get("batchItemFailures", ()))
        return answer, Measured(failures, wall, used, self.skipped.value - skipped)

    def profiled(self, event: dict[str, Any], rounds: int) -> dict[str, float]:
        """Where an invocation's CPU time goes, in per cent; all of it in one thread, since a profiler sees but one."""
        from shared import visit as reconcile

        usual = vars(reconcile)["ThreadPoolExecutor"]
        setattr(reconcile, "ThreadPoolExecutor", OneThread)  # noqa: B010 - the type checker holds classes for constants
        try:
            return by_package(lambda: self.invoke(event), rounds)
        finally:
            setattr(reconcile, "ThreadPoolExecutor", usual)  # noqa: B010

    def memory(self) -> float:
        """Megabytes it holds now."""
        held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(held.split()[1]) / 1024


def _product(skipped: Synchronized[float], in_flight: int = 10) -> Handler:
    """The handler as deployed, but on the moved clock."""
    from dataclasses import replace

    from functions.detach_volume import handler
    from shared.bootstrap.detach import build

    @lru_cache(maxsize=1)
    def service() -> Any:
        made = build(os.environ, lambda: moved(skipped))
        return replace(made, reconciler=replace(made.reconciler, in_flight=in_flight))

    setattr(handler, "service", service)  # noqa: B010 - the type checker holds functions for constants
    setattr(handler, "utc_now", lambda: moved(skipped))  # noqa: B010
    found: Handler = handler.lambda_handler
    return found


def _conventional(skipped: Synchronized[float]) -> Handler:
    """The handler as written, but what it sleeps is skipped."""
    from benchmarks import conventional

    def skip(seconds: float) -> None:
        skipped.value += seconds

    setattr(conventional, "sleep", skip)  # noqa: B010
    found: Handler = conventional.lambda_handler
    return found


def _floor(_: Synchronized[float]) -> Handler:
    from benchmarks.floor import lambda_handler

    return lambda_handler


MAKERS: dict[str, Callable[[Synchronized[float]], Handler]] = {
    PRODUCT: _product,
    SERIAL: lambda skipped: _product(skipped, in_flight=1),
    CONVENTIONAL: _conventional,
    FLOOR: _floor,
}
