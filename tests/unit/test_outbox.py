"""A verdict reaches every consumer at its own pace, and no consumer delays the bus."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import pytest

from shared.decision.case import Broken, Case, NotLookedAt, Requeue, Step, detached
from shared.decision.progress import Progress
from shared.decision.requeue import pause
from shared.inbox.read import Rejected, read
from shared.model import UNNAMED_PROJECT, DetachRequest, Detail, Fault, Message, Origin, Outcome
from shared.outbox.consumers import Consumers
from shared.outbox.events import EventFactory
from shared.outbox.observer import Attempt, Observer
from shared.outbox.outbox import Outbox, Outlets
from shared.own_messages import WaitingDelivery
from shared.policy import (
    BUS_SHARE,
    CONTINUATIONS_SHARE,
    EMIT_AGAIN,
    FAILURES,
    LONGEST_DELAY,
    LONGEST_OFFER,
    OFFER_AGAIN,
    PATIENCE,
    SPARE,
    TIME_TO_SEND,
)
from shared.ports import AwsTrouble, Event, K, NotTaken, QueueMessage, Unsent
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, START, continuation, ours
from tests.stack import Clock, VirtualBus, VirtualQueue

LATER = NotTaken("HTTP 503", again=True)
NEVER = NotTaken("HTTP 404", again=False)


def event(id: str = "e-1") -> Event:
    body = json.dumps({"id": id, "source": "/s", "type": "t", "data": {"ä": "\u2028\"'"}}, ensure_ascii=False)
    return Event(id, "t", "/s", None, START.isoformat(), body, Outcome.DETACHED, task_token="token")


@dataclass
class Listener:
    """A consumer with a script of answers, of which the last repeats."""

    answers: list[NotTaken | None] = field(default_factory=lambda: [None])
    wanted: Callable[[Event], bool] = lambda event: True
    pause: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)
    taken: list[Event] = field(default_factory=list)
    deadlines: list[datetime | None] = field(default_factory=list)

    def wants(self, event: Event, /) -> bool:
        return self.wanted(event)

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        self.pause()
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(event.id)
        self.deadlines.append(deadline)
        if answer is None:
            self.taken.append(event)
        return answer


@dataclass
class Attempts(Observer):
    """Records every delivery, every step, and every returned message."""

    made: list[Attempt] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    given_back: list[tuple[str, str, BaseException | None]] = field(default_factory=list)

    def attempt(self, attempt: Attempt) -> None:
        self.made.append(attempt)

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def returned(self, message_id: str, why: str, error: BaseException | None) -> None:
        self.given_back.append((message_id, why, error))


class Post:
    """An outbox with a bus, two consumers, a queue, and a virtual clock."""

    def __init__(self, ttl: timedelta = timedelta(hours=24)) -> None:
        self.clock = Clock()
        self.bus, self.queue = VirtualBus(), VirtualQueue(self.clock)
        self.sink, self.task = Listener(), Listener()
        self.observer = Attempts()
        consumers = Consumers({"sink": self.sink, "task": self.task}, ttl)
        observers = (self.observer,)
        self.outlets = Outlets(self.bus, self.queue, MESSAGE_KEYS, EventFactory(), self.clock, consumers, observers)

    @property
    def attempts(self) -> list[Attempt]:
        return self.observer.made

    def emit(self, *events: Event, deadline: datetime | None = None) -> list[str]:
        """One batch, a message for each event; returns the messages that return to the queue."""
        outbox = Outbox(self.outlets, deadline)
        for number, one in enumerate(events):
            outbox.post(message(id=f"m-{number}"), one)
        return list(outbox.send().unsent)

    def take(self, *decisions: Any, case: Case | None = None) -> list[str]:
        """One batch, a message for each decision; returns the messages that return to the queue."""
        outbox = Outbox(self.outlets)
        for number, decision in enumerate(decisions):
            outbox.take(Step(replace(case or CASE, message=message(id=f"m-{number}")), decision))
        return list(outbox.send().unsent)

    def resume_next(self) -> None:
        """Deliver again what the queue delivers next."""
        self.clock.now = max(self.clock.now, self.queue.next_visible() or self.clock.now)
        outbox = Outbox(self.outlets)
        for queued in self.queue.receive(10):
            found = read(queued.received(), "bms", self.clock(), MESSAGE_KEYS)
            assert isinstance(found, WaitingDelivery)
            outbox.offer_again(queued.received(), found)
            self.queue.acknowledge(queued)
        assert {} == outbox.send().unsent


def message(body: str = "", id: str = "m-1") -> Message:
    return Message(body, id, QUEUE_ARN, START)


REQUEST = DetachRequest(
    id="4711",
    source="/changes",
    requested_at=START,
    server_id="95bf2490-5428-432c-ad9b-5e3406f869dd",
    volume_id="b53f23bd-ee8f-49ec-9420-d1acfeaf91d6",
)
CASE = Case(REQUEST, message(), Progress(first_seen_at=START, attempt=3, redelivered_since=START))
DONE = detached(Detail.DETACHED_NOW)


def continued(post: Post) -> list[Case]:
    """The cases in the queue, as the next delivery reads them."""
    found = [read(message(sent.body), "bms", START, MESSAGE_KEYS) for sent in post.queue.sent]
    return [case for cases in found if isinstance(cases, list) for case in cases]


def test_a_case_continues_while_its_event_waits_for_the_bus() -> None:
    """The continuation is sent, the event waits in the queue, and every message is done."""
    post = Post()
    post.bus.refuse = lambda event: event.outcome is Outcome.UNCONFIRMED
    assert [] == post.take(DONE, Requeue(60, "detaching", announce_unconfirmed=True), Requeue(5, "busy"))
    assert 1 == len(post.bus.events)
    assert [60, 5] == [case.delay for case in post.queue.sent if "continuation" in json.loads(case.body)]
    (kept,) = kept_for("bus", post)
    waits = json.loads(kept.body)["event"]
    assert (waits["outcome"], json.loads(waits["body"])["data"]["explanation"]) == ("unconfirmed", "detaching")


def test_a_continuation_is_sent_before_a_slow_consumer_is_asked() -> None:
    """Even if a consumer is slow with another verdict, a case with a sent DELETE is saved first."""
    post = Post()
    sent: list[int] = []
    post.sink.pause = lambda: sent.append(len(post.queue.sent))
    assert [] == post.take(DONE, Requeue(5, "accepted"))
    assert [1] == sent


def test_messages_of_a_batch_fail_apart() -> None:
    """Only the message of a continuation that the queue refuses, or of a failed case, returns."""
    post = Post()
    post.queue.refuse = lambda message: message.delay == 7
    assert ["m-2", "m-1"] == post.take(Requeue(5, "busy"), Requeue(7, "busy"), Broken(ZeroDivisionError("a bug")), DONE)
    assert (1, 1) == (len(post.bus.events), len(post.queue.sent))


def test_a_continuation_holds_what_is_known_and_no_more() -> None:
    """With the names that every release reads, and a MAC."""
    post = Post()
    so_far = replace(CASE.progress, receipt="req-1", deletes_sent=1)
    assert [] == post.take(Requeue(5, "accepted"), case=replace(CASE, progress=so_far))
    (sent,) = post.queue.sent
    told = json.loads(sent.body)
    assert sent.body == continuation(REQUEST, so_far)
    assert told["request"].keys() == {"id", "source", "requested_at", "server_id", "volume_id"}
    assert told["progress"] == {"first_seen_at": "2026-11-23T08:00:00Z", "attempt": 3, "deletes_sent": 1,
        "delete_request_id": "req-1", "redelivered_since": "2026-11-23T08:00:00Z"}  # fmt: skip


@pytest.mark.parametrize("project", [None, "1" * 32])
def test_a_continuation_is_one_of_its_project(project: str | None) -> None:
    """So the queue can prevent one project from delaying others; requests without a project form a group too."""
    post = Post()
    post.take(Requeue(5, "busy"), case=replace(CASE, request=replace(REQUEST, project_id=project)))
    assert [message.project for message in post.queue.sent] == [project or UNNAMED_PROJECT]


def test_cases_without_a_look_are_requeued_unchanged() -> None:
    """Nothing is counted or lost, and its message is done."""
    post = Post()
    assert [] == post.take(NotLookedAt())
    (again,) = continued(post)
    assert (CASE.request, CASE.progress) == (again.request, again.progress)


def test_everybody_gets_the_event() -> None:
    """The bus and every consumer have it, and nothing waits."""
    post = Post()
    assert [] == post.emit(event())
    assert (["e-1"], ["e-1"], ["e-1"]) == ([e["id"] for e in post.bus.events], post.sink.asked, post.task.asked)
    assert [] == post.queue.sent


def test_events_that_the_bus_refuses_go_to_no_consumer() -> None:
    """The bus comes first: the event waits for it in the queue, and no consumer gets it before."""
    post = Post()
    post.bus.refuse = lambda event: event.id == "e-1"
    assert [] == post.emit(event("e-1"), event("e-2"))
    assert (["e-2"], ["e-2"]) == (post.sink.asked, post.task.asked)
    post.bus.refuse = lambda event: False
    post.resume_next()
    assert (["e-2", "e-1"], ["e-2", "e-1"]) == ([e["id"] for e in post.bus.events], post.sink.asked)
    assert 0 == len(post.queue)


def test_the_bus_is_retried_until_it_accepts_the_event() -> None:
    """For two days, far beyond the consumers' time to live, with growing pauses; each refusal is logged."""
    post = Post(ttl=timedelta(hours=1))
    post.bus.refuse = lambda event: post.clock() < START + timedelta(days=2)
    post.emit(event())
    while len(post.queue):
        post.resume_next()
    assert ([event()], ["e-1"]) == (post.sink.taken, [e["id"] for e in post.bus.events])
    assert timedelta(0) <= post.clock() - START - timedelta(days=2) <= timedelta(seconds=EMIT_AGAIN.cap)
    told = [attempt for attempt in post.attempts if attempt.to == "bus"]
    assert [*range(1, len(told) + 1)] == [attempt.number for attempt in told]
    assert all(attempt.refusal and attempt.again_in for attempt in told[:-1])


