"""Login, discovery of services, and the lifetime of the token, with and without a socket."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

import pytest
import requests

from shared.cloud.http import Calls, sessions
from shared.cloud.keystone import Login
from shared.cloud.no_answer import NoAnswer
from shared.cloud.openstack import OpenStackCloud, Projects, connect
from shared.cloud.parse import Service
from shared.model import AnswerClass, Reason
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT
from shared.ports import CloudTrouble
from simulator import CloudApi, CloudServer, Fault, InProcessAdapter, bodies, faults
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


def test_the_named_project_is_used(site: Site) -> None:
    """If a user has several projects, the token is for the named one."""
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
              {"application_credential_id": "x", "application_credential_secret": "hunter2", "password": None}]
)  # fmt: skip
def test_wrong_credentials_are_unauthorized(site: Site, wrong: dict[str, object]) -> None:
    """A wrong password, user or project is reported as unauthorized, without showing a secret."""
    trouble = trouble_of(site.connect(**wrong))
    assert trouble.classified.reason is Reason.UNAUTHORIZED
    assert [call.operation for call in trouble.calls] == ["get_token"]
    assert "hunter2" not in f"{trouble} {trouble.classified} {trouble.calls}"
    assert site.count("get_token") == 2


def test_an_invalid_token_is_unauthorized(site: Site) -> None:
    """A token works until it is revoked; then it is reported without being shown."""
    token = site.connect().login.access().token
    cloud = site.connect(token=token, username=None, password=None)
    assert cloud.volume(site.volume).value is not None
    site.api.revoke_tokens()
    trouble = trouble_of(site.connect(token=token, username=None, password=None))
    assert trouble.classified.reason is Reason.UNAUTHORIZED
    assert token not in f"{trouble} {trouble.classified} {trouble.calls}"


def test_unreachable_host_is_a_connection_failure(site: Site) -> None:
    """A refused connection, which may be temporary, is not reported as a refused login."""
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
def test_a_failing_keystone_is_no_refusal(site: Site, status: int) -> None:
    """Errors of the identity service do not mean that the credentials are wrong."""
    site.api.faults.add(Fault(faults.answer(bodies.html_error(status)), operation="get_token", times=None))
    kind = trouble_of(site.connect()).classified.kind
    assert kind in (AnswerClass.RETRY, AnswerClass.RECONCILE)


@pytest.mark.parametrize("path", ["/v2.1", "/v2.1/{project}", "/v2/{project}", "/v2.1/", "/v2", ""])
def test_compute_is_always_v21(site: Site, path: str) -> None:
    """With any catalog Nova is called at /v2.1 with the project, because /v2 ignores microversions."""
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
    """The newest block storage of the catalog is used, always with the project in its path."""
    site.deployment.volume_types = types
    assert site.connect().volume(site.volume).value is not None
    assert site.paths("get_volume") == {f"/{version}/{site.world.project.id}/volumes/{site.volume}"}


def test_endpoints_can_be_overridden(site: Site) -> None:
    """COMPUTE_ENDPOINT and VOLUME_ENDPOINT take precedence over a wrong or incomplete catalog."""
    site.deployment.compute_path, site.deployment.volume_types = "/somewhere/else", ()
    base = site.deployment.base_url
    cloud = site.connect(compute_endpoint=f"{base}/v2.1", volume_endpoint=f"{base}/v3/")
    cloud.check()
    assert cloud.listing(site.server).value is not None
    assert cloud.volume(site.volume).value is not None


@pytest.mark.parametrize("changes", [{"region": "eu-nl"}, {"interface": "private"}])
def test_a_catalog_without_the_service_is_reported(site: Site, changes: dict[str, object]) -> None:
    """Without an endpoint in the region or interface, the error names the setting to change."""
    classified = trouble_of(site.connect(**changes)).classified
    assert classified.reason is Reason.API_REJECTED
    assert "COMPUTE_ENDPOINT" in classified.message


def test_the_token_is_kept(site: Site) -> None:
    """Many concurrent calls cause one login."""
    cloud = site.connect()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cloud.volume, [site.volume] * 16))
        list(pool.map(cloud.listing, [site.server] * 16))
    assert (site.count("get_token"), site.count("get_volume")) == (1, 16)


def test_a_lost_token_is_renewed_once(site: Site) -> None:
    """After a 401 there is one new login, and the call is repeated."""
    cloud = site.connect()
    cloud.volume(site.volume)
    site.api.revoke_tokens()
    assert cloud.volume(site.volume).value is not None
    assert (site.count("get_token"), site.count("get_volume")) == (2, 3)


def test_a_lasting_401_is_reported(site: Site) -> None:
    """If the new token is refused too, there is no further login, because failures can lock a user."""
    cloud = site.connect()
    cloud.check()
    refusal = faults.answer(bodies.unauthorized(site.deployment.auth_url))
    site.api.faults.add(Fault(refusal, operation="get_volume", times=None))
    with pytest.raises(CloudTrouble) as trouble:
        cloud.volume(site.volume)
    assert trouble.value.classified.kind is AnswerClass.REAUTHENTICATE
    assert (site.count("get_token"), site.count("get_volume")) == (2, 2)


class RefusalBarrier(InProcessAdapter):
    """Delays refused reads until all are refused, so that every thread has the same old token."""

    def __init__(self, api: CloudApi, threads: int) -> None:
        super().__init__(api)
        self.refused = threading.Barrier(threads)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        response = super().send(request, *arguments, **options)
        if request.method == "GET" and response.status_code == 401:
            self.refused.wait(5)
        return response


def test_threads_do_not_race_for_a_new_token() -> None:
    """Ten concurrent reads with a refused token cause one login, and each of them succeeds."""
    site = Site(http=in_process)
    http = requests.Session()
    http.mount("http://", RefusalBarrier(site.api, 10))
    cloud = connect(lambda _: credentials_of(site.api), http, site.clock)
    cloud.check()
    site.api.revoke_tokens()
    with ThreadPoolExecutor(10) as pool:
        readings = list(pool.map(cloud.volume, [site.volume] * 10))
    assert all(reading.value for reading in readings)
    assert (len(site.api.identity.issued), site.count("get_volume")) == (2, 20)


def test_a_token_refused_with_a_400_is_renewed(site: Site) -> None:
    """Block storage of Open Telekom Cloud reports an invalid token with a 400."""
    refusal = faults.answer(bodies.service_error("EVS.0002", "Invalid token."))
    site.api.faults.add(Fault(refusal, operation="get_volume"))
    assert site.connect().volume(site.volume).value is not None
    assert site.count("get_token") == 2


# ------------------------------------------------------------------------------------------------ refused logins


def test_a_single_refused_login_is_retried(site: Site) -> None:
    """A login that is refused once is repeated, without a failure."""
    site.api.faults.add(Fault(faults.answer(bodies.keystone_error(401)), operation="get_token"))
    assert site.connect().volume(site.volume).value is not None
    assert site.count("get_token") == 2


@pytest.mark.parametrize("code", ["IAM.0061", "IAM.0062"])
def test_an_explicit_refusal_is_final_at_once(site: Site, code: str) -> None:
    """After a code for a lock or a wrong password, another login would only count towards the lock."""
    answer = bodies.json_answer(401, {"error_code": code, "error_msg": "no"})
    site.api.faults.add(Fault(faults.answer(answer), operation="get_token", times=None))
    cloud = site.connect()
    for _ in range(3):
        assert trouble_of(cloud).classified.reason is Reason.UNAUTHORIZED
    assert site.count("get_token") == 1


def test_refused_logins_do_not_lock_the_user() -> None:
    """With a look every ten seconds for three hours, wrong credentials are tried at most four times in 15 minutes."""
    site = Site(http=in_process)
    cloud, start = site.connect(password="wrong"), site.clock()
    while site.clock() < start + timedelta(hours=3):
        assert trouble_of(cloud).classified.reason is Reason.UNAUTHORIZED
        site.clock.sleep(10)
    tries = [call.at for call in site.api.calls if call.operation == "get_token" and call.status == 401]
    assert [(at - start).total_seconds() for at in tries[:5]] == [0, 0, 30, 630, 1530]
    assert max(sum(at <= other <= at + timedelta(minutes=15) for other in tries) for at in tries) == 4


def test_corrected_credentials_are_tried_at_once() -> None:
    """Once the secret is corrected, the next call succeeds, however often the old one was refused."""
    site = Site(http=in_process)
    secrets = [credentials_of(site.api, password="wrong")]
    cloud = connect(lambda _: secrets[-1], in_process(site.api), site.clock)
    for _ in range(100):
        trouble_of(cloud)
        site.clock.sleep(30)
    secrets.append(credentials_of(site.api))
    cloud.check()
    secrets.append(credentials_of(site.api, password="wrong again"))
    site.api.revoke_tokens()
    cloud.login.refresh()
    site.api.calls.clear()
    trouble_of(cloud)
    assert site.count("get_token") == 2


# ----------------------------------------------------------------------------------------------------- redirects


class _Redirecting(BaseHTTPRequestHandler):
    """Answers every request with a redirect to `moved_to`, and records it."""

    def do_POST(self) -> None:
        self.server.received.append(self.path)  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Location", self.server.moved_to)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_DELETE = do_POST

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


@contextmanager
def redirecting(moved_to: str = "", status: int = 307) -> Iterator[tuple[str, list[str]]]:
    """A server that redirects; yields its address and the requested paths."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Redirecting) as server:
        known: Any = server
        known.moved_to, known.status, known.received = moved_to, status, []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", known.received
        finally:
            server.shutdown()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("by", ["password", "application credential"])
