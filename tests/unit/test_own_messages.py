"""Our own messages: a case that was sent as a continuation is read back unchanged."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.message_keys import FixedKeys
from shared.decision.case import Case, detached
from shared.decision.progress import Progress, State
from shared.inbox.read import Rejected, read
from shared.model import (
    Attachment,
    AuthType,
    Call,
    DetachRequest,
    Detail,
    Fault,
    Message,
    Origin,
    Outcome,
    Reason,
    Requester,
    Via,
    verdict_id,
)
from shared.outbox.events import EventFactory
from shared.own_messages import WaitingDelivery, as_attributes, requester_in, without_mac
from shared.ports import AwsTrouble, Event
from shared.strict_json import signed
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, SERVER, START, TRACE, VOLUME, continuation, ours, waiting
from tests.stack import Bench

REQUEST = DetachRequest(id="4711", source="/changes", requested_at=START, server_id=SERVER, volume_id=VOLUME)
FOLLOWED = Attachment(attachment_id=SERVER, attached_at=START, device="/dev/sdb")
PROGRESS = Progress(
    first_seen_at=START, attempt=3, polls=4, followed=FOLLOWED,
    before=State(volume_status="in-use", attachment=FOLLOWED, listed_by_server=True, attached_to=(SERVER,)),
    deletes_sent=1, unsettled=1, last_delete_at=START, accepted_at=START + timedelta(microseconds=1),
    detaching_since=START, detaching_seen=True, idle_reads=1,
    unconfirmed_id="u", receipt="r", redelivered_since=START,
    last_error="http_502: bad", calls=(Call(operation="get_volume", at=START, status=0, code="timeout", message="m"),),
)  # fmt: skip

CASE = Case(REQUEST, Message("", "m", QUEUE_ARN, START), PROGRESS)
EVENT = EventFactory().verdict(CASE, detached(Detail.DETACHED_NOW), START)
GENUINE = json.loads(continuation(REQUEST, PROGRESS))
WAITING = json.loads(waiting("sink", EVENT))
SENT = START + timedelta(minutes=5)


def without(message: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}


class NoKeys:
    """The secret cannot be read."""

    def mac(self, text: str) -> str:
        raise AwsTrouble("GetSecretValue: no answer")

    def is_mac(self, text: str, mac: str) -> bool:
        raise AwsTrouble("GetSecretValue: no answer")

    def since(self) -> datetime:
        raise AwsTrouble("DescribeSecret: no answer")


class Sink:
    """Accepts every verdict."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def wants(self, event: Event, /) -> bool:
        return True

    def deliver(self, event: Event, _: datetime | None = None) -> None:
        self.taken.append(event.id)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
TIME = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def received(body: str, receive_count: int = 1) -> Message:
    return Message(body, "m-2", QUEUE_ARN, SENT, START + timedelta(minutes=6), receive_count)


def back(body: str) -> Any:
    found = read(received(body), "bms", START + timedelta(minutes=7), MESSAGE_KEYS)
    return found[0] if isinstance(found, list) else found


def same(case: Case, request: DetachRequest, progress: Progress) -> bool:
    return (case.request, case.progress, case.fresh) == (request, progress, False)


