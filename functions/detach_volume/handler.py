"""Detach volumes: an SQS batch in, a partial batch response out."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from functions.sqs_batch import answer_batch
from shared.bootstrap.detach import service, utc_now
from shared.cloud import projects  # noqa: F401 - asked in every invocation; while Lambda starts us, the CPU is whole
from shared.telemetry.logs import logger

TO_SEND = timedelta(seconds=5)
"""Of the time an invocation has, this is kept for sending what came of it."""


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    """All requests of a batch at once; a record that AWS or our code failed goes back to the queue alone."""
    deadline = utc_now() + timedelta(milliseconds=context.get_remaining_time_in_millis()) - TO_SEND
    return answer_batch(event, partial(service().handle, deadline=deadline))
