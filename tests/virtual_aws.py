"""AWS in memory, in virtual time, behind the real adapters. It enforces AWS's limits and fails at random.

The service uses its own clients for SQS and EventBridge, so their batches are checked against AWS's limits too. No
sockets are used.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

import requests
from requests.adapters import BaseAdapter

from local.aws_stand_in import CREDENTIALS
from shared.aws.client import AwsClient
from shared.aws.event_bus import EventBus
from shared.aws.sqs import SqsQueue
from simulator import aws_limits
from simulator.aws_limits import Refusal
from tests.stack import Clock, VirtualBus, VirtualQueue

Answer = tuple[int, dict[str, Any]]
ADDRESS = "http://aws.test"

BUSY = {"Code": "InternalError", "Message": "", "SenderFault": False}
FULL = {"ErrorCode": "ThrottlingException", "ErrorMessage": "slow down"}
FAILURES: tuple[Answer, ...] = (
    (500, {"__type": "InternalFailure", "message": ""}),
    (503, {"__type": "ServiceUnavailable", "message": ""}),
    (400, {"__type": "ThrottlingException", "message": "slow down"}),
)


@lru_cache
def _threads() -> ThreadPoolExecutor:
    """The threads of all clients of a process."""
    return ThreadPoolExecutor(1, "aws")


@dataclass
class VirtualAws(BaseAdapter):
    """Passes calls to the virtual queue and bus; `trouble` is the probability that a call, or an entry, fails.

    `illegal` are refusals that are the sender's fault; `happened` counts the injected failures.
    """

    queue: VirtualQueue
    bus: VirtualBus
    clock: Clock
    random: Random
    trouble: float = 0.0
    illegal: list[str] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()
        http = requests.Session()
        http.trust_env = False  # a proxy cannot reach an in-memory service
        http.mount(ADDRESS, self)
        environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": ADDRESS}
        self.client = AwsClient(environment, http, self.clock.sleep, self.clock, _threads())

    def outlets(self) -> tuple[EventBus, SqsQueue]:
        return EventBus(self.client, "bus"), SqsQueue(self.client, ADDRESS + "/queue")

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        payload = json.loads(request.body or b"")
        status, body = self._failure("calls refused", FAILURES) or self._answer(operation, payload["Entries"])
        if self._failure("answers lost", (True,)):
            raise requests.ConnectionError("(virtual)")
        answer = requests.Response()
        answer.request, answer.url, answer.status_code = request, ADDRESS, status
        answer._content = json.dumps(body).encode()
        return answer

    def close(self) -> None:
        """Nothing to close."""

    def _failure(self, what: str, failures: Sequence[Any]) -> Any:
        if self.random.random() >= self.trouble:
            return None
        self.happened[what] += 1
        return self.random.choice(failures)

    def _answer(self, operation: str, entries: Sequence[Mapping[str, Any]]) -> Answer:
        return self._send_batch(entries) if operation == "SendMessageBatch" else self._put_events(entries)

    def _send_batch(self, entries: Sequence[Mapping[str, Any]]) -> Answer:
        if whole := aws_limits.of_message_batch(entries):
            return self._refused(whole)
        taken: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for entry in entries:
            if no := aws_limits.of_message(entry["MessageBody"], entry["DelaySeconds"]):
                self._refused(no)
                failed.append({"Id": entry["Id"], "Code": no.code, "Message": no.message, "SenderFault": True})
            elif self._failure("messages not taken", (True,)):
                failed.append({"Id": entry["Id"], **BUSY})
            else:
                queued = self.queue.put(entry["MessageBody"], entry["DelaySeconds"])
                taken.append({"Id": entry["Id"], "MessageId": queued.id})
        return 200, {"Successful": taken, "Failed": failed}

    def _put_events(self, entries: Sequence[Mapping[str, Any]]) -> Answer:
        if whole := aws_limits.of_events(entries):
            return self._refused(whole)
        results: list[dict[str, Any]] = []
        for entry in entries:
            if no := aws_limits.of_event(entry["Source"], entry["DetailType"], entry["Detail"]):
                self._refused(no)
                results.append({"ErrorCode": no.code, "ErrorMessage": no.message})
            elif self._failure("events not taken", (True,)):
                results.append(FULL)
            else:
                self.bus.events.append(json.loads(entry["Detail"]))
                results.append({"EventId": str(len(self.bus.events))})
        return 200, {"FailedEntryCount": sum("ErrorCode" in one for one in results), "Entries": results}

    def _refused(self, refusal: Refusal) -> Answer:
        self.illegal.append(f"{refusal.code}: {refusal.message}")
        return 400, {"__type": f"com.amazonaws#{refusal.code}", "message": refusal.message}
