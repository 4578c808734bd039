"""Logs and counts the canary's runs."""

from shared.canary.run import Ended
from shared.telemetry.logs import logger
from shared.telemetry.metrics import Meters


def report(ended: Ended, meters: Meters) -> None:
    """Write one log line for each run; record the seconds of a success, or the stage of a failure."""
    asked, failure = ended.asked, ended.failure
    fields: dict[str, object] = {
        "request_id": ended.request_id,
        "request_source": asked.source,
        "server_id": asked.server_id,
        "volume_id": asked.volume_id,
        "seconds": round(ended.seconds, 3),
        "bound": asked.bound,
    }
    fields |= {"detail": ended.detail} if ended.detail else {}
    if failure is None:
        meters.seconds("CanarySeconds", ended.seconds)
        logger.info("canary ended", extra=fields)
        return
    meters.count("CanaryFailures", stage=failure.stage.value)
    told = {"stage": failure.stage.value, "why": failure.why, "cure": failure.cure}
    logger.error("canary ended", extra={**fields, **told})
