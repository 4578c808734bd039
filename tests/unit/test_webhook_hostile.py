"""Any HTTP request: no error, nothing without authentication, nothing that the consumer cannot read."""

import base64
import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.receive_webhook.handler import http_request_of
from shared.decision.progress import Progress
from shared.model import DetachRequest
from shared.own_messages import VERSION, Continuation
from shared.policy import BODY_BYTES
from shared.webhook.http_binding import BATCHED, STRUCTURED
from tests.http_requests import (
    DATA,
    NOW,
    TOKEN,
    FakeQueue,
    body_of,
    cloudevent,
    endpoint,
    http_request,
    requests_read,
    signed,
    structured,
    with_token,
)
from tests.messages import SERVER, VOLUME
from tools.sender import LOCAL_SECRET

CASES = int(os.environ.get("HYPOTHESIS_CASES", "1000"))


REQUEST = DetachRequest(id="1", source="/s", requested_at=NOW, server_id=SERVER, volume_id=VOLUME)
CONTINUATION = Continuation(continuation=VERSION, request=REQUEST, progress=Progress(first_seen_at=NOW)).model_dump(
    mode="json", exclude_defaults=True, by_alias=True
)
INTERNAL = {
    "continuation": CONTINUATION,
    "pending delivery": {"pending_delivery": 1, "to": "sink", "event": {}, "since": NOW.isoformat()},
}


@pytest.mark.parametrize("message", INTERNAL.values(), ids=INTERNAL)
@pytest.mark.parametrize("wrapped", [
    lambda value: signed(value),
    lambda value: structured(value),
    lambda value: structured(cloudevent(value)),
    lambda value: structured({**cloudevent(), **value}),
    lambda value: signed({"detail-type": "x", "detail": value}),
    lambda value: signed({"Type": "Notification", "TopicArn": "x", "Message": json.dumps(value)}),
    lambda value: signed({**DATA, **value}),
])  # fmt: skip
def test_messages_of_our_own_are_not_accepted(message: dict[str, Any], wrapped: Any) -> None:
    """The queue carries our own messages too; a forged one could skip every check of the request."""
    queue = FakeQueue()
    endpoint(queue).answer(wrapped(message))
    assert {request.volume_id for request in requests_read(queue)} <= {VOLUME}
    assert all(
        set(event)
        <= {"specversion", "id", "source", "type", "time", "datacontenttype", "data", "mac"}
        | {"authtype", "authid", "authvia"}
        for event in queue.events
    )
    assert all(set(event["data"]) == set(DATA) for event in queue.events)


def test_requests_that_the_consumer_would_reject_are_rejected() -> None:
    """A request with the deepest accepted nesting can be read from the queue."""
    queue = FakeQueue()
    contexts: list[Any] = [{}]
    for _ in range(44):
        contexts.append({"x": contexts[-1]})
    answers = [
        endpoint(queue).answer(signed({**DATA, "context": context})).status
        for context in contexts[28:33] + contexts[42:]
    ]
    assert answers == [202, 202, 422, 422, 422, 400, 400, 400]
    assert len(requests_read(queue)) == 2


NAMES = [
    *("content-type", "content-encoding", "authorization", "idempotency-key", "webhook-request-origin"),
    *("webhook-id", "webhook-timestamp", "webhook-signature"),
    *("ce-id", "ce-type", "ce-specversion", "ce-source", "ce-time"),
]
VALUES = ["application/json", STRUCTURED, BATCHED, "1.0", "Bearer ", "v1,", "gzip", "bms.volume.detach_requested.v1"]
header_values = st.one_of(st.sampled_from(VALUES), st.text(st.characters(codec=None), max_size=40))
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.sampled_from([SERVER, VOLUME]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*cloudevent(), *DATA, "volume_ids", "context", "detail", "detail-type"]), inner
        )
    ),
    max_leaves=12,
)
changes = st.dictionaries(st.sampled_from([*cloudevent(), *DATA, "context", "x"]), json_values, max_size=2)
json_bodies = st.one_of(
    json_values,
    changes.map(lambda changed: {**DATA, **changed}),
    changes.map(lambda changed: {**cloudevent(), **changed}),
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=CASES, deadline=None)
@given(
    method=st.sampled_from(["POST", "POST", "POST", "OPTIONS", "GET"]),
    headers=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=10), header_values, max_size=8),
    body=st.binary(max_size=200) | json_bodies,
)
def test_nothing_of_a_stranger_is_accepted(method: str, headers: dict[str, str], body: bytes) -> None:
    """Raw headers and bytes: never an error, never a 5xx, nothing in the queue."""
    queue = FakeQueue()
    answer = endpoint(queue).answer(http_request(method, headers, body))
    assert answer.status in (200, 401, 405)
    assert queue.taken == []
    assert answer.body == "" or body_of(answer)


