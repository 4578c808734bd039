"""Logging in, finding the services, and keeping the token: over a socket and without one."""

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, NoReturn

import pytest
import requests

from shared.cloud.http import Calls, NoAnswer, sessions
from shared.cloud.keystone import Login, Service
from shared.cloud.openstack import OpenStackCloud
from shared.model import AnswerClass, Reason
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT
from shared.ports import CloudTrouble
from simulator import Fault, bodies, faults
from tests.stack import Site, credentials_of, in_process


def trouble_of(cloud: OpenStackCloud) -> CloudTrouble:
    with pytest.raises(CloudTrouble) as trouble:
        cloud.check()
    return trouble.value


@pytest.mark.parametrize("ending", ["", "/", "/v3", "/v3/"])
def test_password_login(site: Site, ending: str) -> None:
    """User, password and project id give a token for that project, however the address ends."""
    cloud = site.connect(auth_url=site.api.deployment.base_url + ending)
    assert cloud.project_id() == site.world.project.id


def test_project_by_name(site: Site) -> None:
    """A project's name, with or without its domain, scopes the token to that project."""
    for domain in (None, "Default"):
        cloud = site.connect(project_id=None, project_name="eu-de", project_domain_name=domain)
        assert cloud.project_id() == site.world.project.id


def test_the_project_asked_for_is_the_one(site: Site) -> None:
    """Of a user's several projects the token is for the one that is named."""
    other = site.world.add_project("other")
    user = site.api.identity.add_user("second", "pw", project=other)
    cloud = site.connect(username=user.name, password="pw", project_id=other.id)
    assert cloud.project_id() == other.id
    assert cloud.listing(site.server).value is None  # that project has no such server


def test_application_credential_login(site: Site) -> None:
    """An application credential needs no user, no password and no project."""
    known = site.api.identity.application_credential
    cloud = site.connect(
        application_credential_id=known.id, application_credential_secret=known.secret,
        username=None, password=None, project_id=None,
    )  # fmt: skip
    assert cloud.project_id() == site.world.project.id
    assert cloud.volume(site.volume).value is not None


@pytest.mark.parametrize(
    "wrong", [{"password": "hunter2"}, {"username": "nobody"}, {"project_id": "0" * 32}, {"user_domain_name": "Else"},
              {"application_credential_id": "x", "application_credential_secret": "hunter2"}]
)  # fmt: skip
def test_wrong_credentials_are_unauthorized(site: Site, wrong: dict[str, object]) -> None:
    """A wrong password, user or project ends in one clear reason, and the message shows no secret."""
    trouble = trouble_of(site.connect(**wrong))
    assert trouble.classified.reason is Reason.UNAUTHORIZED
    assert [call.operation for call in trouble.calls] == ["get_token"]
    assert "hunter2" not in f"{trouble} {trouble.classified} {trouble.calls}"
    assert site.count("get_token") == 1


def test_unreachable_host_is_a_connection_failure(site: Site) -> None:
    """Nobody listening is told from being turned away: it may be better in a moment."""
    site.api.faults.add(Fault(faults.CONNECTION_REFUSED, operation="get_token", times=None))
    changes: dict[str, object] = {}
    if site.over_socket:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            changes["auth_url"] = f"http://127.0.0.1:{free.getsockname()[1]}"
    trouble = trouble_of(site.connect(**changes))
    assert (trouble.classified.kind, trouble.classified.code) == (AnswerClass.RECONCILE, "connection_failure")
    assert [call.status for call in trouble.calls] == [0]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_sick_keystone_is_no_verdict(site: Site, status: int) -> None:
    """An identity service that is down says nothing about the credentials."""
    site.api.faults.add(Fault(faults.answer(bodies.html_error(status)), operation="get_token", times=None))
    kind = trouble_of(site.connect()).classified.kind
    assert kind in (AnswerClass.RETRY, AnswerClass.RECONCILE)


@pytest.mark.parametrize("path", ["/v2.1", "/v2.1/{project}", "/v2/{project}", "/v2.1/", "/v2", ""])
def test_compute_is_always_v21(site: Site, path: str) -> None:
    """Whatever the catalog says, Nova is asked at /v2.1 with the project: behind /v2 microversions are ignored."""
    site.deployment.compute_path = path
    cloud = site.connect()
    assert cloud.listing(site.server).value is not None
    assert cloud.server(site.server).value is not None
    root = f"/v2.1/{site.world.project.id}/servers/{site.server}"
    assert site.paths("list_attachments") == {f"{root}/os-volume_attachments"}
    assert site.paths("get_server") == {root}


