"""The adapters with an AWS that enforces its limits: entries within them are sent, others are reported."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.aws.event_bus import EventBus
from shared.aws.sqs import SqsQueue
from shared.aws.task_tokens import CAUSE_LIMIT, TaskTokens, cause_of
from shared.model import Outcome
from shared.ports import Event, QueueMessage
from simulator import aws_limits
from simulator.aws_limits import of_event, of_message, of_message_batch, of_task_failure, of_task_success, utf16_units
from tests.aws_limits import LimitedAws, limited_aws

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture
def limited() -> Iterator[LimitedAws]:
    with limited_aws() as aws:
        yield aws


def event(number: int = 0, detail: str | None = None, data: object = None, token: str | None = None) -> Event:
    body = detail or json.dumps({"id": str(number), "data": data or {}}, ensure_ascii=False)
    return Event(str(number), "bms.volume.detached.v1", "/s", None, "", body, Outcome.DETACHED, task_token=token)


# ------------------------------------------------------------------------------------------- the limits themselves


@pytest.mark.parametrize(
    ("body", "delay", "code"),
    [
        ("x", 0, None),
        ("\t\n\r \ud7ff\ue000\ufffd\U00010000\U0010ffff\x7f\x85", 900, None),
        ("\ufffe", 0, "InvalidMessageContents"),
        ("\uffff", 0, "InvalidMessageContents"),
        ("\x00", 0, "InvalidMessageContents"),
        ("\x1b", 0, "InvalidMessageContents"),
        ("\ud800", 0, "InvalidMessageContents"),
        ("", 0, "MissingParameter"),
        ("x", 901, "InvalidParameterValue"),
        ("x", -1, "InvalidParameterValue"),
        ("x", 1.5, "InvalidParameterValue"),
        ("ä" * (aws_limits.MESSAGE_BYTES // 2), 0, None),
        ("ä" * (aws_limits.MESSAGE_BYTES // 2) + "x", 0, "InvalidParameterValue"),
    ],
)
def test_limits_of_a_message(body: str, delay: object, code: str | None) -> None:
    """SendMessage: the characters of XML, 1 MiB, and a delay of 0 to 900 whole seconds."""
    refusal = of_message(body, delay)
    assert code == (refusal.code if refusal else None)


def test_limits_of_a_batch() -> None:
    """SendMessageBatch: one to ten entries with distinct ids, 1 MiB together."""

    def code(*ids: str, body: str = "x") -> str | None:
        refusal = of_message_batch([{"Id": id_, "MessageBody": body} for id_ in ids])
        return refusal.code if refusal else None

    ten = [str(number) for number in range(10)]
    assert (code(*ten), code()) == (None, "EmptyBatchRequest")
    assert (code(*ten, "10"), code("1", "1")) == ("TooManyEntriesInBatchRequest", "BatchEntryIdsNotDistinct")
    assert (code("a b"), code("")) == ("InvalidBatchEntryId", "InvalidBatchEntryId")
    assert code(*ten, body="x" * 104_858) == "BatchRequestTooLong"


@pytest.mark.parametrize(
    ("source", "detail", "code"),
    [
        ("/s", '{"n": 9223372036854775807, "m": [-9223372036854775808, 1e300, true]}', None),
        ("/s", '{"n": [{"m": 9223372036854775808}]}', "MalformedDetail"),
        ("/s", '{"n": -9223372036854775809}', "MalformedDetail"),
        ("/s", '{"a": ' + "[" * 400 + "1" + "]" * 400 + "}", None),
        ("/s", '{"a": ' + "[" * 1000 + "]" * 1000 + "}", "MalformedDetail"),
        ("/s", "[]", "MalformedDetail"),
        ("/s", "{", "MalformedDetail"),
        ("/s", "", "InvalidArgument"),
        ("aws.me", "{}", "NotAuthorizedForSourceException"),
        ("aws", "{}", None),
        ("/s", json.dumps({"x": "x" * aws_limits.EVENT_BYTES}), "ValidationException"),
    ],
)
def test_limits_of_an_event(source: str, detail: str, code: str | None) -> None:
    """PutEventsRequestEntry: a JSON object, integers of 64 bits, a source that is not AWS's."""
    refusal = of_event(source, "t", detail)
    assert code == (refusal.code if refusal else None)


def test_limits_of_a_task_answer() -> None:
    """The output is limited in bytes, the other fields in UTF-16 units."""
    most = json.dumps("x" * (aws_limits.OUTPUT_BYTES - 2))
    assert of_task_success("t", most) is None
    assert of_task_success("t", json.dumps("x" * (aws_limits.OUTPUT_BYTES - 1))) is not None
    assert of_task_success("", most) is not None
    assert of_task_success("t" * 2049, most) is not None
    assert of_task_success("t", "{") is not None
    assert of_task_failure("t", "e" * 256, "😀" * 16_384) is None
    assert of_task_failure("t", "e" * 257, "") is not None
    assert of_task_failure("t", "", "😀" * 16_385) is not None


