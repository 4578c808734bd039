"""Requests that our code could not handle get one true verdict."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.decision.case import Case, detached
from shared.decision.progress import Progress
from shared.inbox.read import Found, Rejected
from shared.model import (
    AuthType,
    Cause,
    DetachRequest,
    Detail,
    Fault,
    Message,
    Origin,
    Outcome,
    Reason,
    Requester,
    verdict_id,
)
from shared.outbox.consumers import Consumers
from shared.outbox.dead_letters import DeadLetters, unread
from shared.outbox.events import EventFactory
from shared.outbox.observer import Observer
from shared.outbox.outbox import Outlets
from shared.ports import AwsTrouble, Event, Unsent
from shared.webhook.responses import entry_of
from tests.contract.consumer import faults
from tests.messages import (
    MESSAGE_KEYS,
    OTHER_VOLUME,
    QUEUE_ARN,
    SERVER,
    START,
    TRACE,
    VOLUME,
    bare,
    cloudevent,
    continuation,
    ours,
    waiting,
)
from tests.stack import Clock, VirtualBus, VirtualQueue
from tests.unit.test_outbox import LATER, Listener

REQUEST = DetachRequest(
    id="4711", source="/changes", requested_at=START, server_id=SERVER, volume_id=VOLUME, task_token="AQC-token",
    correlation_id="CHG-1", traceparent=TRACE, context={"ticket": "CHG-1"},
)  # fmt: skip
SENT = Progress(
    first_seen_at=START,
    polls=3,
    deletes_sent=1,
    last_delete_at=START + timedelta(seconds=9),
    last_error="http_502: bad",
)


CONTINUED = continuation(REQUEST, SENT)


def waits() -> str:
    case = Case(REQUEST, Message("", "m", QUEUE_ARN, START), SENT)
    event = EventFactory().verdict(case, detached(Detail.DETACHED_NOW), START)
    return waiting("sink", event)


class Told(Observer):
    """Remembers what was answered."""

    def __init__(self) -> None:
        self.found: list[Found | Exception] = []
        self.messages: list[str] = []

    def dead_letter(self, message: Message, found: Found | Exception) -> None:
        self.messages.append(message.id)
        self.found.append(found)


class Letters:
    """Dead letters with a bus, a waiting workflow, and a queue for waiting deliveries."""

    def __init__(self) -> None:
        self.bus, self.queue = VirtualBus(), VirtualQueue(Clock())
        self.task = Listener(wanted=lambda event: event.task_token is not None)
        self.told = Told()
        consumers = Consumers({"task": self.task})
        self.handler = DeadLetters(
            "bms", Outlets(self.bus, self.queue, MESSAGE_KEYS, EventFactory(), Clock(), consumers, (self.told,))
        )

    def receive(self, *bodies: str) -> list[str]:
        """Answer dead letters; the messages that stay in their queue."""
        messages = [Message(body, f"m-{at}", QUEUE_ARN, START) for at, body in enumerate(bodies)]
        return list(self.handler.handle(messages).unsent)

    def answer(self, body: str) -> dict[str, Any]:
        assert [] == self.receive(body)
        (event,) = self.bus.events
        assert ("failed", "dead_lettered") == (event["data"]["verdict"], event["data"]["reason"]["code"])
        return event


def test_a_fresh_request_is_answered() -> None:
    """The requester gets the one final verdict of its request, with the original message."""
    body = json.dumps(cloudevent(bare(SERVER, VOLUME, context={"a": 1}), correlationid="c-1", traceparent=TRACE))
    event = Letters().answer(body)
    assert verdict_id("/changes", "4711", VOLUME, Outcome.FAILED) == event["id"]
    assert (body, {"a": 1}) == (event["data"]["original"], event["data"]["context"])
    assert ("c-1", "4711", TRACE) == (event["correlationid"], event["causationid"], event["traceparent"])


def test_every_volume_is_answered() -> None:
    """A request for two volumes ends in two verdicts."""
    letters = Letters()
    assert [] == letters.receive(json.dumps({"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME]}))
    assert [VOLUME, OTHER_VOLUME] == [data["volume_id"] for data in letters.bus.data]


def test_a_continuation_brings_its_evidence() -> None:
    """Its progress is not lost: counts, times and the last error."""
    data = Letters().answer(CONTINUED)["data"]
    assert (1, 3, "http_502: bad") == tuple(data["evidence"][name] for name in ("deletes_sent", "polls", "last_error"))
    assert {"id": "4711", "source": "/changes"} == data["request"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (CONTINUED, "1 DELETE(s) were sent, the last at 2026-11-23T08:00:09Z"),
        (continuation(REQUEST, replace(SENT, accepted_at=START)),
            "the cloud accepted the detach at 2026-11-23T08:00:00Z"),
        (continuation(REQUEST, Progress(first_seen_at=START)), "the interrupted look may have sent one"),
        (json.dumps(bare(SERVER, VOLUME)), "the interrupted look may have sent one"),
    ],
)  # fmt: skip
def test_the_explanation_claims_no_more_than_is_known(body: str, words: str) -> None:
    """It says what is recorded, that the outcome is unknown, and where to look."""
    message = Letters().answer(body)["data"]["reason"]["message"]
    assert words in message
    assert "is not known" in message
    assert f"openstack volume show {VOLUME}" in message
    assert f"openstack server volume list {SERVER}" in message


FAILED_ON = replace(SENT, failures=2, last_error="our own code failed: KeyError in shared/cloud/parse.py, line 7, f")
THROTTLED = "the function was throttled, or ran out of time or memory"


@pytest.mark.parametrize(
    ("body", "cause", "words"),
    [
        (json.dumps(bare(SERVER, VOLUME)), Cause.NO_LOOK_FINISHED, "no finished look is on record: " + THROTTLED),
        (CONTINUED, Cause.NO_LOOK_FINISHED, "3 looks are on record, and no later one was finished: " + THROTTLED),
        (continuation(REQUEST, Progress(first_seen_at=START)), Cause.NO_LOOK_FINISHED, "no finished look is on record"),
        (continuation(REQUEST, FAILED_ON), Cause.CODE_FAILED, "failed on it 2 times in a row, and no later look"),
        (ours(json.loads(CONTINUED) | {"continuation": 2}), Cause.UNREADABLE, "continuation"),
        ("{", Cause.UNREADABLE, "JSON"),
    ],
)
def test_the_verdict_says_why_the_message_died(body: str, cause: Cause, words: str) -> None:
    """It distinguishes messages without a finished look from those on which our code failed."""
    event = Letters().answer(body)
    assert cause == event["data"]["reason"]["cause"]
    assert words in event["data"]["reason"]["message"]
    assert [] == faults(event, strict=True)


@pytest.mark.parametrize("body", [CONTINUED, ours(json.loads(CONTINUED) | {"continuation": 2})])
def test_a_message_of_ours_is_shown_without_its_mac(body: str) -> None:
    """Otherwise a consumer of verdicts could send it again as authentic."""
    event = Letters().answer(body)
    shown = json.loads(event["data"]["original"])
    assert json.loads(body).keys() - shown.keys() == {"mac"}
    assert json.loads(body)["mac"] not in json.dumps(event)


class NoKeys:
    """The secret of the keys cannot be read just now."""

    def mac(self, text: str) -> str:
        raise AwsTrouble("GetSecretValue: no answer")

    def is_mac(self, text: str, mac: str) -> bool:
        raise AwsTrouble("GetSecretValue: no answer")

    def since(self) -> datetime:
        raise AwsTrouble("GetSecretValue: no answer")


def test_a_message_that_cannot_be_authenticated_now_stays() -> None:
    """Without the key a message of our own waits in its queue, and delays no other."""
    letters = Letters()
    letters.handler = replace(letters.handler, outlets=replace(letters.handler.outlets, macs=NoKeys()))
    assert ["m-0"] == letters.receive(CONTINUED, json.dumps(bare(SERVER, VOLUME)))
    assert [VOLUME] == [data["volume_id"] for data in letters.bus.data]


DRY = replace(REQUEST, dry_run=True)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(cloudevent(bare(SERVER, VOLUME, dry_run=True, task_token="AQC-token"))),
        continuation(DRY, Progress(first_seen_at=START)),
        continuation(DRY, FAILED_ON),
        ours(json.loads(continuation(DRY, SENT)) | {"continuation": 2}),
    ],
    ids=["request", "continuation", "failed on", "of another release"],
)
def test_a_dry_run_ends_as_it_was_promised(body: str) -> None:
    """It emits the event of a dry run, with the id that the webhook returned, and the workflow's task succeeds."""
    letters = Letters()
    assert [] == letters.receive(body)
    (event,) = letters.bus.events
    assert entry_of(DRY).verdict_id == event["id"]
    assert "bms.volume.detach_checked.v1" == event["type"]
    assert ("would_fail", "dead_lettered") == (event["data"]["detail"], event["data"]["reason"]["code"])
    assert [(Outcome.CHECKED, "AQC-token")] == [(told.outcome, told.task_token) for told in letters.task.taken]
    assert [] == faults(event, strict=True)
    assert "may have sent" not in event["data"]["reason"]["message"]


