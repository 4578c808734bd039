"""The login: keystoneauth1's plugins give a token, a project and the catalog. No other call is sent from here.

An access key needs no login; `access_keys` has the same things without one.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
from keystoneauth1 import exceptions as keystone
from keystoneauth1.identity import BaseIdentityPlugin, v3
from keystoneauth1.session import Session

from shared.cloud.classify import classify
from shared.cloud.http import limit
from shared.cloud.no_answer import REDIRECTS, KeyRefused, NoAnswer, redirected, unanswered
from shared.model import Answer, AnswerClass, Classified, Reason
from shared.policy import LOGIN_PAUSES, LONGEST_CALL, SECRET_KEPT, SECRET_NEWEST
from shared.ports import Clock
from shared.redact import hidden
from shared.regions import region_of
from shared.settings import BY_AGENCY, BY_CREDENTIAL, BY_KEYS, BY_TOKEN, CloudCredentials

if TYPE_CHECKING:
    from shared.cloud.access_keys import AccessKeys

NOVA_URL = re.compile(r"^(?P<root>https?://[^?#]*?)(/v2(\.\d+)?(/[^/?#]+)?)?/*$")
ENDING = re.compile(r"(/v3)?/*$")
"""How the address of Keystone may end."""

EVERYWHERE = "*"
"""The region of an endpoint that serves all of them, as one without a region does."""

CINDER_TYPES = ("volumev3", "block-storage", "volumev2")

ReadCredentials = Callable[[float], CloudCredentials]
"""Credentials that are at most so many seconds old. Raises SettingsError, or AwsTrouble if they cannot be read."""


class Service(StrEnum):
    """The services that are called, and the setting that stands in for what the catalog says of each."""

    COMPUTE = "COMPUTE_ENDPOINT"
    BLOCK_STORAGE = "VOLUME_ENDPOINT"
    BARE_METAL = "BMS_ENDPOINT"
    IMAGE = ""


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """What one login gave; a service without an address is not in the catalog, where `where` says.

    A request carries the `headers`, and is sent through the `keys` if there are some. No answer may show the `secrets`.
    """

    token: str
    project_id: str
    services: Mapping[Service, str]
    verify: bool | str
    where: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: Sequence[str] = field(repr=False)
    keys: "AccessKeys | None" = None
    granted: Any = field(default=None, repr=False, compare=False)
    """The login's own record of it, which knows when the token ends."""

    def missing(self, service: Service) -> str:
        return f"the catalog has no {service.name.lower().replace('_', ' ')} endpoint {self.where} {service.value}"


class Offered(NamedTuple):
    """An entry of the catalog; an endpoint without a region is EVERYWHERE."""

    kind: str
    region: str
    url: str


class _Refused(NamedTuple):
    """How often in a row a login was refused, why, and until when the same credentials are not tried again."""

    times: int
    why: Classified
    until: datetime


