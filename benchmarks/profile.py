"""Where the time of an import goes, by package: what stands beside a cold start that falls short."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from tempfile import TemporaryDirectory

from benchmarks.packages import Package, environment, python

LINE = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)
STANDARD = "standard library"


def profile(package: Package, variables: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Milliseconds by package, the largest first; of each module the fastest of some imports."""
    fastest: dict[str, int] = {}
    for _ in range(rounds):
        for module, took in _imported(package, variables):
            fastest[module] = min(took, fastest.get(module, took))
    total: Counter[str] = Counter()
    for module, took in fastest.items():
        name = module.split(".")[0]
        total[STANDARD if name in sys.stdlib_module_names else name] += took
    return {name: round(took / 1000, 1) for name, took in total.most_common() if took >= 1000}


def _imported(package: Package, variables: Mapping[str, str]) -> list[tuple[str, int]]:
    command = [*python(), "-X", "importtime", "-c", f"import {package.imports}"]
    with TemporaryDirectory() as empty:
        given = environment(variables, package.recipe.directory)
        done = subprocess.run(command, cwd=empty, env=given, capture_output=True, text=True, check=True)
    return [(module, int(took)) for took, module in LINE.findall(done.stderr)]
