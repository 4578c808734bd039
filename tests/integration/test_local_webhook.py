"""The local webhook endpoint behaves like a Function URL; and `make send`."""

import base64
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from functions.receive_webhook.handler import http_request_of
from local.function_url import LARGEST, FunctionUrl, Page, PortTaken, payload
from shared.policy import BATCH_EVENTS
from tests.scripted import Reply, scripted_server
from tools.exit_status import Exit
from tools.sender import LOCAL_SECRET, send


class Echo:
    """A handler that records its events, and raises if a header asks for it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any], _: Any) -> dict[str, Any]:
        self.events.append(event)
        status = int(event["headers"].get("x-status", "200"))
        if status == 0:
            raise RuntimeError("broken")
        return {"statusCode": status, "headers": {"X-Answer": "1"}, "body": json.dumps({"ok": True})}


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def url(echo: Echo) -> Iterator[FunctionUrl]:
    with FunctionUrl(echo, pages={"/": Page("text/html", "<h1>page</h1>")}) as url:
        yield url


@given(
    body=st.binary(),
    kind=st.sampled_from(["application/json", "text/plain; charset=utf-8", "application/cloudevents+json", "", "x"]),
)
def test_the_body_arrives_unchanged(body: bytes, kind: str) -> None:
    """The handler gets the signed bytes, whether the event has text or base64."""
    assert http_request_of(payload("POST", "/", [("Content-Type", kind)], body)).body == body


def test_repeated_headers_are_joined() -> None:
    """Like Lambda, it joins headers of the same name with a comma, in lower case."""
    event = payload("POST", "/a?b=c", [("X-A", "1"), ("x-a", "2")], b"")
    assert event["headers"] == {"x-a": "1,2"}
    assert (event["rawPath"], event["rawQueryString"]) == ("/a", "b=c")


def test_the_handler_answers(url: FunctionUrl, echo: Echo) -> None:
    """Status, headers and body come from the handler."""
    answer = requests.post(url.address, data=b"\xff", headers={"X-Status": "422"}, timeout=5)
    assert (answer.status_code, answer.headers["X-Answer"], answer.json()) == (422, "1", {"ok": True})
    assert base64.b64decode(echo.events[0]["body"]) == b"\xff"


def test_a_broken_handler_is_502(url: FunctionUrl) -> None:
    """The answer is that of a real Function URL, without the error."""
    answer = requests.post(url.address, headers={"X-Status": "0"}, timeout=5)
    assert (answer.status_code, answer.text) == (502, "Internal Server Error")


def test_the_local_server_serves_its_pages(url: FunctionUrl, echo: Echo) -> None:
    """A GET of a page returns it with a strict content policy; other requests go to the handler."""
    answer = requests.get(url.address, timeout=5)
    assert answer.text == "<h1>page</h1>"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert requests.get(url.address + "other", timeout=5).status_code == 200
    assert requests.head(url.address, timeout=5).content == b""
    assert [event["requestContext"]["http"]["method"] for event in echo.events] == ["GET", "HEAD"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": "x"}, 411),
        ({"Content-Length": "-1"}, 411),
        ({"Content-Length": str(LARGEST + 1)}, 413),
    ],
)
def test_invalid_lengths_are_refused(headers: dict[str, str], status: int, url: FunctionUrl, echo: Echo) -> None:
    """Requests that Lambda would refuse do not reach the handler."""
    connection = http.client.HTTPConnection(urlsplit(url.address).netloc, timeout=5)
    connection.putrequest("POST", "/")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == status
    connection.close()
    assert echo.events == []


POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(POST + b"Content-Length: 9\r\n\r\n{}", b"408", id="a missing body"),
        pytest.param(POST + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}", b"411", id="two lengths"),
        pytest.param(POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", b"200", id="one length twice"),
        pytest.param(POST + b"Content-Length: 1,2\r\n\r\n{}", b"411", id="a list of lengths"),
        pytest.param(POST + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n", b"413", id="not continued"),
        pytest.param(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", b"100", id="continued"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", b"411", id="both"),
        pytest.param(POST + b"X-A: 1\r\n" * 200 + b"\r\n", b"431", id="too many headers"),
        pytest.param(POST + b"X-A: " + b"1" * 70_000 + b"\r\n\r\n", b"431", id="a header that is too long"),
        pytest.param(POST + b"X-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n", b"200", id="a folded header"),
    ],
)
def test_slow_or_inconsistent_requests_are_answered(sent: bytes, status: bytes, echo: Echo) -> None:
    """A slow or malformed request gets an error status and does not reach the handler."""
    with FunctionUrl(echo, patience=0.3) as url, socket.create_connection(("127.0.0.1", url.server_port), 5) as sender:
        sender.sendall(sent)
        answer = sender.recv(100)
    assert answer.split(b" ")[1] == status
    assert bool(echo.events) is (status in (b"200", b"100"))


def test_endless_headers_time_out(echo: Echo) -> None:
    """The connection is closed, and other senders are answered in the meantime."""
    with FunctionUrl(echo, patience=0.3) as url, socket.create_connection(("127.0.0.1", url.server_port), 5) as sender:
        sender.sendall(POST)
        assert requests.post(url.address, timeout=5).status_code == 200
        assert sender.recv(100) == b""


def test_a_port_in_use_is_reported(url: FunctionUrl) -> None:
    """The error is a sentence with the port."""
    port = urlsplit(url.address).port or 0
    with pytest.raises(PortTaken, match=f"Port {port} cannot be used"):
        FunctionUrl(Echo(), port)


@pytest.mark.parametrize(
    ("status", "expected"), [("202", Exit.OPEN), ("401", Exit.FAILED), ("200", Exit.FAILED), ("301", Exit.FAILED)]
)
def test_send_shows_the_answer(status: str, expected: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status distinguishes accepted events, which have no verdict yet, from refused ones."""
    seen: list[Any] = []

    def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
        seen.append(event)
        return {"statusCode": int(status), "headers": {"Retry-After": "7"}, "body": '{"detail": "so"}'}

    with FunctionUrl(handler) as url:
        assert send(['{"server_id": "ü"}'], url.address, LOCAL_SECRET) is expected
    shown = capsys.readouterr().out
    assert shown.startswith(status)
    assert "Retry-After: 7" in shown
    assert '"detail": "so"' in shown
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(seen[0]["headers"])


