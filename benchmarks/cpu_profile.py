"""Where the CPU time of an event goes, by package: what stands beside an overhead that falls short."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tools.artifact import ROOT


class OneThread:
    """An executor that does everything at once, in the thread that asks."""

    def __init__(self, **_: object) -> None: ...

    def submit(self, work: Callable[..., Any], *arguments: object) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        return done

    def shutdown(self, **_: object) -> None: ...


def by_package(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Each package's share of the CPU time in per cent, the largest first; built-ins count where they are called."""
    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    for _ in range(rounds):
        work()
    profiler.disable()
    total: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if file != "~":
            total[_package_of(file)] += own
        else:
            for (caller, _, _), (_, _, there, _) in callers.items():
                total[_package_of(caller)] += there
    return {name: round(100 * took / total.total(), 1) for name, took in total.most_common()}


def _package_of(file: str) -> str:
    if "site-packages/" in file:
        return file.split("site-packages/")[1].split("/")[0].removesuffix(".py")
    if Path(file).is_relative_to(ROOT):
        return Path(file).relative_to(ROOT).parts[0]
    return "standard library"
