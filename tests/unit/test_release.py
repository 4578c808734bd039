"""What `make deploy` does between build and deployment: refuses what would fail later, and tells releases apart."""

from pathlib import Path

import pytest

from tests.contract.test_template import FUNCTIONS, TEMPLATE
from tools.exit_status import Exit
from tools.release import UNSET, main, parameters_of, revision_of
from tools.validation.template import ROOT

CONFIG = """
version = 0.1
[default.deploy.parameters]
stack_name = "x"
parameter_overrides = {}
"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A template as `sam build` leaves it: the variables of all functions stand there once."""
    path = tmp_path / "template.yaml"
    path.write_text((ROOT / "template.yaml").read_text())
    return path


def released(built: Path, *parameters: str, overrides: str = "[]") -> Exit:
    config = built.with_name("own.toml")
    config.write_text(CONFIG.format(overrides))
    return main(["--config", str(config), "--template", str(built), "--", *parameters])


@pytest.mark.parametrize(
    "overrides",
    ['["MaximumConcurrency=7", "LogRetentionDays=30"]', '"MaximumConcurrency=7 LogRetentionDays=30"',
     '\'MaximumConcurrency="7" LogRetentionDays=30\''],
)  # fmt: skip
def test_the_file_says_what_is_set(overrides: str, built: Path) -> None:
    """As sam reads it, a list or a text; what is given instead takes the place of all of it."""
    assert released(built, overrides=overrides) is Exit.DETACHED
    config = built.with_name("own.toml")
    assert parameters_of(config, []) == {"MaximumConcurrency": "7", "LogRetentionDays": "30"}
    assert parameters_of(config, ["LogRetentionDays=60"]) == {"LogRetentionDays": "60"}


def test_each_set_of_values_is_a_revision(built: Path) -> None:
    """The same values are the same revision in any order; another value makes every function another one."""
    whole = built.read_text()
    revisions = set()
    for parameters in (
        ["Memory=512", "LogLevel=INFO"],
        ["LogLevel=INFO", "Memory=512"],
        ["Memory=512", "LogLevel=ERROR"],
    ):
        built.write_text(whole)
        assert released(built, *parameters) is Exit.DETACHED
        (line,) = [line.strip() for line in built.read_text().splitlines() if "REVISION:" in line]
        assert line != UNSET
        revisions.add(line)
    assert len(revisions) == 2
    assert len(revision_of({})) == 12


def test_the_revision_is_a_variable_of_every_function() -> None:
    assert TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["REVISION"] == "unset"
    assert all(function["AutoPublishAliasAllProperties"] is True for function in FUNCTIONS.values())


@pytest.mark.parametrize(
    "parameters",
    [["Canary=5m", "CanaryServerId=95bf2490-5428-432c-ad9b-5e3406f869dd",
      "CanaryVolumeId=b53f23bd-ee8f-49ec-9420-d1acfeaf91d6", "Webhook=public"],
     ["Webhook=iam", "SubnetIds=subnet-0a1b2c3d", "SecurityGroupIds=sg-0a1b2c3d", "KmsKey=stack", "Timeout=300"],
     ["SinkUrl=https://x.example/a?b=c", "SinkSecretId=sink", "SinkMode=binary", "VerdictBucket=verdicts"],
     ["AllowedProjectsSecretId=volume-detach/projects", "SenderAccounts=123456789012"]],
)  # fmt: skip
def test_what_can_be_deployed_is_released(parameters: list[str], built: Path) -> None:
    """Whatever CloudFormation alone knows, such as an ARN, is no fault of the parameters."""
    assert released(built, *parameters) is Exit.DETACHED


@pytest.mark.parametrize(
    ("parameters", "said"),
    [(["MaxConcurrency=1"], "MaxConcurrency: there is no such parameter; MaximumConcurrency is one"),
     (["Nothing=1"], "Nothing: there is no such parameter\n"),
     (["Webhook=on"], "Webhook=on: must be one of off, iam, public"),
     (["Memory=64"], "Memory=64: must be a whole number from 192 to 10240"),
     (["Memory=1.5"], "Memory=1.5: must be a whole number"),
     (["SubnetIds=10.0.0.0/24"], "SubnetIds=10.0.0.0/24: does not look like one"),
     (["SubnetIds=subnet-0a1b2c3d"], "SecurityGroupIds must be set beside SubnetIds."),
     (["SinkUrl=https://x.example"], "SinkSecretId must be set beside SinkUrl"),
     (["ConfirmTimeout=700", "WatchTimeout=600"], "CONFIRM_TIMEOUT must not be longer than WATCH_TIMEOUT"),
     (["AllowedRequesters=robot:x"], "ALLOWED_REQUESTERS"),
     (["Memory"], "Memory: a parameter is given as Name=value"),
     (["Memory=64", "Webhook=on"], "Webhook=on: must be one of off, iam, public")],
)  # fmt: skip
def test_what_would_fail_later_is_refused_now(
    parameters: list[str], said: str, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every fault of a parameter is a line, and the template is left as it is."""
    before = built.read_text()
    assert released(built, *parameters) is Exit.USAGE
    assert said in capsys.readouterr().err
    assert built.read_text() == before


def test_a_file_that_cannot_be_used_is_named(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(built.with_name("none.toml")), "--template", str(built)]) is Exit.USAGE
    assert "none.toml: " in capsys.readouterr().err
    assert released(built, overrides="[") is Exit.USAGE
    assert "own.toml: " in capsys.readouterr().err


def test_a_template_that_has_its_revision_is_built_again(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was released is not released twice under another revision."""
    assert released(built) is Exit.DETACHED
    assert released(built, "Memory=512") is Exit.USAGE
    assert "run `sam build` again" in capsys.readouterr().err
