"""A hostile message does not harm other messages, whatever it contains and whatever the cloud answers."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from shared.decision.case import Case, Conclude, Requeue
from shared.decision.requeue import after_delete
from shared.inbox import request as inbox_request
from shared.model import Classified, Message
from shared.policy import Policy
from shared.service import Service
from tests.messages import START, sqs_record
from tests.simulation.hostile import KINDS, Crowd, play


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_each_kind_in_a_batch_of_ten(name: str, seed: int) -> None:
    """Nine ordinary requests are carried out as usual, and the hostile message gets its required answer."""
    assert list(play([name], seed).violations()) == []


@pytest.mark.parametrize("seed", range(30))
def test_many_kinds_in_one_batch(seed: int) -> None:
    """Seven hostile messages of different kinds and three ordinary requests."""
    names = list(KINDS)
    crowd = play([names[(seed * 7 + number) % len(names)] for number in range(7)], seed)
    assert list(crowd.violations()) == []


def with_attributes(**changes: object) -> dict[str, Any]:
    return {"attributes": {**sqs_record("", "", START)["attributes"], **changes}}


def times(value: object) -> dict[str, Any]:
    return with_attributes(SentTimestamp=value, ApproximateFirstReceiveTimestamp=value)


ODD_RECORDS: dict[str, dict[str, Any]] = {
    "no attributes": {"attributes": None},
    "an attribute is missing": {"attributes": {"ApproximateReceiveCount": "1"}},
    "no body": {"body": None},
    "a body that is no text": {"body": {"server_id": "a"}},
    "a time that is no number": times("yesterday"),
    "a time before all calendars": times("-99999999999999999"),
    "a time after all calendars": times("9" * 400),
    "the first time there is": times("-62135596800000"),
    "the last time there is": times("253402300799999"),
    "no count": with_attributes(ApproximateReceiveCount=None),
    "a count below nought": with_attributes(ApproximateReceiveCount="-3"),
    "a count of many digits": with_attributes(ApproximateReceiveCount="9" * 5000),
    "no message attributes": {"messageAttributes": None},
    "message attributes of another shape": {"messageAttributes": ["ce-id"]},
    "a message attribute of another shape": {"messageAttributes": {"ce-id": "4711"}},
    "a binary message attribute": {"messageAttributes": {"ce-id": {"dataType": "Binary", "binaryValue": "AAA="}}},
    "a sender of another shape": with_attributes(SenderId={"a": 1}),
    "no source": {"eventSourceARN": None},
    "no receipt": {"receiptHandle": None},
}


@pytest.mark.parametrize("name", ODD_RECORDS)
def test_an_odd_record_in_a_batch_of_ten(name: str) -> None:
    """One record is odd at its first delivery: it is answered then or at the next one, and the others as usual."""
    crowd = Crowd([], seed=1)
    odd = crowd.queue.messages[4]
    crowd.odd = lambda message: ODD_RECORDS[name] if message is odd and message.receive_count == 1 else {}
    crowd.run()
    (answer,) = [data["detail"] for data in crowd.bus.data if data["request"]["id"] == odd.id]
    # A request older than the attachment does not mean it.
    assert answer == ("superseded" if name == "the first time there is" else "detached_now")
    own = (odd.id, crowd.bystanders[odd.id][1])
    assert [wrong for wrong in crowd.violations() if not any(name in wrong for name in own)] == []


class PlantedBug(Exception):
    """Raised by a bug that a test planted."""


def reader_fails_for_all(service: Service) -> Service:
    """A message that cannot be read fails the whole batch."""

    class Reading(type(service)):  # type: ignore[misc]
        def _read(self, message: Message, outbox: Any) -> Any:
            if "dry_run" in message.body:
                raise PlantedBug
            return super()._read(message, outbox)

    return Reading(service.prefix, service.visits, service.outlets)


def raw_characters(service: Service) -> Service:
    """The service's own messages contain characters of a request unescaped."""

    class Raw:
        def __init__(self, queue: Any) -> None:
            self.queue = queue

        def send(self, messages: Any, deadline: Any = None) -> Any:
            raw = {key: replace(one, body=one.body.replace("\\ufffe", "\ufffe")) for key, one in messages.items()}
            return self.queue.send(raw, deadline)

    return replace(service, outlets=replace(service.outlets, queue=Raw(service.outlets.queue)))


def forgeries_are_believed(service: Service) -> Service:
    """Every MAC counts as valid."""

    class Believing:
        def __init__(self, macs: Any) -> None:
            self.mac, self.since = macs.mac, macs.since

        def is_mac(self, text: str, mac: str) -> bool:
            return True

    return replace(service, outlets=replace(service.outlets, macs=Believing(service.outlets.macs)))


def no_limit_of_retry_after(service: Service) -> Service:
    """The cloud's Retry-After is used as delay without a limit."""

    def believed(case: Case, answer: Classified, policy: Policy, now: datetime) -> Requeue | Conclude:
        decision = after_delete(case, answer, policy, now)
        if isinstance(decision, Requeue) and answer.retry_after:
            return replace(decision, seconds=int(answer.retry_after))
        return decision

    return replace(service, visits=replace(service.visits, after_delete=believed))


PLANTED = {
    "no limit of Retry-After": (no_limit_of_retry_after, "legal_and_odd"),
    "reader fails for all": (reader_fails_for_all, "names_that_stand_twice"),
    "raw characters": (raw_characters, "odd_characters"),
    "forgeries are believed": (forgeries_are_believed, "forged_continuation"),
}


@pytest.mark.parametrize(("mutate", "name"), PLANTED.values(), ids=PLANTED)
def test_the_judge_sees_a_planted_bug(mutate: Any, name: str) -> None:
    """A planted bug is found within forty batches of the kind that reveals it."""

    def wrong(seed: int) -> bool:
        try:
            return bool(list(play([name], seed, mutate).violations()))
        except (PlantedBug, AssertionError):
            return True

    assert any(wrong(seed) for seed in range(40))


def test_a_depth_that_cannot_be_carried_on_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a context could be as deep as any JSON text, its continuation could not be read; the batches show this."""
    monkeypatch.setattr(inbox_request, "CONTEXT_LEVELS", 40)
    found = [wrong for seed in range(40) for wrong in play(["deep"], seed).violations()]
    assert found
