"""The canary with the real function, moto and the simulated cloud. Each stage fails in one test."""

import json
import logging
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.model import ServiceModel  # type: ignore[import-untyped]
from moto.events.models import EventPattern

from functions.detach_volume.handler import lambda_handler as detach_volume
from functions.run_canary.handler import lambda_handler as run_canary
from functions.sqs_batch import answer_batch
from local.aws_stand_in import BUS, CANARY_RULE, CANARY_VERDICTS, REGION, REQUESTS, VERDICTS, AwsStandIn, queue_arn
from local.demo import FREE_VOLUME, PROJECT, SERVER, VOLUME, demo_cloud
from local.poller import Handler, LambdaContext, Poller
from local.stack import simulator_credentials
from shared.aws.client import EVENTS, SQS
from shared.aws.deployment import GET_MAPPING, MAPPINGS, Deployment
from shared.aws.errors import NoAnswer
from shared.aws.sqs import SqsQueue
from shared.bootstrap.canary import canary
from shared.bootstrap.detach import build
from shared.canary.stages import Silence
from shared.ports import utc_now
from shared.settings import Settings, SettingsError
from shared.telemetry.logs import logger
from shared.telemetry.metrics import meters
from simulator import CloudApi, CloudServer, What
from tests.integration.botocore_judge import model_of
from tests.messages import is_uuid
from tests.scripted import BROKEN, Reply, Script, client_of, reply
from tests.simulation.measured import Samples

SOURCE: str = Settings.model_fields["event_source"].default
Use = Callable[[dict[str, str]], None]
NOWHERE = "http://127.0.0.1:9"
"""A port on which nothing listens (discard)."""


class Lines(logging.Handler):
    """The fields of every line `canary ended`."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "canary ended":
            self.ended.append(vars(record))


@dataclass
class World:
    """A deployment with a canary: its cloud, its AWS, and the variables of its functions."""

    api: CloudApi
    aws: AwsStandIn
    use: Use
    capture: Callable[[], str]
    lines: Lines = field(default_factory=Lines)
    variables: dict[str, str] = field(default_factory=dict)

    def deploy(self, credentials: dict[str, str] | None = None, **changes: str) -> None:
        """Configure the functions, by default with valid credentials."""
        secret = f"canary/{uuid.uuid4()}"
        self.aws.put_secret(secret, credentials or simulator_credentials(self.api))
        self.variables = {
            **self.aws.environment,
            "REQUEST_QUEUE_URL": self.aws.queue_urls[REQUESTS],
            "EVENT_BUS_NAME": BUS,
            "CLOUD_SECRET_ID": secret,
            "CANARY_SERVER_ID": SERVER,
            "CANARY_VOLUME_ID": VOLUME,
            "CANARY_BOUND": "5",
            **self.aws.add_canary(),
            **changes,
        }
        self.use(self.variables)
        canary.cache_clear()

    def worker(self, handler: Handler = detach_volume) -> AbstractContextManager[object]:
        """A running event source mapping."""
        return Poller(self.aws.client, self.aws.queue_urls[REQUESTS], queue_arn(REQUESTS), handler)

    def run(self) -> dict[str, Any]:
        return run_canary({}, LambdaContext("run-canary"))

    def failed(self, stage: str, expected: str, cure: str) -> dict[str, Any]:
        """Run it, and compare answer, log line and metrics of the failure with the expected ones."""
        answer = self.run()
        assert (answer["passed"], answer["stage"]) == (False, stage), answer
        assert expected in answer["why"]
        assert cure in answer["cure"]
        (line,) = self.lines.ended
        assert {name: line[name] for name in ("stage", "why", "cure")} == {
            name: answer[name] for name in ("stage", "why", "cure")
        }
        samples = self.metrics()
        assert samples.get("CanaryFailures", stage=stage) == 1
        assert samples.get("CanarySeconds") is None
        return line

    def metrics(self) -> Samples:
        return Samples.of("\n".join(line for line in self.capture().splitlines() if line.startswith('{"')))

    def deletes(self) -> list[object]:
        return [entry for entry in self.api.world.history if entry.what is What.DELETE_ACCEPTED]


@pytest.fixture
def world(
    aws: AwsStandIn, function_environment: Use, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A healthy deployment without the event source mapping, which each test starts."""
    monkeypatch.delenv("POWERTOOLS_METRICS_DISABLED", raising=False)
    meters.flush()
    capsys.readouterr()
    api = demo_cloud(utc_now)
    world = World(api, aws, function_environment, lambda: capsys.readouterr().out)
    log = logging.getLogger(logger.name)
    log.addHandler(world.lines)
    with CloudServer(api):
        world.deploy()
        yield world
    log.removeHandler(world.lines)
    canary.cache_clear()
    remove_rule(aws)
    aws.client.call(SQS, "DeleteQueue", {"QueueUrl": aws.queue_urls.pop(CANARY_VERDICTS)})


