"""A call has a limit for its whole duration, and late calls are not sent. Real sockets, short limits."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import certifi
import pytest

from shared.aws.client import AwsClient
from shared.aws.secrets import CloudSecret, Secrets
from shared.cloud.http import Calls, sessions
from shared.cloud.keystone import Access, Login
from shared.cloud.no_answer import NoAnswer
from shared.cloud.parse import Service
from shared.model import AnswerClass
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT, LONGEST_DELETE
from shared.ports import Clock, utc_now
from shared.settings import CloudCredentials, SettingsError, load
from tests.certificates import self_signed
from tests.integration.test_openstack_login import Pool
from tests.stack import Site, credentials_of, in_process

SHORT, LATE = 0.3, 1.2
"""Seconds: the limit of a call, and when a test fails because it was exceeded."""

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
COMPLETE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

TRICKLES: dict[str, tuple[bytes, bytes]] = {
    "status line": (b"", HEADERS),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n" * 50),
    "body": (HEADERS, b" " * 400),
    "chunks": (CHUNKED, b"1\r\n{\r\n" * 50),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
}
"""The part that is sent at once, and the part that is sent byte by byte."""


@dataclass
class Peer:
    """A server with scripted answers, partly sent byte by byte, that records requests."""

    at_once: bytes = COMPLETE
    slowly: bytes = b""
    tls: ssl.SSLContext | None = None
    received: list[bytes] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def listening(self) -> Iterator[str]:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            serving = threading.Thread(target=self._accept, args=(listener,))
            serving.start()
            try:
                yield f"{'https' if self.tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                self.over.set()
                listener.shutdown(socket.SHUT_RDWR)
                serving.join()

    def _accept(self, listener: socket.socket) -> None:
        threads = []
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=self._serve, args=(connection,)))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        with suppress(OSError), closing(plain):
            connection = self.tls.wrap_socket(plain, server_side=True) if self.tls else plain
            with closing(connection):
                while asked := connection.recv(65536):
                    self.received.append(asked)
                    connection.sendall(self.at_once)
                    for byte in self.slowly:
                        if self.over.wait(0.02):
                            return
                        connection.sendall(bytes([byte]))


def access_to(url: str, verify: bool | str = True) -> Access:
    services = dict.fromkeys(Service, url)
    return replace(Login(lambda _: SITE, in_process(API), utc_now).access(), services=services, verify=verify)


API = Site(http=in_process).api
SITE = credentials_of(API)


def calls(clock: Clock = utc_now) -> Calls:
    for_login, for_calls = sessions()
    for_calls.trust_env = False
    return Calls(Login(lambda _: SITE, for_login, clock), for_calls, clock)


def refused(call: Callable[[], object]) -> tuple[AnswerClass, str]:
    """The kind and the code of a call that ends without an answer, and in time."""
    began = time.monotonic()
    with pytest.raises(NoAnswer) as error:
        call()
    assert time.monotonic() - began < LATE
    return error.value.classified.kind, error.value.classified.code


@pytest.mark.parametrize("trickle", TRICKLES)
@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "by a proxy"])
def test_a_slow_answer_ends_at_the_limit(trickle: str, proxied: bool) -> None:
    """The call ends at its limit, whichever part of the answer arrives byte by byte."""
    client = calls()
    with Peer(*TRICKLES[trickle]).listening() as url:
        client.http.proxies = {"http": url} if proxied else {}
        access = access_to("http://cloud.test" if proxied else url)
        began = time.monotonic()
        assert refused(lambda: client.send_once(access, "GET", Service.COMPUTE, "x", seconds=SHORT)) == (
            AnswerClass.RECONCILE,
            "timeout",
        )
        assert time.monotonic() - began >= SHORT


def test_a_silent_peer_ends_at_the_limit_too() -> None:
    """A call ends at its limit without any answer, and without a TLS handshake."""
    with Peer(b"").listening() as url:
        access = access_to(url)
        assert refused(lambda: calls().send_once(access, "GET", Service.COMPUTE, "x", seconds=SHORT))[1] == "timeout"
        access = access_to(url.replace("http:", "https:"))
        assert refused(lambda: calls().send_once(access, "GET", Service.COMPUTE, "x", seconds=SHORT))[1] == "timeout"


def test_an_answer_within_the_limit_is_whole() -> None:
    """A slow answer within the limit is fine, and the connection serves the next call."""
    client, peer = calls(), Peer(COMPLETE[:-2], b"{}")
    with peer.listening() as url:
        access = access_to(url)
        for _ in range(2):
            answer = client.send_once(access, "GET", Service.COMPUTE, "x", seconds=5)
            assert (answer.status, answer.body) == (200, b"{}")
        client.http.close()
    assert len(peer.received) == 2


def test_the_deadline_is_a_limit_too() -> None:
    """A call ends at the deadline at the latest, and after it nothing is sent, not even a login."""
    client, peer = calls(), Peer(*TRICKLES["body"])
    with peer.listening() as url:
        access = access_to(url)
        soon = utc_now() + timedelta(seconds=SHORT)
        assert refused(lambda: client.send_once(access, "GET", Service.COMPUTE, "x", deadline=soon))[1] == "timeout"
        peer.received.clear()
        client.login.read = lambda _: credentials_of(API, auth_url=url)
        for call in (
            lambda: client.send_once(access, "DELETE", Service.COMPUTE, "x", deadline=utc_now()),
            lambda: client.send("GET", Service.COMPUTE, "x", deadline=utc_now()),
            lambda: client.login.access(utc_now()),
        ):
            assert refused(call) == (AnswerClass.RETRY, "no_time")
    assert peer.received == []


def test_a_login_has_the_limit_of_its_call() -> None:
    """Keystone answers byte by byte: at the deadline both the login and the calls that wait for it fail."""
    client, peer = calls(), Peer(*TRICKLES["body"])
    with peer.listening() as url:
        client.login.read = lambda _: credentials_of(API, auth_url=url)
        late = utc_now() + timedelta(seconds=2 * SHORT)
        first = threading.Thread(target=refused, args=(lambda: client.login.access(late),))
        first.start()
        while not peer.received:
            peer.over.wait(0.005)
        soon = utc_now() + timedelta(seconds=SHORT)
        assert refused(lambda: client.send("GET", Service.COMPUTE, "x", deadline=soon))[1] == "timeout"
        assert first.is_alive()
        first.join()


# ------------------------------------------------------------------------------------------- frozen processes


@dataclass
class Frozen:
    """The wall clock of a process that Lambda freezes for an hour; the monotonic clock may not show it."""

    now: datetime = field(default_factory=utc_now)

    def __call__(self) -> datetime:
        return self.now

    def thaw(self) -> None:
        self.now += timedelta(hours=1)


def test_a_call_frozen_in_a_look_up_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that resumes in a DNS lookup after the invocation may connect, but sends nothing."""
    clock, peer = Frozen(), Peer()
    look_up = socket.getaddrinfo

    def frozen(*arguments: Any, **named: Any) -> Any:
        clock.thaw()
        return look_up(*arguments, **named)

    with peer.listening() as url:
        access = access_to(url)
        monkeypatch.setattr(socket, "getaddrinfo", frozen)
        client = calls(clock)
        assert refused(lambda: client.send_once(access, "DELETE", Service.COMPUTE, "x"))[1] == "timeout"
        client.login.read = lambda _: credentials_of(API, auth_url=url)
        assert refused(lambda: client.login.access())[1] == "timeout"
    assert peer.received == []


