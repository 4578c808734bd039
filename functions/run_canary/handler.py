"""Lambda handler that runs the canary when the schedule invokes it, and returns the result."""

from typing import Any

from functions import loaded
from shared.bootstrap.canary import canary
from shared.telemetry.canary import report
from shared.telemetry.logs import logger
from shared.telemetry.metrics import meters


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(_event: Any, _context: Any) -> dict[str, Any]:
    """Log and count a failure. It is not raised, because Lambda would repeat the run."""
    ended = canary().run()
    report(ended, meters)
    meters.flush()
    failure = ended.failure
    told = {"stage": failure.stage.value, "why": failure.why, "cure": failure.cure} if failure else {}
    return {"request_id": ended.request_id, "seconds": ended.seconds, "passed": failure is None, **told}


loaded()
