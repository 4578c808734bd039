"""Accepted requests: the message in the queue, and the answer with the verdict's id."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from shared.decision.case import Case, detached, failed
from shared.decision.progress import Progress
from shared.model import Detail, Message, Outcome, Reason, verdict_id
from shared.outbox.events import EventFactory
from shared.signatures import Keys
from shared.webhook.receive import Rules
from tests.http_requests import (
    DATA,
    NOW,
    RULES,
    TOKEN,
    FakeKeyRing,
    FakeQueue,
    body_of,
    cloudevent,
    endpoint,
    http_request,
    requests_read,
    signed,
    structured,
    unsigned,
)
from tests.messages import OTHER_VOLUME, SERVER, TRACE, VOLUME


def test_a_cloudevent_keeps_its_identity() -> None:
    """Id, source, time and extensions reach the queue unchanged; the answer has the ids of the verdicts."""
    queue = FakeQueue()
    event = cloudevent(correlationid="CHG-1", traceparent=TRACE, expirytime="2026-11-24T08:00:00Z")
    answer = endpoint(queue).answer(structured(event))
    assert answer.status == 202
    (request,) = requests_read(queue)
    assert (request.id, request.source) == ("4711", "/changes")
    assert request.requested_at == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert request.expires_at == datetime(2026, 11, 24, 8, tzinfo=UTC)
    assert (request.correlation_id, request.traceparent) == ("CHG-1", TRACE)
    assert body_of(answer) == {
        "requests": [
            {
                "id": "4711",
                "source": "/changes",
                "server_id": SERVER,
                "volume_id": VOLUME,
                "requested_at": "2026-11-23T08:00:00Z",
                "verdict_id": verdict_id("/changes", "4711", VOLUME, Outcome.DETACHED),
                "unconfirmed_id": verdict_id("/changes", "4711", VOLUME, Outcome.UNCONFIRMED),
            }
        ]
    }


def test_bare_json_is_named_by_the_webhook() -> None:
    """The id is the webhook's, the source the endpoint's, the time the signed one."""
    queue = FakeQueue()
    assert endpoint(queue, now=NOW + timedelta(minutes=4)).answer(signed(DATA, id="msg_7")).status == 202
    (request,) = requests_read(queue)
    assert (request.id, request.source, request.requested_at) == ("msg_7", "/bms-volume-detach/webhook", NOW)


@pytest.mark.parametrize("event", [signed, structured])
def test_a_retry_is_the_same_request(event: Any) -> None:
    """A request with a time that is sent again hours later gives the same message and answer."""
    value = cloudevent() if event is structured else {**DATA, "requested_at": "2026-11-23T08:00:00Z"}
    later = NOW + timedelta(hours=10)
    queue = FakeQueue()
    first = endpoint(queue).answer(event(value))
    assert endpoint(queue, now=later).answer(event(value, at=later)) == first
    assert {request.requested_at for request in requests_read(queue)} == {datetime(2026, 11, 23, 8, tzinfo=UTC)}
    assert len({message.body for message in queue.taken}) == 1


@pytest.mark.parametrize("time", [None, "2027-01-01T00:00:00Z"])
def test_the_signed_time_stands_in_for_none_and_bounds_a_later_one(time: str | None) -> None:
    """A time in the future would allow to detach a volume that was attached after the request."""
    queue = FakeQueue()
    endpoint(queue).answer(structured(cloudevent(time=time)))
    assert queue.events[0]["time"] == NOW.isoformat()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({"idempotency-key": "k"}, "k"), ({"webhook-id": "m-1", "idempotency-key": "k"}, "m-1"), ({}, "http-request-1")],
)
def test_the_id_of_an_unsigned_bare_request(headers: dict[str, str], expected: str) -> None:
    """A sender with a token can set the id in a header; otherwise it is generated."""
    queue = FakeQueue()
    keys = FakeKeyRing(Keys.parse({"bearer_tokens": [TOKEN]}))
    endpoint(queue, keys).answer(unsigned(DATA, headers={"authorization": f"Bearer {TOKEN}", **headers}))
    assert [request.id for request in requests_read(queue)] == [expected]


def test_a_dry_run_names_the_id_of_its_check() -> None:
    """A dry run ends with `detach_checked`, which has its own id and no unconfirmed event before it."""
    (request,) = body_of(endpoint().answer(signed({**DATA, "dry_run": True})))["requests"]
    assert request["verdict_id"] == verdict_id(RULES.source, "msg_1", VOLUME, Outcome.CHECKED)
    assert "unconfirmed_id" not in request


def test_volume_ids_fan_out() -> None:
    """Each volume is a request of its own in the queue, with the identity and the correlation of the one event."""
    queue = FakeQueue()
    volumes = [f"00000000-0000-4000-8000-{number:012}" for number in range(40)]
    event = cloudevent({"server_id": SERVER, "volume_ids": volumes, "unmounted": True}, correlationid="CHG-1")
    answer = body_of(endpoint(queue).answer(structured(event)))
    assert [request.volume_id for request in requests_read(queue)] == volumes
    found = {(r.id, r.source, r.correlation_id, r.unmounted) for r in requests_read(queue)}
    assert found == {("4711", "/changes", "CHG-1", True)}
    assert all("volume_ids" not in event["data"] for event in queue.events)
    assert len({request["verdict_id"] for request in answer["requests"]}) == 40


def test_binary_mode() -> None:
    """The same event with its attributes in headers is the same request."""
    queue = FakeQueue()
    headers = {
        f"ce-{name}": quote(value, safe="/:") for name, value in cloudevent(subject="ä").items() if name != "data"
    }
    endpoint(queue).answer(signed(DATA, headers=headers))
    endpoint(queue).answer(structured(cloudevent(subject="ä")))
    assert queue.taken[0] == queue.taken[1]


def test_every_field_reaches_the_queue() -> None:
    """No field of a request is lost."""
    data = {**DATA, "project_id": "c685484a8cc2416b97260938705deb65", "attachment_id": OTHER_VOLUME,
        "unmounted": True, "allow_system_disk": True, "dry_run": True, "request_ttl": 60, "task_token": "token",
        "context": {"ticket": "CHG-1", "ü": [1, None, {"x": 1.5}]}}  # fmt: skip
    queue = FakeQueue()
    endpoint(queue).answer(structured(cloudevent(data)))
    (request,) = requests_read(queue)
    assert {name: getattr(request, name) for name in data} == data


def test_the_verdict_has_the_promised_id() -> None:
    """The id in the answer is the id of the event that the service emits about the request in the queue."""
    queue = FakeQueue()
    (promised,) = body_of(endpoint(queue).answer(signed(DATA)))["requests"]
    (request,) = requests_read(queue)
    case = Case(request, Message("", "m", "queue", NOW), Progress(first_seen_at=NOW))
    factory = EventFactory()
    for conclusion in (detached(Detail.DETACHED_NOW), failed(Reason.EXPIRED)):
        assert factory.verdict(case, conclusion, NOW).id == promised["verdict_id"]
    assert factory.unconfirmed(case, "x", NOW).id == promised["unconfirmed_id"]


@pytest.mark.parametrize(
    ("allowed", "asked", "granted"),
    [
        (("events.example.com",), "events.example.com", "events.example.com"),
        (("a.example", "events.example.com"), "Events.Example.COM", "events.example.com"),
        (("*",), "anybody.example", "*"),
        (("*",), "", None),
        (("events.example.com",), "example.com", None),
        (("events.example.com",), "x.events.example.com", None),
        (("events.example.com",), "*", None),
        (("events.example.com",), "", None),
        ((), "events.example.com", None),
        ((), "", None),
    ],
)
def test_handshake(allowed: tuple[str, ...], asked: str, granted: str | None) -> None:
    """The headers grant permission to allowed origins only (CloudEvents WebHook §4)."""
    rules = Rules(source="/webhook", allowed_origins=allowed)
    sent = http_request("OPTIONS", {"webhook-request-origin": asked, "webhook-request-rate": "120"} if asked else {})
    answer = endpoint(rules=rules).answer(sent)
    assert answer.headers.get("WebHook-Allowed-Origin") == granted
    assert answer.headers.get("WebHook-Allowed-Rate") == ("*" if granted else None)
    assert answer.headers["Allow"] == "POST"
    assert answer.status == (200 if granted else 405)


def test_the_http_trace_counts_if_the_event_has_none() -> None:
    """W3C Trace Context in the HTTP headers, with blanks that proxies add."""
    queue = FakeQueue()
    headers = {"traceparent": f" {TRACE}\t", "tracestate": " a=1 ,, b=2 "}
    other = TRACE.replace("0af7", "1af7")
    for event in (cloudevent(), cloudevent(traceparent=other), cloudevent(traceparent="broken")):
        post = structured(event)
        assert endpoint(queue).answer(replace(post, headers={**post.headers, **headers})).status == 202
    found = [(request.traceparent, request.tracestate) for request in requests_read(queue)]
    assert found == [(TRACE, "a=1,b=2"), (other, None), (TRACE, "a=1,b=2")]
