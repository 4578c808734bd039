"""Signatures and tokens: valid ones are accepted, all others rejected."""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from shared.model import AuthType, Requester, Via
from shared.signatures import Authenticated, Keys, NotAuthenticated, check_bearer, check_signature
from tests.http_requests import KEYS, NOW, TOKEN
from tools.sender import LOCAL_SECRET, Post

CASES = int(os.environ.get("HYPOTHESIS_CASES", "1000"))
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = b'{"server_id": "x"}'


def headers_of(body: bytes = BODY, secret: str = LOCAL_SECRET, at: datetime = NOW, id: str = "msg_1") -> dict[str, str]:
    return dict(Post({}, body).signed(secret, at, id).headers)


# The test vector of the Standard Webhooks specification, as its libraries test it.
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def test_the_published_vector() -> None:
    """The signature in the specification is accepted at its time, and equals the package's."""
    at = datetime.fromtimestamp(1614265330, UTC)
    assert check_signature(VECTOR, VECTOR_BODY, Keys.parse([{"name": "ci", "secret": VECTOR_SECRET}]), at) == signer(
        "ci", at
    )
    signature = Webhook(VECTOR_SECRET).sign(VECTOR["webhook-id"], at, VECTOR_BODY.decode())
    assert signature == VECTOR["webhook-signature"]


def signer(name: str, at: datetime = NOW) -> Authenticated:
    return Authenticated(Requester(AuthType.API_KEY, name, Via.WEBHOOK_SIGNATURE), at)


@given(body=st.text(), id=st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1))
def test_signatures_of_the_package_are_accepted(body: str, id: str) -> None:
    """A sender that uses `standardwebhooks` is accepted, whatever it sends."""
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": Webhook(LOCAL_SECRET).sign(id, NOW, body),
    }
    assert check_signature(headers, body.encode(), KEYS, NOW) == signer(KEYS.secrets[0].id)


@given(st.dictionaries(st.text(), st.text()))
def test_our_signatures_are_accepted_by_the_package(value: dict[str, str]) -> None:
    """What `make send` signs is accepted by a receiver that uses `standardwebhooks`."""
    body = json.dumps(value).encode()
    assert Webhook(LOCAL_SECRET).verify(body, headers_of(body, at=datetime.now(UTC))) == value


@pytest.mark.parametrize("change", ["body", "id", "timestamp", "signature"])
def test_both_refuse_what_was_changed(change: str) -> None:
    """One changed character of anything signed is rejected, here and by the package."""
    now = datetime.now(UTC).replace(microsecond=0)
    headers, body = headers_of(at=now), BODY
    if change == "body":
        body = BODY.replace(b"x", b"y")
    elif change == "signature":
        headers["webhook-signature"] = headers["webhook-signature"][:-5] + "AAAA="
    else:
        headers[f"webhook-{change}"] = {"id": "msg_2", "timestamp": str(int(now.timestamp()) + 1)}[change]
    assert isinstance(check_signature(headers, body, KEYS, now), NotAuthenticated)
    with pytest.raises(WebhookVerificationError):
        Webhook(LOCAL_SECRET).verify(body, headers)


def test_a_sender_may_sign_with_several_keys() -> None:
    """One valid signature among others, or among invalid texts, is enough."""
    headers = headers_of()
    headers["webhook-signature"] = f"v1a,zzzz nonsense  v1,!!! {headers['webhook-signature']} v1,AAAA"
    assert check_signature(headers, BODY, KEYS, NOW) == signer(KEYS.secrets[0].id)


