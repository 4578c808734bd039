"""The HTTP sink against a real server: requests, signatures, and the meaning of answers."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook

from shared.decision.case import Case, detached
from shared.decision.progress import Progress
from shared.model import DetachRequest, Detail, Message
from shared.outbox.events import EventFactory
from shared.outbox.http_sink import HttpSink
from shared.ports import AwsTrouble, Event, NotTaken
from shared.retry_after import seconds as seconds_until
from shared.settings import Settings, SettingsError, SinkMode, load
from shared.signatures import Keys, SinkKeys
from tests.certificates import self_signed
from tests.messages import QUEUE_ARN, START, TRACE
from tests.scripted import BROKEN, RecordedRequest, Reply, Script, scripted_server

OLD, NEW = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8


def verdict() -> Event:
    request = DetachRequest(
        id="ticket ä\"%", source="/changes", requested_at=START, server_id="95bf2490-5428-432c-ad9b-5e3406f869dd",
        volume_id="b53f23bd-ee8f-49ec-9420-d1acfeaf91d6", traceparent=TRACE, tracestate="a=b", context={"ü": "€"},
    )  # fmt: skip
    case = Case(request, Message("", "m", QUEUE_ARN, START), Progress(first_seen_at=START))
    return EventFactory().verdict(case, detached(Detail.DETACHED_NOW), START)


def sink(script: Script, *secrets: str, mode: SinkMode = SinkMode.STRUCTURED, **more: Any) -> HttpSink:
    keys = SinkKeys(secrets=tuple(SecretStr(secret) for secret in secrets or (NEW,)))
    return HttpSink(script.url + "/hook", lambda: keys, more.pop("clock", lambda: datetime.now(UTC)), mode)


def event_in(asked: RecordedRequest) -> Any:
    """The event that the official SDK reads from the request."""
    headers = {name: value for name, value in asked.headers.items() if name.startswith(("ce-", "content-type"))}
    return from_http_event(HTTPMessage(headers, asked.body))


@pytest.mark.parametrize("mode", SinkMode)
def test_the_event_arrives_as_a_cloudevent(script: Script, mode: SinkMode) -> None:
    """In both modes, another CloudEvents library reads the event that the bus gets."""
    event = verdict()
    assert sink(script, mode=mode).deliver(event) is None
    (asked,) = script.asked
    read, whole = event_in(asked), json.loads(event.body)
    assert whole["data"] == read.get_data()
    attributes = {name: str(value) for name, value in read.get_attributes().items() if name != "time"}
    assert {name: value for name, value in whole.items() if name not in ("data", "time")} == attributes
    assert datetime.fromisoformat(whole["time"]) == read.get_time()


@pytest.mark.parametrize(
    ("mode", "content_type"),
    [(SinkMode.STRUCTURED, "application/cloudevents+json; charset=utf-8"), (SinkMode.BINARY, "application/json")],
)
def test_the_content_type_depends_on_the_mode(script: Script, mode: SinkMode, content_type: str) -> None:
    """A structured event has CloudEvents' content type, a binary one that of its data; both have trace headers."""
    sink(script, mode=mode).deliver(verdict())
    headers = script.asked[0].headers
    assert (content_type, TRACE, "a=b") == (headers["content-type"], headers["traceparent"], headers["tracestate"])


@pytest.mark.parametrize("mode", SinkMode)
def test_the_receiver_can_check_the_signature(script: Script, mode: SinkMode) -> None:
    """The Standard Webhooks library accepts the signature with the old and the new secret."""
    event = verdict()
    sink(script, NEW, OLD, mode=mode).deliver(event)
    (asked,) = script.asked
    assert event.id == asked.headers["webhook-id"]
    for secret in (OLD, NEW):
        Webhook(secret).verify(asked.body, asked.headers)


def test_the_clock_may_be_in_any_zone(script: Script) -> None:
    """The signature uses the time in UTC, whatever the clock's zone."""
    east = timezone(timedelta(hours=5))
    sink(script, clock=lambda: datetime.now(east)).deliver(verdict())
    Webhook(NEW).verify(script.asked[0].body, script.asked[0].headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_an_acceptance(script: Script, status: int) -> None:
    """A 2xx accepts the event, even with an empty body."""
    script.then(Reply(status, b""))
    assert sink(script).deliver(verdict()) is None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_passing_errors_are_retried(script: Script, status: int) -> None:
    """A temporary error of the receiver is retried after its Retry-After."""
    script.then(Reply(status, b"later", (("Retry-After", "7"),)))
    assert NotTaken(f"HTTP {status}", again=True, retry_after=7) == sink(script).deliver(verdict())


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422])
def test_permanent_errors_are_not_retried(script: Script, status: int) -> None:
    """A refusal is permanent, and a redirect is not followed."""
    script.then(Reply(status, b"", (("Location", script.url + "/elsewhere"), ("Retry-After", "7"))))
    assert NotTaken(f"HTTP {status}", again=False) == sink(script).deliver(verdict())
    assert 1 == len(script.asked)


