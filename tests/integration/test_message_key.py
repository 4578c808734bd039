"""The key of our own messages in Secrets Manager: its MACs are accepted, also after a rotation."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from local.aws_stand_in import AwsStandIn
from shared.aws.client import SECRETS
from shared.aws.secrets import MessageKey, Secrets
from shared.policy import SECRET_KEPT, SECRET_NEWEST
from shared.ports import AwsTrouble


@dataclass
class Key:
    """A new secret; `process` creates another process that uses it, on one virtual clock."""

    aws: AwsStandIn
    name: str = field(default_factory=lambda: f"volume-detach/message-key-{uuid4()}")
    now: float = 0

    def __post_init__(self) -> None:
        self.aws.put_secret(self.name, {"key": "first" * 8})

    def replace(self, value: object) -> None:
        self.aws.client.call(SECRETS, "PutSecretValue", {"SecretId": self.name, "SecretString": json.dumps(value)})

    def process(self) -> MessageKey:
        return MessageKey(Secrets(self.aws.client, lambda: self.now), self.name)


@pytest.fixture
def key(aws: AwsStandIn) -> Key:
    return Key(aws)


def test_a_mac_of_one_process_is_accepted_by_another(key: Key) -> None:
    """The MAC is accepted for its text only."""
    mac = key.process().mac("text")
    assert key.process().is_mac("text", mac)
    assert not key.process().is_mac("Text", mac)
    assert not key.process().is_mac("text", mac[:-1])


def test_a_key_can_be_replaced_while_messages_are_in_the_queue(key: Key) -> None:
    """Messages with the old key stay valid, including those that another process still signs with it."""
    old, other = key.process(), key.process()
    signed = old.mac("text")
    assert other.is_mac("text", signed)
    key.replace({"key": "second" * 8})
    fresh = key.process()
    assert fresh.is_mac("text", signed)
    assert fresh.is_mac("late", old.mac("late"))
    key.now += SECRET_KEPT
    assert old.mac("late") == fresh.mac("late")


def test_a_process_learns_of_a_new_key_from_a_message(key: Key) -> None:
    """A MAC of an unknown key causes another read of the secret, unless it was just read."""
    process = key.process()
    process.mac("text")
    key.replace({"key": "second" * 8})
    key.now += SECRET_NEWEST
    assert process.is_mac("text", key.process().mac("text"))


def test_only_the_previous_key_is_still_accepted(key: Key) -> None:
    """After two rotations, messages from before the first are invalid."""
    mac = key.process().mac("text")
    key.replace({"key": "second" * 8})
    key.replace({"key": "third" * 8})
    assert not key.process().is_mac("text", mac)


def test_forged_messages_do_not_cause_many_reads(key: Key) -> None:
    """However many messages fail, each version of the secret is read at most once per interval."""
    reads = 0
    call = key.aws.client.call

    class Counting:
        def call(self, *arguments: object) -> object:
            nonlocal reads
            reads += 1
            return call(*arguments)  # type: ignore[arg-type]

    process = MessageKey(Secrets(Counting(), lambda: key.now), key.name)  # type: ignore[arg-type]
    assert not any(process.is_mac("text", "0" * 64) for _ in range(100))
    assert reads == 2
    key.now += SECRET_NEWEST
    assert not process.is_mac("text", "0" * 64)
    assert reads == 4


def test_a_rotation_does_not_change_the_date_of_the_first_key(key: Key) -> None:
    """Messages older than the first key need no MAC, so a rotation must not change that date."""
    since = key.process().since()
    assert abs(since - datetime.now(UTC)) < timedelta(minutes=1)
    key.replace({"key": "second" * 8})
    assert key.process().since() == since


@pytest.mark.parametrize("value", [{"key": "short"}, {"key": None}, {}, [], "text", {"KEY": "first" * 8}])
def test_an_invalid_key_is_reported(key: Key, value: object) -> None:
    """No message is signed with it, and the error names the secret without its value."""
    key.replace(value)
    with pytest.raises(AwsTrouble, match=f"the secret {key.name} must be") as raised:
        key.process().mac("text")
    assert "short" not in str(raised.value)


def test_a_missing_secret_is_reported(aws: AwsStandIn) -> None:
    """Without a key, no MAC is made or accepted."""
    process = MessageKey(Secrets(aws.client), "nowhere")
    for ask in (lambda: process.mac("text"), lambda: process.is_mac("text", "0"), process.since):
        with pytest.raises(AwsTrouble, match="ResourceNotFoundException"):
            ask()
