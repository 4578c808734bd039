"""The OpenStack API: reads of Nova and Cinder, and the DELETE, with every call kept as evidence; and the cloud of each
project.

`bms_v1` uses another service for servers and the DELETE; what differs is a class variable or a method here.
"""

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol
from urllib.parse import quote

import requests

from shared.cloud import parse as wire
from shared.cloud.classify import classify
from shared.cloud.http import Calls, sessions
from shared.cloud.keystone import Access, Login, ReadCredentials
from shared.cloud.no_answer import REDIRECTS, NoAnswer, redirected
from shared.cloud.parse import Service
from shared.decision.case import DELETE_CALL
from shared.model import Action, Answer, AnswerClass, Call, Classified, Ended, Listed, Reason, Server, Volume
from shared.policy import LONGEST_DELETE
from shared.ports import Clock, Cloud, CloudTrouble, Reading, Sent, utc_now
from shared.quick import dataclass
from shared.redact import redact
from shared.settings import DetachApi

SERVER_VERSION = "2.26"
"""The oldest microversion with `locked` and `tags` that still names the flavor. The DELETE uses it too: from 2.20 on a
shelved server can release a disk (Nova, REST API version history)."""

LIST_VERSION = "2.89"
"""The list of attachments has `attachment_id` and `bdm_uuid`."""

RECORD_VERSION = "2.58"
"""Action records have an end: a single record has events from 2.51 on, all have `updated_at` from 2.58 on."""

NOT_SHOWN = (400, 403, 404, 405, 406, 410, 501)
"""Answers of a cloud that has no action records or no such image, or does not show them to us."""

REQUEST_ID_HEADERS = ("x-openstack-request-id", "x-compute-request-id", "x-request-id")


class Read(NamedTuple):
    """A GET: its name in evidence, its service and path, its parser, and the reason that means "not found"."""

    operation: str
    service: Service
    path: str
    parse: Callable[[Any], Any]
    absent: Reason | None = None
    version: str | None = None


COMPUTE, BLOCK_STORAGE = Service.COMPUTE, Service.BLOCK_STORAGE
VOLUME = Read("get_volume", BLOCK_STORAGE, "volumes/{}", wire.volume, Reason.VOLUME_NOT_FOUND)
DETACHING = Read("list_volumes", BLOCK_STORAGE, "volumes/detail?status=detaching", wire.all_detaching)
ATTACHMENTS = "servers/{}/os-volume_attachments"
LISTING = Read("list_attachments", COMPUTE, ATTACHMENTS, wire.listing, Reason.SERVER_NOT_FOUND, LIST_VERSION)
SERVER = Read("get_server", COMPUTE, "servers/{}", wire.server, Reason.SERVER_NOT_FOUND, SERVER_VERSION)
SERVERS = Read("list_servers", COMPUTE, "servers/detail", wire.servers, version=SERVER_VERSION)
ACTIONS = Read("list_actions", COMPUTE, "servers/{}/os-instance-actions", wire.actions, version=RECORD_VERSION)
ACTION = Read("get_action", COMPUTE, "servers/{}/os-instance-actions/{}", wire.action_ended, version=RECORD_VERSION)
IMAGE = Read("get_image", Service.IMAGE, "images/{}", wire.texts_in)


