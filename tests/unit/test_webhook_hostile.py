"""What anybody may send: no error, nothing unauthenticated, nothing that the consumer does not read."""

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.decision.progress import Progress
from shared.model import DetachRequest
from shared.own_messages import VERSION, Continuation
from shared.webhook.http_binding import BATCHED, STRUCTURED
from tests.http_requests import (
    DATA,
    NOW,
    FakeQueue,
    cloudevent,
    endpoint,
    http_request,
    requests_read,
    said,
    signed,
    structured,
)
from tests.messages import SERVER, VOLUME

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
    """The queue carries our own notes too; whoever could forge one could skip every check of the request."""
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


def test_what_the_consumer_would_reject_is_rejected() -> None:
    """Nested as deep as the endpoint accepts, the request can be read from the queue."""
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
    assert answer.body == "" or said(answer)


@settings(max_examples=CASES // 4, deadline=None)
@given(
    headers=st.dictionaries(st.sampled_from(NAMES), header_values, max_size=5),
    kind=st.sampled_from(["application/json", STRUCTURED, BATCHED]),
    body=json_bodies | st.lists(json_bodies, max_size=3).map(lambda bodies: b"[" + b",".join(bodies) + b"]"),
)
def test_what_is_accepted_is_read_by_the_consumer(headers: dict[str, str], kind: str, body: bytes) -> None:
    """A known sender may send what it likes: what is enqueued is a request to the queue's consumer, as promised."""
    queue = FakeQueue()
    names = {name: value for name, value in headers.items() if name.startswith(("ce-", "idempotency"))}
    answer = endpoint(queue).answer(signed(body, kind, names))
    assert answer.status in (202, 400, 415, 422)
    promised = [
        request for result in said(answer).get("events") or [said(answer)] for request in result.get("requests", ())
    ]
    read_again = requests_read(queue)
    assert [(r["id"], r["source"], r["volume_id"]) for r in promised] == [
        (r.id, r.source, r.volume_id) for r in read_again
    ]
    assert all(r.requested_at <= NOW for r in read_again)
