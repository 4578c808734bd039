"""Sends, receives and counts messages on SQS: the request queue and the canary's queue."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.aws.client import SQS, TRACE_HEADER, AwsClient, Left, batches, lists_in, send_all
from shared.aws.errors import NoAnswer, throttles
from shared.model import Message
from shared.policy import AWS_ANSWER, AWS_BATCH, CANARY_HIDDEN
from shared.ports import AwsTrouble, K, QueueMessage, Unsent
from shared.quick import dataclass

COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


@dataclass(frozen=True)
class SqsQueue:
    """Sends in batches and checks `Failed`: SQS answers 200 for a batch even if it accepted only a part.

    A message may be on the queue twice after a lost answer: a standard queue has no idempotency.
    """

    client: AwsClient
    url: str
    fair: bool = False
    """Whether messages carry their project as MessageGroupId, by which SQS shares a standard queue fairly (fair
    queues)."""

    def send(self, messages: Mapping[K, QueueMessage], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        return send_all(self.client, messages, lambda message: len(message.body.encode()), self._offer, deadline)

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages from the queue if that is possible now; the others are delivered again."""
        receipts = {message.id: message.receipt for message in messages if message.receipt}
        for group in batches(receipts, len):
            entries = [{"Id": str(at), "ReceiptHandle": receipt} for at, receipt in enumerate(group.values())]
            with suppress(AwsTrouble):
                ends = self.client.clock() + timedelta(seconds=AWS_ANSWER)
                self.client.call(SQS, "DeleteMessageBatch", {"QueueUrl": self.url, "Entries": entries}, ends)

    def receive(self, wait: int) -> list[Message]:
        """Receive up to ten messages, which stay in the queue and are hidden for a moment.

        Waits up to `wait` seconds for the first one. Raises AwsTrouble.
        """
        asked = {"QueueUrl": self.url, "WaitTimeSeconds": wait, "MaxNumberOfMessages": AWS_BATCH}
        more = {"VisibilityTimeout": CANARY_HIDDEN, "MessageSystemAttributeNames": ["SentTimestamp"]}
        answer = self.client.call(SQS, "ReceiveMessage", asked | more)
        (found,) = lists_in(answer, "Messages")
        try:
            return [
                Message(
                    body=str(one["Body"]),
                    id=str(one["MessageId"]),
                    source=self.url,
                    sent_at=datetime.fromtimestamp(int(one["Attributes"]["SentTimestamp"]) / 1000, UTC),
                    receipt=str(one["ReceiptHandle"]),
                )
                for one in found
            ]
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise NoAnswer(f"ReceiveMessage: a message without {error}") from error

    def counts(self, deadline: datetime | None = None) -> tuple[int, int, int]:
        """The approximate numbers of messages that wait, are in flight, and are delayed. Raises AwsTrouble."""
        asked = {"QueueUrl": self.url, "AttributeNames": list(COUNTS)}
        told = self.client.call(SQS, "GetQueueAttributes", asked, deadline).get("Attributes")
        try:
            waiting, in_flight, delayed = (int(told[name]) for name in COUNTS)
        except (LookupError, TypeError, ValueError) as error:
            raise NoAnswer("GetQueueAttributes: no numbers of messages in the answer") from error
        return waiting, in_flight, delayed

    def _offer(self, messages: Mapping[K, QueueMessage], ends: datetime) -> dict[K, Left]:
        """Make one call; return the messages that SQS did not accept, with their errors. Raises AwsTrouble."""
        keys = {str(number): key for number, key in enumerate(messages)}
        trace = self.client.environment.get(TRACE_HEADER)
        traced = {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}}
        more: dict[str, Any] = {"MessageSystemAttributes": traced} if trace else {}
        entries = [self._entry(id_, messages[key]) | more for id_, key in keys.items()]
        answer = self.client.call(SQS, "SendMessageBatch", {"QueueUrl": self.url, "Entries": entries}, ends)
        successful, failed = lists_in(answer, "Successful", "Failed")
        taken = {str(entry.get("Id")) for entry in successful}
        errors = {str(entry.get("Id")): entry for entry in failed}
        return {key: _left(errors.get(id_, {})) for id_, key in keys.items() if id_ not in taken}

    def _entry(self, id_: str, message: QueueMessage) -> dict[str, Any]:
        group = {"MessageGroupId": message.project} if self.fair and message.project else {}
        return {"Id": id_, "MessageBody": message.body, "DelaySeconds": message.delay, **group}


def _left(error: Mapping[str, object]) -> Left:
    code = str(error.get("Code", "not taken"))
    return Left(
        Unsent(f"{code} {error.get('Message', '')}".strip(), throttles(code)), error.get("SenderFault") is not True
    )
