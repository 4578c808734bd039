"""The webhook function with AWS, and the path from a signed POST to a verdict."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.receive_webhook.handler import http_request_of, lambda_handler
from local.aws_stand_in import MESSAGE_KEY, REQUESTS, VERDICTS, WEBHOOK_SECRET, AwsStandIn
from local.function_url import payload
from local.poller import LambdaContext
from local.stack import Stack
from shared.aws.secrets import SHORTEST_KEY
from shared.bootstrap.webhook import build_webhook, webhook_endpoint
from shared.webhook.http_binding import STRUCTURED
from tests.http_requests import DATA, NOW, body_of, cloudevent
from tests.integration.webhook_secret import forget, keep
from tests.messages import OTHER_VOLUME, SERVER, VOLUME
from tools.sender import LOCAL_SECRET, Post, came_by_http, deliver, post_of

BOTH = {"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME]}

CI = "arn:aws:sts::123456789012:assumed-role/ci/run-17"

Invoke = Callable[[dict[str, Any]], Any]


@pytest.fixture
def environment(aws: AwsStandIn) -> dict[str, str]:
    """The function's variables as the template sets them."""
    keep(aws, {"key": "k" * SHORTEST_KEY}, MESSAGE_KEY)
    return {
        **aws.environment,
        "REQUEST_QUEUE_URL": aws.queue_urls[REQUESTS],
        "MESSAGE_KEY_SECRET_ID": MESSAGE_KEY,
        "WEBHOOK_SECRET_ID": WEBHOOK_SECRET,
        "WEBHOOK_ALLOWED_ORIGINS": "events.example.com, other.example.com",
    }


@pytest.fixture
def invoke(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Call the handler as Lambda does, with its settings in the environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    webhook_endpoint.cache_clear()
    yield lambda event: lambda_handler(event, LambdaContext("receive-webhook"))
    webhook_endpoint.cache_clear()


def event_of(value: object, kind: str = "application/json", secret: str = LOCAL_SECRET) -> dict[str, Any]:
    """The event of a newly signed POST."""
    post = Post({"content-type": kind}, json.dumps(value).encode()).signed(secret, datetime.now(UTC))
    return payload("POST", "/", post.headers.items(), post.body)


# ------------------------------------------------------------------------------------------------ the handler


@pytest.mark.parametrize("kind", ["application/json", STRUCTURED])
def test_an_accepted_request_is_in_the_queue(kind: str, aws: AwsStandIn, invoke: Invoke) -> None:
    """After a 202 the message is in SQS, whether Lambda passes the body as text or as base64."""
    keep(aws, [LOCAL_SECRET])
    event = event_of(DATA if kind == "application/json" else cloudevent(), kind)
    assert event["isBase64Encoded"] is (kind == STRUCTURED)
    answer = invoke(event)
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (202, False)
    assert answer["headers"]["Content-Type"] == "application/json"
    (promised,) = json.loads(answer["body"])["requests"]
    (message,) = aws.receive(REQUESTS, wait_seconds=0)
    assert (message["id"], message["data"]["volume_id"]) == (promised["id"], VOLUME)


def test_without_a_secret_everything_is_refused(aws: AwsStandIn, invoke: Invoke) -> None:
    """Every request is rejected while the secret does not exist."""
    forget(aws)
    assert invoke(event_of(DATA))["statusCode"] == 401
    assert aws.waiting(REQUESTS) == 0


def test_handshake(aws: AwsStandIn, invoke: Invoke) -> None:
    """The handshake of an allowed origin is accepted."""
    keep(aws, [LOCAL_SECRET])
    answer = invoke(payload("OPTIONS", "/", [("WebHook-Request-Origin", "other.example.com")], b""))
    assert answer["statusCode"] == 200
    assert answer["headers"]["WebHook-Allowed-Origin"] == "other.example.com"


def test_the_iam_identity_comes_from_aws(environment: dict[str, str]) -> None:
    """The sender's identity comes from AWS; no header can claim it."""
    event = payload("POST", "/", [("content-type", "application/json"), ("authorizer", "iam")], b"{}")
    assert http_request_of(event).iam is None
    event["requestContext"]["authorizer"] = {"iam": {"accountId": "123456789012"}}
    assert http_request_of(event).iam == ""
    event["requestContext"]["authorizer"]["iam"]["userArn"] = CI
    assert http_request_of(event).iam == CI
    for settings, status in ({}, 401), ({"WEBHOOK_IAM_AUTH": "true"}, 422):
        endpoint = build_webhook({**environment, "WEBHOOK_SECRET_ID": "", **settings})
        assert endpoint.answer(http_request_of(event)).status == status


@pytest.mark.parametrize("name", ["webhook_cloudevent.json", "webhook_bare.json"])
def test_sample_events(
    name: str, aws: AwsStandIn, environment: dict[str, str], event_file: Callable[[str], str]
) -> None:
    """The sample events are signed with the public sample secret, at 2026-11-23T08:00:05Z."""
    keep(aws, {"secrets": [LOCAL_SECRET]})
    assert came_by_http(event_file(name))
    answer = build_webhook(environment, clock=lambda: NOW).answer(http_request_of(json.loads(event_file(name))))
    assert answer.status == 202
    (message,) = aws.receive(REQUESTS, wait_seconds=0)
    assert message["id"] == body_of(answer)["requests"][0]["id"]


# ------------------------------------------------------------------------------------------------- end to end


def posted(stack: Stack, value: object, kind: str = "application/json") -> Post:
    post = Post({"content-type": kind}, json.dumps(value).encode())
    return post.signed(stack.webhook_secret, datetime.now(UTC))


def verdicts(stack: Stack, count: int) -> list[Any]:
    """The next events of the bus."""
    found: list[Any] = []
    for _ in range(60):
        found += [envelope["detail"] for envelope in stack.aws.receive(VERDICTS)]
        if len(found) >= count:
            return found
    raise AssertionError(f"only {len(found)} of {count} verdicts came")


def test_from_a_signed_post_to_verdicts(stack: Stack) -> None:
    """Each volume is detached, and its verdict has the id from the answer."""
    answer = deliver(posted(stack, cloudevent(BOTH, correlationid="CHG-9", time=...), STRUCTURED), stack.webhook_url)
    assert answer.status_code == 202
    promised = answer.json()["requests"]
    found = verdicts(stack, 2)
    assert {verdict["id"] for verdict in found} == {request["verdict_id"] for request in promised}
    for verdict in found:
        assert (verdict["data"]["verdict"], verdict["correlationid"]) == ("detached", "CHG-9")
        assert verdict["data"]["request"] == {"id": promised[0]["id"], "source": promised[0]["source"]}


def test_a_tampered_post_is_refused(stack: Stack) -> None:
    """A tampered POST gets a 401, without a message or an event."""
    answer = deliver(posted(stack, DATA).tampered(), stack.webhook_url)
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert stack.aws.waiting(REQUESTS) == 0
    assert stack.aws.receive(VERDICTS, wait_seconds=0) == []


def test_event_files_are_sent_with_their_content_type(event_file: Callable[[str], str]) -> None:
    """The content type of a sent file is derived from its content."""
    names = ["detach_cloudevent.json", "detach_bare.json", "webhook_cloudevent.json", "webhook_bare.json"]
    kinds = {name: post_of(event_file(name)).headers["content-type"] for name in names}
    assert kinds["detach_cloudevent.json"] == kinds["webhook_cloudevent.json"] == STRUCTURED
    assert kinds["detach_bare.json"] == kinds["webhook_bare.json"] == "application/json"
