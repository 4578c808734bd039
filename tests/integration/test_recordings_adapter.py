"""The adapter reads recorded answers of a real cloud as a table expects."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.response import HTTPResponse

from shared.cloud import parse
from shared.cloud.classify import classify
from shared.cloud.openstack import OpenStackCloud, connect
from shared.model import Action, Answer, AnswerClass, Classified, Listed, Reason, Server, Volume
from shared.ports import CloudTrouble, Reading
from shared.settings import CloudCredentials, load
from tests.recordings.reader import FOLDER, Exchange, names, recording

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TOKENS = "01-tokens"
LOGIN = recording(TOKENS)[0]
RECORDED_PROJECT = "eed5e70137394cdcb6b208a34717d715"

NOT_PLAYED: Mapping[str, Callable[[Exchange], bool]] = {
    "a login, which has a test of its own": lambda e: e.path == "/v3/auth/tokens",
    "a change that another client asks for; the product sends no POST to Nova or Cinder": lambda e: e.method == "POST",
    "the deletion of a server, which the product never asks for": lambda e: (
        e.method == "DELETE" and re.search(r"/servers/[^/]+$", e.path) is not None
    ),
    "a version document, which the product does not read": lambda e: e.path in ("/", "/v3", "/v2.1", "/v2.1/"),
    "one page of a list, which the product never asks for": lambda e: e.path.endswith("?limit=1"),
}
"""Why an exchange is not in the table."""


# --------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True)
class Expected:
    """One entry of the table: the fields of an object and of its entries."""

    kind: str
    about: Mapping[str, str]
    entries: tuple[Mapping[str, str], ...] = ()


def _table() -> dict[tuple[str, int], Expected]:
    """Each exchange by its recording and number. Raises ValueError for a repeated number."""
    table: dict[tuple[str, int], Expected] = {}
    for section in re.split(r"(?m)^\[", re.sub(r"(?m)^#.*\n", "", (FOLDER / "understood.txt").read_text()))[1:]:
        name, _, lines = section.partition("]\n")
        for block in re.split(r"\n(?=\w)", lines.strip()):
            head, *entries = block.splitlines()
            numbers, _, about = head.partition(":")
            kind, *exchanges = numbers.split()
            expected = Expected(kind, _pairs(about), tuple(map(_pairs, entries)))
            for number in exchanges:
                if table.setdefault((name, int(number)), expected) is not expected:
                    raise ValueError(f"{name} {number} is in the table twice")
    return table


def _pairs(text: str) -> dict[str, str]:
    return {key: value for key, _, value in (pair.partition("=") for pair in text.split())}


TABLE = _table()


# --------------------------------------------------------------------------------------------- comparisons


def _text(value: Any) -> str:
    """A value as the table writes it: ids cut to 8 digits."""
    if isinstance(value, datetime):
        return value.isoformat()
    return re.sub(r"^(req-)?([0-9a-f]{8})-[0-9a-f-]{27}$", r"\1\2", str(value))


def _fields(value: Any, *, omitted: tuple[object, ...] = (None,)) -> dict[str, str]:
    shown = {field.name: getattr(value, field.name) for field in fields(value)}
    plain = (str, int, datetime)  # bool and the enums, too
    return {name: _text(item) for name, item in shown.items() if isinstance(item, plain) and item not in omitted}


MISSING = {"none": ""}
SERVER_FIELDS = {"id", "status", "vm_state", "task_state", "power_state", "locked", "root_device", "image_id"}


def _refusal(classified: Classified) -> dict[str, str]:
    reason = {"reason": classified.reason.value} if classified.reason else {}
    return {"class": classified.kind.value, "code": classified.code, **reason}


def _server(server: Server, expected: Expected) -> None:
    shown = {name: value for name, value in _fields(server).items() if name in SERVER_FIELDS}
    assert shown == expected.about


NOT_COMPARED = {"metadata", "updated_at", "name", "size"}
"""Fields that differ between runs, or are only for people."""


def _volume(volume: Volume, expected: Expected) -> None:
    shown = {k: v for k, v in _fields(volume, omitted=(None, False)).items() if k not in NOT_COMPARED}
    assert volume.updated_at
    assert volume.size
    assert shown == expected.about
    entries = [{"server_id": _text(server), **_fields(attachment)} for server, attachment in volume.attachments]
    assert entries == list(expected.entries)


def _listing(listing: tuple[Listed, ...], expected: Expected) -> None:
    assert [_fields(listed) for listed in listing] == list(expected.entries)


def _actions(actions: tuple[Action, ...], expected: Expected) -> None:
    shown = [_fields(action, omitted=(None, False)) for action in actions]
    assert shown == list(expected.entries)


# ------------------------------------------------------------------------------------------------- the playback


class Playback(HTTPAdapter):
    """Returns the recorded answer to the recorded request only; a login gets a token of the exchange's project."""

    def __init__(self, exchange: Exchange, login: Exchange = LOGIN) -> None:
        super().__init__()
        self.exchange = exchange
        self.login = login

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        asked = request.method, _object_path(request.path_url)
        if asked == ("POST", "/v3/auth/tokens"):
            return self._answer(request, self.login, _for_project(self.login.body, _project(self.exchange)))
        if asked == (self.exchange.method, _object_path(self.exchange.path)):
            return self._answer(request, self.exchange, self.exchange.body)
        raise requests.ConnectionError(f"{asked} was not recorded", request=request)

    def _answer(self, request: requests.PreparedRequest, exchange: Exchange, body: bytes) -> requests.Response:
        raw = HTTPResponse(BytesIO(body), headers=exchange.headers, status=exchange.status, preload_content=False)
        return self.build_response(request, raw)


