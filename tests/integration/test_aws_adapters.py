"""Queue, bus and secrets: every message and event is either accepted or reported as not accepted."""

import json
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from local.aws_stand_in import BUS, REQUESTS, VERDICTS, AwsStandIn
from shared.aws.client import EVENTS, SECRETS, SQS, AwsClient, batches
from shared.aws.event_bus import EventBus
from shared.aws.secrets import Secrets
from shared.aws.sqs import SqsQueue
from shared.decision.case import Case, detached
from shared.decision.progress import Progress
from shared.model import DetachRequest, Detail, Message
from shared.outbox.events import EventFactory
from shared.policy import AWS_BATCH_BYTES, SECRET_KEPT
from shared.ports import AwsTrouble, Event, QueueMessage, Unsent
from tests.messages import QUEUE_ARN, START
from tests.scripted import Reply, Script, client_of, reply

REQUEST = DetachRequest(id="1", source="/s", requested_at=START, server_id=str(UUID(int=1)), volume_id=str(UUID(int=2)))
CASE = Case(REQUEST, Message("", "m", QUEUE_ARN, START), Progress(first_seen_at=START))
VERDICT = EventFactory().verdict(CASE, detached(Detail.DETACHED_NOW), START)


def messages(*bodies: str) -> dict[int, QueueMessage]:
    """Messages under the keys 0, 1 and so on."""
    return dict(enumerate(map(QueueMessage, bodies)))


def events(*numbers: int, padding: str = "") -> dict[int, Event]:
    return {number: event(number, padding) for number in numbers}


def event(number: int, padding: str = "") -> Event:
    """A verdict with a unique id, of any size."""
    body = json.loads(VERDICT.body) | {"id": str(number), "padding": padding}
    return replace(VERDICT, id=str(number), body=json.dumps(body))


def received(aws: AwsStandIn, queue: str, count: int) -> list[Any]:
    """Receive until the expected number has arrived."""
    found: list[Any] = []
    deadline = time.monotonic() + 5
    while len(found) < count and time.monotonic() < deadline:
        found += aws.receive(queue, wait_seconds=0)
    return found


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1] * 3, [[0, 1, 2]]),
        ([1] * 10, [list(range(10))]),
        ([1] * 11, [list(range(10)), [10]]),
        ([500_000, 500_000, 1], [[0], [1, 2]]),
        ([AWS_BATCH_BYTES + 1, 1], [[0], [1]]),
        ([AWS_BATCH_BYTES - 1, 1, 1], [[0, 1], [2]]),
    ],
)
def test_batches_fit_into_a_call(sizes: list[int], expected: list[list[int]]) -> None:
    """Batches have at most ten entries and AWS_BATCH_BYTES, in order and complete."""
    assert expected == [list(group) for group in batches(dict(enumerate(sizes)), int)]


def test_messages_arrive(aws: AwsStandIn) -> None:
    """Twenty-five messages are accepted in three calls, with every character."""
    bodies = [json.dumps({"number": number, "text": "ä€😀"}) for number in range(25)]
    assert SqsQueue(aws.client, aws.queue_urls[REQUESTS]).send(messages(*bodies)) == {}
    assert sorted(message["number"] for message in received(aws, REQUESTS, 25)) == list(range(25))


def test_a_delay_is_kept(aws: AwsStandIn) -> None:
    """A delayed message is in the queue, but not visible yet."""
    SqsQueue(aws.client, aws.queue_urls[REQUESTS]).send({"only": QueueMessage("{}", delay=900)})
    names = {"AttributeNames": ["ApproximateNumberOfMessagesDelayed"], "QueueUrl": aws.queue_urls[REQUESTS]}
    assert aws.client.call(SQS, "GetQueueAttributes", names)["Attributes"] == {
        "ApproximateNumberOfMessagesDelayed": "1"
    }
    assert aws.receive(REQUESTS, wait_seconds=0) == []


