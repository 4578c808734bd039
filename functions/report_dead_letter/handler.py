"""Lambda handler that emits a final verdict for each request in the dead-letter queue."""

from typing import Any

from functions import loaded
from functions.sqs_batch import answer_batch
from shared.bootstrap.dead_letters import dead_letters
from shared.telemetry.logs import logger


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], _: Any) -> Any:
    """A message whose verdict cannot be emitted stays in the dead-letter queue."""
    return answer_batch(event, dead_letters().handle)


loaded()