@dataclass
class Login:
    """One project's login, shared by all calls. Many at once make one login; rotated credentials take over."""

    read: ReadCredentials
    http: requests.Session
    clock: Clock
    servers_at: Service = Service.COMPUTE
    """The service that is asked for servers: compute, or bare metal."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _credentials: CloudCredentials | None = field(default=None, repr=False)
    _session: Any = field(default=None, repr=False)
    _keys: "AccessKeys | None" = field(default=None, repr=False)
    held: Access | None = field(default=None, repr=False)
    """What the last read used; reading it costs no login, no secret and no wait for either."""
    _refused: _Refused | None = None

    def refresh(self, kept_seconds: float = SECRET_KEPT) -> bool:
        """Read the credentials, from a secret's cache; whether they are other ones than before."""
        with self._lock:
            credentials = self.read(kept_seconds)
            if credentials == self._credentials:
                return False
            self._keys = _access_keys(credentials, self.http, self.clock) if credentials.auth_type == BY_KEYS else None
            # No redirect is followed: the password would go along.
            auth: Any = self._keys or _plugin(credentials)
            verify = credentials.verify if credentials.cacert or credentials.insecure else True
            self._session = Session(auth=auth, session=self.http, verify=verify, redirect=False)
            self._credentials, self.held, self._refused = credentials, None, None
            return True

    @property
    def named_project(self) -> str | None:
        """The project that the credentials name by its id."""
        return self._credentials.named_project if self._credentials else None

    def access(self, deadline: datetime | None = None) -> Access:
        """The current token and where it is good for, by a login if there is none. Raises NoAnswer.

        Threads that come meanwhile wait for that login, until their own deadlines.
        """
        held = self.held
        if held and not held.granted.will_expire_soon(BaseIdentityPlugin.MIN_TOKEN_LIFE_SECONDS):
            return held
        self._wait(deadline)
        try:
            if self._credentials is None:
                self.refresh()
            given = self._logged_in(deadline)
            if self.held is None or self.held.granted is not given:
                self.held = _access(given, self._credentials, self._session.verify, self._keys, self.servers_at)
            return self.held
        finally:
            self._lock.release()

    def catalog(self) -> tuple[Offered, ...]:
        """All that the catalog has with the interface of the credentials; logs in. Raises NoAnswer."""
        with self._lock:
            if self._credentials is None:
                self.refresh()
            return _offered(self._logged_in(None), self._credentials)

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

    def _logged_in(self, deadline: datetime | None) -> Any:
        """keystoneauth1's access: the current one, or by a login if there is none or it ends soon.

        A refused login has the credentials read once more: if they were rotated, the new ones are tried. If not, the
        same ones are tried again only after the pauses of LOGIN_PAUSES.
        """
        refused = self._refused or (self._keys.refused if self._keys else None)
        if refused and not self.refresh(SECRET_NEWEST) and self.clock() < refused.until:
            raise NoAnswer(refused.why)
        limit(LONGEST_CALL, deadline, self.clock)
        try:
            granted = self._session.auth.get_access(self._session)
        except KeyRefused:  # by the lookup of the project
            return self._logged_in(deadline)
        except (keystone.ClientException, OSError) as error:  # RequestException is an OSError
            why = understood(error, self._credentials.secrets if self._credentials else ())
            if why.kind is not AnswerClass.REAUTHENTICATE and why.reason is not Reason.UNAUTHORIZED:
                raise NoAnswer(why) from error
            self._refused = self._once_more_refused(why)
            return self._logged_in(deadline)
        self._refused = None
        return granted

    def _once_more_refused(self, why: Classified) -> _Refused:
        times = self._refused.times + 1 if self._refused else 1
        if why.kind is not AnswerClass.REAUTHENTICATE:
            times = max(times, 2)  # said in so many words: locked, or a wrong password
        pause = LOGIN_PAUSES[min(times, len(LOGIN_PAUSES)) - 1]
        # It was the login that was refused: there is nothing left to renew.
        why = replace(why, kind=AnswerClass.PERMANENT, reason=Reason.UNAUTHORIZED)
        return _Refused(times, why, self.clock() + timedelta(seconds=pause))

    def drop(self, refused: Access) -> None:
        """Forget this token if it is the current one, so that the next read logs in.

        Does not wait: whoever holds the lock is about to replace the token, or the next read finds it refused.
        """
        if self._lock.acquire(blocking=False):
            try:
                if self.held is refused and not refused.keys:
                    self._session.auth.invalidate()
                    self.held = None
            finally:
                self._lock.release()

    def renewed(self, refused: Access, deadline: datetime | None = None) -> Access | None:
        """Another token than the refused one, which is dropped if it is still the current one. Raises NoAnswer."""
        if refused.keys:
            return self.rotated(refused, deadline)
        with self._alone(deadline):
            self.drop(refused)
            return self.access(deadline)

    def final(self, refusal: Classified) -> Classified:
        """What a refusal means that no other login has cured; that of an access key is a verdict."""
        refused = self._keys.refused if self._keys else None
        return refused.why if refused else refusal

    def rotated(self, refused: Access, deadline: datetime | None = None) -> Access | None:
        """An access by other credentials, if the operator has rotated them. Raises NoAnswer."""
        with self._alone(deadline):
            if self.held is refused and not self.refresh(SECRET_NEWEST):
                return None
            return self.access(deadline)


