"""`make pause`, `make resume`, `make drain`: stop, start and empty the flow of requests of a deployed stack."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import boto3
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from shared.ports import Clock, utc_now
from tools.deployed import Unknown, is_denied, outputs_of
from tools.exit_status import Exit
from tools.stack_facts import told

CHANGING = 180
"""Seconds within which an event source mapping is enabled or disabled."""

QUIET = 3
"""A queue counts as empty after so many counts in a row without a message: SQS counts approximately."""

EVERY = 10.0
"""Seconds between two counts while a queue is drained."""

NOW = timedelta()
RECENT = timedelta(minutes=15)
"""How far back the last figure of CloudWatch counts: SQS hands it one every minute while a queue is in use."""


@dataclass(frozen=True)
class Waiting:
    """How many messages wait: to be received, until their delay is over, or being worked on; for how long at most."""

    visible: int
    delayed: int
    in_flight: int
    retention: timedelta

    @property
    def total(self) -> int:
        return self.visible + self.delayed + self.in_flight

    @property
    def text(self) -> str:
        return f"{self.visible} waiting, {self.delayed} for a later look, {self.in_flight} being worked on"


class Flow(Protocol):
    """The request queue, and what hands its messages to the function. Raises one of AwsFailed."""

    def state(self) -> str:
        """What Lambda says of the event source mapping: Enabled, Disabled, or on the way to one of them."""

    def let(self, enabled: bool) -> None:
        """Begin to enable or disable it."""

    def waiting(self) -> Waiting: ...

    def oldest(self) -> timedelta | None:
        """How long the oldest message has been in the queue; None where CloudWatch does not tell."""


@dataclass(frozen=True)
class Hands:
    """Carries out what a person wants with the flow: says what it is about to do, asks, does it, and waits for it."""

    flow: Flow
    ask: Callable[[str], bool]
    say: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    clock: Clock = utc_now

    def pause(self) -> Exit:
        waiting = self.flow.waiting()
        if self.flow.state() == "Disabled":
            self.say(f"It is paused already; {waiting.text}.")
            return Exit.DETACHED
        until, age = self.clock() + waiting.retention, self.flow.oldest()
        oldest = "" if age is None else f", and the oldest message in {told(max(waiting.retention - age, NOW))}"
        self._show(waiting, age)
        self.say(
            "While it is paused nothing is looked at: requests, and what is under way, wait in the queue; senders and "
            f"the webhook are still served. A message is kept for {told(waiting.retention)}, so what is sent now is "
            f"lost if nobody resumes before {until:%Y-%m-%d %H:%M} UTC{oldest}. What has outlived its "
            "time to live by then ends as expired. A deployment does not resume."
        )
        return self._let(False, "Pause")

    def resume(self) -> Exit:
        waiting = self.flow.waiting()
        if self.flow.state() == "Enabled":
            self.say(f"It is running already; {waiting.text}.")
            return Exit.DETACHED
        self._show(waiting, self.flow.oldest())
        self.say("They are handed to the function at once; what has outlived its time to live is given up.")
        return self._let(True, "Resume")

    def _show(self, waiting: Waiting, age: timedelta | None) -> None:
        """What waits, and for how long it has."""
        since = f"; the oldest message is {told(age)} old" if age is not None and waiting.total else ""
        self.say(f"Requests: {waiting.text}{since}.")

    def drain(self, patience: float) -> Exit:
        """Wait until no message is left. OPEN if some are after `patience` seconds."""
        if self.flow.state() != "Enabled":
            self.say("It is paused, so nothing would ever be drained: `make resume` first.")
            return Exit.USAGE
        age = self.flow.oldest()
        self.say(
            f"Waiting up to {told(timedelta(seconds=patience))} until no request is left"
            + (f"; the oldest message is {told(age)} old. " if age is not None else ". ")
            + "Stop the senders, since new ones are worked on as they come. A detach that is stuck in the cloud is "
            "watched for as long as WatchTimeout says."
        )
        until, quiet, before = self.clock() + timedelta(seconds=patience), 0, -1
        while quiet < QUIET:
            waiting = self.flow.waiting()
            quiet = quiet + 1 if waiting.total == 0 else 0
            if waiting.total != before:
                self.say(f"  {self.clock().astimezone(UTC):%H:%M:%S}  {waiting.text}")
                before = waiting.total
            if quiet < QUIET and self.clock() >= until:
                self.say(f"{waiting.total} messages are left after {patience:.0f} s.")
                return Exit.OPEN
            if quiet < QUIET:
                self.sleep(EVERY)
        self.say("No request is left.")
        return Exit.DETACHED

    def _let(self, enabled: bool, what: str) -> Exit:
        if not self.ask(f"{what}?"):
            self.say("Nothing was changed.")
            return Exit.USAGE
        wanted = "Enabled" if enabled else "Disabled"
        self.flow.let(enabled)
        for _ in range(CHANGING):
            if (state := self.flow.state()) == wanted:
                self.say(f"{what}d: the function {'gets' if enabled else 'does not get'} requests.")
                return Exit.DETACHED
            self.sleep(1)
        self.say(f"Lambda says {state} after {CHANGING} s; it goes on by itself: look again by the same command.")
        return Exit.OPEN


# -------------------------------------------------------------------------------------------------------- AWS itself


@dataclass(frozen=True)
class StackFlow:
    """The flow of a deployed stack."""

    functions: Any
    sqs: Any
    metrics: Any
    mapping_id: str
    queue_url: str

    def state(self) -> str:
        return str(self.functions.get_event_source_mapping(UUID=self.mapping_id)["State"])

    def let(self, enabled: bool) -> None:
        self.functions.update_event_source_mapping(UUID=self.mapping_id, Enabled=enabled)

    def waiting(self) -> Waiting:
        return waiting_in(self.sqs, self.queue_url)

    def oldest(self) -> timedelta | None:
        try:
            return oldest_in(self.metrics, self.queue_url, utc_now())
        except ClientError as error:
            if is_denied(error):
                return None
            raise


def waiting_in(sqs: Any, queue_url: str) -> Waiting:
    """What is in a queue. Raises one of AwsFailed."""
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "Delayed", "NotVisible")]
    asked = [*names, "MessageRetentionPeriod"]
    found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=asked)["Attributes"]
    visible, delayed, in_flight = (int(found.get(name, 0)) for name in names)
    return Waiting(visible, delayed, in_flight, timedelta(seconds=int(found["MessageRetentionPeriod"])))


def oldest_in(metrics: Any, queue_url: str, now: datetime) -> timedelta | None:
    """The age of the oldest message of a queue, as CloudWatch last knew it. Raises one of AwsFailed."""
    found = metrics.get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue_url.rpartition("/")[2]}],
        StartTime=now - RECENT,
        EndTime=now,
        Period=60,
        Statistics=["Maximum"],
    )
    latest = max(found["Datapoints"], key=lambda point: point["Timestamp"], default=None)
    return timedelta(seconds=latest["Maximum"]) if latest else None


def flow_of(stack: str) -> StackFlow:
    """Raises Unknown, one of AwsFailed."""
    outputs = outputs_of(stack)
    if missing := [name for name in ("RequestsMappingId", "RequestQueueUrl") if name not in outputs]:
        raise Unknown(f"The stack {stack} has no output {missing[0]}: is it one of this service?")
    return StackFlow(
        boto3.client("lambda"),
        boto3.client("sqs"),
        boto3.client("cloudwatch"),
        outputs["RequestsMappingId"],
        outputs["RequestQueueUrl"],
    )
