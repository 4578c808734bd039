"""Delivers a queue to a handler as Lambda's SQS event source mapping does."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from shared.aws.client import SQS, AwsClient
from shared.ports import AwsTrouble

Handler = Callable[[dict[str, Any], Any], Any]


@dataclass(frozen=True)
class LambdaContext:
    """The part of Lambda's context object that handlers and Powertools read."""

    function_name: str
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    memory_limit_in_mb: int = 256
    timeout_seconds: float = 60

    @property
    def invoked_function_arn(self) -> str:
        return f"arn:aws:lambda:eu-central-1:123456789012:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.timeout_seconds * 1000)


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
    batch_size: int = 10
    concurrency: int = 4
    wait_seconds: int = 1
    on_error: Callable[[BaseException], None] = lambda error: None
    died_in: str | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Poller:
        self._threads = [
            threading.Thread(target=self._loop, name=f"poller-{number}", daemon=True)
            for number in range(self.concurrency)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=self.wait_seconds + 5)

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
            except AwsTrouble as trouble:
                self.on_error(trouble)
                self._stop.wait(1)

    def poll(self) -> int:
        """Receive one batch, invoke the handler with it, delete what it did not report; the number received."""
        answer = self.client.call(
            SQS,
            "ReceiveMessage",
            {
                "QueueUrl": self.queue_url,
                "MaxNumberOfMessages": self.batch_size,
                "WaitTimeSeconds": self.wait_seconds,
                "AttributeNames": ["All"],
                "MessageAttributeNames": ["All"],
            },
        )
        messages = answer.get("Messages") or []
        if messages:
            self._invoke(messages)
        return len(messages)

    def _invoke(self, messages: list[dict[str, Any]]) -> None:
        event = {"Records": [self.record(message) for message in messages]}
        # Lambda runs a handler in a thread of its own; an error of any kind fails the whole batch.
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(self.handler, event, LambdaContext(self.function_name))
        error = future.exception()
        if error is not None:
            self.on_error(error)
            return
        failed = failed_ids(future.result(), {message["MessageId"] for message in messages})
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            entries = [{"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(done)]
            self.client.call(SQS, "DeleteMessageBatch", {"QueueUrl": self.queue_url, "Entries": entries})

    def record(self, message: dict[str, Any]) -> dict[str, Any]:
        """A received message in the shape in which Lambda hands it over."""
        died_in = {"DeadLetterQueueSourceArn": self.died_in} if self.died_in else {}
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}) | died_in,
            "messageAttributes": {
                name: {
                    "stringValue": value.get("StringValue"),
                    "dataType": value.get("DataType"),
                    "stringListValues": [],
                    "binaryListValues": [],
                }
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
    if not isinstance(response, dict):
        return received
    try:
        ids = {str(failure["itemIdentifier"]) for failure in response.get("batchItemFailures") or ()}
    except (TypeError, KeyError):
        return received
    return ids if ids <= received else received
