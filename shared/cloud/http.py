"""One call to the cloud: our own session, its time limits, its errors, and what happens to a refused token.

The login is apart from this (`keystone`): it gives the token, the project and the addresses of the services.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

from shared.cloud.redact import redact
from shared.model import Answer, AnswerClass, Classified
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT
from shared.ports import Clock

if TYPE_CHECKING:
    from shared.cloud.keystone import Access, Login

UNAUTHORIZED = 401
Url = Callable[["Access"], str]
"""The address of a call, once it is known where the services are. Raises NoAnswer for a service there is not."""


class NoAnswer(Exception):
    """A call that brought no answer to read: the connection, the login or the catalog failed."""

    def __init__(self, classified: Classified) -> None:
        super().__init__(f"{classified.code}: {classified.message}")
        self.classified = classified


class Calls:
    """Sends requests for one login. Nothing is retried but a read whose token was refused, once."""

    def __init__(self, login: Login, http: requests.Session, clock: Clock) -> None:
        self._login = login
        self._http = http
        self._clock = clock

    def send(
        self, method: str, url: Url, headers: Mapping[str, str] | None = None, deadline: datetime | None = None
    ) -> Answer:
        """One answer, whatever its status. No redirect is followed. Raises NoAnswer.

        A refused token is dropped only if it is still the current one, and the call is sent once more with the
        current one; once more yet if the operator has rotated the credentials.
        """
        access = self._login.access()
        answer = self._once(method, url, headers, access, deadline)
        if answer.status == UNAUTHORIZED:
            access = self._login.renewed(access)
            answer = self._once(method, url, headers, access, deadline)
        if answer.status == UNAUTHORIZED and method == "GET" and (rotated := self._login.rotated(access)):
            answer = self._once(method, url, headers, rotated, deadline)
        return answer

    def _once(
        self, method: str, url: Url, headers: Mapping[str, str] | None, access: Access, deadline: datetime | None
    ) -> Answer:
        left = (deadline - self._clock()).total_seconds() if deadline else CLOUD_ANSWER
        limit = min(CLOUD_CONNECT, max(left, 0.1)), min(CLOUD_ANSWER, max(left, 0.1))
        try:
            response = self._http.request(
                method,
                url(access),
                headers={"Accept": "application/json", "X-Auth-Token": access.token, **(headers or {})},
                timeout=limit,
                verify=access.verify,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise NoAnswer(unanswered(error)) from error
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, lower, response.content)


CODES: Mapping[str, tuple[type[Exception], ...]] = {
    "timeout": (requests.Timeout,),
    "tls_failure": (requests.exceptions.SSLError,),
    "connection_failure": (requests.ConnectionError,),
}
"""What a call without an answer is called in evidence; the first that fits counts."""


def unanswered(error: Exception, codes: Mapping[str, tuple[type[Exception], ...]] = CODES) -> Classified:
    """No answer came, so nothing is known of the outcome."""
    code = next((code for code, types in codes.items() if isinstance(error, types)), "no_answer")
    return Classified(AnswerClass.RECONCILE, code, redact(str(error)))


class Limited(HTTPAdapter):
    """Connections that are kept, and a time limit for a caller that sets none, as the login library does."""

    def __init__(self) -> None:
        super().__init__(pool_connections=4, pool_maxsize=32, max_retries=0)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        options["timeout"] = options.get("timeout") or (CLOUD_CONNECT, CLOUD_ANSWER)
        return super().send(request, **options)


def session() -> requests.Session:
    http = requests.Session()
    for scheme in ("http://", "https://"):
        http.mount(scheme, Limited())
    return http
