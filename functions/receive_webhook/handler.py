"""Receive webhooks: an HTTP request in (payload format 2.0, of a Function URL or an HTTP API), an answer out."""

import base64
from typing import Any

from shared.bootstrap.webhook import webhook_endpoint
from shared.telemetry.logs import logger
from shared.webhook.receive import HttpRequest


def http_request_of(event: dict[str, Any]) -> HttpRequest:
    """What the core needs of the event; the body is the very bytes that were sent, since those are signed."""
    context, body = event["requestContext"], event.get("body") or ""
    return HttpRequest(
        method=context["http"]["method"],
        headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
        body=base64.b64decode(body) if event.get("isBase64Encoded") else body.encode("utf-8", "surrogatepass"),
        request_id=context["requestId"],
        iam=bool((context.get("authorizer") or {}).get("iam")),
    )


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer every request; only settings that make no sense raise an error."""
    answer = webhook_endpoint().answer(http_request_of(event))
    return {"statusCode": answer.status, "headers": answer.all_headers, "body": answer.body, "isBase64Encoded": False}
