"""The key of our own messages in Secrets Manager: its signatures are accepted, also after a rotation."""

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
    """A secret of its own; `process` is another process that uses it, on one virtual clock."""

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


def test_signatures_of_one_process_are_accepted_by_another(key: Key) -> None:
    """Another text or another MAC is not accepted."""
    mac = key.process().mac("text")
    assert key.process().is_mac("text", mac)
    assert not key.process().is_mac("Text", mac)
    assert not key.process().is_mac("text", mac[:-1])


def test_a_key_is_replaced_while_messages_are_under_way(key: Key) -> None:
    """Messages signed with the old key stay valid, also those that another process still signs with it."""
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


def test_a_key_before_the_one_before_is_not_accepted(key: Key) -> None:
    """After two rotations, messages from before the first are invalid."""
    mac = key.process().mac("text")
    key.replace({"key": "second" * 8})
    key.replace({"key": "third" * 8})
    assert not key.process().is_mac("text", mac)


def test_a_forger_does_not_make_us_read_secrets(key: Key) -> None:
    """However many messages fail, each version of the secret is read once in a while, the one that is not there too."""
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


def test_a_new_version_does_not_change_since_when_there_is_a_key(key: Key) -> None:
    """What is older than the first key may be without a MAC; that this does not move with a rotation is the point."""
    since = key.process().since()
    assert abs(since - datetime.now(UTC)) < timedelta(minutes=1)
    key.replace({"key": "second" * 8})
    assert key.process().since() == since


@pytest.mark.parametrize("value", [{"key": "short"}, {"key": None}, {}, [], "text", {"KEY": "first" * 8}])
def test_an_invalid_key_is_reported(key: Key, value: object) -> None:
    """Nothing is signed with it, and the error names the secret without its value."""
    key.replace(value)
    with pytest.raises(AwsTrouble, match=f"the secret {key.name} must be") as raised:
        key.process().mac("text")
    assert "short" not in str(raised.value)


def test_a_secret_that_is_not_there_is_said(aws: AwsStandIn) -> None:
    """Nothing is signed, and nothing is accepted without a key."""
    process = MessageKey(Secrets(aws.client), "nowhere")
    for ask in (lambda: process.mac("text"), lambda: process.is_mac("text", "0"), process.since):
        with pytest.raises(AwsTrouble, match="ResourceNotFoundException"):
            ask()
