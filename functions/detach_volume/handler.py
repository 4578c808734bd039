"""Lambda handler that detaches volumes: takes an SQS batch, returns a partial batch response."""

from datetime import timedelta
from functools import partial
from typing import Any

from functions import loaded
from functions.sqs_batch import answer_batch
from shared.bootstrap.detach import service
from shared.policy import TIME_TO_SEND
from shared.ports import utc_now
from shared.telemetry.logs import logger


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    """Handle all requests of a batch. Only the records that AWS or our code failed return to the queue."""
    left = timedelta(milliseconds=context.get_remaining_time_in_millis()) - timedelta(seconds=TIME_TO_SEND)
    return answer_batch(event, partial(service().handle, deadline=utc_now() + left))


loaded()
