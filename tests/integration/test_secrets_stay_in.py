"""No event, log line, error or answer contains a secret, wherever it was planted and however it was encoded."""

import base64
import html
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests
from pydantic import ValidationError

from local.stack import simulator_credentials
from shared.cloud.openstack import Projects, connect
from shared.inbox.read import read
from shared.outbox.dead_letters import DeadLetters
from shared.settings import CloudCredentials, faults_in, load
from shared.signatures import Keys
from shared.telemetry.logs import logger
from simulator.access_keys import AccessKey
from tests.http_requests import FakeQueue, endpoint, http_request
from tests.messages import MESSAGE_KEYS, SERVER, START, VOLUME, bare, cloudevent, ours
from tests.stack import LINES, Bench, CountingAdapter
from tests.unit.test_original import NAMES, PLACES, TOKEN, WRITTEN, leaks
from tools.sender import LOCAL_SECRET

ENCODED: dict[str, Callable[[str], str]] = {
    "plain": lambda secret: secret,
    "JSON": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "percent": lambda secret: quote(secret, safe=""),
    "entities": html.escape,
    "base64": lambda secret: base64.b64encode(f"x{secret}y".encode()).decode(),
    "base64 of its own": lambda secret: base64.b64encode(secret.encode()).decode(),
    "JSON in base64": lambda secret: base64.b64encode(json.dumps({"error": {"user": secret}}).encode()).decode(),
}


def said(bench: Bench) -> str:
    """Everything that was emitted: events, log lines, and messages that left the queue."""
    assert len(bench.queue) == 0
    return json.dumps(bench.bus.events) + "\n".join(bench.logs)


@pytest.mark.parametrize("place", PLACES, ids=PLACES)
@pytest.mark.parametrize("written", WRITTEN, ids=WRITTEN)
def test_a_task_token_leaves_in_no_event_and_no_line(place: str, written: str) -> None:
    """Carried out or refused, under its right name and under others."""
    bench = Bench()
    # A context is the sender's own, and is echoed but for what is called a task token.
    for name in NAMES[: 4 if place == "context" else 5]:
        bench.queue.put(WRITTEN[written](PLACES[place](name)))
    bench.run()
    assert bench.bus.events
    assert not leaks(said(bench))


@pytest.mark.parametrize("written", WRITTEN, ids=WRITTEN)
def test_nor_in_the_answer_to_a_dead_letter(written: str) -> None:
    """The verdict on a dead letter shows the message too."""
    bench = Bench()
    letters = DeadLetters("bms", bench.outlets)
    body = WRITTEN[written](cloudevent(bare(SERVER, VOLUME, task_token=TOKEN)))
    own = json.loads(ours({"continuation": 9, "progress": {}, "request": {"task_token": TOKEN, "id": "4711"}}))
    for number, text in enumerate((body, json.dumps(own), WRITTEN[written](own))):
        assert letters.handle([bench.message(text, f"m-{number}")]).unsent == {}
    assert len(bench.bus.events) == 3
    assert not leaks(said(bench))
    assert own["mac"] not in said(bench)


@pytest.mark.parametrize("written", WRITTEN, ids=WRITTEN)
def test_nor_in_the_answer_of_the_webhook(written: str) -> None:
    """The sender knows it, but readers of a proxy's log do not."""
    for name in NAMES[:5]:
        body = WRITTEN[written](bare(SERVER, VOLUME, **{name: TOKEN, "typo": 1})).encode()
        headers = {"content-type": "application/json", "authorization": "Bearer a-token-of-some-length"}
        answer = endpoint(FakeQueue()).answer(http_request("POST", headers, body))
        assert answer.status in (400, 422)
        assert not leaks(answer.body)


def test_a_token_that_is_a_name_is_not_quoted() -> None:
    """In a fault of the verdict, in the log, or in the answer of the webhook."""
    bench = Bench()
    data = {**bare(SERVER, VOLUME), TOKEN: 1}
    twice = json.dumps(data)[:-1] + f', "{TOKEN}": 2}}'
    for body in (json.dumps(data), json.dumps(cloudevent(data)), twice):
        bench.queue.put(body)
        headers = {"content-type": "application/json", "authorization": "Bearer a-token-of-some-length"}
        answer = endpoint(FakeQueue()).answer(http_request("POST", headers, body.encode()))
        assert answer.status in (400, 422)
        assert not leaks(answer.body)
    bench.run()
    assert len(bench.bus.events) == 3
    assert not leaks(said(bench))


class Telltale(CountingAdapter):
    """A cloud that echoes a secret in each of its answers, on demand."""

    def __init__(self, bench: Bench, tell: Callable[[requests.PreparedRequest], bytes | None], status: int) -> None:
        super().__init__(bench.cloud, bench.effects, bench.clock)
        self._tell, self._status = tell, status

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        answer = super().send(request, *arguments, **options)
        told = self._tell(request)
        if told is not None:
            answer.status_code, answer._content = self._status, told
        return answer


def telling(tell: Callable[[requests.PreparedRequest], bytes | None], status: int = 400, **key: str) -> Bench:
    """A bench whose cloud echoes; with an access key it has no password, and its project is given by name."""
    bench = Bench()
    http = requests.Session()
    http.mount("http://", Telltale(bench, tell, status))
    known = simulator_credentials(bench.cloud)
    by_key = {"username": "", "password": "", "project_id": "", "project_name": bench.world.project.name, **key}
    credentials = load(CloudCredentials, known | by_key if key else known)
    bench.serve(Projects(lambda read: connect(read, http, bench.clock), lambda _: credentials))
    return bench