def test_credentials_follow_no_redirect(by: str, status: int) -> None:
    """Passwords and secrets are sent only to the configured host."""
    site = Site()
    known = site.api.identity.application_credential
    credential: dict[str, object] = {"application_credential_id": known.id, "username": None, "password": None,
                                     "application_credential_secret": known.secret, "project_id": None}  # fmt: skip
    with redirecting() as (target, followed), redirecting(f"{target}/v3/auth/tokens?x=1", status) as (keystone, asked):
        changes = credential if by == "application credential" else {}
        classified = trouble_of(site.connect(auth_url=keystone, **changes)).classified
    assert (classified.kind, classified.reason) == (AnswerClass.PERMANENT, Reason.API_REJECTED)
    assert f"a redirect to {target};" in classified.message
    assert "OS_AUTH_URL" in classified.message
    assert (asked, followed) == (["/v3/auth/tokens"], [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("setting", ["COMPUTE_ENDPOINT", "VOLUME_ENDPOINT"])
def test_a_redirecting_service_is_a_wrong_setting(setting: str, status: int) -> None:
    """The token is not sent to the target; the permanent error names the target and the setting."""
    site = Site()
    with CloudServer(site.api), redirecting() as (target, followed), redirecting(f"{target}/a", status) as (service, _):
        cloud = site.connect(**{setting.lower(): service})
        with pytest.raises(CloudTrouble) as trouble:
            cloud.server(site.server) if setting == "COMPUTE_ENDPOINT" else cloud.volume(site.volume)
    classified = trouble.value.classified
    assert (classified.kind, classified.reason) == (AnswerClass.PERMANENT, Reason.API_REJECTED)
    assert f"a redirect to {target};" in classified.message
    assert setting in classified.message
    assert followed == []


@pytest.mark.parametrize("target", ["http://[::1", "http://x..y/", "http://\xff", "//[", "http://x:y/"])
def test_a_redirect_to_an_invalid_address(target: str) -> None:
    """The HTTP library parses the address although it is not followed: the outcome of a DELETE is unknown."""
    site = Site()
    with CloudServer(site.api), redirecting(target, 307) as (service, asked):
        cloud = site.connect(compute_endpoint=service)
        cloud.volume(site.volume)
        with pytest.raises(CloudTrouble):
            cloud.listing(site.server)
        sent = cloud.detach(site.server, site.volume).value.answer
    assert sent.kind is AnswerClass.RECONCILE
    assert len(asked) == 2


# ------------------------------------------------------------------------------------------------------- sessions


def login(site: Site, http: requests.Session, **changes: object) -> Login:
    credentials = credentials_of(site.api, **changes)
    return Login(lambda _: credentials, http, site.clock)


class Pool:
    """Replaces a session's connections; records the timeouts of each call, and raises."""

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
    """The connections of logins and calls get the limit or the time until the deadline, without retries."""
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


def test_selecting_a_project_logs_in_only_before_the_deadline() -> None:
    """A project that is known by name needs a login for its id, which is not made after the deadline."""
    site = Site(http=in_process)
    projects = Projects(
        lambda _: site.connect(project_id=None, project_name="eu-de"), lambda _: credentials_of(site.api)
    )
    with pytest.raises(CloudTrouble, match="no_time"):
        projects.select(site.world.project.id, site.clock())
    assert site.count("get_token") == 0


def test_certificates_are_checked() -> None:
    """Certificates are checked, with the configured authority if there is one."""
    site = Site(http=in_process)
    http = in_process(site.api)
    assert login(site, http).access().verify is True
    assert login(site, http, cacert="/ca.pem").access().verify == "/ca.pem"