def message(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(continuation(REQUEST, PROGRESS))
    return whole | changes


def test_everything_learnt_comes_back() -> None:
    """Request and progress survive the queue unchanged, whatever the message's own id and time."""
    assert same(back(continuation(REQUEST, PROGRESS)), REQUEST, PROGRESS)


@pytest.mark.parametrize("name", ["generation", "detaching_read_at"])
def test_obsolete_fields_are_dropped(name: str) -> None:
    """A message may still contain fields of an earlier release."""
    assert same(back(ours(message(progress={**message()["progress"], name: "x"}))), REQUEST, PROGRESS)


def test_a_fresh_continuation_is_small() -> None:
    """Unknown fields take no space in the message."""
    assert len(continuation(REQUEST, Progress(first_seen_at=START))) < 500


@given(
    context=st.none() | st.dictionaries(TEXT, JSON, max_size=3),
    trace=st.none() | TEXT,
    expires=st.none() | TIME,
    error=st.none() | TEXT,
    first=TIME,
    attempt=st.integers(0, 10_000),
)
def test_any_request_comes_back(
    context: Any, trace: str | None, expires: datetime | None, error: str | None, first: datetime, attempt: int
) -> None:
    """The round trip is exact for every value a request can hold."""
    request = replace(REQUEST, context=context, tracestate=trace, expires_at=expires)
    progress = Progress(first_seen_at=first, attempt=attempt, last_error=error)
    assert same(back(continuation(request, progress)), request, progress)


def test_redelivery_is_recorded() -> None:
    """A continuation that was delivered before has the time of that; its progress is kept."""
    found: Any = read(received(continuation(REQUEST, PROGRESS), receive_count=2), "bms", START, MESSAGE_KEYS)
    assert found[0].progress.redelivered_since == START + timedelta(minutes=6)
    assert back(continuation(REQUEST, PROGRESS)).progress.redelivered_since == START


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (message(continuation=2), "continuation"),
        (message(continuation=None), "continuation"),
        (message(surprise=1), "surprise"),
        (message(request=None), "request"),
        (message(progress=[]), "progress"),
        (message(request={**message()["request"], "force": True}), "request.force"),
        (message(request={**message()["request"], "server_id": "../x"}), "request.server_id"),
        (message(progress={**message()["progress"], "mood": "good"}), "progress.mood"),
        (message(progress={**message()["progress"], "first_seen_at": "2026-11-23T08:00:00"}), "progress.first_seen_at"),
        (message(progress={**message()["progress"], "attempt": "3"}), "progress.attempt"),
        ({"continuation": 1, "progress": {}}, "request"),
    ],
)
def test_fields_that_we_did_not_write_are_refused(body: dict[str, Any], field: str) -> None:
    """A continuation with unknown or broken fields is refused as a whole, and the fault is named."""
    found = back(ours(body))
    assert isinstance(found, Rejected)
    assert field in [fault.field for fault in found.faults]
    assert found.own == "continuation"


def test_another_releases_continuation_is_not_answered() -> None:
    """A detach under way is not rejected because we cannot read its message: the message returns to the queue."""
    bench = Bench()
    assert ["m-0"] == list(bench.handle(ours(message(continuation=2))))
    assert (bench.bus.events, len(bench.queue)) == ([], 0)


def test_an_unreadable_message_still_names_its_request() -> None:
    """Another function can answer with the request's own identity."""
    found = back(ours(message(progress=None)))
    assert (found.origin.id, found.origin.source, found.server_id, found.volume_id) == ("4711",
        "/changes", SERVER, VOLUME)  # fmt: skip


SAID = {"type": "user", "id": "root", "via": "webhook_iam"}
ASKER = Requester(AuthType.USER, "root", Via.WEBHOOK_IAM)


@pytest.mark.parametrize(
    ("told", "asked_by"),
    [
        ({}, Origin("4711", "/changes", SENT)),
        ({"correlation_id": "c", "traceparent": TRACE, "tracestate": "a=1", "requester": SAID},
            Origin("4711", "/changes", SENT, None, "c", TRACE, "a=1", ASKER)),
        ({"id": 5, "source": "", "correlation_id": "a\nb", "requester": "root"}, Origin("m-2", QUEUE_ARN, SENT)),
    ],
)  # fmt: skip
def test_an_unreadable_continuation_names_its_request(told: dict[str, Any], asked_by: Origin) -> None:
    """It has all that the verdict needs: requester, volume, waiting task, and the unconfirmed verdict."""
    request = {**message()["request"], "task_token": "AQC-token", "context": {"a": 1}, "dry_run": True, **told}
    body = message(continuation=2, request=request)
    expected = Rejected(
        asked_by, (), json.dumps(body), SERVER, VOLUME, {"a": 1}, "AQC-token", "continuation", True, "u"
    )
    found = back(ours(body))
    assert replace(found, faults=(), original="") == replace(expected, original="")
    assert Fault("continuation", "Input should be 1") in found.faults
    assert "mac" not in json.loads(found.original)


