"""Verifies requests that are signed by access key, in both signature dialects of Open Telekom Cloud's gateway.

A refusal repeats the canonical request, including the access key, as the real gateway may do.
"""

import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from shared.model import Answer
from simulator import bodies
from simulator.exchange import Deployment, Rejected, Request, with_headers
from simulator.world import World

ALGORITHM = "SDK-HMAC-SHA256"
SKEW = timedelta(minutes=15)
LOCKED = timedelta(minutes=5)
MOST_FAILURES = 5
"""This many wrong signatures in a row lock a key. The documented limit is one higher."""

HEADER = re.compile(
    ALGORITHM + r" (?:Access=(?P<access>[^,/ ]+)|Credential=(?P<credential>[^,/ ]+)/(?P<scope>[^, ]+))"
    r", SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key and its secret key, of one user. A temporary one also has a token and an expiry time."""

    access: str
    secret: str
    user_id: str
    token: str = ""
    expires_at: datetime | None = None


class Failure(NamedTuple):
    """The number of wrong signatures in a row, and the end of the key's lock, if it is locked."""

    times: int = 0
    locked_until: datetime | None = None


@dataclass(slots=True)
class AccessKeys:
    """The valid keys and their failures. `locked` lists every key that has ever been locked."""

    world: World
    deployment: Deployment
    keys: dict[str, AccessKey] = field(default_factory=dict)
    locked: list[str] = field(default_factory=list)
    _failures: dict[str, Failure] = field(default_factory=dict)

    def add(self, key: AccessKey) -> AccessKey:
        self.keys[key.access] = key
        return key

    def verified(self, request: Request) -> AccessKey:
        """The key that signed this request.

        Raises Rejected if the signature is not valid. Locks a key after too many failures.
        """
        header = HEADER.fullmatch(request.headers.get("authorization", ""))
        if header is None:
            raise Rejected(self._refusal("no valid Authorization header"))
        access = str(header["access"] or header["credential"])
        failed = self._failures.get(access, Failure())
        if failed.locked_until and self.world.now < failed.locked_until:
            raise Rejected(self._refusal("the AK is locked"))
        canonical = _canonical(request, header["names"].split(";"))
        if wrong := self._wrong(request, header, self.keys.get(access), canonical):
            times = failed.times + 1
            until = None
            if times >= MOST_FAILURES:
                times, until = 0, self.world.now + LOCKED
                self.locked.append(access)
            self._failures[access] = Failure(times, until)
            raise Rejected(self._refusal(f"{wrong}, AK: {access}, canonicalRequest: {canonical}"))
        self._failures.pop(access, None)
        return self.keys[access]

    def _wrong(self, request: Request, header: re.Match[str], key: AccessKey | None, canonical: str) -> str | None:
        moment = request.headers.get("x-sdk-date", "")
        if not re.fullmatch(r"\d{8}T\d{6}Z", moment) or not {"host", "x-sdk-date"} <= set(header["names"].split(";")):
            return "the date or the host is not signed"
        if abs(datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - self.world.now) > SKEW:
            return "the signing time deviates by more than 15 minutes"
        if key is None:
            return "no such AK"
        if not hmac.compare_digest(request.headers.get("x-security-token", ""), key.token):
            return "wrong security token"
        if key.expires_at and key.expires_at <= self.world.now:
            return "the security token has expired"
        dialect = "access" if header["access"] else "credential"
        if dialect not in self.deployment.dialects:
            return "verify aksk signature fail"
        expected = _signature(key.secret, moment, header["scope"], canonical)
        return None if hmac.compare_digest(expected, header["signature"]) else "verify aksk signature fail"

    def _refusal(self, why: str) -> Answer:
        answer = bodies.gateway_error("APIGW.0301", f"Incorrect IAM authentication information: {why}", 401)
        return with_headers(answer, {"date": format_datetime(self.world.now, usegmt=True)})


def _canonical(request: Request, names: list[str]) -> str:
    """The canonical request that the client should have signed, computed from the received request."""
    path = "".join(f"{quote(unquote(part), safe='~')}/" for part in request.path.rstrip("/").split("/"))
    pairs = parse_qsl(request.query_string, keep_blank_values=True)
    query = "&".join("=".join(pair) for pair in sorted((quote(n, safe="~"), quote(v, safe="~")) for n, v in pairs))
    lines = [f"{name}:{request.headers.get(name, '').strip()}" for name in names]
    return "\n".join(
        [request.method, path, query, *lines, "", ";".join(names), sha256(request.body).hexdigest()]
    )  # fmt: skip


def _signature(secret: str, moment: str, scope: str | None, canonical: str) -> str:
    lines, key = [ALGORITHM, moment], secret.encode()
    if scope is not None:
        lines.append(scope)
        key = b"SDK" + key
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), sha256).digest()
    lines.append(sha256(canonical.encode()).hexdigest())
    return hmac.new(key, "\n".join(lines).encode(), sha256).hexdigest()
