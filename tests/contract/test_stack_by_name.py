"""`make doctor`, `rollback` and `remove` with STACK=, for the template's stack in moto."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from moto import mock_aws
from moto.awslambda_simple.models import lambda_simple_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from tests.contract.test_template_expands import ENVIRONMENT, PARAMETERS, REGION, STACK, Stack, create, deployed
from tools.commands import main as by_hand
from tools.deployed import Deployed, names_of
from tools.detach import Service
from tools.doctor import main as doctor
from tools.examination import Line, State
from tools.exit_status import Exit
from tools.permissions import READS
from tools.removal import obstacles
from tools.removal import of_stack as removable
from tools.rollback import of_stack as versioned
from tools.stack_doctor import StackExamination
from tools.stack_facts import Resource
from tools.stack_reader import ALIAS, StackReader, described_stack, listed_resources


def functions_of(made: Stack) -> dict[str, str]:
    """The functions of the stack in AWS, by their logical names."""
    return {name: made.names[name] for name, kind in sorted(made.types.items()) if kind == "AWS::Lambda::Function"}


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Everything that is conditional is switched on; secrets, topics and aliases are there."""
    with mock_aws(config={"lambda": {"use_docker": False}}):
        signed_in(monkeypatch)
        made = create(deployed(PARAMETERS))
        secrets = boto3.client("secretsmanager")
        for name in ("volume-detach/cloud", f"volume-detach/cloud/{'1' * 32}", "volume-detach/webhook", "sink"):
            secrets.create_secret(Name=name, SecretString="x")
        for name, parameter in (("alarms", "AlarmTopicArn"), ("tickets", "TicketTopicArn")):
            boto3.client("sns").create_topic(Name=name)
            sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[PARAMETERS[parameter]].subscriptions_confimed = 1
        for function in functions_of(made).values():
            _publish(function, 1)
        yield made


def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def _publish(function: str, version: int) -> None:
    """A published version that is live; the stand-in makes no alias of a template, and all at the same moment."""
    client = boto3.client("lambda")
    if version > 1:
        client.update_function_configuration(FunctionName=function, Description=f"release {version}")
    client.publish_version(FunctionName=function)
    found = lambda_simple_backends[DEFAULT_ACCOUNT_ID][REGION].get_function(function, str(version))
    found.last_modified = f"2026-11-{20 + version}T08:00:00.000+0000"
    try:
        client.create_alias(FunctionName=function, Name=ALIAS, FunctionVersion=str(version))
    except ClientError:
        client.update_alias(FunctionName=function, Name=ALIAS, FunctionVersion=str(version))


def live(made: Stack) -> dict[str, str]:
    client = boto3.client("lambda")
    names = functions_of(made).items()
    return {name: client.get_alias(FunctionName=called, Name=ALIAS)["FunctionVersion"] for name, called in names}


class Answered(Deployed):
    """A stack whose function answers each request that is put on the queue, as the real one does from elsewhere."""

    reason = "server_not_found"

    def ask(self, body: str) -> None:
        super().ask(body)
        request = json.loads(body)
        assert request["data"]["dry_run"] is True
        reason = {"code": self.reason, "message": "no", "remedy": "do something"}
        data = {
            "verdict": "checked",
            "detail": "would_fail",
            "reason": reason,
            "request": {"id": request["id"], "source": request["source"]},
        }
        entry = {"EventBusName": self.names.bus, "Source": "/x", "DetailType": "x"}
        boto3.client("events").put_events(Entries=[entry | {"Detail": json.dumps({"data": data})}])


def examined(made: Stack, kind: type[Deployed] = Answered, **changes: Any) -> dict[str, list[Line]]:
    """The lines by check. moto's CloudFormation creates no alarms, so it cannot list them."""

    def listed(name: str) -> dict[str, Resource]:
        alarms = boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]
        resources = listed_resources(name) | {
            one["AlarmName"]: Resource("AWS::CloudWatch::Alarm", one["AlarmName"]) for one in alarms
        }
        key = boto3.client("secretsmanager").list_secrets()["SecretList"][0]["ARN"]
        return resources | {"MessageKey": Resource("AWS::SecretsManager::Secret", key)}

    @contextmanager
    def service(session: str) -> Iterator[Service]:
        with kind(names_of(STACK), session) as deployed:
            yield deployed

    ticks = count()
    reader = StackReader(described_stack(STACK), listed)
    examination = replace(StackExamination(reader, service, monotonic=lambda: float(next(ticks))), **changes)
    found: dict[str, list[Line]] = {}
    for line in examination.lines():
        found.setdefault(line.check, []).append(line)
    return found


