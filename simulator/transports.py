"""Two transports to the simulated cloud: an HTTP server on a socket, and an adapter inside the process."""

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

# SO_LINGER with zero seconds: closing the socket sends RST and drops unsent data.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
PIECES = 5


class CloudServer:
    """Serves the cloud on a free local port inside a `with` block.

    `latency` (seconds) is added to every request. A read timeout is simulated by `hold` seconds of silence before the
    connection is closed. A listening port cannot refuse a connection, so a refused connection becomes a reset.
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
    """Tracks open connections, to close those that clients keep alive."""

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
        """Ignore clients that disconnect; report every other error as one of the simulator."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """One client's connection, kept alive until the client or a fault closes it."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # send head and body together

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.cloud.stopping.wait(self.server.cloud.latency)
        try:
            answer = self.server.cloud.api.handle(self.command, self.path, dict(self.headers.items()), body)
        except TransportFault as fault:
            SOCKET_FAULTS[fault.kind](self, fault)
        else:
            self._send(answer, [answer.body])

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Log nothing here: the API logs its calls."""

    def reset(self, _: TransportFault) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close_connection = True

    def stay_silent(self, _: TransportFault) -> None:
        self.server.cloud.stopping.wait(self.server.cloud.hold)
        self.close_connection = True

    def truncate(self, fault: TransportFault) -> None:
        body = fault.answer.body
        if not body:  # an answer without a body cannot be cut, so it is lost as a whole
            return self.reset(fault)
        self._send(fault.answer, [body[: len(body) // 2]])
        self.close_connection = True
        return None

    def send_slowly(self, fault: TransportFault) -> None:
        pause = fault.seconds / PIECES
        self.server.cloud.stopping.wait(pause)
        self._send(fault.answer, _pieces(fault.answer.body), pause)

    def finish(self) -> None:
        # Closing the socket here makes a reset work: the normal shutdown would send FIN first.
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


SOCKET_FAULTS: Mapping[Break, Callable[[_Connection, TransportFault], None]] = {
    Break.CONNECTION_REFUSED: _Connection.reset,
    Break.RESET: _Connection.reset,
    Break.READ_TIMEOUT: _Connection.stay_silent,
    Break.TRUNCATED: _Connection.truncate,
    Break.SLOW: _Connection.send_slowly,
}


def _pieces(body: bytes) -> list[bytes]:
    size = len(body) // PIECES + 1
    return [body[start : start + size] for start in range(0, len(body), size)]


class InProcessAdapter(HTTPAdapter):
    """Connects a `requests` session to the cloud without a socket; mount it on the cloud's address.

    Slow answers and timeouts call `sleep`, for example to advance a virtual clock. Without it they take no time.
    """

    def __init__(self, api: CloudApi, sleep: Callable[[float], object] | None = None) -> None:
        super().__init__()
        self._api = api
        self._sleep = sleep

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """Answer like a server; a read timeout takes the client's own timeout."""
        body = request.body or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        try:
            answer = self._api.handle(request.method or "GET", request.path_url, request.headers, content)
        except TransportFault as fault:
            answer = self._broken(fault, request, options.get("timeout"))
        return self.build_response(request, _raw(answer, request))

    def _broken(self, fault: TransportFault, request: requests.PreparedRequest, timeout: Any) -> Answer:
        """Return a slow answer; for every other fault raise what `requests` raises."""
        if fault.kind is Break.SLOW:
            self._pass(fault.seconds)
            return fault.answer
        if fault.kind is Break.READ_TIMEOUT:
            self._pass((timeout[1] if isinstance(timeout, tuple) else timeout) or 0.0)
        raise EXCEPTIONS[fault.kind](f"{fault.kind} (simulated)", request=request)

    def _pass(self, seconds: float) -> None:
        if self._sleep is not None and seconds > 0:
            self._sleep(seconds)


EXCEPTIONS: Mapping[Break, type[requests.RequestException]] = {
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
