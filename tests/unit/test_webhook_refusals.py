"""Rejected requests: every status, and nothing in the queue."""

import json
from datetime import timedelta

import pytest

from shared.policy import BATCH_EVENTS, BODY_BYTES
from shared.signatures import Keys
from shared.webhook.http_binding import BATCHED, STRUCTURED
from shared.webhook.receive import HttpRequest, Rules
from tests.http_requests import (
    DATA,
    KEYS,
    NOW,
    RULES,
    TOKEN,
    FakeKeyRing,
    FakeQueue,
    batched,
    cloudevent,
    endpoint,
    fields,
    http_request,
    problem_of,
    signed,
    structured,
    unsigned,
    with_token,
)
from tests.messages import OTHER_VOLUME, SERVER, VOLUME
from tools.sender import LOCAL_SECRET

OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xc3", b"\xff", b'{"server_id":1,"server_id":2}', b"NaN", b"[1e999]", b"[" * 60_000, b'"\\ud800"'],
)
@pytest.mark.parametrize("kind", ["application/json", STRUCTURED, BATCHED])
def test_400(body: bytes, kind: str) -> None:
    """A body that is not JSON, or is ambiguous, is rejected."""
    answer = endpoint().answer(with_token(body, kind))
    assert problem_of(answer, 400)["detail"].startswith("the body cannot be read")


NOBODY = Rules(source="/webhook")
OPEN = Rules(source="/webhook", iam_auth=True)
GOOD = signed(DATA)
BY_IAM = HttpRequest("POST", {"content-type": "application/json"}, b"{}", "1", iam="arn:aws:iam::123456789012:user/ci")


@pytest.mark.parametrize(
    ("sent", "rules", "keys"),
    [
        pytest.param(GOOD, NOBODY, Keys(), id="nothing configured, signed"),
        pytest.param(with_token(DATA), NOBODY, Keys(), id="nothing configured, token"),
        pytest.param(BY_IAM, NOBODY, Keys(), id="nothing configured, IAM"),
        pytest.param(unsigned(DATA), RULES, KEYS, id="no signature, no token"),
        pytest.param(unsigned(DATA), OPEN, KEYS, id="IAM not used"),
        pytest.param(signed(DATA, secret=OTHER_SECRET), RULES, KEYS, id="another secret"),
        pytest.param(signed(DATA, at=NOW - timedelta(minutes=6)), RULES, KEYS, id="too old"),
        pytest.param(signed(DATA, at=NOW + timedelta(minutes=6)), RULES, KEYS, id="too new"),
        pytest.param(HttpRequest("POST", GOOD.headers, GOOD.body + b" ", "1"), RULES, KEYS, id="changed body"),
        pytest.param(HttpRequest("POST", GOOD.headers, b"\xff" + GOOD.body, "1"), RULES, KEYS, id="no UTF-8"),
        pytest.param(signed(DATA, id="a.1"), RULES, KEYS, id="full stop in the id: `a` at time 1 signs the same"),
        pytest.param(with_token(DATA, headers={"authorization": "Bearer x"}), RULES, KEYS, id="another token"),
        pytest.param(signed(DATA, secret=OTHER_SECRET, headers={"authorization": f"Bearer {TOKEN}"}), OPEN, KEYS,
                     id="what is signed is judged by its signature"),
    ],
)  # fmt: skip
def test_401(sent: HttpRequest, rules: Rules, keys: Keys) -> None:
    """An unknown sender is told how to authenticate, and nothing is enqueued."""
    queue = FakeQueue()
    answer = endpoint(queue, FakeKeyRing(keys), rules).answer(sent)
    assert "errors" not in problem_of(answer, 401)
    assert "StandardWebhooks" in answer.headers["WWW-Authenticate"]
    assert queue.taken == []


def test_iam_authenticates_where_it_is_configured() -> None:
    """A sender that AWS authenticates needs no signature, if the operator allows it."""
    assert endpoint(rules=OPEN, key_ring=FakeKeyRing(Keys())).answer(BY_IAM).status == 422


@pytest.mark.parametrize("rotated", [[OTHER_SECRET, LOCAL_SECRET], [LOCAL_SECRET, OTHER_SECRET]])
def test_a_rotated_key_is_picked_up(rotated: list[str]) -> None:
    """An unknown signature causes another read of the keys; then the old and the new key are valid, in any order."""
    key_ring = FakeKeyRing(KEYS, newest=Keys.parse(rotated))
    assert endpoint(key_ring=key_ring).answer(signed(DATA, secret=OTHER_SECRET)).status == 202
    assert endpoint(key_ring=key_ring).answer(signed(DATA)).status == 202
    assert key_ring.looks == 1


@pytest.mark.parametrize("sent", [unsigned(DATA), signed(DATA, at=NOW - timedelta(hours=1)), http_request("GET", {})])
def test_other_faults_do_not_have_the_keys_read_again(sent: HttpRequest) -> None:
    """Only a signature by an unknown key causes another read of the secret."""
    key_ring = FakeKeyRing()
    endpoint(key_ring=key_ring).answer(sent)
    assert key_ring.looks == 0


