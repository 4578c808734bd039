"""`make redrive`: show the messages of the dead-letter queue, and send safe ones back to the request queue."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import boto3
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from shared import strict_json
from shared.decision.case import Case
from shared.decision.requeue import time_to_live
from shared.inbox.read import Found, Ignored, Rejected, read
from shared.model import DetachRequest, Message, Outcome, verdict_id
from shared.own_messages import WaitingDelivery
from shared.policy import AWS_BATCH, Policy
from shared.ports import AwsTrouble, Clock, utc_now
from shared.settings import Settings, SettingsError, load
from shared.webhook.receive import event_for

HIDDEN = 900
"""Seconds for which the shown letters are hidden from others, so that the user can read them."""

STOPPING = 120
"""Seconds to wait until an event source mapping is disabled."""

ROUNDS = 3
"""Number of consecutive empty answers after which a queue is empty. Short polling asks only some of its hosts."""

AwsFailed = (BotoCoreError, ClientError)


# ------------------------------------------------------------------------------------------------------- the outside


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of the dead-letter queue; `handle` is its receipt handle."""

    message: Message
    handle: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Letters(Protocol):
    """The two queues. All raise one of AwsFailed."""

    def receive(self) -> Sequence[Letter]:
        """Receive up to ten letters, and hide them for HIDDEN seconds."""

    def send(self, bodies: Sequence[str], attributes: Mapping[str, Any]) -> str | None:
        """Put up to ten messages on the request queue; returns None, or why one was not accepted."""

    def delete(self, letter: Letter) -> None: ...

    def release(self, letter: Letter) -> None:
        """Make the letter visible again."""


class Reporter(Protocol):
    """The function that answers dead letters."""

    def running(self) -> bool: ...

    def run(self, enabled: bool) -> None:
        """Begin to enable or disable it."""

    def stopped(self) -> bool: ...


class Record(Protocol):
    """The log of the functions."""

    def answered(self, event_id: str, since: datetime) -> bool:
        """Whether the bus has accepted an event with that id."""


# --------------------------------------------------------------------------------------------- what is safe, and why


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of examining a letter. `bodies` are the messages to send back, none if that is not safe."""

    letter: Letter
    kind: str
    known: str
    why: str
    requests: tuple[DetachRequest, ...] = ()
    bodies: tuple[str, ...] = ()


class Unchecked:
    """Accepts any MAC, because only the functions have the key.

    The function that receives the message checks the MAC, and answers a forged message.
    """

    def mac(self, text: str) -> str:  # noqa: ARG002 - a protocol
        raise AwsTrouble("only the functions have the key")

    def is_mac(self, text: str, mac: str) -> bool:  # noqa: ARG002 - a protocol
        return bool(mac)

    def since(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rules:
    """The deployment's settings for requests; `record` is None if its logs are not known."""

    prefix: str = "bms"
    policy: Policy = field(default_factory=Policy)
    record: Record | None = None

    def found_in(self, message: Message, now: datetime) -> Found:
        return read(message, self.prefix, now, Unchecked())


def examine(letter: Letter, rules: Rules, now: datetime) -> Finding:
    """Say what a letter is, and whether it can be sent back as the same request with the same time."""
    message = letter.message
    try:
        found = rules.found_in(message, message.first_received_at or message.sent_at)
    except Exception as error:  # noqa: BLE001 - a bug in the reader may be why the message is a dead letter
        return Finding(letter, "unreadable", "nothing", f"our own code fails to read it: {type(error).__name__}")
    match found:
        case WaitingDelivery(to=to):
            known = f"the bus has the verdict, {to} does not"
            return Finding(letter, "waiting delivery", known, "the delivery is tried again", bodies=(message.body,))
        case Ignored(why=why):
            return Finding(letter, "own verdict", "it requests nothing", why)
        case Rejected(forged=True):
            return Finding(letter, "forged", "nothing", "it claims to be our own message, but has no MAC")
        case Rejected(own=str(own)):
            return Finding(letter, own, "nothing", "another release wrote it; only that release can read it")
        case Rejected(faults=faults):
            why = "; ".join(f"{fault.field or 'message'} {fault.message}" for fault in faults[:3])
            return Finding(letter, "no valid request", "nothing", why)
        case list():
            return _of_requests(letter, found, rules, now)
    open_ = found.cases(message)
    if not open_:
        why = "the rest of the group is sent back"
        return Finding(letter, "group", "every volume has its verdict", why, bodies=(message.body,))
    return _of_requests(letter, open_, rules, now)


