"""The adapter reads recorded answers of a real cloud; a table has the expected results."""

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
ITS_PROJECT = "eed5e70137394cdcb6b208a34717d715"

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
    """What one entry of the table says: of a thing, its own fields and those of its entries."""

    kind: str
    about: Mapping[str, str]
    entries: tuple[Mapping[str, str], ...] = ()


def _table() -> dict[tuple[str, int], Expected]:
    """Each exchange by its recording and number. Raises ValueError for a number that stands there twice."""
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
                    raise ValueError(f"{name} {number} stands in the table twice")
    return table


def _pairs(text: str) -> dict[str, str]:
    return {key: value for key, _, value in (pair.partition("=") for pair in text.split())}


TABLE = _table()


# ----------------------------------------------------------------------------------- what the product understood


def _text(value: Any) -> str:
    """A value as the table writes it: ids cut to 8 digits."""
    if isinstance(value, datetime):
        return value.isoformat()
    return re.sub(r"^(req-)?([0-9a-f]{8})-[0-9a-f-]{27}$", r"\1\2", str(value))


def _told(value: Any, *, unsaid: tuple[object, ...] = (None,)) -> dict[str, str]:
    told = {field.name: getattr(value, field.name) for field in fields(value)}
    plain = (str, int, datetime)  # bool and the enums, too
    return {name: _text(item) for name, item in told.items() if isinstance(item, plain) and item not in unsaid}


NO_SUCH_THING = {"none": ""}
SERVER_FIELDS = {"id", "status", "vm_state", "task_state", "power_state", "locked", "root_device", "image_id"}


def _refusal(classified: Classified) -> dict[str, str]:
    reason = {"reason": classified.reason.value} if classified.reason else {}
    return {"class": classified.kind.value, "code": classified.code, **reason}


def _server(server: Server, expected: Expected) -> None:
    told = {name: value for name, value in _told(server).items() if name in SERVER_FIELDS}
    assert told == expected.about


UNTOLD = {"metadata", "updated_at", "name", "size"}
"""What differs from run to run, or is for people only."""


def _volume(volume: Volume, expected: Expected) -> None:
    told = {k: v for k, v in _told(volume, unsaid=(None, False)).items() if k not in UNTOLD}
    assert volume.updated_at
    assert volume.size
    assert told == expected.about
    entries = [{"server_id": _text(server), **_told(attachment)} for server, attachment in volume.attachments]
    assert entries == list(expected.entries)


def _listing(listing: tuple[Listed, ...], expected: Expected) -> None:
    assert [_told(listed) for listed in listing] == list(expected.entries)


def _actions(actions: tuple[Action, ...], expected: Expected) -> None:
    told = [_told(action, unsaid=(None, False)) for action in actions]
    assert told == list(expected.entries)


# ------------------------------------------------------------------------------------------------- the playback


class Playback(HTTPAdapter):
    """Answers as the recording does, and only what was recorded; a login gets a token of the exchange's project."""

    def __init__(self, exchange: Exchange, login: Exchange = LOGIN) -> None:
        super().__init__()
        self.exchange = exchange
        self.login = login

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        asked = request.method, _thing(request.path_url)
        if asked == ("POST", "/v3/auth/tokens"):
            return self._answer(request, self.login, _for_project(self.login.body, _project(self.exchange)))
        if asked == (self.exchange.method, _thing(self.exchange.path)):
            return self._answer(request, self.exchange, self.exchange.body)
        raise requests.ConnectionError(f"{asked} was not recorded", request=request)

    def _answer(self, request: requests.PreparedRequest, exchange: Exchange, body: bytes) -> requests.Response:
        raw = HTTPResponse(BytesIO(body), headers=exchange.headers, status=exchange.status, preload_content=False)
        return self.build_response(request, raw)


def _thing(path: str) -> str:
    """A path from the server or the volume on: the product always names the project, a recording does not."""
    found = re.search(r"/(?:servers|volumes)/.*", path)
    return found[0] if found else path


def _project(exchange: Exchange) -> str:
    found = re.match(r"/v[\d.]+/([0-9a-f]{32})/", exchange.path)
    return found[1] if found else ITS_PROJECT


