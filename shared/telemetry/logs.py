"""The logger, and an observer that writes one line for each step of a request."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger

from shared.decision.case import Broken, Conclude, Disks, NotLookedAt, Requeue, Step
from shared.inbox.read import Found, Ignored, Rejected
from shared.model import DetachRequest, Message, Origin
from shared.outbox.observer import BUS, Attempt, Observer
from shared.own_messages import WaitingDelivery
from shared.policy import PUT_BACK
from shared.ports import Event

if TYPE_CHECKING:  # each function logs with this module, and loads only what is its own
    from shared.webhook.receive import HttpRequest
    from shared.webhook.responses import HttpAnswer

SERVICE = os.environ.get("POWERTOOLS_SERVICE_NAME", "bms-volume-detach")
"""Distinguishes the log lines and metrics of several deployments."""


VERSION = "0.1.0"
"""The release, in every line; the same as in pyproject.toml, which is not deployed."""


def _line(entry: dict[str, Any]) -> str:
    """A log line as JSON. Texts of exceptions are redacted, since they may contain anything."""
    if told := [name for name in ("exception", "stack_trace") if name in entry]:
        from shared.redact import redact

        for name in told:
            text = entry[name] if isinstance(entry[name], str) else json.dumps(entry[name], default=str)
            entry[name] = redact(text, LONGEST_TRACEBACK)
    return json.dumps({**entry, "version": VERSION}, default=str, separators=(",", ":"), ensure_ascii=False)


LONGEST_TRACEBACK = 20_000

logger = Logger(service=SERVICE, utc=True, use_rfc3339=True, json_serializer=_line)


LOGGED = {Requeue: "wait", NotLookedAt: "wait", Disks: "list"}
"""Names of decisions in the log where they differ from the class name; dashboards use them."""


class Logs(Observer):
    """Writes one line for each observation: a constant message, and everything else in fields."""

    def step(self, step: Step) -> None:
        """One line for one look at one case; a failed look has its own line."""
        if isinstance(step.decision, Broken):
            _log_failure(step, step.decision)
            return
        case = step.case
        request, progress = case.request, case.progress
        calls = [(c.operation, c.status or "no answer", c.code, c.openstack_request_id) for c in step.calls]
        fields: dict[str, object] = {
            **_asker(request),
            "project_id": request.project_id,
            "server_id": request.server_id,
            "volume_id": request.volume_id or None,
            "attempt": progress.attempt,
            "polls": progress.polls,
            "deletes_sent": progress.deletes_sent,
            "volume_status": case.volume.status if case.volume else None,
            "listed_by_server": case.listed,
            "decision": LOGGED.get(type(step.decision)) or type(step.decision).__name__.lower(),
            "calls": [" ".join(str(part) for part in said if part) for said in calls],
            "openstack_request_ids": [call.openstack_request_id for call in step.calls if call.openstack_request_id],
            "last_error": progress.last_error,
        }
        match step.decision:
            case Disks(volume_ids=listed):
                fields |= {"volume_ids": list(listed)}
            case Requeue(seconds=seconds, why=why, announce_unconfirmed=announced):
                fields |= {"seconds": seconds, "why": why, "unconfirmed": announced}
            case NotLookedAt():
                fields |= {"seconds": PUT_BACK, "why": "no time left in this invocation", "unconfirmed": False}
            case Conclude(outcome=outcome, detail=detail, reason=reason, explanation=explanation):
                fields |= {"outcome": outcome.value, "detail": detail.value, "why": explanation}
                fields |= {"reason": reason.value} if reason else {}
        logger.info("request stepped", extra=_present(fields))

    def unanswerable(self, message: Message, found: Rejected | Ignored) -> None:
        """A message without a request: rejected with its faults, or ignored."""
        match found:
            case Rejected(faults=faults):
                said = [f"{fault.field} {fault.message}".strip() for fault in faults]
                logger.warning("request rejected", extra={**_asked_in(found), "faults": said})
            case Ignored(why=why):
                logger.warning("message ignored", extra={"message_id": message.id, "why": why})

    def attempt(self, attempt: Attempt) -> None:
        """One line for each event and each consumer it was offered to."""
        fields = {"to": attempt.to, "attempt": attempt.number, **_named(attempt.event)}
        if attempt.refusal is None:
            logger.info("event delivered", extra=fields)
            return
        fields["why"] = attempt.refusal.why
        if attempt.again_in is not None:
            fields["seconds"] = attempt.again_in
        if attempt.to == BUS:
            logger.error("event not emitted", extra=fields)
        elif attempt.again_in is not None:
            logger.warning("event not taken yet", extra=fields)
        elif attempt.refusal.again:
            logger.error("event given up", extra=fields)
        else:
            logger.error("event refused", extra=fields)

    def dead_letter(self, message: Message, found: Found | Exception) -> None:
        """A dead letter; the requester gets a verdict about it."""
        fields: dict[str, object] = {"message_id": message.id, "receive_count": message.receive_count}
        match found:
            case list():
                first, volumes = found[0].request, [case.request.volume_id for case in found]
                fields |= {**_asker(first), "project_id": first.project_id, "server_id": first.server_id}
                fields |= {"volume_id": volumes[0]} if len(volumes) == 1 else {"volume_ids": volumes}
            case WaitingDelivery(to=to, event=event):
                fields |= {"to": to, "why": "this consumer does not get the event", **_named(event)}
            case Rejected():
                fields |= {**_asked_in(found), "own": found.own}
            case Ignored(why=why):
                fields |= {"why": why}
            case Exception():
                logger.error("dead letter", extra=fields, exc_info=found)
                return
            case _:
                asked, volumes = found.request, [one.volume_id for one in found.volumes if one.volume_id]
                fields |= {**_asker(asked), "project_id": asked.project_id, "server_id": asked.server_id}
                fields |= {"volume_ids": volumes} if volumes else {}
        logger.error("dead letter", extra=_present(fields))

    def returned(self, message_id: str, why: str, error: BaseException | None) -> None:
        """A message that will be redelivered because of AWS or our code, with the traceback if there is one."""
        logger.error("record goes back to the queue", extra={"message_id": message_id, "why": why}, exc_info=error)


def _log_failure(step: Step, broken: Broken) -> None:
    """A look that failed in our own code. If its message is redelivered, `returned` logs that instead."""
    request, progress = step.case.request, step.case.progress
    fields: dict[str, object] = {
        **_asker(request),
        "project_id": request.project_id,
        "server_id": request.server_id,
        "volume_id": request.volume_id or None,
        "failures": progress.failures,
        "deletes_sent": progress.deletes_sent,
        "last_error": progress.last_error,
    }
    match broken.then:
        case None:
            return
        case Requeue(seconds=seconds):
            fields |= {"seconds": seconds}
        case Conclude(outcome=outcome, detail=detail):
            fields |= {"outcome": outcome.value, "detail": detail.value}
    logger.error("look failed", extra=_present(fields), exc_info=broken.error)


def _present(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def log_answer(request: HttpRequest, answer: HttpAnswer) -> None:
    """One line for each request to the webhook endpoint: its answer, and why."""
    fields = {
        "http_method": request.method,
        "http_status": answer.status,
        "http_request_id": request.request_id,
        **answer.log_fields,
    }
    write = logger.info if answer.status < 400 else logger.warning
    write("webhook answered", extra=fields)


def _asker(origin: Origin | DetachRequest) -> dict[str, object]:
    return {
        "request_id": origin.id,
        "request_source": origin.source,
        "correlation_id": origin.correlation_id or origin.id,
        "traceparent": origin.traceparent,
        "requester_type": origin.requester.type.value,
        "requester_id": origin.requester.id,
    }


def _asked_in(rejected: Rejected) -> dict[str, object]:
    return _present({**_asker(rejected.origin), "server_id": rejected.server_id, "volume_id": rejected.volume_id})


def _named(event: Event) -> dict[str, object]:
    """The fields that identify an event and its request."""
    said = _object(json.loads(event.body))
    data = _object(said.get("data"))
    asked = _object(data.get("request"))
    fields = {
        "event_id": event.id,
        "event_type": event.type,
        "event_source": event.source,
        "subject": event.subject,
        "correlation_id": said.get("correlationid"),
        "causation_id": said.get("causationid"),
        "traceparent": said.get("traceparent"),
        "request_id": asked.get("id"),
        "request_source": asked.get("source"),
        "server_id": data.get("server_id"),
        "volume_id": data.get("volume_id"),
    }
    return _present(fields)


def _object(value: Any) -> dict[str, Any]:
    """The value if it is an object. A waiting event may be malformed, and logging must not fail on it."""
    return value if isinstance(value, dict) else {}
