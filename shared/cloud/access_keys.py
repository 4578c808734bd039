"""Access by access key: there is no login, and each request is signed.

Without a token there is no catalog: the project is given or found by name, and the addresses are those of the region,
or given. A refused key is not used for a while, since a few more wrong signatures would lock it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from threading import Condition
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import quote

import requests

from shared.cloud.classify import classify
from shared.cloud.http import LIMIT, refuses_login
from shared.cloud.keystone import ENDING, Granted
from shared.cloud.no_answer import REDIRECTS, KeyRefused, NoAnswer, redirected
from shared.cloud.parse import document
from shared.cloud.signing import Signer
from shared.model import Answer, AnswerClass, Classified, Reason
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT, KEY_PAUSES, SIGNATURE_AGE, SIGNED_AT_ONCE
from shared.ports import Clock
from shared.quick import dataclass
from shared.redact import hidden
from shared.settings import CloudCredentials

CANONICAL = re.compile(r"""[\s,;:.("'{-]*canonical""", re.IGNORECASE)
"""The start of a quoted request with what separates it; a bracket before it belongs to a redaction."""


class Refused(NamedTuple):
    """How many signatures in a row were refused, why, and until when the key is not used.

    `ahead` is by how many seconds the cloud's clock is ahead of ours, by the date of the refusal.
    """

    times: int
    why: Classified
    until: datetime
    ahead: float | None


@dataclass(eq=False)
class AccessKeys:
    """The access key of one login: signs a few requests in parallel, and none for a while after a refusal.

    It replaces a login.
    """

    known: CloudCredentials
    http: requests.Session
    clock: Clock
    signer: Signer
    refused: Refused | None = None
    _granted: Granted | None = None
    _free: Condition = field(default_factory=Condition)
    _unanswered: int = 0
    _proven: bool = False
    _refusals: int = 0

    @classmethod
    def of(cls, known: CloudCredentials, http: requests.Session, clock: Clock) -> AccessKeys:
        """The access key of complete credentials; `http` looks up the project."""
        given = (known.access_key, known.secret_key, known.security_token)
        access, secret, token = (value.get_secret_value() if value else "" for value in given)
        return cls(known, http, clock, Signer(access, secret, clock, known.signing, token))

    def granted(self) -> Granted:
        """The project and the addresses; makes a call only for a project that is known by name.

        Raises KeyRefused, NoAnswer, and OSError if no answer comes.
        """
        if self._granted is None:
            project_id = self.known.project_id or self._project()
            self._granted = Granted(self.known, "", project_id, _catalog(self.known))
        return self._granted

    def request(self, http: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        """One signed request, within the limit of this thread's call. Raises KeyRefused, NoAnswer, OSError."""
        with self._turn() as refusals:
            response = http.request(method, url, auth=self.signer, **options)
            self._judge(self._answer(response), refusals)
            return response

    # ---------------------------------------------------------------------------------------------- the project

    def _project(self) -> str:
        """The id of the one project of that name (IAM, "Querying Projects"). Raises KeyRefused, NoAnswer, OSError."""
        name = self.known.project_name or ""
        response = self.request(
            self.http,
            "GET",
            f"{ENDING.sub('', self.known.auth_url)}/v3/projects?name={quote(name, safe='')}",
            headers={"Accept": "application/json"},
            timeout=(CLOUD_CONNECT, CLOUD_ANSWER),
            verify=self.known.verify,
            allow_redirects=False,
        )
        answer = self._answer(response)
        if answer.status in REDIRECTS:
            raise redirected(answer, "identity", "OS_AUTH_URL")
        if refuses_login(answer) and self.refused:
            raise KeyRefused(self.refused.why)
        if answer.status != 200:
            raise NoAnswer(classify(answer, now=self.clock()))
        found = {str(one["id"]) for one in _projects(answer.body) if one.get("name") == name}
        if len(found) != 1:
            some = "several projects" if found else "no project"
            raise NoAnswer.for_good(Reason.UNAUTHORIZED, f"this key sees {some} named {name}: set OS_PROJECT_ID")
        return found.pop()

    # ------------------------------------------------------------------------------------------------ refusals

    @contextmanager
    def _turn(self) -> Iterator[int]:
        """Wait until another request may be sent; yield the number of refusals so far. Raises KeyRefused, NoAnswer."""
        with self._free:
            while self._unanswered >= (SIGNED_AT_ONCE if self._proven else 1):
                if not self._free.wait(LIMIT.get().ends - monotonic()):
                    raise NoAnswer(Classified(AnswerClass.RETRY, "no_time", "other signed requests used up the time"))
            if self.refused and self.clock() < self.refused.until:
                raise KeyRefused(self.refused.why)
            self._unanswered += 1
            refusals = self._refusals
        try:
            yield refusals
        finally:
            with self._free:
                self._unanswered -= 1
                self._free.notify_all()

    def _judge(self, answer: Answer, refusals: int) -> None:
        """Record whether the signature was accepted; a success clears refusals, unless another request was refused
        meanwhile."""
        with self._free:
            if answer.status < 400:
                if refusals == self._refusals:
                    self.refused, self._proven = None, True
            elif refuses_login(answer):
                self._refusals += 1
                self._proven = False
                times = self.refused.times + 1 if self.refused else 1
                pause = KEY_PAUSES[min(times, len(KEY_PAUSES)) - 1]
                now = self.clock()
                ahead = _ahead(answer.headers, now)
                self.refused = Refused(times, self._why(answer, ahead), now + timedelta(seconds=pause), ahead)

    def _why(self, answer: Answer, ahead: float | None) -> Classified:
        """The refusal as a permanent failure, since the key would be refused again; with the clock difference if that
        is the cause."""
        told = classify(answer)
        # The gateway may quote the signed request line by line: too long for a reason, and of no use.
        said = " ".join(CANONICAL.split(told.message)[0].split())
        skew = _skew(ahead or 0)
        message = f"{skew}. {said}" if skew else said
        return replace(told, kind=AnswerClass.PERMANENT, reason=Reason.UNAUTHORIZED, message=message)

    def _answer(self, response: requests.Response) -> Answer:
        """The answer without the key, which a refusal may quote."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        content = response.content if response.ok else hidden(response.content, self.known.secrets)
        return Answer(response.status_code, headers, content)


def _ahead(headers: Mapping[str, str], now: datetime) -> float | None:
    """By how many seconds the cloud's clock is ahead of ours, by the answer's date."""
    try:
        return (parsedate_to_datetime(headers.get("date", "")) - now).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a zone
        return None


def _skew(ahead: float) -> str:
    """How far our clock is off, if by more than a signature may be."""
    if abs(ahead) <= SIGNATURE_AGE:
        return ""
    which, most = "behind" if ahead > 0 else "ahead of", SIGNATURE_AGE // 60
    return f"this clock is {abs(ahead) / 60:.0f} minutes {which} the cloud's, and {most} are allowed: correct it"


def _projects(body: bytes) -> list[dict[str, Any]]:
    try:
        return [one for one in document(body)["projects"] if isinstance(one, dict) and one.get("id")]
    except (ValueError, KeyError, TypeError) as error:
        message = "the list of projects cannot be read"
        raise NoAnswer(Classified(AnswerClass.RECONCILE, "unreadable_answer", message)) from error


def _catalog(known: CloudCredentials) -> list[dict[str, Any]]:
    """The addresses of the region; for any other cloud there are only those of the settings."""
    place = known.place
    if place is None:
        return []
    services = {"compute": place.compute, "volumev3": place.block_storage, "image": place.image}
    if place.bare_metal:
        services["bms"] = place.bare_metal
    return [
        {"type": kind, "endpoints": [{"interface": known.interface, "region": place.name, "url": url}]}
        for kind, url in services.items()
    ]
