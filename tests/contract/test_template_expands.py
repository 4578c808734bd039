"""The resources of the template, expanded by AWS's translator and created in moto."""

import json
import re
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import boto3
import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from moto import mock_aws

from shared.aws.secrets import SHORTEST_KEY
from shared.policy import MAX_RECEIVES
from tests.contract.expanded import expanded
from tests.messages import SERVER, VOLUME, bare
from tools.commands import main as by_hand
from tools.deployed import Deployed, Log, Unknown, names_of
from tools.exit_status import Exit
from tools.redrive import main as redrive
from tools.validation.resolve import resolved
from tools.validation.switches import defaults_of
from tools.validation.template import PLACES, ROOT, read
from tools.validation.translator import NotTransformed, packaged, transformed

REGION = "eu-central-1"
STACK = "volume-detach"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": REGION}
SENDERS = [
    f"arn:aws:sns:{REGION}:123456789012:changes",
    f"arn:aws:events:{REGION}:123456789012:rule/theirs/to-detach",
    f"arn:aws:events:{REGION}:123456789012:rule/on-the-default-bus",
]
PARAMETERS = {
    "SenderArns": ",".join(SENDERS),
    "AllowedProjects": "1" * 32,
    "SinkUrl": "https://sink.example.com",
    "SinkSecretId": "sink",
    "VerdictBucket": "verdicts",
    "AlarmTopicArn": f"arn:aws:sns:{REGION}:123456789012:alarms",
    "TicketTopicArn": f"arn:aws:sns:{REGION}:123456789012:tickets",
    "SenderAccounts": "111122223333,444455556666",
    "SchemaRegistry": "on",
    "Webhook": "public",
    "Canary": "5m",
    "CanaryServerId": SERVER,
    "CanaryVolumeId": VOLUME,
}
"""Everything that is conditional is switched on."""


def put_policy(_: str, properties: dict[str, Any]) -> None:
    for url in properties["Queues"]:
        policy = json.dumps(properties["PolicyDocument"])
        boto3.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


def put_url(_: str, properties: dict[str, Any]) -> None:
    function = properties.pop("TargetFunctionArn")
    boto3.client("lambda").create_function_url_config(FunctionName=function, **properties)


def put_alarm(name: str, properties: dict[str, Any]) -> None:
    boto3.client("cloudwatch").put_metric_alarm(AlarmName=name, **numbered(properties))


def numbered(value: Any) -> Any:
    """CloudFormation takes numbers as text, and CloudWatch does not."""
    match value:
        case str() if value.isdecimal():
            return int(value)
        case dict():
            return {key: item if key == "Value" else numbered(item) for key, item in value.items()}
        case list():
            return [numbered(item) for item in value]
    return value


def put_secret_policy(_: str, properties: dict[str, Any]) -> None:
    policy = json.dumps(properties["ResourcePolicy"])
    boto3.client("secretsmanager").put_resource_policy(SecretId=properties["SecretId"], ResourcePolicy=policy)


def make_secret(name: str, properties: dict[str, Any]) -> str:
    """With a generated value, as CloudFormation does; its ARN, by which the others know it."""
    client, generate = boto3.client("secretsmanager"), dict(properties["GenerateSecretString"])
    template, key = json.loads(generate.pop("SecretStringTemplate")), generate.pop("GenerateStringKey")
    value = template | {key: client.get_random_password(**generate)["RandomPassword"]}
    arn: str = client.create_secret(Name=name, SecretString=json.dumps(value))["ARN"]
    return arn


def put_alias(name: str, properties: dict[str, Any]) -> None:
    """The stand-in publishes what it has; a version of CloudFormation's would be the same."""
    functions, function = boto3.client("lambda"), properties["FunctionName"]
    version = functions.publish_version(FunctionName=function)["Version"]
    functions.create_alias(FunctionName=function, Name=properties["Name"], FunctionVersion=version)


def put_bus_policy(_: str, properties: dict[str, Any]) -> None:
    statement = {"Sid": properties["StatementId"], **properties["Statement"]}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    boto3.client("events").put_permission(EventBusName=properties["EventBusName"], Policy=policy)


def leave_out(_: str, properties: dict[str, Any]) -> None:
    """No stand-in has such a thing."""


def referring(value: Any, name: str, to: Any) -> Any:
    """The same with what a resource is called in the place of its logical name."""
    match value:
        case {"Ref": str(found)} | {"Fn::GetAtt": [str(found), "FunctionUrl"]} if found == name:
            return to
        case dict():
            return {key: referring(item, name, to) for key, item in value.items()}
        case list():
            return [referring(item, name, to) for item in value]
    return value


