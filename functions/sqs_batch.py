"""Between Lambda's SQS events and the core: records in, a partial batch response out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.inbox.read import Delivery
from shared.telemetry.logs import logger
from shared.telemetry.metrics import meters

Record = Mapping[str, Any]
Handle = Callable[[Sequence[Delivery]], list[BaseException | None]]


def delivery_of(record: Record) -> Delivery:
    """What the core needs of an SQS record; times are milliseconds since the epoch.

    A dead letter names the queue it died in: what it is called by must not depend on where it lies now.
    """
    attributes = record["attributes"]
    return Delivery(
        body=record["body"],
        message_id=record["messageId"],
        source=attributes.get("DeadLetterQueueSourceArn") or record.get("eventSourceARN") or "sqs",
        sent_at=_time(attributes["SentTimestamp"]),
        first_received_at=_time(attributes["ApproximateFirstReceiveTimestamp"]),
        receive_count=int(attributes.get("ApproximateReceiveCount") or 1),
    )


def _time(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def answer_batch(event: dict[str, Any], handle: Handle) -> Any:
    """All records at once; one that AWS or our code failed goes back to its queue alone."""
    records: Sequence[Record] = event["Records"]
    try:
        errors = handle([delivery_of(record) for record in records])
        meters.count("RecordsReturned", sum(error is not None for error in errors))
    finally:
        meters.flush()
    error_of = {record["messageId"]: error for record, error in zip(records, errors, strict=True) if error}
    return answer_failures(event, error_of) if error_of else {"batchItemFailures": []}


def answer_failures(event: dict[str, Any], error_of: Mapping[str, BaseException]) -> Any:
    """A partial batch response, by Powertools' batch processor.

    With asyncio and all of Lambda's event shapes in tow it takes as long to load as everything of ours, so it is loaded
    for a batch with failures only. By then verdicts are out: a batch must not come back whole for want of it.
    """
    try:
        from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
        from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
    except ImportError:
        logger.exception("batch processor cannot be loaded")
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in error_of]}

    def answer(record: SQSRecord) -> None:
        if error := error_of.get(record.message_id):
            logger.error("record goes back to the queue", extra={"message_id": record.message_id}, exc_info=error)
            raise error

    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event=event, record_handler=answer, processor=processor)
