"""Logs in at Keystone and keeps the result for all calls of a process: token, project, addresses of the services.

`access_keys` gives the same without a login. The requests and answers are those of the Identity API v3, "Authentication
and token management".
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import requests

from shared.cloud.classify import classify
from shared.cloud.http import limit
from shared.cloud.no_answer import REDIRECTS, KeyRefused, LoginRefused, NoAnswer, redirected, unanswered
from shared.cloud.parse import LONGEST_TEXT, Offered, Service, addresses, offered
from shared.model import Answer, AnswerClass, Classified, Reason
from shared.policy import (
    CLOUD_ANSWER,
    CLOUD_CONNECT,
    LOGIN_PAUSES,
    LONGEST_CALL,
    SECRET_KEPT,
    SECRET_NEWEST,
    TOKEN_LEFT,
)
from shared.ports import Clock
from shared.quick import dataclass
from shared.redact import hidden
from shared.settings import BY_AGENCY, BY_CREDENTIAL, BY_KEYS, BY_TOKEN, CloudCredentials

if TYPE_CHECKING:
    from shared.cloud.access_keys import AccessKeys

ENDING = re.compile(r"(/v3)?/*$")
"""How the address of Keystone may end."""

ReadCredentials = Callable[[float], CloudCredentials]
"""Returns credentials at most so many seconds old. Raises SettingsError, or AwsTrouble if they cannot be read."""

FOR_EVER = datetime.max.replace(tzinfo=UTC)
LONGEST_LIFE = timedelta(days=365)
"""A token with a longer life is renewed after this time."""


@dataclass(frozen=True, eq=False)
class Granted:
    """The result of a login with these credentials; after `good_until`, by our own clock, the token is not used."""

    known: CloudCredentials = field(repr=False)
    token: str = field(repr=False)
    project_id: str
    catalog: Sequence[Mapping[str, Any]]
    good_until: datetime = FOR_EVER
    project_name: str = ""
    """Empty if the answer does not tell it, and for an access key."""


@dataclass(frozen=True, eq=False)
class Access:
    """The access that one login gave. A service without an address is missing in the catalog; `where` says where it was
    looked up.

    A request carries the `headers`, and is sent through `keys` if set. No answer may show the `secrets`.
    """

    token: str = field(repr=False)
    project_id: str
    services: Mapping[Service, str]
    verify: bool | str
    where: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    granted: Granted = field(repr=False)
    keys: "AccessKeys | None" = None

    def missing(self, service: Service) -> str:
        name = service.name.lower().replace("_", " ")
        if self.keys:
            place = self.granted.known.place
            return f"no {name} endpoint is known{f' for the region {place.name}' if place else ''}: set {service.value}"
        return f"the catalog has no {name} endpoint {self.where} {service.value}"


class _Refused(NamedTuple):
    """How many logins in a row were refused, why, and until when the same credentials are not tried again."""

    times: int
    why: Classified
    until: datetime


@dataclass
class Login:
    """One project's login, shared by all calls. Concurrent calls share one login, and rotated credentials replace the
    old ones."""

    read: ReadCredentials
    http: requests.Session
    clock: Clock
    servers_at: Service = Service.COMPUTE
    """The service that servers are read from: compute, or bare metal."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _credentials: CloudCredentials | None = field(default=None, repr=False)
    _granted: Granted | None = field(default=None, repr=False)
    _keys: "AccessKeys | None" = field(default=None, repr=False)
    held: Access | None = field(default=None, repr=False)
    """The access of the last read; using it needs no login, no secret and no lock."""
    named_project: str | None = None
    """The project id in the credentials."""
    _refused: _Refused | None = None

    def refresh(self, kept_seconds: float = SECRET_KEPT) -> bool:
        """Read the credentials, possibly from a cache; return whether they have changed."""
        with self._lock:
            credentials = self.read(kept_seconds)
            if credentials == self._credentials:
                return False
            self._keys = _access_keys(credentials, self.http, self.clock) if credentials.auth_type == BY_KEYS else None
            self._credentials, self.named_project = credentials, credentials.named_project
            self._granted = self.held = self._refused = None
            return True

    def access(self, deadline: datetime | None = None) -> Access:
        """The current access; logs in if there is none. Raises NoAnswer.

        Other threads wait for that login until their own deadlines.
        """
        held = self.held
        if held and self.clock() < held.granted.good_until and not (self._keys and self._keys.refused):
            return held
        self._wait(deadline)
        try:
            given = self._logged_in(deadline)
            if self.held is None or self.held.granted is not given:
                self.held = _access(given, self._keys, self.servers_at)
            return self.held
        finally:
            self._lock.release()

    def catalog(self) -> tuple[Offered, ...]:
        """All entries of the catalog with the interface of the credentials; logs in. Raises NoAnswer."""
        with self._lock:
            granted = self._logged_in(None)
            return tuple(offered(granted.catalog, granted.known.interface))

    def _wait(self, deadline: datetime | None) -> None:
        """Take the lock, which another thread may hold for a login. Raises NoAnswer at the deadline."""
        left = max((deadline - self.clock()).total_seconds(), 0) if deadline else -1
        if not self._lock.acquire(timeout=left):
            raise NoAnswer(unanswered(TimeoutError("the login of another call took until the deadline")))

    @contextmanager
    def _alone(self, deadline: datetime | None) -> Iterator[None]:
        self._wait(deadline)
        try:
            yield
        finally:
            self._lock.release()

    def _logged_in(self, deadline: datetime | None) -> Granted:
        """The current login, or a new one if there is none or its token expires soon.

        After a refused login the credentials are read again: rotated ones are tried at once, the same ones only after a
        pause of LOGIN_PAUSES.
        """
        refused = self._refused or (self._keys.refused if self._keys else None)
        if refused and not self.refresh(SECRET_NEWEST) and self.clock() < refused.until:
            raise NoAnswer(refused.why)
        if self._granted and not refused and self.clock() < self._granted.good_until:
            return self._granted
        limit(LONGEST_CALL, deadline, self.clock)
        try:
            while self._credentials is None:
                self.refresh()
            known, keys = self._credentials, self._keys
            self._granted = keys.granted() if keys else log_in(self.http, known, self.clock())
        except KeyRefused:  # by the lookup of the project
            return self._logged_in(deadline)
        except LoginRefused as no:
            self._refused = self._refused_again(no.classified)
            return self._logged_in(deadline)
        except (OSError, ValueError) as error:  # RequestException is an OSError, what cannot be sent a ValueError
            raise NoAnswer(unanswered(error, "OS_AUTH_URL")) from error
        self._refused = None
        return self._granted

    def _refused_again(self, why: Classified) -> _Refused:
        times = self._refused.times + 1 if self._refused else 1
        if why.kind is not AnswerClass.REAUTHENTICATE:
            times = max(times, 2)  # the answer is explicit: locked, or a wrong password
        pause = LOGIN_PAUSES[min(times, len(LOGIN_PAUSES)) - 1]
        # The login itself was refused, so nothing can be renewed.
        why = replace(why, kind=AnswerClass.PERMANENT, reason=Reason.UNAUTHORIZED)
        return _Refused(times, why, self.clock() + timedelta(seconds=pause))

    def drop(self, refused: Access) -> None:
        """Forget this token if it is the current one, so that the next read logs in.

        Does not wait: the thread that holds the lock is about to replace the token, or the next read finds it refused.
        """
        if self._lock.acquire(blocking=False):
            try:
                if self.held is refused and not refused.keys:
                    self._granted = self.held = None
            finally:
                self._lock.release()

    def renewed(self, refused: Access, deadline: datetime | None = None) -> Access | None:
        """A new access instead of the refused one, whose token is dropped if it is still current. Raises NoAnswer."""
        if refused.keys:
            return self.rotated(refused, deadline)
        with self._alone(deadline):
            self.drop(refused)
            return self.access(deadline)

    def final(self, refusal: Classified) -> Classified:
        """What a refusal means if no new login has helped; for an access key it is permanent."""
        refused = self._keys.refused if self._keys else None
        return refused.why if refused else refusal

    def ahead(self) -> float | None:
        """By how many seconds the cloud's clock is ahead of ours, if an access key was refused with a date."""
        refused = self._keys.refused if self._keys else None
        return refused.ahead if refused else None

    def rotated(self, refused: Access, deadline: datetime | None = None) -> Access | None:
        """An access with other credentials if the operator has rotated them, or None. Raises NoAnswer."""
        with self._alone(deadline):
            if self.held is refused and not self.refresh(SECRET_NEWEST):
                return None
            return self.access(deadline)


