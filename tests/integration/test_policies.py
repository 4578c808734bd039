"""The template's policies, enforced by moto: each function can do exactly what it needs."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from moto.core.authorization import enable_iam_authentication
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.models import iam_backends

from local.aws_stand_in import (
    ACCOUNT,
    BUS,
    CANARY_VERDICTS,
    DEAD_LETTERS,
    REGION,
    REQUESTS,
    VERDICT_BUCKET,
    AwsStandIn,
    queue_arn,
)
from shared.aws.client import EVENTS, SECRETS, SQS, STATES, AwsClient
from shared.aws.errors import AwsError
from shared.aws.verdict_store import S3VerdictStore
from shared.ports import AwsTrouble, Kept
from tests.contract.test_template import FUNCTIONS, KEEPING, TEMPLATE, documents_of

FUNCTION_NAMES = [name.removesuffix("Function") for name in FUNCTIONS]
NAMES = {
    "RequestQueue.Arn": queue_arn(REQUESTS),
    "DeadLetterQueue.Arn": queue_arn(DEAD_LETTERS),
    "EventBus.Arn": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{BUS}",
    "CanaryVerdicts.Arn": queue_arn(CANARY_VERDICTS),
    "CanaryVerdictsFromBus.Arn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{BUS}/canary",
    "DetachVolumeFunctionRequests": "mapping",
    **{f"{name}Logs.Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:*" for name in FUNCTION_NAMES},
    "VerdictBucket": VERDICT_BUCKET,
    "MessageKey": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:MessageKey-AbCdEf",
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
}
"""The names of the template's resources in moto; a parameter is its default, or its own name."""


OFF = {"HasVpc", "HasKey"}
"""Conditions that are off here; all others are on. The template's own tests cover their statements."""


def resolved(value: Any) -> Any:
    """Resolve the CloudFormation functions that the policies use."""
    match value:
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"GetAtt": str(name)} | {"Ref": str(name)}:
            return _value_of(name)
        case {"Sub": str(text)}:
            # The stand-in takes "?" for a regular expression's; six of them stand for a secret's random ending.
            return re.sub(r"\$\{([^}]+)\}", lambda found: _value_of(found[1]), text).replace("??????", "*")
        case {"If": [condition, then, otherwise]}:
            return resolved(otherwise if condition in OFF else then)
        case dict():
            return {name: resolved(item) for name, item in value.items()}
        case list():
            return [found for item in value if (found := resolved(item)) is not None]
    return value


def _value_of(name: str) -> str:
    return NAMES.get(name) or str(TEMPLATE["Parameters"].get(name, {}).get("Default") or name)


def policies_of(function: str) -> list[str]:
    return [json.dumps(resolved(policy)) for policy in documents_of(function)]


@pytest.fixture
def acting_as(aws: AwsStandIn) -> Iterator[Callable[[str], AwsClient]]:
    """Clients with a function's policies; signatures and permissions are really checked."""
    iam: Any = iam_backends[ACCOUNT]["aws"]
    made: list[str] = []

    def client(function: str) -> AwsClient:
        iam.create_user(REGION, function)
        key = iam.create_access_key(function)
        for number, policy in enumerate(policies_of(function)):
            iam.put_user_policy(function, f"policy-{number}", policy)
        made.append(function)
        login = {"AWS_ACCESS_KEY_ID": key.access_key_id, "AWS_SECRET_ACCESS_KEY": key.secret_access_key}
        return AwsClient({**aws.environment, **login})

    with enable_iam_authentication():
        yield client
    for function in made:
        user = iam.get_user(function)
        for name in list(user.policies):
            iam.delete_user_policy(function, name)
        for key in list(user.access_keys):
            iam.delete_access_key(key.access_key_id, function)
        iam.delete_user(function)


