"""Under the emulator, a function has only the artifact, the runtime client and the standard library."""

import json
import re
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from benchmarks.harness import runtime
from local.demo import FREE_VOLUME, SERVER
from tests.artifact.emulated import Failed, Start, emulated, under_the_emulator
from tests.artifact.world import World
from tests.messages import bare, sqs_record
from tools.artifact import ROOT, Recipe

pytestmark = under_the_emulator

LOADED = re.compile(r"(?:code object from|loaded from) '?(/[^'\n]+)")
"""The file that Python loaded a module from, in the output of -v."""


def names_in(directory: Path) -> set[str]:
    """The names that can be imported from there, including directories without sources."""
    return {path.name.split(".")[0] for path in directory.iterdir() if path.name.split(".")[0].isidentifier()}


def test_nothing_else_can_be_imported(recipe: Recipe, empty: Path) -> None:
    """The repository's other packages and the development dependencies cannot be imported."""
    here = names_in(recipe.directory) | names_in(runtime())
    elsewhere = (names_in(ROOT) | set(packages_distributions())) - here
    assert {"local", "tests", "moto", "boto3", "pytest"} <= elsewhere
    with emulated(recipe, empty, "importlib.util.find_spec", {}) as python:
        assert [name for name in sorted(elsewhere) if python.invoke(name) is not None] == []
        with pytest.raises(Failed, match="ModuleSpec"):  # found; a ModuleSpec is not JSON
            python.invoke("functions")


def test_nothing_else_is_loaded(recipe: Recipe, empty: Path, world: World, start: Start) -> None:
    """Handling a request loads no other code, and leaves nothing in the working directory."""
    event = {"Records": [sqs_record(json.dumps(bare(SERVER, FREE_VOLUME)), "m-1")]}
    with start("detach_volume", {**world.variables, "PYTHONVERBOSE": "1"}) as function:
        function.invoke(event)
    assert world.verdicts() == {FREE_VOLUME: "already_detached"}
    paths = [Path(found) for found in LOADED.findall(function.log.read_text())]
    allowed = (
        recipe.directory,
        runtime(),
        *map(Path, {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}),
    )
    assert recipe.directory / "functions" / "detach_volume" in [path.parent.parent for path in paths]
    assert [path for path in paths if not any(map(path.is_relative_to, allowed)) or "site-packages" in path.parts] == []
    assert list(empty.iterdir()) == []
