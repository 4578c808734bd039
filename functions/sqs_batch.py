"""Convert Lambda's SQS events to messages, and the receipts to a partial batch response."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.model import NOBODY_KNOWN, AuthType, Message, Requester
from shared.outbox.outbox import Receipts
from shared.telemetry.logs import logger
from shared.telemetry.metrics import meters

Handle = Callable[[Sequence[Message]], Receipts]


def message_of(record: Mapping[str, Any]) -> Message:
    """Convert an SQS record to a message. SQS gives times in milliseconds since the epoch.

    The source of a dead letter is the queue it came from, so that its request keeps its name. Raises a member of
    NOT_READ for a record that lacks a field or holds an invalid time.
    """
    attributes, body = record["attributes"], record["body"]
    if not isinstance(body, str):
        raise TypeError("the body is not text")
    names = ("SentTimestamp", "ApproximateFirstReceiveTimestamp")
    sent_at, first_received_at = (datetime.fromtimestamp(int(attributes[name]) / 1000, UTC) for name in names)
    return Message(
        body=body,
        id=record["messageId"],
        source=attributes.get("DeadLetterQueueSourceArn") or record.get("eventSourceARN") or "sqs",
        sent_at=sent_at,
        first_received_at=first_received_at,
        receive_count=int(attributes.get("ApproximateReceiveCount") or 1),
        attributes=_texts(record["messageAttributes"]) if record.get("messageAttributes") else {},
        sender=sender_of(attributes.get("SenderId")),
        receipt=record.get("receiptHandle"),
    )


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The text attributes of a message. Binary attributes are not used."""
    return {name: found["stringValue"] for name, found in attributes.items() if found.get("stringValue")}


SENDERS = (
    (re.compile(r"AROA[A-Z0-9]+(:.*)?"), AuthType.SERVICE_ACCOUNT),  # a role, with the name of its session
    (re.compile(r"AIDA[A-Z0-9]+"), AuthType.USER),  # also SNS, which sends as an IAM user
    (re.compile(r"[0-9]{12}(:.*)?"), AuthType.USER),  # the root of an account, or a federated user
)
"""Forms of SQS's SenderId, and the kind of sender. The prefixes are from IAM, "Unique identifiers"."""


def sender_of(sender_id: object) -> Requester:
    """Who sent a message, according to SQS. An invalid identifier is dropped."""
    if not isinstance(sender_id, str) or not re.fullmatch(r"[!-~]{1,256}", sender_id):
        return NOBODY_KNOWN
    if sender_id.lower() == "anonymous":  # the queue's policy lets everybody send
        return Requester(AuthType.UNAUTHENTICATED)
    kind = next((kind for form, kind in SENDERS if form.fullmatch(sender_id)), AuthType.UNKNOWN)
    return Requester(kind, sender_id)


NOT_READ = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, OSError)
"""The errors that a malformed record can cause."""


def answer_batch(event: Mapping[str, Any], handle: Handle) -> dict[str, Any]:
    """Handle all records of a batch, and report each record that could not be read or handled as failed.

    Raises a member of NOT_READ for a record without an id: Lambda then returns the whole batch to the queue.
    """
    messages: list[Message] = []
    failed: list[str] = []
    try:
        for record in event["Records"]:
            try:
                messages.append(message_of(record))
            except NOT_READ as error:
                failed.append(record["messageId"])
                why = f"the record cannot be read: {type(error).__name__}"
                fields = {"message_id": failed[-1], "why": why}
                logger.error("record goes back to the queue", extra=fields, exc_info=error)
                meters.count("RecordsReturned")
        failed += handle(messages).unsent
    finally:
        meters.flush()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in dict.fromkeys(failed)]}