@pytest.mark.parametrize("version", [1, 2])
def test_the_verdict_follows_the_unconfirmed_one(version: int) -> None:
    """The unconfirmed verdict is its cause, even if another release recorded it."""
    announced = verdict_id("/changes", "4711", VOLUME, Outcome.UNCONFIRMED)
    body = json.loads(continuation(REQUEST, replace(SENT, unconfirmed_id=announced)))
    event = Letters().answer(ours(body | {"continuation": version}))
    assert (announced, "CHG-1", TRACE) == (event["causationid"], event["correlationid"], event["traceparent"])


def asked(**data: object) -> str:
    return json.dumps(cloudevent({"server_id": SERVER, **data}, correlationid="c-1", traceparent=TRACE))


BUG = ZeroDivisionError("a bug that knows the password")
MESSAGE = Message("", "m-1", QUEUE_ARN, START)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_message_that_our_code_fails_to_read_is_answered_with_its_own_id(dry_run: bool) -> None:
    """The webhook has returned that id, whatever bug we have."""
    (found,) = unread(replace(MESSAGE, body=asked(volume_id=VOLUME, dry_run=dry_run, task_token="AQC-token")), BUG)
    event = EventFactory().rejected(found, START, Reason.DEAD_LETTERED)
    said = json.loads(event.body)
    assert entry_of(replace(REQUEST, dry_run=dry_run)).verdict_id == event.id
    assert ("c-1", "4711", TRACE) == (said["correlationid"], said["causationid"], said["traceparent"])
    assert ("AQC-token", "unreadable") == (event.task_token, said["data"]["reason"]["cause"])
    assert [] == faults(said, strict=True)
    assert not [secret for secret in ("AQC-token", "password") if secret in event.body]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (asked(volume_ids=[VOLUME, OTHER_VOLUME, VOLUME]), [("4711", VOLUME), ("4711", OTHER_VOLUME)]),
        (json.dumps(bare(SERVER, VOLUME)), [("m-1", VOLUME)]),
        (json.dumps(cloudevent(bare(SERVER, VOLUME), id=5)), [("m-1", VOLUME)]),
        (CONTINUED, [("m-1", None)]),
        (waits(), [("m-1", None)]),
        ("[" * 100_000, [("m-1", None)]),
        ("[5]", [("m-1", None)]),
    ],
)
def test_unauthenticated_fields_of_a_message_that_our_code_fails_to_read_are_used(
    body: str, named: list[tuple[str, str | None]]
) -> None:
    """Its identity and volumes are used, but not the fields of our own messages."""
    found = unread(replace(MESSAGE, body=body), BUG)
    assert named == [(one.origin.id, one.volume_id) for one in found]


