"""One call to the cloud: our own session, its time limits, its errors, and what happens to a refused token.

The login is apart from this (`keystone`): it gives the token, the project and the addresses of the services.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from shared.cloud.classify import classify
from shared.cloud.redact import redact
from shared.model import Answer, AnswerClass, Classified, Reason
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT
from shared.ports import Clock

if TYPE_CHECKING:
    from shared.cloud.keystone import Access, Login, Service


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
    """Sends requests for one login. Nothing is repeated but a read whose token was refused."""

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
        """The answer to a read, whatever its status, except for a redirect. Raises NoAnswer.

        A refused token is dropped if it is still the current one, and the read is repeated with the current one; once
        more yet, if the operator has rotated the credentials.
        """
        access = self.login.access()
        for other in (self.login.renewed, self.login.rotated, None):
            answer = self.send_once(access, method, service, path, headers, deadline)
            if other is None or not _token_refused(answer):
                break
            if (next_access := other(access)) is None:
                break
            access = next_access
        if moved := redirected(answer, service.name.lower(), service.value):
            raise NoAnswer(moved)
        return answer

    def send_once(
        self,
        access: Access,
        method: str,
        service: Service,
        path: str,
        headers: Mapping[str, str] | None = None,
        deadline: datetime | None = None,
    ) -> Answer:
        """One HTTP request with the token and the address of `access`: no login, redirect, retry. Raises NoAnswer."""
        left = (deadline - self.clock()).total_seconds() if deadline else CLOUD_ANSWER
        try:
            response = self.http.request(
                method,
                f"{access.services[service]}/{path}",
                headers={"Accept": "application/json", "X-Auth-Token": access.token, **(headers or {})},
                timeout=(min(CLOUD_CONNECT, max(left, 0.1)), min(CLOUD_ANSWER, max(left, 0.1))),
                verify=access.verify,
                allow_redirects=False,
            )
        except KeyError:
            raise NoAnswer.for_good(Reason.API_REJECTED, access.missing(service)) from None
        except requests.RequestException as error:
            raise NoAnswer(unanswered(error)) from error
        return answer_of(response)


def answer_of(response: requests.Response) -> Answer:
    lower = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, lower, response.content)


def _token_refused(answer: Answer) -> bool:
    """By a 401, or by a code that means the same in an answer of another status."""
    return answer.status == 401 or (answer.status >= 400 and classify(answer).kind is AnswerClass.REAUTHENTICATE)


def redirected(answer: Answer, who: str, setting: str) -> Classified | None:
    """What an operator has to mend, if the answer is a redirect: credentials do not follow one."""
    if not 300 <= answer.status < 400:
        return None
    try:
        target = urlsplit(answer.headers.get("location", ""))
        where = f", a redirect to {target.scheme}://{target.hostname}" if target.scheme and target.hostname else ""
        where += f":{target.port}" if where and target.port else ""
    except ValueError:
        where = ", a redirect"
    remedy = f"; set {setting} to the address itself" if setting else ""
    message = redact(f"{who.replace('_', ' ')} answered {answer.status}{where}{remedy}")
    return Classified(AnswerClass.PERMANENT, "redirect", message, Reason.API_REJECTED)


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
