"""No event, log line, error or answer contains a secret, wherever it was planted and however it is encoded."""

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


def emitted(bench: Bench) -> str:
    """All emitted events and log lines; the queue must be empty."""
    assert len(bench.queue) == 0
    return json.dumps(bench.bus.events) + "\n".join(bench.logs)


@pytest.mark.parametrize("place", PLACES, ids=PLACES)
@pytest.mark.parametrize("written", WRITTEN, ids=WRITTEN)
def test_events_and_logs_contain_no_task_token(place: str, written: str) -> None:
    """A task token under any name appears in no event and no log line."""
    bench = Bench()
    # The sender's context is echoed, apart from fields with the name of a task token.
    for name in NAMES[: 4 if place == "context" else 5]:
        bench.queue.put(WRITTEN[written](PLACES[place](name)))
    bench.run()
    assert bench.bus.events
    assert not leaks(emitted(bench))


@pytest.mark.parametrize("written", WRITTEN, ids=WRITTEN)
def test_verdicts_on_dead_letters_contain_no_task_token(written: str) -> None:
    """The verdict on a dead letter shows the message without its token."""
    bench = Bench()
    letters = DeadLetters("bms", bench.outlets)
    body = WRITTEN[written](cloudevent(bare(SERVER, VOLUME, task_token=TOKEN)))
    own = json.loads(ours({"continuation": 9, "progress": {}, "request": {"task_token": TOKEN, "id": "4711"}}))
    for number, text in enumerate((body, json.dumps(own), WRITTEN[written](own))):
        assert letters.handle([bench.message(text, f"m-{number}")]).unsent == {}
    assert len(bench.bus.events) == 3
    assert not leaks(emitted(bench))
    assert own["mac"] not in emitted(bench)


@pytest.mark.parametrize("written", WRITTEN, ids=WRITTEN)
def test_answers_of_the_webhook_contain_no_task_token(written: str) -> None:
    """An answer contains no task token, since it may be logged by a proxy."""
    for name in NAMES[:5]:
        body = WRITTEN[written](bare(SERVER, VOLUME, **{name: TOKEN, "typo": 1})).encode()
        headers = {"content-type": "application/json", "authorization": "Bearer a-token-of-some-length"}
        answer = endpoint(FakeQueue()).answer(http_request("POST", headers, body))
        assert answer.status in (400, 422)
        assert not leaks(answer.body)


def test_a_token_as_a_field_name_is_not_shown() -> None:
    """A token as a field name appears neither in faults, nor in the log, nor in the webhook's answer."""
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
    assert not leaks(emitted(bench))


class EchoingCloud(CountingAdapter):
    """A cloud that echoes a secret in each of its answers, on demand."""

    def __init__(self, bench: Bench, echo: Callable[[requests.PreparedRequest], bytes | None], status: int) -> None:
        super().__init__(bench.cloud, bench.effects, bench.clock)
        self._echo, self._status = echo, status

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        answer = super().send(request, *arguments, **options)
        echoed = self._echo(request)
        if echoed is not None:
            answer.status_code, answer._content = self._status, echoed
        return answer