def test_a_waiting_workflow_is_told() -> None:
    """The task fails with the reason, and the token stays out of the event."""
    letters = Letters()
    event = letters.answer(CONTINUED)
    (told,) = letters.task.taken
    assert ("AQC-token", Reason.DEAD_LETTERED) == (told.task_token, told.reason)
    assert "AQC-token" not in json.dumps(event)


@pytest.mark.parametrize("body", ["{", "[]", "\ud800", '{"server_id": 5}', json.dumps({"a": "x" * 9000})])
def test_the_unreadable_is_answered_with_the_original(body: str) -> None:
    """The sender is unknown, so the verdict shows the message, cut at 8 KB."""
    data = Letters().answer(body)["data"]
    assert body.encode("utf-8", "replace").decode()[:8192] == data["original"]
    assert data["faults"]


def test_a_message_of_another_release_is_answered_with_its_own_id() -> None:
    """A continuation that we cannot read still names its request and its waiting task."""
    message = json.loads(CONTINUED) | {"continuation": 2}
    letters = Letters()
    event = letters.answer(ours(message))
    assert verdict_id("/changes", "4711", VOLUME, Outcome.FAILED) == event["id"]
    assert ["AQC-token"] == [told.task_token for told in letters.task.taken]
    assert "AQC-token" not in json.dumps(event)