# --------------------------------------------------------------------------------------------------- the adapters


def test_one_invalid_message_affects_no_other(limited: LimitedAws) -> None:
    """Nine of ten are accepted; the tenth is the sender's fault, reported, and not sent again."""
    bodies = {number: QueueMessage("\ufffe" if number == 3 else "x") for number in range(10)}
    unsent = SqsQueue(limited.client(), "q").send(bodies)
    assert (list(unsent), len(limited.messages), len(limited.calls)) == ([3], 9, 1)
    assert "InvalidMessageContents" in unsent[3].why


def test_a_batch_that_is_refused_whole_is_halved(limited: LimitedAws) -> None:
    """If an invalid entry makes AWS refuse the whole call, the others are still accepted, each once."""
    limited.refuse_whole = True
    bodies = {number: QueueMessage("\x00" if number in (3, 7) else str(number)) for number in range(10)}
    assert sorted(SqsQueue(limited.client(), "q").send(bodies)) == [3, 7]
    assert sorted(message["MessageBody"] for message in limited.messages) == ["0", "1", "2", "4", "5", "6", "8", "9"]


def test_one_invalid_event_affects_no_other(limited: LimitedAws) -> None:
    """An integer that EventBridge refuses fails only its event, which is not sent again."""
    events = {0: event(0), 1: event(1, detail='{"n": 9223372036854775808}'), 2: event(2)}
    unsent = EventBus(limited.client(), "bus").emit(events)
    assert (list(unsent), len(limited.events), len(limited.calls)) == ([1], 2, 1)


@pytest.mark.parametrize(("times", "left"), [(1, 0), (2, 0), (3, 1)])
def test_dropped_entries_are_sent_again(limited: LimitedAws, times: int, left: int) -> None:
    """An entry that queue or bus drop is sent up to three times, and no other entry twice."""
    limited.partial = times
    assert len(SqsQueue(limited.client(), "q").send({number: QueueMessage("x") for number in range(5)})) == left
    assert len(limited.messages) == 5 - left
    limited.partial = times
    assert len(EventBus(limited.client(), "bus").emit({number: event(number) for number in range(1)})) == left
    assert len(limited.events) == 1 - left


def test_many_large_entries_are_sent_within_the_limits(limited: LimitedAws) -> None:
    """Forty large messages and forty large events are sent with at most ten entries and 1 MiB per call."""
    messages = {number: QueueMessage("ä" * 100_000, delay=number % 901) for number in range(40)}
    assert SqsQueue(limited.client(), "q").send(messages) == {}
    assert EventBus(limited.client(), "bus").emit({n: event(n, data={"x": "€" * 60_000}) for n in range(40)}) == {}
    assert (len(limited.messages), len(limited.events)) == (40, 40)


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_wrong_clock_is_reported(limited: LimitedAws, minutes: int) -> None:
    """The call is retried once, because a frozen process may have signed it long ago, and then reported."""
    limited.skew = timedelta(minutes=minutes)
    unsent = SqsQueue(limited.client(), "q").send({0: QueueMessage("x")})
    assert "RequestTimeTooSkewed" in unsent[0].why
    assert len(limited.calls) == 2


def test_the_trace_header_is_passed_on(limited: LimitedAws) -> None:
    """Queue and bus get X-Ray's header of the invocation; without tracing there is none."""
    environment = limited.client(_X_AMZN_TRACE_ID=TRACE)
    SqsQueue(environment, "q").send({0: QueueMessage("x")})
    EventBus(environment, "bus").emit({0: event()})
    header = {"AWSTraceHeader": {"DataType": "String", "StringValue": TRACE}}
    assert (limited.messages[0]["MessageSystemAttributes"], limited.events[0]["TraceHeader"]) == (header, TRACE)
    SqsQueue(limited.client(), "q").send({0: QueueMessage("x")})
    EventBus(limited.client(), "bus").emit({0: event()})
    assert "MessageSystemAttributes" not in limited.messages[1]
    assert "TraceHeader" not in limited.events[1]


@pytest.mark.parametrize("text", ["x", "😀", "\u0001", "\\"])
@pytest.mark.parametrize("size", [0, 8_000, 20_000, 200_000])
def test_the_cause_of_a_failure_fits(limited: LimitedAws, text: str, size: int) -> None:
    """The cause fits in UTF-16 units for any characters, and is complete JSON if only optional fields are long."""
    data: dict[str, Any] = {"original": text * size, "verdict": "failed", "explanation": "why"}
    cause = cause_of(json.dumps({"id": "1", "data": data}, ensure_ascii=False))
    assert utf16_units(cause) <= CAUSE_LIMIT
    assert json.loads(cause)["data"]["explanation"] == "why"
    long = event(data={"verdict": "failed", "explanation": text * size}, token="t")
    failed = Event(long.id, long.type, long.source, None, "", long.body, Outcome.FAILED, task_token="t")
    assert TaskTokens(limited.client()).deliver(failed) is None
    assert [name for name, _ in limited.tasks] == ["failure"]
