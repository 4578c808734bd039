"""Offers verdicts to the consumers other than the bus, until each has taken them."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from shared.decision.requeue import pause
from shared.outbox.observer import Attempt, Observer
from shared.own_messages import WaitingDelivery
from shared.policy import LONGEST_DELAY, LONGEST_OFFER, OFFER_AGAIN, PATIENCE
from shared.ports import Clock, Consumer, Event, NotTaken
from shared.quick import dataclass


@dataclass(frozen=True)
class Consumers:
    """The configured consumers by name. A verdict that is not taken within `ttl` is given up."""

    named: Mapping[str, Consumer] = field(default_factory=dict)
    ttl: timedelta = timedelta(hours=24)

    def wanting(self, event: Event) -> list[str]:
        return [name for name, consumer in self.named.items() if consumer.wants(event)]


@dataclass
class Offers:
    """The offers of one batch. A consumer that is unavailable is tried once in a batch, not once for each event."""

    consumers: Consumers
    clock: Clock
    deadline: datetime | None
    observers: Sequence[Observer] = ()
    absent: dict[str, NotTaken] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ends = self.clock() + timedelta(seconds=PATIENCE)
        if self.deadline:
            self.ends = min(self.ends, self.deadline - timedelta(seconds=LONGEST_OFFER))

    def offer(self, waiting: WaitingDelivery) -> tuple[dict[str, Any], int] | None:
        """Offer the event; return the message that offers it again later, with its delay, or None if nothing is left to
        do."""
        now = self.clock()
        if waiting.not_before and now < waiting.not_before:
            return _later(waiting, (waiting.not_before - now).total_seconds())
        refusal = self.absent.get(waiting.to) or self._ask(waiting, now)
        number = waiting.attempt + 1
        left = (waiting.since + self.consumers.ttl - now).total_seconds()
        if refusal is None or not refusal.again or left <= 0:
            self._observed(Attempt(waiting.to, waiting.event, number, refusal))
            return None
        self.absent[waiting.to] = refusal
        grown = pause(OFFER_AGAIN, waiting.attempt, f"{waiting.to} {waiting.event.id}")
        seconds = ceil(min(left, max(grown, refusal.retry_after or 0)))
        self._observed(Attempt(waiting.to, waiting.event, number, refusal, seconds))
        not_before = now + timedelta(seconds=seconds) if seconds > LONGEST_DELAY else None
        later = WaitingDelivery(
            to=waiting.to, event=waiting.event, since=waiting.since, attempt=number, not_before=not_before
        )
        return _later(later, seconds)

    def _ask(self, waiting: WaitingDelivery, now: datetime) -> NotTaken | None:
        consumer = self.consumers.named.get(waiting.to)
        if consumer is None:
            return NotTaken("no consumer of that name is configured", again=False)
        if now >= self.ends:
            return NotTaken("not asked: this batch has no time left for slow consumers", again=True)
        latest = now + timedelta(seconds=LONGEST_OFFER)
        return consumer.deliver(waiting.event, min(latest, self.deadline or latest))

    def _observed(self, attempt: Attempt) -> None:
        for observer in self.observers:
            observer.attempt(attempt)


def _later(waiting: WaitingDelivery, seconds: float) -> tuple[dict[str, Any], int]:
    return waiting.model_dump(mode="json"), min(LONGEST_DELAY, ceil(seconds))
