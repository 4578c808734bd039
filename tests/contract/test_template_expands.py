"""What CloudFormation makes of the template: expanded by AWS's translator, and created as far as the stand-in can."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.contract.expanded import expanded

REGION = "eu-central-1"
STACK = "volume-detach"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": REGION}
PARAMETERS = {
    "AllowedProjects": "1" * 32,
    "SinkUrl": "https://sink.example.com",
    "SinkSecretId": "sink",
    "AlarmTopicArn": f"arn:aws:sns:{REGION}:123456789012:alarms",
}
"""Everything that is conditional is switched on."""

NOT_BY_THE_STAND_IN = {
    "AWS::Lambda::Url": "not known to moto's CloudFormation; its properties and permissions are checked below",
    "AWS::SQS::QueuePolicy": "breaks moto's description of the stack; set through the queue's API below",
    "AWS::CloudWatch::Alarm": "not known to moto's CloudFormation; put through CloudWatch's API below",
    "AWS::CloudWatch::Dashboard": "not known to moto's CloudFormation; put through CloudWatch's API below",
}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return expanded()


@pytest.fixture(scope="module")
def stack(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The stack's resources by their logical names, created in a stand-in of AWS."""
    reduced = deepcopy(template)
    gone = {name for name, found in template["Resources"].items() if found["Type"] in NOT_BY_THE_STAND_IN}
    for name in gone:
        del reduced["Resources"][name]
    for properties in of_type(reduced, "AWS::Lambda::Function").values():
        properties["Code"] = {"ZipFile": "as if it had been uploaded"}
    reduced["Outputs"] = {
        name: output for name, output in template["Outputs"].items() if not any(g in json.dumps(output) for g in gone)
    }
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        client = boto3.client("cloudformation")
        client.create_stack(
            StackName=STACK,
            TemplateBody=json.dumps(reduced),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in PARAMETERS.items()],
        )
        made = client.describe_stacks(StackName=STACK)["Stacks"][0]
        assert made["StackStatus"] == "CREATE_COMPLETE"
        yield {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}


def of_type(template: dict[str, Any], type_: str) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == type_}


def resolved(value: Any) -> Any:
    """References by their own names: enough for what is put through an API of its own."""
    match value:
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"Ref": str(name)}:
            return PARAMETERS.get(name) or {"AWS::StackName": STACK, "AWS::Region": REGION}.get(name, name)
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{name}.{attribute}"
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(resolved({"Ref": found[1]})), text)
        case {"Fn::If": [_, then, _]}:
            return resolved(then)
        case dict():
            return {name: resolved(item) for name, item in value.items()}
        case list():
            return [resolved(item) for item in value]
    return value