SECRET_ARN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:"
TOKEN = "*"
REQUEST_QUEUE, DEAD_LETTER_QUEUE, OUR_BUS = (
    NAMES["RequestQueue.Arn"],
    NAMES["DeadLetterQueue.Arn"],
    NAMES["EventBus.Arn"],
)
MESSAGE_KEY = NAMES["MessageKey"]
CANARY_QUEUE, CANARY_RULE = NAMES["CanaryVerdicts.Arn"], NAMES["CanaryVerdictsFromBus.Arn"]
MAPPING = f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:{NAMES['DetachVolumeFunctionRequests']}"
CLOUD = f"{SECRET_ARN}{_value_of('CloudSecretId')}-AbCdEf"
WEBHOOK = f"{SECRET_ARN}{_value_of('WebhookSecretId')}-AbCdEf"
PROJECTS = f"{SECRET_ARN}{_value_of('AllowedProjectsSecretId')}-AbCdEf"
FOREIGN_SECRET = f"{SECRET_ARN}payroll-AbCdEf"


def consuming(queue: str) -> set[tuple[str, str]]:
    """Lambda's actions on a function's queue, with the function's role."""
    return {(f"sqs:{do}", queue) for do in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")}


BUCKET = f"arn:aws:s3:::{VERDICT_BUCKET}"
STORED, FOREIGN_KEY = f"{BUCKET}/requests/{'0' * 8}.json", f"{BUCKET}/invoices/1.pdf"
STORING_VERDICTS = {("s3:PutObject", STORED)}

READING_THE_KEY = {(f"secretsmanager:{do}", MESSAGE_KEY) for do in ("GetSecretValue", "DescribeSecret")}

NEEDED: dict[str, set[tuple[str, str]]] = {
    "DetachVolumeFunction": {*consuming(REQUEST_QUEUE), ("sqs:SendMessage", REQUEST_QUEUE), ("events:PutEvents",
        OUR_BUS), ("secretsmanager:GetSecretValue", CLOUD), ("secretsmanager:GetSecretValue", PROJECTS),
        *READING_THE_KEY, ("states:SendTaskSuccess", TOKEN),
        ("states:SendTaskFailure", TOKEN), ("states:SendTaskHeartbeat", TOKEN), *STORING_VERDICTS},
    "ReportDeadLetterFunction": {*consuming(DEAD_LETTER_QUEUE), ("sqs:SendMessage", REQUEST_QUEUE),
        ("events:PutEvents", OUR_BUS), ("states:SendTaskSuccess", TOKEN), ("states:SendTaskFailure", TOKEN),
        ("states:SendTaskHeartbeat", TOKEN), *READING_THE_KEY, *STORING_VERDICTS},
    "ReceiveWebhookFunction": {("sqs:SendMessage", REQUEST_QUEUE), ("secretsmanager:GetSecretValue", WEBHOOK),
        ("secretsmanager:GetSecretValue", MESSAGE_KEY), *STORING_VERDICTS, ("s3:GetObject", STORED), ("s3:ListBucket",
        BUCKET)},
    "RunCanaryFunction": {("sqs:SendMessage", REQUEST_QUEUE), ("sqs:GetQueueAttributes", REQUEST_QUEUE),
        ("sqs:ReceiveMessage", CANARY_QUEUE), ("sqs:DeleteMessage", CANARY_QUEUE),
        ("lambda:GetEventSourceMapping", MAPPING), ("events:DescribeRule", CANARY_RULE)},
}  # fmt: skip
"""The calls of each function's adapters, and those of Lambda for it."""

CONCEIVABLE = {
    *((f"sqs:{do}", queue) for do in ("SendMessage", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes",
      "PurgeQueue", "DeleteQueue") for queue in (REQUEST_QUEUE, DEAD_LETTER_QUEUE, CANARY_QUEUE)),
    *((f"events:{do}", rule) for do in ("DescribeRule", "DisableRule", "PutTargets", "DeleteRule")
      for rule in (CANARY_RULE, f"{CANARY_RULE}-of-others")),
    *((f"lambda:{do}", mapping) for do in ("GetEventSourceMapping", "UpdateEventSourceMapping")
      for mapping in (MAPPING, f"{MAPPING}-of-others")),
    *((f"events:{do}", bus) for do in ("PutEvents", "DeleteEventBus", "PutRule")
      for bus in (OUR_BUS, OUR_BUS.replace(BUS, "default"))),
    *((f"secretsmanager:{do}", secret) for do in ("GetSecretValue", "DescribeSecret", "PutSecretValue", "DeleteSecret")
      for secret in (CLOUD, PROJECTS, WEBHOOK, MESSAGE_KEY, FOREIGN_SECRET)),
    *((f"states:{do}", TOKEN) for do in ("SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat", "StartExecution")),
    *((f"logs:{do}", "*") for do in ("CreateLogGroup", "DeleteLogGroup", "GetLogEvents")),
    *((f"s3:{do}", key) for do in ("GetObject", "PutObject", "DeleteObject", "PutObjectAcl")
      for key in ("*", STORED, FOREIGN_KEY)),
    *((f"s3:{do}", BUCKET) for do in ("ListBucket", "PutBucketPolicy", "DeleteBucket")),
    ("iam:PassRole", "*"), ("lambda:InvokeFunction", "*"),
}  # fmt: skip
"""Calls that a compromised function might try."""


def permitted(function: str, action: str, resource: str) -> bool:
    """IAM's evaluation of a function's policies."""
    results = [IAMPolicy(policy).is_action_permitted(action, resource) for policy in policies_of(function)]
    return PermissionResult.PERMITTED in results and PermissionResult.DENIED not in results


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_exactly_what_it_needs(function: str) -> None:
    """Of the conceivable calls, the policies allow exactly those that the function needs."""
    allowed = {(action, resource) for action, resource in CONCEIVABLE if permitted(function, action, resource)}

    assert NEEDED[function] == allowed


@pytest.mark.parametrize("function", FUNCTIONS)
def test_permissions_are_enforced_over_the_wire(
    function: str, aws: AwsStandIn, acting_as: Callable[[str], AwsClient]
) -> None:
    """With the function's credentials, calls that its policies allow succeed, and others are refused with 403."""
    client = acting_as(function)
    client.call(SQS, "SendMessage", {"QueueUrl": aws.queue_urls[REQUESTS], "MessageBody": "x"})

    for service, operation, payload in (
        (SQS, "SendMessage", {"QueueUrl": aws.queue_urls[DEAD_LETTERS], "MessageBody": "x"}),
        (SQS, "PurgeQueue", {"QueueUrl": aws.queue_urls[REQUESTS]}),
        (SECRETS, "ListSecrets", {}),
        (EVENTS, "DeleteEventBus", {"Name": BUS}),
        (STATES, "StartExecution", {"stateMachineArn": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:x"}),
    ):
        with pytest.raises(AwsError) as denied:
            client.call(service, operation, payload)
        assert 403 == denied.value.status


@pytest.mark.parametrize("function", KEEPING)
def test_verdicts_are_kept_with_a_functions_own_permissions(
    function: str, acting_as: Callable[[str], AwsClient], aws: AwsStandIn
) -> None:
    """S3 checks signatures; each function may write under the prefix, and only the webhook may read there."""
    store, there, missing = S3VerdictStore(acting_as(function), VERDICT_BUCKET), str(uuid4()), str(uuid4())
    assert store.mark({there: "{}"}) is None

    if function == "ReceiveWebhookFunction":
        assert [Kept(mark="{}"), Kept()] == [store.find(there), store.find(missing)]
    else:
        with pytest.raises(AwsTrouble, match="AccessDenied"):
            store.find(there)
    forger = AwsClient({**store.client.environment, "AWS_SECRET_ACCESS_KEY": "another"}, sleep=lambda _: None)
    assert "SignatureDoesNotMatch" in (S3VerdictStore(forger, VERDICT_BUCKET).mark({missing: "{}"}) or "")
