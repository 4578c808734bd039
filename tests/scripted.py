"""A web server with scripted answers that records its requests."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.aws_stand_in import CREDENTIALS
from shared.aws.client import AwsClient

RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Reply:
    """One answer; with `reset` the connection breaks instead."""

    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/x-amz-json-1.0"),)
    reset: bool = False


def reply(body: object = None, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(body if body is not None else {}).encode())


BROKEN = Reply(reset=True)


@dataclass
class RecordedRequest:
    """One recorded request."""

    headers: dict[str, str]
    body: bytes
    method: str = "POST"
    path: str = "/"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Script:
    """The answers in order (the last one repeats), and the recorded requests."""

    url: str
    replies: list[Reply] = field(default_factory=list)
    asked: list[RecordedRequest] = field(default_factory=list)

    def then(self, *replies: Reply) -> None:
        self.replies += replies

    def next(self) -> Reply:
        return self.replies[min(len(self.asked), len(self.replies)) - 1] if self.replies else Reply()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    script: Script


class _Connection(BaseHTTPRequestHandler):
    server: _Listener
    # Without keep-alive every answer closes its connection, so that no connection outlives a test.
    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        script = self.server.script
        headers = {name.lower(): value for name, value in self.headers.items()}
        script.asked.append(RecordedRequest(headers, body, self.command, self.path))
        answer = script.next()
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        self.send_response(answer.status)
        for name, value in (*answer.headers, ("Content-Length", str(len(answer.body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_PUT = do_DELETE = do_POST

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


def client_of(script: Script, pauses: list[float] | None = None, **more: str) -> AwsClient:
    """A client of the scripted AWS that records its pauses instead of sleeping."""
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": script.url, **more}
    return AwsClient(environment, sleep=(pauses if pauses is not None else []).append)


@contextmanager
def scripted_server(tls: ssl.SSLContext | None = None) -> Iterator[Script]:
    """Run a server on a free local port."""
    server = _Listener(("127.0.0.1", 0), _Connection)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.script = Script(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.script
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