# -------------------------------------------------------------------------------------------------- the catalog


def _access(
    granted: Any, known: Any, verify: bool | str, keys: "AccessKeys | None", servers_at: Service = Service.COMPUTE
) -> Access:
    project_id = str(granted.project_id or "")
    if not project_id:
        raise NoAnswer.for_good(Reason.UNAUTHORIZED, "the token is not scoped to a project")
    listed = _offered(granted, known)
    region, regions = _region([(kind, at) for kind, at, _ in listed], known, servers_at)
    offered: dict[str, str] = {}
    for kind, at, url in listed:
        if at in (EVERYWHERE, region):
            offered.setdefault(kind, url)
    found = {}
    if servers_at is Service.BARE_METAL:
        if bare_metal := _bare_metal(known, offered, region, project_id):
            found[Service.BARE_METAL] = bare_metal
    elif compute := NOVA_URL.match(known.compute_endpoint or offered.get("compute", "")):
        # `/v2.1` is forced: behind `/v2` microversions are ignored.
        found[Service.COMPUTE] = f"{compute['root']}/v2.1/{project_id}"
    volumes = known.volume_endpoint or next((offered[kind] for kind in CINDER_TYPES if kind in offered), "")
    if volumes := volumes.rstrip("/").removesuffix(f"/{project_id}"):
        # Some catalogs leave the project out of the path, some the version.
        version = "" if re.search(r"/v\d[\d.]*$", volumes) else "/v3"
        found[Service.BLOCK_STORAGE] = f"{volumes}{version}/{project_id}"
    if "image" in offered:
        found[Service.IMAGE] = re.sub(r"/v2(\.\d+)?/*$", "", offered["image"].rstrip("/")) + "/v2"
    elsewhere = f", only in {', '.join(regions)}" if regions and region not in regions else ""
    where = f"with the interface {known.interface}" + (f" in the region {region}{elsewhere}" if region else "")
    remedy = "OS_REGION_NAME" if elsewhere else "OS_INTERFACE"
    where = f"{where}: set {remedy} or"
    if keys:
        return Access("", project_id, found, verify, where, {"X-Project-Id": project_id}, known.secrets, keys, granted)
    token = str(granted.auth_token)
    return Access(token, project_id, found, verify, where, {"X-Auth-Token": token}, (token,), None, granted)


def _bare_metal(known: CloudCredentials, offered: Mapping[str, str], region: str | None, project_id: str) -> str:
    """By the setting, the catalog (its type is `bms`), or the table of regions; empty where none of them knows one."""
    place = region_of(known.auth_url, region)
    url = known.bms_endpoint or offered.get("bms") or (place.bare_metal if place else None) or ""
    root = re.sub(r"/v1(\.\d+)?$", "", url.rstrip("/").removesuffix(f"/{project_id}"))
    return f"{root}/v1/{project_id}" if root else ""


def _offered(granted: Any, known: Any) -> tuple[Offered, ...]:
    return tuple(
        Offered(
            str(service.get("type")),
            str(endpoint.get("region_id") or endpoint.get("region") or EVERYWHERE),
            str(endpoint.get("url") or ""),
        )
        for service in granted.service_catalog.catalog
        for endpoint in service.get("endpoints", ())
        if endpoint.get("interface") == known.interface
    )


