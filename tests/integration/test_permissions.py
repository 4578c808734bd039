"""Each function's role allows exactly what the function calls, with each switch of the template.

The functions are wired by their own composition roots, with the template's variables, and run against the local AWS
until they have made every call that their adapters can make.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any
from uuid import uuid4

import pytest
import requests

from local.aws_stand_in import (
    ACCOUNT,
    BUS,
    CANARY_VERDICTS,
    DEAD_LETTERS,
    MESSAGE_KEY,
    REGION,
    REQUESTS,
    AwsStandIn,
    queue_arn,
)
from local.demo import MOUNTED_VOLUME, SERVER, VOLUME, demo_cloud
from local.stack import simulator_credentials
from shared.aws.deployment import Deployment
from shared.aws.secrets import MessageKey, Secrets
from shared.bootstrap import canary, dead_letters, detach, webhook
from shared.model import Message, Outcome
from shared.outbox.outbox import Receipts
from shared.own_messages import WaitingDelivery
from shared.policy import CANARY_WAIT, INVOCATION, TIME_TO_SEND
from shared.ports import Event
from shared.strict_json import signed as with_mac
from simulator import Behaviour, CloudServer
from tests.contract.expanded import expanded
from tests.contract.test_template import BY_LAMBDA, FUNCTIONS, IN_A_VPC
from tests.contract.test_template_expands import of_type
from tests.http_requests import DATA, NOW, http_request, signed
from tests.integration.recorded import Answer, Call, Recorder, recording, secret_arn
from tests.integration.webhook_secret import keep
from tests.messages import QUEUE_ARN, START, bare
from tests.scripted import Script
from tests.stack import Clock
from tools.sender import LOCAL_SECRET, Post
from tools.validation.conditions import permitted
from tools.validation.matrix import Row, rows_of
from tools.validation.resolve import resolved
from tools.validation.samples import at
from tools.validation.switches import defaults_of, switches_of
from tools.validation.template import PLACES, ROOT, Json, read

HOME = PLACES[0]
BUSY = "the token of a task that is busy at first"
AT_HOME = f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
STAMPS = dict.fromkeys(("SentTimestamp", "ApproximateFirstReceiveTimestamp"), "1763884800000")
OURS_WITHOUT_MAC = json.dumps({"continuation": 1, "request": {}, "progress": {}})

NAMES_IN_MOTO: dict[str, str] = {
    "RequestQueue.Arn": queue_arn(REQUESTS),
    "DeadLetterQueue.Arn": queue_arn(DEAD_LETTERS),
    "EventBus.Arn": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{BUS}",
    "EventBus.Name": BUS,
    "CanaryVerdicts.Arn": queue_arn(CANARY_VERDICTS),
    "CanaryVerdictsFromBus.Arn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{BUS}/canary",
    "DetachVolumeFunctionRequests": "a-mapping",
    "ReceiveWebhookFunctionUrl.FunctionUrl": "http://127.0.0.1:9/",
    "Key.Arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/of-the-stack",
    "MessageKey": MESSAGE_KEY,
    "AWS::StackName": "volume-detach",
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
}
"""The names of the template's resources in moto."""

ENCRYPTED = {
    "sqs:SendMessage": {"kms:GenerateDataKey", "kms:Decrypt"},
    "sqs:ReceiveMessage": {"kms:Decrypt"},
    "secretsmanager:GetSecretValue": {"kms:Decrypt"},
}
"""The actions on the stack's key that callers of SQS and Secrets Manager need (their guides: key management)."""


@dataclass
class World:
    """One function with its variables, recorder and clock."""

    function: str
    environment: dict[str, str]
    recorder: Recorder
    aws: AwsStandIn
    sink: Script
    clock: Clock = field(default_factory=Clock)

    def message(self, body: str, source: str = QUEUE_ARN) -> Message:
        return Message(body, str(uuid4()), source, self.clock.now, receipt="receipt")

    def deliver(self, handle: Callable[[Sequence[Message]], Receipts], bodies: Sequence[str]) -> None:
        """One invocation; unauthenticated messages return, and all others are handled."""
        messages = [self.message(body) for body in bodies]
        unsent = handle(messages).unsent
        assert {message.body for message in messages if message.id in unsent} <= {OURS_WITHOUT_MAC}, unsent

    def ours(self, value: Mapping[str, Any]) -> str:
        """One of our messages, signed by another process with the same key."""
        return with_mac(value, MessageKey(Secrets(self.aws.client), MESSAGE_KEY).mac)