BY_ITS_OWN_API: dict[str, Callable[[str, dict[str, Any]], None]] = {
    "AWS::SQS::QueuePolicy": put_policy,
    "AWS::Lambda::Url": put_url,
    "AWS::CloudWatch::Alarm": put_alarm,
    "AWS::SecretsManager::ResourcePolicy": put_secret_policy,
    "AWS::Lambda::Alias": put_alias,
    "AWS::Lambda::Version": leave_out,
    "AWS::Events::EventBusPolicy": put_bus_policy,
    "AWS::EventSchemas::Registry": leave_out,
}
"""What the stand-in's CloudFormation does not know, and how it is created instead: all else is CloudFormation's."""

SECRET = "AWS::SecretsManager::Secret"
"""Not known to it either, and made first, since others refer to it."""

NO_TAGS = {"AWS::Lambda::EventSourceMapping"}
"""SAM has no property by which the mapping of an event gets tags."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The physical names by the logical ones, the types of all that CloudFormation made, and the outputs."""

    names: dict[str, str]
    types: dict[str, str]
    outputs: dict[str, str]


def deployed(parameters: dict[str, str], region: str = REGION) -> dict[str, Any]:
    """What CloudFormation would create: transformed with these parameters, and without what they switch off.

    The parameters stay, so that the stack can be asked for their values.
    """
    (found,) = transformed(packaged(read((ROOT / "template.yaml").read_text())), [(region, parameters)])
    assert not isinstance(found, NotTransformed), found
    values = defaults_of(found) | parameters
    told = {name: {"Type": "String", "Default": value} for name, value in values.items()}
    return resolved(found, values, replace(PLACES[0], region=region)) | {"Parameters": told}


def create(template: dict[str, Any]) -> Stack:
    """Creates the template as it is, but for the artifact; what CloudFormation cannot do comes by its own API."""
    body = deepcopy(template)
    for properties in of_type(body, "AWS::Lambda::Function").values():
        properties["Code"] = {"ZipFile": "as if it had been uploaded"}
    for name, properties in of_type(template, SECRET).items():
        del body["Resources"][name]
        body = referring(body, name, make_secret(name, properties))
    for name in of_type(template, "AWS::Lambda::Url"):
        body["Resources"] = referring(body["Resources"], name, "https://webhook.example.com/")
    aliases = of_type(body, "AWS::Lambda::Alias")
    for properties in aliases.values():
        del properties["FunctionVersion"]
    for name, properties in aliases.items():
        function = {"Fn::GetAtt": [properties["FunctionName"]["Ref"], "Arn"]}
        body["Resources"] = referring(body["Resources"], name, function)
    apart = {name: r for name, r in body["Resources"].items() if r["Type"] in BY_ITS_OWN_API}
    body["Resources"] = {name: r for name, r in body["Resources"].items() if name not in apart}
    body["Outputs"] = {name: o for name, o in body["Outputs"].items() if {*named(o)}.isdisjoint(apart)}
    asked = {name: r for name, r in apart.items() if BY_ITS_OWN_API[r["Type"]] is not leave_out}
    for reference in references(asked):  # so that CloudFormation says what they stand for
        body["Outputs"][key(reference)] = {"Value": reference}
    client = boto3.client("cloudformation")
    client.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(body),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[
            {"ParameterKey": name, "ParameterValue": told["Default"]}
            for name, told in template.get("Parameters", {}).items()
        ],
    )
    (made,) = client.describe_stacks(StackName=STACK)["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"
    outputs = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    for name, resource in sorted(asked.items(), key=lambda item: item[1]["Type"] != "AWS::Lambda::Alias"):
        BY_ITS_OWN_API[resource["Type"]](name, filled(resource["Properties"], outputs))
    kept = client.list_stack_resources(StackName=STACK)["StackResourceSummaries"]
    return Stack(
        names={r["LogicalResourceId"]: r["PhysicalResourceId"] for r in kept},
        types={r["LogicalResourceId"]: r["ResourceType"] for r in kept},
        outputs=outputs,
    )


def of_type(template: dict[str, Any], type_: str) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == type_}


def references(value: Any) -> Iterator[dict[str, Any]]:
    """What stands for something else, wherever it stands."""
    match value:
        case {"Ref": _} | {"Fn::GetAtt": _} | {"Fn::Sub": _}:
            yield value
        case dict():
            for item in value.values():
                yield from references(item)
        case list():
            for item in value:
                yield from references(item)


def named(value: Any) -> Iterator[str]:
    for reference in references(value):
        match reference:
            case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
                yield name
            case {"Fn::Sub": [str(text), dict(own)]}:
                yield from re.findall(r"\$\{(\w+)[.}]", text)
                yield from named(own)
            case {"Fn::Sub": str(text)}:
                yield from re.findall(r"\$\{(\w+)[.}]", text)


def key(reference: dict[str, Any]) -> str:
    """A name for an output: of letters and digits only."""
    return f"For{sha256(json.dumps(reference).encode()).hexdigest()[:32]}"


