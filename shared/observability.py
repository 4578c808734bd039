"""The one logger, and the one line each step of a request writes."""

from __future__ import annotations

from aws_lambda_powertools import Logger

from shared.intake import Delivery, Ignored, Rejected
from shared.model import Call, Conclude, Wait
from shared.reconcile import Step

logger = Logger(service="bms-volume-detach", utc=True, use_rfc3339=True)


def log_step(step: Step) -> None:
    """The canonical line of one look at one request: constant message, everything else in fields."""
    request, progress = step.task.request, step.progress
    fields: dict[str, object] = {
        "request_id": request.id,
        "request_source": request.source,
        "correlation_id": request.correlation_id or request.id,
        "server_id": request.server_id,
        "volume_id": request.volume_id,
        "attempt": progress.attempt,
        "polls": progress.polls,
        "deletes_sent": progress.deletes_sent,
        "volume_status": step.seen.volume.status if step.seen and step.seen.volume else None,
        "decision": type(step.decision).__name__.lower(),
        "calls": [_said(call) for call in step.calls],
    }
    match step.decision:
        case Wait(seconds=seconds, why=why, announce_unconfirmed=announced):
            fields |= {"seconds": seconds, "why": why, "unconfirmed": announced}
        case Conclude(outcome=outcome, detail=detail, reason=reason, explanation=explanation):
            fields |= {"outcome": outcome.value, "detail": detail, "why": explanation}
            fields |= {"reason": reason.value} if reason else {}
    logger.info("request stepped", extra={name: value for name, value in fields.items() if value is not None})


def _said(call: Call) -> str:
    parts = (call.operation, call.status or "no answer", call.code, call.openstack_request_id)
    return " ".join(str(part) for part in parts if part)


def log_rejected(delivery: Delivery, found: Rejected | Ignored) -> None:
    """A message that holds no request: answered with its faults, or left alone."""
    match found:
        case Rejected(id=id_, faults=faults):
            fields = {
                "request_id": id_,
                "faults": [f"{fault.field} {fault.message}".strip() for fault in faults],
            }
            logger.warning("request rejected", extra=fields)
        case Ignored(why=why):
            logger.warning("message ignored", extra={"message_id": delivery.message_id, "why": why})
