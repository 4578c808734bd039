"""The artifact under Lambda's own emulator and runtime client, in an empty directory, against the stand-ins."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from benchmarks.cold import emulator, free_port, wait_for
from benchmarks.packages import environment, python, runtime
from local.artifact import Recipe

INVOCATIONS = "/2015-03-31/functions/function/invocations"


class Killed(Exception):
    """The emulator ended the invocation, as Lambda does when its time is up."""


@dataclass
class Emulated:
    """A function that is up; one invocation at a time, as an execution environment has it."""

    url: str
    log: Path
    seconds: list[float] = field(default_factory=list)

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """What the function answers. Raises Killed, and AssertionError for an error of the function."""
        response = requests.post(self.url + INVOCATIONS, data=json.dumps(event), timeout=60)
        self.seconds.append(response.elapsed.total_seconds())
        if "Task timed out" in response.text:
            raise Killed(response.text)
        answer = response.json()
        assert not (isinstance(answer, dict) and "errorType" in answer), answer
        return answer

    @property
    def output(self) -> str:
        """The JSON lines that the function has written, log and metrics."""
        return "\n".join(line for line in self.log.read_text().splitlines() if line.startswith("{"))


@contextmanager
def emulated(
    recipe: Recipe, function: str, variables: Mapping[str, str], empty: Path, timeout: int = 60
) -> Iterator[Emulated]:
    """The emulator on free ports of loopback; it starts the function at the first invocation."""
    binary = emulator()
    assert binary is not None
    port, log = free_port(), empty.parent / f"{empty.name}.log"
    command = [str(binary), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
    command += ["--runtime-api-address", f"127.0.0.1:{free_port()}"]
    command += [*python(), "-m", "awslambdaric", f"functions.{function}.handler.lambda_handler"]
    lambdas = {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout), "AWS_LAMBDA_FUNCTION_NAME": function,
               "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "LAMBDA_TASK_ROOT": str(recipe.directory)}  # fmt: skip
    known = environment(variables, recipe.directory, runtime()) | lambdas
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=empty, env=known, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(port)
            yield Emulated(f"http://127.0.0.1:{port}", log)
        finally:
            process.terminate()
            process.wait(timeout=10)


@contextmanager
def stalling(endpoint: str, operation: str) -> Iterator[tuple[str, threading.Event]]:
    """AWS behind a door that, until the event is set, answers one operation for ever: a header every second."""
    open_again = threading.Event()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["X-Amz-Target"].endswith(f".{operation}") and not open_again.is_set():
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not open_again.wait(1):
                    self.wfile.write(b"X-Patience: please\r\n")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = requests.post(endpoint, data=body, headers=headers, timeout=30)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Silent: what it passes on is no news."""

    class Doors(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Whoever was killed has hung up."""

    with Doors(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", open_again
        finally:
            open_again.set()
            server.shutdown()
