"""An HTTP server for tests of the adapters that enforces AWS's limits."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.aws_stand_in import CREDENTIALS
from shared.aws.client import AwsClient
from simulator import aws_limits
from simulator.aws_limits import Refusal

Answer = tuple[int, dict[str, Any]]

BUSY = {"Code": "InternalError", "Message": "", "SenderFault": False}
FULL = {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}


@dataclass
class LimitedAws:
    """The accepted requests, in order, and the faults: `partial` entries are dropped from each call.

    `skew` is how far AWS's clock is ahead of ours. With `refuse_whole`, SQS refuses a batch with one invalid entry.
    """

    url: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    partial: int = 0
    skew: timedelta = timedelta()
    refuse_whole: bool = False
    calls: list[str] = field(default_factory=list)

    def client(self, **more: str) -> AwsClient:
        return AwsClient({**CREDENTIALS, "AWS_ENDPOINT_URL": self.url, **more}, sleep=lambda _: None)

    def answer(self, operation: str, payload: dict[str, Any], signed_at: datetime) -> Answer:
        self.calls.append(operation)
        if refusal := aws_limits.of_signing_time(signed_at, datetime.now(UTC) + self.skew):
            return _refused(refusal)
        return OPERATIONS[operation](self, payload)

    def _send_batch(self, payload: Mapping[str, Any]) -> Answer:
        entries = payload["Entries"]
        wrong = {
            entry["Id"]: refusal
            for entry in entries
            if (refusal := aws_limits.of_message(entry["MessageBody"], entry["DelaySeconds"]))
        }
        whole = aws_limits.of_message_batch(entries) or next(iter(wrong.values() if self.refuse_whole else ()), None)
        if whole:
            return _refused(whole)
        failed = [{"Id": id_, "Code": no.code, "Message": no.message, "SenderFault": True} for id_, no in wrong.items()]
        good = [entry for entry in entries if entry["Id"] not in wrong]
        if self.partial > 0 and good:
            self.partial -= 1
            failed.append({"Id": good.pop()["Id"], **BUSY})
        self.messages += good
        taken = [{"Id": entry["Id"], "MessageId": f"m-{len(self.messages)}"} for entry in good]
        return 200, {"Successful": taken, "Failed": failed}

    def _put_events(self, payload: Mapping[str, Any]) -> Answer:
        entries = payload["Entries"]
        if whole := aws_limits.of_events(entries):
            return _refused(whole)
        results: list[dict[str, str]] = []
        for entry in entries:
            if no := aws_limits.of_event(entry["Source"], entry["DetailType"], entry["Detail"]):
                results.append({"ErrorCode": no.code, "ErrorMessage": no.message})
            elif self.partial > 0:
                self.partial -= 1
                results.append(FULL)
            else:
                self.events.append(entry)
                results.append({"EventId": str(len(self.events))})
        return 200, {"FailedEntryCount": sum("ErrorCode" in one for one in results), "Entries": results}

    def _task_success(self, payload: dict[str, Any]) -> Answer:
        return self._task("success", payload, aws_limits.of_task_success(payload["taskToken"], payload["output"]))

    def _task_failure(self, payload: dict[str, Any]) -> Answer:
        no = aws_limits.of_task_failure(payload["taskToken"], payload.get("error", ""), payload.get("cause", ""))
        return self._task("failure", payload, no)

    def _task(self, name: str, payload: dict[str, Any], no: Refusal | None) -> Answer:
        if no:
            return _refused(no)
        self.tasks.append((name, payload))
        return 200, {}


OPERATIONS: Mapping[str, Callable[[LimitedAws, dict[str, Any]], Answer]] = {
    "SendMessageBatch": LimitedAws._send_batch,
    "PutEvents": LimitedAws._put_events,
    "SendTaskSuccess": LimitedAws._task_success,
    "SendTaskFailure": LimitedAws._task_failure,
}


def _refused(refusal: Refusal) -> Answer:
    return 400, {"__type": f"com.amazonaws#{refusal.code}", "message": refusal.message}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    aws: LimitedAws


class _Connection(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        signed_at = datetime.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        status, answer = self.server.aws.answer(operation, payload, signed_at)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


@contextmanager
def limited_aws() -> Iterator[LimitedAws]:
    """A server on a free port of this machine."""
    server = _Listener(("127.0.0.1", 0), _Connection)
    server.aws = LimitedAws(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.aws
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
