"""The cloud's API: reads of Nova and Cinder, and the one DELETE; every call is kept as evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import requests

from shared.cloud import parse as wire
from shared.cloud.classify import classify
from shared.cloud.http import Calls, NoAnswer, Url, session
from shared.cloud.keystone import Login, ReadCredentials
from shared.cloud.receipts import receipt_of
from shared.cloud.redact import redact
from shared.decision.case import DELETE_CALL
from shared.model import Answer, AnswerClass, Call, Classified, Ended, Listed, Reason, Server, Volume
from shared.policy import SECRET_NEWEST
from shared.ports import Clock, CloudTrouble, Reading, Sent
from shared.settings import CloudCredentials

MICROVERSION = "2.26"
"""Nova's oldest that tells `locked` and `tags` and still names the flavor (Nova, REST API version history)."""

MICROVERSION_HEADERS = {
    "X-OpenStack-Nova-API-Version": MICROVERSION,
    "OpenStack-API-Version": f"compute {MICROVERSION}",
}
REQUEST_ID_HEADERS = ("x-openstack-request-id", "x-compute-request-id", "x-request-id")


class OpenStackCloud:
    """One project of one OpenStack cloud."""

    def __init__(self, login: Login, calls: Calls, clock: Clock, deadline: datetime | None = None) -> None:
        self.login = login
        self._calls = calls
        self._clock = clock
        self._deadline = deadline
        self._images: dict[str, Mapping[str, str]] = {}

    def until(self, deadline: datetime | None) -> OpenStackCloud:
        """The same for one invocation: each call gets at most what is left."""
        bound = OpenStackCloud(self.login, self._calls, self._clock, deadline)
        bound._images = self._images
        return bound

    def project_id(self) -> str:
        """The project the credentials are for; logs in. Raises CloudTrouble."""
        try:
            return self.login.access().project_id
        except NoAnswer as error:
            raise self._trouble("get_token", error) from error

    def check(self) -> None:
        """Log in and find the endpoints. Raises CloudTrouble."""
        try:
            access = self.login.access()
            access.compute_url("")
            access.volume_url("")
        except NoAnswer as error:
            raise self._trouble("get_token", error) from error

    # ------------------------------------------------------------------------------------------------ reads

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        return self._read(
            "get_volume",
            lambda access: access.volume_url(f"volumes/{volume_id}"),
            wire.volume,
            absent=Reason.VOLUME_NOT_FOUND,
        )

    def detaching(self) -> Reading[Mapping[str, Volume] | None]:
        """Cinder filters by status; a cloud that ignores the filter shows it by a volume of another status."""
        return self._read(
            "list_volumes", lambda access: access.volume_url("volumes/detail?status=detaching"), wire.all_detaching
        )

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]:
        # Never paged: with `limit` a real Nova left attached volumes out.
        return self._read(
            "list_attachments",
            lambda access: access.compute_url(f"servers/{server_id}/os-volume_attachments"),
            wire.listing,
            absent=Reason.SERVER_NOT_FOUND,
        )

    def server(self, server_id: str) -> Reading[Server | None]:
        reading: Reading[Server | None] = self._read(
            "get_server",
            lambda access: access.compute_url(f"servers/{server_id}"),
            wire.server,
            absent=Reason.SERVER_NOT_FOUND,
            headers=MICROVERSION_HEADERS,
        )
        found = reading.value
        if found is None or not found.image_id or wire.names_system(found):
            return reading
        properties, calls = self._image(found.image_id)
        return Reading(wire.with_image(found, properties), (*reading.calls, *calls))

    def servers(self) -> Reading[list[Server]]:
        """All servers of the project, for people who look for an id."""
        return self._read(
            "list_servers",
            lambda access: access.compute_url("servers/detail"),
            wire.servers,
            headers=MICROVERSION_HEADERS,
        )

    def ended(self, server_id: str, receipt: str) -> Reading[Ended]:
        """How our DELETE ended, by the cloud's own record; unknown where the cloud keeps none."""

        def read(operation: str, path: str, parse: Callable[[Any], Ended]) -> Reading[Ended]:
            return self._read(operation, lambda access: access.compute_url(path), parse)

        try:
            return receipt_of(receipt).ended(read, server_id)
        except CloudTrouble as trouble:
            return Reading(Ended.UNKNOWN, trouble.calls)

    def _image(self, image_id: str) -> tuple[Mapping[str, str], tuple[Call, ...]]:
        """The image's properties, kept: an image's operating system does not change. Never required."""
        if image_id in self._images:
            return self._images[image_id], ()
        try:
            base = self.login.access().image
            if base is None:
                return {}, ()
            reading = self._read("get_image", lambda _: f"{base}/images/{image_id}", wire.image_properties)
        except (CloudTrouble, NoAnswer) as trouble:
            return {}, trouble.calls if isinstance(trouble, CloudTrouble) else ()
        self._images[image_id] = reading.value
        return reading.value, reading.calls

    # ------------------------------------------------------------------------------------------- the effect

    def detach(self, server_id: str, volume_id: str) -> Reading[Sent]:
        """Send the DELETE once. Whatever comes back is the value; no answer at all is "outcome unknown"."""
        answer = None
        try:
            answer = self._calls.send(
                "DELETE",
                lambda access: access.compute_url(f"servers/{server_id}/os-volume_attachments/{volume_id}"),
                deadline=self._deadline,
            )
            classified = classify(answer, now=self._clock())
        except NoAnswer as error:
            classified = error.classified
        if unauthorized(classified) and self.login.refresh(SECRET_NEWEST):
            # It had no effect. With the rotated credentials there is a fresh look first.
            classified = replace(classified, kind=AnswerClass.RETRY, reason=None)
        evidence = self._evidence(DELETE_CALL, answer, classified)
        return Reading(Sent(classified, evidence.openstack_request_id), (evidence,))

    # -------------------------------------------------------------------------------------------- the calls

    def _read(
        self,
        operation: str,
        url: Url,
        parse: Callable[[Any], Any],
        absent: Reason | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reading[Any]:
        """GET and parse; None where the service denies that the thing exists. Raises CloudTrouble."""
        try:
            answer = self._calls.send("GET", url, headers, self._deadline)
        except NoAnswer as error:
            raise self._trouble(operation, error) from error
        if answer.status == 200:
            try:
                return Reading(parse(wire.document(answer.body)), (self._evidence(operation, answer),))
            except wire.Unreadable as error:
                classified = Classified(AnswerClass.RECONCILE, "unreadable_answer", redact(str(error)))
                raise CloudTrouble(classified, (self._evidence(operation, answer, classified),)) from error
        if answer.status == 406 and headers:
            # A cloud older than the microversion: without it the answer tells less, and the gates are stricter.
            return self._read(operation, url, parse, absent)
        classified = classify(answer, now=self._clock())
        evidence = self._evidence(operation, answer, classified)
        if absent and classified.reason is absent:
            return Reading(None, (evidence,))
        if classified.kind in (AnswerClass.ACCEPTED, AnswerClass.DONE_VERIFY):
            # Words for a DELETE; a read that is answered so has not been answered.
            classified = Classified(AnswerClass.RECONCILE, classified.code, classified.message)
        raise CloudTrouble(classified, (evidence,))

    def _trouble(self, operation: str, error: NoAnswer) -> CloudTrouble:
        return CloudTrouble(error.classified, (self._evidence(operation, None, error.classified),))

    def _evidence(self, operation: str, answer: Answer | None, classified: Classified | None = None) -> Call:
        headers = answer.headers if answer else {}
        return Call(
            operation=operation,
            at=self._clock(),
            status=answer.status if answer else 0,
            code=classified.code if classified else None,
            message=(classified.message or None) if classified else None,
            openstack_request_id=next((headers[name] for name in REQUEST_ID_HEADERS if headers.get(name)), None),
        )


def unauthorized(answer: Classified) -> bool:
    """Whether it is the credentials that the cloud does not accept."""
    return answer.kind is AnswerClass.REAUTHENTICATE or answer.reason is Reason.UNAUTHORIZED


def utc_now() -> datetime:
    return datetime.now(UTC)


def connect(
    credentials: CloudCredentials | ReadCredentials, http: requests.Session | None = None, clock: Clock = utc_now
) -> OpenStackCloud:
    """The cloud of these credentials, or of those that a reader of rotating ones gives."""
    fixed = credentials if isinstance(credentials, CloudCredentials) else None
    read: ReadCredentials = (lambda _: fixed) if fixed else credentials  # type: ignore[assignment]
    http = http or session()
    login = Login(read, http, clock)
    return OpenStackCloud(login, Calls(login, http, clock), clock)
