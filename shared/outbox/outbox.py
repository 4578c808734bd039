"""The outbox: collects what has to leave, sends it in the one right order, and says which messages may be acknowledged.

Verdicts first, then whoever else hears them, then what comes back to us. A message is acknowledged only when all that
it led to was taken, so a crash repeats and does not lose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from shared import strict_json
from shared.decision.case import Broken, Case, Conclude, NotLookedAt, Requeue, Step
from shared.inbox.read import Rejected
from shared.model import DetachRequest, Message, Outcome
from shared.outbox.consumers import Consumers, Offers
from shared.outbox.events import EventFactory
from shared.outbox.observer import BUS, Attempt, Observer
from shared.own_messages import VERSION, Continuation, WaitingDelivery, without_mac
from shared.policy import PUT_BACK
from shared.ports import AwsTrouble, Bus, Clock, Event, Macs, NotTaken, Queue, QueueMessage, Unsent


@dataclass(frozen=True, slots=True)
class Receipts:
    """What became of the messages of a batch: those that are not in `unsent`, by id, may be acknowledged."""

    unsent: Mapping[str, Unsent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where things leave to, and how they are made."""

    bus: Bus
    queue: Queue
    macs: Macs
    events: EventFactory
    clock: Clock
    consumers: Consumers = field(default_factory=Consumers)
    observers: Sequence[Observer] = ()