def filled(value: Any, outputs: dict[str, str]) -> Any:
    """`value` with what its references stand for."""
    match value:
        case {"Ref": _} | {"Fn::GetAtt": _} | {"Fn::Sub": _}:
            return outputs[key(value)]
        case {"Fn::Select": [at, {"Fn::Split": [separator, text]}]}:
            return filled(text, outputs).split(separator)[int(at)]
        case dict():
            return {name: filled(item, outputs) for name, item in value.items()}
        case list():
            return [filled(item, outputs) for item in value]
    return value


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return expanded()


@pytest.fixture(scope="module")
def account() -> Iterator[None]:
    """An AWS account in which functions run nothing, so that no container is asked for."""
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"lambda": {"use_docker": False}}):
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        yield


@pytest.fixture(scope="module")
def all_on() -> dict[str, Any]:
    return deployed(PARAMETERS)


@pytest.fixture(scope="module")
def stack(account: None, all_on: dict[str, Any]) -> Stack:
    return create(all_on)


def test_everything_is_created(stack: Stack, template: dict[str, Any], all_on: dict[str, Any]) -> None:
    """CloudFormation lists each resource under its name and type; the others are where their own APIs list them."""
    types = {name: r["Type"] for name, r in all_on["Resources"].items()}
    assert {*template["Resources"]} - {*types} == {"DeploymentRole", "Key"}
    assert stack.types == {name: type_ for name, type_ in types.items() if type_ not in {*BY_ITS_OWN_API, SECRET}}
    alarms = boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert {a["AlarmName"] for a in alarms} == set(of_type(template, "AWS::CloudWatch::Alarm"))
    topics = {"PAGE": [PARAMETERS["AlarmTopicArn"]], "TICKET": [PARAMETERS["TicketTopicArn"]]}
    for alarm in alarms:
        told = topics[alarm["AlarmDescription"].partition(":")[0]]
        assert (alarm["AlarmActions"], alarm["OKActions"]) == (told, told)


def test_alarms_on_the_rule_name_it(stack: Stack) -> None:
    """EventBridge counts under the names of the bus and of the rule, without its ARN."""
    rules = boto3.client("events").list_rules(EventBusName=stack.outputs["EventBusName"])["Rules"]
    (rule,) = [rule["Name"] for rule in rules if "RequestsFromBus" in rule["Name"]]
    alarms = boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]
    named = [a["Dimensions"] for a in alarms if a.get("Namespace") == "AWS/Events"]
    expected = {"EventBusName": stack.outputs["EventBusName"], "RuleName": rule}
    assert [{d["Name"]: d["Value"] for d in dimensions} for dimensions in named] == [expected] * 3


@pytest.mark.usefixtures("account")
def test_no_parameter_is_needed(template: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """With its defaults alone the template is created, too; nothing is there that is off, and alarms tell nobody."""
    region = "eu-west-1"  # beside the other stack
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    by_default = deployed({}, region)
    stack = create(by_default)
    apart = {*BY_ITS_OWN_API, SECRET}
    assert set(stack.types) == {n for n, r in by_default["Resources"].items() if r["Type"] not in apart}
    alarms = {a["AlarmName"]: a for a in boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]}
    assert set(of_type(template, "AWS::CloudWatch::Alarm")) - set(alarms) == {
        "CanaryAlarm", "SinkFailuresAlarm", "WebhookFailuresAlarm", "WebhookThrottlesAlarm"
    }  # fmt: skip
    assert {len(a["AlarmActions"]) for a in alarms.values()} == {0}
    assert set(statements_of(stack.outputs["RequestQueueUrl"])) == {"RequestsFromBus", "NothingInTheClear"}
    left_out = {"Webhook", "Canary", "Anybody", "Key", "EventBusPolicy", "EventSchemas", "DeploymentRole"}
    assert not [name for name in by_default["Resources"] if any(part in name for part in left_out) and
                not name.startswith("MessageKey")]  # fmt: skip


@pytest.mark.usefixtures("account")
def test_two_stacks_and_two_regions_have_no_name_in_common() -> None:
    """Whatever is named at all bears the stack's name, and the region's where names are the whole account's."""
    named = {
        name: properties[key]
        for name, properties in ((n, r["Properties"]) for n, r in deployed(PARAMETERS)["Resources"].items())
        for key in properties
        if key in ("Name", "RoleName", "QueueName", "FunctionName", "DashboardName", "RegistryName", "AlarmName")
        and isinstance(properties[key], str | dict)
        and "Alias" not in name
    }
    by_stack = {name: value for name, value in named.items() if "AWS::StackName" in json.dumps(value)}
    assert [name for name in named if name not in by_stack and not [*references(named[name])]] == []
    assert "AWS::Region" in json.dumps(by_stack["Dashboard"])


