"""Polls a queue and invokes a handler, as Lambda's SQS event source mapping does."""

import threading
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

from shared.aws.client import SQS, AwsClient
from shared.policy import INVOCATION
from shared.ports import AwsTrouble

Handler = Callable[[dict[str, Any], Any], Any]
OnError = Callable[[BaseException], None]
Received = dict[str, Any]


def ignore(_: BaseException) -> None:
    """Drop an error."""


@dataclass(frozen=True)
class LambdaContext:
    """The part of Lambda's context object that the handlers and Powertools use."""

    function_name: str
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    memory_limit_in_mb: int = 256
    timeout_seconds: float = INVOCATION

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:eu-central-1:123456789012:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.timeout_seconds * 1000)


def invoke(handler: Handler, name: str, event: dict[str, Any], on_error: OnError) -> Any:
    """The handler's answer, or False if it raises. It runs in its own thread, as in Lambda."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(handler, event, LambdaContext(name))
    if error := future.exception():
        on_error(error)
        return False
    return future.result()


def receive(client: AwsClient, queue_url: str, wait_seconds: int) -> list[Received]:
    """Receive up to ten messages of a queue, without deleting them."""
    every = {"AttributeNames": ["All"], "MessageAttributeNames": ["All"], "MaxNumberOfMessages": 10}
    asked = {"QueueUrl": queue_url, "WaitTimeSeconds": wait_seconds, **every}
    return client.call(SQS, "ReceiveMessage", asked).get("Messages") or []


def delete(client: AwsClient, queue_url: str, messages: Collection[Received]) -> None:
    if messages:
        entries = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)]
        client.call(SQS, "DeleteMessageBatch", {"QueueUrl": queue_url, "Entries": entries})


@dataclass
class Poller:
    """Invokes the handler with batches of up to ten messages, several at once, and deletes what it did not fail.

    A failed message stays in the queue. The queue itself returns it after its visibility timeout, and moves it to the
    dead-letter queue after as many receives as its redrive policy allows. `died_in` is the ARN of the queue that the
    messages of a dead-letter queue came from; SQS adds it to each message.
    """

    client: AwsClient
    queue_url: str
    queue_arn: str
    handler: Handler
    function_name: str = "detach-volume"
    concurrency: int = 4
    wait_seconds: int = 1
    on_error: OnError = ignore
    died_in: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._loop, daemon=True) for _ in range(self.concurrency)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Start no more batches, and wait for those that have started."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=self.wait_seconds + INVOCATION)

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
            except AwsTrouble as trouble:
                self.on_error(trouble)
                self._stop.wait(1)

    def poll(self) -> int:
        """Receive one batch, invoke the handler, delete what it did not fail; returns the number received."""
        messages = receive(self.client, self.queue_url, self.wait_seconds)
        if messages:
            event = {"Records": [self.record(message) for message in messages]}
            answer = invoke(self.handler, self.function_name, event, self.on_error)
            failed = failed_ids(answer, {message["MessageId"] for message in messages})
            delete(self.client, self.queue_url, [found for found in messages if found["MessageId"] not in failed])
        return len(messages)

    def record(self, message: Received) -> dict[str, Any]:
        """A received message, in the shape of Lambda's event."""
        died_in = {"DeadLetterQueueSourceArn": self.died_in} if self.died_in else {}
        no_lists: dict[str, list[str]] = {"stringListValues": [], "binaryListValues": []}
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}) | died_in,
            "messageAttributes": {
                name: {"stringValue": value.get("StringValue"), "dataType": value.get("DataType"), **no_lists}
                for name, value in (message.get("MessageAttributes") or {}).items()
            },
            "md5OfBody": message.get("MD5OfBody", ""),
            "eventSource": "aws:sqs",
            "eventSourceARN": self.queue_arn,
            "awsRegion": self.queue_arn.split(":")[3],
        }


def failed_ids(response: Any, received: set[str]) -> set[str]:
    """The failures that a handler reports. A malformed answer fails the whole batch, as with Lambda."""
    if response is None:
        return set()
    try:
        ids = {str(failure["itemIdentifier"]) for failure in response.get("batchItemFailures") or ()}
    except (AttributeError, TypeError, KeyError):
        return received
    return ids if ids <= received else received