@pytest.mark.parametrize(("fair", "groups"), [(True, ["p1", None, "p2"]), (False, [None] * 3)])
def test_messages_of_a_project_have_a_group(fair: bool, groups: list[str | None], aws: AwsStandIn) -> None:
    """With fair queues enabled, each message has its project's group; otherwise it has none."""
    sent = {project: QueueMessage(f'"{project}"', project=project) for project in ("p1", None, "p2")}
    assert SqsQueue(aws.client, aws.queue_urls[REQUESTS], fair).send(sent) == {}
    asked = {"QueueUrl": aws.queue_urls[REQUESTS], "MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
    taken = aws.client.call(SQS, "ReceiveMessage", asked)["Messages"]
    found = {json.loads(message["Body"]): message["Attributes"].get("MessageGroupId") for message in taken}
    assert found == dict(zip(("p1", "None", "p2"), groups, strict=True))


def test_large_messages_are_sent_in_several_calls(script: Script) -> None:
    """The size limit of a batch applies as well as the number of entries."""
    script.then(Reply(403))
    SqsQueue(client_of(script), "q").send(messages(*["x" * 400_000] * 3))
    assert [len(asked.json["Entries"]) for asked in script.asked] == [2, 1]


def test_a_missing_queue_accepts_nothing(aws: AwsStandIn) -> None:
    """Every message of every call is reported as not accepted."""
    queue = SqsQueue(aws.client, aws.queue_urls[REQUESTS] + "-gone")
    failed = queue.send(messages(*["{}"] * 12))
    assert list(failed) == list(range(12))
    assert "NonExistentQueue" in failed[0].why or "QueueDoesNotExist" in failed[0].why


def test_entries_that_sqs_does_not_accept_are_reported(script: Script) -> None:
    """SQS answers 200 for a partly accepted batch: the rest is sent again, then reported."""
    error = {"Code": "InternalError", "Message": "sorry", "SenderFault": False}
    script.then(reply({"Successful": [{"Id": "0"}], "Failed": [{"Id": "1", **error}]}))
    script.then(reply({"Failed": [{"Id": "0", **error}]}))
    failed = SqsQueue(client_of(script), "q").send(messages("a", "b", "c"))
    assert failed == {1: Unsent("InternalError sorry"), 2: Unsent("not taken")}


@pytest.mark.parametrize("answer", [b"{}", b"", b"[]", b"<html/>", b'{"Successful": null, "Failed": null}'])
def test_an_answer_without_entries_accepts_nothing(script: Script, answer: bytes) -> None:
    """Only entries that SQS lists as successful count as accepted."""
    script.then(Reply(200, answer))
    assert list(SqsQueue(client_of(script), "q").send(messages("a"))) == [0]


def test_one_failed_call_does_not_affect_the_others(script: Script) -> None:
    """If one of two calls fails, only its messages are reported, by their keys."""
    script.then(Reply(403), reply({"Successful": [{"Id": "0"}, {"Id": "1"}]}))
    assert list(SqsQueue(client_of(script), "q").send(messages(*["a"] * 12))) == list(range(10))


def test_events_are_delivered_by_the_bus(aws: AwsStandIn) -> None:
    """The CloudEvent is the detail, its type is the detail type, and a rule forwards it."""
    assert EventBus(aws.client, BUS).emit(events(*range(12))) == {}
    envelopes = received(aws, VERDICTS, 12)
    assert sorted(int(envelope["detail"]["id"]) for envelope in envelopes) == list(range(12))
    assert {(e["detail-type"], e["source"]) for e in envelopes} == {("bms.volume.detached.v1", "/bms-volume-detach")}


def test_a_missing_bus_accepts_nothing(script: Script) -> None:
    """Every event is reported as not accepted, with the error."""
    script.then(reply({"__type": "ResourceNotFoundException", "message": "no bus"}, 400))
    failed = EventBus(client_of(script), "gone").emit(events(1, 2))
    assert list(failed) == [1, 2]
    assert "ResourceNotFoundException" in failed[1].why


def test_entries_that_the_bus_does_not_accept_are_reported(script: Script) -> None:
    """PutEvents answers 200 with FailedEntryCount, so each entry is checked."""
    failure = {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow"}
    refusal = {"ErrorCode": "MalformedDetail"}
    first = {"FailedEntryCount": 2, "Entries": [{"EventId": "1"}, failure, refusal]}
    script.then(reply(first), reply({"FailedEntryCount": 1, "Entries": [failure]}))
    failed = EventBus(client_of(script), BUS).emit(events(1, 2, 3, 4))
    slow = Unsent("ThrottlingException slow", throttled=True)
    assert failed == {2: slow, 3: Unsent("MalformedDetail"), 4: Unsent("not taken")}
    assert [len(asked.json["Entries"]) for asked in script.asked] == [4, 1, 1]


@pytest.mark.parametrize("answer", [b"{}", b"", b"not JSON", b'{"Entries": null, "FailedEntryCount": 0}'])
def test_a_bus_answer_without_entries_accepts_nothing(script: Script, answer: bytes) -> None:
    """Without an EventId an event does not count as emitted."""
    script.then(Reply(200, answer))
    assert list(EventBus(client_of(script), BUS).emit(events(1))) == [1]


def test_nothing_to_send_is_no_call(script: Script) -> None:
    """An empty batch is not sent: AWS refuses it."""
    assert (SqsQueue(client_of(script), "q").send({}), EventBus(client_of(script), BUS).emit({})) == ({}, {})
    assert script.asked == []


def test_events_are_batched_by_ten_and_bytes(script: Script) -> None:
    """Batches respect both limits of PutEvents."""
    script.then(Reply(403))
    EventBus(client_of(script), BUS).emit(events(*range(11)) | events(11, 12, padding="x" * 500_000))
    assert [len(asked.json["Entries"]) for asked in script.asked] == [10, 2, 1]


class Seconds:
    """A clock of seconds."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


def test_a_secret_is_cached_and_read_again(aws: AwsStandIn) -> None:
    """A secret is cached for five minutes; after that, or after `forget`, it is read again."""
    aws.put_secret("rotated", {"password": "one"})
    clock = Seconds()
    secrets = Secrets(aws.client, clock)
    assert secrets.read("rotated") == {"password": "one"}
    aws.client.call(SECRETS, "PutSecretValue", {"SecretId": "rotated", "SecretString": '{"password": "two"}'})
    clock.time += SECRET_KEPT - 1
    assert secrets.read("rotated") == {"password": "one"}
    clock.time += 1
    assert secrets.read("rotated") == {"password": "two"}
    aws.client.call(SECRETS, "PutSecretValue", {"SecretId": "rotated", "SecretString": '{"password": "three"}'})
    secrets.forget("rotated")
    secrets.forget("never read")
    assert secrets.read("rotated") == {"password": "three"}


def test_a_missing_secret_is_an_error(aws: AwsStandIn) -> None:
    """An unknown secret is named in the error, with AWS's code."""
    with pytest.raises(AwsTrouble, match="ResourceNotFoundException"):
        Secrets(aws.client).read("no such secret")


@pytest.mark.parametrize("text", ["hunter2", "", "{"])
def test_a_secret_that_is_not_json_is_an_error(script: Script, text: str) -> None:
    """A secret that is not JSON is refused, not cached, and not shown."""
    script.then(reply({"SecretString": text}))
    secrets = Secrets(client_of(script))
    for _ in range(2):
        with pytest.raises(AwsTrouble, match="not JSON") as trouble:
            secrets.read("s")
        assert "hunter2" not in str(trouble.value)
    assert len(script.asked) == 2


def test_secrets_are_kept_apart(script: Script) -> None:
    """Each secret id has its own value in the cache."""
    script.then(reply({"SecretString": "1"}), reply({"SecretString": "2"}))
    secrets = Secrets(client_of(script))
    assert [secrets.read("a"), secrets.read("b"), secrets.read("a")] == [1, 2, 1]


def test_the_client_speaks_the_bus_protocol(aws: AwsStandIn) -> None:
    """The client reports an invalid call of EventBridge as AwsTrouble."""
    with pytest.raises(AwsTrouble):
        AwsClient(aws.environment, sleep=lambda _: None).call(EVENTS, "PutEvents", {})