@settings(max_examples=CASES // 4, deadline=None)
@given(
    headers=st.dictionaries(st.sampled_from(NAMES), header_values, max_size=5),
    kind=st.sampled_from(["application/json", STRUCTURED, BATCHED]),
    body=json_bodies | st.lists(json_bodies, max_size=3).map(lambda bodies: b"[" + b",".join(bodies) + b"]"),
)
def test_accepted_requests_are_read_by_the_consumer(headers: dict[str, str], kind: str, body: bytes) -> None:
    """Whatever an authenticated sender sends, the queue's consumer reads enqueued messages as the promised requests."""
    queue = FakeQueue()
    names = {name: value for name, value in headers.items() if name.startswith(("ce-", "idempotency"))}
    answer = endpoint(queue).answer(signed(body, kind, names))
    assert answer.status in (202, 400, 415, 422)
    promised = [
        request
        for result in body_of(answer).get("events") or [body_of(answer)]
        for request in result.get("requests", ())
    ]
    read_again = requests_read(queue)
    assert [(r["id"], r["source"], r["volume_id"]) for r in promised] == [
        (r.id, r.source, r.volume_id) for r in read_again
    ]
    assert all(r.requested_at <= NOW for r in read_again)


# --------------------------------------------------------------------------------------- headers as gateways make them


GOOD = signed(DATA).headers["webhook-signature"]
BAD = "v1," + "A" * 43 + "="


@pytest.mark.parametrize(("signature", "status"), [
    (f"{BAD} {GOOD}", 202), (f"{GOOD} {BAD}", 202), (f"v1a,{'A' * 86}== {GOOD}", 202), (f"  {GOOD}  ", 202),
    (f"{BAD},{GOOD}", 202),  # one header sent twice, as a gateway joins them
    (f"{GOOD}, {GOOD}", 202), (f"{GOOD},", 202), (f",{GOOD}", 202), (f"{BAD}\r\n\t{GOOD}", 202),
    (f"{BAD} v1, {GOOD} v1", 202), (f"{GOOD}," * 500, 202),
    (BAD, 401), ("v1,", 401), (" ", 401), (",", 401), (GOOD[3:], 401), (f"v1a,{GOOD[3:]}", 401),
    (f"v2,{GOOD[3:]}", 401), (f"V1,{GOOD[3:]}", 401), (f'"{GOOD}"', 401), (f"xv1,{GOOD[3:]}", 401),
    (GOOD.rstrip("="), 401), (GOOD + "=", 401), (GOOD + "A", 401), (GOOD.replace(",", ", "), 401), ("v1," * 3000, 401),
    ("v1,\u0661\xe9\ud800", 401),
])  # fmt: skip
def test_signatures(signature: str, status: int) -> None:
    """One valid signature of version 1 is needed, among others and with any separator."""
    request = signed(DATA)
    sent = http_request("POST", {**request.headers, "webhook-signature": signature}, request.body)
    assert endpoint().answer(sent).status == status


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
@pytest.mark.parametrize(
    "change", ["{0},{0}", "{0}, {0}", "{0} {0}", "{0}\r\n {0}", "", " ", "\ud800", "{0}.0", "+{0}"]
)
def test_changed_headers_are_not_the_signed_ones(name: str, change: str) -> None:
    """A header that was doubled, folded or emptied is not the signed one."""
    request = signed(DATA)
    headers = {**request.headers, name: change.format(request.headers[name])}
    assert endpoint().answer(http_request("POST", headers, request.body)).status == 401


@pytest.mark.parametrize("authorization", [
    f"Bearer {TOKEN},Bearer {TOKEN}", f"Bearer {TOKEN}, x", f"Bearer{TOKEN}", f"Basic {TOKEN}", "Bearer", "Bearer ",
    f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN}x", "Bearer \ud800",
])  # fmt: skip
def test_invalid_tokens(authorization: str) -> None:
    """Neither a part of a token nor a list of tokens; the answer does not echo them."""
    answer = endpoint().answer(with_token(DATA, headers={"authorization": authorization}))
    assert answer.status == 401
    assert not any(part in answer.body + str(answer.all_headers) for part in (TOKEN[:-1], TOKEN.upper()))


