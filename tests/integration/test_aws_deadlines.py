"""Calls to AWS or a sink that does not answer end in time: real sockets, short limits."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from local.aws_stand_in import CREDENTIALS
from shared.aws.client import SQS, AwsClient
from shared.aws.errors import NoAnswer
from shared.aws.event_bus import EventBus
from shared.aws.secrets import Secrets
from shared.aws.sqs import SqsQueue
from shared.aws.task_tokens import TaskTokens
from shared.decision.case import Requeue, Step, detached
from shared.model import Detail, Outcome
from shared.outbox.consumers import Consumers
from shared.outbox.events import EventFactory
from shared.outbox.http_sink import HttpSink
from shared.outbox.outbox import Outbox, Outlets
from shared.policy import (
    AWS_PATIENCE,
    LONGEST_OFFER,
    OUTLIVE,
    SECRET_AWAY,
    SECRET_KEPT,
    SECRET_KEPT_AT_MOST,
    SECRET_NEWEST,
    SECRET_PATIENCE,
    SHORTEST_LOOK,
    SPARE,
    TIME_TO_SEND,
)
from shared.ports import AwsTrouble, Event, K, NotTaken, QueueMessage, Unsent, utc_now
from shared.signatures import SinkKeys
from tests.contract.test_template import timeout_of
from tests.integration.test_call_limits import LATE, SHORT, TRICKLES, Peer
from tests.messages import MESSAGE_KEYS, START
from tests.scripted import Reply, Script, client_of, reply
from tests.stack import Clock, VirtualQueue
from tests.unit.test_outbox import CASE, message

SILENT = {"silent": (b"", b"")} | TRICKLES
EVENT = Event("1", "t", "/s", None, "", "{}", Outcome.DETACHED, task_token="token")


@pytest.fixture(params=SILENT)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that never finishes its answer."""
    with Peer(*SILENT[request.param]).listening() as url:
        yield url


def client(url: str) -> AwsClient:
    return AwsClient({**CREDENTIALS, "AWS_ENDPOINT_URL": url})


def soon() -> datetime:
    return utc_now() + timedelta(seconds=SHORT)


def in_time(call: Callable[[], object]) -> None:
    began = time.monotonic()
    call()
    assert time.monotonic() - began < LATE


def test_a_call_ends_at_its_deadline(url: str) -> None:
    """It ends whichever part of the answer is missing or arrives byte by byte."""

    def call() -> None:
        with pytest.raises(NoAnswer, match="no answer"):
            client(url).call(SQS, "A", {}, soon())

    in_time(call)


def test_all_calls_share_one_deadline(url: str) -> None:
    """The four calls for forty messages, or forty events, share one deadline."""
    many = {number: QueueMessage("x") for number in range(40)}
    unsent: list[int] = []
    in_time(lambda: unsent.extend(SqsQueue(client(url), "q").send(many, soon())))
    in_time(lambda: unsent.extend(EventBus(client(url), "b").emit(dict.fromkeys(range(40), EVENT), soon())))
    assert unsent == [*range(40), *range(40)]


def test_a_task_answer_ends_at_its_deadline(url: str) -> None:
    """A task answer that does not arrive in time is sent again later."""
    in_time(lambda: _again(TaskTokens(client(url)).deliver(EVENT, soon())))


