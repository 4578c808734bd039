"""`make remove`: what it deletes, what remains, what prevents it, and how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from tools.exit_status import Exit
from tools.flow import Waiting
from tools.removal import Estate, Removal
from tools.stack_facts import StackFacts

EMPTY = Waiting(0, 0, 0, timedelta(days=14))
STACK = StackFacts(
    "s",
    "UPDATE_COMPLETE",
    {"VerdictBucket": "verdicts", "AlarmTopicArn": "arn:aws:sns:x", "KmsKey": "arn:aws:kms:x"},
    {},
)
ESTATE = Estate(
    STACK,
    ("AWS::Lambda::Function", "AWS::Lambda::Function", "AWS::SQS::Queue", "AWS::Logs::LogGroup", "AWS::KMS::Key"),
    ("worker-logs",),
    ("key-1",),
    (("volume-detach/cloud", "the cloud"),),
    (),
    EMPTY,
    EMPTY,
)


@dataclass
class FakeStack:
    """A stack whose deletion takes several checks, and ends as the script says."""

    found: Estate = ESTATE
    ends: Sequence[tuple[str, str]] = (("DELETE_IN_PROGRESS", ""), ("DELETE_COMPLETE", ""))
    asked: bool = False
    logs: list[str] = field(default_factory=list)
    looks: int = 0

    def estate(self) -> Estate:
        return self.found

    def delete(self) -> None:
        self.asked = True

    def status(self) -> tuple[str, str]:
        self.looks += 1
        return self.ends[min(self.looks, len(self.ends)) - 1]

    def delete_log_group(self, name: str) -> None:
        self.logs.append(name)


@dataclass
class Person:
    says: bool = True
    read: list[str] = field(default_factory=list)
    now: datetime = datetime(2026, 11, 23, 8, tzinfo=UTC)

    def removes(self, stack: FakeStack, lose_requests: bool = False, with_logs: bool = False) -> Exit:
        removal = Removal(stack, lambda question: self.says, self.read.append, self.wait, lambda: self.now)
        return removal.run(lose_requests, with_logs, 1800)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def test_a_stack_is_deleted_and_what_remains_is_named() -> None:
    """Logs, secrets, bucket, topic and artifacts remain, each with the command that removes it."""
    stack, person = FakeStack(), Person()
    assert person.removes(stack) is Exit.DETACHED
    assert (stack.asked, stack.logs) == (True, [])
    text = "\n".join(person.read)
    assert "Deleted: 2 Lambda::Function, 1 SQS::Queue." in text
    for stays in ("delete-log-group --log-group-name worker-logs", "delete-secret --secret-id volume-detach/cloud",
                  "s3://verdicts", "arn:aws:sns:x", "arn:aws:kms:x", "--key-id key-1", "artifacts"):  # fmt: skip
        assert stays in text
    assert person.read[-1] == "s is deleted."


def test_logs_are_deleted_only_on_request_and_after_the_stack() -> None:
    stack, person = FakeStack(), Person()
    assert person.removes(stack, with_logs=True) is Exit.DETACHED
    assert stack.logs == ["worker-logs"]
    assert "delete-log-group" not in "\n".join(person.read)


def test_a_no_changes_nothing() -> None:
    stack, person = FakeStack(), Person(says=False)
    assert person.removes(stack, with_logs=True) is Exit.USAGE
    assert (stack.asked, stack.logs, person.read[-1]) == (False, [], "Nothing was changed.")


@pytest.mark.parametrize(
    ("estate", "said"),
    [
        (replace(ESTATE, requests=Waiting(1, 0, 0, timedelta(days=14))), "1 messages would be lost"),
        (replace(ESTATE, dead=Waiting(0, 0, 2, timedelta(days=14))), "2 messages would be lost"),
        (
            replace(ESTATE, rules=("theirs",)),
            "rules that the stack did not create, so CloudFormation would fail: theirs",
        ),
        (replace(ESTATE, stack=replace(STACK, protected=True)), "--no-enable-termination-protection"),
        (replace(ESTATE, stack=replace(STACK, status="UPDATE_IN_PROGRESS")), "wait until it has finished"),
    ],
)
def test_obstacles_are_reported_before_anything_is_deleted(estate: Estate, said: str) -> None:
    stack, person = FakeStack(estate), Person()
    assert person.removes(stack) is Exit.USAGE
    assert not stack.asked
    assert any(said in line for line in person.read)


def test_messages_are_lost_only_on_request() -> None:
    stack = FakeStack(replace(ESTATE, requests=Waiting(1, 0, 0, timedelta(days=14))))
    assert Person().removes(stack, lose_requests=True) is Exit.DETACHED


def test_a_deletion_that_fails_says_why_and_removes_nothing_else() -> None:
    stack, person = FakeStack(ends=(("DELETE_FAILED", "the bus has rules"),)), Person()
    assert person.removes(stack, with_logs=True) is Exit.FAILED
    assert stack.logs == []
    assert "the bus has rules" in person.read[-1]


def test_a_long_deletion_continues_without_the_command() -> None:
    stack, person = FakeStack(ends=(("DELETE_IN_PROGRESS", ""),)), Person()
    assert person.removes(stack, with_logs=True) is Exit.OPEN
    assert stack.logs == []
    assert "CloudFormation continues" in person.read[-1]


def test_an_export_that_others_import_is_told() -> None:
    """CloudFormation reports no failure: the stack returns to its former status."""
    in_use = "Export s-RequestQueueUrl cannot be deleted as it is in use by theirs"
    stack, person = FakeStack(ends=(("UPDATE_COMPLETE", ""), ("UPDATE_COMPLETE", in_use))), Person()
    assert person.removes(stack, with_logs=True) is Exit.FAILED
    assert stack.logs == []
    assert f"({stack.ends[-1][0]}): {in_use}. Remove the obstacle" in person.read[-1]
    late = FakeStack(ends=(("UPDATE_COMPLETE", ""), ("DELETE_IN_PROGRESS", ""), ("DELETE_COMPLETE", "")))
    assert Person().removes(late) is Exit.DETACHED


def test_requests_that_arrive_during_the_question_are_not_lost() -> None:
    stack, person = FakeStack(), Person()

    def asked(question: str) -> bool:
        stack.found = replace(ESTATE, requests=Waiting(1, 0, 0, timedelta(days=14)))
        return True

    assert Removal(stack, asked, person.read.append).run(False, False, 1800) is Exit.USAGE
    assert not stack.asked
    assert "1 messages would be lost" in person.read[-2]
