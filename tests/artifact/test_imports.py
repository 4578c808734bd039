"""A cold start loads only the listed modules of the artifact, and all of them are compiled."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.artifact.conftest import Runs
from tools.artifact import Recipe

pytestmark = pytest.mark.artifact

BUDGET = tomllib.loads((Path(__file__).parent / "imports.toml").read_text())
HANDLERS = sorted(BUDGET["handlers"])
LOADED = "import sys, json; before = set(sys.modules); import functions.{}.handler; " \
         "print(json.dumps(sorted(set(sys.modules) - before)))"  # fmt: skip


def loaded(isolated: Runs, handler: str) -> list[str]:
    """The modules that the import of a handler loads."""
    done = isolated(LOADED.format(handler), "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")
    found: list[str] = json.loads(done.stdout)
    return found


def belongs(module: str, names: set[str]) -> bool:
    """Whether a module or one of the packages around it is among these."""
    parts = module.split(".")
    return any(".".join(parts[:length]) in names for length in range(1, len(parts) + 1))


def test_every_handler_has_a_budget(recipe: Recipe) -> None:
    """Each handler has a budget, and each budget a handler."""
    assert HANDLERS == sorted(path.parent.name for path in recipe.directory.glob("functions/*/handler.py"))


@pytest.mark.parametrize("handler", HANDLERS)
def test_only_the_budget_is_loaded(isolated: Runs, handler: str) -> None:
    """Every import must be listed in imports.toml, with its reason."""
    groups = [BUDGET["groups"][name] for name in BUDGET["handlers"][handler]]
    packages = {name for group in groups for name in group.get("packages", ())}
    modules = {name for group in groups for name in group.get("modules", ())}
    found = [module for module in loaded(isolated, handler) if module.split(".")[0] not in sys.stdlib_module_names]
    assert [module for module in found if module not in modules and not belongs(module, packages)] == []


@pytest.mark.parametrize("handler", HANDLERS)
def test_forbidden_modules_are_never_loaded(isolated: Runs, handler: str) -> None:
    """A handler must not load them, not even through an allowed package."""
    assert [module for module in loaded(isolated, handler) if belongs(module, set(BUDGET["never"]))] == []


@pytest.mark.parametrize("handler", HANDLERS)
def test_no_source_is_compiled(isolated: Runs, recipe: Recipe, handler: str) -> None:
    """Every module of ours is loaded from bytecode, as Python shows with -v."""
    done = isolated(f"import functions.{handler}.handler", "-v")
    assert done.returncode == 0
    code = re.findall(r"^# code object from '?([^'\n]+)'?$", done.stderr, re.MULTILINE)
    ours = [path for path in code if path.startswith(str(recipe.directory))]
    assert len(ours) > 50
    assert [path for path in ours if not path.endswith(".pyc")] == []