@dataclass(frozen=True)
class OpenStackCloud:
    """One project of one OpenStack cloud. No call outlasts the `deadline`, if given."""

    login: Login
    calls: Calls
    clock: Clock
    deadline: datetime | None = None
    images: dict[str, Mapping[str, str]] = field(default_factory=dict)

    servers_at: ClassVar[Service] = COMPUTE
    get_server: ClassVar[Read] = SERVER
    list_attachments: ClassVar[Read] = LISTING
    delete_path: ClassVar[str] = f"{ATTACHMENTS}/{{}}"
    delete_version: ClassVar[str | None] = SERVER_VERSION

    def project_id(self) -> str:
        """The project of the credentials; logs in. Raises CloudTrouble."""
        return self._access().project_id

    def check(self) -> None:
        """Log in and find the endpoints. Raises CloudTrouble."""
        access = self._access()
        for service in (self.servers_at, Service.BLOCK_STORAGE):
            if service not in access.services:
                raise self._trouble("get_token", NoAnswer.for_good(Reason.API_REJECTED, access.missing(service)))

    def place(self) -> str | None:
        """The endpoints that were read, including the project; None before the first read."""
        held = self.login.held
        return f"{held.services.get(self.servers_at)} {held.services.get(BLOCK_STORAGE)}" if held else None

    def _access(self) -> Access:
        try:
            return self.login.access(self.deadline)
        except NoAnswer as error:
            raise self._trouble("get_token", error) from error

    # ------------------------------------------------------------------------------------------------ reads

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        return self._read(VOLUME, volume_id)

    def detaching(self) -> Reading[Mapping[str, Volume] | None]:
        """All detaching volumes, filtered by Cinder; None if the answer shows that the filter was ignored."""
        return self._read(DETACHING)

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]:
        """The server's attachments, without paging: with `limit` a real Nova left out attached volumes."""
        return self._read(self.list_attachments, server_id)

    def server(self, server_id: str) -> Reading[Server | None]:
        reading: Reading[Server | None] = self._read(self.get_server, server_id)
        found = reading.value
        if found is None or not found.image_id or wire.names_system(found):
            return reading
        properties, calls = self._image(found.image_id)
        told = replace(found, image_properties=properties or {}, image_unread=properties is None)
        return Reading(told, (*reading.calls, *calls))

    def servers(self) -> Reading[list[Server]]:
        """All servers of the project, page by page, for commands that look up an id."""
        found: list[Server] = []
        calls: tuple[Call, ...] = ()
        page = SERVERS
        while True:
            reading: Reading[tuple[list[Server], bool]] = self._read(page)
            servers, more = reading.value
            found, calls = [*found, *servers], (*calls, *reading.calls)
            if not (more and servers):
                return Reading(found, calls)
            page = SERVERS._replace(path=f"{SERVERS.path}?marker={quote(servers[-1].id, safe='')}")

    def ended(self, server_id: str, receipt: str) -> Reading[Ended]:
        """How our DELETE ended, by Nova's record of its request id; unknown if the cloud keeps none."""
        try:
            return self.action(server_id, receipt)
        except CloudTrouble as trouble:
            return Reading(Ended.UNKNOWN, trouble.calls)

    def actions(self, server_id: str) -> Reading[tuple[Action, ...]]:
        """The server's action records, and whether the latest move still runs. Raises CloudTrouble."""
        try:
            found: Reading[tuple[Action, ...]] = self._read(ACTIONS, server_id)
        except CloudTrouble as trouble:
            if any(call.status in NOT_SHOWN for call in trouble.calls):
                return Reading((), trouble.calls)
            raise
        latest = max((one for one in found.value if one.moves), key=lambda one: one.started_at, default=None)
        if latest is None or not latest.request_id:
            return found
        try:
            still_open: Reading[bool] = self._read(ACTION._replace(parse=wire.is_open), server_id, latest.request_id)
        except CloudTrouble as trouble:
            return Reading(found.value, (*found.calls, *trouble.calls))
        told = tuple(replace(one, open=still_open.value) if one is latest else one for one in found.value)
        return Reading(told, (*found.calls, *still_open.calls))

    def action(self, server_id: str, request_id: str) -> Reading[Ended]:
        """Nova's record of the operation of this request. Raises CloudTrouble."""
        return self._read(ACTION, server_id, request_id)

    def _image(self, image_id: str) -> tuple[Mapping[str, str] | None, tuple[Call, ...]]:
        """The image's properties, cached since they do not change. None if a later read may succeed."""
        if image_id in self.images:
            return self.images[image_id], ()
        try:
            if Service.IMAGE not in self._access().services:
                return {}, ()
            reading = self._read(IMAGE, image_id)
        except CloudTrouble as trouble:
            for_good = trouble.classified.kind is AnswerClass.PERMANENT
            never = for_good or any(call.status in NOT_SHOWN for call in trouble.calls)
            return {} if never else None, trouble.calls
        self.images[image_id] = reading.value
        return reading.value, reading.calls

    # ------------------------------------------------------------------------------------------- the effect

    def detach(self, server_id: str, volume_id: str) -> Reading[Sent]:
        """Send the DELETE. The value is its result, whatever it was."""
        answer, classified = self._delete(server_id, volume_id)
        evidence = self._evidence(DELETE_CALL, answer, classified)
        return Reading(Sent(classified, evidence.openstack_request_id), (evidence,))

    def _delete(self, server_id: str, volume_id: str) -> tuple[Answer | None, Classified]:
        """Send one HTTP request with the token that the reads before it used.

        No answer, a redirect and a refused token leave the outcome unknown, since the refusal may have come after an
        effect. The next look decides, and logs in again.
        """
        access, refused, version = self.login.held, self.calls.refused_versions, self.delete_version
        answer, service, path = None, self.servers_at, self.delete_path.format(server_id, volume_id)
        try:
            if access is None:
                raise NoAnswer(Classified(AnswerClass.RETRY, "no_token", "no token is held, so nothing was sent"))
            answer = self.calls.send_once(access, "DELETE", service, path, version, self.deadline, LONGEST_DELETE)
            classified = classify(answer, now=self.clock())
            if answer.status == 406 and version and version not in refused:
                # Refused before any effect. The next DELETE, after a new look, sends no microversion.
                if _names_versions(answer):
                    refused.add(version)
                classified = replace(classified, kind=AnswerClass.RETRY, reason=None)
            elif answer.status in REDIRECTS:
                moved = redirected(answer, service.name, service.value).classified
                classified = replace(moved, kind=AnswerClass.RECONCILE, reason=None)
            elif classified.kind is AnswerClass.REAUTHENTICATE:
                self.login.drop(access)
                classified = replace(classified, kind=AnswerClass.RECONCILE)
        except NoAnswer as error:
            classified = error.classified
        return answer, classified

    # -------------------------------------------------------------------------------------------- the calls

    def _read(self, read: Read, *ids: str) -> Reading[Any]:
        """GET and parse; None if the service answers that the thing does not exist. Raises CloudTrouble."""
        operation, refused = read.operation, self.calls.refused_versions
        try:
            answer = self.calls.send("GET", read.service, read.path.format(*ids), read.version, self.deadline)
        except NoAnswer as error:
            raise self._trouble(operation, error) from error
        if answer.status == 200:
            try:
                return Reading(read.parse(wire.document(answer.body)), (self._evidence(operation, answer),))
            except wire.Unreadable as error:
                classified = Classified(AnswerClass.RECONCILE, "unreadable_answer", redact(str(error)))
                raise CloudTrouble(classified, (self._evidence(operation, answer, classified),)) from error
        if answer.status == 406 and read.version and read.version not in refused:
            # The cloud is older than the microversion. The answer without it says less, and the gates are stricter.
            if _names_versions(answer):
                refused.add(read.version)
            return self._read(read._replace(version=None), *ids)
        classified = classify(answer, now=self.clock())
        if classified.kind is AnswerClass.REAUTHENTICATE:
            classified = self.login.final(classified)
        evidence = self._evidence(operation, answer, classified)
        if read.absent and classified.reason is read.absent:
            return Reading(None, (evidence,))
        if classified.kind in (AnswerClass.ACCEPTED, AnswerClass.DONE_VERIFY):
            # These classes apply only to DELETEs, so this read has no answer.
            classified = Classified(AnswerClass.RECONCILE, classified.code, classified.message)
        raise CloudTrouble(classified, (evidence,))

    def _trouble(self, operation: str, error: NoAnswer) -> CloudTrouble:
        return CloudTrouble(error.classified, (self._evidence(operation, None, error.classified),))

    def _evidence(self, operation: str, answer: Answer | None, classified: Classified | None = None) -> Call:
        headers = answer.headers if answer else {}
        return Call(
            operation=operation,
            at=self.clock(),
            status=answer.status if answer else 0,
            code=classified.code if classified else None,
            message=(classified.message or None) if classified else None,
            openstack_request_id=next((headers[name][:255] for name in REQUEST_ID_HEADERS if headers.get(name)), None),
        )


