"""The poller, compared with AWS's documentation of Lambda's SQS event source mapping."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from local.aws_stand_in import DEAD_LETTERS, REQUESTS, AwsStandIn, queue_arn
from local.poller import LambdaContext, Poller, failed_ids
from shared.aws.client import SQS

NUMBERS = count()


@dataclass
class PolledQueue:
    """A queue without visibility timeout, its dead-letter queue, and a handler that fails chosen messages."""

    aws: AwsStandIn
    failing: set[str] = field(default_factory=set)
    events: list[dict[str, Any]] = field(default_factory=list)
    contexts: list[LambdaContext] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    response: Any = ...

    def __post_init__(self) -> None:
        name = f"polled-{next(NUMBERS)}"
        self.dead = self._queue(f"{name}-dead", {})
        redrive = {"deadLetterTargetArn": queue_arn(f"{name}-dead"), "maxReceiveCount": 5}
        self.url = self._queue(name, {"VisibilityTimeout": "0", "RedrivePolicy": json.dumps(redrive)})
        self.arn = queue_arn(name)
        self.poller = Poller(
            self.aws.client, self.url, self.arn, self.handle, wait_seconds=0, on_error=self.errors.append
        )

    def _queue(self, name: str, attributes: dict[str, str]) -> str:
        return str(self.aws.client.call(SQS, "CreateQueue", {"QueueName": name, "Attributes": attributes})["QueueUrl"])

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.aws.client.call(SQS, "SendMessage", {"QueueUrl": self.url, "MessageBody": body})

    def handle(self, event: dict[str, Any], context: Any) -> Any:
        self.events.append(event)
        self.contexts.append(context)
        if self.response is not ...:
            if isinstance(self.response, BaseException):
                raise self.response
            return self.response
        failed = [record["messageId"] for record in event["Records"] if record["body"] in self.failing]
        return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in failed]}

    @property
    def batches(self) -> list[list[str]]:
        """The bodies of each batch."""
        return [sorted(record["body"] for record in event["Records"]) for event in self.events]

    def left(self, url: str) -> int:
        name = "ApproximateNumberOfMessages"
        answer = self.aws.client.call(SQS, "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": [name]})
        return int(answer["Attributes"][name])


@pytest.fixture
def polled(aws: AwsStandIn) -> Iterator[PolledQueue]:
    """A new queue and handler."""
    polled = PolledQueue(aws)
    yield polled
    for url in (polled.url, polled.dead):
        aws.client.call(SQS, "DeleteQueue", {"QueueUrl": url})


def test_an_empty_queue_invokes_nothing(polled: PolledQueue) -> None:
    """Without messages there is no invocation."""
    assert (polled.poller.poll(), polled.events) == (0, [])


def test_messages_without_a_reported_failure_are_deleted(polled: PolledQueue) -> None:
    """A batch without failures is deleted from the queue."""
    polled.send("a", "b")
    assert polled.poller.poll() == 2
    assert (polled.poller.poll(), polled.batches, polled.left(polled.url)) == (0, [["a", "b"]], 0)


def test_partial_failures_are_redelivered(polled: PolledQueue) -> None:
    """Only reported messages are delivered again, until they are no longer reported."""
    polled.failing = {"b"}
    polled.send("a", "b", "c")
    polled.poller.poll()
    polled.poller.poll()
    polled.failing = set()
    polled.poller.poll()
    assert polled.batches == [["a", "b", "c"], ["b"], ["b"]]
    assert polled.left(polled.url) == 0


def test_batches_have_at_most_ten_messages(polled: PolledQueue) -> None:
    """No batch has more than ten messages, and no message is lost."""
    polled.send(*(f"{number:02}" for number in range(12)))
    assert [polled.poller.poll(), polled.poller.poll(), polled.poller.poll()] == [10, 2, 0]


def test_dead_letters_after_five_receives(polled: PolledQueue) -> None:
    """A message that fails five times is moved to the dead letters by the queue's own policy."""
    polled.failing = {"poison"}
    polled.send("poison", "good")
    for _ in range(7):
        polled.poller.poll()
    counts = [
        record["attributes"]["ApproximateReceiveCount"]
        for event in polled.events
        for record in event["Records"]
        if record["body"] == "poison"
    ]
    assert counts == ["1", "2", "3", "4", "5"]
    assert (polled.left(polled.url), polled.left(polled.dead)) == (0, 1)