def test_messages_return_if_neither_bus_nor_queue_accepts_the_event() -> None:
    """Only then is the message redelivered."""
    post = Post()
    post.bus.refuse = lambda event: event.id != "e-2"
    post.queue.refuse = lambda message: json.loads(message.body)["event"]["id"] == "e-1"
    assert ["m-0"] == post.emit(event("e-1"), event("e-2"), event("e-3"))


def test_a_consumer_gets_only_what_it_wants() -> None:
    """A consumer is called only for the events it wants."""
    post = Post()
    post.task.wanted = lambda event: event.id == "e-2"
    post.emit(event("e-1"), event("e-2"))
    assert (["e-1", "e-2"], ["e-2"]) == (post.sink.asked, post.task.asked)


def test_a_temporary_refusal_is_kept_and_retried() -> None:
    """The event waits in the queue for this consumer; bus and other consumers are not called again."""
    post = Post()
    post.sink.answers = [LATER, LATER, None]
    assert [] == post.emit(event())
    while len(post.queue):
        post.resume_next()
    assert [event()] == post.sink.taken
    assert (3, 1, 1) == (len(post.sink.asked), len(post.task.asked), len(post.bus.events))


def test_pauses_grow() -> None:
    """Each refusal at least doubles the pause, up to SQS's maximum."""
    post = Post()
    post.sink.answers = [LATER]
    post.emit(event())
    for _ in range(8):
        post.resume_next()
    delays = [message.delay for message in post.queue.sent]
    assert delays[0] <= 5
    assert all(later >= 1.9 * earlier for earlier, later in pairwise(delays[:5]))
    assert all(600 <= delay <= LONGEST_DELAY for delay in delays[6:])


