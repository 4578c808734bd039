"""Who is asking: Standard Webhooks signatures and bearer tokens, each against several keys at once."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from standardwebhooks import Webhook

from shared.policy import SIGNATURE_TOLERANCE

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
PREFIX = "whsec_"


def _signing_secret(secret: SecretStr) -> SecretStr:
    """Standard Webhooks asks for 24 to 64 random bytes; the package takes anything, an empty tail included."""
    text = secret.get_secret_value()
    try:
        length = len(base64.b64decode(text.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if not text.startswith(PREFIX) or not 24 <= length <= 64:
        raise ValueError(f"must be {PREFIX} and the base64 of 24 to 64 bytes")
    return secret


class Keys(BaseModel):
    """What senders may authenticate with; a new secret may stand beside the old one, in any order."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    secrets: tuple[Annotated[SecretStr, AfterValidator(_signing_secret)], ...] = ()
    bearer_tokens: tuple[Annotated[SecretStr, Field(min_length=16)], ...] = ()

    @classmethod
    def parse(cls, value: Any) -> Keys:
        """From a secret's JSON: an object of both, or a plain list of signing secrets. Raises ValidationError."""
        return cls.model_validate({"secrets": value} if isinstance(value, list) else value)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The sender is known; `signed_at` is the signed time of this attempt, if there was a signature."""

    signed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NotAuthenticated:
    """The sender is not known; `unknown_key` says that newer keys may know it."""

    why: str
    unknown_key: bool = False


def check_signature(
    headers: Mapping[str, str], body: bytes, keys: Keys, now: datetime
) -> Authenticated | NotAuthenticated:
    """Whether one of the secrets signed this request, within five minutes of `now`.

    The package signs, but does not verify here: its `verify` reads the clock itself, takes timestamps such as
    `1_7e9`, and raises half a dozen kinds of errors on hostile input.
    """
    id_, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not headers.get(name)]
    if missing:
        return NotAuthenticated(f"{', '.join(missing)} must be sent")
    if "." in id_:  # the full stop parts what is signed: with it the same signature could be read two ways
        return NotAuthenticated(f"{ID} must not hold a full stop")
    if not re.fullmatch(r"[1-9][0-9]{0,11}", timestamp):
        return NotAuthenticated(f"{TIMESTAMP} must be the seconds since 1970 as an integer")
    if abs(int(timestamp) - now.timestamp()) > SIGNATURE_TOLERANCE:
        return NotAuthenticated(f"{TIMESTAMP} is more than five minutes away from the time here")
    signed_at = datetime.fromtimestamp(int(timestamp), UTC)
    try:
        text = body.decode()
        id_.encode()
    except UnicodeError:
        return NotAuthenticated("the body and the headers must be UTF-8")
    expected = [Webhook(secret.get_secret_value()).sign(id_, signed_at, text) for secret in keys.secrets]
    if _any_equal(expected, headers[SIGNATURE].split(" ")):
        return Authenticated(signed_at)
    return NotAuthenticated("the signature matches no secret of this webhook endpoint", unknown_key=True)


def check_bearer(headers: Mapping[str, str], keys: Keys) -> Authenticated | NotAuthenticated:
    """Whether the `Authorization` header holds one of the tokens (RFC 6750 §2.1)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return NotAuthenticated("the Authorization header holds no bearer token")
    if _any_equal([known.get_secret_value() for known in keys.bearer_tokens], [token.strip()]):
        return Authenticated()
    return NotAuthenticated("the bearer token is not known to this webhook endpoint", unknown_key=True)


def _any_equal(known: Sequence[str], presented: Sequence[str]) -> bool:
    """Compare all with all, each in constant time; no early exit tells which of them was close."""
    equal = [
        hmac.compare_digest(one.encode(), other.encode("utf-8", "replace")) for one in known for other in presented
    ]
    return any(equal)
