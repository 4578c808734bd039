"""Fixtures: the artifact for this machine, built once, and processes that can import only the artifact."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tests.artifact.emulated import Start, emulated
from tests.artifact.world import World, surroundings
from tools.artifact import Recipe, build, product


class Runs(Protocol):
    """Run code where only the artifact can be imported; returns its output on both streams."""

    def __call__(self, code: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """The artifact for this machine, rebuilt only if its inputs have changed."""
    recipe = product(host=True)
    build(recipe)
    return recipe


@pytest.fixture
def isolated(recipe: Recipe, tmp_path: Path) -> Runs:
    """Run in an empty directory, without site-packages, with only the given variables."""

    def run(code: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        given: Mapping[str, str] = {"PYTHONPATH": str(recipe.directory), "PATH": os.defpath, **variables}
        command = [sys.executable, "-S", "-B", *options, "-c", code]
        return subprocess.run(
            command, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture
def world() -> Iterator[World]:
    with surroundings() as world:
        yield world


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The empty directory in which functions are started; it must stay empty."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


@pytest.fixture
def start(recipe: Recipe, empty: Path) -> Start:
    """Start one of the artifact's functions under the emulator, by its name and variables."""
    return lambda name, variables: emulated(recipe, empty, f"functions.{name}.handler.lambda_handler", variables)
