"""Two ways to reach the simulated cloud: over a socket, and inside the process."""

import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.response import HTTPResponse

from shared.model import Answer
from simulator.api import CloudApi
from simulator.faults import Break, TransportFault

# Linger on, for no time: closing the socket sends RST and drops what is unsent.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
PIECES = 5


class CloudServer:
    """The cloud on a free port of this machine, for as long as the `with` block lasts.

    `latency` is added to every request. A read timeout is played by `hold` seconds of silence before the
    connection is closed. A refused connection cannot be played on a port that listens: it is a reset.
    """

    def __init__(self, api: CloudApi, hold: float = 1.0) -> None:
        self.api = api
        self.latency = 0.0
        self.hold = hold
        self.stopping = threading.Event()

    @property
    def url(self) -> str:
        return self.api.deployment.base_url

    def __enter__(self) -> Self:
        self._server = _Listener(self)
        self.api.deployment.base_url = f"http://127.0.0.1:{self._server.server_port}"
        serve = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        serve.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()


class _Listener(ThreadingHTTPServer):
    """Knows its open connections, since kept-alive ones would outlive it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, cloud: CloudServer) -> None:
        self.cloud = cloud
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news here; anything else is a fault of the simulator's own."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """One client's connection, kept alive until it goes or a fault says otherwise."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one piece

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.cloud.stopping.wait(self.server.cloud.latency)
        try:
            answer = self.server.cloud.api.handle(self.command, self.path, dict(self.headers.items()), body)
        except TransportFault as fault:
            BREAKS[fault.kind](self, fault)
        else:
            self._send(answer, [answer.body])

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Quiet: the API keeps its own log."""

    def reset(self, _: TransportFault) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close_connection = True

    def fall_silent(self, _: TransportFault) -> None:
        self.server.cloud.stopping.wait(self.server.cloud.hold)
        self.close_connection = True

    def truncate(self, fault: TransportFault) -> None:
        body = fault.answer.body
        if not body:  # nothing to cut but the answer as a whole
            return self.reset(fault)
        self._send(fault.answer, [body[: len(body) // 2]])
        self.close_connection = True
        return None

    def dawdle(self, fault: TransportFault) -> None:
        pause = fault.seconds / PIECES
        self.server.cloud.stopping.wait(pause)
        self._send(fault.answer, _pieces(fault.answer.body), pause)

    def finish(self) -> None:
        # The socket closes once its files are closed, but after a FIN that would spoil a reset.
        super().finish()
        if self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
            self.connection.close()

    def _send(self, answer: Answer, pieces: list[bytes], pause: float = 0.0) -> None:
        self.send_response_only(answer.status, responses.get(answer.status, ""))
        self.send_header("Server", self.version_string())
        if "date" not in answer.headers:
            self.send_header("Date", self.date_time_string())
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            if pause:
                self.wfile.flush()
                self.server.cloud.stopping.wait(pause)


BREAKS: Mapping[Break, Callable[[_Connection, TransportFault], None]] = {
    Break.CONNECTION_REFUSED: _Connection.reset,
    Break.RESET: _Connection.reset,
    Break.READ_TIMEOUT: _Connection.fall_silent,
    Break.TRUNCATED: _Connection.truncate,
    Break.SLOW: _Connection.dawdle,
}


def _pieces(body: bytes) -> list[bytes]:
    size = len(body) // PIECES + 1
    return [body[start : start + size] for start in range(0, len(body), size)]


class InProcessAdapter(HTTPAdapter):
    """The cloud for a `requests` session without a socket; mount it on the cloud's address.

    Slowness and timeouts take no time unless `sleep` is given: hand it what moves the virtual clock.
    """

    def __init__(self, api: CloudApi, sleep: Callable[[float], object] | None = None) -> None:
        super().__init__()
        self._api = api
        self._sleep = sleep

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """Answer as a server would; a read timeout takes the time which the client would wait."""
        body = request.body or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        try:
            answer = self._api.handle(request.method or "GET", request.path_url, request.headers, content)
        except TransportFault as fault:
            answer = self._survive(fault, request, options.get("timeout"))
        return self.build_response(request, _raw(answer, request))

    def _survive(self, fault: TransportFault, request: requests.PreparedRequest, timeout: Any) -> Answer:
        """The answer of a slow one; for all others what `requests` raises."""
        if fault.kind is Break.SLOW:
            self._pass(fault.seconds)
            return fault.answer
        if fault.kind is Break.READ_TIMEOUT:
            self._pass((timeout[1] if isinstance(timeout, tuple) else timeout) or 0.0)
        raise BROKEN[fault.kind](f"{fault.kind} (simulated)", request=request)

    def _pass(self, seconds: float) -> None:
        if self._sleep is not None and seconds > 0:
            self._sleep(seconds)


BROKEN: Mapping[Break, type[requests.RequestException]] = {
    Break.CONNECTION_REFUSED: requests.exceptions.ConnectionError,
    Break.RESET: requests.exceptions.ConnectionError,
    Break.READ_TIMEOUT: requests.exceptions.ReadTimeout,
    Break.TRUNCATED: requests.exceptions.ChunkedEncodingError,
}


def _raw(answer: Answer, request: requests.PreparedRequest) -> HTTPResponse:
    return HTTPResponse(
        body=BytesIO(answer.body),
        headers={**answer.headers, "content-length": str(len(answer.body))},
        status=answer.status,
        reason=responses.get(answer.status, ""),
        preload_content=False,
        request_method=request.method,
        request_url=request.url,
    )
