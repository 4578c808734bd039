"""The step of `make deploy` between build and deployment: checks of parameters, and the revision."""

import json
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from tests.contract.test_template import FUNCTIONS, TEMPLATE
from tools.exit_status import Exit
from tools.release import UNSET, Faulty, faults_in, kept_in, main, parameters_of, revision_of
from tools.validation.template import ROOT, Values

CONFIG = """
version = 0.1
[default.deploy.parameters]
stack_name = "x"
parameter_overrides = {}
"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A template as written by `sam build`, with the variables of all functions once."""
    path = tmp_path / "template.yaml"
    path.write_text((ROOT / "template.yaml").read_text())
    return path


def released(built: Path, *parameters: str, overrides: str = "[]", kept: Values | None = None) -> Exit:
    """Release to a stack with these parameters, or to a new one."""
    config = built.with_name("own.toml")
    config.write_text(CONFIG.format(overrides))
    return main(["--config", str(config), "--template", str(built), "--", *parameters], lambda _: kept or {})


@pytest.mark.parametrize(
    "overrides",
    ['["MaximumConcurrency=7", "LogRetentionDays=30"]', '"MaximumConcurrency=7 LogRetentionDays=30"',
     '\'MaximumConcurrency="7" LogRetentionDays=30\''],
)  # fmt: skip
def test_the_file_sets_parameters(overrides: str, built: Path) -> None:
    """As a list or a text, as sam reads it; arguments replace all of them."""
    assert released(built, overrides=overrides) is Exit.DETACHED
    config = built.with_name("own.toml")
    assert parameters_of(config, []) == {"MaximumConcurrency": "7", "LogRetentionDays": "30"}
    assert parameters_of(config, ["LogRetentionDays=60"]) == {"LogRetentionDays": "60"}


@pytest.mark.parametrize(
    ("overrides", "values"),
    [('["SinkUrl=\\"\\"", "Memory=512"]', {"SinkUrl": "", "Memory": "512"}),
     ('["WebhookAllowedOrigins=\\"a.example, b.example\\""]', {"WebhookAllowedOrigins": "a.example, b.example"}),
     ("""['SinkUrl="" Memory=512']""", {"SinkUrl": "", "Memory": "512"}),
     ("{Memory = 512, SinkUrl = ''}", {"SinkUrl": "", "Memory": "512"}),
     ('["Memory=256", "Memory=512"]', {"Memory": "512"}),
     ('["SinkUrl=https://x.example/?a=b\'c"]', {"SinkUrl": "https://x.example/?a=b'c"})],
)  # fmt: skip
def test_values_are_those_that_sam_finds(overrides: str, values: Values, built: Path) -> None:
    """Quotes are not part of a value; an empty value is set too."""
    released(built, overrides=overrides)
    assert parameters_of(built.with_name("own.toml"), []) == values


@pytest.mark.parametrize(
    "text", ["SinkUrl=", "SinkUrl= Memory=512", "AllowedRequesters=api_key:ci, api_key:x", 'EventSource=/a"b', "A-B=1"]
)
def test_parameters_that_sam_would_ignore_are_refused(text: str, built: Path) -> None:
    """Completely or in part, because sam would deploy another value than the checked one."""
    with pytest.raises(Faulty, match="a parameter is given as Name=value"):
        parameters_of(built, [text])


