"""Every verdict to everybody who wants it: the bus first, then the others, each until it has taken it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil

from shared.decision.backoff import Backoff
from shared.inbox.own_messages import PendingDelivery
from shared.ports import Consumer, Event, EventSink, Message, NotTaken, Queue

AGAIN = Backoff(first=5, factor=3, cap=900)
LONGEST_DELAY = 900
"""Seconds a message of SQS can be delayed; who asks for more is passed over until it is time."""

PATIENCE = timedelta(seconds=10)
"""What one batch spends on consumers that answer slowly; the rest of it is delivered by later ones."""

LONGEST_ANSWER = timedelta(seconds=14)
"""Three seconds to connect and ten to wait, and one to spare."""

BUS = "bus"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One event offered to one consumer: `refusal` is its no, `again_in` the seconds until it is asked again."""

    to: str
    event: Event
    number: int = 1
    refusal: NotTaken | None = None
    again_in: int | None = None


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Emits to the bus, whose no sends the record back, and to `consumers`, whose no never does.

    An event that a consumer cannot take now waits in the request queue as a message of its own, so neither the
    request is stepped again nor the bus told twice.
    """

    bus: EventSink
    queue: Queue
    clock: Callable[[], datetime]
    consumers: Mapping[str, Consumer] = field(default_factory=dict)
    ttl: timedelta = timedelta(hours=24)
    observe: Callable[[Attempt], None] = lambda attempt: None
    deadline: datetime | None = None

    def until(self, deadline: datetime | None) -> Deliveries:
        """The same for one invocation: no consumer is asked whose answer might come after `deadline`."""
        return replace(self, deadline=deadline)

    def emit(self, events: Sequence[Event]) -> Mapping[int, str]:
        """The positions that the bus did not take, or that could not even be kept for a consumer."""
        failed = dict(self.bus.emit(events))
        for at, why in failed.items():
            self.observe(Attempt(BUS, events[at], refusal=NotTaken(why, again=True)))
        emitted = [(at, event) for at, event in enumerate(events) if at not in failed]
        for _, event in emitted:
            self.observe(Attempt(BUS, event))
        now = self.clock()
        wanted = [
            (at, PendingDelivery(to=name, event=event, since=now))
            for name, consumer in self.consumers.items()
            for at, event in emitted
            if consumer.wants(event)
        ]
        return failed | self._deliver(wanted)

    def resume(self, pending: Sequence[PendingDelivery]) -> Mapping[int, str]:
        """Offer again what waited; the positions that could not be kept for yet another time."""
        return self._deliver(list(enumerate(pending)))

    def _deliver(self, wanted: Sequence[tuple[int, PendingDelivery]]) -> dict[int, str]:
        """A consumer that is not there now is asked once in a batch, not once for each event."""
        ends = self.clock() + PATIENCE
        if self.deadline:
            ends = min(ends, self.deadline - LONGEST_ANSWER)
        absent: dict[str, NotTaken] = {}
        kept: list[tuple[int, Message]] = []
        for at, pending in wanted:
            message = self._offer(pending, absent, ends)
            if message:
                kept.append((at, message))
        failed = self.queue.send([message for _, message in kept]) if kept else {}
        return {kept[index][0]: f"pending delivery not sent: {why}" for index, why in failed.items()}

    def _offer(self, pending: PendingDelivery, absent: dict[str, NotTaken], ends: datetime) -> Message | None:
        """The message that asks again later, or None if there is nothing more to do."""
        now = self.clock()
        if pending.not_before and now < pending.not_before:
            return _message(pending, (pending.not_before - now).total_seconds())
        refusal = absent.get(pending.to) or self._ask(pending, now < ends)
        number = pending.attempt + 1
        left = (pending.since + self.ttl - now).total_seconds()
        if refusal is None or not refusal.again or left <= 0:
            self.observe(Attempt(pending.to, pending.event, number, refusal))
            return None
        absent[pending.to] = refusal
        grown = AGAIN.seconds(pending.attempt, f"{pending.to} {pending.event.id}")
        seconds = ceil(min(left, max(grown, refusal.retry_after or 0)))
        self.observe(Attempt(pending.to, pending.event, number, refusal, seconds))
        not_before = now + timedelta(seconds=seconds) if seconds > LONGEST_DELAY else None
        return _message(pending.model_copy(update={"attempt": number, "not_before": not_before}), seconds)

    def _ask(self, pending: PendingDelivery, in_time: bool) -> NotTaken | None:
        consumer = self.consumers.get(pending.to)
        if consumer is None:
            return NotTaken("nobody of that name is configured any more", again=False)
        if not in_time:
            return NotTaken("not asked: this batch has no time left for slow consumers", again=True)
        return consumer.deliver(pending.event)


def _message(pending: PendingDelivery, seconds: float) -> Message:
    return Message(pending.body(), delay=min(LONGEST_DELAY, ceil(seconds)))
