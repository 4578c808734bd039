"""One project's login, kept: a token, the project and the addresses of the services, for all calls of a process.

`identity` asks Keystone for it. An access key needs no login; `access_keys` has the same things without one.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import requests

from shared.cloud.http import limit
from shared.cloud.identity import Granted, log_in
from shared.cloud.no_answer import KeyRefused, LoginRefused, NoAnswer, unanswered
from shared.model import AnswerClass, Classified, Reason
from shared.policy import LOGIN_PAUSES, LONGEST_CALL, SECRET_KEPT, SECRET_NEWEST
from shared.ports import Clock
from shared.settings import BY_KEYS, CloudCredentials

if TYPE_CHECKING:
    from shared.cloud.access_keys import AccessKeys

NOVA_URL = re.compile(r"^(?P<root>https?://[^?#]*?)(/v2(\.\d+)?(/[^/?#]+)?)?/*$")
EVERYWHERE = "*"
"""The region of an endpoint that serves all of them, as one without a region does."""

CINDER_TYPES = ("volumev3", "block-storage", "volumev2")

ReadCredentials = Callable[[float], CloudCredentials]
"""Credentials that are at most so many seconds old. Raises SettingsError, or AwsTrouble if they cannot be read."""


class Service(StrEnum):
    """The services that are called, and the setting that stands in for what the catalog says of each."""

    COMPUTE = "COMPUTE_ENDPOINT"
    BLOCK_STORAGE = "VOLUME_ENDPOINT"
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
    granted: Granted = field(repr=False)
    keys: "AccessKeys | None" = None

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
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _credentials: CloudCredentials | None = field(default=None, repr=False)
    _granted: Granted | None = field(default=None, repr=False)
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
            self._credentials, self._granted, self.held, self._refused = credentials, None, None, None
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
        if held and self.clock() < held.granted.good_until and not (self._keys and self._keys.refused):
            return held
        self._wait(deadline)
        try:
            given = self._logged_in(deadline)
            if self.held is None or self.held.granted is not given:
                self.held = _access(given, self._known(), self._keys)
            return self.held
        finally:
            self._lock.release()

    def catalog(self) -> tuple[Offered, ...]:
        """All that the catalog has with the interface of the credentials; logs in. Raises NoAnswer."""
        with self._lock:
            return _offered(self._logged_in(None), self._known())

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

    def _known(self) -> CloudCredentials:
        """The credentials, read if that was not done yet."""
        while self._credentials is None:
            self.refresh()
        return self._credentials

    def _logged_in(self, deadline: datetime | None) -> Granted:
        """What the current login gave, or a new one if there is none or its token ends soon.

        A refused login has the credentials read once more: if they were rotated, the new ones are tried. If not, the
        same ones are tried again only after the pauses of LOGIN_PAUSES.
        """
        refused = self._refused or (self._keys.refused if self._keys else None)
        if refused and not self.refresh(SECRET_NEWEST) and self.clock() < refused.until:
            raise NoAnswer(refused.why)
        if self._granted and not refused and self.clock() < self._granted.good_until:
            return self._granted
        limit(LONGEST_CALL, deadline, self.clock)
        try:
            known = self._known()
            self._granted = self._keys.granted() if self._keys else log_in(self.http, known, self.clock())
        except KeyRefused:  # by the lookup of the project
            return self._logged_in(deadline)
        except LoginRefused as no:
            self._refused = self._once_more_refused(no.classified)
            return self._logged_in(deadline)
        except OSError as error:  # of which RequestException is one
            raise NoAnswer(unanswered(error)) from error
        self._refused = None
        return self._granted

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
                    self._granted = self.held = None
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


def _access(granted: Granted, known: CloudCredentials, keys: "AccessKeys | None") -> Access:
    project_id, verify = granted.project_id, known.verify
    if not project_id:
        raise NoAnswer.for_good(Reason.UNAUTHORIZED, "the token is not scoped to a project")
    listed = _offered(granted, known)
    region, regions = _region([(kind, at) for kind, at, _ in listed], known)
    offered: dict[str, str] = {}
    for kind, at, url in listed:
        if at in (EVERYWHERE, region):
            offered.setdefault(kind, url)
    found = {}
    if compute := NOVA_URL.match(known.compute_endpoint or offered.get("compute", "")):
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
        return Access("", project_id, found, verify, where, {"X-Project-Id": project_id}, known.secrets, granted, keys)
    token = granted.token
    return Access(token, project_id, found, verify, where, {"X-Auth-Token": token}, (token,), granted)


def _offered(granted: Granted, known: CloudCredentials) -> tuple[Offered, ...]:
    return tuple(
        Offered(
            str(service.get("type")),
            str(endpoint.get("region_id") or endpoint.get("region") or EVERYWHERE),
            str(endpoint.get("url") or ""),
        )
        for service in granted.catalog
        for endpoint in service.get("endpoints") or ()
        if endpoint.get("interface") == known.interface
    )


def _region(listed: list[tuple[str, str]], known: CloudCredentials) -> tuple[str | None, list[str]]:
    """The region that counts, and those that there are, for the services whose addresses no setting gives.

    A region with one of the two services is no choice where another one has both. Raises NoAnswer if several are left.
    """
    given = {("compute",): known.compute_endpoint, CINDER_TYPES: known.volume_endpoint}
    needed = [kinds for kinds, url in given.items() if not url]
    places = [{at for kind, at in listed if kind in kinds} for kinds in needed or [("image",)]]
    regions = sorted(set().union(*places) - {EVERYWHERE})
    choices = [at for at in regions if all(place & {at, EVERYWHERE} for place in places)] or regions
    if needed and len(choices) > 1 and not known.region:
        several = f"the catalog has several regions: set OS_REGION_NAME to one of {', '.join(choices)}"
        raise NoAnswer.for_good(Reason.API_REJECTED, several)
    return known.region or (choices[0] if len(choices) == 1 else None), regions


def _access_keys(known: CloudCredentials, http: requests.Session, clock: Clock) -> "AccessKeys":
    # Only who signs loads what signs.
    from shared.cloud.access_keys import AccessKeys

    return AccessKeys.of(known, http, clock)