def drive_detach_volume(world: World) -> None:
    """Handle a disk that detaches, one that does not, a stuck one, another project, and a message without its MAC."""
    cloud = demo_cloud(world.clock)
    cloud.deployment.token_seconds = 10 * 365 * 86400
    stuck = cloud.world.add_volume(behaviour=Behaviour(stuck=True)).id
    cloud.world.attach(SERVER, stuck, attached_at=START - timedelta(days=3))
    projects = [project for project in world.environment["ALLOWED_PROJECTS"].split(",") if project]
    if listed := world.environment["ALLOWED_PROJECTS_SECRET_ID"]:
        projects = ["1" * 32]
        keep(world.aws, projects, listed)
    with CloudServer(cloud):
        secrets = [world.environment["CLOUD_SECRET_ID"]]
        secrets += [world.environment["CLOUD_SECRET_PATTERN"].format(project_id=project) for project in projects]
        for secret in secrets:
            keep(world.aws, simulator_credentials(cloud), secret)
        service = detach.build(world.environment, world.clock)
        waiting = [json.dumps(bare(SERVER, volume, task_token=token))
                   for volume, token in ((VOLUME, "token"), (MOUNTED_VOLUME, "token"), (stuck, BUSY))]  # fmt: skip
        waiting += [json.dumps(bare(SERVER, VOLUME, project_id=project)) for project in projects]
        waiting.append(OURS_WITHOUT_MAC)
        for _ in range(200):
            if not waiting:
                return
            seen = len(world.recorder.calls)
            deadline = world.clock() + timedelta(seconds=INVOCATION - TIME_TO_SEND)
            world.deliver(partial(service.handle, deadline=deadline), waiting)
            sent = [call for call in world.recorder.calls[seen:] if call.action == "sqs:SendMessage"]
            entries = [entry for call in sent for entry in call.payload["Entries"]]
            waiting = [entry["MessageBody"] for entry in entries]
            world.clock.sleep(max([entry["DelaySeconds"] for entry in entries], default=0) + 1)
    raise AssertionError("the requests did not end")


def drive_report_dead_letter(world: World) -> None:
    """Handle a request, a dry run, waiting verdicts, a busy task, and a message without its MAC."""
    bodies = [json.dumps(bare(SERVER, VOLUME, task_token=token, **more))
              for token, more in (("token", {}), (BUSY, {}), ("token", {"dry_run": True}))]  # fmt: skip
    for outcome in Outcome:
        data = {"request": {"source": "/s", "id": "1"}, "volume_id": VOLUME, "timing": {"seconds": 1}}
        body = json.dumps({"data": data})
        event = Event(str(uuid4()), "t", "/s", None, START.isoformat(), body, outcome, task_token="token")
        bodies.append(world.ours(WaitingDelivery(to="bus", event=event, since=START).model_dump(mode="json")))
    answers = dead_letters.build(world.environment, world.clock)
    for body in [*bodies, OURS_WITHOUT_MAC]:
        world.deliver(answers.handle, [body])  # in one batch, a busy consumer is not tried again


def drive_receive_webhook(world: World) -> None:
    """Send a request, and ask for the status of an unknown one."""
    keep(world.aws, {"secrets": [LOCAL_SECRET]}, world.environment["WEBHOOK_SECRET_ID"])
    endpoint = webhook.build_webhook(world.environment, lambda: NOW)
    assert endpoint.answer(signed(DATA)).status == 202
    status_post = Post({}, b"").signed(LOCAL_SECRET, NOW)
    status = endpoint.answer(http_request("GET", status_post.headers, path=f"/requests/{uuid4()}")).status
    assert status == 404


def drive_run_canary(world: World) -> None:
    """Run the canary without its verdict, so that it collects the evidence."""

    def nothing_comes(call: Call) -> Answer | None:
        if call.action != "sqs:ReceiveMessage":
            return (200, b'{"State": "Enabled"}') if call.action.startswith("lambda:") else None
        world.clock.sleep(CANARY_WAIT)
        others = [{"MessageId": "m", "ReceiptHandle": "r", "Body": "{}", "MD5OfBody": "", "Attributes": STAMPS}]
        return 200, json.dumps({"Messages": others}).encode()

    world.recorder.answer = nothing_comes
    run = canary.build_canary(world.environment, world.clock, world.clock.sleep)
    assert isinstance(run.evidence, Deployment)
    client = replace(run.evidence.client, sleep=world.clock.sleep)
    assert replace(run, evidence=replace(run.evidence, client=client)).run().failure


