"""Access to a deployed stack: sends a request to its queue, receives its verdicts, and reads its log."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import boto3
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from tools.permissions import needs_of
from tools.status import as_line, is_about

AwsFailed = (BotoCoreError, ClientError)

LOG_GROUPS = ("ReceiveWebhookLogs", "DetachVolumeLogs", "ReportDeadLetterLogs")
LOOK_AT_LOG = 4.0
"""Seconds between two reads of the log while the command waits for a verdict."""


class Unknown(LookupError):
    """There is no such stack, or it lacks an output; the text is one sentence."""


@dataclass(frozen=True)
class Names:
    """The names of a stack's resources."""

    queue_url: str
    bus: str
    prefix: str
    log_groups: tuple[str, ...]


def described(stack: str) -> Mapping[str, Any]:
    """A stack as CloudFormation describes it. Raises Unknown, one of AwsFailed."""
    try:
        (found,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            raise Unknown(f"There is no stack {stack} of this service in this account and region.") from error
        raise
    return dict(found)


def outputs_of(stack: str) -> dict[str, str]:
    """Raises Unknown, one of AwsFailed."""
    return {one["OutputKey"]: one["OutputValue"] for one in described(stack).get("Outputs", ())}


def names_of(stack: str) -> Names:
    """Raises Unknown, one of AwsFailed."""
    outputs = outputs_of(stack)
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in described(stack).get("Parameters", ())}
    resource = boto3.client("cloudformation").describe_stack_resource
    found = (resource(StackName=stack, LogicalResourceId=name)["StackResourceDetail"] for name in LOG_GROUPS)
    groups = tuple(one["PhysicalResourceId"] for one in found)
    if missing := [name for name in ("RequestQueueUrl", "EventBusName") if name not in outputs]:
        raise Unknown(f"The stack {stack} has no output {missing[0]}: is it one of this service?")
    prefix = parameters.get("EventTypePrefix") or "bms"
    return Names(outputs["RequestQueueUrl"], outputs["EventBusName"], prefix, groups)


# ---------------------------------------------------------------------------------------------- asking and hearing


@dataclass
class Deployed:
    """Sends requests whose ids begin with `session`, and receives their verdicts through its own rule and queue.

    Both are created on entry and deleted on exit. Raises one of AwsFailed.
    """

    names: Names
    session: str
    on_line: Callable[[Mapping[str, Any], str], None] = lambda fields, message: None
    log: "Log | None" = None
    _queue: str = ""
    _read_until: datetime = field(default_factory=lambda: datetime.now(UTC))
    _looked: float = 0.0
    _ending: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._sqs, self._events = boto3.client("sqs"), boto3.client("events")

    @property
    def prefix(self) -> str:
        return self.names.prefix

    def __enter__(self) -> Self:
        try:
            self._listen()
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _listen(self) -> None:
        """Create queue and rule. Their removal is registered first, since an answer may be lost or Ctrl-C may come."""
        sqs, events, name, bus = self._sqs, self._events, self.session, self.names.bus
        self._ending.callback(self._remove_queue)
        self._queue = sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": "3600"})["QueueUrl"]
        asked = sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        arn = asked["Attributes"]["QueueArn"]
        self._ending.callback(self._remove_rule)
        pattern = {"detail": {"data": {"request": {"id": [{"prefix": self.session}], "source": ["/by-hand"]}}}}
        rule = events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))["RuleArn"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=self._queue, Attributes={"Policy": policy})
        put = events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": TARGET, "Arn": arn}])
        if put.get("FailedEntryCount"):
            raise Unknown(f"EventBridge did not take the queue as a target of rule {name}: {put['FailedEntries']}.")

    def _remove_queue(self) -> None:
        with _unless_gone():
            url = self._queue or self._sqs.get_queue_url(QueueName=self.session)["QueueUrl"]
            self._sqs.delete_queue(QueueUrl=url)

    def _remove_rule(self) -> None:
        with _unless_gone():
            self._events.remove_targets(Rule=self.session, EventBusName=self.names.bus, Ids=[TARGET])
        with _unless_gone():
            self._events.delete_rule(Name=self.session, EventBusName=self.names.bus)

    def ask(self, body: str) -> None:
        self._sqs.send_message(QueueUrl=self.names.queue_url, MessageBody=body)

    def heard(self) -> list[Mapping[str, Any]]:
        answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        found = []
        for message in answer.get("Messages", ()):
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
            found.append(json.loads(message["Body"])["detail"])
        self._follow()
        return found

    def _follow(self) -> None:
        """Pass on new log lines of this session. Without the permission to read the log, do nothing."""
        if self.log is None or time.monotonic() - self._looked < LOOK_AT_LOG:
            return
        self._looked = time.monotonic()
        try:
            lines = self.log.tail(self.session, self._read_until)
        except AwsFailed:
            self.log = None
            return
        for at, line in lines:
            self._read_until = max(self._read_until, at + timedelta(milliseconds=1))
            self.on_line(line, str(line.get("message") or ""))