def states(found: dict[str, list[Line]]) -> dict[str, set[State]]:
    return {check: {line.state for line in lines} for check, lines in found.items()}


def test_a_healthy_stack_has_no_cures(stack: Stack) -> None:
    """Each check is made, and the rule and queue of the dry run are gone afterwards."""
    found = examined(stack)
    assert set(found) >= {
        "stack", "request queue", "oldest request", "dead letters", "requests", "reporter", "functions", "versions",
        "concurrency", "secret", "login", "login 11111111", "bus", "requests by bus", "sink", "alarm topic", "alarms",
    }  # fmt: skip
    bad = {line.check: line for lines in found.values() for line in lines if line.state is not State.OK}
    assert set(bad) <= {"oldest request", "canary"}
    assert len(found["secret"]) == 5
    assert found["versions"][0].found.startswith("DetachVolumeFunction 1, ")
    bus = stack.outputs["EventBusName"]
    assert boto3.client("events").list_rules(EventBusName=bus, NamePrefix="by-hand")["Rules"] == []
    assert boto3.client("sqs").list_queues(QueueNamePrefix="by-hand").get("QueueUrls", []) == []


def test_each_thing_that_is_broken_has_its_line(stack: Stack) -> None:
    """For a stack in which everything is broken, each part has a line."""
    functions, worker = boto3.client("lambda"), stack.names["DetachVolumeFunction"]
    functions.put_function_concurrency(FunctionName=worker, ReservedConcurrentExecutions=0)
    functions.update_event_source_mapping(UUID=stack.outputs["DeadLettersMappingId"], Enabled=False)
    weights = {"AdditionalVersionWeights": {"1": 0.1}}
    functions.update_alias(FunctionName=worker, Name=ALIAS, FunctionVersion="1", RoutingConfig=weights)
    functions.delete_alias(FunctionName=stack.names["ReportDeadLetterFunction"], Name=ALIAS)
    boto3.client("sqs").send_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"], MessageBody="x")
    boto3.client("secretsmanager").delete_secret(SecretId="sink")
    boto3.client("secretsmanager").delete_secret(SecretId="volume-detach/cloud", ForceDeleteWithoutRecovery=True)
    boto3.client("sns").delete_topic(TopicArn=PARAMETERS["AlarmTopicArn"])
    alarm = {"AlarmName": "QueueStalledAlarm", "StateValue": "ALARM", "StateReason": "too old"}
    boto3.client("cloudwatch").set_alarm_state(**alarm)
    metric = {"MetricName": "EmitFailures", "Value": 2.0, "Timestamp": datetime.now(UTC) - timedelta(minutes=5)}
    metric |= {"Dimensions": [{"Name": "service", "Value": STACK}, {"Name": "to", "Value": "sink"}]}
    boto3.client("cloudwatch").put_metric_data(Namespace="BmsVolumeDetach", MetricData=[metric])
    bus = stack.outputs["EventBusName"]
    (rule,) = boto3.client("events").list_rules(EventBusName=bus, NamePrefix=f"{STACK}-RequestsFromBus")["Rules"]
    boto3.client("events").disable_rule(Name=rule["Name"], EventBusName=bus)

    class Refused(Answered):
        reason = "unauthorized"

    found = examined(stack, Refused)
    assert states(found) | {"oldest request": set(), "canary": set()} == {
        "ticket topic": {State.OK},
        "stack": {State.OK},
        "request queue": {State.OK},
        "oldest request": set(),
        "dead letters": {State.FAIL},
        "requests": {State.OK},
        "reporter": {State.WARN},
        "functions": {State.OK},
        "versions": {State.WARN, State.OK},
        "concurrency": {State.FAIL, State.OK},
        "secret": {State.FAIL, State.OK},
        "login": {State.FAIL},
        "login 11111111": {State.FAIL},
        "bus": {State.OK},
        "requests by bus": {State.FAIL},
        "sink": {State.WARN},
        "alarm topic": {State.FAIL},
        "alarm": {State.FAIL},
        "canary": set(),
    }
    assert [line.cure for line in found["alarm"]] == ["docs/operations.md#the-queue-stands-still"]
    assert [line.cure for line in found["login"]] == ["do something"]
    assert "2 verdicts" in found["sink"][0].found


