"""Everything that is up for a run: the stage, and each contender in a process of its own."""

from __future__ import annotations

import json
import statistics
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.contenders import CONVENTIONAL, FLOOR, PRODUCT, SERIAL, Measured
from benchmarks.contenders import Contender as Process
from benchmarks.remote import PROCESSES, Remote
from benchmarks.stage import Stage
from local.aws_stand_in import REQUESTS, queue_arn
from local.poller import Poller
from shared.aws.client import AwsClient

Pair = tuple[str, str]
"""A server and a volume."""


@dataclass
class Arena:
    """The stage and the contenders, by name."""

    stage: Remote
    contenders: Mapping[str, Remote]
    environment: Mapping[str, str]
    skipped: Any

    def invoke(self, name: str, pairs: Sequence[Pair], **data: Any) -> Measured:
        """One invocation with a record for each of these, which nobody but us has put on a queue."""
        event = {"Records": [record(body(server, volume, **data)) for server, volume in pairs]}
        measured: Measured = self.contenders[name].ask("invoke", event)[1]
        if measured.failures:
            raise RuntimeError(f"{name} gave {measured.failures} of {len(pairs)} records back")
        return measured

    def drain(self, name: str) -> list[Measured]:
        """Invoke with what the queue holds until it holds nothing, skipping the time in which nothing is due."""
        spent: list[Measured] = []

        def handle(event: dict[str, Any], _: Any) -> Any:
            answer, measured = self.contenders[name].ask("invoke", event)
            spent.append(measured)
            return answer

        client = AwsClient(self.environment)
        poller = Poller(client, self.environment["REQUEST_QUEUE_URL"], queue_arn(REQUESTS), handle, wait_seconds=0)
        while (due := self.stage.ask("due_in")) is not None:
            self.skipped.value += due
            poller.poll()
        return spent


@contextmanager
def arena() -> Iterator[Arena]:
    skipped = PROCESSES.Value("d", 0.0)
    with ExitStack() as stack:
        stage = stack.enter_context(Remote(Stage, skipped))
        environment = stage.ask("environment")
        contenders = {
            name: stack.enter_context(Remote(Process, name, environment, skipped))
            for name in (PRODUCT, CONVENTIONAL, FLOOR, SERIAL)
        }
        yield Arena(stage, contenders, environment, skipped)


def body(server: str, volume: str, **data: Any) -> str:
    return json.dumps({"server_id": server, "volume_id": volume, **data})


def record(text: str) -> dict[str, Any]:
    """A message as Lambda's event source mapping hands it over."""
    return {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": "handle",
        "body": text,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1795424400000",
            "ApproximateFirstReceiveTimestamp": "1795424400001",
        },
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn(REQUESTS),
        "awsRegion": "eu-central-1",
    }


def interleaved(names: tuple[str, ...], rounds: int, measure: Callable[[str], float]) -> dict[str, float]:
    """The median of each, measured in turns, so that a busy moment of the machine meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(measure(name))
    return {name: statistics.median(values) for name, values in found.items()}
