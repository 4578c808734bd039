"""Sends one call to the cloud: sessions, the time limit of a call, and a new token after a refusal.

`keystone` does the login: it gives the token, the project and the addresses of the services.

`requests` limits only the wait between two bytes, so a slow answer could last for ever. Here a limit applies to the
whole call: connecting, headers and body. Nothing is sent after it, also by the wall clock, which goes on while the
process is frozen between two invocations.
"""

from __future__ import annotations

import os
import socket
import ssl
from contextvars import ContextVar
from dataclasses import field
from datetime import datetime, timedelta
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import getproxies

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from shared.cloud.classify import classify
from shared.cloud.no_answer import REDIRECTS, KeyRefused, NoAnswer, redirected, unanswered
from shared.model import Answer, AnswerClass, Classified, Reason
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT, LONGEST_CALL
from shared.ports import Clock
from shared.quick import dataclass
from shared.redact import hidden

if TYPE_CHECKING:
    from shared.cloud.keystone import Access, Login
    from shared.cloud.parse import Service


_around = lru_cache(maxsize=64)(
    lambda http, root, verify: http.merge_environment_settings(root, {}, False, verify, None)
)
"""The proxies and certificates for an address; cached, since the environment does not change."""

_normal = lru_cache(maxsize=64)(lambda root: str(requests.Request("GET", root).prepare().url).rstrip("/"))
"""An address as `requests` normalizes it: host names in ASCII, blanks escaped. Raises what `requests` raises."""


@dataclass(frozen=True)
class Calls:
    """Sends requests for one login. Only reads with a refused token are repeated."""

    login: Login
    http: requests.Session
    clock: Clock
    refused_versions: set[str] = field(default_factory=set)

    def send(
        self, method: str, service: Service, path: str, version: str | None = None, deadline: datetime | None = None
    ) -> Answer:
        """The answer to a read with any status except a redirect. Raises NoAnswer.

        After a refused token the read is repeated with a new one, and once more if the operator has rotated the
        credentials. After a refused signature it is repeated only with other keys.
        """
        access = self.login.access(deadline)
        repeats = [self.login.renewed, self.login.rotated]
        while True:
            try:
                answer = self.send_once(access, method, service, path, version, deadline)
            except KeyRefused:
                other = self.login.rotated(access, deadline)
                if other is None:
                    raise
                access = other
                continue
            if answer.status < 400 or not repeats or not refuses_login(answer):
                break
            other = repeats.pop(0)(access, deadline)
            if other is None:
                break
            access = other
        if answer.status in REDIRECTS:
            raise redirected(answer, service.name, service.value)
        return answer

    def send_once(
        self,
        access: Access,
        method: str,
        service: Service,
        path: str,
        version: str | None = None,
        deadline: datetime | None = None,
        seconds: float = LONGEST_CALL,
    ) -> Answer:
        """One HTTP request with the token and address of `access`: no login, redirect or retry. Raises NoAnswer.

        It ends within `seconds`, headers and body included, and before the deadline. `version` is a microversion of
        compute; a refused one is not sent again (Cinder does not accept compute's).
        """
        if service not in access.services:
            raise NoAnswer.for_good(Reason.API_REJECTED, access.missing(service))
        left = limit(seconds, deadline, self.clock)
        headers = {"Accept": "application/json", **access.headers}
        if version and version not in self.refused_versions:
            headers |= {"X-OpenStack-Nova-API-Version": version, "OpenStack-API-Version": f"compute {version}"}
        root, http = access.services[service], self.http
        timeout = min(CLOUD_CONNECT, left), min(CLOUD_ANSWER, left)
        try:
            if access.keys:
                options: dict[str, Any] = {"headers": headers, "timeout": timeout, "verify": access.verify}
                response = access.keys.request(http, method, f"{root}/{path}", allow_redirects=False, **options)
            else:
                # The other work of a session (cookies, hooks, redirects, .netrc) is a fifth of a call's CPU.
                request = requests.PreparedRequest()
                request.method, request.url = method, f"{_normal(root)}/{path}"
                request.prepare_headers({**http.headers, **headers})
                request.prepare_body(None, None)
                around = _around(http, root, access.verify)
                response = http.get_adapter(request.url).send(request, timeout=timeout, **around)
                _ = response.content  # read within the limit
        except (OSError, ValueError) as error:  # RequestException is an OSError, what cannot be sent a ValueError
            raise NoAnswer(unanswered(error, service.value if method == "GET" else None)) from error
        lower: dict[str, str] = dict(response.headers.lower_items())
        if response.ok:  # parsed, and not quoted
            return Answer(response.status_code, lower, response.content)
        shown = {name: hidden(value.encode(), access.secrets).decode() for name, value in lower.items()}
        return Answer(response.status_code, shown, hidden(response.content, access.secrets))


