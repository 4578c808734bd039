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