def test_a_missing_answer_is_retried(script: Script) -> None:
    """The delivery is retried after a broken connection."""
    script.then(BROKEN)
    assert NotTaken("no answer (ConnectionError)", again=True) == sink(script).deliver(verdict())


def test_a_refused_connection_is_retried() -> None:
    """The delivery is retried if no server listens."""
    found = sink(Script("http://127.0.0.1:9")).deliver(verdict())
    assert found
    assert found.again


def test_without_a_secret_nothing_is_sent(script: Script) -> None:
    """A verdict that cannot be signed waits."""
    unsigned = HttpSink(script.url, SinkKeys, lambda: START)
    assert NotTaken("there is no secret to sign with", again=True) == unsigned.deliver(verdict())

    def unreadable() -> SinkKeys:
        raise AwsTrouble("GetSecretValue: no answer")

    assert NotTaken("GetSecretValue: no answer", again=True) == HttpSink(script.url, unreadable, lambda: START).deliver(
        verdict()
    )
    assert [] == script.asked


def test_a_date_in_retry_after_is_relative_to_our_clock(script: Script) -> None:
    """The wait is the difference between the date and our clock."""
    script.then(Reply(503, b"", (("Retry-After", "Mon, 23 Nov 2026 08:01:00 GMT"),)))
    assert NotTaken("HTTP 503", again=True, retry_after=60) == sink(script, clock=lambda: START).deliver(verdict())


def test_a_sink_wants_everything(script: Script) -> None:
    """The sink gets every event; the receiver filters."""
    assert sink(script).wants(verdict())


@pytest.mark.parametrize("late", [0, 1])
def test_nothing_is_sent_without_time(script: Script, late: float) -> None:
    """The verdict waits for another invocation."""
    late_sink = sink(script, clock=lambda: START)
    result = late_sink.deliver(verdict(), START - timedelta(seconds=late))
    assert result == NotTaken("no time was left to send it", again=True)
    assert [] == script.asked


def test_less_than_a_second_may_suffice(script: Script) -> None:
    """The event is sent even if less than a second is left."""
    assert sink(script, clock=lambda: START).deliver(verdict(), START + timedelta(seconds=0.9)) is None


@contextmanager
def slow_server(first: bytes = b"") -> Iterator[str]:
    """The URL of a server that begins its answer with `first` and continues byte by byte."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(first)
            while not ended.wait(0.05):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        thread.join(5)


def test_a_slow_answer_ends_at_the_deadline() -> None:
    """The delivery ends when its time is over."""
    with slow_server() as url:
        slow = sink(Script(url), clock=lambda: START)
        result = slow.deliver(verdict(), START + timedelta(seconds=0.3))
    assert result == NotTaken("no answer within 0.3 s", again=True)


def test_the_body_of_an_answer_is_ignored() -> None:
    """A success counts without waiting for its body."""
    with slow_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n") as url:
        slow = sink(Script(url), clock=lambda: START)
        assert slow.deliver(verdict(), START + timedelta(seconds=1)) is None


def test_a_silent_sink_blocks_no_thread() -> None:
    """The connection ends with the delivery, so that the thread can send later verdicts."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        quiet = replace(
            sink(Script(f"http://127.0.0.1:{silent.getsockname()[1]}"), clock=lambda: START),
            threads=ThreadPoolExecutor(1),
        )
        result = quiet.deliver(verdict(), START + timedelta(seconds=0.2))
        assert result
        assert result.again
        assert quiet.threads.submit(lambda: "free").result(5) == "free"