def refuses_login(answer: Answer) -> bool:
    """Whether a token or a signature was refused: a 401, or a code with that meaning under another status."""
    return answer.status == 401 or classify(answer).kind is AnswerClass.REAUTHENTICATE


# ---------------------------------------------------------------------------------------------------- the limit


class Limit(NamedTuple):
    """When a call must end: by the monotonic clock in seconds, and by the wall clock."""

    ends: float
    ends_at: datetime
    clock: Clock


LIMIT: ContextVar[Limit] = ContextVar("LIMIT")
"""The limit of this thread's current call."""


def limit(seconds: float, deadline: datetime | None, clock: Clock) -> float:
    """Set the limit of the next call: `seconds`, or what is left before the deadline. Raises NoAnswer if nothing is
    left."""
    now = clock()
    left = min(seconds, (deadline - now).total_seconds()) if deadline else seconds
    if left <= 0:
        why = "no time is left before the deadline, so nothing was sent"
        raise NoAnswer(Classified(AnswerClass.RETRY, "no_time", why))
    LIMIT.set(Limit(monotonic() + left, now + timedelta(seconds=left), clock))
    return left


class _Limited:
    """A socket that enforces the limit of its call."""

    __slots__ = ()

    def sendall(self, *arguments: Any) -> None:
        """Send only within the limit, which DNS, connecting or TLS may have used up."""
        ends, ends_at, clock = LIMIT.get()
        if monotonic() >= ends or clock() >= ends_at:
            raise TimeoutError("the time of the call was over before it was sent")
        super().sendall(*arguments)  # type: ignore[misc]

    def recv_into(self, *arguments: Any) -> int:
        """Wait for bytes for the time left, not for a full timeout each time."""
        socket_: Any = self
        left = LIMIT.get().ends - monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        socket_.settimeout(min(left, socket_.gettimeout() or left))
        return super().recv_into(*arguments)  # type: ignore[misc, no-any-return]


class _Socket(_Limited, socket.socket):
    __slots__ = ()


class _TlsSocket(_Limited, ssl.SSLSocket):
    __slots__ = ()


class _Connection(HTTPConnection):
    """A connection over a socket that enforces the limit."""

    def _new_conn(self) -> socket.socket:
        """Connect as urllib3 does, but with one time limit for all addresses of a name and for TLS."""
        ends = monotonic() + float(self.timeout or CLOUD_CONNECT)
        late, why = False, "the name has no address"
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        for *_, (host, *_) in addresses:
            try:
                at, left = (str(host), self.port), max(ends - monotonic(), 0.001)
                sock = create_connection(at, left, socket_options=self.socket_options)
            except OSError as error:
                late, why = isinstance(error, TimeoutError), str(error)
            else:
                sock.settimeout(max(ends - monotonic(), 0.001))
                sock.__class__ = _Socket
                return sock
        raise (ConnectTimeoutError if late else NewConnectionError)(self, f"no connection to {self.host}: {why}")


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS, which creates its own socket."""

    def connect(self) -> None:
        super().connect()
        if type(self.sock) is ssl.SSLSocket:
            self.sock.__class__ = _TlsSocket


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables with certificates that `requests` uses if no setting gives any."""

POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    """Enforces the limit for calls through a proxy too."""

    def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **named)
        manager.pool_classes_by_scheme = POOLS
        return manager


def sessions() -> tuple[requests.Session, requests.Session]:
    """The sessions for logins and for calls. Connections are kept; nothing is retried."""
    for_login, for_calls = requests.Session(), requests.Session()
    # Otherwise `requests` looks through the whole environment, and for a .netrc, at each request.
    heeded = bool(getproxies()) or any(map(os.environ.get, CA_BUNDLES))
    for session in (for_login, for_calls):
        session.trust_env = heeded
        adapter = _Adapter(pool_connections=4, pool_maxsize=32, max_retries=0)
        adapter.poolmanager.pool_classes_by_scheme = POOLS
        session.mount("http://", adapter)
        session.mount("https://", adapter)
    return for_login, for_calls
