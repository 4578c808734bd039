"""The visit: one worker at one server goes through its cases in order. Look, decide, at most one DELETE each.

Visits of different servers run side by side and share nothing, so a slow server delays its own cases only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from shared.decision.case import Broken, Case, Conclude, Decision, Delete, NotLookedAt, Requeue, Step, identity
from shared.decision.requeue import after_delete, as_check, requeue, when_unreadable
from shared.decision.rules import decide
from shared.model import Call, Classified, Listed, Seen, Volume
from shared.policy import FRESH, LONGEST_CALL, POLL, SERVERS_AT_ONCE, SHORTEST_LOOK, Policy
from shared.ports import Clock, Cloud, Clouds, CloudTrouble, Reading, Sent

Value = TypeVar("Value")
Decide = Callable[[Case, Policy, datetime], Decision]
AfterDelete = Callable[[Case, Classified, Policy, datetime], Requeue | Conclude]


NOT_LISTED = (200, 400, 403, 404)
"""Statuses of a cloud that does not let us list volumes, or lists one that cannot be read; the others still can."""


class OutOfTime(Exception):
    """The invocation ended while the case was being worked on; its message comes again."""


@dataclass
class Look:
    """Reads for the cases of one visit. What they ask in common is read once while it is fresh."""

    clouds: Clouds
    clock: Clock
    deadline: datetime | None = None
    many_under_way: bool = False
    calls: list[Call] = field(default_factory=list)
    _clouds: dict[str | None, Cloud] = field(default_factory=dict)
    _kept: dict[str, tuple[datetime, Reading[Any] | CloudTrouble]] = field(default_factory=dict)

    def at(self, case: Case) -> Seen:
        """What the case needs next. Raises CloudTrouble.

        Where a DELETE may follow: the server, its list, and the volume last, since nothing may come between that
        read and the DELETE. While a detach is under way the volume shows both ends of it; the list is read when the
        volume no longer says that it is detaching.
        """
        cloud = self._cloud(case)
        if case.may_delete:
            return self._everything(cloud, case)
        volume = self._under_way(cloud, case.request.volume_id)
        seen = Seen(volume, listing_read=False)
        if volume and volume.status == "detaching" and _still_holds(volume, case):
            return seen
        if volume and volume.status == "in-use" and not case.progress.accepted_at:
            return self._everything(cloud, case)  # somebody else's detach was refused: ours may follow
        seen, progress = self.with_list(case, seen), case.progress
        if volume and volume.status == "in-use" and progress.accepted_at and progress.receipt:
            seen = replace(seen, ended=self._told(cloud.ended(case.request.server_id, progress.receipt)))
        return seen

    def with_list(self, case: Case, seen: Seen) -> Seen:
        """The same with the server's list, where that was not read."""
        return replace(seen, listing=self._listing(self._cloud(case), case.request.server_id), listing_read=True)

    def delete(self, case: Case) -> Sent | None:
        """Send the DELETE, if it is over before the invocation is; None if there is no time left for that."""
        if not self.has(LONGEST_CALL):
            return None
        request = case.request
        return self._told(self._cloud(case).detach(request.server_id, request.volume_id))

    def _cloud(self, case: Case) -> Cloud:
        project_id = case.request.project_id
        if project_id not in self._clouds:
            self._clouds[project_id] = self.clouds.select(project_id, self.deadline)
        return self._clouds[project_id]

    def has(self, seconds: float) -> bool:
        """Whether so much is left of the invocation."""
        return self.deadline is None or self.clock() + timedelta(seconds=seconds) <= self.deadline

    def _everything(self, cloud: Cloud, case: Case) -> Seen:
        server_id, volume_id = case.request.server_id, case.request.volume_id
        server = self._shared("server", lambda: cloud.server(server_id))
        listing = self._listing(cloud, server_id) if server else None
        return Seen(self._told(cloud.volume(volume_id)), listing, server)

    def _listing(self, cloud: Cloud, server_id: str) -> tuple[Listed, ...] | None:
        return self._shared("listing", lambda: cloud.listing(server_id))

    def _under_way(self, cloud: Cloud, volume_id: str) -> Volume | None:
        """Many disks under way are asked for at once, and each for itself where that does not settle it."""
        found = None
        if self.many_under_way:
            try:
                found = (self._shared("detaching", cloud.detaching) or {}).get(volume_id)
            except CloudTrouble as trouble:
                if not any(call.status in NOT_LISTED for call in trouble.calls):
                    raise
                self.many_under_way = False
                self.calls.extend(trouble.calls)
        return found or self._told(cloud.volume(volume_id))

    def _shared(self, name: str, read: Callable[[], Reading[Value]]) -> Value:
        """What was read, or that it could not be read, is shared while it is fresh."""
        kept = self._kept.get(name)
        if kept is None or self.clock() - kept[0] > timedelta(seconds=FRESH):
            at = self.clock()
            try:
                kept = at, read()
            except CloudTrouble as trouble:
                kept = self.clock(), trouble
            self._kept[name] = kept
        if isinstance(kept[1], CloudTrouble):
            raise kept[1]
        reading: Reading[Value] = kept[1]
        return self._told(reading)

    def _told(self, reading: Reading[Value]) -> Value:
        """What was read, with its calls noted; for one case a shared reading is noted once."""
        self.calls.extend(call for call in reading.calls if call not in self.calls)
        return reading.value