def test_binary_headers_have_exactly_the_attributes(script: Script) -> None:
    """The headers escape everything but visible ASCII, and the body is the data."""
    sink(script, mode=SinkMode.BINARY).deliver(verdict())
    (asked,) = script.asked
    event = json.loads(verdict().body)
    result = {name.removeprefix("ce-"): value for name, value in asked.headers.items() if name.startswith("ce-")}
    assert result.keys() == event.keys() - {"data", "datacontenttype"}
    assert result["correlationid"] == "ticket%20%C3%A4%22%25"
    assert (result["subject"], result["dataschema"]) == (event["subject"], event["dataschema"])
    assert asked.body == json.dumps(event["data"], ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("trace", "sent"),
    [
        ({"tracestate": "a=b"}, {}),
        ({"traceparent": TRACE}, {"traceparent": TRACE}),
        ({"traceparent": TRACE, "tracestate": "ü=1"}, {"traceparent": TRACE}),
    ],
)
def test_only_a_complete_trace_is_in_the_headers(script: Script, trace: dict[str, str], sent: dict[str, str]) -> None:
    """A tracestate is sent only with a traceparent and only in ASCII."""
    body = {name: value for name, value in json.loads(verdict().body).items() if not name.startswith("trace")}
    assert sink(script).deliver(replace(verdict(), body=json.dumps(body | trace))) is None
    assert sent == {name: value for name, value in script.asked[0].headers.items() if name.startswith("trace")}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0), (" 120 ", 120), ("Mon, 23 Nov 2026 08:01:00 GMT", 60), ("Mon, 23 Nov 2026 07:00:00 GMT", 0),
     (None, None), ("", None), ("soon", None), ("-5", None), ("1.5", None),
     ("9" * 40, 999_999_999_999), ("\u0661", None)],
)  # fmt: skip
def test_retry_after(header: str | None, seconds: float | None) -> None:
    """Retry-After is a number of seconds or an HTTP date; other values are ignored."""
    assert seconds == seconds_until(header, START)


@pytest.mark.parametrize(
    "url",
    ["https://sink.example.com/hook?key=1", "http://127.0.0.1:8080/", "http://localhost/x", "http://[::1]:9/",
     "http://127.9.9.9/"],
)  # fmt: skip
def test_good_sinks(url: str) -> None:
    """A sink may use https, or http on this machine."""
    settings = load(Settings, {"REQUEST_QUEUE_URL": "q", "SINK_URL": url, "SINK_SECRET_ID": "s"})
    assert url == settings.sink_url


@pytest.mark.parametrize(
    "url",
    ["http://sink.example.com/", "http://10.0.0.1/", "http://localhost.example.com/", "ftp://127.0.0.1/", "sink",
     "https://", "https://user:pw@sink.example.com/", "https://sink.example.com/#x", "https://[::1", "https://a:b/"],
)  # fmt: skip
def test_bad_sinks(url: str) -> None:
    """Any other URL is refused at the start, and is not shown."""
    with pytest.raises(SettingsError, match="SINK_URL: must be an https URL") as refused:
        load(Settings, {"REQUEST_QUEUE_URL": "q", "SINK_URL": url, "SINK_SECRET_ID": "s"})
    assert "user:pw" not in str(refused.value)


def test_a_sink_needs_a_secret() -> None:
    """A sink without a secret is reported at once."""
    with pytest.raises(SettingsError, match="SINK_SECRET_ID must be set"):
        load(Settings, {"REQUEST_QUEUE_URL": "q", "SINK_URL": "https://sink.example.com/"})


def test_a_receiver_with_its_own_certificates(tmp_path: Path) -> None:
    """The certificates are in the secret as text; without them the verdict waits, and nothing is sent."""
    ca, context = self_signed(tmp_path)
    with scripted_server(context) as script:
        for cacert, expected in ((ca.read_text(), None), (None, NotTaken("no answer (SSLError)", again=True))):
            keys = SinkKeys.parse({"secrets": [NEW], "cacert": cacert})
            receiver = HttpSink(script.url, partial(SinkKeys.model_copy, keys), lambda: datetime.now(UTC))
            assert receiver.deliver(verdict()) == expected
        assert len(script.asked) == 1


@pytest.mark.parametrize("cacert", ["/etc/ssl/ca.pem", "-----BEGIN CERTIFICATE-----", ""])
def test_an_invalid_certificate_is_reported(cacert: str) -> None:
    """Invalid certificates are refused, including file names, since functions have no such file."""
    with pytest.raises(ValidationError, match="must be certificates in PEM"):
        SinkKeys.parse({"secrets": [NEW], "cacert": cacert})


def test_the_webhooks_secret_has_no_certificates() -> None:
    with pytest.raises(ValidationError):
        Keys.parse({"secrets": [NEW], "cacert": "x"})
