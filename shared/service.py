"""Handles a batch of queue messages, in three steps: inbox, visit, outbox. Lambda's handler calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from shared.decision.case import Case, Step, failed
from shared.decision.requeue import as_check
from shared.inbox.read import Ignored, Rejected, read
from shared.model import Message, Reason
from shared.outbox.outbox import Outbox, Outlets, Receipts
from shared.own_messages import WaitingDelivery
from shared.policy import LONGEST_DELETE, SHORTEST_LOOK, SUSPECT_AFTER
from shared.quick import dataclass
from shared.visit import Visits

if TYPE_CHECKING:
    from shared.group import Group


@dataclass(frozen=True)
class Service:
    """Reads messages, visits the servers of their cases, and sends the results.

    `acknowledge` deletes messages from the queue before `handle` returns, if the queue supports that; otherwise Lambda
    deletes them afterwards.
    """

    prefix: str
    visits: Visits
    outlets: Outlets
    acknowledge: Callable[[Sequence[Message]], None] = lambda messages: None

    def handle(self, messages: Sequence[Message], deadline: datetime | None = None) -> Receipts:
        """Process messages; return which may be acknowledged: those whose results were all accepted.

        Cases that do not fit before `deadline` are requeued unchanged. A message that SQS delivers twice in a batch is
        processed once. A message with many receives may be what ends the process: each of those is processed alone,
        after the others.
        """
        once = {message.id: message for message in messages}
        often = [message for message in once.values() if message.receive_count > SUSPECT_AFTER]
        if not often:
            return self._together(list(once.values()), deadline)
        return self._apart([message for message in once.values() if message not in often], often, deadline)

    def _apart(self, seldom: Sequence[Message], often: Sequence[Message], deadline: datetime | None) -> Receipts:
        """Process messages with few receives together, then the others one by one.

        Finished messages are deleted from the queue before each risky one, so that a crash does not affect them. The
        order differs at each delivery, so that no message is always behind the one that crashes.
        """
        unsent = dict(self._together(seldom, deadline).unsent)
        done = [message for message in seldom if message.id not in unsent]
        late = Outbox(self.outlets, deadline)
        for message in sorted(often, key=_drawn):
            if deadline and self.outlets.clock() + timedelta(seconds=SHORTEST_LOOK + LONGEST_DELETE) > deadline:
                late.give_back(message, "no time was left to work on it by itself")
                continue
            self.acknowledge(done)
            receipts = self._together([message], deadline)
            unsent |= receipts.unsent
            done = [] if receipts.unsent else [message]
        return Receipts({**unsent, **late.send().unsent})

    def _together(self, messages: Sequence[Message], deadline: datetime | None) -> Receipts:
        outbox = Outbox(self.outlets, deadline)
        cases: list[Case] = []
        for message in messages:
            cases += self._read(message, outbox)
        for step in self.visits.all(cases, deadline):
            for observer in self.outlets.observers:
                observer.step(step)
            outbox.take(step)
        return outbox.send()

    def _read(self, message: Message, outbox: Outbox) -> list[Case]:
        """The cases in a message. Anything else in it goes to the outbox."""
        try:
            found = read(message, self.prefix, self.outlets.clock(), self.outlets.macs)
        except Exception as error:  # noqa: BLE001 - reported and logged; the rest of the batch goes on
            outbox.give_back(message, f"cannot be read: {type(error).__name__}", error)
            return []
        match found:
            case WaitingDelivery():
                outbox.offer_again(message, found)
            case Rejected(own=None):
                outbox.reject(message, found)
                self._unanswerable(message, found)
            case Rejected():
                # Another release wrote it, and may be able to read it. Otherwise it ends as a dead letter.
                outbox.give_back(message, f"a {found.own} that cannot be read: {found.faults[0].field}")
                self._unanswerable(message, found)
            case Ignored():
                self._unanswerable(message, found)
            case list():
                return self._allowed(found, outbox) if self.visits.policy.allowed_requesters else found
            case _:
                return self._due(message, found, outbox)
        return []

    def _due(self, message: Message, group: Group, outbox: Outbox) -> list[Case]:
        """The cases of a group that are due; the outbox keeps the group together."""
        now = self.outlets.clock()
        cases = group.cases(message, now)
        if self.visits.policy.allowed_requesters and cases and not self._allowed(cases, outbox):
            return []
        outbox.gather(message, group, group.unsent(now))
        return cases

    def _allowed(self, cases: list[Case], outbox: Outbox) -> list[Case]:
        """The same cases if their requester is allowed; otherwise none, and each gets a verdict without a call to the
        cloud.

        A case that returns was allowed when it first came, and is watched to its end. The verdict is for the message's
        own id, since a stranger must not be able to end the request that the message names. No summary follows.
        """
        request, allowed = cases[0].request, self.visits.policy.allowed_requesters
        if not cases[0].fresh or request.requester.is_allowed(allowed):
            return cases
        refusal = failed(Reason.REQUESTER_NOT_ALLOWED, f"the requester is {request.requester.name}")
        message = cases[0].message
        for asked in cases:
            correlation_id = asked.request.correlation_id or asked.request.id
            named = replace(
                asked.request, id=message.id, source=message.source, correlation_id=correlation_id, summary=False
            )
            case = replace(asked, request=named)
            step = Step(case, as_check(refusal) if case.request.dry_run else refusal)
            for observer in self.outlets.observers:
                observer.step(step)
            outbox.take(step)
        return []

    def _unanswerable(self, message: Message, found: Rejected | Ignored) -> None:
        for observer in self.outlets.observers:
            observer.unanswerable(message, found)


def _drawn(message: Message) -> float:
    return Random(f"{message.id}/{message.receive_count}").random()  # noqa: S311 - not a secret
