"""Which cloud a request is for, by the operator's credentials: one project or many, rotated while in use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from shared.aws.client import AwsError
from shared.aws.secrets import ABSENT, KEPT_SECONDS, NotJsonSecret, Secrets
from shared.cloud.openstack import OpenStackCloud
from shared.model import AnswerClass, Classified, Listed, Reason, Server, Volume
from shared.ports import Cloud, CloudTrouble, Reading
from shared.settings import CloudCredentials, SettingsError, load

NEWEST_SECONDS = 30
"""A refusal makes us look for rotated credentials at most this often."""

Value = TypeVar("Value")
ReadCredentials = Callable[[float], CloudCredentials]
"""Credentials at most that many seconds old; raises SettingsError, or AwsTrouble if they cannot be read."""


def from_environment(environment: Mapping[str, str]) -> ReadCredentials:
    """The `OS_…` variables: these do not change while a process lives."""
    return lambda _: load(CloudCredentials, environment)


def from_secret(secrets: Secrets, secret_id: str, project_id: str | None = None) -> ReadCredentials:
    """A secret with the same names; where it names no project, `project_id` is the one to log in to."""

    def read(kept_seconds: float) -> CloudCredentials:
        try:
            values = secrets.read(secret_id, kept_seconds)
            if not isinstance(values, dict):
                raise SettingsError("must hold a JSON object of credentials")
            return load(CloudCredentials, {"project_id": project_id or "", **values})
        except (SettingsError, NotJsonSecret) as error:
            secrets.forget(secret_id)  # once it is mended, requests need not wait for it
            raise SettingsError(f"the secret {secret_id}: {error}") from None
        except AwsError as error:
            if error.code in ABSENT:
                raise SettingsError(f"the secret {secret_id} does not exist, or may not be read: {error}") from None
            raise

    return read


@dataclass
class RenewedCloud:
    """The cloud of the latest credentials: whoever holds it does not notice when they are rotated.

    A refusal has the secret read at once, and if that holds other credentials, these are tried once before the
    request fails.
    """

    read: ReadCredentials
    connect: Callable[[CloudCredentials], OpenStackCloud]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _connected: tuple[CloudCredentials, OpenStackCloud] | None = None

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        return self._ask(lambda cloud: cloud.volume(volume_id))

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]:
        return self._ask(lambda cloud: cloud.listing(server_id))

    def server(self, server_id: str) -> Reading[Server | None]:
        return self._ask(lambda cloud: cloud.server(server_id))

    def action_failed(self, server_id: str, request_id: str) -> Reading[bool | None]:
        return self._ask(lambda cloud: cloud.action_failed(server_id, request_id))

    def detach(self, server_id: str, volume_id: str) -> Reading[Classified]:
        """A DELETE is not sent again from here: with other credentials there is a fresh look first."""
        cloud, _ = self._latest()
        answer = cloud.detach(server_id, volume_id)
        if refused(answer.value) and self._latest(NEWEST_SECONDS)[0] is not cloud:
            return Reading(replace(answer.value, kind=AnswerClass.RETRY, reason=None), answer.calls)
        return answer

    def named_project(self) -> str | None:
        """The project that the credentials name by its id."""
        return self._latest()[1].named_project

    def project_id(self) -> str:
        """The project the credentials are for; only where they name none does it take a login to know it."""
        return self.named_project() or self._ask(lambda cloud: cloud.project_id())

    def _ask(self, question: Callable[[OpenStackCloud], Value]) -> Value:
        cloud, _ = self._latest()
        try:
            return question(cloud)
        except CloudTrouble as trouble:
            newest = self._latest(NEWEST_SECONDS)[0] if refused(trouble.classified) else cloud
            if newest is cloud:
                raise
        return question(newest)

    def _latest(self, kept_seconds: float = KEPT_SECONDS) -> tuple[OpenStackCloud, CloudCredentials]:
        """Credentials are read anew each time (from the secret's cache), so that rotated ones take over."""
        with self._lock:
            credentials = self.read(kept_seconds)
            if self._connected is None or self._connected[0] != credentials:
                self._connected = credentials, self.connect(credentials)
            return self._connected[1], credentials


def refused(answer: Classified) -> bool:
    """Whether it is the credentials that the cloud does not accept."""
    return answer.kind is AnswerClass.REAUTHENTICATE or answer.reason is Reason.UNAUTHORIZED


@dataclass
class ConfiguredClouds:
    """One cloud for each project of `projects`, and the default one for requests that name none or its own."""

    default: ReadCredentials | None
    projects: Mapping[str, ReadCredentials] = field(default_factory=dict)
    connect: Callable[[CloudCredentials], OpenStackCloud] = OpenStackCloud
    _clouds: dict[str | None, RenewedCloud] = field(init=False)

    def __post_init__(self) -> None:
        self._clouds = {project: RenewedCloud(read, self.connect) for project, read in self.projects.items()}
        if self.default:
            self._clouds[None] = RenewedCloud(self.default, self.connect)

    def select(self, project_id: str | None) -> Cloud:
        """A request for a project that is not served costs no call to any cloud.

        Where there is a list, a project that is not in it is served if it is the one the default credentials name;
        those that name none by its id are not logged in with to find out.
        """
        cloud = self._clouds.get(project_id) or self._clouds.get(None)
        if cloud is None:
            raise self._not_served(project_id)
        if project_id is None:
            return cloud
        if self.projects and project_id not in self.projects and project_id != cloud.named_project():
            raise self._not_served(project_id)
        own = cloud.project_id()
        if own == project_id:
            return cloud
        message = f"the request names project {project_id}, the credentials are for {own}"
        raise CloudTrouble(Classified(AnswerClass.PERMANENT, "wrong_project", message, Reason.WRONG_PROJECT))

    def _not_served(self, project_id: str | None) -> CloudTrouble:
        asked = f"project {project_id} is not one that is served here" if project_id else "the request names no project"
        return CloudTrouble(Classified(AnswerClass.PERMANENT, "forbidden", asked, Reason.FORBIDDEN))
