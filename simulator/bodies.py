"""Builds answers in every error format of an OpenStack cloud; the services and the scripted faults use them."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from shared.model import Answer

JSON = "application/json"
FAULT_JSON = "application/json; charset=UTF-8"
HTML = "text/html; charset=UTF-8"

# The names that Nova and Cinder give their faults; any other status is a computeFault.
FAULT_NAMES: Mapping[int, str] = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}

UNAUTHENTICATED = "The request you have made requires authentication."


def json_answer(status: int, body: Any, headers: Mapping[str, str] | None = None, content_type: str = JSON) -> Answer:
    return Answer(status, {"content-type": content_type} | dict(headers or {}), json.dumps(body).encode())


def nova_fault(name: str, status: int, message: str, retry_after: int | None = None) -> Answer:
    """A fault of Nova or Cinder; `retry_after` (seconds) is in the header and, as a string, in the body."""
    content: dict[str, Any] = {"code": status, "message": message}
    headers: dict[str, str] = {}
    if retry_after is not None:
        content["retryAfter"] = headers["retry-after"] = str(retry_after)
    return json_answer(status, {name: content}, headers, FAULT_JSON)


def fault(status: int, message: str) -> Answer:
    """A fault of Nova or Cinder, with the name that belongs to the status."""
    return nova_fault(FAULT_NAMES.get(status, "computeFault"), status, message)


def unexpected_error(exception: str = "nova.exception.CinderConnectionFailed") -> Answer:
    """Nova's 500 for an unexpected exception; the outcome of the request is unknown."""
    advice = "Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible."
    return fault(500, f"Unexpected API Error. {advice}\n<class '{exception}'>")


def service_error(code: str, message: str, status: int = 400) -> Answer:
    """An error of the BMS, ECS or EVS service, such as BMS.0114."""
    return json_answer(status, {"error": {"message": message, "code": code}})


def gateway_error(code: str, message: str, status: int | None = None) -> Answer:
    """An error of the API gateway in front of all services; `status` is optional for the codes 0101 and 0308."""
    status = status or {"0101": 404, "0308": 429}[code.rpartition(".")[2]]
    request_id = "71d53ba40c3ad62cdea44b5e9ce5996b"
    return json_answer(status, {"error_msg": message, "error_code": code, "request_id": request_id})


def iam_error(code: str, message: str, status: int = 403) -> Answer:
    """An error of the identity service in its newer format, such as IAM.0002."""
    return json_answer(status, {"error_msg": message, "error_code": code})


def keystone_error(status: int, message: str = UNAUTHENTICATED, title: str | None = None) -> Answer:
    """An error of Keystone itself: compact JSON that ends with a newline, as Keystone sends it."""
    body = {"error": {"code": status, "message": message, "title": title or HTTPStatus(status).phrase}}
    content = json.dumps(body, separators=(",", ":")) + "\n"
    return Answer(status, {"content-type": JSON}, content.encode())


def unauthorized(auth_url: str) -> Answer:
    """The answer of the token middleware in front of Nova, Cinder and Glance to an invalid token."""
    body = {"error": {"code": 401, "title": "Unauthorized", "message": UNAUTHENTICATED}}
    return json_answer(401, body, {"www-authenticate": f'Keystone uri="{auth_url}"'})


def html_error(status: int, title: str | None = None) -> Answer:
    """A proxy's own error page; it says nothing about the service behind the proxy."""
    line = f"{status} {title or HTTPStatus(status).phrase}"
    page = (
        f"<html>\r\n<head><title>{line}</title></head>\r\n<body>\r\n<center><h1>{line}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, {"content-type": "text/html"}, page.encode())


def no_such_route(accept: str = "*/*") -> Answer:
    """The 404 for an unknown path; its format follows the Accept header, with HTML as the default."""
    explanation = "The resource could not be found."
    if "html" in accept or "*/*" in accept or not accept:
        page = (
            "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n"
            f"  {explanation}<br /><br />\n\n\n\n </body>\n</html>"
        )
        return Answer(404, {"content-type": HTML}, page.encode())
    if "json" in accept:
        body = {"message": f"{explanation}<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"}
        return json_answer(404, body)
    text = f"404 Not Found\n\n{explanation}\n\n\n"
    return Answer(404, {"content-type": "text/plain; charset=UTF-8"}, text.encode())