@pytest.mark.parametrize("progress", [[], None, {}, {"unconfirmed_id": 5}, {"unconfirmed_id": ""}, ["unconfirmed_id"]])
def test_an_unreadable_unconfirmed_id_is_ignored(progress: object) -> None:
    """A verdict cannot refer to an unconfirmed one without its id."""
    assert back(ours(message(continuation=2, progress=progress))).unconfirmed_id is None


def test_waiting_delivery_comes_back() -> None:
    """Completely; for an unreadable one every fault is named."""
    assert back(waiting("sink", EVENT)) == WaitingDelivery(to="sink", event=EVENT, since=START)
    found = back(ours(without(WAITING, "to") | {"pending_delivery": 2, "surprise": 1}))
    assert found.own == "pending_delivery"
    assert {"pending_delivery", "to", "surprise"} == {fault.field for fault in found.faults}


@pytest.mark.parametrize("body", ["{", "[]", "5", '{"a": 1}', '{"mac": 1, "mac": 2}'])
def test_a_message_without_a_mac_is_shown_unchanged(body: str) -> None:
    """Byte for byte."""
    assert without_mac(body) == body


def test_message_is_shown_without_its_mac() -> None:
    """A reader could send it again."""
    assert json.loads(without_mac(json.dumps(GENUINE))) == without(GENUINE, "mac")


USER = {"authtype": "user", "authid": "root"}