DRIVERS: dict[str, Callable[[World], None]] = {
    "functions.detach_volume.handler.lambda_handler": drive_detach_volume,
    "functions.report_dead_letter.handler.lambda_handler": drive_report_dead_letter,
    "functions.receive_webhook.handler.lambda_handler": drive_receive_webhook,
    "functions.run_canary.handler.lambda_handler": drive_run_canary,
}
"""How to make each function make all of its calls. Add new functions here."""


def scripted_answers(missing_keys: set[str]) -> Callable[[Call], Answer | None]:
    """Answer for Step Functions, which is busy once, and for missing keys of S3, which are forbidden."""
    seen: set[str] = set()

    def answer(call: Call) -> Answer | None:
        if call.action.startswith("states:"):
            token = str(call.payload["taskToken"])
            busy = token == BUSY and token not in seen
            seen.add(token)
            return (400, b'{"__type": "ThrottlingException"}') if busy else (200, b"{}")
        if call.action == "s3:GetObject" and call.resource not in missing_keys:
            missing_keys.add(call.resource)
            return 403, b"<Error><Code>AccessDenied</Code></Error>"
        return None

    return answer


@pytest.fixture
def aws(aws_server: AwsStandIn) -> Iterator[AwsStandIn]:
    """A fresh account."""
    requests.post(f"{aws_server.environment['AWS_ENDPOINT_URL']}/moto-api/reset", timeout=5).raise_for_status()
    with AwsStandIn() as aws:
        yield aws


@cache
def rows() -> tuple[Row, ...]:
    """The template with no switch on, with each value alone, and with all."""
    template = read((ROOT / "template.yaml").read_text())
    made = rows_of(switches_of(template), lambda chosen: permitted(HOME.pseudo | chosen, template), full=False)
    return tuple(row for row in made if row.kind != "pairs")


def deployed(row: Row) -> Json:
    values = {name: at(HOME, value) for name, value in (defaults_of(expanded()) | row.values).items()}
    return resolved(expanded(), values, HOME)


def value_of(item: Any, aws: AwsStandIn) -> Any:
    """The name in moto of the target of a reference."""
    match item:
        case {"Ref": "RequestQueue"}:
            return aws.queue_urls[REQUESTS]
        case {"Ref": "CanaryVerdicts"}:
            return aws.queue_urls[REQUESTS].replace(REQUESTS, CANARY_VERDICTS)
        case {"Ref": str(name)}:
            return NAMES_IN_MOTO[name]
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            return NAMES_IN_MOTO[f"{name}.{attribute}"]
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda found: NAMES_IN_MOTO[found[1]], text)
    return item


def variables_of(properties: Json, aws: AwsStandIn) -> dict[str, str]:
    return {name: str(value_of(value, aws)) for name, value in properties["Environment"]["Variables"].items()}


@dataclass(frozen=True, slots=True)
class Allowed:
    """One action on one resource of a statement."""

    action: str
    resource: str

    def covers(self, call: Call) -> bool:
        return self.action == call.action and fnmatchcase(call.resource, self.resource)