def test_a_call_frozen_on_a_kept_connection_sends_nothing() -> None:
    """A thread that was frozen just before using a kept connection sends nothing."""
    readings = iter([0, 0, 0, 3600])
    start, peer = utc_now(), Peer()
    client = calls(lambda: start + timedelta(seconds=next(readings)))
    with peer.listening() as url:
        access = access_to(url)
        client.send_once(access, "GET", Service.COMPUTE, "first")
        assert refused(lambda: client.send_once(access, "DELETE", Service.COMPUTE, "second"))[1] == "timeout"
        client.http.close()
    assert [b"/second" in asked for asked in peer.received] == [False]


def test_the_limits_of_a_read_and_of_a_delete() -> None:
    """The limits of a read and of a DELETE include connecting."""
    site = Site(http=in_process)
    _, for_calls = sessions()
    waits = Pool(for_calls).waits
    client = Calls(Login(lambda _: credentials_of(site.api), in_process(site.api), site.clock), for_calls, site.clock)
    access = client.login.access()
    refused(lambda: client.send_once(access, "GET", Service.COMPUTE, "x"))
    refused(lambda: client.send_once(access, "DELETE", Service.COMPUTE, "x", seconds=LONGEST_DELETE))
    assert waits == [(CLOUD_CONNECT, CLOUD_ANSWER), (CLOUD_CONNECT, LONGEST_DELETE)]


# --------------------------------------------------------------------------------------------------- connecting


