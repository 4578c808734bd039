"""A Lambda Function URL on this machine: HTTP in, payload format 2.0 to the handler, its answer out."""

from __future__ import annotations

import base64
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from local.poller import Handler, LambdaContext

LARGEST = 6 * 1024 * 1024
"""What Lambda takes; more it answers itself with 413."""

TEXT = re.compile(r"text/.*|application/(json|xml|javascript|x-www-form-urlencoded)")
"""Content types of which Lambda hands over the body as text; any other it encodes as base64."""


@dataclass(frozen=True)
class Page:
    """What the local server shows by itself; behind the real URL there is only the function."""

    content_type: str
    body: str


class PortTaken(Exception):
    """Nothing can listen there."""


def payload(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> dict[str, Any]:
    """The event that Lambda makes of an HTTP request; headers of the same name become one."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name.lower()] = f"{joined[name.lower()]},{value}" if name.lower() in joined else value
    text = _as_text(body, joined.get("content-type", ""))
    path, now = urlsplit(target), datetime.now(UTC)
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path.path or "/",
        "rawQueryString": path.query,
        "headers": joined,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": "127.0.0.1",
            "http": {
                "method": method,
                "path": path.path or "/",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": joined.get("user-agent", ""),
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }


def _as_text(body: bytes, content_type: str) -> str | None:
    if not TEXT.fullmatch(content_type.partition(";")[0].strip().lower()):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


class FunctionUrl(AbstractContextManager["FunctionUrl"]):
    """Serves a handler on loopback; port 0 is any free one."""

    def __init__(
        self,
        handler: Handler,
        port: int = 0,
        pages: Mapping[str, Page] | None = None,
        on_error: Callable[[BaseException], None] = lambda error: None,
        function_name: str = "receive-webhook",
    ) -> None:
        self.handler = handler
        self.pages = pages or {}
        self.on_error = on_error
        self.function_name = function_name
        try:
            self._server = _Listener(self, port)
        except (OSError, OverflowError) as error:
            raise PortTaken(f"Port {port} cannot be had: {error}.") from error

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> FunctionUrl:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, event: dict[str, Any]) -> Mapping[str, Any]:
        """The handler's answer; an error of any kind is a 502, as behind a real Function URL."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(self.handler, event, LambdaContext(self.function_name))
        error = future.exception()
        if error is None:
            answer: Mapping[str, Any] = future.result()
            return answer
        self.on_error(error)
        return {"statusCode": 502, "headers": {"Content-Type": "text/plain"}, "body": "Internal Server Error"}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, url: FunctionUrl, port: int) -> None:
        self.url = url
        super().__init__(("127.0.0.1", port), _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none of our errors."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_GET(self) -> None:
        page = self.server.url.pages.get(urlsplit(self.path).path)
        if page and self.command == "GET":
            # Nothing is loaded from anywhere, and nothing may be.
            policy = "default-src 'none'; style-src 'unsafe-inline'"
            self._send(200, {"Content-Type": page.content_type, "Content-Security-Policy": policy}, page.body)
            return
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,12}", length):
            self._refuse(411, "Length Required")
        elif int(length) > LARGEST:
            self._refuse(413, "Content Too Large")
        else:
            body = self.rfile.read(int(length))
            answer = self.server.url.invoke(payload(self.command, self.path, self.headers.items(), body))
            self._send(int(answer["statusCode"]), answer.get("headers") or {}, answer.get("body") or "")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_TRACE = do_QUERY = do_GET

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True
        self._send(status, {"Content-Type": "text/plain", "Connection": "close"}, why)

    def _send(self, status: int, headers: Mapping[str, str], text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """The functions' own log says what happened."""