@pytest.mark.parametrize("seconds", [120, 3000])
def test_the_consumer_says_when(seconds: int) -> None:
    """A Retry-After is honoured, even beyond SQS's longest delay."""
    post = Post()
    post.sink.answers = [NotTaken("HTTP 429", again=True, retry_after=seconds), None]
    post.emit(event())
    while len(post.queue):
        post.resume_next()
    assert 2 == len(post.sink.asked)
    assert seconds == (post.clock() - START).total_seconds()


def test_a_permanent_refusal_is_reported_once() -> None:
    """No message is kept, and the observer is notified."""
    post = Post()
    post.sink.answers = [NEVER]
    assert [] == post.emit(event())
    assert [] == post.queue.sent
    (told,) = [attempt for attempt in post.attempts if attempt.refusal]
    assert (told.to, told.refusal, told.again_in) == ("sink", NEVER, None)


def test_deliveries_end_after_their_time_to_live() -> None:
    """After its time to live an event is tried once more and then given up, which is logged."""
    post = Post(ttl=timedelta(minutes=10))
    post.sink.answers = [LATER]
    post.emit(event())
    while len(post.queue):
        post.resume_next()
    assert timedelta(minutes=10) == post.clock() - START
    assert (LATER, None) == (post.attempts[-1].refusal, post.attempts[-1].again_in)