def remove_rule(aws: AwsStandIn) -> None:
    named = {"Rule": CANARY_RULE, "EventBusName": BUS}
    if aws.client.call(EVENTS, "ListRules", {"EventBusName": BUS, "NamePrefix": CANARY_RULE})["Rules"]:
        aws.client.call(EVENTS, "RemoveTargets", {**named, "Ids": [CANARY_VERDICTS]})
        aws.client.call(EVENTS, "DeleteRule", {"Name": CANARY_RULE, "EventBusName": BUS})


def test_a_canary_passes(world: World) -> None:
    """It reports its seconds and changes nothing; its dry run counts as a request like any other."""
    world.deploy(CANARY_BOUND="30", CANARY_PROJECT_ID=PROJECT)
    with world.worker():
        answer = world.run()
    assert answer["passed"] is True
    assert is_uuid(answer["request_id"])
    (line,) = world.lines.ended
    assert (line["levelname"], line["detail"], line["request_source"]) == ("INFO", "would_detach", f"{SOURCE}/canary")
    samples = world.metrics()
    assert samples.get("CanarySeconds") == pytest.approx(answer["seconds"], abs=0.001)
    assert 0 < answer["seconds"] < 30
    assert samples.dimensions("CanaryFailures") == []
    assert (samples.get("Requests"), samples.get("Verdicts")) == (1, 1)
    assert world.deletes() == []
    (event,) = world.aws.verdicts()
    assert (event["type"], event["data"]["request"]["id"]) == ("bms.volume.detach_checked.v1", answer["request_id"])
    assert world.aws.waiting(CANARY_VERDICTS) == 0


