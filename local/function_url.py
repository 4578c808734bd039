"""A local Lambda Function URL: passes HTTP requests to a handler in payload format 2.0, and returns its answer."""

import base64
import re
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from local.poller import Handler, OnError, ignore, invoke
from local.private import is_foreign

LARGEST = 6 * 1024 * 1024
"""Bytes of the largest body that Lambda accepts; it answers larger ones with 413."""

PATIENCE = 30
"""Seconds that a client has for its headers, and again for its body. Lambda passes on complete requests only."""

TEXT = re.compile(r"\s*(text/|application/(json|xml|javascript|x-www-form-urlencoded)\s*(;|$))", re.IGNORECASE)
"""Content types whose body Lambda passes on as text; it encodes others as base64."""

PLAIN = {"Content-Type": "text/plain"}


@dataclass(frozen=True)
class Page:
    """A page that the local server adds; a real Function URL has none.

    `policy` is its Content-Security-Policy, which by default forbids to load anything.
    """

    content_type: str
    body: str
    policy: str = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Asked:
    """An HTTP request that the local server may answer itself. Names of `headers` ignore case."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Answered:
    """The local server's own answer. A generator is sent part by part until it ends or the client disconnects."""

    status: int
    headers: Mapping[str, str]
    body: str | Generator[str, None, None]


Own = Callable[[Asked], Answered | None]
"""Answers the local server's own requests; returns None for those of the handler."""


def nothing_own(_: Asked) -> None:
    """Leave every request to the handler."""


class PortTaken(Exception):
    """The port cannot be used."""


def payload(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> dict[str, Any]:
    """The event that Lambda makes of an HTTP request. Headers of the same name are joined."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name.lower()] = f"{joined[name.lower()]},{value}" if name.lower() in joined else value
    try:
        text = body.decode() if TEXT.match(joined.get("content-type", "")) else None
    except UnicodeDecodeError:
        text = None
    url, now = urlsplit(target), datetime.now(UTC)
    path = url.path or "/"
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": url.query,
        "headers": joined,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": "127.0.0.1",
            "http": {**http, "userAgent": joined.get("user-agent", "")},
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }


class FunctionUrl(ThreadingHTTPServer):
    """Serves a handler on loopback; port 0 chooses a free one. `private` rejects requests from foreign web pages.

    Raises PortTaken.
    """

    daemon_threads = True

    def __init__(
        self,
        handler: Handler,
        port: int = 0,
        pages: Mapping[str, Page] | None = None,
        on_error: OnError = ignore,
        patience: float = PATIENCE,
        own: Own = nothing_own,
        private: bool = False,
    ) -> None:
        self.handler, self.pages, self.on_error, self.patience = handler, pages or {}, on_error, patience
        self.own, self.private = own, private
        try:
            super().__init__(("127.0.0.1", port), _Connection)
        except (OSError, OverflowError) as error:
            why = (error.strerror or "") if isinstance(error, OSError) else "a port is at most 65535"
            raise PortTaken(f"Port {port} cannot be used ({why}): choose another with PORT=.") from error

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, event: dict[str, Any]) -> Mapping[str, Any]:
        """The handler's answer; any error is a 502, as with a real Function URL."""
        broken = {"statusCode": 502, "headers": PLAIN, "body": "Internal Server Error"}
        return invoke(self.handler, "receive-webhook", event, self.on_error) or broken

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FunctionUrl

    def setup(self) -> None:
        self.request.settimeout(self.server.patience)
        super().setup()

    def handle_expect_100(self) -> bool:
        """Do nothing yet: `100 Continue` is sent when the body is read, and not for a refused request."""
        return True

    def do_GET(self) -> None:
        page = self.server.pages.get(urlsplit(self.path).path)
        lengths = self.headers.get_all("Content-Length", ["0"])
        length = lengths[0].strip() if len(set(lengths)) == 1 else ""  # different lengths are ambiguous
        if self.server.private and is_foreign(dict(self.headers), self.server.server_port):
            self._refuse(403, "Forbidden")
        elif page and self.command == "GET":
            headers = {"Content-Type": page.content_type, "Content-Security-Policy": page.policy}
            self._send(200, {**headers, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}, page.body)
        elif "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,12}", length):
            self._refuse(411, "Length Required")
        elif int(length) > LARGEST:
            self._refuse(413, "Content Too Large")
        else:
            body = self._body(int(length))
            if body is None:
                self._refuse(408, "Request Timeout")
                return
            self._answer(body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_TRACE = do_QUERY = do_GET

    def _answer(self, body: bytes) -> None:
        own = self.server.own(Asked(self.command, urlsplit(self.path).path, self.headers, body))
        if own is None:
            answer = self.server.answer(payload(self.command, self.path, self.headers.items(), body))
            self._send(int(answer["statusCode"]), answer.get("headers") or {}, answer.get("body") or "")
        elif isinstance(own.body, str):
            self._send(own.status, own.headers, own.body)
        else:
            self._stream(own.status, own.headers, own.body)

    def _stream(self, status: int, headers: Mapping[str, str], parts: Generator[str, None, None]) -> None:
        """Send parts without a length. The connection closes after the last part; a disconnect closes `parts`."""
        self.close_connection = True
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        with closing(parts), suppress(OSError):
            for part in parts:
                self.wfile.write(part.encode())

    def _body(self, length: int) -> bytes | None:
        """The whole body; None if it does not arrive in time or is cut short."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body, end = bytearray(), time.monotonic() + self.server.patience
        try:
            while len(body) < length:
                self.connection.settimeout(max(0.001, end - time.monotonic()))
                part = self.rfile.read1(min(length - len(body), 65536))
                if not part:
                    return None
                body += part
        except TimeoutError:
            return None
        self.connection.settimeout(self.server.patience)
        return bytes(body)

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True
        self._send(status, {**PLAIN, "Connection": "close"}, why)

    def _send(self, status: int, headers: Mapping[str, str], text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Log nothing: the functions have their own log."""