def test_the_rules_outlive_the_expansion(template: dict[str, Any]) -> None:
    """CloudFormation checks the parameters by the rules of what it is given, and that is the expanded template."""
    assert {name: len(rule["Assertions"]) for name, rule in template["Rules"].items()} == {
        "VerdictsAreSigned": 1,
        "VpcNeedsSecurityGroups": 1,
        "SecurityGroupsNeedVpc": 1,
        "OneListOfProjects": 1,
        "CanaryHasSomethingToCheck": 2,
    }


def test_the_queues_are_as_written(stack: Stack) -> None:
    """Encrypted, with dead letters, and a visibility timeout of six times the function's."""
    sqs = boto3.client("sqs")
    requests, dead = (
        sqs.get_queue_attributes(QueueUrl=stack.outputs[f"{name}Url"], AttributeNames=["All"])["Attributes"]
        for name in ("RequestQueue", "DeadLetterQueue")
    )
    assert json.loads(requests["RedrivePolicy"]) == {
        "deadLetterTargetArn": dead["QueueArn"],
        "maxReceiveCount": MAX_RECEIVES,
    }
    assert [q["VisibilityTimeout"] for q in (requests, dead)] == ["360", "360"]
    assert [q["SqsManagedSseEnabled"] for q in (requests, dead)] == ["true", "true"]
    assert [q["MessageRetentionPeriod"] for q in (requests, dead)] == [str(14 * 86400)] * 2


def test_the_functions_are_as_written(stack: Stack, template: dict[str, Any]) -> None:
    """Four functions with their variables resolved, each traced, with a log group that forgets in time."""
    functions = {f["Handler"].split(".")[1]: f for f in boto3.client("lambda").list_functions()["Functions"]}
    assert set(functions) == {"detach_volume", "receive_webhook", "report_dead_letter", "run_canary"}
    variables = functions["detach_volume"]["Environment"]["Variables"]
    assert variables["REQUEST_QUEUE_URL"] == stack.outputs["RequestQueueUrl"]
    assert variables["EVENT_BUS_NAME"] == stack.outputs["EventBusName"] == f"{STACK}-volume-detach"
    assert variables["CLOUD_SECRET_PATTERN"] == "volume-detach/cloud/{project_id}"
    groups = boto3.client("logs").describe_log_groups()["logGroups"]
    assert [group["retentionInDays"] for group in groups] == [30] * 4
    for properties in of_type(template, "AWS::Lambda::Function").values():
        assert properties["TracingConfig"] == {"Mode": "Active"}  # the stand-in does not keep it
        assert properties["LoggingConfig"]["LogGroup"]["Ref"] in of_type(template, "AWS::Logs::LogGroup")


def test_roles_have_no_more_than_their_own_policy(template: dict[str, Any]) -> None:
    """Nothing is attached to the roles in the course of the expansion, and no role is added."""
    roles = of_type(template, "AWS::IAM::Role")
    assert {name: p.get("ManagedPolicyArns") for name, p in roles.items()} == {
        "DetachVolumeRole": None,
        "ReportDeadLetterRole": None,
        "ReceiveWebhookRole": None,
        "RunCanaryRole": None,
        "DeploymentRole": None,
    }