def _region(
    listed: list[tuple[str, str]], known: CloudCredentials, servers_at: Service = Service.COMPUTE
) -> tuple[str | None, list[str]]:
    """The region that counts, and those that there are, for the services whose addresses no setting gives.

    A region with one of the two services is no choice where another one has both. Raises NoAnswer if several are left.
    """
    servers: tuple[tuple[str, ...], str | None] = ("compute",), known.compute_endpoint
    if servers_at is Service.BARE_METAL:
        servers = ("bms",), known.bms_endpoint
    given = {servers[0]: servers[1], CINDER_TYPES: known.volume_endpoint}
    needed = [kinds for kinds, url in given.items() if not url]
    places = [{at for kind, at in listed if kind in kinds} for kinds in needed or [("image",)]]
    regions = sorted(set().union(*places) - {EVERYWHERE})
    choices = [at for at in regions if all(place & {at, EVERYWHERE} for place in places)] or regions
    if needed and len(choices) > 1 and not known.region:
        several = f"the catalog has several regions: set OS_REGION_NAME to one of {', '.join(choices)}"
        raise NoAnswer.for_good(Reason.API_REJECTED, several)
    return known.region or (choices[0] if len(choices) == 1 else None), regions


# --------------------------------------------------------------------------------------------------- the plugins


def _access_keys(known: CloudCredentials, http: requests.Session, clock: Clock) -> "AccessKeys":
    # Only who signs loads what signs.
    from shared.cloud.access_keys import AccessKeys

    return AccessKeys.of(known, http, clock)


def _plugin(known: CloudCredentials) -> v3.Auth:
    """keystoneauth1's way to log in; the settings have checked that it is complete."""
    auth_url = ENDING.sub("", known.auth_url) + "/v3"
    default = known.default_domain_id, known.default_domain_name
    domain_id, domain_name = _first((known.user_domain_id, known.user_domain_name), default, (None, "Default"))
    user: dict[str, Any] = {"user_id": known.user_id, "username": known.username}
    user |= {"user_domain_id": domain_id, "user_domain_name": domain_name}
    if known.auth_type == BY_CREDENTIAL:
        secret = known.application_credential_secret
        return v3.ApplicationCredential(
            auth_url,
            application_credential_id=known.application_credential_id,
            application_credential_name=known.application_credential_name,
            application_credential_secret=secret.get_secret_value() if secret else "",
            **user,
        )
    scope: dict[str, Any] = {"project_id": known.project_id}
    if not known.project_id:
        # With a project's name Keystone wants its domain; Open Telekom Cloud takes both.
        told = known.project_domain_id, known.project_domain_name
        project_domain_id, project_domain_name = _first(told, default, (domain_id, domain_name))
        scope = {"project_name": known.project_name, "project_domain_id": project_domain_id}
        scope["project_domain_name"] = project_domain_name
    token = known.token.get_secret_value() if known.token else ""
    password = known.password.get_secret_value() if known.password else ""
    if known.auth_type == BY_AGENCY:
        from shared.cloud.agency import assume_role

        user |= {"domain_id": domain_id, "domain_name": None if domain_id else domain_name}
        return assume_role(auth_url, known, token or v3.Password(auth_url, password=password, **user))
    if known.auth_type in BY_TOKEN:
        return v3.Token(auth_url, token=token, **scope)
    return v3.Password(auth_url, password=password, **user, **scope)


def _first(*domains: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
    """The first domain that is told, by id or by name."""
    return next(domain for domain in domains if any(domain))


def understood(error: Exception, secrets: Sequence[str] = ()) -> Classified:
    """What an exception of the login means: an answer of Keystone's by that answer, all else is unknown.

    The answer may repeat what it was sent, so the secrets of the login are not shown.
    """
    response = getattr(error, "response", None)
    if not isinstance(response, requests.Response):
        return classify(Answer(error.http_status)) if isinstance(error, keystone.HttpError) else unanswered(error)
    headers = {name.lower(): value for name, value in response.headers.items()}
    answer = Answer(response.status_code, headers, hidden(response.content, secrets))
    if answer.status in REDIRECTS:
        return redirected(answer, "keystone", "OS_AUTH_URL").classified
    return classify(answer) if isinstance(error, keystone.HttpError) else unanswered(error)
