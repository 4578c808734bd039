"""The cloud's API: reads of Nova and Cinder, and the one DELETE; every call is kept as evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import requests

from shared import strict_json
from shared.cloud import parse as wire
from shared.cloud.classify import classify
from shared.cloud.keystone import Keystone, NoAnswer
from shared.cloud.redact import redact
from shared.model import Answer, AnswerClass, Call, Classified, Listed, Reason, Server, Volume
from shared.ports import CloudTrouble, Reading
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

    def __init__(
        self,
        credentials: CloudCredentials,
        http: requests.Session | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keystone = Keystone(credentials, http, clock)
        self._clock = clock
        self._images: dict[str, Mapping[str, str]] = {}

    def project_id(self) -> str:
        """The project the credentials are for; logs in. Raises CloudTrouble."""
        try:
            return self._keystone.project_id()
        except NoAnswer as error:
            raise self._trouble("get_token", error) from error

    def check(self) -> None:
        """Log in and find the endpoints. Raises CloudTrouble."""
        try:
            self._keystone.compute()
            self._keystone.block_storage()
        except NoAnswer as error:
            raise self._trouble("get_token", error) from error

    # ------------------------------------------------------------------------------------------------ reads

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        return self._read(
            "get_volume",
            lambda: f"{self._keystone.block_storage()}/volumes/{volume_id}",
            wire.volume,
            absent=Reason.VOLUME_NOT_FOUND,
        )

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]:
        # Never paged: with `limit` a real Nova left attached volumes out.
        return self._read(
            "list_attachments",
            lambda: f"{self._keystone.compute()}/servers/{server_id}/os-volume_attachments",
            wire.listing,
            absent=Reason.SERVER_NOT_FOUND,
        )

    def server(self, server_id: str) -> Reading[Server | None]:
        reading: Reading[Server | None] = self._read(
            "get_server",
            lambda: f"{self._keystone.compute()}/servers/{server_id}",
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
            lambda: f"{self._keystone.compute()}/servers/detail",
            wire.servers,
            headers=MICROVERSION_HEADERS,
        )

    def action_failed(self, server_id: str, request_id: str) -> Reading[bool | None]:
        """What the server's action record says of our DELETE; None where the cloud has no such record."""
        try:
            return self._read(
                "get_action",
                lambda: f"{self._keystone.compute()}/servers/{server_id}/os-instance-actions/{request_id}",
                wire.action_failed,
            )
        except CloudTrouble as trouble:
            return Reading(None, trouble.calls)

    def _image(self, image_id: str) -> tuple[Mapping[str, str], tuple[Call, ...]]:
        """The image's properties, kept: an image's operating system does not change. Never required."""
        if image_id in self._images:
            return self._images[image_id], ()
        try:
            base = self._keystone.image()
            if base is None:
                return {}, ()
            reading = self._read("get_image", lambda: f"{base}/images/{image_id}", wire.image_properties)
        except CloudTrouble as trouble:
            return {}, trouble.calls
        self._images[image_id] = reading.value
        return reading.value, reading.calls

    # ------------------------------------------------------------------------------------------- the effect

    def detach(self, server_id: str, volume_id: str) -> Reading[Classified]:
        """Send the DELETE once. Whatever comes back is the value; no answer at all is "outcome unknown"."""
        answer = None
        try:
            url = f"{self._keystone.compute()}/servers/{server_id}/os-volume_attachments/{volume_id}"
            answer = self._keystone.call("DELETE", url)
            classified = classify(answer, now=self._clock())
        except NoAnswer as error:
            classified = error.classified
        return Reading(classified, (self._evidence("delete_attachment", answer, classified),))

    # -------------------------------------------------------------------------------------------- the calls

    def _read(
        self,
        operation: str,
        url: Callable[[], str],
        parse: Callable[[Any], Any],
        absent: Reason | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reading[Any]:
        """GET and parse; None where the service denies that the thing exists. Raises CloudTrouble."""
        try:
            answer = self._keystone.call("GET", url(), headers)
        except NoAnswer as error:
            raise self._trouble(operation, error) from error
        if answer.status == 200:
            try:
                return Reading(parse(strict_json.loads(answer.body)), (self._evidence(operation, answer),))
            except (strict_json.NotJson, wire.Unreadable) as error:
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
