"""Each function works with only the artifact."""

import json
import time
import uuid
from typing import Any

import pytest

from local.aws_stand_in import DEAD_LETTERS, REQUESTS, queue_arn
from local.demo import FREE_VOLUME, SERVER
from tests.artifact.conftest import Runs
from tests.artifact.world import World

pytestmark = pytest.mark.artifact

INVOKE = """
import importlib, json, sys, types
context = types.SimpleNamespace(
    function_name="f", memory_limit_in_mb=256, invoked_function_arn="arn", aws_request_id="1",
    get_remaining_time_in_millis=lambda: 60000)
handler = importlib.import_module("functions.{handler}.handler").lambda_handler
print(json.dumps(handler(json.loads({event!r}), context)), file=sys.stderr)
"""


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


def test_it_detaches(isolated: Runs, world: World) -> None:
    """A request leads to a login, reads, and a verdict on the bus."""
    event = sqs(json.dumps({"server_id": SERVER, "volume_id": FREE_VOLUME}), queue_arn(REQUESTS))
    assert invoked(isolated, "detach_volume", event, world.variables) == {"batchItemFailures": []}
    assert world.verdicts() == {FREE_VOLUME: "already_detached"}


def test_it_reports_dead_letters(isolated: Runs, world: World) -> None:
    """A dead letter gets a verdict without a call to the cloud."""
    event = sqs(json.dumps({"server_id": SERVER, "volume_id": FREE_VOLUME}), queue_arn(DEAD_LETTERS))
    assert invoked(isolated, "report_dead_letter", event, world.variables) == {"batchItemFailures": []}
    assert world.verdicts() == {FREE_VOLUME: "dead_lettered"}


def test_it_runs_the_canary(isolated: Runs, world: World) -> None:
    """Without a worker, the run fails at the stage `queue`."""
    names = {"CANARY_SERVER_ID": SERVER, "CANARY_VOLUME_ID": FREE_VOLUME, "CANARY_BOUND": "1"}
    ended = invoked(isolated, "run_canary", {}, {**world.variables, **names, **world.aws.add_canary()})
    assert (ended["passed"], ended["stage"]) == (False, "queue")


def test_it_authenticates_webhook_requests(isolated: Runs, world: World) -> None:
    """A request without authentication is rejected."""
    event = {"requestContext": {"http": {"method": "POST"}, "requestId": "1"}, "headers": {}, "body": "{}"}
    assert invoked(isolated, "receive_webhook", event, world.variables)["statusCode"] == 401