def test_a_paused_stack_gets_no_dry_run(stack: Stack) -> None:
    """A dry run would wait with the other requests, so none is sent."""
    boto3.client("lambda").update_event_source_mapping(UUID=stack.outputs["RequestsMappingId"], Enabled=False)
    found = examined(stack)
    assert (found["requests"][0].state, found["login"][0].state) == (State.WARN, State.NOT_TRIED)
    assert "bus" not in found
    queue = {"QueueUrl": stack.outputs["RequestQueueUrl"], "AttributeNames": ["All"]}
    assert boto3.client("sqs").get_queue_attributes(**queue)["Attributes"]["ApproximateNumberOfMessages"] == "0"


def test_a_function_that_does_not_answer_fails_in_time(stack: Stack) -> None:
    """Without a verdict the lines say so, with the id to look for, and the rule and the queue are removed."""
    found = examined(stack, Deployed)
    (line,) = found["login"]
    assert (line.state, found["bus"][0].state) == (State.FAIL, State.FAIL)
    assert re.search(rf"make status REQUEST=by-hand-\w+-0 STACK={STACK}", line.cure)
    assert boto3.client("sqs").list_queues(QueueNamePrefix="by-hand").get("QueueUrls", []) == []


def test_a_forbidden_read_is_a_line_with_the_permission(stack: Stack) -> None:
    """Each denied operation gives one line, and the other checks still run."""

    class Denied:
        """A client without permissions."""

        def __getattr__(self, name: str) -> Any:
            operation = "".join(part.capitalize() for part in name.split("_"))

            def denied(*_: object, **__: object) -> None:
                error = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
                raise ClientError(error, operation)

            return denied

    resources = listed_resources(STACK) | {"Alarm": Resource("AWS::CloudWatch::Alarm", "alarm")}
    reader = StackReader(described_stack(STACK), lambda name: resources, client=lambda name: Denied())
    examination = StackExamination(reader, lambda session: Answered(names_of(STACK), session))
    lines = list(examination.lines())
    said = [line.found for line in lines if line.state is State.NOT_TRIED]
    needs = {found.removeprefix("needs the permission ") for found in said}
    # The rule's targets and the queue's ARN come second, and the resources are listed by another client.
    assert needs == set(READS) - {"cloudformation:DescribeStacks", "cloudformation:ListStackResources",
                                  "events:ListTargetsByRule"}  # fmt: skip
    assert {line.state for line in lines} <= {State.OK, State.NOT_TRIED}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stack", "nothing"], "There is no stack nothing of this service"),
        (["--stack", STACK, "--server", "x"], "Give the ids of both SERVER= and VOLUME="),
    ],
)
def test_a_stack_that_cannot_be_examined_gives_one_sentence_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(monkeypatch)
    monkeypatch.setattr("sys.argv", ["doctor", *arguments])
    with mock_aws():
        assert doctor() == 2
    assert said in capsys.readouterr().err


