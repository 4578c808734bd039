"""Access keys at the gateway: signatures in both dialects are recomputed, as Open Telekom Cloud's gateway does it.

What is refused repeats the canonical request, access key included, as the real one may.
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
from simulator.exchange import Deployment, Rejected, Request, dressed
from simulator.world import World

ALGORITHM = "SDK-HMAC-SHA256"
SKEW = timedelta(minutes=15)
LOCKED = timedelta(minutes=5)
MOST_FAILURES = 5
"""So many wrong signatures in a row lock a key; a documented one allows one more."""

HEADER = re.compile(
    ALGORITHM + r" (?:Access=(?P<access>[^,/ ]+)|Credential=(?P<credential>[^,/ ]+)/(?P<scope>[^, ]+))"
    r", SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A pair of keys of one user; a temporary one has a token and an end."""

    access: str
    secret: str
    user_id: str
    token: str = ""
    expires_at: datetime | None = None


class Failure(NamedTuple):
    """How many wrong signatures there were in a row, and until when the key is locked."""

    times: int = 0
    locked_until: datetime | None = None


@dataclass(slots=True)
class AccessKeys:
    """The keys that there are, and what became of each; `locked` has each key that ever was."""

    world: World
    deployment: Deployment
    keys: dict[str, AccessKey] = field(default_factory=dict)
    locked: list[str] = field(default_factory=list)
    _failures: dict[str, Failure] = field(default_factory=dict)

    def add(self, key: AccessKey) -> AccessKey:
        self.keys[key.access] = key
        return key

    def verified(self, request: Request) -> AccessKey:
        """The key that has signed this request. Raises Rejected, and locks what fails too often."""
        told = HEADER.fullmatch(request.headers.get("authorization", ""))
        if told is None:
            raise Rejected(self._refusal("no valid Authorization header"))
        access = str(told["access"] or told["credential"])
        failed = self._failures.get(access, Failure())
        if failed.locked_until and self.world.now < failed.locked_until:
            raise Rejected(self._refusal("the AK is locked"))
        canonical = _canonical(request, told["names"].split(";"))
        if wrong := self._wrong(request, told, self.keys.get(access), canonical):
            times = failed.times + 1
            until = None
            if times >= MOST_FAILURES:
                times, until = 0, self.world.now + LOCKED
                self.locked.append(access)
            self._failures[access] = Failure(times, until)
            raise Rejected(self._refusal(f"{wrong}, AK: {access}, canonicalRequest: {canonical}"))
        self._failures.pop(access, None)
        return self.keys[access]

    def _wrong(self, request: Request, told: re.Match[str], key: AccessKey | None, canonical: str) -> str | None:
        moment = request.headers.get("x-sdk-date", "")
        if not re.fullmatch(r"\d{8}T\d{6}Z", moment) or not {"host", "x-sdk-date"} <= set(told["names"].split(";")):
            return "the date or the host is not signed"
        if abs(datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - self.world.now) > SKEW:
            return "the signing time deviates by more than 15 minutes"
        if key is None:
            return "no such AK"
        if not hmac.compare_digest(request.headers.get("x-security-token", ""), key.token):
            return "wrong security token"
        if key.expires_at and key.expires_at <= self.world.now:
            return "the security token has expired"
        dialect = "access" if told["access"] else "credential"
        if dialect not in self.deployment.dialects:
            return "verify aksk signature fail"
        expected = _signature(key.secret, moment, told["scope"], canonical)
        return None if hmac.compare_digest(expected, told["signature"]) else "verify aksk signature fail"

    def _refusal(self, why: str) -> Answer:
        answer = bodies.gateway_error("APIGW.0301", f"Incorrect IAM authentication information: {why}", 401)
        return dressed(answer, {"date": format_datetime(self.world.now, usegmt=True)})


def _canonical(request: Request, names: list[str]) -> str:
    """What the client should have signed, made of what has arrived."""
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
