"""Authenticates senders: Standard Webhooks signatures and bearer tokens, each checked against several keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from standardwebhooks import Webhook

from shared.certificates import file_of, pem
from shared.model import AuthType, Requester, Via
from shared.policy import SIGNATURE_TOLERANCE
from shared.quick import dataclass

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
PREFIX = "whsec_"


def _signing_secret(secret: SecretStr) -> SecretStr:
    """Check that a secret has 24 to 64 bytes, as Standard Webhooks requires; the package accepts anything."""
    text = secret.get_secret_value()
    try:
        length = len(base64.b64decode(text.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        length = 0
    if not text.startswith(PREFIX) or not 24 <= length <= 64:
        raise ValueError(f"must be {PREFIX} and the base64 of 24 to 64 bytes")
    return secret


class _Key(BaseModel):
    """A key, and its name in verdicts; a key without a name is identified by its fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@/-]{0,63}$")] | None = None
    secret: SecretStr

    @property
    def text(self) -> str:
        return self.secret.get_secret_value()

    @property
    def id(self) -> str:
        """The name, or a part of the key's hash, which is stable and does not reveal the key."""
        return self.name or f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"


class SigningKey(_Key):
    """A signing secret of Standard Webhooks."""

    secret: Annotated[SecretStr, AfterValidator(_signing_secret)]


class TokenKey(_Key):
    """A bearer token."""

    secret: Annotated[SecretStr, Field(min_length=16)]


def _keyed(value: object) -> object:
    return {"secret": value} if isinstance(value, str | SecretStr) else value


class Keys(BaseModel):
    """The keys of senders; old and new secrets may be listed together, in any order."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    secrets: tuple[Annotated[SigningKey, BeforeValidator(_keyed)], ...] = ()
    bearer_tokens: tuple[Annotated[TokenKey, BeforeValidator(_keyed)], ...] = ()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read a secret's JSON: an object of both, or a plain list of signing secrets. Raises ValidationError.

        Each key is a text, or `{"name": ..., "secret": ...}`.
        """
        return cls.model_validate({"secrets": value} if isinstance(value, list) else value)


class SinkKeys(Keys):
    """The keys that sign verdicts, and the certificates (PEM) to check the receiver's with, if not public ones."""

    cacert: Annotated[str, AfterValidator(pem)] | None = None

    @property
    def verify(self) -> str | bool:
        """The value for `verify` of `requests`."""
        return file_of(self.cacert) if self.cacert else True


@dataclass(frozen=True)
class Authenticated:
    """The sender is `requester`; `signed_at` is the signed time of this attempt, if it was signed."""

    requester: Requester
    signed_at: datetime | None = None


@dataclass(frozen=True)
class NotAuthenticated:
    """The sender is not known; `unknown_key` means that newer keys may know it."""

    why: str
    unknown_key: bool = False


def check_signature(
    headers: Mapping[str, str], body: bytes, keys: Keys, now: datetime
) -> Authenticated | NotAuthenticated:
    """Check whether one of the secrets signed this request, within five minutes of `now`.

    The package's `verify` is not used: it reads the clock itself, accepts timestamps such as `1_7e9`, and raises
    several kinds of errors on hostile input.
    """
    id_, timestamp = headers.get(ID, ""), headers.get(TIMESTAMP, "")
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not headers.get(name)]
    if missing:
        return NotAuthenticated(f"{', '.join(missing)} must be sent")
    if "." in id_:  # the signed text is split at full stops: with one more it would be ambiguous
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
    expected = [(key, Webhook(key.text).sign(id_, signed_at, text)) for key in keys.secrets]
    if key := _matching(expected, signatures_in(headers[SIGNATURE])):
        return Authenticated(Requester(AuthType.API_KEY, key.id, Via.WEBHOOK_SIGNATURE), signed_at)
    return NotAuthenticated("the signature matches no secret of this webhook endpoint", unknown_key=True)


def check_bearer(headers: Mapping[str, str], keys: Keys) -> Authenticated | NotAuthenticated:
    """Check whether the `Authorization` header holds one of the tokens (RFC 6750 §2.1)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return NotAuthenticated("the Authorization header holds no bearer token")
    if key := _matching([(key, key.text) for key in keys.bearer_tokens], [token.strip()]):
        return Authenticated(Requester(AuthType.API_KEY, key.id, Via.WEBHOOK_BEARER))
    return NotAuthenticated("the bearer token is not known to this webhook endpoint", unknown_key=True)


def signatures_in(header: str) -> list[str]:
    """The signatures of version 1 in a header.

    They are separated by blanks (Standard Webhooks, signature scheme), or by commas if a gateway joined several headers
    (RFC 9110 §5.3). Others, such as `v1a`, and empty parts are ignored.
    """
    return re.findall(r"(?:^|[\s,])(v1,[A-Za-z0-9+/]+={0,2})(?=$|[\s,])", header)


def _matching(known: Sequence[tuple[_Key, str]], presented: Sequence[str]) -> _Key | None:
    """The key whose text was presented. All are compared, in constant time, so that timing reveals nothing."""
    equal = [
        hmac.compare_digest(one.encode(), other.encode("utf-8", "replace")) for _, one in known for other in presented
    ]
    keys = [key for key, _ in known for _ in presented]
    return next((key for key, same in zip(keys, equal, strict=True) if same), None)
