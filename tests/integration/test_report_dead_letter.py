"""Dead letters and the HTTP sink as deployed: the handler, its wiring, and the local stack."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from functions.report_dead_letter.handler import lambda_handler
from local.aws_stand_in import CREDENTIALS, DEAD_LETTERS, REQUESTS, VERDICTS, AwsStandIn, queue_arn
from local.demo import SERVER, VOLUME, WINDOWS_SERVER, WINDOWS_VOLUME
from local.poller import LambdaContext
from local.stack import Stack, running
from shared.bootstrap.dead_letters import dead_letters
from shared.model import Outcome, verdict_id
from tests.contract.consumer import faults
from tests.messages import sqs_record
from tests.scripted import Reply, Script, reply
from tools.sender import LOCAL_SECRET

TIMEOUT = 30
BODY = json.dumps({"server_id": SERVER, "volume_id": VOLUME})


@pytest.fixture
def deployed(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """The function's environment, with a scripted server for all of AWS."""
    settings = {"AWS_ENDPOINT_URL": script.url, "REQUEST_QUEUE_URL": f"{script.url}/requests", "EVENT_BUS_NAME": "bus"}
    for name, value in (CREDENTIALS | settings).items():
        monkeypatch.setenv(name, value)
    dead_letters.cache_clear()
    yield script
    dead_letters.cache_clear()


def dead(id: str, body: str = BODY) -> dict[str, Any]:
    record = sqs_record(body, id)
    died_in = {"DeadLetterQueueSourceArn": queue_arn(REQUESTS), "ApproximateReceiveCount": "6"}
    return {**record, "eventSourceARN": queue_arn(DEAD_LETTERS), "attributes": record["attributes"] | died_in}


def invoke(*records: dict[str, Any]) -> Any:
    return lambda_handler({"Records": list(records)}, LambdaContext("report-dead-letter"))


def test_the_verdict_has_the_id_of_its_request(deployed: Script) -> None:
    """A bare request has the request queue as its source, not the dead-letter queue."""
    deployed.then(reply({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}))
    assert {"batchItemFailures": []} == invoke(dead("m-1"))
    (asked,) = deployed.asked
    (entry,) = asked.json["Entries"]
    event = json.loads(entry["Detail"])
    assert verdict_id(queue_arn(REQUESTS), "m-1", VOLUME, Outcome.FAILED) == event["id"]
    assert [] == faults(event, strict=True)


def test_letters_stay_if_their_verdict_cannot_be_emitted(deployed: Script) -> None:
    """Only the message whose verdict the bus refused returns."""
    refused = {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow"}
    deployed.then(reply({"FailedEntryCount": 1, "Entries": [{"EventId": "1"}, refused]}))
    failed = invoke(dead("m-1"), dead("m-2"))
    assert {"batchItemFailures": [{"itemIdentifier": "m-2"}]} == failed


def test_an_outage_keeps_everything(deployed: Script) -> None:
    """If the bus refuses everything, every message returns."""
    deployed.then(Reply(403, json.dumps({"__type": "AccessDeniedException"}).encode()))
    failed = invoke(dead("m-1"), dead("m-2", "{"))
    assert ["m-1", "m-2"] == [failure["itemIdentifier"] for failure in failed["batchItemFailures"]]


@pytest.fixture
def with_sink(aws_server: AwsStandIn, script: Script) -> Iterator[Stack]:
    """The local stack with an HTTP sink that is busy at first."""
    assert requests.post(f"{aws_server.environment['AWS_ENDPOINT_URL']}/moto-api/reset", timeout=5).status_code == 200
    script.then(Reply(503, b"", (("Retry-After", "1"),)), Reply(204, b""))
    with running({"SINK_URL": f"{script.url}/hook", "SINK_SECRET": LOCAL_SECRET}) as stack:
        yield stack


def test_a_busy_sink_gets_the_verdict_later(with_sink: Stack, script: Script) -> None:
    """The sink gets the event of the bus, signed, and the bus gets it only once."""
    with_sink.request(json.dumps({"server_id": WINDOWS_SERVER, "volume_id": WINDOWS_VOLUME}))
    deadline = time.monotonic() + TIMEOUT
    while len(script.asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    busy, taken = script.asked
    (envelope,) = with_sink.aws.receive(VERDICTS, wait_seconds=0)
    assert envelope["detail"] == busy.json == taken.json
    assert busy.headers["webhook-id"] == taken.headers["webhook-id"] == envelope["detail"]["id"]
    Webhook(LOCAL_SECRET).verify(taken.body, taken.headers)
    assert [] == faults(taken.json, strict=True)


def test_dead_letters_get_a_verdict_in_the_local_stack(stack: Stack) -> None:
    """A message in the dead-letter queue leads to a verdict on the bus."""
    sent = datetime.now(UTC)
    stack.aws.send(DEAD_LETTERS, BODY)
    envelopes: list[dict[str, Any]] = []
    deadline = time.monotonic() + TIMEOUT
    while not envelopes and time.monotonic() < deadline:
        envelopes = stack.aws.receive(VERDICTS, wait_seconds=0)
        time.sleep(0.05)
    event = envelopes[0]["detail"]
    assert ("dead_lettered", BODY) == (event["data"]["reason"]["code"], event["data"]["original"])
    assert queue_arn(REQUESTS) == event["data"]["request"]["source"]
    assert datetime.fromisoformat(event["time"]) >= sent