def _object_path(path: str) -> str:
    """The path from the server or the volume on. The product always includes the project, a recording does not."""
    found = re.search(r"/(?:servers|volumes)/.*", path)
    return found[0] if found else path


def _project(exchange: Exchange) -> str:
    found = re.match(r"/v[\d.]+/([0-9a-f]{32})/", exchange.path)
    return found[1] if found else RECORDED_PROJECT


def _for_project(body: bytes, project: str) -> bytes:
    """A login's answer for another project, with a token that does not expire."""
    body = body.replace(RECORDED_PROJECT.encode(), project.encode())
    return re.sub(rb'"expires_at": "[^"]+"', b'"expires_at": "2999-01-01T00:00:00.000000Z"', body)


CREDENTIALS = {"auth_url": "http://127.0.0.1:5000/v3", "username": "demo-user", "password": "demo-password"}


def _cloud(playback: Playback, **credentials: str) -> OpenStackCloud:
    values = {**CREDENTIALS, **(credentials or {"project_id": _project(playback.exchange)})}
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", playback)
    return connect(lambda _: load(CloudCredentials, values), session, lambda: NOW)


def _answer_of(exchange: Exchange) -> Answer:
    return Answer(exchange.status, exchange.headers, exchange.body)


Play = Callable[[OpenStackCloud, Exchange, Expected], None]


def _read(read: Callable[..., Reading[Any]], compare: Callable[[Any, Expected], None]) -> Play:
    """A read by the adapter, which returns an object or None, or raises CloudTrouble."""

    def play(cloud: OpenStackCloud, exchange: Exchange, expected: Expected) -> None:
        server_or_volume = _object_path(exchange.path).split("/")[2]
        if "class" in expected.about:
            with pytest.raises(CloudTrouble) as caught:
                read(cloud, server_or_volume)
            assert _refusal(caught.value.classified) == expected.about
        elif (value := read(cloud, server_or_volume).value) is None:
            assert expected.about == MISSING
        else:
            compare(value, expected)

    return play


def _attachment(_: OpenStackCloud, exchange: Exchange, expected: Expected) -> None:
    """The adapter never reads a single attachment; the parser reads it as a list, as some clouds send it."""
    if exchange.status == 200:
        _listing(parse.listing(parse.document(exchange.body)), expected)
    else:
        assert _refusal(classify(_answer_of(exchange))) == expected.about


