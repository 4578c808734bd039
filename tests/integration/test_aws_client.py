"""Signed JSON calls to AWS: requests, retries, and the meaning of answers."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from moto.core.authorization import enable_iam_authentication
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from local.aws_stand_in import ACCOUNT, CREDENTIALS, REGION, REQUESTS, AwsStandIn
from shared.aws.client import EVENTS, SECRETS, SQS, STATES, AwsClient, Protocol
from shared.aws.errors import AwsError
from shared.aws.sqs import SqsQueue
from shared.ports import AwsTrouble, QueueMessage
from tests.scripted import BROKEN, Reply, Script, reply
from tests.scripted import client_of as client_of

ALLOW_ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


@pytest.mark.parametrize(
    ("service", "target", "version"),
    [(SQS, "AmazonSQS", "1.0"), (EVENTS, "AWSEvents", "1.1"), (SECRETS, "secretsmanager", "1.1"),
     (STATES, "AWSStepFunctions", "1.0")],
)  # fmt: skip
def test_each_service_is_called_by_its_protocol(script: Script, service: Protocol, target: str, version: str) -> None:
    """Target, media type and signature scope are those of the service."""
    client_of(script).call(service, "DoThis", {"a": "ä"})
    (asked,) = script.asked
    assert asked.headers["x-amz-target"] == f"{target}.DoThis"
    assert asked.headers["content-type"] == f"application/x-amz-json-{version}"
    assert f"/{REGION}/{service.name}/aws4_request" in asked.headers["authorization"]
    assert asked.json == {"a": "ä"}


def signature_by_botocore(url: str, headers: dict[str, str], body: bytes, names: list[str]) -> str:
    """The signature that botocore computes for the same request and headers."""
    request: Any = AWSRequest(
        "POST", url, data=body, headers={name: headers[name] for name in names if name in headers}
    )
    request.context["timestamp"] = headers["x-amz-date"]
    signer: Any = SigV4Auth(Credentials("local", "local"), "sqs", REGION)
    canonical = signer.canonical_request(request)
    return str(signer.signature(signer.string_to_sign(request, canonical), request))


def test_the_signature_is_the_one_of_botocore(script: Script) -> None:
    """Host, media type and every x-amz header are signed, and botocore computes the same signature."""
    client_of(script, AWS_SESSION_TOKEN="token").call(SQS, "SendMessage", {"MessageBody": "€"})
    (asked,) = script.asked
    parts = dict(part.strip().split("=", 1) for part in asked.headers["authorization"].split(" ", 1)[1].split(","))
    signed = parts["SignedHeaders"].split(";")
    assert [name for name in asked.headers if name.startswith("x-amz-") and name not in signed] == []
    assert {"host", "content-type"} <= set(signed)
    assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(asked.body).hexdigest()
    assert parts["Signature"] == signature_by_botocore(f"{script.url}/", asked.headers, asked.body, signed)


@pytest.fixture
def robot(aws: AwsStandIn) -> Iterator[dict[str, str]]:
    """A user known to AWS, whose signatures and permissions are really checked."""
    backend: Any = iam_backends[ACCOUNT]["aws"]
    backend.create_user(REGION, "robot")
    key = backend.create_access_key("robot")
    backend.put_user_policy("robot", "all", ALLOW_ALL)
    with enable_iam_authentication():
        yield {
            **aws.environment,
            "AWS_ACCESS_KEY_ID": key.access_key_id,
            "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        }
    backend.delete_user_policy("robot", "all")
    backend.delete_access_key(key.access_key_id, "robot")
    backend.delete_user("robot")


def test_aws_accepts_the_signature(aws: AwsStandIn, robot: dict[str, str]) -> None:
    """A service that checks signatures accepts the message, whatever characters it contains."""
    assert SqsQueue(AwsClient(robot), aws.queue_urls[REQUESTS]).send({0: QueueMessage("ä€😀\n")}) == {}
    wrong = robot | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    assert list(SqsQueue(AwsClient(wrong), aws.queue_urls[REQUESTS]).send({0: QueueMessage("x")})) == [0]


def test_a_session_token_is_sent_and_signed(aws: AwsStandIn, robot: dict[str, str]) -> None:
    """Temporary credentials, as on Lambda, are accepted with their token and refused without it."""
    iam: Any = iam_backends[ACCOUNT]["aws"]
    role = iam.create_role("worker", "{}", "/", None, "", [], "3600")
    iam.put_role_policy("worker", "all", ALLOW_ALL)
    session = sts_backends[ACCOUNT]["aws"].assume_role(REGION, "s", role.arn, "", 3600, "")
    environment = robot | {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }
    queue = SqsQueue(AwsClient(environment), aws.queue_urls[REQUESTS])
    assert queue.send({0: QueueMessage("x")}) == {}
    del environment["AWS_SESSION_TOKEN"]
    assert list(queue.send({0: QueueMessage("x")})) == [0]


def test_credentials_are_read_at_call_time(script: Script) -> None:
    """Changed credentials are used from the next call on."""
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": script.url}
    client = AwsClient(environment)
    client.call(SQS, "A", {})
    environment |= {"AWS_ACCESS_KEY_ID": "second", "AWS_SESSION_TOKEN": "token"}
    client.call(SQS, "B", {})
    first, second = (asked.headers for asked in script.asked)
    assert "Credential=local/" in first["authorization"]
    assert "Credential=second/" in second["authorization"]
    assert [first.get("x-amz-security-token"), second.get("x-amz-security-token")] == [None, "token"]


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"])
def test_without_credentials_nothing_is_sent(script: Script, name: str) -> None:
    """The missing variable is reported, and no unsigned request is sent."""
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": script.url, "AWS_DEFAULT_REGION": "", name: ""}
    with pytest.raises(AwsTrouble, match="must be set"):
        AwsClient(environment).call(SQS, "A", {})
    assert script.asked == []


PASSING = {
    "500": Reply(500, b"oops"),
    "503": Reply(503, b"<html></html>"),
    "429": Reply(429),
    "throttling": reply({"__type": "com.amazonaws.sqs#ThrottlingException", "message": "slow"}, 400),
    "request throttled": reply({"__type": "RequestThrottled"}, 403),
    "kms": reply({"__type": "KmsThrottled"}, 400),
    "request timeout": reply({"__type": "RequestTimeout"}, 400),
    "reset": BROKEN,
}


@pytest.mark.parametrize("name", PASSING)
def test_passing_errors_are_retried(script: Script, name: str) -> None:
    """Server errors, throttling by any name and broken connections are retried, with a new signature and a pause."""
    script.then(PASSING[name], PASSING[name], reply({"MessageId": "1"}))
    pauses: list[float] = []
    assert client_of(script, pauses).call(SQS, "SendMessage", {"a": 1}) == {"MessageId": "1"}
    assert len(pauses) == 2
    assert [0 <= pause <= 0.1 * 2**attempt for attempt, pause in enumerate(pauses, 1)] == [True, True]
    assert len({asked.body for asked in script.asked}) == 1
    assert all("Signature=" in asked.headers["authorization"] for asked in script.asked)


def test_a_retry_is_signed_with_the_current_credentials(script: Script) -> None:
    """Each attempt is signed anew, with credentials that were renewed during the pause."""
    script.then(Reply(500), reply())
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": script.url}
    AwsClient(environment, sleep=lambda _: environment.update(AWS_ACCESS_KEY_ID="renewed")).call(SQS, "A", {})
    assert ["local" in asked.headers["authorization"] for asked in script.asked] == [True, False]


@pytest.mark.parametrize("name", PASSING)
def test_retries_end(script: Script, name: str) -> None:
    """A lasting error is reported after four attempts."""
    script.then(PASSING[name])
    pauses: list[float] = []
    with pytest.raises(AwsTrouble, match="A: "):
        client_of(script, pauses).call(SQS, "A", {})
    assert (len(script.asked), len(pauses)) == (4, 3)


@pytest.mark.parametrize("status", [301, 400, 403, 404])
def test_a_permanent_error_is_not_retried(script: Script, status: int) -> None:
    """A permanent error is reported at once, with the service's code and message."""
    body = {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"}
    script.then(Reply(status, json.dumps(body).encode(), (("Location", "http://127.0.0.1:9/"),)))
    with pytest.raises(AwsError) as error:
        client_of(script).call(SQS, "A", {})
    assert (error.value.code, error.value.status, len(script.asked)) == ("QueueDoesNotExist", status, 1)
    assert "no such queue" in str(error.value)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Reply(400, b'{"__type": "A#B", "Message": "upper"}'), "B"),
        (Reply(400, b"<xml/>", (("x-amzn-ErrorType", "Denied:http://x"),)), "Denied"),
        (Reply(403, b"<ErrorResponse/>"), "UnknownError"),
        (Reply(400, b"[1]"), "UnknownError"),
        (Reply(400, b""), "UnknownError"),
        (Reply(400, b"\xff"), "UnknownError"),
    ],
)
def test_errors_in_every_format(script: Script, answer: Reply, code: str) -> None:
    """The code is found in every place that services use; an answer that is not JSON is still an error."""
    script.then(answer)
    with pytest.raises(AwsError) as error:
        client_of(script).call(SQS, "A", {})
    assert error.value.code == code


def test_errors_show_no_secrets_and_stay_short(script: Script) -> None:
    """A long message is cut, and it never contains a key or a token."""
    script.then(reply({"__type": "X", "message": "m" * 10_000}, 400))
    with pytest.raises(AwsError) as error:
        client_of(script, AWS_SECRET_ACCESS_KEY="hunter2", AWS_SESSION_TOKEN="hunter3").call(SQS, "A", {})
    assert len(str(error.value)) < 400
    assert "hunter" not in str(error.value)


def test_a_refused_connection_is_an_error() -> None:
    """A refused connection ends in AwsTrouble after the attempts."""
    client = AwsClient({**CREDENTIALS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, sleep=lambda _: None)
    with pytest.raises(AwsTrouble, match="no answer"):
        client.call(SQS, "A", {})