def test_consumers_can_ignore_it() -> None:
    """The pattern in the operator's page matches all verdicts except the canary's."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (shown,) = re.findall(r'`("detail": \{"data": \{"context": .*?)`', page)
    pattern = EventPattern.load(f"{{{shown}}}")
    contexts = ({"canary": "c-1"}, {"ticket": "CHG-1"}, None)
    events: list[Any] = [{"detail": {"data": {"verdict": "checked"} | ({"context": c} if c else {})}} for c in contexts]
    assert [pattern.matches_event(event) for event in events] == [False, True, True]


def test_verdicts_of_other_runs_are_ignored(world: World) -> None:
    """A verdict of another run stays in the queue, since that run may still wait for it; other messages are deleted."""
    world.deploy(CANARY_BOUND="30")
    late = {"verdict": "checked", "detail": "would_fail", "context": {"canary": "late"}}
    for body in (json.dumps({"detail": {"data": late}}), "{not json", "[]", '{"detail": {"data": null}}'):
        world.aws.send(CANARY_VERDICTS, body)
    with world.worker():
        assert world.run()["passed"] is True
    assert world.aws.waiting(CANARY_VERDICTS) == 1


def test_a_disk_that_is_detached_already_is_no_failure(world: World) -> None:
    """A run passes if the dry run reaches its verdict, even for a detached disk."""
    world.deploy(CANARY_VOLUME_ID=FREE_VOLUME, CANARY_BOUND="30")
    with world.worker():
        assert world.run()["passed"] is True
    assert world.lines.ended[0]["detail"] == "would_report_already_detached"


def test_the_queue_refuses_the_request(world: World) -> None:
    world.deploy(REQUEST_QUEUE_URL=world.aws.queue_urls[REQUESTS] + "-gone")
    with world.worker():
        world.failed("send", "did not take the request: SendMessageBatch: ", "the right of the canary's role to send")


@contextmanager
def paused_mapping(aws: AwsStandIn) -> Iterator[str]:
    """An event source mapping of the request queue that is disabled."""
    names = ("aws_access_key_id", "aws_secret_access_key")
    options = {"endpoint_url": aws.environment["AWS_ENDPOINT_URL"], "region_name": REGION, **dict.fromkeys(names, "x")}
    iam, functions = boto3.client("iam", **options), boto3.client("lambda", **options)
    name = f"worker-{uuid.uuid4().hex[:8]}"  # other tests of this process may have one
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    code = {"ZipFile": b"as if it had been uploaded"}
    functions.create_function(FunctionName=name, Runtime="python3.13", Role=role, Handler="x.y", Code=code)
    mapping = functions.create_event_source_mapping(
        EventSourceArn=queue_arn(REQUESTS), FunctionName=name, Enabled=False
    )["UUID"]
    yield mapping
    functions.delete_event_source_mapping(UUID=mapping)
    functions.delete_function(FunctionName=name)
    iam.delete_role(RoleName=name)


def test_the_mapping_is_paused(world: World) -> None:
    """The failure says that the mapping is disabled, as Lambda reports."""
    with paused_mapping(world.aws) as mapping:
        world.deploy(CANARY_MAPPING_ID=mapping)
        world.failed("queue", "the event source mapping of the request queue is Disabled", "make resume")
    assert world.aws.waiting(REQUESTS) == 1


def test_nobody_receives_the_request(world: World) -> None:
    """Without a disabled mapping, the text only says that messages wait."""
    world.failed("queue", "1 messages wait in the request queue", "whether the function is throttled")


def test_the_mapping_cannot_be_read(world: World) -> None:
    """The stage follows from the other evidence, and the text names the failed call."""
    world.deploy(CANARY_MAPPING_ID=str(uuid.uuid4()))
    line = world.failed("queue", "1 messages wait in the request queue", "whether the function is throttled")
    assert "not known: GetEventSourceMapping: ResourceNotFoundException (404)" in line["why"]


def test_the_function_fails(world: World) -> None:
    """Its settings are wrong, so each invocation raises, and the message stays in flight."""
    broken = {**world.variables, "REQUEST_TTL": "soon"}

    def handler(event: dict[str, Any], _: Any) -> Any:
        return answer_batch(event, build(broken).handle)

    with pytest.raises(SettingsError):
        build(broken)
    with world.worker(handler):
        world.failed("function", "1 messages are in flight and 0 delayed", "record goes back to the queue")


def test_the_bus_refuses_the_verdict(world: World) -> None:
    """The verdict waits in the queue for another delivery; the text names the log line."""
    broken = build({**world.variables, "EVENT_BUS_NAME": "nowhere"})
    with world.worker(lambda event, _: answer_batch(event, broken.handle)):
        world.failed("function", "the request was taken and not answered", "event not emitted")


def test_the_password_is_wrong(world: World) -> None:
    world.deploy({**simulator_credentials(world.api), "password": "wrong"}, CANARY_BOUND="10")
    with world.worker():
        world.failed("credentials", "the verdict is unauthorized: ", "OS_PASSWORD")


def test_the_secret_is_missing(world: World) -> None:
    """The verdict reports the missing secret before the wait ends, and no login happens."""
    world.deploy(CLOUD_SECRET_ID="nowhere", CANARY_BOUND="10")
    with world.worker():
        world.failed("credentials", "the secret nowhere does not exist", "correct the secret that is named")


def test_the_project_is_not_that_of_the_credentials(world: World) -> None:
    world.deploy(CANARY_PROJECT_ID="0" * 32, CANARY_BOUND="10")
    with world.worker():
        world.failed("credentials", "the verdict is wrong_project: ", "project_id")


def test_the_cloud_does_not_answer(world: World) -> None:
    """The request gives up within half of the wait, so that its verdict shows the cause."""
    away = {**simulator_credentials(world.api), "auth_url": f"{NOWHERE}/v3"}
    world.deploy(away, CANARY_BOUND="10")
    with world.worker():
        world.failed("cloud", "the verdict is gave_up: ", "whether the cloud's API answers")


def test_the_server_is_gone(world: World) -> None:
    world.deploy(CANARY_SERVER_ID=str(uuid.uuid4()), CANARY_BOUND="10")
    with world.worker():
        world.failed("verdict", "the verdict is server_not_found: ", "set CanaryServerId to a server that is there")


def test_the_server_is_gone_and_the_disk_is_free(world: World) -> None:
    """A canary without an existing server fails, although a detach would succeed."""
    world.deploy(CANARY_SERVER_ID=str(uuid.uuid4()), CANARY_VOLUME_ID=FREE_VOLUME, CANARY_BOUND="10")
    with world.worker():
        world.failed("verdict", "the verdict is would_report_server_gone: ", "set CanaryServerId to a server")


def test_the_canary_is_not_an_allowed_requester(world: World) -> None:
    """A list of allowed requesters without the canary refuses its request."""
    world.deploy(ALLOWED_REQUESTERS="api_key:ci", CANARY_BOUND="10")
    with world.worker():
        world.failed("verdict", "the verdict is requester_not_allowed: ", "AllowedRequesters")


def test_the_rule_is_gone(world: World) -> None:
    """The bus has the verdict, but no rule puts it on the canary's queue."""
    remove_rule(world.aws)
    with world.worker():
        world.failed("bus", "the rule that puts verdicts on the canary's queue is gone", "make it and its bus again")
    assert len(world.aws.receive(VERDICTS, wait_seconds=0)) == 1


