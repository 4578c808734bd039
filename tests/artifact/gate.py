"""A proxy between a function and AWS that records calls and can hold back one operation."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests


@dataclass
class Gate:
    """The proxy's state: it never answers the operation that `holds` names, and forwards all others."""

    url: str
    operations: list[str] = field(default_factory=list)
    holds: str = ""


@contextmanager
def gate_to(aws: str) -> Iterator[Gate]:
    """Run the proxy on a free loopback port."""

    class Passage(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            gate.operations.append(operation)
            if operation == gate.holds:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                # A header every second keeps the client's read timeout from expiring.
                while operation == gate.holds and not closing.wait(1):
                    self.wfile.write(b"X-Patience: please\r\n")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = requests.post(aws, data=body, headers=headers, timeout=30)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Ignore the closed connection of a killed client."""

    closing = threading.Event()
    with Listener(("127.0.0.1", 0), Passage) as server:
        gate = Gate(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield gate
        finally:
            closing.set()
            server.shutdown()