# -------------------------------------------------------------------------------------------- what an answer holds


LONG = "x" * 20_000
ANSWERS = {
    "accepted": (signed(DATA), 202),
    "consent": (http_request("OPTIONS", {"webhook-request-origin": "events.example.com"}), 200),
    "an origin with a line break": (
        http_request("OPTIONS", {"webhook-request-origin": "events.example.com\r\nset-cookie: a=b"}), 405),
    "a stranger": (http_request("POST", {"authorization": LONG}, b"{}"), 401),
    "another method": (http_request("HEAD", {}), 405),
    "a line break for a method": (http_request("GET\r\nx: y", {}), 405),
    "no content type": (signed(DATA, ""), 415),
    "two content types": (signed(DATA, "application/json,application/json"), 415),
    "a long charset": (signed(DATA, f"application/json; charset={LONG}"), 415),
    "no JSON": (signed(b"{"), 400),
    "a long name twice": (signed(b'{"' + LONG.encode() + b'":1,"' + LONG.encode() + b'":2}'), 400),
    "long names": (signed({LONG: 1, f"{LONG}2": 1}), 422),
    "many names": (signed({f"name-{at}": 1 for at in range(4000)}), 422),
    "names that no header may have": (signed(DATA, headers={"ce-\ud800": "1", "ce-\r\nx": "1", "ce-id": "\xe9"}), 422),
    "too large": (http_request("POST", {}, b"x" * 70_000), 413),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_properties_of_every_answer(name: str) -> None:
    """Short, not cacheable, with a fixed content type, and without line breaks in headers."""
    sent, status = ANSWERS[name]
    answer = endpoint().answer(sent)
    assert answer.status == status
    assert answer.all_headers["Cache-Control"] == "no-store"
    assert answer.all_headers["X-Content-Type-Options"] == "nosniff"
    assert all(value.isascii() and value.isprintable() for value in answer.all_headers.values())
    assert "set-cookie" not in str(answer.all_headers)
    assert len(answer.body.encode()) < 40_000
    assert LONG[:1000] not in answer.body
    assert LOCAL_SECRET not in answer.body
    assert (status in (200,)) or body_of(answer)


# ---------------------------------------------------------------------------------------------- before it is read


@pytest.mark.parametrize(("headers", "body", "encoded", "too_large"), [
    ({}, "x" * BODY_BYTES, False, False), ({}, "x" * (BODY_BYTES + 1), False, True),
    ({}, base64.b64encode(b"x" * BODY_BYTES).decode(), True, False),
    ({}, base64.b64encode(b"x" * (BODY_BYTES + 3)).decode(), True, True),
    ({}, "!" * 100_000, True, True),  # no base64 at all: it is not decoded
    ({"Content-Length": "65537"}, "", False, True), ({"content-length": "65536"}, "", False, False),
    ({"Content-Length": "9" * 5000}, "", False, True), ({"Content-Length": "x"}, "", False, False),
    ({"Content-Length": "-1"}, "", False, False), ({"Content-Length": "\u0669" * 9}, "", False, False),
])  # fmt: skip
def test_413_before_the_body_is_decoded(headers: dict[str, str], body: str, encoded: bool, too_large: bool) -> None:
    """By the declared length or by that of the text."""
    context = {"http": {"method": "POST"}, "requestId": "1"}
    event = {"requestContext": context, "headers": headers, "body": body, "isBase64Encoded": encoded}
    request = http_request_of(event)
    assert request.too_large is too_large
    assert (endpoint().answer(request).status == 413) is too_large
