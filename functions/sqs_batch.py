"""Between Lambda's SQS events and the core: records in, a partial batch response out."""

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
    """What the core needs of an SQS record; times are milliseconds since the epoch.

    A dead letter names the queue it died in: what it is called by must not depend on where it lies now. Raises
    NOT_READ for a record that lacks something, or holds a time that is none.
    """
    attributes, body = record["attributes"], record["body"]
    if not isinstance(body, str):
        raise TypeError("the body is no text")
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


NOT_READ = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, OSError)
"""What a record that is not as SQS sends it comes to: a name or a value that is missing, a time that is no number."""


def answer_batch(event: Mapping[str, Any], handle: Handle) -> dict[str, Any]:
    """All records at once; one that cannot be read, or that AWS or our code failed, goes back to its queue alone.

    Raises a member of NOT_READ for a record that cannot even be named: Lambda gives the whole batch back then.
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
