"""`make remove`: delete a deployed stack that has no requests under way, and list what remains."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import boto3
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from shared.ports import Clock, utc_now
from tools.deployed import GONE, Unknown, described
from tools.exit_status import Exit
from tools.flow import Waiting
from tools.stack_facts import StackFacts
from tools.stack_reader import StackReader, described_stack

T = TypeVar("T")

OURS = "EventTypePrefix"
"""A parameter that identifies a stack of this service, even if its resources are gone."""

NONE = Waiting(0, 0, 0, timedelta())

LOG_GROUP, KEY = "AWS::Logs::LogGroup", "AWS::KMS::Key"
STAY = (LOG_GROUP, KEY)
"""Resources that the template keeps when the stack is deleted."""

EVERY = 10.0
"""Seconds between two checks of a stack that is being deleted."""

BACK = 3
"""Number of consecutive checks after which a stack that is not being deleted will not be."""

ENDED = ("DELETE_COMPLETE", "DELETE_FAILED")


@dataclass(frozen=True, slots=True)
class Estate:
    """The facts about a stack that its removal needs; `rules` are those that others created on its bus."""

    stack: StackFacts
    kinds: tuple[str, ...]
    log_groups: tuple[str, ...]
    keys: tuple[str, ...]
    secrets: tuple[tuple[str, str], ...]
    rules: tuple[str, ...]
    requests: Waiting
    dead: Waiting


# ------------------------------------------------------------------------------------------- what is said beforehand


def shown(estate: Estate) -> list[str]:
    """What the removal deletes."""
    counted = Counter(kind.removeprefix("AWS::") for kind in estate.kinds if kind not in STAY)
    gone = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
    return [
        f"Deleted: {gone}.",
        "This includes all versions of the functions, the key of the service's own messages, and the archive of the "
        "bus, whose events cannot be replayed any more.",
        f"Requests: {estate.requests.text}. Dead letters: {estate.dead.total}.",
    ]


def staying(estate: Estate, with_logs: bool) -> list[str]:
    """What remains, each with the command that removes it."""
    given = estate.stack.parameters
    lines = [] if with_logs else [f"  aws logs delete-log-group --log-group-name {name}" for name in estate.log_groups]
    lines += [
        f"  aws secretsmanager delete-secret --secret-id {name}   # {purpose}" for name, purpose in estate.secrets
    ]
    if bucket := given.get("VerdictBucket"):
        lines.append(f"  aws s3 rb --force s3://{bucket}   # verdicts")
    lines += [f"  aws kms schedule-key-deletion --key-id {key}   # the logs need it" for key in estate.keys]
    lines += [f"  the topic {given[name]}" for name in ("AlarmTopicArn", "TicketTopicArn") if given.get(name)]
    lines += [f"  the key {value}" for name, value in given.items() if name == "KmsKey" and value.startswith("arn:")]
    lines.append("  the artifacts in sam's bucket, which all stacks of the region share")
    return ["These remain, for you to keep or to remove; other stacks may use the secrets too:", *lines]


def obstacles(estate: Estate, lose_requests: bool) -> list[str]:
    """Why the stack cannot be deleted now, each with what to do."""
    stack, found = estate.stack, []
    if stack.protected:
        found.append(
            f"{stack.name} has termination protection: `aws cloudformation update-termination-protection "
            f"--no-enable-termination-protection --stack-name {stack.name}`."
        )
    if stack.status.endswith("_IN_PROGRESS"):
        found.append(f"{stack.name} is {stack.status}: wait until it has finished.")
    if estate.rules:
        found.append(
            "The bus has rules that the stack did not create, so CloudFormation would fail: "
            f"{', '.join(estate.rules)}. Remove them where they were created."
        )
    if (left := estate.requests.total + estate.dead.total) and not lose_requests:
        found.append(
            f"{left} messages would be lost without a verdict: stop the senders and run `make drain "
            f"STACK={stack.name}`, or set LOSE_REQUESTS=1 (--lose-requests)."
        )
    return found


# ----------------------------------------------------------------------------------------------------- what is done


class Removable(Protocol):
    """A deployed stack. All raise one of AwsFailed."""

    def estate(self) -> Estate: ...

    def delete(self) -> None:
        """Begin to delete the stack."""

    def status(self) -> tuple[str, str]:
        """The stack's status, and the reason for it."""

    def delete_log_group(self, name: str) -> None: ...


