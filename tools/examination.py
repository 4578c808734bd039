"""Checks one by one what a detach needs of a cloud. It only logs in and sends GETs, so it changes nothing."""

import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from math import ceil
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from local.real_cloud import OTHER_API, PROJECT_ID, PROJECT_NAME, contradiction, cure, is_closed, reach, try_key
from local.surroundings import LOOPBACK
from shared.cloud.http import limit
from shared.cloud.keystone import Access
from shared.cloud.no_answer import NoAnswer, unanswered
from shared.cloud.openstack import LIST_VERSION, NOT_SHOWN, RECORD_VERSION, SERVER_VERSION, OpenStackCloud
from shared.cloud.parse import CINDER_TYPES, EVERYWHERE, Offered, Service
from shared.model import Answer, Classified, Reason
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT, LONGEST_CALL, Policy
from shared.ports import CloudTrouble, Reading
from shared.settings import DetachApi
from tools.clouds import Found

FENCE = Policy().fence_skew.total_seconds()
LARGEST_FENCE = 300.0
"""Seconds: the maximum of FENCE_SKEW. With a larger difference AWS refuses signatures too."""

RENEWAL = 14
"""Days before its expiry by which a certificate should have been renewed."""

LOST: Mapping[str, str] = {
    SERVER_VERSION: "locked servers and tags are not seen before the cloud refuses",
    RECORD_VERSION: "its records do not tell how a detach or a move ended",
    LIST_VERSION: "a disk that was moved is not told from one that was attached again, and is left alone",
}
"""Nova's microversions that the service uses, and what is missing without them."""

SILENCE: Mapping[str, str] = {
    "connection_failure": "no connection: unknown name, closed port, or a firewall in between",
    "timeout": "no answer in time",
    "tls_failure": "no trusted connection",
}
"""The codes of calls without an answer, in words."""

SPOKEN = {Service.COMPUTE: "compute", Service.BARE_METAL: "bare metal", Service.BLOCK_STORAGE: "block storage"}
KINDS = {Service.COMPUTE: "compute", Service.BARE_METAL: "bms"}
"""The catalogue's type of the service that is asked for servers."""


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Line:
    """One check: what was found, and what to do if it is wrong."""

    check: str
    state: State
    found: str
    cure: str = ""


