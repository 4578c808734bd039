"""The webhook's AWS adapters: keys from Secrets Manager, and a queue that accepts all, some or no messages."""

from typing import Any

import pytest

from local.aws_stand_in import WEBHOOK_SECRET, AwsStandIn
from shared.aws.secrets import Secrets
from shared.aws.sqs import SqsQueue
from shared.aws.webhook_keys import WebhookKeys
from shared.policy import AWS_ROUNDS, SECRET_KEPT, SECRET_NEWEST
from shared.ports import AwsTrouble
from shared.signatures import Keys
from shared.webhook.endpoint import WebhookEndpoint
from tests.http_requests import DATA, NOW, RULES, FakeKeyRing, body_of, signed
from tests.integration.test_aws_client import client_of
from tests.integration.webhook_secret import keep
from tests.messages import MESSAGE_KEYS, OTHER_VOLUME, SERVER, VOLUME
from tests.scripted import Reply, Script, reply
from tools.sender import LOCAL_SECRET

OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BOTH = {"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME]}


def test_keys_are_cached_and_read_again(aws: AwsStandIn) -> None:
    """Keys are cached for five minutes; an unknown signature causes another read, at most every half minute."""
    time = [0.0]
    ring = WebhookKeys(Secrets(aws.client, clock=lambda: time[0]), WEBHOOK_SECRET)
    old, new = Keys.parse([LOCAL_SECRET]), Keys.parse({"secrets": [OTHER_SECRET, LOCAL_SECRET]})
    keep(aws, [LOCAL_SECRET])
    assert ring.keys() == old
    keep(aws, {"secrets": [OTHER_SECRET, LOCAL_SECRET]})
    time[0] = SECRET_NEWEST - 1
    assert ring.keys(newest=True) == old
    time[0] = SECRET_NEWEST
    assert ring.keys() == old
    assert ring.keys(newest=True) == new
    keep(aws, [OTHER_SECRET])
    time[0] += SECRET_KEPT
    assert ring.keys() == Keys.parse([OTHER_SECRET])


@pytest.mark.parametrize("value", ["text", {"password": "hunter2hunter2"}, ["hunter2hunter2"]])
def test_a_secret_without_keys(value: object, aws: AwsStandIn) -> None:
    """The log names the wrong secret without its value; the sender gets a 503."""
    keep(aws, value)
    ring = WebhookKeys(Secrets(aws.client), WEBHOOK_SECRET)
    with pytest.raises(AwsTrouble, match=WEBHOOK_SECRET) as trouble:
        ring.keys()
    assert "hunter2" not in str(trouble.value)
    assert (
        WebhookEndpoint(RULES, ring, SqsQueue(aws.client, "q"), MESSAGE_KEYS, lambda: NOW).answer(signed(DATA)).status
        == 503
    )


def endpoint_with(script: Script) -> WebhookEndpoint:
    return WebhookEndpoint(RULES, FakeKeyRing(), SqsQueue(client_of(script), "q"), MESSAGE_KEYS, lambda: NOW)


def accepted(*ids: str) -> dict[str, Any]:
    return {"Successful": [{"Id": id} for id in ids]}


def test_entries_that_sqs_drops_are_sent_again(script: Script) -> None:
    """If SQS accepts a part of a batch, only the rest is sent again, and the answer is 202."""
    lost = {"Failed": [{"Id": "1", "Code": "InternalError", "SenderFault": False}]}
    script.then(reply({**accepted("0"), **lost}), reply(accepted("0")))
    assert endpoint_with(script).answer(signed(BOTH)).status == 202
    first, second = ([entry["MessageBody"] for entry in asked.json["Entries"]] for asked in script.asked)
    assert second == first[1:]


@pytest.mark.parametrize(("code", "status"), [("InternalError", 503), ("RequestThrottled", 429)])
def test_entries_that_sqs_never_accepts_are_reported(code: str, status: int, script: Script) -> None:
    """After a few rounds, the answer lists the enqueued and the missing requests."""
    first, later = ({"Failed": [{"Id": id, "Code": code, "SenderFault": False}]} for id in ("1", "0"))
    script.then(reply({**accepted("0"), **first}), reply(later))
    answer = endpoint_with(script).answer(signed(BOTH))
    assert answer.status == status
    assert [request["volume_id"] for request in body_of(answer)["enqueued"]] == [VOLUME]
    assert [request["volume_id"] for request in body_of(answer)["missing"]] == [OTHER_VOLUME]
    assert len(script.asked) == AWS_ROUNDS


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (reply({"__type": "com.amazonaws.sqs#ThrottlingException", "message": "Rate exceeded"}, 400), 429),
        (reply({}, 429), 429),
        (reply({"__type": "com.amazonaws.sqs#QueueDoesNotExist"}, 400), 503),
        (reply({"__type": "AccessDeniedException"}, 403), 503),
        (Reply(500, b"<html/>"), 503),
        (Reply(reset=True), 503),
    ],
)
def test_a_queue_that_refuses_everything(refusal: Reply, status: int, script: Script) -> None:
    """Throttling gives a 429 and any other error a 503, with Retry-After and without AWS's message."""
    script.then(refusal)
    answer = endpoint_with(script).answer(signed(DATA))
    assert (answer.status, "Retry-After" in answer.headers) == (status, True)
    assert "Exception" not in answer.body
    assert answer.note
