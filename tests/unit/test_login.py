"""The login's requests and the reading of its answers, compared with keystoneauth1."""

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from requests.adapters import BaseAdapter

from shared.cloud.http import Calls, sessions
from shared.cloud.keystone import FOR_EVER, Access, Granted, Login, log_in
from shared.cloud.no_answer import LoginRefused, NoAnswer
from shared.cloud.parse import Service
from shared.model import AnswerClass
from shared.ports import utc_now
from shared.settings import CloudCredentials, load

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
PROJECT = {"id": "c" * 32, "name": "demo", "domain": {"id": "default", "name": "Default"}}
ENDPOINT = {"id": "e1", "interface": "public", "region": "eu-de", "region_id": "eu-de", "url": "http://nova/v2.1"}
CATALOG = [{"type": "compute", "name": "nova", "id": "s1", "endpoints": [ENDPOINT]}]
TOKEN = {"issued_at": "2026-11-23T07:00:00.000000Z", "expires_at": "2026-11-23T09:00:00.000000Z", "project": PROJECT,
         "catalog": CATALOG, "methods": ["password"], "user": {"id": "u", "name": "u"}}  # fmt: skip


class Keystone(BaseAdapter):
    """Records requests, and gives one answer."""

    def __init__(self, body: object, status: int = 201, token: str | None = "granted") -> None:
        super().__init__()
        self.asked: list[requests.PreparedRequest] = []
        self.answer = requests.Response()
        self.answer.status_code = status
        self.answer._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer.headers["Content-Type"] = "application/json"
        if token is not None:
            self.answer.headers["X-Subject-Token"] = token

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.asked.append(request)
        self.answer.request = request
        return self.answer

    def close(self) -> None:
        pass

    def session(self) -> requests.Session:
        session = requests.Session()
        session.mount("http://", self)
        return session

    def heard(self) -> list[tuple[str, str, object, str | None]]:
        """Method, address, body and token of each request."""
        return [
            (str(one.method), str(one.url), json.loads(one.body or b"null"), one.headers.get("X-Auth-Token"))
            for one in self.asked
        ]


def reference(known: CloudCredentials, default: dict[str, Any]) -> v3.Auth:
    """The plugin of keystoneauth1 for the same settings."""
    domain_id = known.user_domain_id or (None if known.user_domain_name else default.get("default_domain_id"))
    domain_name = known.user_domain_name or default.get("default_domain_name")
    if not (domain_id or domain_name):
        domain_name = "Default"
    user = {"user_id": known.user_id, "username": known.username, "user_domain_id": domain_id,
            "user_domain_name": domain_name}  # fmt: skip
    project: dict[str, Any] = {"project_id": known.project_id, "project_name": known.project_name}
    told = known.project_domain_id or known.project_domain_name
    project["project_domain_id"] = known.project_domain_id or (
        None
        if told
        else default.get("default_domain_id") or (None if default.get("default_domain_name") else domain_id)
    )
    project["project_domain_name"] = known.project_domain_name or default.get("default_domain_name") or domain_name
    url = f"{known.auth_url}/v3"
    if known.application_credential_secret:
        return v3.ApplicationCredential(
            url,
            application_credential_id=known.application_credential_id,
            application_credential_name=known.application_credential_name,
            application_credential_secret=known.application_credential_secret.get_secret_value(),
            **user,  # type: ignore[arg-type]
        )
    if known.token:
        return v3.Token(url, token=known.token.get_secret_value(), **project)
    assert known.password
    return v3.Password(url, password=known.password.get_secret_value(), **user, **project)  # type: ignore[arg-type]


def some(*names: str) -> st.SearchStrategy[dict[str, str]]:
    """One of these settings, or none."""
    return st.sampled_from([{}, *({name: f"some-{name}"} for name in names)])


USERS = st.sampled_from([{"username": "ops"}, {"user_id": "u1"}, {"user_id": "u1", "username": "ops"}])
PROJECTS = st.sampled_from([{"project_id": "c" * 32}, {"project_name": "demo"}])
DOMAINS = st.tuples(
    some("user_domain_id", "user_domain_name"),
    some("project_domain_id", "project_domain_name"),
    some("default_domain_id", "default_domain_name"),
)
WAYS = st.one_of(
    st.just({"password": "pass word"}),
    st.just({"token": "own-token"}),
    st.just({"application_credential_id": "ac1", "application_credential_secret": "s"}),
    st.just({"application_credential_name": "ci", "application_credential_secret": "s"}),
)


@given(USERS, PROJECTS, DOMAINS, WAYS)
def test_asks_as_keystoneauth1_does(
    user: dict[str, str], project: dict[str, str], domains: tuple[dict[str, str], ...], way: dict[str, str]
) -> None:
    """For every way to log in, user, project and domain: the same method, address, body and token."""
    default = domains[2]
    values = {"auth_url": "http://keystone", **user, **project, **domains[0], **domains[1], **default, **way}
    known = load(CloudCredentials, values)
    ours, theirs = Keystone({"token": TOKEN}), Keystone({"token": TOKEN})
    log_in(ours.session(), known, NOW)
    reference(known, default).get_auth_ref(Session(session=theirs.session()))
    assert ours.heard() == theirs.heard()


