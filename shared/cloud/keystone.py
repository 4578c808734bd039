"""Logging in, the catalog, and one HTTP call at a time: keystoneauth1 under our own rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from keystoneauth1 import exceptions as keystone
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from requests.adapters import HTTPAdapter

from shared.cloud.classify import classify
from shared.cloud.redact import redact
from shared.model import Answer, AnswerClass, Classified, Reason
from shared.settings import CloudCredentials

TIMEOUT = (5, 30)
"""Seconds to connect and to wait for bytes, for every call, the ones to Keystone too."""

AGAIN_AFTER = timedelta(seconds=30)
"""So long a refused login stays refused without asking."""

NOVA_URL = re.compile(r"^(?P<root>https?://[^?#]*?)(/v2(\.\d+)?(/[^/?#]+)?)?/*$")
CINDER_TYPES = ("volumev3", "block-storage", "volumev2")


class NoAnswer(Exception):
    """A call that brought no answer to read: the connection, the login or the catalog failed."""

    def __init__(self, classified: Classified) -> None:
        super().__init__(f"{classified.code}: {classified.message}")
        self.classified = classified


class PatientAdapter(HTTPAdapter):
    """Connections that are kept, and a time limit on every call; retrying is not its business."""

    def __init__(self) -> None:
        super().__init__(pool_connections=4, pool_maxsize=32, max_retries=0)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        options["timeout"] = TIMEOUT
        return super().send(request, **options)


class _Cautious:
    """A login that was refused is not tried again with the same words for a while: repeated failures lock the user.

    Only one login goes on at a time (`get_access` holds a lock), so many requests at once make one attempt too.
    """

    clock: Callable[[], datetime]
    refused: tuple[datetime, keystone.Unauthorized] | None = None

    def get_auth_ref(self, session: Session) -> Any:
        if self.refused and self.clock() - self.refused[0] < AGAIN_AFTER:
            raise self.refused[1]
        try:
            return super().get_auth_ref(session)  # type: ignore[misc]
        except keystone.Unauthorized as error:
            self.refused = self.clock(), error
            raise


class _Password(_Cautious, v3.Password):
    pass


class _ApplicationCredential(_Cautious, v3.ApplicationCredential):
    pass


class Keystone:
    """One project's login. The token is kept and shared by all calls; on a 401 it is renewed, once."""

    def __init__(
        self,
        credentials: CloudCredentials,
        http: requests.Session | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._credentials = credentials
        self._auth = _plugin(credentials, clock)
        self._session = Session(auth=self._auth, session=http or _http(credentials))

    def call(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request, once. Raises NoAnswer."""
        try:
            response = self._session.request(
                url,
                method,
                headers={"Accept": "application/json", **(headers or {})},
                raise_exc=False,
                redirect=False,
                connect_retries=0,
                status_code_retries=0,
            )
        except (keystone.ClientException, requests.RequestException) as error:
            raise NoAnswer(understood(error)) from error
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, lower, response.content)

    def project_id(self) -> str:
        """The project the token is for; the first call logs in. Raises NoAnswer."""
        project = self._access().project_id
        if not project:
            raise NoAnswer(_permanent(Reason.UNAUTHORIZED, "the token is not scoped to a project"))
        return str(project)

    def compute(self) -> str:
        """The compute endpoint, `/v2.1` forced: behind `/v2` microversions are ignored."""
        found = self._credentials.compute_endpoint or self._endpoint("compute")
        match = NOVA_URL.match(found) if found else None
        if match is None:
            raise self._missing("compute", "COMPUTE_ENDPOINT")
        return f"{match['root']}/v2.1/{self.project_id()}"

    def block_storage(self) -> str:
        """The block storage endpoint with the project in its path, which some catalogs leave out."""
        offered = (self._endpoint(kind) for kind in CINDER_TYPES)
        found = self._credentials.volume_endpoint or next(filter(None, offered), None)
        if not found:
            raise self._missing("block storage", "VOLUME_ENDPOINT")
        base, project = found.rstrip("/"), self.project_id()
        return base if base.endswith(f"/{project}") else f"{base}/{project}"

    def image(self) -> str | None:
        """The image endpoint, where the cloud has one."""
        found = self._endpoint("image")
        return re.sub(r"/v2(\.\d+)?/*$", "", found.rstrip("/")) + "/v2" if found else None

    def _access(self) -> Any:
        try:
            return self._auth.get_access(self._session)
        except (keystone.ClientException, requests.RequestException) as error:
            raise NoAnswer(understood(error)) from error

    def _endpoint(self, service_type: str) -> str | None:
        wanted = self._credentials.region
        for service in self._access().service_catalog.catalog:
            if service.get("type") != service_type:
                continue
            for endpoint in service.get("endpoints", ()):
                region = endpoint.get("region_id") or endpoint.get("region")
                if endpoint.get("interface") == self._credentials.interface and region in (
                    wanted or region,
                    "*",
                ):
                    return str(endpoint["url"])
        return None

    def _missing(self, service: str, setting: str) -> NoAnswer:
        region = f" in region {self._credentials.region}" if self._credentials.region else ""
        message = f"the catalog has no {self._credentials.interface} {service} endpoint{region}; set {setting}"
        return NoAnswer(_permanent(Reason.API_REJECTED, message))


def understood(error: Exception) -> Classified:
    """What an exception of the client means: an answer of Keystone's by that answer, all else is unknown."""
    response = getattr(error, "response", None)
    if isinstance(error, keystone.HttpError):
        if response is None:
            return classify(Answer(error.http_status))
        headers = {name.lower(): value for name, value in response.headers.items()}
        classified = classify(Answer(response.status_code, headers, response.content))
        if classified.kind is AnswerClass.REAUTHENTICATE:
            # It was the login that was refused: there is nothing left to renew.
            return replace(classified, kind=AnswerClass.PERMANENT, reason=Reason.UNAUTHORIZED)
        return classified
    kinds = {
        "timeout": (keystone.ConnectTimeout, requests.Timeout),
        "tls_failure": (keystone.SSLError, requests.exceptions.SSLError),
        "connection_failure": (keystone.ConnectFailure, requests.ConnectionError),
    }
    code = next((kind for kind, types in kinds.items() if isinstance(error, types)), "no_answer")
    return Classified(AnswerClass.RECONCILE, code, redact(str(error)))


def _permanent(reason: Reason, message: str) -> Classified:
    return Classified(AnswerClass.PERMANENT, reason.value, message, reason)


def _plugin(credentials: CloudCredentials, clock: Callable[[], datetime]) -> Any:
    plugin = _login(credentials)
    plugin.clock = clock
    return plugin


def _login(credentials: CloudCredentials) -> Any:
    """keystoneauth1's way to log in; the settings have checked that it is complete."""
    auth_url = re.sub(r"(/v3)?/*$", "", credentials.auth_url) + "/v3"
    if credentials.application_credential_id and credentials.application_credential_secret:
        return _ApplicationCredential(
            auth_url,
            application_credential_id=credentials.application_credential_id,
            application_credential_secret=credentials.application_credential_secret.get_secret_value(),
        )
    by_id = credentials.project_id
    return _Password(
        auth_url,
        username=credentials.username,
        password=credentials.password.get_secret_value() if credentials.password else "",
        user_domain_name=credentials.user_domain_name,
        project_id=by_id,
        project_name=None if by_id else credentials.project_name,
        # With a project's name Keystone wants its domain; Open Telekom Cloud takes both.
        project_domain_name=None if by_id else credentials.project_domain_name or credentials.user_domain_name,
    )


def _http(credentials: CloudCredentials) -> requests.Session:
    http = requests.Session()
    for scheme in ("http://", "https://"):
        http.mount(scheme, PatientAdapter())
    # An event cannot reach this: verification is on, with the operator's own authority where one is named.
    http.verify = credentials.cacert or True
    return http