TARGET = "by-hand"
GONE = ("ResourceNotFoundException", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Ignore errors about resources that do not exist."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in GONE:
            raise


# ------------------------------------------------------------------------------------------------------- the log


@dataclass(frozen=True)
class Log:
    """The log of a stack's functions. Raises one of AwsFailed."""

    logs: Any
    groups: tuple[str, ...]
    sleep: Callable[[float], None] = time.sleep

    def lines(self, request_id: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Every line about a request, oldest first, from CloudWatch Logs Insights. Raises TimeoutError.

        The webhook's line lists its requests. Insights can address list entries only by number, and only the first
        ones, so the query searches the whole message for the id.
        """
        quoted = json.dumps(request_id)
        webhook = f'message = "webhook answered" and strcontains(@message, {json.dumps(quoted[1:-1])})'
        query = f"fields @timestamp, @message | filter request_id = {quoted} or ({webhook}) | sort @timestamp asc"
        asked = self.logs.start_query(
            logGroupNames=list(self.groups),
            startTime=int(since.timestamp()),
            endTime=int(until.timestamp()) + 1,
            queryString=query,
            limit=MOST_LINES,
        )
        for _ in range(QUERY_PATIENCE):
            found = self.logs.get_query_results(queryId=asked["queryId"])
            if found["status"] in ("Complete", "Failed", "Cancelled", "Timeout"):
                break
            self.sleep(1)
        if found["status"] != "Complete":
            raise TimeoutError(f"CloudWatch Logs Insights did not finish the query ({found['status']})")
        if len(found["results"]) >= MOST_LINES:
            raise TimeoutError(f"the log has more than {MOST_LINES} lines about it: choose a shorter time with SINCE=")
        rows = ({one["field"]: one["value"] for one in row} for row in found["results"])
        told = (as_line(row.get("@message", "")) for row in rows)
        return [line for line in told if line and is_about(line, request_id)]

    def tail(self, text: str, since: datetime) -> list[tuple[datetime, dict[str, Any]]]:
        """The lines since a time that contain a text, with their times. Faster than a query."""
        return sorted(self._events(text, since), key=lambda found: found[0])

    def _events(self, text: str, since: datetime) -> Iterator[tuple[datetime, dict[str, Any]]]:
        for group in self.groups:
            pages = self.logs.get_paginator("filter_log_events").paginate(
                logGroupName=group, startTime=int(since.timestamp() * 1000), filterPattern=json.dumps(text)
            )
            for event in (event for page in pages for event in page["events"]):
                if line := as_line(event["message"]):
                    yield datetime.fromtimestamp(event["timestamp"] / 1000, UTC), line


MOST_LINES = 10_000
QUERY_PATIENCE = 60
"""Seconds that a query may take."""


DENIED = (
    "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "ForbiddenException",
    "UnauthorizedException",
)  # fmt: skip
"""Error codes of a missing permission; the last two are from EventBridge Schemas."""


def is_denied(error: Exception) -> bool:
    """Whether AWS denied the caller a permission."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] in DENIED


def explained(error: Exception, stack: str, needs: str = needs_of("detach")) -> str:
    """One sentence about a failed call of AWS."""
    if isinstance(error, ClientError):
        told = error.response["Error"]
        if is_denied(error):
            return f"AWS denies {error.operation_name} ({told.get('Message', '')}). Needed permissions: {needs}."
        return f"AWS refused {error.operation_name} for {stack}: {told['Code']} {told.get('Message', '')}".strip() + "."
    return f"AWS cannot be reached ({error}): check AWS_PROFILE, AWS_REGION and the network."