def _of_requests(letter: Letter, cases: Sequence[Case], rules: Rules, now: datetime) -> Finding:
    """Examine the cases of a message: all of one request, and either fresh or a continuation."""
    first, requests = cases[0], tuple(case.request for case in cases)
    going_on = "group" if first.request.summary else "continuation"
    kind, known = "request" if first.fresh else going_on, how_far(first)

    def finding(why: str, *bodies: str) -> Finding:
        return Finding(letter, kind, known, why, requests, bodies)

    if over := next(filter(None, (time_is_over(case, rules.policy, now) for case in cases)), None):
        return finding(over)
    if rules.record is None and len(cases) > 1:
        return finding("it requests several volumes, and some may have verdicts: use STACK= to check the logs")
    if rules.record and any(_answered(request, rules.record, letter.message) for request in requests):
        return finding("it has its verdict already, according to a function's log")
    if not first.fresh:
        # It has a MAC, so the body has to stay the same.
        return finding("it continues where it stopped", letter.message.body)
    if _says(letter.message.body, requests, rules, now):
        return finding("it makes the same request again", letter.message.body)
    together = [requests] if first.request.summary else [(request,) for request in requests]
    bodies = tuple(strict_json.canonical(event_for(several, rules.prefix)) for several in together)
    if all(_says(body, several, rules, now) for body, several in zip(bodies, together, strict=True)):
        return finding("it is sent as a CloudEvent with the same id and time", *bodies)
    return finding("it would not make the same request again")


def _says(body: str, requests: tuple[DetachRequest, ...], rules: Rules, now: datetime) -> bool:
    """Whether a new message with this body makes the same requests, with the same ids and time."""
    message = Message(body, "sent-back", "sent-back", now)
    match rules.found_in(message, now):
        case WaitingDelivery() | Ignored() | Rejected():
            return False
        case list() as cases:
            return tuple(case.request for case in cases) == requests
        case group:
            return tuple(case.request for case in group.cases(message)) == requests


def _answered(request: DetachRequest, record: Record, message: Message) -> bool:
    outcome = Outcome.CHECKED if request.dry_run else Outcome.DETACHED
    return record.answered(verdict_id(request.source, request.id, request.volume_id, outcome), message.sent_at)


def time_is_over(case: Case, policy: Policy, now: datetime) -> str | None:
    """Why the request is expired, or None. A request whose DELETE may have had an effect does not expire."""
    request, progress = case.request, case.progress
    if progress.accepted_at or progress.unsettled or progress.detaching_since:
        return None
    if request.expires_at and now >= request.expires_at:
        return f"it expired at {request.expires_at.isoformat()}"
    begun = request.requested_at if case.fresh else max(request.requested_at, progress.first_seen_at)
    if now >= begun + (ttl := time_to_live(request, policy)):
        return f"its time to live ({ttl}) is over"
    return None


def how_far(case: Case) -> str:
    """The progress of a case in words."""
    progress = case.progress
    if case.fresh or not (progress.polls or progress.failures):
        return "no finished look"
    told = [f"{progress.polls} looks"]
    if progress.accepted_at:
        told.append(f"detach accepted at {progress.accepted_at.isoformat()}")
    else:
        told.append(f"{progress.deletes_sent} DELETEs sent")
    if progress.unconfirmed_id:
        told.append("reported as unconfirmed")
    if progress.failures:
        told.append(f"our own code failed on it {progress.failures} times in a row")
    return ", ".join(told + ([progress.last_error] if progress.last_error else []))