def _access(granted: Granted, keys: "AccessKeys | None", servers_at: Service) -> Access:
    project_id, known = granted.project_id, granted.known
    if not project_id:
        raise NoAnswer.for_good(Reason.UNAUTHORIZED, "the token is not scoped to a project")
    services, where = addresses(offered(granted.catalog, known.interface), known, project_id, servers_at)
    headers = {"X-Project-Id": project_id} if keys else {"X-Auth-Token": granted.token}
    secrets = known.secrets if keys else (granted.token,)
    return Access(granted.token, project_id, services, known.verify, where, headers, secrets, granted, keys)


def _access_keys(known: CloudCredentials, http: requests.Session, clock: Clock) -> "AccessKeys":
    # Imported only for access keys.
    from shared.cloud.access_keys import AccessKeys

    return AccessKeys.of(known, http, clock)


# ------------------------------------------------------------------------------------------- what asks for a token

Body: TypeAlias = dict[str, Any]
Domain: TypeAlias = tuple[str | None, str | None]
"""A domain's id and name; the id is used if given."""


def log_in(http: requests.Session, known: CloudCredentials, now: datetime) -> Granted:
    """Get a token with one request; with two for the role of an agency. Raises LoginRefused, NoAnswer, OSError,
    ValueError.

    The settings have checked that the credentials are complete.
    """
    default = known.default_domain_id, known.default_domain_name
    domain: Domain = (known.user_domain_id, known.user_domain_name)
    if not any(domain):
        domain = default if any(default) else (None, "Default")
    if known.auth_type == BY_CREDENTIAL:
        return _by_credential(http, known, now, domain)
    # Keystone needs the domain with a project's name; Open Telekom Cloud also accepts it with an id.
    project_domain: Domain = (known.project_domain_id, known.project_domain_name)
    if not any(project_domain):
        project_domain = default if any(default) else domain
    project = {"project": _named(known.project_id, known.project_name, project_domain)}
    own = known.token.get_secret_value() if known.token else ""
    if known.auth_type in BY_TOKEN:
        return _asked(http, known, now, "token", {"id": own}, project, own)
    password = known.password.get_secret_value() if known.password else ""
    user = {"user": {**_named(known.user_id, known.username, domain), "password": password}}
    if known.auth_type != BY_AGENCY:
        return _asked(http, known, now, "password", user, project)
    # The token of our own account is not kept, since it may be revoked before the next login.
    own = own or _asked(http, known, now, "password", user, {"domain": _named(*domain)}).token
    return _in_the_role(http, known, now, own)


