"""One call to the cloud: our own session, its time limits, its errors, and what happens to a refused token.

The login is apart from this (`keystone`): it gives the token, the project and the addresses of the services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

from shared.cloud.redact import redact
from shared.model import Answer, AnswerClass, Classified, Reason
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT
from shared.ports import Clock

if TYPE_CHECKING:
    from shared.cloud.keystone import Login, Service


class NoAnswer(Exception):
    """A call that brought no answer to read: the connection, the login or the catalog failed."""

    def __init__(self, classified: Classified) -> None:
        super().__init__(f"{classified.code}: {classified.message}")
        self.classified = classified

    @classmethod
    def for_good(cls, reason: Reason, message: str) -> NoAnswer:
        return cls(Classified(AnswerClass.PERMANENT, reason.value, message, reason))


@dataclass(frozen=True, slots=True)
class Calls:
    """Sends requests for one login. Nothing is repeated but a call whose token was refused."""

    login: Login
    http: requests.Session
    clock: Clock

    def send(
        self,
        method: str,
        service: Service,
        path: str,
        headers: Mapping[str, str] | None = None,
        deadline: datetime | None = None,
    ) -> Answer:
        """One answer, whatever its status. No redirect is followed. Raises NoAnswer.

        A refused token is dropped if it is still the current one, and the call is sent once more with the current
        one; a read once more yet, if the operator has rotated the credentials.
        """
        access = self.login.access()
        repeats = [self.login.renewed, self.login.rotated] if method == "GET" else [self.login.renewed]
        while True:
            left = (deadline - self.clock()).total_seconds() if deadline else CLOUD_ANSWER
            try:
                base = access.services[service]
                response = self.http.request(
                    method,
                    f"{base}/{path}",
                    headers={"Accept": "application/json", "X-Auth-Token": access.token, **(headers or {})},
                    timeout=(min(CLOUD_CONNECT, max(left, 0.1)), min(CLOUD_ANSWER, max(left, 0.1))),
                    verify=access.verify,
                    allow_redirects=False,
                )
            except KeyError:
                raise NoAnswer.for_good(Reason.API_REJECTED, access.missing(service)) from None
            except requests.RequestException as error:
                raise NoAnswer(unanswered(error)) from error
            other = repeats.pop(0)(access) if response.status_code == 401 and repeats else None
            if other is None:
                lower = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, lower, response.content)
            access = other


Codes = Mapping[str, tuple[type[Exception], ...]]
CODES: Codes = {
    "timeout": (requests.Timeout,),
    "tls_failure": (requests.exceptions.SSLError,),
    "connection_failure": (requests.ConnectionError,),
}
"""What a call without an answer is called in evidence; the first that fits counts."""


def unanswered(error: Exception, codes: Codes = CODES) -> Classified:
    """No answer came, so nothing is known of the outcome."""
    code = next((code for code, types in codes.items() if isinstance(error, types)), "no_answer")
    return Classified(AnswerClass.RECONCILE, code, redact(str(error)))


class _Limited(HTTPAdapter):
    """A time limit for the login library, which sets none."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        return super().send(request, **{**options, "timeout": (CLOUD_CONNECT, CLOUD_ANSWER)})


def sessions() -> tuple[requests.Session, requests.Session]:
    """For logins and for calls. Connections are kept; retries are not their business."""
    for_login, for_calls = requests.Session(), requests.Session()
    for scheme in ("http://", "https://"):
        for_login.mount(scheme, _Limited(max_retries=0))
        for_calls.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=32, max_retries=0))
    return for_login, for_calls
