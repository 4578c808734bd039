"""`make schemas`: its effect on the registry, and its output."""

import json
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from tests.integration.schema_registry import SchemaRegistry, serving
from tools.commands import main
from tools.contract.event_schemas import event_schemas
from tools.exit_status import Exit

STACK, PREFIX, SOURCE = "volume-detach", "com.example", "/storage/detach"
WANTED = {schema.name: schema for schema in event_schemas(PREFIX, SOURCE)}
FIRST = next(iter(WANTED))


def deploy(stack: str, **outputs: str) -> None:
    """Create a stack with only the parameters and outputs that the command reads."""
    template = {
        "Parameters": {name: {"Type": "String"} for name in ("EventTypePrefix", "EventSource")},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    parameters = {"EventTypePrefix": PREFIX, "EventSource": SOURCE}
    boto3.client("cloudformation").create_stack(
        StackName=stack, TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
    )  # fmt: skip


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[SchemaRegistry]:
    """The registry of a stack; every request must conform to AWS's model."""
    with serving(STACK) as registry, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "local")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL_SCHEMAS", registry.address)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        deploy(STACK, SchemaRegistryName=STACK)
        yield registry
        assert registry.wrong == []


def versions(registry: SchemaRegistry) -> dict[str, int]:
    return {name: len(found) for name, found in registry.schemas.items()}


def outcomes_of(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The printed outcome for each schema."""
    return {name: what for what, name in (line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())}


def test_the_schemas_of_the_stack_are_created(registry: SchemaRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty registry gets all schemas, with the prefix and the source of the stack."""
    assert main(["schemas", "--stack", STACK]) is Exit.DETACHED
    assert outcomes_of(capsys) == dict.fromkeys(WANTED, "created")
    for name, (found,) in registry.schemas.items():
        assert (found["Type"], found["Content"]) == ("OpenApi3", WANTED[name].content)
        assert found["Description"] == WANTED[name].description
    assert "storage-detach@com.example.volume.detached.v1" in registry.schemas


def test_an_equal_schema_gets_no_new_version(registry: SchemaRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """A schema with the same content in another JSON format is unchanged."""
    main(["schemas", "--stack", STACK])
    for (found,) in registry.schemas.values():
        found["Content"] = json.dumps(json.loads(found["Content"]), sort_keys=True)
    capsys.readouterr()
    assert main(["schemas", "--stack", STACK]) is Exit.DETACHED
    assert outcomes_of(capsys) == dict.fromkeys(WANTED, "unchanged")
    assert versions(registry) == dict.fromkeys(WANTED, 1)


@pytest.mark.parametrize(
    "older", [{"Content": "{}"}, {"Content": "not JSON"}, {"Description": "of an earlier release"}]
)
def test_a_different_schema_gets_a_new_version(
    registry: SchemaRegistry, capsys: pytest.CaptureFixture[str], older: dict[str, str]
) -> None:
    """Only the changed schema is updated."""
    main(["schemas", "--stack", STACK])
    registry.schemas[FIRST][0].update(older)
    capsys.readouterr()
    assert main(["schemas", "--stack", STACK]) is Exit.DETACHED
    assert outcomes_of(capsys) == dict.fromkeys(WANTED, "unchanged") | {FIRST: "updated"}
    assert versions(registry) == dict.fromkeys(WANTED, 1) | {FIRST: 2}
    assert registry.schemas[FIRST][-1]["Content"] == WANTED[FIRST].content


def test_removal_deletes_only_our_schemas(registry: SchemaRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """Schemas of an earlier source are removed too; foreign schemas stay, and are listed."""
    main(["schemas", "--stack", STACK])
    earlier, theirs = "old@bms.volume.detached.v1", "their.app@something.happened"
    for name in (earlier, theirs):
        registry.schemas[name] = [{"Content": "{}"}]
    capsys.readouterr()
    assert main(["schemas", "--stack", STACK, "--remove"]) is Exit.DETACHED
    assert outcomes_of(capsys) == dict.fromkeys([*WANTED, earlier], "removed") | {theirs: "not ours"}
    assert list(registry.schemas) == [theirs]


@pytest.mark.parametrize("refused", [(403, "ForbiddenException"), (403, "AccessDeniedException")])
def test_a_missing_permission_is_reported(
    registry: SchemaRegistry, capsys: pytest.CaptureFixture[str], refused: tuple[int, str]
) -> None:
    """The error is one sentence with the needed permissions, and nothing is changed."""
    registry.refused = {"CreateSchema": refused}
    assert main(["schemas", "--stack", STACK]) is Exit.USAGE
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("AWS denies CreateSchema")
    assert "schemas:UpdateSchema" in sentence
    assert "schema/<registry>/*" in sentence
    assert registry.schemas == {}


def test_changes_before_a_refusal_are_reported(registry: SchemaRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 1, and the schemas that were changed before are listed."""
    main(["schemas", "--stack", STACK])
    del registry.schemas[FIRST]
    second = list(WANTED)[1]
    registry.schemas[second][0]["Content"] = "{}"
    registry.refused = {"UpdateSchema": (503, "ServiceUnavailableException")}
    capsys.readouterr()
    assert main(["schemas", "--stack", STACK]) is Exit.FAILED
    out, err = capsys.readouterr()
    assert out == f"created    {FIRST}\n"
    assert err.startswith(f"AWS refused UpdateSchema for {STACK}: ServiceUnavailableException")
    assert versions(registry) == dict.fromkeys(WANTED, 1)


def test_a_stack_without_a_registry_is_reported(registry: SchemaRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the parameter to set; a missing stack has another error."""
    deploy("plain")
    assert main(["schemas", "--stack", "plain"]) is Exit.USAGE
    assert "plain has no schema registry: deploy it with SchemaRegistry=on" in capsys.readouterr().err
    assert main(["schemas", "--stack", "nothing"]) is Exit.USAGE
    assert capsys.readouterr().err.startswith("There is no stack nothing of this service")
    assert registry.schemas == {}