def kept_for(name: str, post: Post) -> list[QueueMessage]:
    return [message for message in post.queue.sent if json.loads(message.body).get("to") == name]


def test_an_unreachable_consumer_is_called_once_in_a_batch() -> None:
    """Twenty events for a dead endpoint cost one attempt, and all of them wait."""
    post = Post()
    post.sink.answers = [LATER]
    assert [] == post.emit(*(event(f"e-{number}") for number in range(20)))
    assert (1, 20) == (len(post.sink.asked), len(post.queue.sent))
    assert 20 == len(post.task.asked)


def test_a_slow_consumer_has_no_more_than_its_time() -> None:
    """A batch ends although every answer takes seconds; undelivered events wait."""
    post = Post()
    post.sink.pause = lambda: post.clock.sleep(4)
    assert [] == post.emit(*(event(f"e-{number}") for number in range(20)))
    asked = len(post.sink.asked)
    assert post.clock() - START <= timedelta(seconds=PATIENCE + 4)
    assert 20 - asked == len(kept_for("sink", post))


def test_no_consumer_is_asked_whose_answer_could_come_too_late() -> None:
    """With any number of rounds an invocation ends in time; the rest waits."""
    post = Post()
    post.sink.pause = lambda: post.clock.sleep(10)
    ends = START + timedelta(seconds=25)
    for number in range(5):
        assert [] == post.emit(event(f"e-{number}"), deadline=ends)
    assert post.clock() <= ends
    assert (2, 3) == (len(post.sink.asked), len(kept_for("sink", post)))


def test_a_delivery_that_cannot_be_kept_fails_its_own_record() -> None:
    """The record returns to the queue only if the waiting message cannot be sent."""
    post = Post()
    post.sink.answers = [LATER]
    post.queue.refuse = lambda message: json.loads(message.body)["event"]["id"] == "e-2"
    assert ["m-1"] == post.emit(event("e-1"), event("e-2"))


def test_a_consumer_that_is_no_longer_configured() -> None:
    """Its waiting deliveries end, and the observer is notified."""
    post = Post()
    outbox = Outbox(post.outlets)
    outbox.offer_again(message(), WaitingDelivery(to="fax", event=event(), since=START))
    assert {} == outbox.send().unsent
    assert ([], "fax") == (post.queue.sent, post.attempts[-1].to)


def test_a_waiting_delivery_comes_back_whole() -> None:
    """The event survives the queue byte for byte, with its task token."""
    waiting = WaitingDelivery(to="sink", event=event(), since=START, attempt=3)
    assert waiting == read(message(ours(waiting.model_dump(mode="json"))), "bms", START, MESSAGE_KEYS)


