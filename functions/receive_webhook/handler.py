"""Lambda handler that receives webhooks from a Function URL or an HTTP API (payload format 2.0)."""

import base64
from collections.abc import Mapping
from typing import Any

from functions import loaded
from shared.bootstrap.webhook import webhook_endpoint
from shared.policy import BODY_BYTES
from shared.telemetry.logs import logger
from shared.webhook.receive import HttpRequest


def http_request_of(event: dict[str, Any]) -> HttpRequest:
    """Convert the event to a request. The body is kept byte for byte, because the signature covers it."""
    context = event["requestContext"]
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    iam = (context.get("authorizer") or {}).get("iam")
    too_large = is_too_large(event, headers)
    return HttpRequest(
        method=context["http"]["method"],
        headers=headers,
        body=b"" if too_large else body_of(event),
        request_id=context["requestId"],
        iam=(iam.get("userArn") or "") if iam else None,
        too_large=too_large,
        path=event.get("rawPath") or "/",
    )


def is_too_large(event: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether the body exceeds BODY_BYTES, by its header or its length. Checked before it is decoded."""
    told = headers.get("content-length", "").strip()
    if told.isascii() and told.isdecimal() and (len(told) > len(str(BODY_BYTES)) or int(told) > BODY_BYTES):
        return True
    length = len(event.get("body") or "")  # four characters of base64 are three bytes; a character is at least one
    return length > (BODY_BYTES + 2) // 3 * 4 if event.get("isBase64Encoded") else length > BODY_BYTES


def body_of(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode("utf-8", "surrogatepass")


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer every request. Raises SettingsError for invalid settings."""
    answer = webhook_endpoint().answer(http_request_of(event))
    return {"statusCode": answer.status, "headers": answer.all_headers, "body": answer.body, "isBase64Encoded": False}


loaded()
