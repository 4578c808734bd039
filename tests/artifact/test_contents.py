"""The contents of the artifact, and its reproducibility."""

import hashlib
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from tests.contract.test_template import DEFAULTS
from tools import artifact
from tools.artifact import LAMBDA_PLATFORM, LAMBDA_PYTHON, ROOT, BuildError, Recipe, build, compiler_of, product

pytestmark = pytest.mark.artifact

UNWANTED = ("boto3", "botocore", "moto", "pytest", "setuptools", "pkg_resources", "charset_normalizer", "pip", "bin",
            "tests", "local")  # fmt: skip

LAMBDAS_MAGIC = (3571).to_bytes(2, "little") + b"\r\n"
"""What bytecode of Python 3.13 begins with (its Include/internal/pycore_magic_number.h)."""

ELF, AARCH64 = b"\x7fELF", (183).to_bytes(2, "little")
"""How a binary begins, and the machine that it names at byte 18 (ELF: EM_AARCH64)."""


@pytest.fixture(scope="module", params=["host", "deployed"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """The artifact for this machine, and the one for Lambda, in a place of its own."""
    if request.param == "host":
        recipe = product(host=True)
    else:
        recipe = replace(product(), name="deployed")
        try:
            compiler_of(recipe)
        except BuildError as error:  # this machine has no Python of Lambda's version: the message says how to get one
            pytest.skip(str(error))
    build(recipe)
    return recipe


def files(directory: Path) -> dict[str, Path]:
    return {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def machines(paths: Iterable[Path]) -> set[bytes]:
    """What the Linux binaries among these are made for."""
    heads = [path.read_bytes()[:20] for path in paths]
    return {head[18:] for head in heads if head.startswith(ELF)}


def test_it_is_for_what_the_template_says() -> None:
    """Another runtime or architecture there needs other wheels and other bytecode here."""
    assert DEFAULTS["Runtime"] == f"python{LAMBDA_PYTHON}"
    assert DEFAULTS["Architectures"] == ["arm64"]
    assert LAMBDA_PLATFORM.startswith("aarch64-")


def test_it_holds_our_sources_as_they_are(recipe: Recipe) -> None:
    """All of functions/ and shared/, and of each the very bytes."""
    for name in ("functions", "shared"):
        ours = {path for path in files(ROOT / name) if "__pycache__" not in path}
        packed = files(recipe.directory / name)
        assert ours == {path for path in packed if "__pycache__" not in path}
        assert [path for path in ours if digest(ROOT / name / path) != digest(packed[path])] == []


def test_nothing_else_is_in_it(recipe: Recipe) -> None:
    """No SDK of AWS, no tests, no tools, no texts at the root."""
    found = files(recipe.directory)
    top = {name.split("/")[0] for name in found}
    assert top & set(UNWANTED) == set()
    assert [name for name in top if name.endswith((".md", ".txt", ".pth", ".lock"))] == []
    assert [name for name in found if "/tests/" in name] == []


def test_there_is_no_metadata(recipe: Recipe) -> None:
    """No metadata is read at run time."""
    assert [name for name in files(recipe.directory) if ".dist-info/" in name] == []


def test_everything_is_compiled(recipe: Recipe) -> None:
    """Every source has the target's bytecode beside it, which is never checked against the source (PEP 552)."""
    tag = sys.implementation.cache_tag if recipe.host else f"cpython-{LAMBDA_PYTHON.replace('.', '')}"
    sources = [path for path in files(recipe.directory).values() if path.suffix == ".py"]
    compiled = [path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in sources]
    assert [path for path in compiled if not path.is_file()] == []
    magic = MAGIC_NUMBER if recipe.host else LAMBDAS_MAGIC
    assert {path.read_bytes()[:8] for path in compiled} == {magic + (1).to_bytes(4, "little")}
    assert {path for path in files(recipe.directory).values() if path.suffix == ".pyc"} == set(compiled)


def test_binaries_are_of_the_targets_machine(recipe: Recipe) -> None:
    """A compiled module for another machine would fail only when it is imported there."""
    expected = machines([Path(sys.executable)]) if recipe.host else {AARCH64}
    assert machines(files(recipe.directory).values()) == expected


def test_no_path_of_this_machine_is_in_it(recipe: Recipe) -> None:
    """Bytecode names its sources as they lie in Lambda."""
    here = str(ROOT).encode()
    assert [name for name, path in files(recipe.directory).items() if here in path.read_bytes()] == []


def test_the_zip_is_the_directory(recipe: Recipe) -> None:
    """Sorted, of one time, readable for Lambda's user."""
    with zipfile.ZipFile(recipe.archive) as packed:
        entries = packed.infolist()
        assert [entry.filename for entry in entries] == sorted(files(recipe.directory))
        assert {(entry.date_time, entry.external_attr >> 16) for entry in entries} == {(artifact.EPOCH, 0o100644)}
        assert packed.testzip() is None


def test_a_second_build_is_the_same(recipe: Recipe) -> None:
    """Byte by byte, the zip and the directory, wherever it is made."""
    again = replace(recipe, name=f"{recipe.name}-again")
    (artifact.BUILD / f".{again.name}.inputs").unlink(missing_ok=True)
    assert build(again) is True
    assert digest(again.archive) == digest(recipe.archive)
    first, second = ({name: digest(path) for name, path in files(r.directory).items()} for r in (recipe, again))
    assert first == second
    assert build(again) is False


def test_bytecode_of_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda would ignore it silently, and start twice as slowly."""
    monkeypatch.setenv("LAMBDA_PYTHON", "/no/such/python")
    with pytest.raises(BuildError, match=r"/no/such/python is not Python 3.*LAMBDA_PYTHON=.*BYTECODE=0"):
        build(product())


def test_a_python_that_is_not_active_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that pyenv has installed will do, whatever its shim on the path says; LAMBDA_PYTHON comes before it."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    shims, versions = tmp_path / "shims", tmp_path / "pyenv" / "versions"
    inactive = stand_in(shims / f"python{LAMBDA_PYTHON}", "exit 127")
    installed, named = (
        stand_in(path, f"echo {LAMBDA_PYTHON}")
        for path in (versions / f"{LAMBDA_PYTHON}.9/bin/python{LAMBDA_PYTHON}", tmp_path / "mine")
    )
    monkeypatch.setenv("PATH", str(inactive.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.delenv("LAMBDA_PYTHON", raising=False)
    assert compiler_of(product()) == str(installed)
    monkeypatch.setenv("LAMBDA_PYTHON", str(named))
    assert compiler_of(product()) == str(named)


def stand_in(path: Path, does: str) -> Path:
    """A command that looks like a Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path
