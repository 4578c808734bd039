"""Between Lambda's SQS events and the core: records in, a partial batch response out."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.model import NOBODY_KNOWN, AuthType, Message, Requester
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
        sender=sender_of(attributes.get("SenderId")),
    )


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The message attributes that are texts; binary ones are nobody's here."""
    return {name: found["stringValue"] for name, found in attributes.items() if found.get("stringValue")}


SENDERS = (
    (re.compile(r"AROA[A-Z0-9]+(:.*)?"), AuthType.SERVICE_ACCOUNT),  # a role, and the name of its session
    (re.compile(r"AIDA[A-Z0-9]+"), AuthType.USER),  # also SNS, which sends as a user of its own
    (re.compile(r"[0-9]{12}(:.*)?"), AuthType.USER),  # the root of an account, or a federated user
)
"""What SQS calls a sender (ReceiveMessage, SenderId; the prefixes: IAM, unique identifiers), and what that is."""


def sender_of(sender_id: object) -> Requester:
    """Who sent a message, by SQS's word; what has the form of no identifier is not passed on."""
    if not isinstance(sender_id, str) or not re.fullmatch(r"[!-~]{1,256}", sender_id):
        return NOBODY_KNOWN
    if sender_id.lower() == "anonymous":  # where the policy of the queue lets everybody send
        return Requester(AuthType.UNAUTHENTICATED)
    kind = next((kind for form, kind in SENDERS if form.fullmatch(sender_id)), AuthType.UNKNOWN)
    return Requester(kind, sender_id)


def _time(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def answer_batch(event: Mapping[str, Any], handle: Handle) -> dict[str, Any]:
    """All records at once; one that AWS or our code failed goes back to its queue alone."""
    try:
        receipts = handle([message_of(record) for record in event["Records"]])
    finally:
        meters.flush()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in receipts.unsent]}