def test_each_function_reads_its_own_secrets(stack: Stack, template: dict[str, Any]) -> None:
    """The worker those of the clouds, the webhook its keys, and who sends to the sink the one that signs."""
    read: dict[str, set[str]] = {}
    for function in of_type(template, "AWS::Lambda::Function"):
        role = stack.names[f"{function.removesuffix('Function')}Role"]
        (name,) = boto3.client("iam").list_role_policies(RoleName=role)["PolicyNames"]
        policy = boto3.client("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        read[function] = {re.sub("^(MessageKey)-.*", r"\1", n) for n in re.findall(r":secret:([^']+)'", str(policy))}
    assert read == {
        "DetachVolumeFunction": {"volume-detach/cloud-??????", "volume-detach/cloud/*", "sink-??????", "MessageKey"},
        "ReportDeadLetterFunction": {"sink-??????", "MessageKey"},
        "ReceiveWebhookFunction": {"volume-detach/webhook-??????", "MessageKey"},
        "RunCanaryFunction": set(),
    }


def test_the_key_of_our_own_messages_is_made_and_read_by_the_functions_alone(stack: Stack) -> None:
    """It is long enough for the code, and even those who may read every secret of the account cannot read it."""
    client = boto3.client("secretsmanager")
    (secret,) = client.list_secrets()["SecretList"]
    (worker,) = (f for f in boto3.client("lambda").list_functions()["Functions"] if "detach_volume" in f["Handler"])
    assert worker["Environment"]["Variables"]["MESSAGE_KEY_SECRET_ID"] == secret["ARN"]
    key = json.loads(client.get_secret_value(SecretId=secret["ARN"])["SecretString"])["key"]
    assert re.fullmatch(r"[A-Za-z0-9]{64}", key)
    assert len(key) >= SHORTEST_KEY
    (denied,) = json.loads(client.get_resource_policy(SecretId=secret["ARN"])["ResourcePolicy"])["Statement"]
    assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "secretsmanager:GetSecretValue")
    (readers,) = denied["Condition"]["ArnNotEquals"].values()
    roles = ("DetachVolumeRole", "ReportDeadLetterRole", "ReceiveWebhookRole")
    assert [arn.rpartition("/")[2] for arn in readers] == [stack.names[role] for role in roles]


def test_the_queues_are_read_by_their_functions(stack: Stack) -> None:
    """Each function reads its own queue, a bounded number of batches at a time, and reports failures one by one."""
    mappings = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    read = {m["FunctionArn"].split(":")[-1]: m for m in mappings}
    for function, queue, concurrency in (
        ("DetachVolumeFunction", "RequestQueue", 5),
        ("ReportDeadLetterFunction", "DeadLetterQueue", 2),
    ):
        mapping = read.pop(stack.names[function])
        assert mapping["EventSourceArn"].split(":")[-1] == stack.outputs[f"{queue}Url"].split("/")[-1]
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": concurrency}
    assert read == {}
    functions = {m["UUID"]: m["FunctionArn"].split(":")[-1] for m in mappings}
    assert functions[stack.outputs["RequestsMappingId"]] == stack.names["DetachVolumeFunction"]
    assert functions[stack.outputs["DeadLettersMappingId"]] == stack.names["ReportDeadLetterFunction"]


def test_the_bus_keeps_what_was_on_it(stack: Stack) -> None:
    """Requests and verdicts are archived, for as long as the parameter says."""
    (archive,) = boto3.client("events").list_archives()["Archives"]
    assert (archive["EventSourceArn"], archive["RetentionDays"]) == (stack.outputs["EventBusArn"], 30)
    assert archive["ArchiveName"] in stack.outputs["EventArchiveArn"]


def test_a_request_on_the_bus_reaches_the_queue(stack: Stack) -> None:
    """The rule lets requests through, whole, and verdicts not; with its mapping paused the function leaves them."""
    boto3.client("lambda").update_event_source_mapping(UUID=stack.outputs["RequestsMappingId"], Enabled=False)
    events, sqs = boto3.client("events"), boto3.client("sqs")
    for kind in ("detach_requested", "detached", "detach_failed"):
        entry = {
            "EventBusName": stack.outputs["EventBusName"],
            "Source": "/changes",
            "DetailType": f"bms.volume.{kind}.v1",
            "Detail": json.dumps({"server_id": "x"}),
        }
        assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
    messages = sqs.receive_message(QueueUrl=stack.outputs["RequestQueueUrl"], MaxNumberOfMessages=10)["Messages"]
    (envelope,) = [json.loads(message["Body"]) for message in messages]
    assert (envelope["detail-type"], envelope["detail"]) == ("bms.volume.detach_requested.v1", {"server_id": "x"})
    assert envelope["id"]


def test_dead_letters_are_sent_back_by_the_stacks_name(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """`make redrive` finds queues, logs, settings and the reporter, which it stops meanwhile, in what is deployed."""
    functions, sqs = boto3.client("lambda"), boto3.client("sqs")
    mapping = stack.outputs["DeadLettersMappingId"]

    def enabled(wanted: bool) -> None:
        functions.update_event_source_mapping(UUID=mapping, Enabled=wanted)

    assert redrive(["--stack", STACK, "--yes"]) == 0
    assert "Stopping" in capsys.readouterr().out
    assert functions.get_event_source_mapping(UUID=mapping)["State"] == "Enabled"
    enabled(False)
    functions.update_event_source_mapping(UUID=stack.outputs["RequestsMappingId"], Enabled=False)
    sqs.send_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"], MessageBody=json.dumps(bare(SERVER, VOLUME)))
    assert redrive(["--stack", STACK, "--yes"]) == 0
    assert "1 sent back, 0 left" in capsys.readouterr().out
    assert functions.get_event_source_mapping(UUID=mapping)["State"] == "Disabled"
    (message,) = sqs.receive_message(QueueUrl=stack.outputs["RequestQueueUrl"])["Messages"]
    assert json.loads(message["Body"])["data"]["volume_id"] == VOLUME


def test_a_person_asks_a_stack_by_its_name(stack: Stack) -> None:
    """A request goes to the queue; its verdicts alone are heard, and nothing of it is left in the account."""
    boto3.client("lambda").update_event_source_mapping(UUID=stack.outputs["RequestsMappingId"], Enabled=False)
    events, sqs = boto3.client("events"), boto3.client("sqs")
    names = names_of(STACK)
    assert (names.queue_url, names.prefix) == (stack.outputs["RequestQueueUrl"], "bms")
    assert names.log_groups[1] == stack.names["DetachVolumeLogs"]
    lines: list[str] = []
    mine = {"id": "by-hand-1", "source": "/by-hand"}
    log = Log(boto3.client("logs"), names.log_groups)
    with Deployed(names, "by-hand-1", lambda line, message: lines.append(message), log) as deployed:
        deployed.ask(json.dumps(bare(SERVER, VOLUME)))
        (message,) = sqs.receive_message(QueueUrl=names.queue_url)["Messages"]
        assert json.loads(message["Body"])["volume_id"] == VOLUME
        _log_a_line(names.log_groups[1], {"message": "request stepped", "request_id": "by-hand-1"})
        for asked in ({"id": "4711", "source": "/by-hand"}, {"id": "by-hand-1", "source": "/x"}, mine):
            verdict = {"data": {"request": asked}}
            entry = {"EventBusName": names.bus, "Source": "/x", "DetailType": "x", "Detail": json.dumps(verdict)}
            events.put_events(Entries=[entry])
        assert deployed.heard() == [{"data": {"request": mine}}]
        assert lines == ["request stepped"]
        assert len(events.list_rules(EventBusName=names.bus, NamePrefix="by-hand")["Rules"]) == 1
    assert events.list_rules(EventBusName=names.bus, NamePrefix="by-hand")["Rules"] == []
    assert sqs.list_queues(QueueNamePrefix="by-hand").get("QueueUrls", []) == []


def test_a_person_pauses_and_resumes_a_stack(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """By its name; and the template says nothing that a deployment would undo it by."""
    functions, mapping = boto3.client("lambda"), stack.outputs["RequestsMappingId"]
    for command, state in (("pause", "Disabled"), ("resume", "Enabled"), ("pause", "Disabled")):
        assert by_hand([command, "--stack", STACK, "--yes"]) is Exit.DETACHED
        assert functions.get_event_source_mapping(UUID=mapping)["State"] == state
    assert "Paused" in capsys.readouterr().out
    assert by_hand(["drain", "--stack", STACK]) is Exit.USAGE


def test_a_deployment_does_not_resume(template: dict[str, Any]) -> None:
    mappings = of_type(template, "AWS::Lambda::EventSourceMapping")
    assert all("Enabled" not in properties for properties in mappings.values())


def _log_a_line(group: str, line: dict[str, Any]) -> None:
    logs = boto3.client("logs")
    logs.create_log_stream(logGroupName=group, logStreamName="by-hand")
    at = int(time.time() * 1000) + 1000
    event = {"timestamp": at, "message": json.dumps(line)}
    logs.put_log_events(logGroupName=group, logStreamName="by-hand", logEvents=[event])


def test_a_stack_that_there_is_not() -> None:
    with mock_aws(), pytest.raises(Unknown, match=r"^There is no stack nothing of this service"):
        names_of("nothing")


def statements_of(queue_url: str) -> dict[str, dict[str, Any]]:
    """The policy that a queue has taken, by the names of its statements."""
    asked = boto3.client("sqs").get_queue_attributes(QueueUrl=queue_url, AttributeNames=["Policy", "QueueArn"])
    statements = json.loads(asked["Attributes"]["Policy"])["Statement"]
    assert {s["Resource"] for s in statements} == {asked["Attributes"]["QueueArn"]}
    return {s["Sid"]: s for s in statements}


def test_each_queue_has_a_policy_of_its_own(template: dict[str, Any]) -> None:
    """SQS refuses a policy with a statement about two queues, or about another one than it is put on."""
    policies = of_type(template, "AWS::SQS::QueuePolicy")
    on = {name: [queue["Ref"] for queue in p["Queues"]] for name, p in policies.items()}
    assert on == {f"{queue}Policy": [queue] for queue in of_type(template, "AWS::SQS::Queue")}
    for name, (queue,) in on.items():
        statements = policies[name]["PolicyDocument"]["Statement"]
        about = [(s["Fn::If"][1] if "Fn::If" in s else s)["Resource"] for s in statements]
        assert about == [{"Fn::GetAtt": [queue, "Arn"]}] * len(statements)


def test_the_rule_may_write(stack: Stack) -> None:
    """The policy of each queue names the rule as a source, and forbids what is not encrypted."""
    events = boto3.client("events")
    (rule,) = events.list_rules(EventBusName=stack.outputs["EventBusName"], NamePrefix=f"{STACK}-RequestsFromBus")[
        "Rules"
    ]
    (target,) = events.list_targets_by_rule(Rule=rule["Name"], EventBusName=stack.outputs["EventBusName"])["Targets"]
    written = {"RequestQueue": target["Arn"], "DeadLetterQueue": target["DeadLetterConfig"]["Arn"]}
    for queue, arn in written.items():
        statements = statements_of(stack.outputs[f"{queue}Url"])
        allow, deny = statements["RequestsFromBus"], statements["NothingInTheClear"]
        assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": rule["Arn"]}}
        assert (allow["Effect"], allow["Action"], allow["Resource"]) == ("Allow", "sqs:SendMessage", arn)
        assert allow["Principal"] == {"Service": "events.amazonaws.com"}
        assert (deny["Effect"], deny["Action"], deny["Principal"]) == ("Deny", "sqs:*", "*")
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_senders_that_are_named_may_write(stack: Stack) -> None:
    """Topics and rules of the parameter, these alone, and to the request queue alone."""
    allow = statements_of(stack.outputs["RequestQueueUrl"])["RequestsFromSenders"]
    assert (allow["Effect"], allow["Action"]) == ("Allow", "sqs:SendMessage")
    assert allow["Principal"] == {"Service": ["sns.amazonaws.com", "events.amazonaws.com"]}
    assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": SENDERS}}
    assert set(statements_of(stack.outputs["DeadLetterQueueUrl"])) == {"RequestsFromBus", "NothingInTheClear"}


def test_only_senders_can_be_named(template: dict[str, Any]) -> None:
    """No other ARN, no pattern and no space gets into the policy by the parameter."""
    pattern = template["Parameters"]["SenderArns"]["AllowedPattern"]
    assert all(re.fullmatch(pattern, good) for good in ("", *SENDERS, ",".join(SENDERS)))
    for bad in ("*", "arn:aws:sns:*:*:*", "arn:aws:s3:::bucket", f"{SENDERS[0]}, {SENDERS[1]}", f"{SENDERS[0]},"):
        assert not re.fullmatch(pattern, bad), bad


def test_a_first_deployment_that_fails_leaves_nothing(template: dict[str, Any]) -> None:
    """Logs outlive a stack that was once deployed; a new account's concurrency is not reserved without being asked."""
    groups = [r for r in template["Resources"].values() if r["Type"] == "AWS::Logs::LogGroup"]
    assert [group["DeletionPolicy"] for group in groups] == ["RetainExceptOnCreate"] * 4
    assert template["Parameters"]["WebhookConcurrency"]["Default"] == 0


def test_the_webhook_is_open_to_everybody_and_has_no_cors(stack: Stack, template: dict[str, Any]) -> None:
    """A Function URL without AWS's authorisation needs two permissions; CORS would answer OPTIONS in our place."""
    function = stack.names["ReceiveWebhookFunction"]
    url = boto3.client("lambda").get_function_url_config(FunctionName=function)
    assert (url["AuthType"], url["InvokeMode"]) == ("NONE", "BUFFERED")
    (asked,) = of_type(template, "AWS::Lambda::Url").values()
    assert "Cors" not in asked  # the stand-in makes one up
    policy = json.loads(boto3.client("lambda").get_policy(FunctionName=function)["Policy"])
    statements = {s["Action"]: s for s in policy["Statement"]}
    assert set(statements) == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert {s["Principal"] for s in statements.values()} == {"*"}
    assert statements["lambda:InvokeFunctionUrl"]["FunctionUrlAuthType"] == "NONE"
    assert statements["lambda:InvokeFunction"]["InvokedViaFunctionUrl"] is True


def test_the_canary_is_invoked_and_hears_its_verdicts(stack: Stack) -> None:
    """A rule invokes it as often as the parameter says, and another hands it its own verdicts alone."""
    events, functions, sqs = boto3.client("events"), boto3.client("lambda"), boto3.client("sqs")
    (schedule,) = events.list_rules(NamePrefix=f"{STACK}-CanarySchedule")["Rules"]
    (invoked,) = events.list_targets_by_rule(Rule=schedule["Name"])["Targets"]
    function = functions.get_function_configuration(FunctionName=stack.names["RunCanaryFunction"])
    assert (schedule["ScheduleExpression"], invoked["Arn"]) == ("rate(5 minutes)", function["FunctionArn"])
    (allowed,) = json.loads(functions.get_policy(FunctionName=stack.names["RunCanaryFunction"])["Policy"])["Statement"]
    assert (allowed["Action"], allowed["Principal"]) == ("lambda:InvokeFunction", {"Service": "events.amazonaws.com"})
    assert allowed["Condition"] == {"ArnLike": {"AWS:SourceArn": schedule["Arn"]}}

    variables = function["Environment"]["Variables"]
    assert (variables["CANARY_SERVER_ID"], variables["CANARY_VOLUME_ID"]) == (SERVER, VOLUME)
    assert variables["CANARY_MAPPING_ID"] == stack.outputs["RequestsMappingId"]
    bus, name = variables["CANARY_RULE_ARN"].split(":rule/")[1].split("/")
    assert bus == stack.outputs["EventBusName"]
    assert events.describe_rule(Name=name, EventBusName=bus)["State"] == "ENABLED"
    heard = statements_of(variables["CANARY_QUEUE_URL"])["VerdictsFromBus"]
    assert heard["Condition"] == {"ArnEquals": {"aws:SourceArn": variables["CANARY_RULE_ARN"]}}

    source = variables["EVENT_SOURCE"]
    for who, context in (
        (source, {"canary": "c-1"}),
        (source, {"ticket": "CHG-1"}),
        (source, None),
        ("/x", {"canary": "x"}),
    ):
        detail = {"data": {"verdict": "checked"} | ({"context": context} if context else {})}
        entry = {"EventBusName": bus, "Source": who, "DetailType": "x", "Detail": json.dumps(detail)}
        events.put_events(Entries=[entry])
    messages = sqs.receive_message(QueueUrl=variables["CANARY_QUEUE_URL"], MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(m["Body"])["detail"]["data"]["context"] for m in messages] == [{"canary": "c-1"}]


@pytest.mark.usefixtures("stack")
def test_the_dashboard_is_one_that_cloudwatch_takes() -> None:
    """Every widget is well-formed JSON, with nothing left to fill in."""
    body = boto3.client("cloudwatch").get_dashboard(DashboardName=f"{STACK}-{REGION}")["DashboardBody"]
    assert {widget["type"] for widget in json.loads(body)["widgets"]} == {"metric"}
    assert "${" not in body


def test_everything_can_be_told_apart_by_its_tag(template: dict[str, Any]) -> None:
    """Whatever can have tags carries the stack's name, for bills and searches."""
    for name, resource in template["Resources"].items():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resource["Type"]).schema
        if "Tags" in schema["properties"] and resource["Type"] not in NO_TAGS:
            tags = {tag["Key"]: tag["Value"] for tag in resource["Properties"].get("Tags", ())}
            assert tags.get("service") == {"Ref": "AWS::StackName"}, name


def test_other_accounts_may_send_requests_and_nothing_else(stack: Stack) -> None:
    """To the queue, and to the bus by the type of a request alone: a verdict is this stack's."""
    accounts = ["111122223333", "444455556666"]
    allow = statements_of(stack.outputs["RequestQueueUrl"])["RequestsFromAccounts"]
    assert (allow["Action"], allow["Principal"]) == (["sqs:SendMessage", "sqs:GetQueueUrl"], {"AWS": accounts})
    bus = boto3.client("events").describe_event_bus(Name=stack.outputs["EventBusName"])
    (statement,) = json.loads(bus["Policy"])["Statement"]
    assert (statement["Action"], statement["Principal"]) == ("events:PutEvents", {"AWS": accounts})
    assert statement["Condition"] == {"StringEquals": {"events:detail-type": "bms.volume.detach_requested.v1"}}


def test_other_stacks_find_queue_bus_topic_and_schemas(all_on: dict[str, Any]) -> None:
    """By exports that bear the stack's name."""
    exports = {output["Export"]["Name"]["Fn::Sub"] for output in all_on["Outputs"].values() if "Export" in output}
    names = ("RequestQueueUrl", "RequestQueueArn", "EventBusName", "EventBusArn", "AlarmTopicArn", "SchemaRegistryName")
    assert exports >= {f"${{AWS::StackName}}-{name}" for name in names}


def test_a_release_has_versions_of_its_own(template: dict[str, Any]) -> None:
    """Another code, another revision or another property is another version; the alias goes to it."""
    source = (ROOT / "template.yaml").read_text()
    variants = [
        source,
        source.replace("REVISION: unset", "REVISION: r-1"),
        source.replace("BatchSize: 10", "BatchSize: 9"),
    ]
    found = transformed(packaged(read(source)), [(REGION, {})])
    found += [one for text in variants[1:] for one in transformed(packaged(read(text)), [(REGION, {})])]
    versions = [sorted(of_type(one, "AWS::Lambda::Version")) for one in found if not isinstance(one, NotTransformed)]
    assert versions[0] == versions[2]  # the mapping is no part of the function
    assert not {*versions[0]} & {*versions[1]}
    aliases = of_type(template, "AWS::Lambda::Alias")
    assert {p["Name"] for p in aliases.values()} == {"live"}
    assert len(aliases) == len(versions[0]) == 4


def test_a_release_takes_over_step_by_step_only_if_asked() -> None:
    """Then the page alarms are its brake, each of them one that is there."""
    off, on = deployed({}), deployed({"Deployment": "Canary10Percent30Minutes", "Webhook": "iam"})
    assert of_type(off, "AWS::CodeDeploy::DeploymentGroup") == {}
    groups = of_type(on, "AWS::CodeDeploy::DeploymentGroup")
    assert set(groups) == {
        f"{name}FunctionDeploymentGroup" for name in ("DetachVolume", "ReportDeadLetter", "ReceiveWebhook")
    }
    alarms = of_type(on, "AWS::CloudWatch::Alarm")
    for group in groups.values():
        brakes = [alarm["Name"]["Ref"] for alarm in group["AlarmConfiguration"]["Alarms"]]
        assert len(brakes) >= 3
        assert {alarms[name]["AlarmDescription"].partition(":")[0] for name in brakes} == {"PAGE"}