# ----------------------------------------------------------------------------------------------------- what is done


@contextmanager
def stopped(reporter: Reporter | None, say: Callable[[str], None], sleep: Callable[[float], None]) -> Iterator[None]:
    """Stop the reporter for the length of the block, because it would take the letters. Raises TimeoutError."""
    if reporter is None or not reporter.running():
        yield
        return
    say("Stopping the function that answers dead letters ...")
    reporter.run(False)
    try:
        for _ in range(STOPPING):
            if reporter.stopped():
                break
            sleep(1)
        else:
            raise TimeoutError(f"the event source mapping was not disabled within {STOPPING} s")
        yield
    finally:
        reporter.run(True)
        say("The function that answers dead letters is running again.")


def everything(letters: Letters) -> list[Letter]:
    """Receive all letters, each once."""
    found: dict[str, Letter] = {}
    empty = 0
    while empty < ROUNDS:
        batch = letters.receive()
        empty = 0 if batch else empty + 1
        found |= {letter.message.id: letter for letter in batch}
    return list(found.values())


def send_back(letters: Letters, finding: Finding) -> str | None:
    """Send the messages, then delete the letter; returns None, or what went wrong.

    A failure can leave a letter in both queues, but never loses one.
    """
    try:
        for start in range(0, len(finding.bodies), AWS_BATCH):
            why = letters.send(finding.bodies[start : start + AWS_BATCH], finding.letter.attributes)
            if why:
                return f"not sent: {why}"
    except AwsFailed as error:
        return f"probably not sent: {error}"
    try:
        letters.delete(finding.letter)
    except AwsFailed as error:
        return f"sent, but still in the dead-letter queue: {error}"
    return None


@dataclass(frozen=True)
class Redrive:
    """Shows the letters, asks, and sends them back."""

    letters: Letters
    rules: Rules
    reporter: Reporter | None = None
    clock: Clock = utc_now
    say: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    ask: Callable[[str], bool] = lambda question: True
    as_json: bool = False

    def show(self) -> int:
        """Only show the letters; the reporter keeps running. Exit status 0."""
        letters = everything(self.letters)
        try:
            self._examined(letters)
        finally:
            self._release(letters)
        return 0

    def run(self) -> int:
        """Send back what is safe; exit status 1 if something went wrong, else 0."""
        with stopped(self.reporter, self._note, self.sleep):
            letters = everything(self.letters)
            kept = {letter.message.id: letter for letter in letters}
            try:
                safe = [finding for finding in self._examined(letters) if finding.bodies]
                if not safe or not self.ask(f"Send {len(safe)} of {len(letters)} back to the request queue?"):
                    return 0
                return self._send(safe, kept)
            finally:
                self._release(list(kept.values()))

    def _send(self, safe: Sequence[Finding], kept: dict[str, Letter]) -> int:
        failed = 0
        for finding in safe:
            id_ = finding.letter.message.id
            if trouble := send_back(self.letters, finding):
                failed += 1
                self._note(f"{id_}: {trouble}")
            else:
                del kept[id_]
        self._note(f"{len(safe) - failed} sent back, {len(kept)} left in the dead-letter queue.")
        return 1 if failed else 0

    def _examined(self, letters: Sequence[Letter]) -> list[Finding]:
        now = self.clock()
        findings = [examine(letter, self.rules, now) for letter in letters]
        for finding in findings:
            self.say(json.dumps(as_data(finding, now)) if self.as_json else as_text(finding, now))
        if not findings:
            self._note("No message can be received from the dead-letter queue.")
        return findings

    def _release(self, letters: Sequence[Letter]) -> None:
        """Make the remaining letters visible again at once; if that fails, they reappear after HIDDEN seconds."""
        for letter in letters:
            try:
                self.letters.release(letter)
            except AwsFailed as error:
                self._note(f"{letter.message.id}: hidden for up to {HIDDEN} s: {error}")

    def _note(self, text: str) -> None:
        """Print a line for people; on stderr if stdout has JSON."""
        print(text, file=sys.stderr) if self.as_json else self.say(text)