def _by_credential(http: requests.Session, known: CloudCredentials, now: datetime, domain: Domain) -> Granted:
    """Log in by an application credential, which has its own scope. A named one needs its user, since names are not
    unique."""
    which: Body = {"id": known.application_credential_id}
    if not known.application_credential_id:
        which = {"name": known.application_credential_name, "user": _named(known.user_id, known.username, domain)}
    secret = known.application_credential_secret
    which["secret"] = secret.get_secret_value() if secret else ""
    return _asked(http, known, now, "application_credential", which, None)


def _in_the_role(http: requests.Session, known: CloudCredentials, now: datetime, own: str) -> Granted:
    """Take the role that another account delegates by an agency (IAM, "Obtaining an Agency Token")."""
    domain = known.agency_domain_name
    by_name = known.delegated_project or not known.project_id
    name = known.delegated_project or known.project_name
    scope = {"project": _named(None if by_name else known.project_id, name, (None, domain))}
    role = {"domain_name": domain, "xrole_name": known.agency_name}
    return _asked(http, known, now, "assume_role", role, scope, own)


def _asked(
    http: requests.Session,
    known: CloudCredentials,
    now: datetime,
    method: str,
    data: Body,
    scope: Body | None,
    token: str = "",
) -> Granted:
    """Send one request for a token. Redirects are not followed, since the password would be sent along."""
    auth = {"identity": {"methods": [method], method: data}, **({"scope": scope} if scope else {})}
    response = http.post(
        f"{ENDING.sub('', known.auth_url)}/v3/auth/tokens",
        json={"auth": auth},
        headers={"Accept": "application/json", **({"X-Auth-Token": token} if token else {})},
        timeout=(CLOUD_CONNECT, CLOUD_ANSWER),
        verify=known.verify,
        allow_redirects=False,
    )
    if response.status_code >= 300:
        headers = {name.lower(): value for name, value in response.headers.items()}
        # The answer may quote the request.
        answer = Answer(response.status_code, headers, hidden(response.content, (*known.secrets, token)))
        if answer.status in REDIRECTS:
            raise redirected(answer, "keystone", "OS_AUTH_URL")
        why = classify(answer, now=now)
        refused = why.kind is AnswerClass.REAUTHENTICATE or why.reason is Reason.UNAUTHORIZED
        raise LoginRefused(why) if refused else NoAnswer(why)
    try:
        return _granted(known, response.headers["X-Subject-Token"], response.json()["token"], now)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        message = "Keystone's answer cannot be read: check OS_AUTH_URL"
        raise NoAnswer(Classified(AnswerClass.RECONCILE, "unreadable_answer", message)) from error


def _granted(known: CloudCredentials, token: str, told: Body, now: datetime) -> Granted:
    """Read the token. Clocks may differ, so its life counts from now; a token without an expiry is used until
    refused."""
    good_until, issued, ends = FOR_EVER, told.get("issued_at"), told.get("expires_at")
    if ends:
        life = datetime.fromisoformat(ends) - (datetime.fromisoformat(issued) if issued else now)
        good_until = now + min(max(life, timedelta()), LONGEST_LIFE) - timedelta(seconds=TOKEN_LEFT)
    catalog = told.get("catalog") or []
    if not isinstance(catalog, list):
        raise TypeError("the catalog is no list")
    project = told.get("project") or {}
    project_id, name = project.get("id") or "", project.get("name")
    if not isinstance(project_id, str) or len(project_id) > LONGEST_TEXT or not project_id.isprintable():
        raise TypeError("the project's id is no id")
    project_name = name if isinstance(name, str) and len(name) <= LONGEST_TEXT and name.isprintable() else ""
    return Granted(known, token, project_id, catalog, good_until, project_name)


def _named(id_: str | None, name: str | None, domain: Domain | None = None) -> Body:
    """The body that names something by its id, or by its name and domain."""
    if id_:
        return {"id": id_}
    if domain is None:
        return {"name": name}
    return {"name": name, "domain": {"id": domain[0]} if domain[0] else {"name": domain[1]}}