def allowed_by(template: Json, function: str) -> set[Allowed]:
    """The actions that the role allows, without those of Lambda itself."""
    logs = template["Resources"][function]["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]
    role = template["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"][0]
    found = set()
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny" or statement["Resource"] == {"Fn::GetAtt": [logs, "Arn"]}:
                continue
            actions, resources = (
                [item] if not isinstance(item, list) else item for item in (statement["Action"], statement["Resource"])
            )
            found |= {Allowed(action, _arn(resource)) for action in actions for resource in resources}
    return found


def _arn(resource: Any) -> str:
    if resource == {"Ref": "MessageKey"}:
        return secret_arn(MESSAGE_KEY)
    return str(value_of(resource, AwsStandIn()))


def of_lambda(template: Json, function: str) -> set[Allowed]:
    """The actions of Lambda itself with the function's role: for traces, its queue and its network."""
    mappings = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    queues = {_arn(mapping["EventSourceArn"]) for mapping in mappings if function in str(mapping["FunctionName"])}
    network = IN_A_VPC if "VpcConfig" in template["Resources"][function]["Properties"] else set()
    return {Allowed(action, queue) for queue in queues for action in BY_LAMBDA["sqs"]} | {
        Allowed(action, "*") for action in BY_LAMBDA["xray"] | network
    }


def faults_of(template: Json, function: str, calls: set[Call]) -> list[str]:
    """Calls that the role does not allow, and permissions that no call needs."""
    allowed, lambdas = allowed_by(template, function), of_lambda(template, function)
    plain = {one for one in allowed if not one.action.startswith("kms:")}
    encrypted = "KmsMasterKeyId" in template["Resources"]["RequestQueue"]["Properties"]
    needed = {action for one in plain for action in ENCRYPTED.get(one.action, ())} if encrypted else set()
    keyed = {one.action for one in allowed - plain}
    covered = plain | lambdas
    return [
        *(f"{call.action} of {call.resource} is called" for call in calls if not any(o.covers(call) for o in covered)),
        *(f"{o.action} of {o.resource} is not called" for o in plain - lambdas if not any(map(o.covers, calls))),
        *(f"{one.action} of {one.resource} is Lambda's" for one in lambdas - allowed),
        *(f"{action}: {'too much' if action in keyed else 'missing'}" for action in keyed ^ needed),
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_allows_exactly_what_its_function_calls(function: str, aws: AwsStandIn, script: Script) -> None:
    """With each switch, every call is allowed, and every permission is needed."""
    seen: dict[str, set[Call]] = {}
    for row in rows():
        template = deployed(row)
        if function not in template["Resources"]:
            continue
        properties = template["Resources"][function]["Properties"]
        allowed, variables = allowed_by(template, function), variables_of(properties, aws)
        alike = json.dumps([sorted(map(str, allowed)), variables], sort_keys=True)
        if alike not in seen:
            seen[alike] = calls_of(function, properties["Handler"], variables, aws, script)
        assert faults_of(template, function, seen[alike]) == [], row
    assert seen


def calls_of(function: str, handler: str, variables: Mapping[str, str], aws: AwsStandIn, script: Script) -> set[Call]:
    """The function's calls, without their payloads."""
    with recording(aws.environment["AWS_ENDPOINT_URL"]) as recorder:
        recorder.answer = scripted_answers(set())
        own = {"AWS_ENDPOINT_URL": recorder.url, "AWS_ACCESS_KEY_ID": function}
        environment = {**aws.environment, **variables, **own}
        if variables["SINK_URL"]:
            environment["SINK_URL"] = f"{script.url}/hook"
            keep(aws, [LOCAL_SECRET], variables["SINK_SECRET_ID"])
        if variables["VERDICT_BUCKET"]:
            bucket = f"{aws.environment['AWS_ENDPOINT_URL']}/{variables['VERDICT_BUCKET']}"
            assert requests.put(bucket, data=AT_HOME, timeout=5).status_code in (200, 409)  # 409: it exists
        DRIVERS[handler](World(function, environment, recorder, aws, script))
        return {Call(call.who, call.action, call.resource) for call in recorder.of(function)}


def _statements(template: Json) -> list[Json]:
    role = template["Resources"]["ReceiveWebhookRole"]["Properties"]["Policies"][0]
    found: list[Json] = role["PolicyDocument"]["Statement"]
    return found


def _without(sid: str, template: Json) -> None:
    _statements(template)[:] = [one for one in _statements(template) if one["Sid"] != sid]


def _with_one_more(template: Json) -> None:
    _statements(template)[0] |= {"Action": ["sqs:PurgeQueue"], "Resource": {"Fn::GetAtt": ["RequestQueue", "Arn"]}}


def _of_another_queue(template: Json) -> None:
    (sends,) = [one for one in _statements(template) if one["Sid"] == "EnqueueRequests"]
    sends["Resource"] = {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (partial(_without, "EnqueueRequests"), ["SendMessage of .*requests is called", "GenerateDataKey: too much"]),
        (partial(_without, "Trace"), ["xray:.* is Lambda's"] * 2),
        (_with_one_more, ["sqs:PurgeQueue of .*requests is not called"]),
        (_of_another_queue, ["SendMessage of .*requests is called", "SendMessage of .*dead-letters is not called"]),
    ],
)  # fmt: skip
def test_a_wrong_role_is_found(
    change: Callable[[Json], None], faults: list[str], aws: AwsStandIn, script: Script
) -> None:
    """Missing permissions, surplus ones, and those for another resource are found."""
    name = "ReceiveWebhookFunction"
    (everything,) = [row for row in rows() if row.kind == "all on"]
    template = deployed(everything)
    properties = template["Resources"][name]["Properties"]
    calls = calls_of(name, properties["Handler"], variables_of(properties, aws), aws, script)
    change(template)
    found = sorted(faults_of(template, name, calls), key=lambda text: "not called" in text)
    assert len(found) == len(faults)
    assert all(re.search(pattern, text) for pattern, text in zip(faults, found, strict=True)), found