def test_a_broken_waiting_delivery_is_recognised_as_ours() -> None:
    """It is no request and gets no verdict."""
    found = read(message(ours({"pending_delivery": 2, "event": {}})), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    assert "pending_delivery" == found.own


# ---------------------------------------------------------------------------------------- what is told and kept

LIFE = timedelta(hours=24)


def offered(post: Post, waiting: WaitingDelivery, deadline: datetime | None = None) -> list[tuple[Any, int]]:
    """Deliver a waiting event; returns what is kept of it, and the delay."""
    outbox = Outbox(post.outlets, deadline)
    outbox.offer_again(message(), waiting)
    assert {} == outbox.send().unsent
    return [(json.loads(kept.body), kept.delay) for kept in post.queue.sent]


def to_sink(**changes: Any) -> WaitingDelivery:
    return WaitingDelivery(**{"to": "sink", "event": event(), "since": START, **changes})


def kept(waiting: WaitingDelivery) -> Any:
    return json.loads(ours(waiting.model_dump(mode="json")))


FIRST, SECOND = (pause(OFFER_AGAIN, attempt, "sink e-1") for attempt in (0, 1))


@pytest.mark.parametrize(
    ("answer", "waiting", "again_in", "later"),
    [
        pytest.param(LATER, to_sink(), FIRST, to_sink(attempt=1), id="later"),
        pytest.param(LATER, to_sink(attempt=1), SECOND, to_sink(attempt=2), id="later, for the second time"),
        pytest.param(NotTaken("busy", again=True, retry_after=900), to_sink(), 900, to_sink(attempt=1),
            id="in a quarter of an hour"),
        pytest.param(NotTaken("busy", again=True, retry_after=901.5), to_sink(), 902,
            to_sink(attempt=1, not_before=START + timedelta(seconds=902)), id="later than a queue can hold it back"),
        pytest.param(NotTaken("busy", again=True, retry_after=1), to_sink(), FIRST, to_sink(attempt=1),
            id="sooner than we like"),
        pytest.param(LATER, to_sink(since=START - LIFE + timedelta(seconds=0.5)), 1,
            to_sink(since=START - LIFE + timedelta(seconds=0.5), attempt=1), id="half a second before its end"),
        pytest.param(LATER, to_sink(since=START - LIFE), None, None, id="at its end"),
        pytest.param(NEVER, to_sink(attempt=4), None, None, id="never"),
        pytest.param(None, to_sink(attempt=4), None, None, id="taken"),
    ],
)  # fmt: skip
def test_each_answer_is_logged_and_the_next_attempt_is_kept(
    answer: NotTaken | None, waiting: WaitingDelivery, again_in: int | None, later: WaitingDelivery | None
) -> None:
    """The log and the waiting message have the number of attempts, the answer, and the time of the next attempt."""
    post = Post()
    post.sink.answers = [answer]
    found = offered(post, waiting)
    assert post.attempts == [Attempt("sink", event(), waiting.attempt + 1, answer, again_in)]
    assert found == ([(kept(later), min(900, again_in or 0))] if later else [])


def test_an_early_delivery_is_delayed_again() -> None:
    """Unchanged, without a call."""
    post = Post()
    early = to_sink(attempt=3, not_before=START + timedelta(seconds=60.5))
    assert offered(post, early) == [(kept(early), 61)]
    assert (post.sink.asked, post.attempts) == ([], [])
    assert offered(Post(), to_sink(not_before=START)) == []


def test_a_consumer_has_its_time_and_no_more() -> None:
    """The limit of one answer, or the rest of the invocation."""
    post, longest = Post(), timedelta(seconds=LONGEST_OFFER)
    offered(post, to_sink())
    offered(post, to_sink(), START + longest + timedelta(seconds=1))
    assert post.sink.deadlines == [START + longest, START + longest]


def test_no_consumer_is_called_whose_answer_might_be_late() -> None:
    """The event waits, and the log says why."""
    post = Post()
    offered(post, to_sink(), START + timedelta(seconds=LONGEST_OFFER))
    why = NotTaken("not asked: this batch has no time left for slow consumers", again=True)
    assert (post.sink.asked, post.attempts) == ([], [Attempt("sink", event(), 1, why, FIRST)])


def test_a_consumer_that_is_gone_is_named() -> None:
    """The log names the consumer that the verdict did not reach."""
    post = Post()
    assert [] == offered(post, to_sink(to="fax"))
    why = NotTaken("no consumer of that name is configured", again=False)
    assert post.attempts == [Attempt("fax", event(), 1, why)]


def test_each_refusal_of_the_bus_is_logged_and_kept() -> None:
    """With its own words; the waiting message has the number of attempts."""
    post = Post()
    post.bus.refuse = lambda event: True
    assert [] == post.emit(event())
    seconds = pause(EMIT_AGAIN, 0, "bus e-1")
    assert post.attempts == [Attempt("bus", event(), 1, NotTaken("InternalFailure", again=True), seconds)]
    later = kept(to_sink(to="bus", attempt=1))
    assert [(json.loads(kept.body), kept.delay) for kept in post.queue.sent] == [(later, seconds)]
    post.bus.refuse = lambda event: False
    post.resume_next()
    assert post.attempts[1:] == [Attempt("bus", event(), 2), Attempt("sink", event()), Attempt("task", event())]


# -------------------------------------------------------------------------------------------- what is given back


NAMED = f"request /changes 4711, servers/{REQUEST.server_id}/volumes/{REQUEST.volume_id}"


def test_the_log_says_why_a_message_returns() -> None:
    """With the request's ids if they are known, and the root cause."""
    post, bug = Post(), ZeroDivisionError("a bug")
    post.queue.refuse = lambda message: True
    post.bus.refuse = lambda event: True
    assert ["m-3", "m-0", "m-1", "m-2"] == post.take(Requeue(5, "busy"), NotLookedAt(), DONE, Broken(bug))
    told = {id_: (why, error) for id_, why, error in post.observer.given_back}
    assert told["m-3"] == ("a bug", bug)
    assert [told[id_][0] for id_ in ("m-0", "m-1", "m-2")] == [
        "continuation not sent: QueueDoesNotExist",
        "continuation not sent: QueueDoesNotExist",
        "event not emitted (InternalFailure), and not kept: QueueDoesNotExist",
    ]
    for why, error in told.values():
        assert error
        assert error.__notes__ == [NAMED]
        assert why == str(error)


def test_an_error_without_a_message_is_named_by_its_kind() -> None:
    """The log must not be empty."""
    post = Post()
    post.take(Broken(ZeroDivisionError()))
    assert [(id_, why) for id_, why, _ in post.observer.given_back] == [("m-0", "ZeroDivisionError")]


class Throttled(VirtualQueue):
    """A queue that refuses everything at the moment."""

    def send(self, messages: Mapping[K, QueueMessage], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        return dict.fromkeys(messages, Unsent("Throttling", True, TimeoutError("slow")))


def test_a_throttled_queue_is_distinguished() -> None:
    """Messages that return because of throttling may be delayed longer."""
    post = Post()
    outbox = Outbox(replace(post.outlets, queue=Throttled(post.clock)))
    outbox.take(Step(CASE, Requeue(5, "busy")))
    (unsent,) = outbox.send().unsent.values()
    assert unsent == Unsent("continuation not sent: Throttling", throttled=True)
    assert isinstance(unsent.cause, AwsTrouble)
    assert str(unsent.cause.__cause__) == "slow"


def test_a_verdict_that_cannot_be_kept_for_a_consumer_says_so() -> None:
    """The log distinguishes it from a case that could not continue."""
    post = Post()
    post.sink.answers = [LATER]
    post.queue.refuse = lambda message: True
    assert ["m-0"] == post.emit(event())
    assert [why for _, why, _ in post.observer.given_back] == ["waiting delivery not sent: QueueDoesNotExist"]


class NoKeys:
    """The key of our own messages cannot be read just now."""

    def mac(self, text: str) -> str:
        raise AwsTrouble("GetSecretValue: no answer")

    def is_mac(self, text: str, mac: str) -> bool:
        return False

    def since(self) -> datetime:
        return START


def test_messages_that_cannot_be_signed_return() -> None:
    """None of our messages is sent without a MAC; events still go to the bus."""
    post = Post()
    outbox = Outbox(replace(post.outlets, macs=NoKeys()))
    outbox.take(Step(CASE, Requeue(5, "busy", announce_unconfirmed=True)))
    (unsent,) = outbox.send().unsent.values()
    assert unsent == Unsent("continuation not sent: GetSecretValue: no answer")
    assert unsent.cause
    assert str(unsent.cause.__cause__) == "GetSecretValue: no answer"
    assert (len(post.bus.events), post.queue.sent) == (1, [])


class TimedBus(VirtualBus):
    """Records the deadline of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.until: list[datetime | None] = []

    def emit(self, events: Mapping[K, Event], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        self.until.append(deadline)
        return super().emit(events, deadline)


class TimedQueue(VirtualQueue):
    """As the bus."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.until: list[datetime | None] = []

    def send(self, messages: Mapping[K, QueueMessage], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        self.until.append(deadline)
        return super().send(messages, deadline)


@pytest.mark.parametrize("seconds", [20, None])
def test_each_call_has_its_share_of_the_time(seconds: int | None) -> None:
    """The bus leaves time for continuations, and these for waiting deliveries; unneeded ones are not called."""
    post, deadline = Post(), START + timedelta(seconds=seconds) if seconds else None
    post.sink.answers = [LATER]
    bus, queue = TimedBus(), TimedQueue(post.clock)
    for events in (True, False):
        outbox = Outbox(replace(post.outlets, bus=bus, queue=queue), deadline)
        outbox.take(Step(CASE, Requeue(5, "busy", announce_unconfirmed=events)))
        assert {} == outbox.send().unsent
    shares = (BUS_SHARE, CONTINUATIONS_SHARE, 1)
    whole = timedelta(seconds=(seconds or 0) + TIME_TO_SEND - SPARE)
    at_bus, going_on, waiting = (START + whole * share if seconds else None for share in shares)
    assert (bus.until, queue.until) == ([at_bus], [going_on, waiting, going_on])
    quiet = Outbox(replace(post.outlets, bus=bus, queue=queue, consumers=Consumers()), deadline)
    quiet.take(Step(CASE, DONE))
    assert {} == quiet.send().unsent
    assert (len(bus.until), len(queue.until)) == (2, 3)


def test_an_event_that_waited_and_is_not_kept_goes_back_with_its_message() -> None:
    """It is redelivered from the queue."""
    post = Post()
    post.bus.refuse = lambda event: True
    post.queue.refuse = lambda message: True
    outbox = Outbox(post.outlets)
    outbox.offer_again(message(id="m-7"), to_sink(to="bus", attempt=2))
    assert list(outbox.send().unsent) == ["m-7"]


def test_the_answer_to_what_is_no_request_leaves_by_the_bus() -> None:
    """If it cannot, its message is redelivered."""
    bad = Rejected(Origin("4715", "/changes", START), (Fault("", "is odd"),), "{}")
    post = Post()
    outbox = Outbox(post.outlets)
    outbox.reject(message(id="m-7"), bad)
    assert {} == outbox.send().unsent
    assert post.bus.events == [json.loads(EventFactory().rejected(bad, START).body)]
    post.bus.refuse, post.queue.refuse = lambda event: True, lambda message: True
    outbox = Outbox(post.outlets)
    outbox.reject(message(id="m-7"), bad)
    assert list(outbox.send().unsent) == ["m-7"]


# ------------------------------------------------------------------------------------------ what cannot be written

NONSENSE = replace(DONE, detail=cast(Any, "nonsense"))


def test_a_step_that_cannot_be_written_is_a_failure_of_its_case() -> None:
    """The case is requeued with that failure, the observers are notified, and other cases are unaffected."""
    post = Post()
    assert [] == post.take(NONSENSE, DONE)
    assert 1 == len(post.bus.events)
    (step,) = post.observer.steps
    assert isinstance(step.decision, Broken)
    assert isinstance(step.decision.error, ValueError)
    assert isinstance(step.decision.then, Requeue)
    progress = replace(CASE.progress, failures=1, last_error=step.decision.then.why)
    assert step.case == replace(CASE, progress=progress, message=message(id="m-0"), fresh=False)
    (again,) = continued(post)
    assert (again.request, again.progress) == (CASE.request, progress)
    assert [step.decision.then.seconds] == [kept.delay for kept in post.queue.sent]
    assert step.decision.then.why.startswith("our own code failed: ValidationError")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_case_that_can_never_be_written_is_answered(dry_run: bool) -> None:
    """After the maximum of failures in a row, like a dead letter: with what was sent, unless it was a dry run."""
    post = Post()
    so_far = replace(CASE.progress, failures=FAILURES - 1, polls=3)
    dying = replace(CASE, request=replace(REQUEST, dry_run=dry_run), progress=so_far, message=message('{"a": 1}'))
    outbox = Outbox(post.outlets)
    outbox.take(Step(dying, NONSENSE))
    assert {} == outbox.send().unsent
    (data,) = post.bus.data
    assert (data["reason"]["code"], data["reason"]["cause"]) == ("dead_lettered", "code_failed")
    assert data.get("original") == (None if dry_run else '{"a": 1}')
    post.bus.refuse, post.queue.refuse = lambda event: True, lambda message: True
    outbox = Outbox(post.outlets)
    outbox.take(Step(dying, NONSENSE))
    (unsent,) = outbox.send().unsent.values()
    assert unsent.cause
    assert unsent.cause.__notes__ == [NAMED]


def test_a_case_that_not_even_a_failure_can_be_written_of_goes_back() -> None:
    """Nothing is lost: its message is redelivered, and the log has the second error."""
    post = Post()
    unwritable = replace(CASE, request=replace(REQUEST, context=cast(Any, {"a": object()})))
    assert ["m-0"] == post.take(NONSENSE, case=unwritable)
    assert (post.bus.events, post.queue.sent, post.observer.steps) == ([], [], [])
    ((id_, why, error),) = post.observer.given_back
    assert (id_, why) == ("m-0", str(error))
    assert "serialize" in why