Own = tuple[Mapping[str, Any], int]
"""A message to ourselves, and the seconds after which it is delivered (0 to 900)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Letter:
    """One thing that has to leave because of a message: an event, a message to ourselves, or both in this order."""

    message_id: str
    event: Event | None = None
    message: Own | None = None
    request: DetachRequest | None = None


@dataclass
class Outbox:
    """What one batch leads to. Everything is sent by `send`, before `deadline`."""

    outlets: Outlets
    deadline: datetime | None = None
    _letters: list[_Letter] = field(default_factory=list)
    _waiting: list[tuple[str, WaitingDelivery]] = field(default_factory=list)
    _unsent: dict[str, Unsent] = field(default_factory=dict)

    # -------------------------------------------------------------------------------------------- what goes in

    def take(self, step: Step) -> None:
        """What one visit made of one case; where that cannot be written, no other case is harmed."""
        try:
            self._write(step)
        except Exception as error:  # noqa: BLE001 - a bug of ours: logged, and answered when it stays
            self._write_failure(step.case, error)

    def _write(self, step: Step) -> None:
        case, events, now = step.case, self.outlets.events, self.outlets.clock()
        match step.decision:
            case Conclude() as conclusion:
                self.post(case.message, events.verdict(case, conclusion, now), case.request)
            case Requeue(seconds, why, announce):
                event = events.unconfirmed(case, why, now) if announce else None
                self._requeue(case, seconds, event)
            case NotLookedAt():
                self._requeue(case, PUT_BACK)
            case Broken(_, Requeue(seconds)):
                self._requeue(case, seconds)
            case Broken(_, Conclude(outcome) as conclusion):
                # A dry run's verdict has no room for it.
                original = without_mac(case.message.body) if outcome is Outcome.FAILED else None
                self.post(case.message, events.verdict(case, conclusion, now, original), case.request)
            case Broken(error):
                error.add_note(_named(case.request))
                self.give_back(case.message, str(error) or type(error).__name__, error)

    def _write_failure(self, case: Case, error: Exception) -> None:
        """The case comes again; if that cannot be written either, its message does."""
        from shared.decision.failures import after_failure  # what goes well does without it

        case, then = after_failure(replace(case, fresh=False), error, False, (), self.outlets.clock())
        step = Step(case, Broken(error, then))
        try:
            self._write(step)
        except Exception as again:  # noqa: BLE001 - as above
            self._write(Step(case, Broken(again)))
            return
        for observer in self.outlets.observers:
            observer.step(step)

    def reject(self, message: Message, rejected: Rejected) -> None:
        """The answer to a message that is no valid request."""
        self.post(message, self.outlets.events.rejected(rejected, self.outlets.clock()))

    def post(self, message: Message, event: Event, request: DetachRequest | None = None) -> None:
        """An event that answers a message; errors name the `request`."""
        self._letters.append(_Letter(message.id, event, request=request))

    def offer_again(self, message: Message, waiting: WaitingDelivery) -> None:
        """An event that a consumer did not take before."""
        self._waiting.append((message.id, waiting))

    def give_back(self, message: Message, why: str, cause: BaseException | None = None) -> None:
        """A message that the queue is to deliver again."""
        self._unsent.setdefault(message.id, Unsent(why, cause=cause))

    def _requeue(self, case: Case, seconds: int, event: Event | None = None) -> None:
        again = Continuation(continuation=VERSION, request=case.request, progress=case.progress)
        wire = again.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        self._letters.append(_Letter(case.message.id, event, (wire, seconds), case.request))

    # ------------------------------------------------------------------------------------------- what goes out

    def send(self) -> Receipts:
        """Send everything; a message whose event the bus did not take is not acknowledged, and comes again."""
        sent = self._emitted()
        later = {letter: letter.message for letter in sent if letter.message}
        later |= self._offered(sent)
        unsent: Mapping[_Letter, Unsent] = {}
        try:
            signed = partial(strict_json.signed, mac=self.outlets.macs.mac)
            ours = {letter: QueueMessage(signed(wire), delay) for letter, (wire, delay) in later.items()}
            unsent = self.outlets.queue.send(ours) if ours else {}
        except AwsTrouble as trouble:  # there is no key to sign with
            unsent = dict.fromkeys(later, Unsent(str(trouble), cause=trouble))
        for letter, refused in unsent.items():
            what = "continuation" if letter in self._letters else "waiting delivery"
            self._failed(letter, f"{what} not sent", refused)
        for message_id, why in self._unsent.items():
            for observer in self.outlets.observers:
                observer.returned(message_id, why.why, why.cause)
        return Receipts(self._unsent)

    def _emitted(self) -> list[_Letter]:
        """The letters without an event, and those whose event the bus has taken."""
        events = {letter: letter.event for letter in self._letters if letter.event}
        unsent = self.outlets.bus.emit(events) if events else {}
        for letter, event in events.items():
            refused = unsent.get(letter)
            self._observed(Attempt(BUS, event, refusal=NotTaken(refused.why, again=True) if refused else None))
            if refused:
                self._failed(letter, "event not emitted", refused)
        return [letter for letter in self._letters if letter not in unsent]

    def _offered(self, sent: Sequence[_Letter]) -> dict[_Letter, Own]:
        """Offer what the bus has taken, and what waited, to the consumers; the messages that offer it again later."""
        now, consumers = self.outlets.clock(), self.outlets.consumers
        events = ((letter.message_id, letter.event) for letter in sent if letter.event)
        fresh = [(id_, WaitingDelivery(to=to, event=e, since=now)) for id_, e in events for to in consumers.wanting(e)]
        waiting = fresh + self._waiting
        if not waiting:
            return {}
        offers = Offers(consumers, self.outlets.clock, self.deadline, self.outlets.observers)
        made = ((message_id, offers.offer(one)) for message_id, one in waiting)
        return {_Letter(message_id, message=message): message for message_id, message in made if message}

    def _failed(self, letter: _Letter, what: str, unsent: Unsent) -> None:
        trouble = AwsTrouble(f"{what}: {unsent.why}")
        trouble.__cause__ = unsent.cause
        if letter.request:
            trouble.add_note(_named(letter.request))
        self._unsent.setdefault(letter.message_id, Unsent(str(trouble), unsent.throttled, trouble))

    def _observed(self, attempt: Attempt) -> None:
        for observer in self.outlets.observers:
            observer.attempt(attempt)


def _named(request: DetachRequest) -> str:
    return f"request {request.source} {request.id}, {request.subject}"