def as_text(finding: Finding, now: datetime) -> str:
    message = finding.letter.message
    lines = [f"{finding.kind}  {_age(now - message.sent_at)} old, message {message.id}"]
    if finding.requests:
        lines.append(f"  request {finding.requests[0].id} of {finding.requests[0].source}")
    lines += [f"  server {request.server_id}  volume {request.volume_id}" for request in finding.requests]
    lines += [f"  on record: {finding.known}"]
    return "\n".join([*lines, f"  {'sent back' if finding.bodies else 'stays'}: {finding.why}", ""])


def as_data(finding: Finding, now: datetime) -> dict[str, Any]:
    message = finding.letter.message
    return {
        "message_id": message.id,
        "age_seconds": round((now - message.sent_at).total_seconds()),
        "kind": finding.kind,
        "requests": [
            {"id": one.id, "source": one.source, "server_id": one.server_id, "volume_id": one.volume_id}
            for one in finding.requests
        ],
        "on_record": finding.known,
        "safe": bool(finding.bodies),
        "why": finding.why,
    }


def _age(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds() // 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


# -------------------------------------------------------------------------------------------------------- AWS itself


@dataclass(frozen=True)
class SqsLetters:
    """Both queues in SQS; `source` is the ARN of the request queue, the source of bare requests."""

    sqs: Any
    queue_url: str
    dead_letter_queue_url: str
    source: str

    def receive(self) -> list[Letter]:
        answer = self.sqs.receive_message(
            QueueUrl=self.dead_letter_queue_url,
            MaxNumberOfMessages=AWS_BATCH,
            VisibilityTimeout=HIDDEN,
            WaitTimeSeconds=1,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return [self._letter(found) for found in answer.get("Messages", ())]

    def _letter(self, found: Mapping[str, Any]) -> Letter:
        told = found["Attributes"]
        message = Message(
            body=found["Body"],
            id=found["MessageId"],
            source=told.get("DeadLetterQueueSourceArn") or self.source,
            sent_at=_moment(told["SentTimestamp"]),
            first_received_at=_moment(told["ApproximateFirstReceiveTimestamp"]),
            receive_count=int(told.get("ApproximateReceiveCount") or 1),
        )
        return Letter(message, found["ReceiptHandle"], found.get("MessageAttributes") or {})

    def send(self, bodies: Sequence[str], attributes: Mapping[str, Any]) -> str | None:
        entries = [
            {"Id": str(at), "MessageBody": body, "MessageAttributes": attributes} for at, body in enumerate(bodies)
        ]
        answer = self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries)
        refused = [f"{entry['Code']} {entry.get('Message', '')}".strip() for entry in answer.get("Failed", ())]
        missing = len(entries) - len(answer.get("Successful", ())) - len(refused)
        return "; ".join(refused) or (f"{missing} without an answer" if missing else None)

    def delete(self, letter: Letter) -> None:
        self.sqs.delete_message(QueueUrl=self.dead_letter_queue_url, ReceiptHandle=letter.handle)

    def release(self, letter: Letter) -> None:
        asked = {"QueueUrl": self.dead_letter_queue_url, "ReceiptHandle": letter.handle}
        self.sqs.change_message_visibility(**asked, VisibilityTimeout=0)


def _moment(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


@dataclass(frozen=True)
class MappedReporter:
    """The function that answers dead letters, controlled by its event source mapping."""

    functions: Any
    mapping_id: str

    def running(self) -> bool:
        return self._state() not in ("Disabled", "Disabling")

    def stopped(self) -> bool:
        return self._state() == "Disabled"

    def run(self, enabled: bool) -> None:
        self.functions.update_event_source_mapping(UUID=self.mapping_id, Enabled=enabled)

    def _state(self) -> str:
        return str(self.functions.get_event_source_mapping(UUID=self.mapping_id)["State"])


@dataclass(frozen=True)
class LoggedVerdicts:
    """The log groups of the functions that deliver verdicts."""

    logs: Any
    groups: tuple[str, ...]

    def answered(self, event_id: str, since: datetime) -> bool:
        begin = int(since.timestamp() * 1000)
        return any(self._delivered(group, event_id, begin) for group in self.groups)

    def _delivered(self, group: str, event_id: str, begin: int) -> bool:
        pages = self.logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=begin, filterPattern=f'"{event_id}"'
        )
        lines = (_line(event["message"]) for page in pages for event in page["events"])
        named = {"message": "event delivered", "to": "bus", "event_id": event_id}
        return any(named.items() <= line.items() for line in lines)


def _line(text: str) -> dict[str, Any]:
    """The fields that identify a line; empty if it is not ours."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return {name: line.get(name) for name in ("message", "to", "event_id")} if isinstance(line, dict) else {}


PARAMETERS = {
    "EventTypePrefix": "EVENT_TYPE_PREFIX",
    "RequestTtl": "REQUEST_TTL",
    "RequestTtlLimit": "REQUEST_TTL_LIMIT",
}
"""Parameters of the stack, and the settings of the functions that they set."""

LOG_GROUPS = ("DetachVolumeLogs", "ReportDeadLetterLogs")


def of_stack(stack: str) -> tuple[SqsLetters, Rules, MappedReporter]:
    """The queues, rules and reporter of a deployed stack. Raises one of AwsFailed, SettingsError."""
    formation = boto3.client("cloudformation")
    (described,) = formation.describe_stacks(StackName=stack)["Stacks"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in described["Parameters"]}
    settings = {PARAMETERS[name]: value for name, value in parameters.items() if name in PARAMETERS}
    groups = tuple(
        formation.describe_stack_resource(StackName=stack, LogicalResourceId=name)["StackResourceDetail"][
            "PhysicalResourceId"
        ]
        for name in LOG_GROUPS
    )
    letters = of_queues(outputs["RequestQueueUrl"], outputs["DeadLetterQueueUrl"])
    rules = rules_of(settings, LoggedVerdicts(boto3.client("logs"), groups))
    return letters, rules, MappedReporter(boto3.client("lambda"), outputs["DeadLettersMappingId"])


def of_queues(queue_url: str, dead_letter_queue_url: str) -> SqsLetters:
    sqs = boto3.client("sqs")
    asked = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return SqsLetters(sqs, queue_url, dead_letter_queue_url, asked["Attributes"]["QueueArn"])


def rules_of(settings: Mapping[str, str], record: Record | None = None) -> Rules:
    read_so = load(Settings, {"REQUEST_QUEUE_URL": "unused", **settings})
    return Rules(read_so.event_type_prefix, read_so.policy, record)


def on_terminal(question: str) -> bool:
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.redrive", description=__doc__)
    parser.add_argument("--stack", help="the name of a deployed stack")
    parser.add_argument("--queue", help="the URL of the request queue, if there is no stack")
    parser.add_argument("--dlq", help="the URL of its dead-letter queue")
    parser.add_argument("--dry", action="store_true", help="only show what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="one JSON object per letter on stdout")
    asked = parser.parse_args(arguments)
    if bool(asked.stack) == bool(asked.queue and asked.dlq):
        return _trouble("Name STACK=…, or QUEUE=… and DLQ=… (the URLs of both queues).")
    if not (asked.dry or asked.yes or sys.stdin.isatty()):
        return _trouble("There is no terminal to ask on: set YES=1 to send letters back, or DRY=1 to see them.")
    try:
        if asked.stack:
            letters, rules, reporter = of_stack(asked.stack)
        else:
            letters, rules, reporter = of_queues(asked.queue, asked.dlq), rules_of(os.environ), None
        ask = (lambda question: True) if asked.yes else on_terminal
        redrive = Redrive(letters, rules, reporter, ask=ask, as_json=asked.json)
        return redrive.show() if asked.dry else redrive.run()
    except (*AwsFailed, SettingsError, TimeoutError, KeyError) as error:
        return _trouble(f"{asked.stack or asked.dlq}: {error}")


def _trouble(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
