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
"""The first bytes of Python 3.13's bytecode (its Include/internal/pycore_magic_number.h)."""

ELF, AARCH64 = b"\x7fELF", (183).to_bytes(2, "little")
"""The first bytes of a binary, and the machine at byte 18 (ELF: EM_AARCH64)."""


@pytest.fixture(scope="module", params=["host", "deployed"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """The artifact for this machine, and the one for Lambda in its own directory."""
    if request.param == "host":
        recipe = product(host=True)
    else:
        recipe = replace(product(), name="deployed")
        try:
            compiler_of(recipe)
        except BuildError as error:  # there is no Python of Lambda's version; the message says how to get one
            pytest.skip(str(error))
    build(recipe)
    return recipe


def files(directory: Path) -> dict[str, Path]:
    return {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def machines(paths: Iterable[Path]) -> set[bytes]:
    """The machines for which the Linux binaries among these are built."""
    heads = [path.read_bytes()[:20] for path in paths]
    return {head[18:] for head in heads if head.startswith(ELF)}


def test_it_is_built_for_the_templates_runtime_and_architecture() -> None:
    """A change of the template's runtime or architecture needs other wheels and bytecode."""
    assert DEFAULTS["Runtime"] == f"python{LAMBDA_PYTHON}"
    assert DEFAULTS["Architectures"] == ["arm64"]
    assert LAMBDA_PLATFORM.startswith("aarch64-")


def test_it_contains_our_sources_unchanged(recipe: Recipe) -> None:
    """It has every file of functions/ and shared/, byte for byte."""
    for name in ("functions", "shared"):
        ours = {path for path in files(ROOT / name) if "__pycache__" not in path}
        packed = files(recipe.directory / name)
        assert ours == {path for path in packed if "__pycache__" not in path}
        assert [path for path in ours if digest(ROOT / name / path) != digest(packed[path])] == []


def test_it_contains_nothing_unwanted(recipe: Recipe) -> None:
    """It has no AWS SDK, no tests, no tools, and no text files at the root."""
    found = files(recipe.directory)
    top = {name.split("/")[0] for name in found}
    assert top & set(UNWANTED) == set()
    assert [name for name in top if name.endswith((".md", ".txt", ".pth", ".lock"))] == []
    assert [name for name in found if "/tests/" in name] == []


def test_there_is_no_metadata(recipe: Recipe) -> None:
    """No metadata is read at run time."""
    assert [name for name in files(recipe.directory) if ".dist-info/" in name] == []


def test_everything_is_compiled(recipe: Recipe) -> None:
    """Every source has the target's bytecode, which Python does not check against the source (PEP 552)."""
    tag = sys.implementation.cache_tag if recipe.host else f"cpython-{LAMBDA_PYTHON.replace('.', '')}"
    sources = [path for path in files(recipe.directory).values() if path.suffix == ".py"]
    compiled = [path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in sources]
    assert [path for path in compiled if not path.is_file()] == []
    magic = MAGIC_NUMBER if recipe.host else LAMBDAS_MAGIC
    assert {path.read_bytes()[:8] for path in compiled} == {magic + (1).to_bytes(4, "little")}
    assert {path for path in files(recipe.directory).values() if path.suffix == ".pyc"} == set(compiled)


def test_binaries_are_built_for_the_target(recipe: Recipe) -> None:
    """A binary for another machine would fail only when it is imported on Lambda."""
    expected = machines([Path(sys.executable)]) if recipe.host else {AARCH64}
    assert machines(files(recipe.directory).values()) == expected


def test_it_contains_no_path_of_this_machine(recipe: Recipe) -> None:
    """Bytecode has the paths that its sources have on Lambda."""
    here = str(ROOT).encode()
    assert [name for name, path in files(recipe.directory).items() if here in path.read_bytes()] == []


def test_the_zip_has_the_directorys_files(recipe: Recipe) -> None:
    """The zip's entries are sorted, have one timestamp, and are readable for Lambda's user."""
    with zipfile.ZipFile(recipe.archive) as packed:
        entries = packed.infolist()
        assert [entry.filename for entry in entries] == sorted(files(recipe.directory))
        assert {(entry.date_time, entry.external_attr >> 16) for entry in entries} == {(artifact.EPOCH, 0o100644)}
        assert packed.testzip() is None


def test_a_second_build_is_identical(recipe: Recipe) -> None:
    """The zip and the directory are identical, whatever directory they are built in."""
    again = replace(recipe, name=f"{recipe.name}-again")
    (artifact.BUILD / f".{again.name}.inputs").unlink(missing_ok=True)
    assert build(again) is True
    assert digest(again.archive) == digest(recipe.archive)
    first, second = ({name: digest(path) for name, path in files(r.directory).items()} for r in (recipe, again))
    assert first == second
    assert build(again) is False


def test_bytecode_of_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda would silently ignore it and take twice as long to start."""
    monkeypatch.setenv("LAMBDA_PYTHON", "/no/such/python")
    with pytest.raises(BuildError, match=r"/no/such/python is not Python 3.*LAMBDA_PYTHON=.*BYTECODE=0"):
        build(product())


def test_a_python_that_is_not_active_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Python that pyenv has installed is used even if its shim fails; LAMBDA_PYTHON takes precedence."""
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
    """A command that pretends to be a Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return path
