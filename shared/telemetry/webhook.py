"""The one line the webhook endpoint writes for each request."""

from __future__ import annotations

from shared.telemetry.logs import logger
from shared.webhook.receive import HttpRequest
from shared.webhook.responses import Accepted, HttpAnswer, Problem


def log_answer(request: HttpRequest, answer: HttpAnswer) -> None:
    """What was answered, and why; never the body or the headers, which may hold secrets."""
    content = answer.content
    requests = content.requests if isinstance(content, Accepted) else ()
    fields = {
        "http_method": request.method,
        "http_status": answer.status,
        "http_request_id": request.request_id,
        "requests": [f"{request.source} {request.id} {request.volume_id}" for request in requests] or None,
        "why": content.detail if isinstance(content, Problem) else None,
        "note": answer.note or None,
    }
    write = logger.info if answer.status < 400 else logger.warning
    write("webhook answered", extra={name: value for name, value in fields.items() if value is not None})