def echoing_bench(echo: Callable[[requests.PreparedRequest], bytes | None], status: int = 400, **key: str) -> Bench:
    """A bench with an echoing cloud; with an access key it has no password, and its project is given by name."""
    bench = Bench()
    http = requests.Session()
    http.mount("http://", EchoingCloud(bench, echo, status))
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
def test_secrets_that_the_cloud_echoes_are_removed(where: str, encode: Callable[[str], str], body: str) -> None:
    """Answers contain the password or the token without a field name, and neither is emitted."""
    secrets: set[str] = set()

    def echo(request: requests.PreparedRequest) -> bytes | None:
        token = request.headers.get("X-Auth-Token")
        kind = "login" if "/auth/tokens" in request.path_url else "delete" if request.method == "DELETE" else "read"
        if kind != where:
            return None
        secret = str(token) if token else bench.cloud.identity.user.password
        secrets.add(secret)
        return body.format(encode(secret)).encode()

    bench = echoing_bench(echo)
    bench.queue.put(bench.request(bench.disk()))
    bench.run()
    assert secrets
    assert bench.bus.events
    text = emitted(bench)
    for secret in secrets:
        for form in ENCODED.values():
            spelled = form(secret)
            assert spelled not in text
            assert json.dumps(spelled)[1:-1] not in text


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("encode", ENCODED.values(), ids=ENCODED)
@pytest.mark.parametrize("where", ["login", "GET", "DELETE"])
def test_access_keys_that_the_cloud_echoes_are_removed(where: str, encode: Callable[[str], str], status: int) -> None:
    """Key, secret key and security token in an answer to a signed request are not emitted."""
    pair = {"access_key": "not-by-its-looks", "secret_key": "nor-this-one/+", "security_token": "and-no-token"}
    asked: list[str] = []

    def echo(request: requests.PreparedRequest) -> bytes | None:
        kind = "login" if "/v3/projects?" in request.path_url else str(request.method)
        if kind != where:
            return None
        asked.append(kind)
        return f'{{"error_code": "X.1", "error_msg": "we got {" and ".join(map(encode, pair.values()))}"}}'.encode()

    base = "http://cloud.test"
    bench = echoing_bench(echo, status, **pair, compute_endpoint=base, volume_endpoint=base)
    key = AccessKey(pair["access_key"], pair["secret_key"], bench.cloud.identity.user.id, pair["security_token"])
    bench.cloud.identity.access_keys.add(key)
    bench.queue.put(bench.request(bench.disk()))
    bench.run()
    assert asked
    text = emitted(bench)
    forms = [form(secret) for form in ENCODED.values() for secret in pair.values()]
    assert [form for form in forms if form in text or json.dumps(form)[1:-1] in text] == []


@pytest.mark.parametrize("form", [str, lambda token: f"x-{quote(token, safe='')}"])
@pytest.mark.parametrize("name", ["id", "source", "correlationid"])
@pytest.mark.parametrize("more", [{}, {"volume_id": None}, {"nonsense": 1}], ids=str)
def test_a_task_token_as_an_id_is_refused(name: str, form: Callable[[str], str], more: dict[str, Any]) -> None:
    """An attribute that every event shows must not be the task token; no disk is detached."""
    bench = Bench()
    disk = bench.disk()
    data = bare(bench.server, disk, task_token=TOKEN) | more
    bench.queue.put(json.dumps(cloudevent(data, **{name: form(TOKEN)})))
    bench.run()
    (event,) = bench.bus.events
    assert event["type"].endswith("volume.detach_failed.v1")
    assert name in {fault["field"] for fault in event["data"]["faults"]} or more
    assert [one.volume_id for one in bench.world.nova.values()] == [disk]
    assert not leaks(emitted(bench))


def test_a_webhook_secret_as_a_field_name_is_not_shown() -> None:
    """An operator may swap names and values by mistake."""
    for name in ("whsec_c2VjcmV0LW9mLXNvbWUtbGVuZ3Ro", "Tr0ub4dor&3", "0123456789abcdef"):
        with pytest.raises(ValidationError) as caught:
            Keys.parse({name: "x"})
        assert name not in faults_in(caught.value, " ")
    with pytest.raises(ValidationError) as caught:
        Keys.parse({"bearer_token": "x"})
    assert "bearer_token " in faults_in(caught.value, " ")


def test_a_traceback_shows_no_secret() -> None:
    """Messages of exceptions in a traceback are redacted."""
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
    """The reprs of requests and keys, which errors and debuggers show, contain no secret."""
    bench = Bench()
    found = read(bench.message(json.dumps(bare(SERVER, VOLUME, task_token=TOKEN))), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, list)
    assert not leaks(repr(found[0].request))
    keys = Keys.parse({"secrets": [LOCAL_SECRET], "bearer_tokens": ["a-token-of-some-length"]})
    assert LOCAL_SECRET[6:] not in repr(keys)
    assert "a-token" not in repr(keys)