@dataclass(frozen=True)
class Removal:
    """Shows what is deleted and what remains, asks, deletes the stack, and waits until it is gone."""

    stack: Removable
    ask: Callable[[str], bool]
    say: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    clock: Clock = utc_now

    def run(self, lose_requests: bool, with_logs: bool, patience: float) -> Exit:
        """USAGE if nothing was changed, OPEN if not finished after `patience` seconds, FAILED if not deleted."""
        estate = self.stack.estate()
        self._say(shown(estate))
        if found := obstacles(estate, lose_requests):
            self._say([*found, "Nothing was changed."])
            return Exit.USAGE
        groups = estate.log_groups if with_logs else ()
        if groups:
            self.say(f"Also deleted: the log groups {', '.join(groups)}.")
        self._say(staying(estate, with_logs))
        if not self.ask(f"Delete the stack {estate.stack.name}?"):
            self.say("Nothing was changed.")
            return Exit.USAGE
        # Check again: the answer may have taken long.
        if found := obstacles(self.stack.estate(), lose_requests):
            self._say([*found, "Nothing was changed."])
            return Exit.USAGE
        self.stack.delete()
        status, why = self._ended(patience)
        if status == "DELETE_FAILED" or not status.startswith("DELETE"):
            told = f"CloudFormation could not delete the stack ({status}): {why.rstrip('.') or 'no reason given'}"
            self.say(f"{told}. Remove the obstacle, and run this again.")
            return Exit.FAILED
        if status != "DELETE_COMPLETE":
            self.say(
                f"The stack is {status} after {patience:.0f} s; CloudFormation continues. Nothing else was removed."
            )
            return Exit.OPEN
        for name in groups:
            self.stack.delete_log_group(name)
        self.say(f"{estate.stack.name} is deleted.")
        return Exit.DETACHED

    def _ended(self, patience: float) -> tuple[str, str]:
        """Wait for the end. If other stacks import an export, the stack returns to its former status."""
        until, back = self.clock() + timedelta(seconds=patience), 0
        while (found := self.stack.status())[0] not in ENDED and self.clock() < until:
            back = 0 if found[0].startswith("DELETE") else back + 1
            if back == BACK:
                break
            self.sleep(EVERY)
        return found

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.say(line)


# -------------------------------------------------------------------------------------------------------- AWS itself


@dataclass(frozen=True)
class DeployedStack:
    """The stack in AWS; `id` still finds it after its deletion, when its name no longer does."""

    reader: StackReader
    id: str

    def estate(self) -> Estate:
        """The facts. Parts that are gone already, after a failed deletion, count as empty."""
        read = self.reader
        made = read.resources
        own = {made["MessageKey"].physical} if "MessageKey" in made else set()
        return Estate(
            read.stack,
            tuple(one.kind for one in made.values()),
            tuple(one.physical for one in made.values() if one.kind == LOG_GROUP),
            tuple(one.physical for one in made.values() if one.kind == KEY),
            tuple((name, purpose) for name, purpose in read.secret_names().items() if name not in own),
            if_there(lambda: self._rules({one.physical.rpartition("|")[2] for one in made.values()}), ()),
            if_there(lambda: read.waiting("RequestQueueUrl"), NONE),
            if_there(lambda: read.waiting("DeadLetterQueueUrl"), NONE),
        )

    def _rules(self, own: set[str]) -> tuple[str, ...]:
        """The rules that neither the stack nor AWS created. AWS creates a rule for the archive."""
        pages = (
            boto3.client("events").get_paginator("list_rules").paginate(EventBusName=self.reader.output("EventBusName"))
        )
        rules = (one for page in pages for one in page["Rules"])
        return tuple(one["Name"] for one in rules if one["Name"] not in own and not one.get("ManagedBy"))

    def delete(self) -> None:
        boto3.client("cloudformation").delete_stack(StackName=self.id)

    def status(self) -> tuple[str, str]:
        found = described(self.id)
        return found["StackStatus"], found.get("StackStatusReason", "")

    def delete_log_group(self, name: str) -> None:
        try:
            boto3.client("logs").delete_log_group(logGroupName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise


def if_there(ask: Callable[[], T], nothing: T) -> T:
    """The result of `ask`, or `nothing` if the resource does not exist."""
    try:
        return ask()
    except Unknown:
        return nothing
    except ClientError as error:
        if error.response["Error"]["Code"] not in GONE:
            raise
        return nothing


def of_stack(stack: str) -> DeployedStack:
    """Raises Unknown, one of AwsFailed."""
    found = described_stack(stack)
    if OURS not in found.parameters:
        raise Unknown(f"The stack {stack} has no parameter {OURS}: is it one of this service?")
    return DeployedStack(StackReader(found), described(stack)["StackId"])
