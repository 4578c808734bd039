"""A verdict reaches everybody who wants it, each at its own pace, and nobody holds up the bus."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

import pytest
from shared.inbox.own_messages import PendingDelivery

from shared.inbox.read import Delivery, Rejected, read
from shared.model import Outcome
from shared.outbox.consumers import LONGEST_DELAY, PATIENCE, Attempt, Deliveries
from shared.ports import Event, Message, NotTaken
from tests.messages import QUEUE_ARN, START
from tests.stack import Clock, MemoryQueue, MemorySink

YES: list[NotTaken | None] = [None]
LATER = NotTaken("HTTP 503", again=True)
NEVER = NotTaken("HTTP 404", again=False)


def event(id: str = "e-1") -> Event:
    body = json.dumps({"id": id, "source": "/s", "type": "t", "data": {"ä": "\u2028\"'"}}, ensure_ascii=False)
    return Event(id, "t", "/s", None, START.isoformat(), body, Outcome.DETACHED, task_token="token")


@dataclass
class Listener:
    """A consumer that answers as told, the last answer for ever."""

    answers: list[NotTaken | None] = field(default_factory=lambda: [None])
    wanted: Callable[[Event], bool] = lambda event: True
    pause: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)
    taken: list[Event] = field(default_factory=list)

    def wants(self, event: Event, /) -> bool:
        return self.wanted(event)

    def deliver(self, event: Event) -> NotTaken | None:
        self.pause()
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(event.id)
        if answer is None:
            self.taken.append(event)
        return answer


class Hall:
    """Deliveries between a bus, two listeners and a queue, on a clock of their own."""

    def __init__(self, ttl: timedelta = timedelta(hours=24)) -> None:
        self.clock = Clock()
        self.bus = MemorySink()
        self.queue = MemoryQueue(self.clock)
        self.sink, self.task = Listener(), Listener()
        self.attempts: list[Attempt] = []
        self.deliveries = Deliveries(
            self.bus, self.queue, self.clock, {"sink": self.sink, "task": self.task}, ttl, self.attempts.append
        )

    def emit(self, *events: Event) -> dict[int, str]:
        return dict(self.deliveries.emit(events))

    def resume_next(self) -> list[PendingDelivery]:
        """What the queue hands out next, offered again."""
        pending = []
        for body in self.queue.take():
            found = read(Delivery(body, "m", QUEUE_ARN, self.clock()), "bms")
            assert isinstance(found, PendingDelivery)
            pending.append(found)
        assert {} == self.deliveries.resume(pending)
        return pending


def test_everybody_gets_the_event() -> None:
    """The bus and every consumer have it, and nothing waits."""
    hall = Hall()
    assert {} == hall.emit(event())
    assert (["e-1"], ["e-1"], ["e-1"]) == ([e["id"] for e in hall.bus.events], hall.sink.asked, hall.task.asked)
    assert [] == hall.queue.sent


def test_what_the_bus_does_not_take_nobody_gets() -> None:
    """The bus comes first: its no is the record's failure, and no consumer knows more than the bus."""
    hall = Hall()
    hall.bus.refuse = lambda event: event.id == "e-1"
    assert [0] == list(hall.emit(event("e-1"), event("e-2")))
    assert (["e-2"], ["e-2"]) == (hall.sink.asked, hall.task.asked)


def test_a_consumer_gets_only_what_it_wants() -> None:
    """Who does not want an event is not asked about it."""
    hall = Hall()
    hall.task.wanted = lambda event: event.id == "e-2"
    hall.emit(event("e-1"), event("e-2"))
    assert (["e-1", "e-2"], ["e-2"]) == (hall.sink.asked, hall.task.asked)


def test_a_no_for_now_is_kept_and_offered_again() -> None:
    """The event waits in the queue for this one consumer; bus and the others are not asked again."""
    hall = Hall()
    hall.sink.answers = [LATER, LATER, None]
    assert {} == hall.emit(event())
    while len(hall.queue):
        hall.resume_next()
    assert [event()] == hall.sink.taken
    assert (3, 1, 1) == (len(hall.sink.asked), len(hall.task.asked), len(hall.bus.events))


def test_pauses_grow() -> None:
    """Each no doubles the pause at least, up to the longest that SQS knows."""
    hall = Hall()
    hall.sink.answers = [LATER]
    hall.emit(event())
    for _ in range(8):
        hall.resume_next()
    delays = [message.delay for message in hall.queue.sent]
    assert delays[0] <= 5
    assert all(later >= 1.9 * earlier for earlier, later in pairwise(delays[:5]))
    assert all(600 <= delay <= LONGEST_DELAY for delay in delays[6:])


