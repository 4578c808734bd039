"""Delivers a queue to a handler as Lambda's SQS event source mapping does."""

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
    """Nobody wants to hear of errors."""


@dataclass(frozen=True)
class LambdaContext:
    """The part of Lambda's context object that handlers and Powertools read."""

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
    """The handler's answer, or False where it raises; Lambda runs it in a thread of its own."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(handler, event, LambdaContext(name))
    if error := future.exception():
        on_error(error)
        return False
    return future.result()


def receive(client: AwsClient, queue_url: str, wait_seconds: int) -> list[Received]:
    """Up to ten messages of a queue, which has them still."""
    every = {"AttributeNames": ["All"], "MessageAttributeNames": ["All"], "MaxNumberOfMessages": 10}
    asked = {"QueueUrl": queue_url, "WaitTimeSeconds": wait_seconds, **every}
    return client.call(SQS, "ReceiveMessage", asked).get("Messages") or []


def delete(client: AwsClient, queue_url: str, messages: Collection[Received]) -> None:
    if messages:
        entries = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)]
        client.call(SQS, "DeleteMessageBatch", {"QueueUrl": queue_url, "Entries": entries})


@dataclass
class Poller:
    """Batches of up to ten, several invocations at once; what the handler reports as failed stays in the queue.

    A failed message comes back when its visibility timeout ends, and goes to the dead-letter queue once it
    was received more often than the queue's redrive policy allows: both are the queue's own work. `died_in` is
    the queue that a dead-letter queue's messages were in, which SQS tells with each of them.
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
        """No batch is begun any more; one that has begun is over when its invocation is."""
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
        """Receive one batch, invoke the handler with it, delete what it did not report; the number received."""
        messages = receive(self.client, self.queue_url, self.wait_seconds)
        if messages:
            event = {"Records": [self.record(message) for message in messages]}
            answer = invoke(self.handler, self.function_name, event, self.on_error)
            failed = failed_ids(answer, {message["MessageId"] for message in messages})
            delete(self.client, self.queue_url, [found for found in messages if found["MessageId"] not in failed])
        return len(messages)

    def record(self, message: Received) -> dict[str, Any]:
        """A received message in the shape in which Lambda hands it over."""
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
    """The failures a handler reports; an answer of any other shape fails the whole batch, as with Lambda."""
    if response is None:
        return set()
    try:
        ids = {str(failure["itemIdentifier"]) for failure in response.get("batchItemFailures") or ()}
    except (AttributeError, TypeError, KeyError):
        return received
    return ids if ids <= received else received
