"""Signs requests with an access key: SDK-HMAC-SHA256, in its two dialects.

By the "API Request Signing Guide" of Huawei Cloud (dialect *access*) and the signer of Open Telekom Cloud's Go SDK
(dialect *credential*). Both sign the same text; the key and the header differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from hashlib import sha256
from hmac import digest
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase

from shared.ports import Clock
from shared.quick import dataclass

ALGORITHM = "SDK-HMAC-SHA256"
SIGNED = ("host", "content-type")
"""Signed in addition to all headers that begin with `x-`. A proxy may change others, such as Accept-Encoding or
User-Agent."""


class Canonical(NamedTuple):
    """The text of a request that is signed, and the names of its headers."""

    text: str
    names: str


def canonical(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Canonical:
    """The canonical form of a request, with all of `headers`."""
    parts = urlsplit(url)
    path = "/".join(_encoded(unquote(segment)) for segment in parts.path.split("/"))
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in parse_qsl(parts.query, keep_blank_values=True))
    query = "&".join(f"{name}={value}" for name, value in pairs)
    told = sorted((name.lower(), value.strip()) for name, value in headers.items())
    names = ";".join(name for name, _ in told)
    lines = [method.upper(), path if path.endswith("/") else f"{path}/", query]
    lines += [*(f"{name}:{value}" for name, value in told), "", names, sha256(body).hexdigest()]
    return Canonical("\n".join(lines), names)


def _encoded(text: str) -> str:
    return quote(text, safe="~")


@dataclass(frozen=True)
class Signer(AuthBase):
    """Signs each request when `requests` prepares it, with the current time, so that a repetition gets a new
    signature."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    clock: Clock
    dialect: str = "credential"
    security_token: str = field(default="", repr=False)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the date, the host, the security token of a temporary key, and the signature."""
        url = request.url or ""
        moment = f"{self.clock():%Y%m%dT%H%M%SZ}"
        request.headers["X-Sdk-Date"] = moment
        # Set here, since the signed host must be the one that is sent.
        request.headers["Host"] = urlsplit(url).netloc.rpartition("@")[2]
        if self.security_token:
            request.headers["X-Security-Token"] = self.security_token
        told = {name: str(value) for name, value in request.headers.items() if _is_signed(name.lower())}
        body = request.body or b""
        signed = canonical(request.method or "", url, told, body.encode() if isinstance(body, str) else bytes(body))
        request.headers["Authorization"] = self.header(signed, moment)
        return request

    def header(self, signed: Canonical, moment: str) -> str:
        """The Authorization header of a request that is signed at `moment` (YYYYMMDDTHHMMSSZ)."""
        of_text = sha256(signed.text.encode()).hexdigest()
        if self.dialect == "access":
            who, key, lines = f"Access={self.access_key}", self.secret_key.encode(), [ALGORITHM, moment, of_text]
        else:
            # The Go SDK names neither a region nor a service.
            scope = [moment[:8], "", "", "sdk_request"]
            key = _derived(f"SDK{self.secret_key}".encode(), scope)
            who, lines = (
                f"Credential={self.access_key}/{'/'.join(scope)}",
                [ALGORITHM, moment, "/".join(scope), of_text],
            )
        signature = digest(key, "\n".join(lines).encode(), "sha256").hex()
        return f"{ALGORITHM} {who}, SignedHeaders={signed.names}, Signature={signature}"


def _is_signed(name: str) -> bool:
    return name in SIGNED or name.startswith("x-")


def _derived(key: bytes, scope: Sequence[str]) -> bytes:
    for part in scope:
        key = digest(key, part.encode(), "sha256")
    return key