@pytest.mark.parametrize(("seconds", "good"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_five_minutes_either_way(seconds: int, good: bool) -> None:
    """The tolerance counts from the given time, not from the machine's clock."""
    result = check_signature(headers_of(at=NOW + timedelta(seconds=seconds)), BODY, KEYS, NOW)
    assert isinstance(result, Authenticated) is good


STAMP = str(int(NOW.timestamp()))


@pytest.mark.parametrize(
    "timestamp",
    ["", STAMP + ".0", " " + STAMP, STAMP + " ", "+" + STAMP, "0" + STAMP, STAMP[:4] + "_" + STAMP[4:], "1e9", "nan",
     "-1", "9" * 12, "9" * 400, "".join(chr(0x0660 + int(digit)) for digit in STAMP)],
)  # fmt: skip
def test_a_timestamp_is_a_plain_integer(timestamp: str) -> None:
    """Other notations of a number are refused, even with a valid signature."""
    headers = headers_of() | {"webhook-timestamp": timestamp}
    assert isinstance(check_signature(headers, BODY, KEYS, NOW), NotAuthenticated)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_every_header_is_needed(name: str) -> None:
    """The missing header is named."""
    headers = {header: value for header, value in headers_of().items() if header != name}
    assert check_signature(headers, BODY, KEYS, NOW) == NotAuthenticated(f"{name} must be sent")


hostile = st.one_of(
    st.text(st.characters(codec=None)),
    st.sampled_from(["", " ", ",", "v1", "v1,", "v1,=", "v1,é", "v1,\ud800", "v1,AAAA v1", STAMP, "\ud800", "Bearer "]),
)
hostile_headers = st.dictionaries(
    st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "authorization", "content-type"]), hostile
)


@settings(max_examples=CASES // 4, deadline=None)
@given(headers=hostile_headers, body=st.binary(), own=st.booleans())
def test_hostile_headers_never_pass_and_never_raise(headers: dict[str, str], body: bytes, own: bool) -> None:
    """Arbitrary headers are rejected, and so is a valid signature over other bytes."""
    sent = {**headers_of(), **headers} if own else headers
    genuine = body == BODY and all(sent.get(name) == value for name, value in headers_of().items())
    assert isinstance(check_signature(sent, body, KEYS, NOW), NotAuthenticated) or genuine
    assert isinstance(check_bearer(sent, KEYS), NotAuthenticated)


@pytest.mark.parametrize(
    ("header", "good"),
    [(f"Bearer {TOKEN}", True), (f"bearer {TOKEN}", True), (f"Bearer {TOKEN}x", False), (TOKEN, False),
     (f"Basic {TOKEN}", False), ("Bearer ", False), ("Bearer é", False), ("Bearer \ud800", False)],
)  # fmt: skip
def test_bearer_tokens(header: str, good: bool) -> None:
    """Only the whole token in the right scheme is accepted."""
    keys = Keys.parse({"bearer_tokens": ["another-token-of-ours", TOKEN]})
    assert isinstance(check_bearer({"authorization": header}, keys), Authenticated) is good


@pytest.mark.parametrize(
    "value",
    ["whsec_x", 5, None, {"secret": LOCAL_SECRET}, ["whsec_"], ["whsec_AAAA"], [LOCAL_SECRET, "whsec_!!!"],
     [LOCAL_SECRET.removeprefix("whsec_")], ["whsec_" + "A" * 120], {"bearer_tokens": ["short"]}, [5]],
)  # fmt: skip
def test_invalid_keys(value: Any) -> None:
    """An empty, weak or malformed secret is refused, and is not shown."""
    with pytest.raises(ValidationError) as refused:
        Keys.parse(value)
    assert LOCAL_SECRET not in str(refused.value)


@given(st.lists(st.sampled_from([LOCAL_SECRET, OTHER_SECRET])))
def test_keys_do_not_show(secrets: list[str]) -> None:
    """Neither notation of keys shows them in a log."""
    for keys in (Keys.parse(secrets), Keys.parse({"secrets": secrets, "bearer_tokens": [TOKEN]})):
        assert len(keys.secrets) == len(secrets)
        assert not [text for text in (*secrets, TOKEN) if text in repr(keys) + str(keys)]