def _names_versions(answer: Answer) -> bool:
    """Whether Nova itself refused the microversion, which is permanent; a gateway's refusal may not be."""
    return b"is not supported by the API" in answer.body


def connect(read: ReadCredentials, http: requests.Session | None = None, clock: Clock = utc_now) -> OpenStackCloud:
    """The cloud of the credentials that `read` returns, which may be rotated; `http` serves logins and calls."""
    for_login, for_calls = (http, http) if http else sessions()
    login = Login(read, for_login, clock)
    return OpenStackCloud(login, Calls(login, for_calls, clock), clock)


class Connect(Protocol):
    """Makes the cloud for the credentials that `read` returns."""

    def __call__(
        self, read: ReadCredentials, http: requests.Session | None = None, clock: Clock = utc_now
    ) -> OpenStackCloud: ...


def connector(api: DetachApi, bms_endpoint: str | None = None) -> Connect:
    """Choose the API; `bms_endpoint` is for credentials that give none."""
    if api is DetachApi.COMPUTE:
        return connect
    from shared.cloud import bms_v1  # imported only if configured

    return partial(bms_v1.connect, endpoint=bms_endpoint)


# -------------------------------------------------------------------------------------------------- the projects


@dataclass
class Projects:
    """One cloud for each project of `projects`, and the default one for requests that name no project or its own.

    Instead of `projects`, `listed` may return the credentials of each served project; it is called for each request.
    """

    connect: Callable[[ReadCredentials], OpenStackCloud]
    default: ReadCredentials | None
    projects: Mapping[str, ReadCredentials] = field(default_factory=dict)
    listed: Callable[[str], ReadCredentials | None] | None = None
    _clouds: dict[str | None, OpenStackCloud] = field(init=False)

    def __post_init__(self) -> None:
        self._clouds = {project: self.connect(read) for project, read in self.projects.items()}
        if self.default:
            self._clouds[None] = self.connect(self.default)

    def key(self, project_id: str | None) -> str | None:
        return project_id if self.listed or project_id in self._clouds else None

    def select(self, project_id: str | None, deadline: datetime | None) -> Cloud:
        """Find the cloud of a project. For a project that is not served no call is made.

        With a list, a project that is not on it is served only if the default credentials name it by id; there is no
        login to find out.
        """
        own = self._own(project_id) if project_id and self.listed else self._clouds.get(project_id)
        found = own or self._clouds.get(None)
        if found is None:
            raise _not_served(project_id)
        found.login.refresh()
        cloud = replace(found, deadline=deadline)
        if project_id is None:
            return cloud
        named = found.login.named_project
        if (self.projects or self.listed) and own is None and project_id != named:
            raise _not_served(project_id)
        is_for = named or cloud.project_id()
        if is_for == project_id:
            return cloud
        message = f"the request names project {project_id}, the credentials are for {is_for}"
        raise CloudTrouble(Classified(AnswerClass.PERMANENT, "wrong_project", message, Reason.WRONG_PROJECT))

    def _own(self, project_id: str) -> OpenStackCloud | None:
        """The cloud of a listed project, kept for its login."""
        read = self.listed(project_id) if self.listed else None
        if read is None:
            return None
        if project_id not in self._clouds:  # `setdefault`: concurrent threads must share one login
            self._clouds.setdefault(project_id, self.connect(read))
        return self._clouds[project_id]


def _not_served(project_id: str | None) -> CloudTrouble:
    asked = f"project {project_id} is not served here" if project_id else "the request names no project"
    return CloudTrouble(Classified(AnswerClass.PERMANENT, "forbidden", asked, Reason.FORBIDDEN))
