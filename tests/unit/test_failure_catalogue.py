"""The texts of the catalogue of reasons."""

import pytest

from shared.model import Reason
from shared.outbox.reasons import catalogue


def test_every_reason_is_explained() -> None:
    """The catalogue has exactly the closed list of reasons."""
    assert set(catalogue()) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_message_and_remedy_are_sentences(reason: Reason) -> None:
    """A message is one sentence, a remedy says in sentences what to do and is not the message again."""
    text = catalogue()[reason]
    assert text.message[0].isupper()
    assert text.message.endswith(".")
    assert ". " not in text.message
    assert text.remedy[0].isupper()
    assert text.remedy.endswith(".")
    assert len(text.remedy) > 60
    assert "  " not in text.message + text.remedy


@pytest.mark.parametrize("reason", Reason)
def test_remedy_names_something_to_look_at(reason: Reason) -> None:
    """A remedy names a command, a field, a setting or the place where the answer is found."""
    remedy = catalogue()[reason].remedy
    assert "`" in remedy or "console" in remedy


def test_only_outages_are_retryable() -> None:
    """An unchanged request is worth repeating only after a failure of the cloud or of ours."""
    retryable = {reason for reason, text in catalogue().items() if text.retryable}
    assert retryable == {Reason.GAVE_UP, Reason.DEAD_LETTERED}


def test_the_remedy_for_refused_credentials_covers_each_login() -> None:
    """A password and an access key: each value that may be wrong is named, as are the dialect and the clock."""
    remedy = catalogue()[Reason.UNAUTHORIZED].remedy
    named = ("CLOUD_SECRET_ID", "OS_USERNAME", "OS_PASSWORD", "OS_AUTH_URL", "OS_ACCESS_KEY", "OS_SECRET_KEY",
             "OS_SECURITY_TOKEN", "OS_SIGNING", "dialect", "clock", "make doctor CLOUD=env")  # fmt: skip
    assert [name for name in named if name not in remedy] == []
