"""`sam build` makes what `make build` makes, for each function of the template."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.artifact.test_contents import digest, files
from tests.contract.test_template import DEFAULTS, FUNCTIONS, RESOURCES
from tools.artifact import ROOT, build, product

pytestmark = pytest.mark.artifact

SAM = ROOT / ".venv" / "sam" / "bin" / "sam"
OPTIONS = tomllib.loads((ROOT / "samconfig.toml").read_text())["default"]


def test_sam_calls_make() -> None:
    """In this directory, since a copy of it would hold every virtual environment."""
    assert DEFAULTS["CodeUri"] == "."
    assert {RESOURCES[name]["Metadata"]["BuildMethod"] for name in FUNCTIONS} == {"makefile"}
    assert OPTIONS["build"]["parameters"]["build_in_source"] is True
    assert OPTIONS["validate"]["parameters"]["lint"] is True


def test_make_knows_every_function() -> None:
    """By the name SAM will use."""
    targets = set(re.findall(r"build-(\w+)", (ROOT / "Makefile").read_text()))
    assert set(FUNCTIONS) <= targets


def test_make_puts_the_artifact_where_sam_wants_it(tmp_path: Path) -> None:
    """The wheels are Lambda's, not this machine's."""
    recipe = product(bytecode=False)
    build(recipe)
    name = sorted(FUNCTIONS)[0]
    command = ["make", "-s", f"build-{name}", f"ARTIFACTS_DIR={tmp_path}", "BYTECODE=0"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    made, wanted = files(tmp_path), files(recipe.directory)
    assert {name: digest(path) for name, path in made.items()} == {name: digest(p) for name, p in wanted.items()}
    assert [name for name in made if name.endswith(".so") and "aarch64" not in name] == []


@pytest.mark.skipif(not SAM.exists(), reason="needs `make .venv/sam/.ready` (300 MB)")
def test_sam_builds(tmp_path: Path) -> None:
    """All functions, the same in each."""
    recipe = product(bytecode=False)
    build(recipe)
    quiet = {"SAM_CLI_TELEMETRY": "0", "BYTECODE": "0", "AWS_DEFAULT_REGION": "eu-central-1", "HOME": str(tmp_path)}
    environment = {"PATH": os.environ["PATH"], **quiet}
    into = tmp_path / "built"
    command = [str(SAM), "build", "--build-dir", str(into), "--cache-dir", str(tmp_path / "cache")]
    try:
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=600)
        wanted = {name: digest(path) for name, path in files(recipe.directory).items()}
        for name in FUNCTIONS:
            assert {path: digest(found) for path, found in files(into / name).items()} == wanted
    finally:
        shutil.rmtree(into, ignore_errors=True)