@pytest.mark.parametrize(
    "make",
    [
        waits,
        lambda: ours(json.loads(waits()) | {"pending_delivery": 2}),
        lambda: json.dumps(cloudevent({}, type="bms.volume.detached.v1")),
    ],
    ids=["waiting delivery", "a later waiting delivery", "own verdict"],
)
def test_a_message_that_is_no_request_is_logged_and_not_answered(make: Callable[[], str]) -> None:
    """Its verdict is on the bus already; a second one would be false."""
    letters = Letters()
    assert [] == letters.receive(make())
    assert ([], 1) == (letters.bus.events, len(letters.told.found))


def test_a_message_that_cannot_be_answered_stays() -> None:
    """If neither the bus nor the queue accepts a verdict, only its own message stays in the queue."""
    letters = Letters()

    def not_of_one(event: Event) -> bool:
        return f"/volumes/{OTHER_VOLUME}" in str(event.subject)

    letters.bus.refuse = not_of_one
    letters.queue.refuse = lambda message: True
    assert ["m-1"] == letters.receive(*(json.dumps(bare(SERVER, volume)) for volume in (VOLUME, OTHER_VOLUME)))
    assert 1 == len(letters.told.found)  # it is counted when it is answered


def test_a_task_that_cannot_be_answered_now_waits() -> None:
    """The answer to the workflow is kept, and the dead letter is finished."""
    letters = Letters()
    letters.task.answers = [LATER]
    assert [] == letters.receive(CONTINUED)
    assert ["task"] == [json.loads(message.body)["to"] for message in letters.queue.sent]


def test_the_log_says_why_a_message_cannot_be_authenticated() -> None:
    """It names the call to AWS that failed."""
    letters = Letters()
    letters.handler = replace(letters.handler, outlets=replace(letters.handler.outlets, macs=NoKeys()))
    unsent = letters.handler.handle([Message(CONTINUED, "m-0", QUEUE_ARN, START)]).unsent
    assert unsent == {"m-0": Unsent("GetSecretValue: no answer")}
    assert isinstance(unsent["m-0"].cause, AwsTrouble)
    assert letters.told.found == []


def test_a_verdict_that_is_not_delivered_yet_is_sent() -> None:
    """A verdict that waited for the bus until its message died is sent; one that waited for a consumer is on it."""
    letters = Letters()
    event = EventFactory().verdict(
        Case(REQUEST, Message("", "m", QUEUE_ARN, START), SENT), detached(Detail.DETACHED_NOW), START
    )
    assert [] == letters.receive(waiting("bus", event), waiting("sink", event))
    assert letters.bus.events == [json.loads(event.body)]
    assert letters.task.taken == [event]
    assert letters.told.messages == ["m-0", "m-1"]


