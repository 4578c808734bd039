"""`sam` builds the same artifact as `make build`, and deploys it up to the change set."""

import io
import re
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto import mock_aws

from tests.artifact.test_contents import digest, files
from tests.contract.test_template import DEFAULTS, FUNCTIONS, RESOURCES
from tests.contract.test_template_expands import ENVIRONMENT, create, of_type
from tools.artifact import ROOT, Recipe, build, product
from tools.rehearsal import SAM, STACK, Account, Refused, Rehearsed, account, deploy, rehearse, release
from tools.validation.resolve import resolved
from tools.validation.switches import defaults_of
from tools.validation.template import PLACES

pytestmark = pytest.mark.artifact

OPTIONS = tomllib.loads((ROOT / "samconfig.toml").read_text())["default"]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The recipe, where sam built it, the account that it was deployed to, and the result."""

    recipe: Recipe
    built: Path
    account: Account
    done: Rehearsed


def test_sam_calls_make() -> None:
    """It builds in this directory, because a copy would include every virtual environment."""
    assert DEFAULTS["CodeUri"] == "."
    assert {RESOURCES[name]["Metadata"]["BuildMethod"] for name in FUNCTIONS} == {"makefile"}
    assert OPTIONS["build"]["parameters"]["build_in_source"] is True
    assert OPTIONS["validate"]["parameters"]["lint"] is True


def test_make_has_a_target_for_every_function() -> None:
    """There is a target for each function, with the name that SAM uses."""
    targets = set(re.findall(r"build-(\w+)", (ROOT / "Makefile").read_text()))
    assert set(FUNCTIONS) <= targets


def test_make_builds_the_artifact_where_sam_expects_it(tmp_path: Path) -> None:
    """It has the wheels for Lambda, not those for this machine."""
    recipe = product(bytecode=False)
    build(recipe)
    name = sorted(FUNCTIONS)[0]
    command = ["make", "-s", f"build-{name}", f"ARTIFACTS_DIR={tmp_path}", "BYTECODE=0"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    made, wanted = files(tmp_path), files(recipe.directory)
    assert {name: digest(path) for name, path in made.items()} == {name: digest(p) for name, p in wanted.items()}
    assert [name for name in made if name.endswith(".so") and "aarch64" not in name] == []


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """A deployment with the defaults, up to its change set, and the account afterwards."""
    if not SAM.exists():
        pytest.skip("needs `make .venv/sam/.ready` (300 MB)")
    recipe, directory = product(bytecode=False), tmp_path_factory.mktemp("rehearsal")
    build(recipe)
    with pytest.MonkeyPatch.context() as patch, account() as made:
        patch.setenv("BYTECODE", "0")
        yield Rehearsal(recipe, directory / "built", made, rehearse(made, directory))
    shutil.rmtree(directory, ignore_errors=True)


def test_sam_builds(rehearsed: Rehearsal) -> None:
    """It builds every function, with the same files."""
    wanted = {name: digest(path) for name, path in files(rehearsed.recipe.directory).items()}
    assert set(rehearsed.done.built) == set(FUNCTIONS)
    for name in FUNCTIONS:
        assert {path: digest(found) for path, found in files(rehearsed.built / name).items()} == wanted


def test_sam_uploads_what_it_built(rehearsed: Rehearsal) -> None:
    """It uploads one artifact with every file, for all functions, and the template that refers to it."""
    (artifact,) = [name for name, _ in rehearsed.done.uploads if not name.endswith(".template")]
    assert len(rehearsed.done.uploads) == 2
    bucket, _, key = artifact.partition("/")
    body = rehearsed.account.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert set(archive.namelist()) == set(files(rehearsed.recipe.directory))
    functions = of_type(rehearsed.done.expanded, "AWS::Lambda::Function").values()
    assert {(f["Code"]["S3Bucket"], f["Code"]["S3Key"]) for f in functions} == {(bucket, key)}


def test_the_change_set_adds_what_the_template_deploys(rehearsed: Rehearsal) -> None:
    """It adds exactly the resources that the defaults enable, and is not executed."""
    template = rehearsed.done.expanded
    wanted = resolved(template, defaults_of(template), PLACES[0])["Resources"]
    assert sorted(rehearsed.done.changes) == sorted(("Add", r["Type"], name) for name, r in wanted.items())
    (stack,) = rehearsed.account.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    assert stack["StackStatus"] == "REVIEW_IN_PROGRESS"


@pytest.mark.filterwarnings("ignore:Tried to parse")
def test_the_packaged_stack_can_be_created(rehearsed: Rehearsal) -> None:
    """The expanded template can be created in a simulated account."""
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"lambda": {"use_docker": False}}):
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        template = resolved(rehearsed.done.expanded, defaults_of(rehearsed.done.expanded), PLACES[0])
        stack = create(template)
    functions = {name for name, type_ in stack.types.items() if type_ == "AWS::Lambda::Function"}
    assert functions == set(of_type(template, "AWS::Lambda::Function"))
    assert functions


def test_a_refusal_of_sam_is_reported(rehearsed: Rehearsal, tmp_path: Path) -> None:
    """The error has sam's own message, and nothing is deployed."""
    (tmp_path / "own.toml").write_text("version = 0.1\n[default.deploy.parameters]\nstack_name = [")
    with pytest.raises(Refused, match=r"^sam deploy .*ended with"):
        deploy(rehearsed.account, rehearsed.built, tmp_path / "own.toml", (), tmp_path)


def test_invalid_parameters_are_refused_before_sam_runs(rehearsed: Rehearsal, tmp_path: Path) -> None:
    """The checks of `make deploy` find parameters that would fail later."""
    (tmp_path / "built").mkdir()
    shutil.copy(rehearsed.built / "template.yaml", tmp_path / "built")
    with pytest.raises(Refused, match="SinkUrl needs SinkSecretId"):
        release(rehearsed.account, tmp_path, ROOT / "samconfig.toml", ["SinkUrl=https://sink.example.com"])