@pytest.mark.parametrize(
    ("types", "version"), [(("volumev3",), "v3"), (("block-storage",), "v3"), (("volumev2",), "v2"),
                           (("volumev2", "block-storage"), "v3"), (("volumev2", "volumev3"), "v3")]
)  # fmt: skip
def test_block_storage_by_any_name(site: Site, types: tuple[str, ...], version: str) -> None:
    """The newest block storage of the catalog is used, with the project in its path in any case."""
    site.deployment.volume_types = types
    assert site.connect().volume(site.volume).value is not None
    assert site.paths("get_volume") == {f"/{version}/{site.world.project.id}/volumes/{site.volume}"}


def test_endpoints_can_be_overridden(site: Site) -> None:
    """COMPUTE_ENDPOINT and VOLUME_ENDPOINT win over a catalog that is wrong or silent."""
    site.deployment.compute_path, site.deployment.volume_types = "/somewhere/else", ()
    base = site.deployment.base_url
    cloud = site.connect(compute_endpoint=f"{base}/v2.1", volume_endpoint=f"{base}/v3/")
    cloud.check()
    assert cloud.listing(site.server).value is not None
    assert cloud.volume(site.volume).value is not None


@pytest.mark.parametrize("changes", [{"region": "eu-nl"}, {"interface": "private"}])
def test_a_catalog_without_the_service_is_told(site: Site, changes: dict[str, object]) -> None:
    """No endpoint in the region or interface asked for: the setting that would help is named."""
    classified = trouble_of(site.connect(**changes)).classified
    assert classified.reason is Reason.API_REJECTED
    assert "COMPUTE_ENDPOINT" in classified.message


def test_the_token_is_kept(site: Site) -> None:
    """Many calls, several at once from the start, log in once."""
    cloud = site.connect()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cloud.volume, [site.volume] * 16))
        list(pool.map(cloud.listing, [site.server] * 16))
    assert (site.count("get_token"), site.count("get_volume")) == (1, 16)


def test_a_lost_token_is_renewed_once(site: Site) -> None:
    """A 401 is met with one new login, and the call is made again."""
    cloud = site.connect()
    cloud.volume(site.volume)
    site.api.revoke_tokens()
    assert cloud.volume(site.volume).value is not None
    assert (site.count("get_token"), site.count("get_volume")) == (2, 3)


def test_a_401_that_stays_is_told(site: Site) -> None:
    """With a fresh token refused too there is one more login and no third: repeated failures lock a user."""
    cloud = site.connect()
    cloud.check()
    refusal = faults.answer(bodies.unauthorized(site.deployment.auth_url))
    site.api.faults.add(Fault(refusal, operation="get_volume", times=None))
    with pytest.raises(CloudTrouble) as trouble:
        cloud.volume(site.volume)
    assert trouble.value.classified.kind is AnswerClass.REAUTHENTICATE
    assert (site.count("get_token"), site.count("get_volume")) == (2, 2)


def login(site: Site, http: requests.Session, **changes: object) -> Login:
    credentials = credentials_of(site.api, **changes)
    return Login(lambda _: credentials, http, site.clock)


class Pool:
    """Stands in for a session's connections: writes down how long each call would wait, and breaks."""

    def __init__(self, session: requests.Session) -> None:
        self.waits: list[tuple[Any, Any]] = []
        for scheme in ("http", "https"):
            adapter: Any = session.get_adapter(f"{scheme}://x")
            adapter.get_connection_with_tls_context = lambda *arguments, **named: self

    def urlopen(self, timeout: Any, retries: Any, **named: Any) -> NoReturn:
        assert retries.total == 0
        self.waits.append((timeout.connect_timeout, timeout.read_timeout))
        raise ConnectionResetError("no network here")


def test_every_call_has_a_time_limit() -> None:
    """The limit reaches the connections of logins and calls, no call outlasts its deadline, nothing retries below."""
    site, (for_login, for_calls) = Site(http=in_process), sessions()
    logins, calls = Pool(for_login), Pool(for_calls)
    with pytest.raises(NoAnswer):
        login(site, for_login).access()
    client = Calls(login(site, in_process(site.api)), for_calls, site.clock)
    for deadline in (None, *(site.clock() + timedelta(seconds=left) for left in (12, 3))):
        with pytest.raises(NoAnswer):
            client.send("GET", Service.COMPUTE, "x", deadline=deadline)
    assert logins.waits == [(CLOUD_CONNECT, CLOUD_ANSWER)]
    assert calls.waits == [(CLOUD_CONNECT, CLOUD_ANSWER), (CLOUD_CONNECT, 12), (3, 3)]


def test_certificates_are_checked() -> None:
    """Against the operator's own authority, where there is one."""
    site = Site(http=in_process)
    http = in_process(site.api)
    assert login(site, http).access().verify is True
    assert login(site, http, cacert="/ca.pem").access().verify == "/ca.pem"