ANSWERS: dict[str, dict[str, Any]] = {
    "as ever": TOKEN,
    "two services, one without endpoints": {**TOKEN, "catalog": [*CATALOG, {"type": "image", "endpoints": []}]},
    "no catalog": {name: value for name, value in TOKEN.items() if name != "catalog"},
    "an empty catalog": {**TOKEN, "catalog": []},
    "not scoped to a project": {name: value for name, value in TOKEN.items() if name != "project"},
    "an endpoint without a region": {
        **TOKEN, "catalog": [{"type": "compute", "endpoints": [{"interface": "public", "url": "http://nova"}]}]},
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
def test_understands_as_keystoneauth1_does(answer: str) -> None:
    """The token, the project and the catalog are those that keystoneauth1 reads of the same answer."""
    body = {"token": ANSWERS[answer]}
    theirs = reference(password(), {}).get_auth_ref(Session(session=Keystone(body).session()))
    ours = granted(body)
    assert ours.token == theirs.auth_token
    assert ours.project_id == (theirs.project_id or "")
    assert list(ours.catalog) == theirs.service_catalog.catalog if theirs.has_service_catalog() else not ours.catalog


def password(**changes: str) -> CloudCredentials:
    values = {"auth_url": "http://keystone", "username": "u", "password": "secret-word", "project_id": "c" * 32}
    return load(CloudCredentials, {**values, **changes})


def granted(body: object, **answer: Any) -> Granted:
    return log_in(Keystone(body, **answer).session(), password(), NOW)


def test_life_of_a_token_is_counted_by_our_own_clock() -> None:
    """Keystone's clock may be wrong by hours, so the token's lifetime counts."""
    later = {**TOKEN, "issued_at": "2026-11-24T07:00:00Z", "expires_at": "2026-11-24T08:00:00Z"}
    one = granted({"token": later})
    assert one.good_until == NOW + timedelta(minutes=58)


@pytest.mark.parametrize(
    ("told", "good_until"),
    [
        ({"expires_at": "2026-11-23T08:30:00Z"}, NOW + timedelta(minutes=28)),
        ({"issued_at": "2026-11-23T08:30:00Z"}, FOR_EVER),
        ({"issued_at": None, "expires_at": None}, FOR_EVER),
    ],
)
def test_times_may_be_missing(told: dict[str, Any], good_until: datetime) -> None:
    """A token of unknown lifetime is used until it is refused."""
    body = {**{name: value for name, value in TOKEN.items() if not name.endswith("_at")}, **told}
    assert granted({"token": body}).good_until == good_until


@pytest.mark.parametrize(
    "body",
    [b"<html>welcome</html>", b"", [], {}, {"token": None}, {"token": []}, {"token": {**TOKEN, "expires_at": "soon"}},
     {"token": {**TOKEN, "expires_at": 7}}, {"token": {**TOKEN, "project": "demo"}},
     {"token": {**TOKEN, "catalog": 5}}, {"token": {**TOKEN, "expires_at": "2026-11-23T08:30:00"}}],
)  # fmt: skip
def test_an_answer_without_a_token_is_no_login(body: object) -> None:
    """An answer that is not from Keystone is reported as such, and never as a bug."""
    with pytest.raises(NoAnswer, match="unreadable_answer: Keystone's answer cannot be read: check OS_AUTH_URL"):
        granted(body)


def test_token_without_its_header_is_no_login() -> None:
    """The token is in a header, which a proxy may drop."""
    with pytest.raises(NoAnswer, match="unreadable_answer"):
        granted({"token": TOKEN}, token=None)


def test_refusal_shows_no_password() -> None:
    """Keystone, or a proxy in front of it, may echo the request."""
    body = {"error": {"code": 401, "message": "wrong: secret-word", "title": "Unauthorized"}}
    with pytest.raises(LoginRefused) as no:
        granted(body, status=401)
    assert "secret-word" not in str(no.value)


def test_refusal_of_an_agency_shows_no_token() -> None:
    """The token of our own account is not a setting, but it is sent and may be echoed too."""
    known = load(CloudCredentials, {
        "auth_url": "http://keystone", "username": "u", "password": "secret-word", "user_domain_name": "ours",
        "agency_name": "a", "agency_domain_name": "theirs", "delegated_project": "p"})  # fmt: skip

    class Repeating(Keystone):
        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            answer = super().send(request)
            if sent := request.headers.get("X-Auth-Token"):
                answer.status_code = 403
                answer._content = json.dumps({"error": {"code": 403, "message": f"you sent {sent}"}}).encode()
            return answer

    with pytest.raises(NoAnswer, match="you sent") as no:
        log_in(Repeating({"token": TOKEN}, token="0123456789abcdef").session(), known, NOW)
    assert "0123456789abcdef" not in str(no.value)


@pytest.mark.parametrize(
    "times",
    [{"expires_at": "9999-12-31T23:59:59Z"}, {"expires_at": "9999-12-31T23:59:59-23:59"},
     {"issued_at": "0001-01-01T00:00:00Z"}, {"issued_at": None, "expires_at": "0001-01-01T00:00:00Z"}],
)  # fmt: skip
def test_no_time_breaks_arithmetic(times: dict[str, Any]) -> None:
    """A token that claims to live for ever, or to have expired long ago, is still a token."""
    assert abs(granted({"token": {**TOKEN, **times}}).good_until - NOW) <= timedelta(days=366)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"token":' * 100_000])
def test_an_answer_nested_too_deeply_is_no_login(body: bytes) -> None:
    """It is reported like any answer without a token."""
    with pytest.raises(NoAnswer, match="unreadable_answer"):
        granted(body)


@pytest.mark.parametrize("project_id", [7, ["p"], "p" * 300, "\ud800"], ids=repr)
def test_a_project_without_an_id_of_one(project_id: object) -> None:
    """The id becomes part of addresses and messages, so it has to be a valid text."""
    with pytest.raises(NoAnswer, match="unreadable_answer"):
        granted({"token": {**TOKEN, "project": {"id": project_id}}})


def access(body: object, **answer: Any) -> Access:
    return Login(lambda _: password(), Keystone(body, **answer).session(), lambda: NOW).access()


@pytest.mark.parametrize("endpoints", [5, "abc", {"a": 1}, [5], None])
def test_malformed_endpoints_are_ignored(endpoints: object) -> None:
    """A service without an address counts as missing."""
    assert not access({"token": {**TOKEN, "catalog": [{"type": "compute", "endpoints": endpoints}]}}).services


@pytest.mark.parametrize(
    "changes", [{"url": f"http://nova/{'x' * 3000}"}, {"url": "http://nova/\ud800"}, {"region_id": "r" * 300}], ids=str
)
def test_endpoints_that_fit_into_no_message_are_ignored(changes: dict[str, str]) -> None:
    """Our own messages contain the addresses, and have to fit into the queue."""
    catalog = [{"type": "compute", "endpoints": [ENDPOINT | changes]}]
    assert not access({"token": {**TOKEN, "catalog": catalog}}).services


def test_many_regions_make_no_long_text() -> None:
    """Only some of thousands of regions are named."""
    endpoints = [ENDPOINT | {"region_id": f"region-{number}"} for number in range(5000)]
    with pytest.raises(NoAnswer, match="set OS_REGION_NAME to one of region-0, ") as no:
        access({"token": {**TOKEN, "catalog": [{"type": "compute", "endpoints": endpoints}]}})
    assert len(str(no.value)) < 500


def test_a_token_is_shown_by_no_repr() -> None:
    """A login may appear in an error or a log."""
    assert "granted-token" not in repr(access({"token": TOKEN}, token="granted-token"))


@pytest.mark.parametrize("address", ["http://x..y", "http://[::1", "http://x:99999"])
def test_an_invalid_address_is_a_setting_to_correct(address: str) -> None:
    """Nothing can be sent, so it is reported at once, with its setting."""
    with pytest.raises(NoAnswer, match="set OS_AUTH_URL") as no:
        Login(lambda _: password(auth_url=address), requests.Session(), lambda: NOW).access()
    assert (no.value.classified.kind, no.value.classified.code) == (AnswerClass.PERMANENT, "bad_address")


@pytest.mark.parametrize("token", ["granted\n token", "granted-\u20ac"])
def test_a_token_that_no_header_can_hold_is_not_shown(token: str) -> None:
    """The error of the HTTP library contains the header, so its text is not shown."""
    http = Keystone({"token": TOKEN}, token=token).session()
    login = Login(lambda _: password(compute_endpoint="http://127.0.0.1:9"), http, utc_now)
    with pytest.raises(NoAnswer, match="bad_header") as no:
        Calls(login, requests.Session(), utc_now).send("GET", Service.COMPUTE, "servers")
    assert "granted" not in str(no.value)


def test_a_file_without_certificates_is_a_setting_to_correct(tmp_path: Path) -> None:
    """OS_CACERT may name any file. Nothing is sent until it is a valid one."""
    (tmp_path / "ca.pem").write_text("no certificate\n", encoding="utf-8")
    known = password(cacert=str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        known = known.model_copy(update={"auth_url": f"https://127.0.0.1:{listening.getsockname()[1]}"})
        with pytest.raises(NoAnswer, match="set OS_CACERT") as no:
            Login(lambda _: known, sessions()[0], utc_now).access()
    assert no.value.classified.kind is AnswerClass.PERMANENT