def test_the_rule_has_no_target(world: World) -> None:
    """AWS does not show this, so the text says what is unknown and which log line to look for."""
    named = {"Rule": CANARY_RULE, "EventBusName": BUS, "Ids": [CANARY_VERDICTS]}
    world.aws.client.call(EVENTS, "RemoveTargets", named)
    with world.worker():
        world.failed("bus", "whether the bus had it cannot be told from here", "look for `event delivered`")


def test_the_canarys_queue_cannot_be_read(world: World) -> None:
    world.deploy(CANARY_QUEUE_URL=world.aws.queue_urls[CANARY_VERDICTS] + "-gone")
    with world.worker():
        world.failed("bus", "the canary's own queue cannot be read: ReceiveMessage: ", "the policy of the queue")


def test_forbidden_reads_leave_the_facts_unknown(script: Script) -> None:
    """Each call that AWS refuses, or answers with nonsense, leaves its part unknown, with the reason."""
    asked = {"mapping_id": "x", "rule_arn": f"arn:aws:events:{REGION}:123456789012:rule/own"}
    evidence = Deployment(client_of(script), SqsQueue(client_of(script), script.url), **asked)
    script.then(reply({"__type": "AccessDeniedException"}, 403))
    found = evidence.silence(utc_now() + timedelta(seconds=10))
    questions = (GET_MAPPING, "DescribeRule", "GetQueueAttributes")
    assert [why.split(" (")[0] for why in found.unread[1:]] == [
        f"{one}: AccessDeniedException" for one in questions[1:]
    ]
    assert replace(found, unread=()) == Silence()
    assert script.asked[1].json == {"Name": "own"}
    script.replies[:] = [Reply(body=b"<html>")]
    assert len(evidence.silence(utc_now() + timedelta(seconds=10)).unread) == len(questions)
    script.replies[:] = [reply({"State": "Enabled", "Attributes": {"ApproximateNumberOfMessages": "many"}})]
    partly = evidence.silence(utc_now() + timedelta(seconds=10))
    assert (partly.mapping, partly.rule, partly.waiting, len(partly.unread)) == ("Enabled", "Enabled", None, 1)


@pytest.mark.parametrize(
    "messages", [{"Messages": 1}, {"Messages": [{}]}, {"Messages": [{"Body": "", "MessageId": "m"}]}]
)
def test_malformed_messages_are_an_error(script: Script, messages: dict[str, Any]) -> None:
    script.then(reply(messages))
    with pytest.raises(NoAnswer):
        SqsQueue(client_of(script), script.url).receive(1)


@pytest.mark.parametrize(("status", "says"), [(500, "answers 500"), (503, "answers 503"), (429, "answers 429")])
def test_the_webhook_answers_with_an_error(world: World, script: Script, status: int, says: str) -> None:
    """The text says that requests from the queue are processed."""
    script.then(reply(status=status))
    world.deploy(CANARY_WEBHOOK_URL=script.url, CANARY_BOUND="30")
    with world.worker():
        world.failed("webhook", f"{says}; requests from the queue are processed", "the log of the webhook's function")


def test_the_webhook_does_not_answer(world: World, script: Script) -> None:
    script.then(BROKEN)
    world.deploy(CANARY_WEBHOOK_URL=script.url, CANARY_BOUND="30")
    with world.worker():
        world.failed("webhook", "does not answer (ConnectionError)", "the log of the webhook's function")


@pytest.mark.parametrize("status", [401, 403, 405])
def test_a_refusal_by_the_webhook_is_no_failure(world: World, script: Script, status: int) -> None:
    """The canary does not authenticate, so a refusal shows that the webhook works."""
    script.then(reply(status=status))
    world.deploy(CANARY_WEBHOOK_URL=script.url, CANARY_BOUND="30")
    with world.worker():
        assert world.run()["passed"] is True
    assert [asked.method for asked in script.asked] == ["GET"]


@pytest.mark.parametrize("name", ["CANARY_SERVER_ID", "CANARY_VOLUME_ID", "CANARY_QUEUE_URL"])
def test_a_canary_that_is_not_set_up(world: World, name: str) -> None:
    world.deploy(None, **{name: ""})
    with pytest.raises(SettingsError, match=name):
        world.run()


def test_the_mapping_is_read_as_the_model_describes() -> None:
    """Botocore's model of Lambda has the operation at this address, and the members that are read of its answer."""
    model: ServiceModel = model_of("lambda")
    operation = model.operation_model(GET_MAPPING)
    assert (operation.http["method"], operation.http["requestUri"]) == ("GET", f"{MAPPINGS}{{UUID}}")
    assert {"State", "LastProcessingResult"} <= set(operation.output_shape.members)
    assert requests.Request("GET", f"{NOWHERE}{MAPPINGS}x").prepare().path_url == f"{MAPPINGS}x"