@pytest.mark.parametrize("listens", [True, False])
def test_each_address_of_a_name_is_tried(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address that answers is used; if none answers, the call fails to connect."""
    client, look_up = calls(), socket.getaddrinfo

    def found(host: str, *arguments: Any, **named: Any) -> Any:
        names = ["127.0.0.2", "127.0.0.1" if listens else "127.0.0.3"] if host == "cloud.test" else [host]
        return [entry for name in names for entry in look_up(name, *arguments, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with Peer().listening() as url:
        access = access_to(url.replace("127.0.0.1", "cloud.test"))
        if listens:
            assert client.send_once(access, "GET", Service.COMPUTE, "x", seconds=5).status == 200
        else:
            code = refused(lambda: client.send_once(access, "GET", Service.COMPUTE, "x", seconds=5))[1]
            assert code == "connection_failure"
        client.http.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for this machine, and a server's context with it."""
    return self_signed(tmp_path_factory.mktemp("certificate"))


def test_limits_apply_over_tls(certificate: tuple[Path, ssl.SSLContext]) -> None:
    """With TLS an answer is read, a slow one is cut off, and an unknown authority is reported."""
    ca, context = certificate
    client = calls()
    with Peer(tls=context).listening() as url, Peer(HEADERS, b" " * 400, context).listening() as trickling:
        known, slow = access_to(url, str(ca)), access_to(trickling, str(ca))
        assert client.send_once(known, "GET", Service.COMPUTE, "x").body == b"{}"
        for unknown in (access_to(url), access_to(url, "/no/such/file.pem")):
            with pytest.raises(NoAnswer, match="OS_CACERT") as raised:
                client.send_once(unknown, "GET", Service.COMPUTE, "x")
            assert (raised.value.classified.kind, raised.value.classified.code) == (
                AnswerClass.PERMANENT,
                "tls_failure",
            )
        assert refused(lambda: client.send_once(slow, "GET", Service.COMPUTE, "x", seconds=SHORT))[1] == "timeout"
        client.http.close()


def test_a_call_frozen_in_tls_sends_nothing(certificate: tuple[Path, ssl.SSLContext]) -> None:
    """If the invocation ends during the handshake, not a byte of the request is sent."""
    ca, context = certificate
    clock, peer = Frozen(), Peer(tls=context)
    context.set_servername_callback(lambda *_: clock.thaw())
    with peer.listening() as url:
        access, client = access_to(url, str(ca)), calls(clock)
        assert refused(lambda: client.send_once(access, "DELETE", Service.COMPUTE, "x"))[1] == "timeout"
        assert clock() > utc_now()
    assert peer.received == []


def test_credentials_may_contain_certificates(certificate: tuple[Path, ssl.SSLContext]) -> None:
    """Certificates can be given as text, since a function has no files; other authorities are refused."""
    ca, context = certificate
    login = {"auth_url": "https://x/v3", "username": "u", "password": "p", "project_id": "0" * 32}
    with Peer(tls=context).listening() as url:
        known = load(CloudCredentials, {**login, "cacert": ca.read_text()})
        assert calls().send_once(access_to(url, known.verify), "GET", Service.COMPUTE, "x").body == b"{}"
        others = load(CloudCredentials, {**login, "cacert": Path(certifi.where()).read_text()})
        with pytest.raises(NoAnswer) as raised:
            calls().send_once(access_to(url, others.verify), "GET", Service.COMPUTE, "x")
        assert raised.value.classified.code == "tls_failure"


def test_broken_certificates_are_reported_when_they_are_read(certificate: tuple[Path, ssl.SSLContext]) -> None:
    """A truncated certificate, or one without its line ends, is refused without showing the text."""
    text = certificate[0].read_text()
    login = {"auth_url": "https://x/v3", "username": "u", "password": "p", "project_id": "0" * 32}
    for broken in (text[: len(text) // 2], text.replace("\n", "\\n"), text.replace("M", "-", 3)):
        with pytest.raises(SettingsError, match=r"cacert: must be certificates in PEM") as raised:
            load(CloudCredentials, {**login, "cacert": broken})
        assert broken[30:60] not in str(raised.value)


def test_a_bundle_may_have_comments_in_any_characters(certificate: tuple[Path, ssl.SSLContext]) -> None:
    """Comments may have non-ASCII characters, as in the public bundle; a certificate may not."""
    ca, context = certificate
    text = f"# Behörde für Zertifikate\n{ca.read_text()}"
    login = {"auth_url": "https://x/v3", "username": "u", "password": "p", "project_id": "0" * 32}
    known = load(CloudCredentials, {**login, "cacert": text})
    with Peer(tls=context).listening() as url:
        assert calls().send_once(access_to(url, known.verify), "GET", Service.COMPUTE, "x").body == b"{}"
    for broken in (text.replace("\nM", "\nM\u00a0"), f"\ufeff{ca.read_text()}"):
        with pytest.raises(SettingsError, match=r"cacert: must be certificates in PEM"):
            load(CloudCredentials, {**login, "cacert": broken})


@pytest.mark.parametrize("text", ["/no/such/ca.pem", "-----BEGIN PRIVATE KEY-----\nMIIB\n", "x" * 5000])
def test_invalid_certificates_in_a_secret_are_reported(text: str) -> None:
    """The text is refused when it is read. Otherwise requests would report it, and every verdict would show it."""
    held = {"auth_url": "https://x/v3", "username": "u", "password": "p", "project_id": "0" * 32, "cacert": text}

    class Held(Secrets):
        def read(self, secret_id: str, kept_seconds: float = 0, stage: str = "") -> Any:
            return held

    with pytest.raises(SettingsError, match=r"the secret s: cacert: must be certificates in PEM") as raised:
        CloudSecret(Held(AwsClient({})), "s")(300)
    assert text not in str(raised.value)