def test_send_batches_cloudevents_but_not_bare_requests(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
        body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"]
        seen.append((event["headers"]["content-type"], json.loads(body)))
        return {"statusCode": 202, "headers": {}, "body": "{}"}

    events = [{"specversion": "1.0", "id": str(number)} for number in range(BATCH_EVENTS + 1)]
    with FunctionUrl(handler) as url:
        send([json.dumps(event) for event in events], url.address, LOCAL_SECRET)
        send(['{"server_id": "1"}', '{"server_id": "2"}'], url.address, LOCAL_SECRET)
    assert seen == [
        ("application/cloudevents-batch+json", events[:-1]),
        ("application/cloudevents-batch+json", events[-1:]),
        ("application/json", {"server_id": "1"}),
        ("application/json", {"server_id": "2"}),
    ]
    assert capsys.readouterr().out.count("202") == 4


@pytest.mark.parametrize(
    ("url", "secret", "expected"),
    [
        ("http://127.0.0.1:1/", LOCAL_SECRET, "make serve"),
        ("nonsense", LOCAL_SECRET, "has to begin with http:// or https://"),
        ("http://127.0.0.1:1/", "whsec_x", "SECRET must be"),
    ],
)
def test_send_reports_an_error(url: str, secret: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one sentence on stderr, with the exit status for usage errors."""
    assert send(["{}"], url, secret) is Exit.USAGE
    shown = capsys.readouterr()
    assert expected in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_a_request_with_an_unknown_outcome_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    """If the connection breaks after the request was sent, the outcome is unknown, and a retry is safe."""

    with scripted_server() as script:
        script.replies = [Reply(reset=True)]
        assert send(['{"server_id": "1"}'], script.url, LOCAL_SECRET) is Exit.OPEN
    assert "may have accepted the request" in capsys.readouterr().err
