"""Draws a flame graph of the handler's import (`-X importtime`), with a table by package.

The import is most of a cold start. Measuring makes each module a little slower.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import harness
from benchmarks.drawing import bar, picture, text
from tools.artifact import Recipe

LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")
"""Own and total microseconds of a module, which is indented by two spaces more than its importer."""


@dataclass
class Module:
    name: str
    own: int
    total: int
    imports: list["Module"] = field(default_factory=list)

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def import_times(recipe: Recipe, variables: Mapping[str, str], module: str) -> str:
    """Python's report of the import in a fresh process with only the artifact."""
    command = [*harness.python(), "-X", "importtime", "-c", f"import {module}"]
    environment = harness.process_environment(variables, recipe.directory)
    with TemporaryDirectory() as empty:
        return subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=True).stderr


def tree(report: str) -> list[Module]:
    """The root modules, with what they import. Python reports a module after those that it imports."""
    waiting: dict[int, list[Module]] = {}
    for own, total, spaces, name in LINE.findall(report):
        depth = len(spaces) // 2
        waiting.setdefault(depth, []).append(Module(name, int(own), int(total), waiting.pop(depth + 1, [])))
    return waiting.get(0, [])


def by_package(modules: list[Module]) -> Counter[str]:
    """The own microseconds of the modules of each package."""
    found: Counter[str] = Counter()
    for module in modules:
        found[module.package] += module.own
        found += by_package(module.imports)
    return found


WIDTH, EDGE, TOP, HEIGHT = 1200, 10, 50, 17
NARROWEST = 0.5
"""Minimum width in pixels of a drawn module."""
OWN = ("functions", "shared")


def drawn(modules: list[Module], scale: float, x: float, depth: int) -> Iterator[tuple[int, str]]:
    """Rectangles with names and depth: each module under its importer, as wide as its time."""
    for module in modules:
        width, y = module.total * scale, TOP + depth * (HEIGHT + 1)
        if width >= NARROWEST:
            label = f"{module.name}: {module.total / 1000:.1f} ms, by itself {module.own / 1000:.1f} ms"
            yield depth, bar(x, y, width - 0.3, "ours" if module.package in OWN else "theirs", HEIGHT, label)
            if width > 6.5 * len(module.name):
                yield depth, text(x + 3, y + 12, module.name, 10, "ink")
            yield from drawn(module.imports, scale, x, depth + 1)
        x += width


def graph(modules: list[Module]) -> str:
    total = sum(module.total for module in modules)
    shapes = list(drawn(modules, (WIDTH - 2 * EDGE) / total, EDGE, 0))
    deepest = max(depth for depth, _ in shapes)
    title = f"Import of the handler, {total / 1000:.0f} ms: what imports what"
    parts = [text(EDGE, 30, title, 16, "ink", "600"), *(shape for _, shape in shapes)]
    return picture(WIDTH, TOP + (deepest + 1) * (HEIGHT + 1) + EDGE, title, parts)


def table(modules: list[Module], most: int = 12) -> list[str]:
    """The slowest packages, with milliseconds."""
    found = by_package(modules)
    rows = [f"| `{name}` | {own / 1000:.1f} ms | {own / found.total():.0%} |" for name, own in found.most_common(most)]
    return ["| package | by itself | of all |", "| --- | ---: | ---: |", *rows]


def write(recipe: Recipe, variables: Mapping[str, str], directory: Path) -> None:
    """Write flame.svg and flame.md, from the fastest of three imports."""
    module = harness.MODULES[harness.PRODUCT]
    runs = [tree(import_times(recipe, variables, module)) for _ in range(3)]
    quickest = min(runs, key=lambda modules: sum(one.total for one in modules))
    (directory / "flame.svg").write_text(graph(quickest))
    (directory / "flame.md").write_text("\n".join(["# Import of the handler, by package", "", *table(quickest), ""]))