@pytest.mark.parametrize("seconds", [120, 3000])
def test_the_consumer_says_when(seconds: int) -> None:
    """A Retry-After is honoured, also where it is longer than SQS can hold a message back."""
    hall = Hall()
    hall.sink.answers = [NotTaken("HTTP 429", again=True, retry_after=seconds), None]
    hall.emit(event())
    while len(hall.queue):
        hall.resume_next()
    assert 2 == len(hall.sink.asked)
    assert seconds == (hall.clock() - START).total_seconds()


def test_a_no_for_good_is_told_once() -> None:
    """It blocks nothing: no message is kept, and the observer hears of it."""
    hall = Hall()
    hall.sink.answers = [NEVER]
    assert {} == hall.emit(event())
    assert [] == hall.queue.sent
    (told,) = [attempt for attempt in hall.attempts if attempt.refusal]
    assert (told.to, told.refusal, told.again_in) == ("sink", NEVER, None)


def test_it_ends_some_time() -> None:
    """After its time to live an event is asked about once more and then given up, which is told."""
    hall = Hall(ttl=timedelta(minutes=10))
    hall.sink.answers = [LATER]
    hall.emit(event())
    while len(hall.queue):
        hall.resume_next()
    assert timedelta(minutes=10) == hall.clock() - START
    assert (LATER, None) == (hall.attempts[-1].refusal, hall.attempts[-1].again_in)


def kept_for(name: str, hall: Hall) -> list[Message]:
    return [message for message in hall.queue.sent if json.loads(message.body)["to"] == name]


def test_who_is_not_there_is_asked_once_in_a_batch() -> None:
    """Twenty events for a dead endpoint cost one attempt, and all of them wait."""
    hall = Hall()
    hall.sink.answers = [LATER]
    assert {} == hall.emit(*(event(f"e-{number}") for number in range(20)))
    assert (1, 20) == (len(hall.sink.asked), len(hall.queue.sent))
    assert 20 == len(hall.task.asked)


def test_a_slow_consumer_has_no_more_than_its_time() -> None:
    """A batch ends although every single answer takes seconds; what it could not deliver waits."""
    hall = Hall()
    hall.sink.pause = lambda: hall.clock.pass_(4)
    assert {} == hall.emit(*(event(f"e-{number}") for number in range(20)))
    asked = len(hall.sink.asked)
    assert hall.clock() - START <= PATIENCE + timedelta(seconds=4)
    assert 20 - asked == len(kept_for("sink", hall))


def test_no_consumer_is_asked_whose_answer_could_come_too_late() -> None:
    """However many rounds an invocation has, it ends in time: what does not fit in waits for another."""
    hall = Hall()
    hall.sink.pause = lambda: hall.clock.pass_(10)
    ends = START + timedelta(seconds=25)
    deliveries = hall.deliveries.until(ends)
    for number in range(5):
        assert {} == dict(deliveries.emit([event(f"e-{number}")]))
    assert hall.clock() <= ends
    assert (2, 3) == (len(hall.sink.asked), len(kept_for("sink", hall)))


def test_what_cannot_be_kept_fails_its_own_record() -> None:
    """Only if the waiting message cannot be sent does the record go back to the queue."""
    hall = Hall()
    hall.sink.answers = [LATER]
    hall.queue.refuse = lambda message: json.loads(message.body)["event"]["id"] == "e-2"
    assert [1] == list(hall.emit(event("e-1"), event("e-2")))


def test_a_consumer_that_is_configured_no_more() -> None:
    """What waits for it ends, and the observer is told."""
    hall = Hall()
    assert {} == hall.deliveries.resume([PendingDelivery(to="fax", event=event(), since=START)])
    assert ([], "fax") == (hall.queue.sent, hall.attempts[-1].to)


def test_a_pending_delivery_comes_back_whole() -> None:
    """The event survives the queue byte for byte, with the token it is to be answered by."""
    pending = PendingDelivery(to="sink", event=event(), since=START, attempt=3)
    assert pending == read(Delivery(pending.body(), "m", QUEUE_ARN, START), "bms")


def test_a_broken_pending_delivery_is_known_as_ours() -> None:
    """It is no request, so it is not answered like one."""
    found = read(Delivery('{"pending_delivery": 2, "event": {}}', "m", QUEUE_ARN, START), "bms")
    assert isinstance(found, Rejected)
    assert "pending_delivery" == found.own
