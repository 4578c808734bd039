"""Records the calls to the local AWS, each with its access key, and with the action and resource that IAM checks."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from local.aws_stand_in import ACCOUNT, REGION, queue_arn
from tests.contract.test_template import IAM_ACTION

Answer = tuple[int, bytes]


class Call(NamedTuple):
    """`who` is the access key that signed it."""

    who: str
    action: str
    resource: str
    payload: Any = None


@dataclass
class Recorder:
    """Forwards every call to `behind`, unless `answer` returns an answer itself."""

    behind: str
    calls: list[Call] = field(default_factory=list)
    url: str = ""
    answer: Callable[[Call], Answer | None] = lambda call: None

    def of(self, who: str) -> list[Call]:
        return [call for call in self.calls if call.who == who]


RESOURCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "sqs": lambda payload: queue_arn(str(payload["QueueUrl"]).rpartition("/")[2]),
    "events": lambda payload: f"arn:aws:events:{REGION}:{ACCOUNT}:{_on_a_bus(payload)}",
    "secretsmanager": lambda payload: secret_arn(str(payload["SecretId"])),
    "states": lambda payload: "*",  # IAM has no resources for task tokens
}


def _on_a_bus(payload: dict[str, Any]) -> str:
    if "Entries" in payload:
        return f"event-bus/{payload['Entries'][0]['EventBusName']}"
    return f"rule/{payload['EventBusName']}/{payload['Name']}"


def secret_arn(name: str) -> str:
    """The ARN of a secret, which ends with six characters that AWS adds."""
    return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-AbCdEf"


def call_of(method: str, address: str, headers: dict[str, str], body: bytes) -> Call:
    """A request as IAM sees it: https://docs.aws.amazon.com/service-authorization/latest/reference/."""
    (who, service) = re.findall(r"Credential=([^/]+)/\d+/[^/]+/(\w+)/", headers["authorization"])[0]
    if service == "s3":
        place = urlsplit(address)
        bucket, _, key = place.path.lstrip("/").partition("/")
        operation = {"PUT": "PutObject", "GET": "GetObject" if key else "ListBucket"}[method]
        return Call(who, f"s3:{operation}", f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else ""))
    if service == "lambda":
        kind, _, name = urlsplit(address).path.removeprefix("/2015-03-31/").partition("/")
        assert (method, kind) == ("GET", "event-source-mappings")
        return Call(
            who, "lambda:GetEventSourceMapping", f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:{name}"
        )
    operation = headers["x-amz-target"].rpartition(".")[2]
    payload = json.loads(body)
    return Call(who, f"{service}:{IAM_ACTION.get(operation, operation)}", RESOURCES[service](payload), payload)


@contextmanager
def recording(behind: str) -> Iterator[Recorder]:
    recorder = Recorder(behind)
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(recorder))
    listener.daemon_threads = True
    recorder.url = f"http://127.0.0.1:{listener.server_port}"
    serving = Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    try:
        yield recorder
    finally:
        listener.shutdown()
        serving.join(10)
        listener.server_close()


def _handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Connection(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = call_of(self.command, self.path, headers, body)
            recorder.calls.append(call)
            status, text = recorder.answer(call) or self._behind(headers, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _behind(self, headers: dict[str, str], body: bytes) -> Answer:
            kept = {name: value for name, value in headers.items() if name not in ("host", "connection")}
            kept["accept-encoding"] = "identity"
            address = recorder.behind + self.path
            found = requests.request(self.command, address, data=body, headers=kept, timeout=30)
            return found.status_code, found.content

        do_GET = do_PUT = do_POST = _any

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    return Connection
