"""Every accepted request can be continued, answered, sent and read again, at its largest size."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.aws.task_tokens import cause_of
from shared.cloud.parse import LONGEST_TEXT
from shared.decision.case import Case, Conclude, failed
from shared.decision.progress import Progress, State
from shared.inbox.read import Found, Ignored, Rejected, read
from shared.inbox.request import ORIGIN_LIMITS
from shared.model import Attachment, Call, DetachRequest, Detail, Message, Outcome, Reason
from shared.outbox.events import EventFactory
from shared.own_messages import WaitingDelivery
from shared.policy import ATTACHED_TO_KEPT, CALLS_KEPT, CONTEXT_BYTES, CONTEXT_LEVELS, EVENT_BYTES, FAULTS, VOLUMES
from shared.ports import Event
from shared.strict_json import WIDEST_INTEGER
from simulator.aws_limits import of_event, of_message, of_task_failure, of_task_success
from tests.http_requests import FakeQueue, endpoint, signed
from tests.messages import (
    MESSAGE_KEYS,
    OTHER_VOLUME,
    QUEUE_ARN,
    SERVER,
    START,
    VOLUME,
    bare,
    cloudevent,
    continuation,
    waiting,
)
from tests.unit.test_envelope_entries import ENTRIES

FACTORY = EventFactory(source="/" + "s" * 255, prefix="p" * 80)
"""With the longest names that the template allows."""

WIDE = ["😀", "ä", "漢", "x", '"', "\\", "/"]
"""Characters of one to four bytes; with escapes they take up to twelve."""

ODD = [*WIDE, "\x00", "\x1f", "\x7f", "\x85", "\u2028", "\ufffe", "\uffff", "\U0001fffe", "\ufeff", "\ufdd0"]
"""Includes characters that queues refuse, and lone surrogates."""

TEXTS = "😀" * 500
"""The longest text of the cloud that is kept."""


def filled(characters: str, size: int) -> str:
    """A text of at most that many bytes."""
    return (characters * size).encode()[:size].decode("utf-8", "ignore")


def arrived(body: str) -> Found:
    return read(Message(body, "m" * 100, QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)


def far(request: DetachRequest, message: Message) -> Case:
    """A case with the largest possible progress, and the longest texts of the cloud."""
    name = "😀" * LONGEST_TEXT
    attachment = Attachment(name, START, name, name)
    state = State(volume_status=name, attachment=attachment, listed_by_server=True, server_status=name,
                  attached_to=(name,) * ATTACHED_TO_KEPT)  # fmt: skip
    call = Call(operation="list_attachments", at=START, status=502, code=TEXTS, message=TEXTS,
                openstack_request_id="d" * 255)  # fmt: skip
    progress = Progress(
        first_seen_at=START, followed=attachment, before=state, unconfirmed_id="u" * 36, receipt="r" * 500,
        last_error=TEXTS, calls=(call,) * CALLS_KEPT, place=TEXTS, last_delete_at=START, accepted_at=START,
        detaching_since=START, redelivered_since=START,
    )  # fmt: skip
    return Case(request, message, progress, fresh=False)


def sendable(event: Event) -> dict[str, Any]:
    """Check that an event fits the bus, the queue, and a waiting task; returns it as JSON."""
    assert of_event(event.source, event.type, event.body) is None
    assert len(event.body.encode()) <= EVENT_BYTES
    kept = waiting("sink", event, attempt=999, not_before=START)
    assert of_message(kept) is None
    back = read(Message(kept, "m", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)
    assert isinstance(back, WaitingDelivery)
    assert asdict(back.event) == asdict(event)
    if event.task_token:
        assert of_task_success(event.task_token, event.body) is None
        assert of_task_failure(event.task_token, str(event.reason), cause_of(event.body)) is None
        json.loads(cause_of(event.body))
    whole: dict[str, Any] = json.loads(event.body)
    assert isinstance(arrived(event.body.replace('"p' + "p" * 79, '"bms')), Ignored)  # it may be routed back to us
    return whole


CONCLUSIONS = (
    Conclude(Outcome.DETACHED, Detail.DETACHED_MEANWHILE, explanation=TEXTS),
    Conclude(Outcome.UNCONFIRMED, Detail.STILL_WATCHING, explanation=TEXTS),
    Conclude(Outcome.CHECKED, Detail.WOULD_FAIL, explanation=TEXTS),
    *(failed(reason, TEXTS) for reason in Reason),
)


def finished(found: list[Case], conclusions: tuple[Conclude, ...] = CONCLUSIONS) -> None:
    """Each request in a message survives the queue unchanged, and each verdict about it can be sent."""
    for case in found:
        there = far(case.request, case.message)
        body = continuation(there.request, there.progress)
        assert of_message(body) is None
        back: Any = arrived(body)
        assert [(one.request, one.progress) for one in back] == [(there.request, there.progress)]
        for conclusion in conclusions:
            event = FACTORY.verdict(there, conclusion, START + timedelta(days=1), original="\ufffe" * 9000)
            data = sendable(event)["data"]
            assert data.get("context") == case.request.context


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels > 1 else 1


LARGEST: dict[str, Any] = {
    "numbers": {"n": [WIDEST_INTEGER, -WIDEST_INTEGER, 1.7976931348623157e308, 5e-324, -0.0]},
    "deep": {"d": deep(CONTEXT_LEVELS - 1)},
    **{f"characters {ord(one):x}": {"t": one * 8} for one in ODD},
    **{f"as many as fit of {ord(one):x}": {"t": filled(one, CONTEXT_BYTES - 10)} for one in WIDE[:4]},
    "many names": {str(number): None for number in range(300)},
}


@pytest.mark.parametrize("wrap", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.parametrize("context", LARGEST.values(), ids=LARGEST)
def test_the_largest_request_is_finished(context: dict[str, Any], wrap: Callable[[Any], Any]) -> None:
    """With the longest value of every field, in every envelope."""
    data = bare(SERVER, VOLUME, task_token=filled("AQCé", 2048), context=context)
    event = cloudevent(
        data, id=filled("😀", ORIGIN_LIMITS["id"]), source=filled("漢", ORIGIN_LIMITS["source"]),
        correlationid=filled("😀", 2048), tracestate="a=" + "x" * 500,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )  # fmt: skip
    found = arrived(json.dumps(wrap(event)))
    assert isinstance(found, list), found
    finished(found)


def test_as_many_volumes_as_a_request_may_name_are_finished() -> None:
    """Each has the whole context."""
    volumes = [f"{number:08x}{VOLUME[8:]}" for number in range(VOLUMES)]
    found = arrived(json.dumps({"server_id": SERVER, "volume_ids": volumes, "context": LARGEST["deep"]}))
    assert isinstance(found, list)
    finished(found, CONCLUSIONS[:2])


TOO_MUCH: dict[str, Any] = {
    "an integer": {"n": WIDEST_INTEGER + 1},
    "a negative integer": {"a": [{"n": -(2**63) - 1}]},
    "an integer of many digits": {"n": 10**4000},
    "a level": {"d": deep(CONTEXT_LEVELS)},
    "a byte": {"t": "x" * (CONTEXT_BYTES - len('{"t": ""}') + 1)},
}


@pytest.mark.parametrize("context", TOO_MUCH.values(), ids=TOO_MUCH)
@pytest.mark.parametrize("more", [{}, {"volume_id": "broken"}], ids=["alone", "beside another fault"])
def test_requests_that_could_not_be_finished_are_refused(context: dict[str, Any], more: dict[str, Any]) -> None:
    """The field is named, but not echoed in the answer, which has to be sent too."""
    found = arrived(json.dumps(bare(SERVER, VOLUME, context=context) | more))
    assert isinstance(found, Rejected)
    assert "context" in [fault.field for fault in found.faults]
    assert "context" not in sendable(FACTORY.rejected(found, START))["data"]


@pytest.mark.parametrize("context", [*LARGEST.values(), *TOO_MUCH.values()], ids=[*LARGEST, *TOO_MUCH])
def test_the_webhook_accepts_what_the_queue_accepts(context: dict[str, Any]) -> None:
    """And the queue accepts its messages."""
    queue = FakeQueue()
    body = {"server_id": SERVER, "volume_id": VOLUME, "context": context}
    status = endpoint(queue).answer(signed(body)).status
    assert (status == 202) == isinstance(arrived(json.dumps(body)), list)
    for message in queue.taken:
        assert of_message(message.body) is None
        found = arrived(message.body)
        assert isinstance(found, list)
        finished(found, CONCLUSIONS[:1])


NAME = st.text(st.sampled_from(ODD), max_size=9)
ATTRIBUTE = st.builds(filled, st.sampled_from(WIDE[:4]), st.integers(1, 2200))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**66), 2**66) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4), max_leaves=30,
)  # fmt: skip


@given(
    context=st.none() | st.dictionaries(NAME, JSON, max_size=6),
    attributes=st.fixed_dictionaries({"id": ATTRIBUTE, "source": ATTRIBUTE}, optional={"correlationid": ATTRIBUTE}),
    task_token=st.none() | st.text(st.sampled_from(ODD), max_size=3000).map("AQC-{}".format),
    more=st.dictionaries(NAME, JSON, max_size=2),
    wrap=st.sampled_from(list(ENTRIES.values())),
    raw=st.booleans(),
)
def test_any_request_is_finished_or_refused(
    context: Any, attributes: dict[str, str], task_token: str | None, more: Any, wrap: Callable[[Any], Any], raw: bool
) -> None:
    """A request that is accepted can be finished, and one that is not can be answered."""
    asked = bare(SERVER, VOLUME, **{} if context is None else {"context": context})
    asked |= ({} if task_token is None else {"task_token": task_token}) | more
    found = arrived(json.dumps(wrap(cloudevent(asked, **attributes)), ensure_ascii=not raw))
    if isinstance(found, list):
        finished(found, CONCLUSIONS[:4])
        return
    assert isinstance(found, Rejected)
    sendable(FACTORY.rejected(found, START))


@pytest.mark.parametrize("character", ODD, ids=lambda one: f"{ord(one):x}")
def test_the_answer_to_the_largest_invalid_request_can_be_sent(character: str) -> None:
    """With the maximum of faults, each as long as possible, and the longest original."""
    names = {character * 200 + str(number): None for number in range(FAULTS * 2)}
    event = cloudevent(
        {"volume_ids": [VOLUME, OTHER_VOLUME], **names}, id=filled("😀", 2048), source=filled("漢", 2048)
    )
    found = arrived(json.dumps(event))
    assert isinstance(found, Rejected)
    data = sendable(FACTORY.rejected(found, START))["data"]
    assert data["faults"]
    assert data["original"]