def _says_something(decision: Decision) -> bool:
    return isinstance(decision, Conclude) or (isinstance(decision, Requeue) and decision.announce_unconfirmed)


def _still_holds(volume: Volume, case: Case) -> bool:
    followed = case.progress.followed
    here = [identity(one) for server, one in volume.attachments if server == case.request.server_id]
    return followed is not None and identity(followed) in here


@dataclass(frozen=True)
class Visits:
    """Groups cases by cloud and server, and has each server visited by a worker of its own."""

    clouds: Clouds
    policy: Policy
    clock: Clock
    at_once: int = SERVERS_AT_ONCE
    decide: Decide = decide
    after_delete: AfterDelete = after_delete

    def all(self, cases: Sequence[Case], deadline: datetime | None) -> list[Step]:
        """A step for each case. What is not done by the deadline is given back, or put back if it was not begun."""
        visits = self._visits(cases, deadline)
        if not visits:
            return []
        pool = ThreadPoolExecutor(max_workers=min(self.at_once, len(visits)))
        futures = [pool.submit(visit.run) for visit in visits]
        left = (deadline - self.clock()).total_seconds() if deadline else None
        done, late = wait(futures, left)
        for visit in visits:
            visit.stopped = True
        pool.shutdown(wait=not late, cancel_futures=True)
        for future in done:
            future.result()
        return [step for visit in visits for step in visit.steps()]

    def _visits(self, cases: Sequence[Case], deadline: datetime | None) -> list[Visit]:
        grouped: dict[object, list[Case]] = {}
        for case in cases:
            key = self.clouds.key(case.request.project_id), case.request.server_id
            grouped.setdefault(key, []).append(case)
        return [
            Visit(self, group, Look(self.clouds, self.clock, deadline, sum(not case.may_delete for case in group) > 1))
            for group in grouped.values()
        ]


@dataclass
class Visit:
    """The cases for one server, and how far the worker has got; only `stopped` is set by another thread."""

    visits: Visits
    cases: Sequence[Case]
    look: Look
    done: list[Step] = field(default_factory=list)
    begun: int = 0
    stopped: bool = False

    def run(self) -> None:
        for case in self.cases:
            if self.stopped:
                return
            self.begun += 1
            self.look.calls = []
            try:
                step = self._step(case)
            except Exception as error:  # noqa: BLE001 - reported and logged; it must not take other cases along
                step = Step(case, Broken(error), tuple(self.look.calls))
            self.done.append(step)

    def steps(self) -> list[Step]:
        """What is done; of the rest, the case in the middle comes again, and those not begun are put back."""
        done = list(self.done)
        middle = [Step(case, Broken(OutOfTime())) for case in self.cases[len(done) : self.begun]]
        return [*done, *middle, *(self._not_looked_at(case) for case in self.cases[len(done) + len(middle) :])]

    def _step(self, case: Case) -> Step:
        """One look, one decision, at most one DELETE."""
        look, policy, clock = self.look, self.visits.policy, self.visits.clock
        if not look.has(SHORTEST_LOOK):
            return self._not_looked_at(case)
        try:
            before, case = case, case.saw(look.at(case), policy, clock())
            decision = self.visits.decide(case, policy, clock())
            if _says_something(decision) and case.seen and not case.seen.listing_read:
                # Whatever is said rests on both planes.
                case = before.saw(look.with_list(case, case.seen), policy, clock())
                decision = self.visits.decide(case, policy, clock())
            if isinstance(decision, Delete):
                case, decision = self._delete(case)
        except CloudTrouble as trouble:
            look.calls.extend(call for call in trouble.calls if call not in look.calls)
            case = case.unreadable(trouble.classified)
            decision = when_unreadable(case, trouble.classified, policy, clock())
        calls = tuple(look.calls)
        return Step(case.stepped(decision, calls), decision, calls)

    def _delete(self, case: Case) -> tuple[Case, Requeue | Conclude]:
        sent = None if self.stopped else self.look.delete(case)
        policy, now = self.visits.policy, self.visits.clock()
        if sent is None:
            return case, requeue(case, policy, now, "no time left for a DELETE in this invocation", schedule=POLL)
        case = case.sent(sent.answer, sent.receipt, now)
        return case, self.visits.after_delete(case, sent.answer, policy, now)

    def _not_looked_at(self, case: Case) -> Step:
        """Put back as it was, unless no invocation ever has time for it."""
        policy, now = self.visits.policy, self.visits.clock()
        ending = requeue(case, policy, now, "no invocation had time to look")
        if isinstance(ending, Conclude):
            ending = as_check(ending) if case.request.dry_run else ending
            return Step(case.stepped(ending, ()), ending)
        return Step(case, NotLookedAt())