class _Seen(NamedTuple):
    """One address: the check of its certificate, and by how many seconds its clock is ahead of ours."""

    line: Line
    ahead: float | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """The checks of one cloud, made with the adapters that detach; the clock is this machine's."""

    found: Found
    cloud: OpenStackCloud
    verify: bool | str

    def lines(self) -> Iterator[Line]:
        """All checks, each after those it depends on. Raises nothing that a cloud can cause."""
        unused = ", ".join(self.found.unused)
        state, why = (State.WARN, "remove them, or correct their names") if unused else (State.OK, "")
        yield Line("cloud", state, self.found.place + (f"; not used are {unused}" if unused else ""), why)
        try:
            catalog = self.cloud.login.catalog()
        except NoAnswer as error:
            yield from self._not_in(self._refused(error.classified))
            return
        try:
            access = self.cloud.login.access()
        except NoAnswer as error:
            yield from self._not_in(*self._no_place(error.classified, catalog))
            return
        try:
            try_key(self.cloud)
        except CloudTrouble as trouble:
            yield from self._not_in(self._refused(trouble.classified), access=access)
            return
        yield self._project(access)
        yield from self._places(catalog, access)
        yield from self._connections(self._auth_url, *self._addresses(access))
        yield from self._services(access)
        yield Line(
            "detach",
            State.NOT_TRIED,
            "only a detach shows whether this user may detach",
            'send a request with "dry_run": true, which checks everything else, then detach a disk you can spare',
        )

    @property
    def _auth_url(self) -> str:
        return self.found.values["auth_url"]

    @property
    def _api(self) -> DetachApi:
        return DetachApi.BMS_V1 if self.cloud.servers_at is Service.BARE_METAL else DetachApi.COMPUTE

    @property
    def _asked_for(self) -> tuple[Service, Service]:
        """The services that a detach uses."""
        return self.cloud.servers_at, Service.BLOCK_STORAGE

    def _regions(self, catalog: tuple[Offered, ...]) -> list[str]:
        """The regions that have one of the two services."""
        kinds = (KINDS[self.cloud.servers_at], *CINDER_TYPES)
        return sorted({one.region for one in catalog if one.kind in kinds} - {EVERYWHERE})

    # ------------------------------------------------------------------------------------ login and catalogue

    def _project(self, access: Access) -> Line:
        """The project of the login, and whether its id and its name were both set, but say different ones."""
        gives = "the access key signs requests" if access.keys else f"{self._auth_url} gives a token"
        found = f"{gives} for project {access.project_id}"
        if other := contradiction(access, self.found):
            return Line("login", State.WARN, f"{gives} for project {other.used}, {other.name} says another", other.cure)
        known, first = access.granted.known, self.found.first
        if access.keys and known.project_id and known.project_name:
            found += f" ({first(*PROJECT_ID)}; {first(*PROJECT_NAME)} is not used)"
        return Line("login", State.OK, found)

    def _addresses(self, access: Access) -> Iterator[str]:
        return (access.services[one] for one in self._asked_for if one in access.services)

    def _not_in(self, *lines: Line, access: Access | None = None) -> Iterator[Line]:
        """The lines of a failed login or an ambiguous region: nothing that depends on it can be checked."""
        yield from lines
        yield from self._connections(self._auth_url, *(self._addresses(access) if access else ()))
        for check in ("catalogue", *(SPOKEN[one] for one in self._asked_for), "rights", "detach"):
            yield Line(check, State.NOT_TRIED, "needs a login and a single region")

    def _refused(self, why: Classified) -> Line:
        remedy = cure if why.reason is Reason.UNAUTHORIZED else reach
        return Line("login", State.FAIL, _shown(why), remedy(self.found))

    def _no_place(self, why: Classified, catalog: tuple[Offered, ...]) -> tuple[Line, ...]:
        """The lines of a token without a project, or for several regions."""
        if why.reason is Reason.UNAUTHORIZED:
            return (self._refused(why),)
        remedy = f"set {self.found.spelt('region_name')} to one of {', '.join(self._regions(catalog))}"
        return (
            Line("login", State.OK, f"{self._auth_url} gives a token"),
            Line("region", State.FAIL, "the catalogue has several regions, and none is chosen", remedy),
        )

    def _places(self, catalog: tuple[Offered, ...], access: Access) -> Iterator[Line]:
        """The region, and the addresses of both services in it."""
        spelt, asked = self.found.spelt, self.found.values.get("region_name")
        missing = [service for service in self._asked_for if service not in access.services]
        regions = self._regions(catalog)
        names = ", ".join(regions)
        if missing and asked and asked not in regions and not access.keys:
            there = f"the catalogue has {names}" if names else "the catalogue has no regions"
            remedy = f"set {spelt('region_name')} to one of {names}" if names else f"unset {spelt('region_name')}"
            yield Line("region", State.FAIL, f"there is no region {asked}, {there}", remedy)
            yield Line("catalogue", State.NOT_TRIED, "needs a region that exists")
            return
        none = "none; the endpoints are set" if access.keys else "the catalogue has no regions"
        yield Line("region", State.OK, asked or names or none)
        for service in self._asked_for:
            check, name = "catalogue", SPOKEN[service]
            if service in access.services:
                yield Line(check, State.OK, f"{name} is at {access.services[service]}")
                continue
            if access.keys:
                yield Line(check, State.FAIL, access.missing(service).partition(":")[0], f"set {service.value}")
                continue
            kinds = ", ".join(sorted({one.kind for one in catalog})) or "nothing"
            remedy = f"set {service.value} to its address, or {spelt('interface')} to the interface that lists it"
            yield Line(check, State.FAIL, f"there is no {name}, only {kinds}", remedy)

    # ---------------------------------------------------------------------------------------- TLS and clocks

    def _connections(self, *urls: str) -> Iterator[Line]:
        """One line for each address, and one for the clock with the largest difference."""
        origins = dict.fromkeys(f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in urls if url)
        seen = [self._asked(origin) for origin in origins]
        yield from (one.line for one in seen)
        aheads = [one.ahead for one in seen if one.ahead is not None]
        if not aheads and (by_refusal := self.cloud.login.ahead()) is not None:
            aheads = [by_refusal]
        if not aheads:
            yield Line("clock", State.NOT_TRIED, "no answer contains the cloud's time")
            return
        ahead = max(aheads, key=abs)
        found = f"this machine is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} the cloud"
        if abs(ahead) <= FENCE:
            yield Line("clock", State.OK, found if round(ahead) else "this machine and the cloud agree to the second")
            return
        state = State.WARN if abs(ahead) <= LARGEST_FENCE else State.FAIL
        wider = f", or FENCE_SKEW to {ceil(abs(ahead)) + 1} if the cloud's clock is wrong"
        remedy = "set this machine's clock (timedatectl set-ntp true)"
        yield Line("clock", state, found, remedy + (wider if state is State.WARN else ""))

    def _asked(self, origin: str) -> _Seen:
        """Send a GET to an address with the sessions, proxies and certificates of all calls; any answer will do."""
        clock = self.cloud.clock
        before = clock()
        limit(LONGEST_CALL, None, clock)
        try:
            with self.cloud.calls.http.get(
                f"{origin}/",
                timeout=(CLOUD_CONNECT, CLOUD_ANSWER),
                verify=self.verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                ahead = _ahead(response.headers.get("Date"), before, clock())
                return _Seen(self._sealed(origin, response), ahead)
        except OSError as error:  # of which RequestException is one
            why = unanswered(error)
            remedy = f"check the network, and {self.found.spelt('cacert')} if it is the certificate"
            return _Seen(Line("tls", State.FAIL, f"{origin}: {_shown(why)}", remedy))

    def _sealed(self, origin: str, response: requests.Response) -> Line:
        """Whether TLS protects the password and the token."""
        if origin.startswith("http:"):
            if urlsplit(origin).hostname in LOOPBACK:
                return Line("tls", State.OK, f"{origin}: plain http, but on this machine only")
            readable = "password and token cross the network unencrypted: use an address with https"
            return Line("tls", State.WARN, f"{origin}: plain http", readable)
        sock = getattr(response.raw.connection, "sock", None)
        certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
        if not certificate:
            spelt = self.found.spelt
            remedy = f"remove {spelt('insecure')}, and set {spelt('cacert')} to the certificates of its authority"
            return Line("tls", State.WARN, f"{origin}: the certificate is not checked", remedy)
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        days = (until - self.cloud.clock()).days
        found = f"{origin}: the certificate is valid until {until:%Y-%m-%d}, {days} days"
        if days > RENEWAL:
            return Line("tls", State.OK, found)
        return Line("tls", State.WARN, found, "ask the cloud's operator to renew it; after that date nothing works")

    # --------------------------------------------------------------------------------------------- services

    def _services(self, access: Access) -> Iterator[Line]:
        servers = volumes = None
        if self.cloud.servers_at in access.services:
            if self.cloud.servers_at is Service.COMPUTE:
                yield self._compute(access)
            listed = self._right("read servers", self.cloud.servers, lambda found: f"{len(found)} in this project")
            yield listed.line
            servers = listed.value
        if Service.BLOCK_STORAGE in access.services:
            yield self._block_storage()
        first = servers[0].id if servers else None
        if first is None:
            for check in ("read attachments", "read actions"):
                yield Line(check, State.NOT_TRIED, "needs a server")
        else:
            attached = self._right(
                "read attachments", lambda: self.cloud.listing(first), lambda found: f"{len(found or ())} of {first}"
            )
            yield attached.line
            yield self._actions(first)
            volumes = attached.value
        if Service.BLOCK_STORAGE in access.services:
            yield self._volumes(volumes[0].volume_id if volumes else None)

    def _compute(self, access: Access) -> Line:
        """Whether Nova answers, and which microversions it speaks."""
        root = access.services[Service.COMPUTE].removesuffix(f"/{access.project_id}")
        try:
            answer = self.cloud.calls.send_once(
                replace(access, services={Service.COMPUTE: root}), "GET", Service.COMPUTE, ""
            )
        except NoAnswer as error:
            return _unreachable(Service.COMPUTE, _shown(error.classified))
        if answer.status >= 500:
            return _unreachable(Service.COMPUTE, f"{root} answers {answer.status}")
        least, most = _versions(answer)
        if not most:
            there = f"{root} answers {answer.status} without its microversions"
            return Line("compute", State.WARN, there, "nothing to do, if the servers below can be read")
        found = f"microversions {least} to {most}"
        lost = [f"{version} ({what})" for version, what in LOST.items() if _number(version) > _number(most)]
        if not lost:
            return Line("compute", State.OK, found)
        newer = "only a newer Nova helps; until then expect more refusals and `detach_unconfirmed`"
        return Line("compute", State.WARN, f"{found}, without {'; '.join(lost)}", newer)

    def _block_storage(self) -> Line:
        """Whether Cinder answers. A refusal counts as an answer."""
        try:
            self.cloud.detaching()
        except CloudTrouble as trouble:
            status, told = trouble.calls[-1].status if trouble.calls else 0, _shown(trouble.classified)
            if not 0 < status < 500:
                return _unreachable(Service.BLOCK_STORAGE, f"it answers {status}, {told}" if status else told)
        return Line("block storage", State.OK, "it answers")

    def _volumes(self, volume_id: str | None) -> Line:
        if volume_id is None:
            return self._right("read volumes", self.cloud.detaching, lambda found: "the list; no disk is attached").line
        return self._right("read volumes", lambda: self.cloud.volume(volume_id), lambda found: f"{volume_id}").line

    def _actions(self, server_id: str) -> Line:
        """Whether action records can be read. The service works without them, but proves less."""
        if self.cloud.servers_at is Service.BARE_METAL:
            none = "the bare metal service keeps none: disks of a server that was moved are not detached"
            return Line("read actions", State.OK, none)
        read = self._right(
            "read actions", lambda: self.cloud.actions(server_id), lambda found: f"{len(found)} of {server_id}"
        )
        if read.line.state is State.OK and read.status in NOT_SHOWN:
            less = "ask for the right to read os-instance-actions; without it less can be proven"
            return Line("read actions", State.WARN, f"Nova answers {read.status} and shows no records", less)
        return read.line

    def _right(self, check: str, read: Callable[[], Reading[Any]], shown: Callable[[Any], str]) -> "_Right":
        try:
            reading = read()
        except CloudTrouble as trouble:
            why, status = trouble.classified, trouble.calls[-1].status if trouble.calls else 0
            refused = f"give this user a role in the project that may {check}, such as `reader` or `member`"
            if trouble.calls and is_closed(trouble.calls[-1], self._api):
                refused += f", or {OTHER_API}"
            broken = "try again in a minute; if it persists, ask the cloud's operator"
            return _Right(Line(check, State.FAIL, _shown(why), refused if status == 403 else broken))
        return _Right(Line(check, State.OK, shown(reading.value)), reading.value, reading.calls[-1].status)


class _Right(NamedTuple):
    """The result of a read, and its status."""

    line: Line
    value: Any = None
    status: int = 0


def _shown(why: Classified) -> str:
    """The cloud's words, or ours if it has not answered."""
    distrust = re.search(r"certificate verify failed: ([^(]+)", why.message)
    if distrust:
        return f"the certificate is not trusted ({distrust[1].strip()})"
    return SILENCE.get(why.code, f"{why.code}: {why.message.rstrip('.')}")


def _unreachable(service: Service, why: str) -> Line:
    remedy = f"check the network, and whether {service.value} or the catalogue has its right address"
    return Line(SPOKEN[service], State.FAIL, why, remedy)


def _versions(answer: Answer) -> tuple[str, str]:
    """The lowest and highest microversion of Nova's version document; empty if it has none."""
    try:
        told = json.loads(answer.body)["version"]
        least, most = str(told["min_version"]), str(told["version"])
    except (ValueError, KeyError, TypeError):
        return "", ""
    return (least, most) if re.fullmatch(r"\d+\.\d+", most) else ("", "")


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _ahead(date: str | None, before: datetime, after: datetime) -> float | None:
    """The smallest number of seconds by which the cloud's clock can be ahead; its header has whole seconds."""
    try:
        told = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    least, most = (told - after).total_seconds(), (told - before).total_seconds() + 1
    return 0.0 if least <= 0 <= most else min(least, most, key=abs)