def test_the_queues_are_as_written(stack: dict[str, Any]) -> None:
    """Encrypted, with dead letters, and a visibility timeout of six times the function's."""
    sqs = boto3.client("sqs")
    attributes = sqs.get_queue_attributes(QueueUrl=stack["RequestQueueUrl"], AttributeNames=["All"])["Attributes"]
    dead = sqs.get_queue_attributes(QueueUrl=stack["DeadLetterQueueUrl"], AttributeNames=["All"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"] == dead["QueueArn"]
    assert (attributes["VisibilityTimeout"], attributes["SqsManagedSseEnabled"]) == ("360", "true")
    assert int(dead["MessageRetentionPeriod"]) > int(attributes["MessageRetentionPeriod"])


def test_the_functions_are_as_written(stack: dict[str, Any], template: dict[str, Any]) -> None:
    """Three functions with their variables resolved, each with a log group that forgets in time."""
    functions = {f["Handler"]: f for f in boto3.client("lambda").list_functions()["Functions"]}
    assert set(functions) == {
        f"functions.{name}.handler.lambda_handler"
        for name in ("detach_volume", "receive_webhook", "report_dead_letter")
    }
    variables = functions["functions.detach_volume.handler.lambda_handler"]["Environment"]["Variables"]
    assert variables["REQUEST_QUEUE_URL"] == stack["RequestQueueUrl"]
    assert variables["EVENT_BUS_NAME"] == stack["EventBusName"] == f"{STACK}-volume-detach"
    assert variables["CLOUD_SECRET_PATTERN"] == "volume-detach/cloud/{project_id}"
    groups = boto3.client("logs").describe_log_groups()["logGroups"]
    assert [group["retentionInDays"] for group in groups] == [30, 30, 30]
    for properties in of_type(template, "AWS::Lambda::Function").values():
        assert properties["TracingConfig"] == {"Mode": "Active"}  # the stand-in does not keep it
        assert properties["LoggingConfig"]["LogGroup"]["Ref"] in of_type(template, "AWS::Logs::LogGroup")


def test_the_queues_are_read_by_their_functions(stack: dict[str, Any]) -> None:
    """Each event source mapping reports the failures of a batch one by one."""
    mappings = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert {m["EventSourceArn"].split(":")[-1].split("-")[-2] for m in mappings} == {"RequestQueue", "DeadLetterQueue"}
    assert {tuple(m["FunctionResponseTypes"]) for m in mappings} == {("ReportBatchItemFailures",)}
    assert stack["RequestsMappingId"] in {m["UUID"] for m in mappings}


def test_a_request_on_the_bus_reaches_the_queue(stack: dict[str, Any]) -> None:
    """The rule lets requests through, whole, and verdicts not."""
    events, sqs = boto3.client("events"), boto3.client("sqs")
    for kind in ("detach_requested", "detached", "detach_failed"):
        entry = {"EventBusName": stack["EventBusName"], "Source": "/changes", "Detail": json.dumps({"server_id": "x"}),
                 "DetailType": f"bms.volume.{kind}.v1"}  # fmt: skip
        assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
    messages = sqs.receive_message(QueueUrl=stack["RequestQueueUrl"], MaxNumberOfMessages=10)["Messages"]
    (envelope,) = [json.loads(message["Body"]) for message in messages]
    assert (envelope["detail-type"], envelope["detail"]) == ("bms.volume.detach_requested.v1", {"server_id": "x"})
    assert envelope["id"]


def test_only_the_rule_may_write(stack: dict[str, Any], template: dict[str, Any]) -> None:
    """The queues' policy names the rule as the one source, and is one that the queues take."""
    (policy,) = of_type(template, "AWS::SQS::QueuePolicy").values()
    allow, deny = policy["PolicyDocument"]["Statement"]
    assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["RequestsFromBus", "Arn"]}}}
    assert (allow["Action"], deny["Effect"]) == ("sqs:SendMessage", "Deny")
    (rule,) = of_type(template, "AWS::Events::Rule").values()
    (target,) = rule["Targets"]
    dead_letters = target["DeadLetterConfig"]["Arn"]
    assert [target["Arn"], dead_letters] == allow["Resource"]
    document = json.dumps(resolved(policy["PolicyDocument"]))
    boto3.client("sqs").set_queue_attributes(QueueUrl=stack["RequestQueueUrl"], Attributes={"Policy": document})


def test_the_door_is_open_to_everybody_and_has_no_cors(template: dict[str, Any]) -> None:
    """A Function URL without AWS's authorisation needs two permissions; CORS would answer OPTIONS in our place."""
    (url,) = of_type(template, "AWS::Lambda::Url").values()
    assert (url["AuthType"], "Cors" in url) == ("NONE", False)
    permissions = of_type(template, "AWS::Lambda::Permission").values()
    assert {p["Action"] for p in permissions} == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert {p["Principal"] for p in permissions} == {"*"}
    through_the_url = [p.get("FunctionUrlAuthType") == "NONE" or p.get("InvokedViaFunctionUrl") for p in permissions]
    assert through_the_url == [True, True]


@pytest.mark.usefixtures("stack")
def test_alarms_and_dashboard_are_ones_that_cloudwatch_takes(template: dict[str, Any]) -> None:
    """Every alarm passes the API's own validation, and every widget of the dashboard is well-formed JSON."""
    cloudwatch = boto3.client("cloudwatch")
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    for name, properties in alarms.items():
        cloudwatch.put_metric_alarm(AlarmName=name, **resolved(properties))
    kept = {a["AlarmName"]: a for a in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert set(alarms) == set(kept)
    assert {tuple(a["AlarmActions"]) for a in kept.values()} == {(PARAMETERS["AlarmTopicArn"],)}
    (dashboard,) = of_type(template, "AWS::CloudWatch::Dashboard").values()
    body = resolved(dashboard["DashboardBody"])
    assert {widget["type"] for widget in json.loads(body)["widgets"]} == {"metric"}
    cloudwatch.put_dashboard(DashboardName=STACK, DashboardBody=body)


def test_everything_can_be_told_apart_by_its_tag(template: dict[str, Any]) -> None:
    """Functions, queues, bus and logs carry the stack's name, for bills and searches."""
    for type_ in ("AWS::Lambda::Function", "AWS::SQS::Queue", "AWS::Events::EventBus", "AWS::Logs::LogGroup"):
        for name, properties in of_type(template, type_).items():
            tags = {tag["Key"]: tag["Value"] for tag in properties["Tags"]}
            assert tags.get("service") == {"Ref": "AWS::StackName"}, name
