"""`make pause`, `make resume`, `make drain`: stop, restart or drain the delivery of requests of a deployed stack."""

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
"""Seconds to wait until an event source mapping is enabled or disabled."""

QUIET = 3
"""Number of consecutive counts without a message after which a queue is empty. SQS counts approximately."""

EVERY = 10.0
"""Seconds between two counts while a queue is drained."""

NOW = timedelta()
RECENT = timedelta(minutes=15)
"""How old CloudWatch's last value may be. SQS publishes one a minute while a queue is in use."""


@dataclass(frozen=True)
class Waiting:
    """The messages of a queue: ready, delayed, or being worked on; and how long the queue keeps them."""

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
    """The request queue and its event source mapping. Raises one of AwsFailed."""

    def state(self) -> str:
        """The state of the event source mapping: Enabled, Disabled, or a transition such as Enabling."""

    def enable(self, enabled: bool) -> None:
        """Begin to enable or disable the event source mapping."""

    def waiting(self) -> Waiting: ...

    def oldest(self) -> timedelta | None:
        """The age of the oldest message; None if CloudWatch has no value or denies access."""


@dataclass(frozen=True)
class FlowControl:
    """Carries out a command: says what it will do, asks, does it, and waits until it is done."""

    flow: Flow
    ask: Callable[[str], bool]
    say: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    clock: Clock = utc_now

    def pause(self) -> Exit:
        waiting = self.flow.waiting()
        if self.flow.state() == "Disabled":
            self.say(f"The stack is paused already; {waiting.text}.")
            return Exit.DETACHED
        until, age = self.clock() + waiting.retention, self.flow.oldest()
        oldest = "" if age is None else f", and the oldest message in {told(max(waiting.retention - age, NOW))}"
        self._show(waiting, age)
        self.say(
            "While paused, all requests wait in the queue, including those under way; queue and webhook still accept "
            f"new ones. The queue keeps a message for {told(waiting.retention)}: a request sent now is lost unless "
            f"you resume before {until:%Y-%m-%d %H:%M} UTC{oldest}. Requests whose time to live has passed by then "
            "end as expired. A deployment does not resume."
        )
        return self._enable(False, "Pause")

    def resume(self) -> Exit:
        waiting = self.flow.waiting()
        if self.flow.state() == "Enabled":
            self.say(f"The stack is running already; {waiting.text}.")
            return Exit.DETACHED
        self._show(waiting, self.flow.oldest())
        self.say("The function receives them at once, and gives up those whose time to live has passed.")
        return self._enable(True, "Resume")

    def _show(self, waiting: Waiting, age: timedelta | None) -> None:
        """Show how many messages wait, and the age of the oldest."""
        since = f"; the oldest message is {told(age)} old" if age is not None and waiting.total else ""
        self.say(f"Requests: {waiting.text}{since}.")

    def drain(self, patience: float) -> Exit:
        """Wait until no message is left; returns OPEN if some are left after `patience` seconds."""
        if self.flow.state() != "Enabled":
            self.say("The stack is paused, so the queue cannot drain: run `make resume` first.")
            return Exit.USAGE
        age = self.flow.oldest()
        self.say(
            f"Waiting up to {told(timedelta(seconds=patience))} until no request is left"
            + (f"; the oldest message is {told(age)} old. " if age is not None else ". ")
            + "Stop the senders, because new requests are accepted meanwhile. A detach that is stuck in the cloud is "
            "watched for up to WatchTimeout."
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

    def _enable(self, enabled: bool, what: str) -> Exit:
        if not self.ask(f"{what}?"):
            self.say("Nothing was changed.")
            return Exit.USAGE
        wanted = "Enabled" if enabled else "Disabled"
        self.flow.enable(enabled)
        for _ in range(CHANGING):
            if (state := self.flow.state()) == wanted:
                self.say(f"{what}d: the function {'receives' if enabled else 'does not receive'} requests.")
                return Exit.DETACHED
            self.sleep(1)
        self.say(f"Lambda reports {state} after {CHANGING} s and continues: run the same command again to check.")
        return Exit.OPEN


# -------------------------------------------------------------------------------------------------------- AWS itself


@dataclass(frozen=True)
class StackFlow:
    """The flow of a deployed stack, in AWS."""

    functions: Any
    sqs: Any
    metrics: Any
    mapping_id: str
    queue_url: str

    def state(self) -> str:
        return str(self.functions.get_event_source_mapping(UUID=self.mapping_id)["State"])

    def enable(self, enabled: bool) -> None:
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
    """The messages of a queue. Raises one of AwsFailed."""
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "Delayed", "NotVisible")]
    asked = [*names, "MessageRetentionPeriod"]
    found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=asked)["Attributes"]
    visible, delayed, in_flight = (int(found.get(name, 0)) for name in names)
    return Waiting(visible, delayed, in_flight, timedelta(seconds=int(found["MessageRetentionPeriod"])))


def oldest_in(metrics: Any, queue_url: str, now: datetime) -> timedelta | None:
    """The age of the oldest message of a queue, from CloudWatch's last value. Raises one of AwsFailed."""
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
