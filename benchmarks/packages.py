"""Both handlers as artifacts for this machine, built the same way, with bytecode and without."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import CONVENTIONAL, PRODUCT
from tools.artifact import SETUPTOOLS, Recipe, build, product

HERE = Path(__file__).parent
LIBRARIES = "libraries"
IMPORTS = {
    PRODUCT: "functions.detach_volume.handler",
    CONVENTIONAL: "conventional",
    LIBRARIES: "aws_lambda_powertools.logging, aws_lambda_powertools.metrics, pydantic.main, requests_aws4auth, "
    "keystoneauth1.session, keystoneauth1.identity.v3, cloudevents.core.formats.json",
}
"""What is imported of an artifact, parted by commas; the libraries are those of the product, without a line of ours."""
AWS_PACKAGES = ("boto3", "botocore", "s3transfer")
"""Lambda's own runtime carries them: who takes those need not ship any."""


@dataclass(frozen=True)
class Package:
    """One handler's artifact, and what is imported of it."""

    name: str
    recipe: Recipe

    @property
    def imports(self) -> str:
        return IMPORTS[self.name]

    @property
    def zipped(self) -> float:
        return self.recipe.archive.stat().st_size / 1e6


def packages(bytecode: bool) -> dict[str, Package]:
    """Build what is not there yet; the bytecode is this Python's."""
    recipes = {PRODUCT: product(host=True, bytecode=bytecode), CONVENTIONAL: conventional(bytecode)}
    for recipe in recipes.values():
        build(recipe)
    return {name: Package(name, recipe) for name, recipe in recipes.items()}


def conventional(bytecode: bool) -> Recipe:
    """All metadata stays: openstacksdk finds its own version and its ways to log in by it."""
    name = "conventional" if bytecode else "conventional-sources"
    return Recipe(name, HERE / "conventional.lock", (HERE / "conventional.py",), None, True, bytecode, SETUPTOOLS)


def runtime() -> Path:
    """Lambda's runtime client, which Lambda itself puts beside the code."""
    recipe = Recipe("runtime", HERE / "runtime.lock", (), (), True)
    build(recipe)
    return recipe.directory


def python() -> tuple[str, str]:
    """The Python beneath the virtual environment, without whatever is installed there: an artifact brings its own."""
    found = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(found if found.exists() else Path(sys.executable).resolve()), "-S"


def environment(stage: Mapping[str, str], *paths: Path) -> dict[str, str]:
    """What a process on Lambda has: the function's settings, its code, and nothing of this machine's."""
    return {
        **stage,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PATH": os.defpath,
    }


def shipped_without_aws(package: Package) -> float:
    """Megabytes of the zip if it leaves out what the runtime has."""
    import zipfile

    with zipfile.ZipFile(package.recipe.archive) as packed:
        entries = [entry for entry in packed.infolist() if not entry.filename.startswith(AWS_PACKAGES)]
    return sum(entry.compress_size + len(entry.filename) * 2 + 76 for entry in entries) / 1e6