@pytest.mark.parametrize(
    ("event", "asked_by"),
    [
        (USER, Requester(AuthType.USER, "root", Via.QUEUE)),
        ({**USER, "authvia": "webhook_iam"}, Requester(AuthType.USER, "root", Via.WEBHOOK_IAM)),
        ({"authtype": "api_key", "authid": 5, "authvia": "webhook_bearer"},
            Requester(AuthType.API_KEY, None, Via.WEBHOOK_BEARER)),
        ({"authtype": "of a later release", "authid": "x"}, Requester(AuthType.UNKNOWN, "x")),
        ({**USER, "authvia": "of a later release"}, None),
        ({"authid": "root", "authvia": "queue"}, None),
        ({"authtype": 5, "authvia": "queue"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_requester_of_a_signed_request(event: dict[str, Any], asked_by: Requester | None) -> None:
    """The requester according to the webhook endpoint; an unknown kind of proof proves nothing."""
    assert requester_in(event) == asked_by


def test_the_requester_survives_the_round_trip() -> None:
    """A requester without an id has no `authid`."""
    assert as_attributes(ASKER) == {"authtype": "user", "authid": "root", "authvia": "webhook_iam"}
    assert as_attributes(Requester(AuthType.UNKNOWN)) == {"authtype": "unknown", "authvia": "queue"}
    assert requester_in(as_attributes(ASKER)) == ASKER


def forged(body: str) -> Rejected:
    found = back(body)
    assert isinstance(found, Rejected)
    assert (found.reason, found.own) == (Reason.NOT_AUTHENTIC, None)
    return found


@pytest.mark.parametrize(
    "body",
    [
        without(GENUINE, "mac"),
        GENUINE | {"mac": ""},
        GENUINE | {"mac": None},
        GENUINE | {"mac": "ä" * 64},
        GENUINE | {"mac": [GENUINE["mac"]]},
        GENUINE | {"mac": GENUINE["mac"].upper()},
        GENUINE | {"mac": WAITING["mac"]},
        GENUINE | {"mac": "0" * 64},
        GENUINE | {"continuation": 2},
        GENUINE | {"surprise": None},
        GENUINE | {"request": GENUINE["request"] | {"task_token": "AQC"}},
        GENUINE | {"progress": without(GENUINE["progress"], "accepted_at")},
        GENUINE | {"progress": GENUINE["progress"] | {"deletes_sent": 2}},
        without(WAITING, "mac"),
        WAITING | {"to": "task"},
        WAITING | {"event": WAITING["event"] | {"body": "{}"}},
        {"continuation": 1, "progress": {}},
        {"pending_delivery": 1, "event": {}, "mac": ""},
    ],
)
def test_messages_without_our_mac_are_not_trusted(body: dict[str, Any]) -> None:
    """Neither progress nor a verdict can be forged, and no byte of a genuine message can be changed."""
    found = forged(json.dumps(body))
    assert (found.origin.id, found.origin.source) == ("m-2", QUEUE_ARN)
    assert (found.server_id, found.volume_id, found.context, found.task_token) == (None, None, None, None)
    kind = "continuation" if "continuation" in body else "pending_delivery"
    fault = Fault("mac", f"must be the MAC of this service, since the message says that it is its own {kind}")
    assert (found.faults, found.original) == ((fault,), json.dumps(body))


@pytest.mark.parametrize("dump", [partial(json.dumps, indent=2), partial(json.dumps, ensure_ascii=False)])
def test_blanks_order_and_escapes_do_not_matter(dump: Callable[[object], str]) -> None:
    """A message that was parsed and serialised again is still authentic."""
    message = json.loads(continuation(replace(REQUEST, context={"ä": [1.0, -0.0, 2**60, 1e-7]}), PROGRESS))
    case = back(dump(dict(reversed(message.items()))))
    assert case.request.context == {"ä": [1.0, -0.0, 2**60, 1e-7]}


def test_messages_are_ascii() -> None:
    """A queue refuses some characters that a request may contain, so all are escaped."""
    context: dict[str, Any] = {"\ufffe\uffff": "\x7f\x85\u2028\U0001fffe"}
    body = continuation(replace(REQUEST, context=context), PROGRESS)
    assert body.isascii()
    assert back(body).request.context == context


def test_the_previous_key_is_accepted_and_older_ones_are_not() -> None:
    """A key is rotated while messages are in the queue."""
    old, new, newer = b"old", b"new", b"newer"
    body = signed(without(GENUINE, "mac"), FixedKeys((old,)).mac)
    assert not isinstance(read(received(body), "bms", START, FixedKeys((new, old))), Rejected)
    found: Any = read(received(body), "bms", START, FixedKeys((newer, new)))
    assert found.forged


@pytest.mark.parametrize(("made_after", "believed"), [(-901, False), (-900, True), (3600, True)])
def test_unsigned_messages_of_the_previous_release_are_read(made_after: int, believed: bool) -> None:
    """Messages from before the key existed are read, and those that the old release sent during the deployment."""
    message = received(json.dumps(without(GENUINE, "mac")))
    keys = replace(MESSAGE_KEYS, made=message.sent_at + timedelta(seconds=made_after))
    assert isinstance(read(message, "bms", START, keys), list) == believed
    wrong: Any = read(replace(message, body=json.dumps(GENUINE | {"mac": "0" * 64})), "bms", START, keys)
    assert wrong.forged


def test_a_forgery_is_answered_and_finished() -> None:
    """It cannot end another request: the answer has the message's own identity."""
    bench = Bench(consumers={"sink": (sink := Sink())})
    disk = bench.disk()
    progress = {"first_seen_at": START.isoformat(), "accepted_at": START.isoformat(), "deletes_sent": 1}
    request = {"id": "4711", "source": "/changes", "requested_at": START.isoformat(), "server_id": bench.server,
               "volume_id": disk, "task_token": "AQC"}  # fmt: skip
    bench.queue.put(json.dumps({"continuation": 1, "request": request, "progress": progress}))
    bench.queue.put(json.dumps(without(WAITING, "mac")))
    bench.run()
    assert [("failed", "not_authentic")] * 2 == [(data["verdict"], data["detail"]) for data in bench.bus.data]
    answers = [event["id"] for event in bench.bus.events]
    assert not {verdict_id("/changes", "4711", disk, outcome) for outcome in Outcome} & set(answers)
    assert answers == sink.taken
    assert (bench.errors, bench.queue.dead_letters, bench.cloud.calls) == ([], [], [])
    assert sum("request rejected" in line for line in bench.logs) == 2


def test_without_a_key_nothing_is_guessed() -> None:
    """While the key cannot be read our messages return to the queue; requests without a continuation go on."""
    bench = Bench(macs=NoKeys())
    disk, gone = bench.disk(), bench.disk(attached=False)
    assert ["m-0", "m-1"] == sorted(bench.handle(json.dumps(GENUINE), bench.request(disk), bench.request(gone)))
    assert ["already_detached"] == [data["detail"] for data in bench.bus.data]
