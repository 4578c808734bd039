"""The artifact does its work without anything around it: what was left out of it is not needed."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from local.aws_stand_in import (
    BUS,
    CLOUD_SECRET,
    DEAD_LETTERS,
    REQUESTS,
    VERDICTS,
    WEBHOOK_SECRET,
    AwsStandIn,
    queue_arn,
)
from local.cloud import CloudServer
from local.demo import FREE_VOLUME, SERVER, demo_cloud
from local.sender import LOCAL_SECRET
from local.stack import simulator_credentials
from shared.bootstrap import utc_now
from tests.artifact.conftest import Runs

pytestmark = pytest.mark.artifact

INVOKE = """
import importlib, json, sys, types
context = types.SimpleNamespace(
    function_name="f", memory_limit_in_mb=256, invoked_function_arn="arn", aws_request_id="1",
    get_remaining_time_in_millis=lambda: 60000)
handler = importlib.import_module("functions.{handler}.handler").lambda_handler
print(json.dumps(handler(json.loads({event!r}), context)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def surroundings() -> Iterator[tuple[AwsStandIn, dict[str, str]]]:
    """AWS and a cloud to work with, and the environment that leads to them."""
    cloud = demo_cloud(utc_now)
    with AwsStandIn() as aws, CloudServer(cloud):
        aws.put_secret(CLOUD_SECRET, simulator_credentials(cloud))
        aws.put_secret(WEBHOOK_SECRET, {"secrets": [LOCAL_SECRET]})
        queue = {"REQUEST_QUEUE_URL": aws.queue_urls[REQUESTS], "EVENT_BUS_NAME": BUS}
        secrets = {"CLOUD_SECRET_ID": CLOUD_SECRET, "WEBHOOK_SECRET_ID": WEBHOOK_SECRET}
        yield aws, {**aws.environment, **queue, **secrets}


def sqs(body: str, queue: str) -> dict[str, Any]:
    now = str(int(time.time() * 1000))
    attributes = {
        "ApproximateReceiveCount": "1",
        "SentTimestamp": now,
        "ApproximateFirstReceiveTimestamp": now,
        "DeadLetterQueueSourceArn": queue_arn(REQUESTS),
    }
    record = {"messageId": str(uuid.uuid4()), "body": body, "attributes": attributes, "eventSourceARN": queue}
    return {"Records": [record]}


def invoked(isolated: Runs, handler: str, event: dict[str, Any], environment: dict[str, str]) -> Any:
    done = isolated(INVOKE.format(handler=handler, event=json.dumps(event)), **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_it_detaches(isolated: Runs, surroundings: tuple[AwsStandIn, dict[str, str]]) -> None:
    """Login, reads, and a verdict on the bus."""
    aws, environment = surroundings
    event = sqs(json.dumps({"server_id": SERVER, "volume_id": FREE_VOLUME}), queue_arn(REQUESTS))
    assert invoked(isolated, "detach_volume", event, environment) == {"batchItemFailures": []}
    [verdict] = aws.receive(VERDICTS)
    assert verdict["detail"]["data"]["detail"] == "already_detached"


def test_it_answers_dead_letters(isolated: Runs, surroundings: tuple[AwsStandIn, dict[str, str]]) -> None:
    """Without a cloud."""
    aws, environment = surroundings
    event = sqs(json.dumps({"server_id": SERVER, "volume_id": FREE_VOLUME}), queue_arn(DEAD_LETTERS))
    assert invoked(isolated, "report_dead_letter", event, environment) == {"batchItemFailures": []}
    [verdict] = aws.receive(VERDICTS)
    assert verdict["detail"]["data"]["reason"]["code"] == "dead_lettered"


def test_it_keeps_the_door(isolated: Runs, surroundings: tuple[AwsStandIn, dict[str, str]]) -> None:
    """Whoever proves nothing is turned away."""
    _, environment = surroundings
    event = {"requestContext": {"http": {"method": "POST"}, "requestId": "1"}, "headers": {}, "body": "{}"}
    assert invoked(isolated, "receive_webhook", event, environment)["statusCode"] == 401