BODIES = [
    '{{"badRequest": {{"code": 400, "message": "we got {}"}}}}',
    '{{"error_code": "X.1", "error_msg": "we got {} there"}}',
    "<html><body>refused: {}</body></html>",
    "what is {}?",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("encode", ENCODED.values(), ids=ENCODED)
@pytest.mark.parametrize("where", ["login", "read", "delete"])
def test_secrets_that_the_cloud_echoes_are_not_passed_on(where: str, encode: Callable[[str], str], body: str) -> None:
    """The password in an answer of Keystone, the token in those of the other services; neither has a name in front."""
    secrets: set[str] = set()

    def tell(request: requests.PreparedRequest) -> bytes | None:
        token = request.headers.get("X-Auth-Token")
        kind = "login" if "/auth/tokens" in request.path_url else "delete" if request.method == "DELETE" else "read"
        if kind != where:
            return None
        secret = str(token) if token else bench.cloud.identity.user.password
        secrets.add(secret)
        return body.format(encode(secret)).encode()

    bench = telling(tell)
    bench.queue.put(bench.request(bench.disk()))
    bench.run()
    assert secrets
    assert bench.bus.events
    text = said(bench)
    for secret in secrets:
        for form in ENCODED.values():
            spelled = form(secret)
            assert spelled not in text
            assert json.dumps(spelled)[1:-1] not in text


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("encode", ENCODED.values(), ids=ENCODED)
@pytest.mark.parametrize("where", ["login", "GET", "DELETE"])
def test_nor_are_access_keys(where: str, encode: Callable[[str], str], status: int) -> None:
    """Key, secret key and security token in an answer to a signed request, also to the lookup of the project."""
    pair = {"access_key": "not-by-its-looks", "secret_key": "nor-this-one/+", "security_token": "and-no-token"}
    asked: list[str] = []

    def tell(request: requests.PreparedRequest) -> bytes | None:
        kind = "login" if "/v3/projects?" in request.path_url else str(request.method)
        if kind != where:
            return None
        asked.append(kind)
        return f'{{"error_code": "X.1", "error_msg": "we got {" and ".join(map(encode, pair.values()))}"}}'.encode()

    base = "http://cloud.test"
    bench = telling(tell, status, **pair, compute_endpoint=base, volume_endpoint=base)
    key = AccessKey(pair["access_key"], pair["secret_key"], bench.cloud.identity.user.id, pair["security_token"])
    bench.cloud.identity.access_keys.add(key)
    bench.queue.put(bench.request(bench.disk()))
    bench.run()
    assert asked
    text = said(bench)
    forms = [form(secret) for form in ENCODED.values() for secret in pair.values()]
    assert [form for form in forms if form in text or json.dumps(form)[1:-1] in text] == []


@pytest.mark.parametrize("form", [str, lambda token: f"x-{quote(token, safe='')}"])
@pytest.mark.parametrize("name", ["id", "source", "correlationid"])
@pytest.mark.parametrize("more", [{}, {"volume_id": None}, {"nonsense": 1}], ids=str)
def test_a_task_token_is_no_identity(name: str, form: Callable[[str], str], more: dict[str, Any]) -> None:
    """What every event has to show of a request may not be what is secret in it; nobody's disk is touched."""
    bench = Bench()
    disk = bench.disk()
    data = bare(bench.server, disk, task_token=TOKEN) | more
    bench.queue.put(json.dumps(cloudevent(data, **{name: form(TOKEN)})))
    bench.run()
    (event,) = bench.bus.events
    assert event["type"].endswith("volume.detach_failed.v1")
    assert name in {fault["field"] for fault in event["data"]["faults"]} or more
    assert [one.volume_id for one in bench.world.nova.values()] == [disk]
    assert not leaks(said(bench))


def test_a_secret_of_the_webhook_that_stands_for_a_name_is_not_said() -> None:
    """An operator may swap names and values."""
    for name in ("whsec_c2VjcmV0LW9mLXNvbWUtbGVuZ3Ro", "Tr0ub4dor&3", "0123456789abcdef"):
        with pytest.raises(ValidationError) as caught:
            Keys.parse({name: "x"})
        assert name not in faults_in(caught.value, " ")
    with pytest.raises(ValidationError) as caught:
        Keys.parse({"bearer_token": "x"})
    assert "bearer_token " in faults_in(caught.value, " ")


def test_a_traceback_shows_no_secret() -> None:
    """The text of an exception is not ours."""
    first = len(LINES)
    try:
        try:
            raise ValueError(f'{{"password": "{TOKEN}"}}')
        except ValueError as error:
            raise RuntimeError(f"X-Auth-Token: {TOKEN}") from error
    except RuntimeError:
        logger.exception("record goes back to the queue")
    lines = "\n".join(LINES[first:])
    assert "RuntimeError" in lines
    assert not leaks(lines)


def test_reprs_show_no_secret() -> None:
    """Of requests and keys: they stand in errors and debuggers."""
    bench = Bench()
    found = read(bench.message(json.dumps(bare(SERVER, VOLUME, task_token=TOKEN))), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, list)
    assert not leaks(repr(found[0].request))
    keys = Keys.parse({"secrets": [LOCAL_SECRET], "bearer_tokens": ["a-token-of-some-length"]})
    assert LOCAL_SECRET[6:] not in repr(keys)
    assert "a-token" not in repr(keys)