def _action(cloud: OpenStackCloud, exchange: Exchange, expected: Expected) -> None:
    """Compare the outcome in the record, which may be `running`."""
    _, _, server_id, _, request_id = _object_path(exchange.path).split("/")
    assert cloud.ended(server_id, request_id).value.value == expected.about["ended"]
    if exchange.status == 200:
        assert parse.is_open(parse.document(exchange.body)) == (expected.about["ended"] == "running")


def _delete(cloud: OpenStackCloud, exchange: Exchange, expected: Expected) -> None:
    """Compare the class of the answer, and the id of Nova's record."""
    _, _, server_id, _, *volume_id = _object_path(exchange.path).split("/")
    if not volume_id:  # the product cannot send such a request
        assert _refusal(classify(_answer_of(exchange))) == expected.about
        return
    cloud.check()  # a DELETE never logs in
    sent = cloud.detach(server_id, volume_id[0]).value
    assert _refusal(sent.answer) == expected.about
    assert sent.receipt == exchange.headers["x-openstack-request-id"]


PLAY: Mapping[str, Play] = {
    "server": _read(OpenStackCloud.server, _server),
    "volume": _read(OpenStackCloud.volume, _volume),
    "listing": _read(OpenStackCloud.listing, _listing),
    "attachment": _attachment,
    "action": _action,
    "actions": _read(OpenStackCloud.actions, _actions),
    "delete": _delete,
}


# ----------------------------------------------------------------------------------------------------- the tests


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [pytest.param(*at, expected, id=f"{at[0]}-{at[1]}-{expected.kind}") for at, expected in TABLE.items()],
)
def test_recorded_answers_are_read_correctly(name: str, number: int, expected: Expected) -> None:
    """The adapter reads every recorded answer as the table expects."""
    exchange = recording(name)[number]
    PLAY[expected.kind](_cloud(Playback(exchange)), exchange, expected)


@pytest.mark.parametrize("name", names())
def test_every_exchange_is_covered(name: str) -> None:
    """Every exchange is in the table, or has a reason in NOT_PLAYED."""
    for number, exchange in enumerate(recording(name)):
        reasons = [reason for reason, fits in NOT_PLAYED.items() if fits(exchange)]
        assert bool(reasons) != ((name, number) in TABLE), (number, exchange.method, exchange.path, reasons)
    assert {number for recorded, number in TABLE if recorded == name} <= set(range(len(recording(name))))


@pytest.mark.parametrize(
    ("number", "credentials"),
    [
        (0, {"project_name": "demo-project"}),
        (0, {"project_id": RECORDED_PROJECT}),
        (4, {"application_credential_id": "an-id", "application_credential_secret": "a-secret", "password": ""}),
    ],
    ids=["password, project by name", "password, project by id", "application credential"],
)
def test_a_token_gives_the_project_and_the_endpoints(number: int, credentials: dict[str, str]) -> None:
    """The catalog names compute with and without the project, and block storage under two types."""
    login = recording(TOKENS)[number]
    access = _cloud(Playback(login, login), **credentials).login.access()
    assert access.project_id == RECORDED_PROJECT
    assert {service.name: url for service, url in access.services.items()} == {
        "COMPUTE": f"http://127.0.0.1:8774/v2.1/{RECORDED_PROJECT}",
        "BLOCK_STORAGE": f"http://127.0.0.1:8776/v3/{RECORDED_PROJECT}",
        "IMAGE": "http://127.0.0.1:9292/v2",
    }


@pytest.mark.parametrize(
    ("number", "reason"),
    [(1, Reason.UNAUTHORIZED), (2, Reason.UNAUTHORIZED), (3, Reason.UNAUTHORIZED), (5, None)],
    ids=["wrong password", "unknown project", "no project", "malformed"],
)
def test_a_refused_login_has_its_reason(number: int, reason: Reason | None) -> None:
    """A wrong password, an unknown project and a token without a project are reported as unauthorized."""
    login = recording(TOKENS)[number]
    with pytest.raises(CloudTrouble) as caught:
        _cloud(Playback(login, login), project_name="demo-project").check()
    classified = caught.value.classified
    assert classified.reason is reason
    assert classified.kind is (AnswerClass.PERMANENT if reason else AnswerClass.RECONCILE)