def test_the_doctor_prints_its_lines_and_its_status(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused and with a dead letter: status 1, and JSON lines on request."""
    for mapping in ("RequestsMappingId", "DeadLettersMappingId"):
        boto3.client("lambda").update_event_source_mapping(UUID=stack.outputs[mapping], Enabled=False)
    boto3.client("sqs").send_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"], MessageBody="x")
    monkeypatch.setattr("sys.argv", ["doctor", "--stack", STACK, "--json"])
    assert doctor() == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"check": "stack", "state": "ok", "found": "CREATE_COMPLETE", "cure": ""} in lines
    assert [line["state"] for line in lines if line["check"] == "dead letters"] == ["FAIL"]


@pytest.mark.parametrize("command", ["pause", "resume", "rollback", "remove"])
def test_nothing_is_changed_without_a_yes_or_somebody_to_ask(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A script without --yes gets a sentence, before any call to AWS."""
    assert by_hand([command, "--stack", STACK]) is Exit.USAGE
    assert "add --yes" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- roll back


def test_a_stack_is_rolled_back_and_forward_by_its_name(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """All functions move to the previous release and to any other; nothing else changes."""
    for function in functions_of(stack).values():
        _publish(function, 2)
    assert by_hand(["rollback", "--stack", STACK, "--yes"]) is Exit.DETACHED
    assert set(live(stack).values()) == {"1"}
    told = capsys.readouterr().out
    assert "version 2 (2026-11-22 08:00 UTC, release 2)  →  version 1 (2026-11-21 08:00 UTC" in told
    assert f"Moved {len(live(stack))} of {len(live(stack))} functions in" in told
    assert by_hand(["rollback", "--stack", STACK, "--yes"]) is Exit.USAGE
    assert by_hand(["rollback", "--stack", STACK, "--to", "2", "--yes"]) is Exit.DETACHED
    assert set(live(stack).values()) == {"2"}


def test_a_shift_of_traffic_refuses_a_rollback(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights on an alias are CodeDeploy's, and are left as they are."""
    for function in functions_of(stack).values():
        _publish(function, 2)
    worker, weights = stack.names["DetachVolumeFunction"], {"AdditionalVersionWeights": {"2": 0.1}}
    boto3.client("lambda").update_alias(FunctionName=worker, Name=ALIAS, FunctionVersion="1", RoutingConfig=weights)
    assert by_hand(["rollback", "--stack", STACK, "--yes"]) is Exit.USAGE
    assert "CodeDeploy is shifting traffic of DetachVolumeFunction" in capsys.readouterr().out
    assert boto3.client("lambda").get_alias(FunctionName=worker, Name=ALIAS)["RoutingConfig"] == weights
    # A move also removes weights that appeared after the check.
    versioned(STACK).move(worker, 1)
    found = versioned(STACK).alias(worker)
    assert found
    assert (found.version, found.shifted) == ("1", {})


# ------------------------------------------------------------------------------------------------------- remove


def test_a_stack_is_removed_by_its_name(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Not while a request waits; then it is deleted, with its logs on request; the secrets remain."""
    queue = stack.outputs["RequestQueueUrl"]
    boto3.client("lambda").update_event_source_mapping(UUID=stack.outputs["RequestsMappingId"], Enabled=False)
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody="x")
    assert by_hand(["remove", "--stack", STACK, "--yes"]) is Exit.USAGE
    assert "1 messages would be lost" in capsys.readouterr().out
    boto3.client("sqs").purge_queue(QueueUrl=queue)
    assert by_hand(["remove", "--stack", STACK, "--also", "logs", "--yes"]) is Exit.DETACHED
    told = capsys.readouterr().out
    assert "delete-secret --secret-id volume-detach/cloud" in told
    assert "s3://verdicts" in told
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert boto3.client("logs").describe_log_groups()["logGroups"] == []
    assert boto3.client("secretsmanager").describe_secret(SecretId="volume-detach/cloud")


def test_resources_that_are_gone_already_are_no_obstacle(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """As after a failed deletion, whose message asks to run the command again."""
    for name in ("RequestQueueUrl", "DeadLetterQueueUrl"):
        boto3.client("sqs").delete_queue(QueueUrl=stack.outputs[name])
    boto3.client("events").delete_event_bus(Name=stack.outputs["EventBusName"])
    assert obstacles(removable(STACK).estate(), lose_requests=False) == []
    boto3.client("cloudformation").create_stack(
        StackName="theirs", TemplateBody='{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}'
    )
    assert by_hand(["remove", "--stack", "theirs", "--yes"]) is Exit.USAGE
    assert "is it one of this service?" in capsys.readouterr().err


def test_rules_of_others_on_the_bus_are_found(stack: Stack) -> None:
    """The stack's own and AWS's are not among them."""
    assert removable(STACK).estate().rules == ()
    pattern = json.dumps({"source": ["/x"]})
    boto3.client("events").put_rule(Name="theirs", EventBusName=stack.outputs["EventBusName"], EventPattern=pattern)
    assert removable(STACK).estate().rules == ("theirs",)