def test_settings_of_all_commands_count(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for sam; anything but a table is reported."""
    config = built.with_name("own.toml")
    config.write_text('[default.global.parameters]\nparameter_overrides = "Memory=512"\n')
    assert parameters_of(config, []) == {"Memory": "512"}
    config.write_text(
        '[default.global.parameters]\nparameter_overrides = "Memory=512"\n' + CONFIG.format('"Timeout=60"')
    )
    assert parameters_of(config, []) == {"Timeout": "60"}
    config.write_text("default = 3")
    assert main(["--config", str(config), "--template", str(built)]) is Exit.USAGE
    assert "must be a table" in capsys.readouterr().err


KEPT = {"CanaryServerId": "0" * 8 + "-0000-0000-0000-" + "0" * 12, "AllowedProjects": "0" * 32, "Gone": "x"}
KEPT["CanaryVolumeId"] = KEPT["CanaryServerId"]


def test_parameters_that_the_stack_keeps_count(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that is not named stays, and may be needed or conflict."""
    assert released(built, "Canary=5m") is Exit.USAGE
    assert "CanaryServerId must be set" in capsys.readouterr().err
    assert released(built, "Canary=5m", kept=KEPT) is Exit.DETACHED
    assert released(built, "AllowedProjectsSecretId=s", kept=KEPT) is Exit.USAGE
    assert "exclude each other" in capsys.readouterr().err
    assert not list(faults_in(TEMPLATE, {"Canary": "5m"}, None))


def test_values_that_only_aws_knows_are_no_fault(built: Path) -> None:
    """The canary has the ARN of its rule in a variable, which is known only after the deployment."""
    assert released(built, *(f"{name}={value}" for name, value in KEPT.items() if name != "Gone"), "Canary=5m") == 0


@mock_aws
def test_kept_parameters_are_read_from_the_stack_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty for a stack that does not exist; None if AWS denies access or the file names no stack."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config = tmp_path / "own.toml"
    config.write_text(CONFIG.format("[]") + 'region = "eu-central-1"\n')
    assert kept_in(config) == {}
    body = {"Parameters": {"Memory": {"Type": "Number"}}, "Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}
    boto3.client("cloudformation", "eu-central-1").create_stack(
        StackName="x", TemplateBody=json.dumps(body), Parameters=[{"ParameterKey": "Memory", "ParameterValue": "512"}]
    )
    assert kept_in(config) == {"Memory": "512"}
    config.write_text(CONFIG.format("[]") + 'profile = "nobody"\n')
    assert kept_in(config) is None
    config.write_text("")
    assert kept_in(config) is None


def test_each_set_of_values_is_a_revision(built: Path) -> None:
    """The same values give the same revision in any order; another value changes every function."""
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
def test_valid_parameters_are_released(parameters: list[str], built: Path) -> None:
    """Values that only CloudFormation knows, such as an ARN, are no fault."""
    assert released(built, *parameters) is Exit.DETACHED


@pytest.mark.parametrize(
    ("parameters", "said"),
    [(["MaxConcurrency=1"], "MaxConcurrency: there is no such parameter; do you mean MaximumConcurrency?"),
     (["Nothing=1"], "Nothing: there is no such parameter\n"),
     (["Webhook=on"], "Webhook=on: must be one of off, iam, public"),
     (["Memory=64"], "Memory=64: must be a whole number from 192 to 10240"),
     (["Memory=1.5"], "Memory=1.5: must be a whole number"),
     (["SubnetIds=10.0.0.0/24"], "SubnetIds=10.0.0.0/24: is not valid"),
     (["SubnetIds=subnet-0a1b2c3d"], "SecurityGroupIds must be set beside SubnetIds."),
     (["SinkUrl=https://x.example"], "SinkUrl needs SinkSecretId"),
     (["ConfirmTimeout=700", "WatchTimeout=600"], "CONFIRM_TIMEOUT must not be longer than WATCH_TIMEOUT"),
     (["AllowedRequesters=robot:x"], "ALLOWED_REQUESTERS"),
     (["Memory"], "Memory: a parameter is given as Name=value"),
     (["Memory=64", "Webhook=on"], "Webhook=on: must be one of off, iam, public")],
)  # fmt: skip
def test_parameters_that_would_fail_later_are_refused_now(
    parameters: list[str], said: str, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every fault of a parameter is a line, and the template stays unchanged."""
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
    """A released template is not released again with another revision."""
    assert released(built) is Exit.DETACHED
    assert released(built, "Memory=512") is Exit.USAGE
    assert "run `sam build` again" in capsys.readouterr().err