def test_a_key_that_cannot_be_looked_for_stays_unknown() -> None:
    """If the keys cannot be read again, the known ones stay valid."""
    key_ring = FakeKeyRing(KEYS, newest=KEYS, trouble=True)
    assert endpoint(key_ring=key_ring).answer(signed(DATA, secret=OTHER_SECRET)).status == 401
    assert endpoint(key_ring=key_ring).answer(signed(DATA)).status == 202


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "post", ""])
def test_405(method: str) -> None:
    """Requests need POST, and the answer says so."""
    answer = endpoint().answer(HttpRequest(method, GOOD.headers, GOOD.body, "1"))
    problem_of(answer, 405)
    assert answer.headers["Allow"] == "OPTIONS, POST"


def test_413_for_the_body() -> None:
    """64 KB are accepted, one byte more is not."""
    body = json.dumps(DATA).encode()
    assert endpoint().answer(signed(body.ljust(BODY_BYTES))).status == 202
    problem_of(endpoint().answer(signed(body.ljust(BODY_BYTES + 1))), 413)


def test_413_for_the_batch() -> None:
    """A hundred events are accepted, one more is not."""
    assert endpoint().answer(batched([cloudevent()] * BATCH_EVENTS)).status == 202
    problem_of(endpoint().answer(batched([cloudevent()] * (BATCH_EVENTS + 1))), 413)


@pytest.mark.parametrize("body", [{}, "x", []])
def test_422_for_bodies_that_are_no_batch(body: object) -> None:
    """A batch is a list of at least one event."""
    problem_of(endpoint().answer(signed(body, BATCHED)), 422)


@pytest.mark.parametrize("binary", [{}, {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}])
@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/xml", "application/cloudevents", "application/cloudevents+xml",
     "application/cloudevents+avro", "application/json; charset=utf-16", "application/json; charset=latin1"],
)  # fmt: skip
def test_415(kind: str, binary: dict[str, str]) -> None:
    """Only JSON in UTF-8 is read, with or without `ce-` headers."""
    problem_of(endpoint().answer(signed(DATA, kind, binary)), 415)


def test_415_for_other_headers() -> None:
    """A body that is compressed, or has no content type, is not read."""
    problem_of(endpoint().answer(signed(DATA, headers={"content-encoding": "gzip"})), 415)
    headers = {name: value for name, value in GOOD.headers.items() if name != "content-type"}
    problem_of(endpoint().answer(HttpRequest("POST", headers, GOOD.body, "1")), 415)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (signed({}), {"server_id", "volume_id"}),
        (signed({**DATA, "server_id": "x", "dryrun": True}), {"server_id", "dryrun"}),
        (signed({**DATA, "volume_ids": [VOLUME]}), {"volume_ids"}),
        (signed({"server_id": SERVER, "volume_ids": [VOLUME] * 2}), {"volume_ids"}),
        (signed([]), {""}),
        (signed(DATA, id="m" * 513), {"id"}),
        (signed(DATA, id="a\nb"), {"id"}),
        (structured(DATA), {"specversion", "id", "source", "type", "data"}),
        (structured(cloudevent(id=None, type="x", data={"server_id": SERVER})), {"id", "type", "volume_id"}),
        (structured(cloudevent(time="yesterday", data={**DATA, "unmounted": "yes"})), {"time", "unmounted"}),
        (structured(cloudevent(type="bms.volume.detached.v1")), {"type"}),
        (structured(5), {""}),
        (signed(DATA, headers={"ce-id": "1"}), {"specversion", "source", "type"}),
        (signed({**DATA, "context": {"x": "y" * 4096}}), {"context"}),
    ],
)  # fmt: skip
def test_422(sent: HttpRequest, expected: set[str]) -> None:
    """Every faulty field is named at once, and nothing is in the queue."""
    queue = FakeQueue()
    assert fields(problem_of(endpoint(queue).answer(sent), 422)) == expected
    assert queue.taken == []


@pytest.mark.parametrize(
    ("header", "value"),
    [("ce-id", "%"), ("ce-id", "%4"), ("ce-id", "%zz"), ("ce-id", "%FF"), ("ce-id", "café"), ("ce-data", "{}"),
     ("ce-datacontenttype", "text/plain"), ("ce-data_base64", "e30="), ("ce-", "x"), ("ce-my-ext", "x")],
)  # fmt: skip
def test_422_for_headers_that_are_no_attributes(header: str, value: str) -> None:
    """A header that cannot be an attribute is named, not ignored."""
    sent = signed(DATA, headers={"ce-specversion": "1.0", header: value})
    assert fields(problem_of(endpoint().answer(sent), 422)) == {header}


def test_one_bad_volume_keeps_all_out() -> None:
    """All volumes of an event are enqueued, or none."""
    queue = FakeQueue()
    answer = endpoint(queue).answer(signed({"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME, "x"]}))
    assert fields(problem_of(answer, 422)) == {"volume_ids.2"}
    assert queue.taken == []