def test_an_exception_fails_the_whole_batch(polled: PolledQueue) -> None:
    """If the handler raises, no message is deleted, and the error is reported."""
    polled.response = ValueError("no")
    polled.send("a", "b")
    polled.poller.poll()
    assert [str(error) for error in polled.errors] == ["no"]
    assert polled.left(polled.url) == 2


def test_the_event_has_the_documented_format(polled: PolledQueue) -> None:
    """Each record has the fields, in the types, that AWS documents for an SQS event."""
    polled.send('{"ä": 1}')
    polled.poller.poll()
    (record,) = polled.events[0]["Records"]
    assert set(record) == {"messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfBody",
                           "eventSource", "eventSourceARN", "awsRegion"}  # fmt: skip
    assert (record["body"], record["eventSource"], record["awsRegion"]) == ('{"ä": 1}', "aws:sqs", "eu-central-1")
    assert (record["eventSourceARN"], record["messageAttributes"]) == (polled.arn, {})
    times = ("SentTimestamp", "ApproximateFirstReceiveTimestamp")
    assert [len(record["attributes"][name]) for name in times] == [13, 13]
    assert record["attributes"]["ApproximateReceiveCount"] == "1"


def test_message_attributes_are_passed_on(polled: PolledQueue) -> None:
    """A message attribute has Lambda's spelling."""
    attribute = {"content-type": {"DataType": "String", "StringValue": "application/cloudevents+json"}}
    message = {"QueueUrl": polled.url, "MessageBody": "{}", "MessageAttributes": attribute}
    polled.aws.client.call(SQS, "SendMessage", message)
    polled.poller.poll()
    expected = {"stringValue": "application/cloudevents+json", "dataType": "String", "stringListValues": [],
                "binaryListValues": []}  # fmt: skip
    assert expected == polled.events[0]["Records"][0]["messageAttributes"]["content-type"]


def test_the_context_is_like_that_of_lambda(polled: PolledQueue) -> None:
    """Each invocation has its own request id, and the names that the logger reads."""
    polled.send("a")
    polled.poller.poll()
    polled.send("b")
    polled.poller.poll()
    first, second = polled.contexts
    assert first.aws_request_id != second.aws_request_id
    assert first.invoked_function_arn.endswith(f":function:{first.function_name}")
    assert first.get_remaining_time_in_millis() == 60_000


@pytest.mark.parametrize("queue", [REQUESTS, DEAD_LETTERS])
def test_a_message_is_hidden_for_six_invocations(aws: AwsStandIn, queue: str) -> None:
    """As in the template, the visibility timeout is six times the function's timeout."""
    asked = {"QueueUrl": aws.queue_urls[queue], "AttributeNames": ["VisibilityTimeout"]}
    hidden = int(aws.client.call(SQS, "GetQueueAttributes", asked)["Attributes"]["VisibilityTimeout"])
    assert hidden * 1000 == 6 * LambdaContext("any").get_remaining_time_in_millis()


@pytest.mark.parametrize("response", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_these_answers_mean_success(response: Any) -> None:
    """An empty answer or list means success, as AWS documents."""
    assert failed_ids(response, {"a", "b"}) == set()


def test_reported_ids_are_failures() -> None:
    """Reported messages stay, the others are deleted."""
    assert failed_ids({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a", "b"}) == {"a"}


@pytest.mark.parametrize(
    "response",
    ["ok", 200, ["a"], True, {"batchItemFailures": "a"}, {"batchItemFailures": 5}, {"batchItemFailures": ["a"]},
     {"batchItemFailures": [{"itemIdentifier": ""}]}, {"batchItemFailures": [{"itemIdentifier": None}]},
     {"batchItemFailures": [{"id": "a"}]}, {"batchItemFailures": [{"itemIdentifier": "unknown"}]},
     {"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "unknown"}]}],
)  # fmt: skip
def test_any_other_answer_fails_the_batch(response: Any) -> None:
    """A wrong key, an unknown or empty id, or no object: the whole batch returns."""
    assert failed_ids(response, {"a", "b"}) == {"a", "b"}
