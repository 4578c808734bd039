"""Between Lambda's SQS events and the core: records in, a partial batch response out."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.model import Message
from shared.outbox.outbox import Receipts
from shared.telemetry.metrics import meters

Handle = Callable[[Sequence[Message]], Receipts]


def message_of(record: Mapping[str, Any]) -> Message:
    """What the core needs of an SQS record; times are milliseconds since the epoch.

    A dead letter names the queue it died in: what it is called by must not depend on where it lies now.
    """
    attributes = record["attributes"]
    return Message(
        body=record["body"],
        id=record["messageId"],
        source=attributes.get("DeadLetterQueueSourceArn") or record.get("eventSourceARN") or "sqs",
        sent_at=_time(attributes["SentTimestamp"]),
        first_received_at=_time(attributes["ApproximateFirstReceiveTimestamp"]),
        receive_count=int(attributes.get("ApproximateReceiveCount") or 1),
        attributes=_texts(record["messageAttributes"]) if record.get("messageAttributes") else {},
    )


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The message attributes that are texts; binary ones are nobody's here."""
    return {name: found["stringValue"] for name, found in attributes.items() if found.get("stringValue")}


def _time(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def answer_batch(event: Mapping[str, Any], handle: Handle) -> dict[str, Any]:
    """All records at once; one that AWS or our code failed goes back to its queue alone."""
    try:
        receipts = handle([message_of(record) for record in event["Records"]])
    finally:
        meters.flush()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in receipts.unsent]}