def _for_project(body: bytes, project: str) -> bytes:
    """A login's answer for another project, good for as long as the test lasts."""
    body = body.replace(ITS_PROJECT.encode(), project.encode())
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
    """A read of the adapter's own: a thing, None where there is none, or trouble."""

    def play(cloud: OpenStackCloud, exchange: Exchange, expected: Expected) -> None:
        server_or_volume = _thing(exchange.path).split("/")[2]
        if "class" in expected.about:
            with pytest.raises(CloudTrouble) as caught:
                read(cloud, server_or_volume)
            assert _refusal(caught.value.classified) == expected.about
        elif (value := read(cloud, server_or_volume).value) is None:
            assert expected.about == NO_SUCH_THING
        else:
            compare(value, expected)

    return play


def _attachment(_: OpenStackCloud, exchange: Exchange, expected: Expected) -> None:
    """The adapter never reads one attachment alone; the parser takes it for a list of one, as some clouds send it."""
    if exchange.status == 200:
        _listing(parse.listing(parse.document(exchange.body)), expected)
    else:
        assert _refusal(classify(_answer_of(exchange))) == expected.about


def _action(cloud: OpenStackCloud, exchange: Exchange, expected: Expected) -> None:
    """The outcome, or that it is still running, if the record says so."""
    _, _, server_id, _, request_id = _thing(exchange.path).split("/")
    assert cloud.ended(server_id, request_id).value.value == expected.about["ended"]
    if exchange.status == 200:
        assert parse.is_open(parse.document(exchange.body)) == (expected.about["ended"] == "running")


def _delete(cloud: OpenStackCloud, exchange: Exchange, expected: Expected) -> None:
    """The answer by its class, and the id by which Nova keeps a record of it."""
    _, _, server_id, _, *volume_id = _thing(exchange.path).split("/")
    if not volume_id:  # the product cannot ask so
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
def test_an_answer_is_understood(name: str, number: int, expected: Expected) -> None:
    """The product reads every recorded answer as the table says."""
    exchange = recording(name)[number]
    PLAY[expected.kind](_cloud(Playback(exchange)), exchange, expected)


@pytest.mark.parametrize("name", names())
def test_no_exchange_is_forgotten(name: str) -> None:
    """An exchange stands in the table, or one reason says why it does not."""
    for number, exchange in enumerate(recording(name)):
        reasons = [reason for reason, fits in NOT_PLAYED.items() if fits(exchange)]
        assert bool(reasons) != ((name, number) in TABLE), (number, exchange.method, exchange.path, reasons)
    assert {number for recorded, number in TABLE if recorded == name} <= set(range(len(recording(name))))


@pytest.mark.parametrize(
    ("number", "credentials"),
    [
        (0, {"project_name": "demo-project"}),
        (0, {"project_id": ITS_PROJECT}),
        (4, {"application_credential_id": "an-id", "application_credential_secret": "a-secret", "password": ""}),
    ],
    ids=["password, project by name", "password, project by id", "application credential"],
)
def test_a_token_gives_the_project_and_the_endpoints(number: int, credentials: dict[str, str]) -> None:
    """The catalog names compute with and without the project, and block storage under two types."""
    login = recording(TOKENS)[number]
    access = _cloud(Playback(login, login), **credentials).login.access()
    assert access.project_id == ITS_PROJECT
    assert {service.name: url for service, url in access.services.items()} == {
        "COMPUTE": f"http://127.0.0.1:8774/v2.1/{ITS_PROJECT}",
        "BLOCK_STORAGE": f"http://127.0.0.1:8776/v3/{ITS_PROJECT}",
        "IMAGE": "http://127.0.0.1:9292/v2",
    }


@pytest.mark.parametrize(
    ("number", "reason"),
    [(1, Reason.UNAUTHORIZED), (2, Reason.UNAUTHORIZED), (3, Reason.UNAUTHORIZED), (5, None)],
    ids=["wrong password", "unknown project", "no project", "malformed"],
)
def test_a_refused_login_says_why(number: int, reason: Reason | None) -> None:
    """The operator has to correct a wrong password, an unknown project and a token without a project."""
    login = recording(TOKENS)[number]
    with pytest.raises(CloudTrouble) as caught:
        _cloud(Playback(login, login), project_name="demo-project").check()
    classified = caught.value.classified
    assert classified.reason is reason
    assert classified.kind is (AnswerClass.PERMANENT if reason else AnswerClass.RECONCILE)
