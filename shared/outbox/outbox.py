"""The outbox: collects what must leave, sends it in order, and says which messages may be acknowledged.

The order: verdicts to the bus, messages to ourselves, verdicts to the other consumers (which may be slow), and then
what those have not taken. A message is acknowledged only when all its results were taken or are in the queue, so a
crash repeats work and loses none. A group leaves as one message, or as its summary once the bus has all its verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from shared import strict_json
from shared.decision.case import Broken, Case, Conclude, Disks, NotLookedAt, Requeue, Step
from shared.decision.requeue import pause
from shared.inbox.read import Rejected
from shared.model import UNNAMED_PROJECT, DetachRequest, Message, Outcome
from shared.outbox.consumers import Consumers, Offers
from shared.outbox.events import EventFactory
from shared.outbox.observer import BUS, Attempt, Observer
from shared.own_messages import VERSION, Continuation, WaitingDelivery, without_mac
from shared.policy import AT_ONCE, BUS_SHARE, CONTINUATIONS_SHARE, EMIT_AGAIN, PUT_BACK, SPARE, TIME_TO_SEND
from shared.ports import AwsTrouble, Bus, Clock, Event, Macs, NotTaken, Queue, QueueMessage, Unsent
from shared.quick import dataclass

if TYPE_CHECKING:
    from shared.group import Group


@dataclass(frozen=True)
class Receipts:
    """The result for a batch of messages: those whose id is not in `unsent` may be acknowledged."""

    unsent: Mapping[str, Unsent] = field(default_factory=dict)


@dataclass(frozen=True)
class Outlets:
    """Where the outbox sends things, and how it makes them."""

    bus: Bus
    queue: Queue
    macs: Macs
    events: EventFactory
    clock: Clock
    consumers: Consumers = field(default_factory=Consumers)
    observers: Sequence[Observer] = ()


Own = tuple[Mapping[str, Any], int]
"""A message to ourselves and its delay in seconds (0 to 900)."""


@dataclass(frozen=True, eq=False)
class _Letter:
    """One thing to send because of a message: an event, a message to ourselves, or both.

    `waited` is the waiting delivery that brought the event, if the bus did not take it before. `what` names the letter
    in errors. `member` is the volume of a group whose final verdict the event is.
    """

    message_id: str
    event: Event | None = None
    message: Own | None = None
    request: DetachRequest | None = None
    waited: WaitingDelivery | None = None
    member: str | None = None
    what: str = "continuation not sent"


@dataclass
class Outbox:
    """Collects the results of one batch; `send` sends everything before `deadline`."""

    outlets: Outlets
    deadline: datetime | None = None
    _letters: list[_Letter] = field(default_factory=list)
    _waiting: list[tuple[str, WaitingDelivery]] = field(default_factory=list)
    _unsent: dict[str, Unsent] = field(default_factory=dict)
    _groups: dict[str, Group] = field(default_factory=dict)

    # -------------------------------------------------------------------------------------------- what goes in

    def gather(self, message: Message, group: Group, unsent: Sequence[tuple[str, WaitingDelivery]]) -> None:
        """Take in a group whose steps follow, and its verdicts that the bus must be offered again."""
        self._groups[message.id] = group
        for volume_id, waiting in unsent:
            self._letters.append(_Letter(message.id, waiting.event, None, group.request, waiting, volume_id))

    def take(self, step: Step) -> None:
        """Take in the step of a case. If it cannot be written, other cases are not affected."""
        try:
            self._write(step)
        except Exception as error:  # noqa: BLE001 - logged, and after some repetitions answered with a verdict
            self._write_failure(step.case, error)

    def _write(self, step: Step) -> None:
        case, events, now = step.case, self.outlets.events, self.outlets.clock()
        match step.decision:
            case Conclude() as conclusion:
                self.conclude(case, conclusion)
            case Requeue(seconds, why, announce):
                event = events.unconfirmed(case, why, now) if announce else None
                self._requeue(case, seconds, event)
            case Disks(volume_ids):
                group, due = self._groups[case.message.id], now + timedelta(seconds=AT_ONCE[0])
                self._groups[case.message.id] = group.listed(volume_ids, case.progress, now, due)
            case NotLookedAt():
                self._requeue(case, PUT_BACK)
            case Broken(_, Requeue(seconds)):
                self._requeue(case, seconds)
            case Broken(_, Conclude(outcome) as conclusion):
                # The verdict of a dry run has no field for the message.
                self.conclude(case, conclusion, without_mac(case.message.body) if outcome is Outcome.FAILED else None)
            case Broken(error):
                error.add_note(_named(case.request))
                self.give_back(case.message, str(error) or type(error).__name__, error)

    def _write_failure(self, case: Case, error: Exception) -> None:
        """Requeue the case; if that cannot be written either, its message is redelivered."""
        from shared.decision.failures import after_failure  # imported only on a failure

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
        """Emit the verdict on an invalid message."""
        self.post(message, self.outlets.events.rejected(rejected, self.outlets.clock()))

    def conclude(self, case: Case, conclusion: Conclude, original: str | None = None) -> None:
        """Emit the final verdict on a case; `original` is the message, for dead letters."""
        event = self.outlets.events.verdict(case, conclusion, self.outlets.clock(), original)
        group, member = self._groups.get(case.message.id), None
        if group:
            member = case.request.volume_id
            self._groups[case.message.id] = group.concluded(member, conclusion)
        self._letters.append(_Letter(case.message.id, event, request=case.request, member=member))

    def post(self, message: Message, event: Event, request: DetachRequest | None = None) -> None:
        """Emit an event because of a message; errors name the `request`."""
        self._letters.append(_Letter(message.id, event, request=request))

    def offer_again(self, message: Message, waiting: WaitingDelivery) -> None:
        """Offer an event again that the bus or a consumer did not take before."""
        if waiting.to == BUS:
            self._letters.append(_Letter(message.id, waiting.event, waited=waiting))
        else:
            self._waiting.append((message.id, waiting))

    def give_back(self, message: Message, why: str, cause: BaseException | None = None) -> None:
        """Leave a message in the queue, which delivers it again."""
        self._unsent.setdefault(message.id, Unsent(why, cause=cause))

    def _requeue(self, case: Case, seconds: int, event: Event | None = None) -> None:
        if case.message.id in self._groups:
            self._keep(case, seconds, event)
            return
        again = Continuation(continuation=VERSION, request=case.request, progress=case.progress)
        wire = again.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        self._letters.append(_Letter(case.message.id, event, (wire, seconds), case.request))

    def _keep(self, case: Case, seconds: int, event: Event | None) -> None:
        """Requeue a volume of a group: it travels with the others."""
        group, due = self._groups[case.message.id], self.outlets.clock() + timedelta(seconds=seconds)
        self._groups[case.message.id] = group.later(case.request.volume_id, case.progress, due)
        if event:
            self.post(case.message, event, case.request)

    # ------------------------------------------------------------------------------------------- what goes out

    def send(self) -> Receipts:
        """Send everything. What the bus or a consumer does not take waits in the queue and is offered again later.

        If the queue does not take it either, the message that caused it is redelivered.
        """
        continued = [letter for letter in self._letters if letter.message]
        fresh, kept = self._emitted(self._letters) if any(letter.event for letter in self._letters) else ([], [])
        if self._groups:
            summed_up, continued_groups = self._gathered()
            more, late = self._emitted(summed_up) if summed_up else ([], [])
            fresh, kept, continued = [*fresh, *more], [*kept, *late], [*continued, *continued_groups]
        self._queued([*continued, *kept], CONTINUATIONS_SHARE)
        if fresh or self._waiting:
            self._queued(self._offered(fresh), 1)
        for message_id, why in self._unsent.items():
            for observer in self.outlets.observers:
                observer.returned(message_id, why.why, why.cause)
        return Receipts(self._unsent)

    def _gathered(self) -> tuple[list[_Letter], list[_Letter]]:
        """The summaries of finished groups, and the messages that continue the others.

        A group whose message is redelivered returns with it.
        """
        summed_up, continued, now = [], [], self.outlets.clock()
        for message_id, group in self._groups.items():
            if message_id in self._unsent:
                continue
            if group.is_over:
                event = self.outlets.events.summary(group, now)
                summed_up.append(_Letter(message_id, event, request=group.request))
            else:
                continued.append(_Letter(message_id, message=(group.wire(), group.delay(now)), request=group.request))
        return summed_up, continued

    def _emitted(self, offered: Sequence[_Letter]) -> tuple[list[_Letter], list[_Letter]]:
        """Offer the bus every event; return what it took, and the messages that keep the rest.

        A final verdict of a group is kept in the group, since the summary must wait for it.
        """
        letters = {letter: letter.event for letter in offered if letter.event}
        unsent, now = self.outlets.bus.emit(letters, self._until(BUS_SHARE)), self.outlets.clock()
        kept = []
        for letter, event in letters.items():
            waited = letter.waited or WaitingDelivery(to=BUS, event=event, since=now)
            refused, number = unsent.get(letter), waited.attempt + 1
            if refused is None:
                self._observed(Attempt(BUS, event, number))
                if letter.member is not None:
                    self._groups[letter.message_id] = self._groups[letter.message_id].taken(letter.member)
                continue
            seconds = pause(EMIT_AGAIN, waited.attempt, f"{BUS} {event.id}")
            no, so_far = NotTaken(refused.why, again=True), (now - waited.since).total_seconds()
            self._observed(Attempt(BUS, event, number, no, seconds, so_far))
            later = waited.model_copy(update={"attempt": number})
            if letter.member is not None:
                due, group = now + timedelta(seconds=seconds), self._groups[letter.message_id]
                self._groups[letter.message_id] = group.refused(letter.member, later, due)
                continue
            what = f"event not emitted ({refused.why}), and not kept"
            kept.append(replace(letter, message=(later.model_dump(mode="json"), seconds), what=what))
        return [letter for letter in letters if letter not in unsent], kept

    def _offered(self, fresh: Sequence[_Letter]) -> list[_Letter]:
        """Offer the consumers what the bus took and what waited; return the messages that offer it again later."""
        now, consumers = self.outlets.clock(), self.outlets.consumers
        events = ((letter.message_id, letter.event) for letter in fresh if letter.event)
        new = [(id_, WaitingDelivery(to=to, event=e, since=now)) for id_, e in events for to in consumers.wanting(e)]
        offers = Offers(consumers, self.outlets.clock, self.deadline, self.outlets.observers)
        made = ((message_id, offers.offer(one)) for message_id, one in new + self._waiting)
        what = "waiting delivery not sent"
        return [_Letter(message_id, message=message, what=what) for message_id, message in made if message]

    def _queued(self, letters: Sequence[_Letter], share: float) -> None:
        """Send messages to ourselves; if the queue does not take one, its cause is redelivered."""
        ours: dict[_Letter, QueueMessage] = {}
        unsent: Mapping[_Letter, Unsent] = {}
        until = self._until(share)
        try:
            signed = partial(strict_json.signed, mac=self.outlets.macs.mac)
            for letter in letters:
                if letter.message:
                    project = (letter.request.project_id or UNNAMED_PROJECT) if letter.request else None
                    ours[letter] = QueueMessage(signed(letter.message[0]), letter.message[1], project)
            unsent = self.outlets.queue.send(ours, until) if ours else {}
        except AwsTrouble as trouble:  # there is no key to sign with
            unsent = dict.fromkeys(letters, Unsent(str(trouble), cause=trouble))
        for letter, refused in unsent.items():
            self._failed(letter, letter.what, refused)

    def _until(self, share: float) -> datetime | None:
        """The deadline of a call that may take this share of the sending time left."""
        if self.deadline is None:
            return None
        now = self.outlets.clock()
        return now + (self.deadline + timedelta(seconds=TIME_TO_SEND - SPARE) - now) * share

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