class BrokenKeys(NoKeys):
    """Our own code fails on them."""

    def is_mac(self, text: str, mac: str) -> bool:
        raise BUG


def test_messages_on_which_our_code_fails_are_answered() -> None:
    """Once for each volume, as dead-lettered, and logged as an error."""
    letters = Letters()
    letters.handler = replace(letters.handler, outlets=replace(letters.handler.outlets, macs=BrokenKeys()))
    body = json.dumps(json.loads(asked(volume_ids=[VOLUME, OTHER_VOLUME])) | {"mac": "0"})
    assert [] == letters.receive(body)
    told = [(data["volume_id"], data["detail"], data["reason"]["cause"]) for data in letters.bus.data]
    assert told == [(volume, "dead_lettered", "unreadable") for volume in (VOLUME, OTHER_VOLUME)]
    assert [event["id"] for event in letters.bus.events] == [
        verdict_id("/changes", "4711", volume, Outcome.FAILED) for volume in (VOLUME, OTHER_VOLUME)
    ]
    assert [data["faults"][0]["message"] for data in letters.bus.data] == ["could not be read: ZeroDivisionError"] * 2
    assert (letters.told.found, letters.told.messages) == ([BUG], ["m-0"])


def test_a_forgery_is_answered_as_one_again() -> None:
    """It is answered again as a forgery."""
    letters = Letters()
    assert [] == letters.receive(json.dumps(json.loads(CONTINUED) | {"mac": "0"}))
    assert [data["detail"] for data in letters.bus.data] == ["not_authentic"]


SENDER = Requester(AuthType.USER, "AIDA")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            cloudevent({"server_id": SERVER, "volume_id": VOLUME, "task_token": "AQC", "dry_run": True},
                correlationid="c-1", traceparent=TRACE, tracestate="a=1"),
            {"origin": Origin("4711", "/changes", START, None, "c-1", TRACE, "a=1", SENDER), "server_id": SERVER,
                "volume_id": VOLUME, "task_token": "AQC", "dry_run": True}, id="event"),
        pytest.param(bare(SERVER, VOLUME, dry_run="yes", task_token=5), {"server_id": SERVER, "volume_id": VOLUME},
            id="bare"),
        pytest.param(cloudevent(bare(SERVER, VOLUME), source=""), {"server_id": SERVER, "volume_id": VOLUME},
            id="event without a source"),
        pytest.param(bare(SERVER, VOLUME, id="4711", source="/changes"), {"server_id": SERVER, "volume_id": VOLUME},
            id="bare, and says that it is an event"),
        pytest.param({"continuation": 1, "progress": {}, **bare(SERVER, VOLUME)}, {}, id="like one of ours"),
        pytest.param({"continuation": 1, **bare(SERVER, VOLUME)}, {"server_id": SERVER, "volume_id": VOLUME},
            id="not quite like one of ours"),
        pytest.param({"progress": {}, **bare(SERVER, VOLUME)}, {"server_id": SERVER, "volume_id": VOLUME},
            id="not at all like one of ours"),
        pytest.param({"server_id": SERVER, "volume_ids": VOLUME, "volume_id": VOLUME},
            {"server_id": SERVER, "volume_id": VOLUME}, id="a list that is none"),
        pytest.param({"server_id": SERVER, "volume_ids": [], "volume_id": VOLUME},
            {"server_id": SERVER, "volume_id": VOLUME}, id="a list of none"),
        pytest.param(["x"], {}, id="no object"),
    ],
)  # fmt: skip
def test_usable_fields_of_messages_that_our_code_fails_to_read(value: object, expected: dict[str, Any]) -> None:
    """Its own identity, or that of its message and sender; valid ids, and the waiting task."""
    body = json.dumps(value)
    by_message = Origin("m-1", QUEUE_ARN, START, requester=SENDER)
    fault = Fault("", "could not be read: ZeroDivisionError")
    whole: dict[str, Any] = {"origin": by_message, "faults": (fault,), "original": body, **expected}
    assert unread(replace(MESSAGE, body=body, sender=SENDER), BUG) == [Rejected(**whole)]