@pytest.mark.parametrize("trickle", SILENT)
def test_a_sink_delivery_ends_at_its_deadline(trickle: str) -> None:
    """Without complete headers the event is offered again; a body that does not end is ignored."""
    keys = SinkKeys.parse({"secrets": ["whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]})
    body = '{"id": "1", "datacontenttype": "application/json", "data": {}}'
    event = Event("1", "t", "/s", None, "", body, Outcome.DETACHED)
    with Peer(*SILENT[trickle]).listening() as url:
        sink, answers = HttpSink(url, lambda: keys, utc_now), list[NotTaken | None]()
        in_time(lambda: answers.append(sink.deliver(event, soon())))
    sink.threads.shutdown()
    assert [bool(answer and answer.again) for answer in answers] == [trickle not in ("body", "chunks")]


def _again(answer: NotTaken | None) -> None:
    assert answer is not None
    assert answer.again


def test_a_task_answer_is_sent_once_per_delivery(script: Script) -> None:
    """A failed answer waits in the queue, so that retries do not delay other messages."""
    script.then(Reply(500))
    _again(TaskTokens(client_of(script)).deliver(EVENT))
    assert len(script.asked) == 1


def test_nothing_is_sent_after_the_deadline(script: Script) -> None:
    """After the deadline not even a first attempt is made."""
    past = utc_now() - timedelta(seconds=1)
    assert list(SqsQueue(client_of(script), "q").send({0: QueueMessage("x")}, past)) == [0]
    assert list(EventBus(client_of(script), "b").emit({0: EVENT}, past)) == [0]
    assert script.asked == []


def test_an_attempt_that_hangs_leaves_time_for_another() -> None:
    """A connection that died while the process was frozen is the usual cause, and a new one works."""
    threads = ThreadPoolExecutor(2)
    asked: list[float] = []

    class Once(HTTPAdapter):
        def send(self, *_: Any, timeout: Any = None, **__: Any) -> requests.Response:
            asked.append(timeout[1])
            if len(asked) == 1:
                raise requests.ReadTimeout
            answer = requests.Response()
            answer.status_code, answer._content = 200, b'{"a": 1}'
            return answer

    http = requests.Session()
    http.mount("https://", Once())
    patient = AwsClient(CREDENTIALS, http=http, sleep=lambda _: None, threads=threads)
    assert patient.call(SQS, "A", {}) == {"a": 1}
    assert asked[0] <= AWS_PATIENCE / 2
    threads.shutdown()


@pytest.mark.parametrize("answer", [Reply(200, b"<html>"), Reply(200, b"[1]"), Reply(200, b'"x"'), Reply(200, b"\xff")])
def test_an_answer_that_is_not_an_object_is_an_error(script: Script, answer: Reply) -> None:
    """It may come from a proxy: the call is retried, and never counts as a success."""
    script.then(answer)
    _again(TaskTokens(client_of(script)).deliver(EVENT))
    with pytest.raises(NoAnswer, match="no JSON object"):
        client_of(script).call(SQS, "A", {})
    assert len(script.asked) == 1 + 4


@pytest.mark.parametrize(
    "answer",
    [{"Entries": [{"EventId": "1"}] * 3}, {"Entries": [None]}, {"Entries": "x"}, {"Entries": 1}, {"Entries": {"a": 1}},
     {"Successful": "x"}, {"Successful": [1], "Failed": [2]}, {"Failed": 5}],
)  # fmt: skip
def test_a_malformed_answer_accepts_nothing(script: Script, answer: object) -> None:
    """A malformed answer fails the sent entries, and not the batch."""
    script.then(reply(answer))
    events = EventBus(client_of(script), "b").emit({0: EVENT, 1: EVENT})
    assert list(SqsQueue(client_of(script), "q").send({0: QueueMessage("x")})) == [0]
    assert list(events) == [0, 1]


# ------------------------------------------------------------------------------------------------ the time to send


@dataclass
class Hanging:
    """A bus and a queue that use all of the time until their deadline."""

    clock: Clock
    given: list[float] = field(default_factory=list)

    def wait(self, until: datetime | None) -> None:
        assert until
        self.given.append((until - self.clock()).total_seconds())
        seconds = min(self.given[-1], AWS_PATIENCE)
        self.clock.sleep(max(seconds, 0))

    def emit(self, events: Mapping[K, Event], until: datetime | None = None) -> Mapping[K, Unsent]:
        self.wait(until)
        return dict.fromkeys(events, Unsent("no answer"))

    def send(self, messages: Mapping[K, QueueMessage], until: datetime | None = None) -> Mapping[K, Unsent]:
        self.wait(until)
        return dict.fromkeys(messages, Unsent("no answer"))


@pytest.mark.parametrize("late", [OUTLIVE, 0, -5, -14, -50])
@pytest.mark.parametrize("hanging", ["bus", "queue", "both"])
def test_sending_ends_within_the_time_to_send(late: float, hanging: str) -> None:
    """Whenever the visits end, even after the deadline, sending ends a second before Lambda's limit."""
    clock = Clock()
    deadline = clock() - timedelta(seconds=late)
    both, taken = Hanging(clock), VirtualQueue(clock)

    class Bus:
        def emit(self, events: Mapping[K, Event], until: datetime | None = None) -> Mapping[K, Unsent]:
            return both.emit(events, until) if hanging != "queue" else {}

    class Slow:
        def wants(self, _: Event, /) -> bool:
            return True

        def deliver(self, _: Event, until: datetime | None = None) -> NotTaken | None:
            assert until
            clock.now = until
            return NotTaken("no answer", again=True)

    queue = taken if hanging == "bus" else both
    consumers = Consumers({"sink": Slow()})
    outbox = Outbox(Outlets(Bus(), queue, MESSAGE_KEYS, EventFactory(), clock, consumers), deadline)
    outbox.take(Step(CASE, detached(Detail.DETACHED_NOW)))
    outbox.take(Step(CASE, Requeue(5, "accepted")))
    outbox.post(message(id="m-2"), EVENT)
    outbox.send()
    assert clock() <= deadline + timedelta(seconds=TIME_TO_SEND - SPARE)
    assert all(given > 1 for given in both.given)


def test_the_limits_fit_into_one_another() -> None:
    """A look has time to read its secret, the webhook to answer 503, and an offer to end before Lambda's limits."""
    assert SECRET_PATIENCE <= SHORTEST_LOOK
    assert 2 * SECRET_PATIENCE + AWS_PATIENCE < timeout_of("ReceiveWebhookFunction") - 5
    assert LONGEST_OFFER < timeout_of("DetachVolumeFunction") - TIME_TO_SEND
    assert OUTLIVE + SPARE < TIME_TO_SEND


# --------------------------------------------------------------------------------------- Secrets Manager is away


@dataclass
class Seconds:
    now: float = 0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("away", [Reply(500), Reply(503), Reply(429), reply({"__type": "ThrottlingException"}, 400),
                                  Reply(200, b"<html>"), Reply(reset=True)])  # fmt: skip
def test_a_secret_stays_valid_while_aws_does_not_answer(script: Script, away: Reply) -> None:
    """A cached secret is used for some hours, and not every use tries to read it again."""
    script.then(reply({"SecretString": '{"a": 1}'}), away)
    clock = Seconds()
    secrets = Secrets(client_of(script), clock)
    assert secrets.read("s") == {"a": 1}
    clock.now = SECRET_KEPT
    assert [secrets.read("s") for _ in range(5)] == [{"a": 1}] * 5
    assert len(script.asked) == 1 + 4
    clock.now += SECRET_AWAY
    assert secrets.read("s") == {"a": 1}
    assert len(script.asked) == 1 + 8
    with pytest.raises(AwsTrouble):
        secrets.read("s", SECRET_NEWEST)
    clock.now = SECRET_KEPT_AT_MOST
    with pytest.raises(AwsTrouble):
        secrets.read("s")


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException", "DecryptionFailure"])
def test_a_refused_secret_is_no_longer_used(script: Script, code: str) -> None:
    """A refusal by AWS means that the secret was deleted or access was removed, so the cache is not used."""
    script.then(reply({"SecretString": "{}"}), reply({"__type": code}, 400))
    clock = Seconds()
    secrets = Secrets(client_of(script), clock)
    secrets.read("s")
    clock.now = SECRET_KEPT
    for _ in range(2):
        with pytest.raises(AwsTrouble, match=code):
            secrets.read("s")
    assert len(script.asked) == 3


def test_the_bundle_of_aws_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """`AWS_CA_BUNDLE` takes precedence over `REQUESTS_CA_BUNDLE`, as in AWS's own library."""
    seen: list[object] = []

    class Recording(HTTPAdapter):
        def send(self, *_: Any, **options: Any) -> requests.Response:
            seen.append(options["verify"])
            raise requests.ConnectionError

    http = requests.Session()
    http.mount("https://", Recording())

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/theirs.pem")
    for more, expected in (({"AWS_CA_BUNDLE": "/ours.pem"}, "/ours.pem"), ({}, "/theirs.pem")):
        with pytest.raises(NoAnswer):
            AwsClient({**CREDENTIALS, **more}, http=http, sleep=lambda _: None).call(SQS, "A", {})
        assert set(seen) == {expected}
        seen.clear()


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "BandwidthLimitExceeded", "PriorRequestNotComplete"])
def test_errors_that_aws_own_library_retries_are_retried(script: Script, code: str) -> None:
    """Such an error is retried, four attempts in all."""
    script.then(reply({"__type": code}, 400))
    with pytest.raises(AwsTrouble, match=code):
        client_of(script).call(SQS, "A", {})
    assert len(script.asked) == 4


@pytest.mark.parametrize("code", ["ExpiredTokenException", "RequestExpired", "InvalidSignatureException"])
def test_stale_credentials_are_read_once_more(script: Script, code: str) -> None:
    """Lambda renews credentials while the process runs. A second refusal is reported."""
    script.then(reply({"__type": code}, 403), reply({"ok": 1}))
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": script.url}
    renewing = AwsClient(environment, sleep=lambda _: environment.update(AWS_ACCESS_KEY_ID="renewed"))
    assert renewing.call(SQS, "A", {}) == {"ok": 1}
    assert "renewed" in script.asked[1].headers["authorization"]
    script.replies[:] = [reply({"__type": code}, 403)]
    with pytest.raises(AwsTrouble, match=code):
        client_of(script).call(SQS, "A", {})
    assert len(script.asked) == 2 + 2


def test_deadlines_use_the_clients_clock() -> None:
    """A deadline is compared with the clock that was passed to the client."""
    early = AwsClient(CREDENTIALS, http=requests.Session(), clock=lambda: START)
    with pytest.raises(AwsTrouble, match="no time is left"):
        early.call(SQS, "A", {}, START)
