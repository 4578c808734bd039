"""Visits servers: one worker per server takes its cases in order. Each case gets a look, a decision and at most one
DELETE.

Visits of different servers run in parallel and share nothing, so a slow server delays only its own cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from shared.decision.case import (
    CREDENTIALS_UNREAD,
    Broken,
    Case,
    Conclude,
    Decision,
    Delete,
    Disks,
    NotLookedAt,
    Requeue,
    Step,
)
from shared.decision.meant import Standing, identity
from shared.decision.progress import Progress
from shared.decision.requeue import after_delete, as_check, requeue, when_unreadable
from shared.decision.rules import decide
from shared.model import AnswerClass, Attachment, Call, Classified, Listed, Seen, Server, Volume
from shared.policy import (
    COPIES_REMEMBERED,
    FRESH,
    LONGEST_DELETE,
    OUTLIVE,
    POLL,
    RECORD_AFTER,
    SERVERS_AT_ONCE,
    SHORTEST_LOOK,
    UNSETTLED_PAUSE,
    Policy,
)
from shared.ports import AwsTrouble, Clock, Cloud, Clouds, CloudTrouble, Reading, Sent
from shared.quick import dataclass
from shared.settings import SettingsError

Value = TypeVar("Value")
Task = Callable[[], object]
Decide = Callable[[Case, Policy, datetime], Decision]
Key = tuple[str, str, str]
Disk = tuple[str, str, Attachment | None]
AfterDelete = Callable[[Case, Classified, Policy, datetime], Requeue | Conclude]


OTHER_ENDPOINTS = "not found, but the endpoints are not those of the first look: check OS_REGION_NAME and OS_PROJECT_ID"


class OutOfTime(Exception):
    """The invocation ended while the case was being processed; its message will be redelivered."""


@dataclass
class Look:
    """Reads the cloud for the cases of one visit. Reads that cases have in common are shared while fresh.

    `calls`, and the case whose DELETE was `sent`, belong to the current case.
    """

    clouds: Clouds
    clock: Clock
    deadline: datetime | None = None
    many_under_way: bool = False
    calls: list[Call] = field(default_factory=list)
    sent: Case | None = None
    _clouds: dict[str | None, Cloud] = field(default_factory=dict)
    _kept: dict[str, tuple[datetime, Reading[Any] | CloudTrouble]] = field(default_factory=dict)

    def at(self, case: Case) -> Seen:
        """Read what the case needs next, and where it was read. Raises CloudTrouble.

        Before a possible DELETE: the server, its list, and then the volume, so that nothing comes between that read and
        the DELETE. While a detach is under way, the volume alone shows its progress; the list is read once the volume
        is no longer `detaching`.
        """
        cloud = self._cloud(case)
        seen = self._everything(cloud, case) if case.may_delete else self._watched(cloud, case)
        place = cloud.place()
        if place != (case.progress.place or place) and None in (seen.volume, seen.listing):
            raise CloudTrouble(Classified(AnswerClass.RECONCILE, "other_endpoints", OTHER_ENDPOINTS))
        return replace(seen, place=place)

    def _watched(self, cloud: Cloud, case: Case) -> Seen:
        """A look while a detach is under way."""
        volume, progress = self._under_way(cloud, case.request.volume_id), case.progress
        seen = Seen(volume, listing_read=False)
        if volume and volume.status == "detaching" and _still_holds(volume, case):
            return self._with_record(cloud, case, seen) if self._record_is_due(case) else seen
        if volume and volume.status in ("in-use", "reserved") and not progress.accepted_at:
            return self._everything(cloud, case)  # another requester's detach was refused: ours may follow
        seen = self.with_list(case, seen)
        held = volume is not None and any(server == case.request.server_id for server, _ in volume.attachments)
        return self._with_record(cloud, case, seen) if held else seen

    def _record_is_due(self, case: Case) -> bool:
        """Whether to read the record now: only that shows that a slow detach has failed for good."""
        since, attempt = case.progress.accepted_at, case.progress.attempt
        return since is not None and attempt % 2 == 0 and self.clock() >= since + timedelta(seconds=RECORD_AFTER)

    def _with_record(self, cloud: Cloud, case: Case, seen: Seen) -> Seen:
        progress = case.progress
        if not (progress.accepted_at and progress.receipt):
            return seen
        record = cloud.ended(case.request.server_id, progress.receipt)
        return replace(seen, ended=self._value(record), said=record.said, reason=record.reason)

    def with_list(self, case: Case, seen: Seen) -> Seen:
        """Add the server's list if it was not read. A volume that came from a list of volumes is read again by its
        id."""
        if self.many_under_way and seen.volume and seen.volume.status == "detaching":
            seen = replace(seen, volume=self._value(self._cloud(case).volume(case.request.volume_id)))
        cloud, server_id = self._cloud(case), case.request.server_id
        return replace(seen, listing=self._shared("listing", lambda: cloud.listing(server_id)), listing_read=True)

    def with_actions(self, case: Case, seen: Seen) -> Seen:
        """Add the server and its action records, which tell whether it was or is being moved."""
        cloud, server_id = self._cloud(case), case.request.server_id
        server = seen.server or self._shared("server", lambda: cloud.server(server_id))
        actions = self._shared("actions", lambda: cloud.actions(server_id))
        if self._value(cloud.volume(case.request.volume_id)) != seen.volume:
            # The records must not be older than the read of the volume.
            raise CloudTrouble(Classified(AnswerClass.RECONCILE, "changed", "the volume changed during the look"))
        return replace(seen, server=server, actions=actions)

    def disks(self, case: Case) -> tuple[Server | None, tuple[Listed, ...] | None, Mapping[str, Volume | None], str]:
        """Read the server, its list, the volumes whose entry names no device, and where all that was read.

        Raises CloudTrouble.
        """
        from shared.decision.disks import unnamed  # imported only for a request for all disks

        cloud, server_id = self._cloud(case), case.request.server_id
        server = self._shared("server", lambda: cloud.server(server_id))
        listing = self._shared("listing", lambda: cloud.listing(server_id)) if server else None
        volumes = {volume_id: self._value(cloud.volume(volume_id)) for volume_id in unnamed(listing or ())}
        place = cloud.place() or ""
        if place != (case.progress.place or place) and listing is None:
            raise CloudTrouble(Classified(AnswerClass.RECONCILE, "other_endpoints", OTHER_ENDPOINTS))
        return server, listing, volumes, place

    def delete(self, case: Case) -> Sent | None:
        """Send the DELETE if its time limit fits into the invocation; None if it does not."""
        if not self.has(LONGEST_DELETE):
            return None
        request, self.sent = case.request, case
        return self._value(self._cloud(case).detach(request.server_id, request.volume_id))

    def _cloud(self, case: Case) -> Cloud:
        project_id = case.request.project_id
        if project_id not in self._clouds:
            self._clouds[project_id] = self.clouds.select(project_id, self.deadline)
        return self._clouds[project_id]

    def has(self, seconds: float) -> bool:
        """Whether this much of the invocation is left."""
        return self.deadline is None or self.clock() + timedelta(seconds=seconds) <= self.deadline

    def _everything(self, cloud: Cloud, case: Case) -> Seen:
        server_id, volume_id = case.request.server_id, case.request.volume_id
        server = self._shared("server", lambda: cloud.server(server_id))
        listing = self._shared("listing", lambda: cloud.listing(server_id)) if server else None
        return Seen(self._value(cloud.volume(volume_id)), listing, server)

    def _under_way(self, cloud: Cloud, volume_id: str) -> Volume | None:
        """Several detaching volumes are read with one call; a volume that is not in that answer is read by its id."""
        found = None
        if self.many_under_way:
            try:
                found = (self._shared("detaching", cloud.detaching) or {}).get(volume_id)
            except CloudTrouble as trouble:
                # A cloud whose list of volumes fails may still return each volume.
                self.many_under_way = False
                self.calls.extend(trouble.calls)
        return found or self._value(cloud.volume(volume_id))

    def _shared(self, name: str, read: Callable[[], Reading[Value]]) -> Value:
        """Read once and share the value, or the failure, while it is fresh."""
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
        # A case records each shared call once.
        self.calls.extend(call for call in reading.calls if call not in self.calls)
        return reading.value

    def _value(self, reading: Reading[Value]) -> Value:
        """The value of a read for this case alone; its calls are recorded."""
        self.calls.extend(reading.calls)
        return reading.value


def _many_under_way(group: Sequence[Case]) -> bool:
    return len(group) > 1 and sum(not case.may_delete for case in group) > 1


def _key(case: Case) -> Key:
    request = case.request
    return request.source, request.id, request.volume_id


def _disk(case: Case) -> Disk:
    return case.request.server_id, case.request.volume_id, case.progress.followed


def _says_something(decision: Decision) -> bool:
    return isinstance(decision, Conclude) or (isinstance(decision, Requeue) and decision.announce_unconfirmed)


def _still_holds(volume: Volume, case: Case) -> bool:
    followed = case.progress.followed
    here = [identity(one) for server, one in volume.attachments if server == case.request.server_id]
    return followed is not None and identity(followed) in here


@dataclass
class Workers:
    """At most this many threads, kept between invocations: starting one costs a fortieth of a batch of one.

    They are started when needed, and replaced after one was late.
    """

    most: int
    _pool: ThreadPoolExecutor | None = None

    def run(self, tasks: Sequence[Task], seconds: float | None) -> None:
        """Run the tasks in parallel and wait at most `seconds`. Raises what a task raised in that time.

        A task that is late goes on in its thread, and one that has not begun never begins.
        """
        pool = self._pool = self._pool or ThreadPoolExecutor(self.most)
        futures: list[Future[Any]] = [pool.submit(task) for task in tasks]
        done, late = wait(futures, seconds)
        if late:
            for future in late:
                future.cancel()
            self._pool = None  # the idle threads end, since nobody holds their pool
        for future in done:
            future.result()


@dataclass(frozen=True)
class Visits:
    """Groups cases by cloud and server, and visits each server with its own worker."""

    clouds: Clouds
    policy: Policy
    clock: Clock
    workers: Workers = field(default_factory=partial(Workers, SERVERS_AT_ONCE))
    decide: Decide = decide
    after_delete: AfterDelete = after_delete
    asked: dict[Key, Progress] = field(default_factory=dict)
    sent_at: dict[Disk, datetime] = field(default_factory=dict)

    def remember(self, case: Case) -> None:
        """Remember the progress of a request whose DELETE may have had an effect, and when it was sent for which disk.

        This helps copies of the request in this process, and other requests for the same disk. No verdict depends on
        it: another process sees a detach and joins it without knowing whose it is.
        """
        self.asked[_key(case)], self.sent_at[_disk(case)] = case.progress, self.clock()
        if len(self.asked) > COPIES_REMEMBERED:
            self.asked.pop(next(iter(self.asked)))
        if len(self.sent_at) > COPIES_REMEMBERED:
            self.sent_at.pop(next(iter(self.sent_at)))

    def recall(self, case: Case) -> Case:
        """Give a copy of a request the progress of the original if that sent a DELETE: the detach is its own."""
        known = self.asked.get(_key(case)) if case.fresh else None
        return replace(case, progress=known) if known else case

    def just_sent(self, case: Case) -> bool:
        """Whether a DELETE for the disk was sent so recently that the cloud may not show it yet."""
        at = self.sent_at.get(_disk(case))
        return at is not None and self.clock() - at < timedelta(seconds=UNSETTLED_PAUSE)

    def all(self, cases: Sequence[Case], deadline: datetime | None) -> list[Step]:
        """Return a step for each case. Unfinished cases are redelivered, and cases that were not begun are requeued."""
        visits = self._visits(cases, deadline)
        if not visits:
            return []
        left = (deadline - self.clock()).total_seconds() + OUTLIVE if deadline else None
        try:
            self.workers.run([visit.run for visit in visits], left)
        finally:
            for visit in visits:
                visit.stopped = True
        return [step for visit in visits for step in visit.steps()]

    def _visits(self, cases: Sequence[Case], deadline: datetime | None) -> list[Visit]:
        grouped: dict[object, list[Case]] = {}
        for case in cases:
            key = self.clouds.key(case.request.project_id), case.request.server_id
            grouped.setdefault(key, []).append(case)
        return [
            Visit(self, group, Look(self.clouds, self.clock, deadline, _many_under_way(group)))
            for group in grouped.values()
        ]


@dataclass
class Visit:
    """The cases for one server and the worker's progress. Only `stopped` is set by another thread."""

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
            self.look.calls, self.look.sent = [], None
            try:
                step = self._step(case) if case.request.volume_id else self._listed(case)
            except Exception as error:  # noqa: BLE001 - reported and logged; the other cases go on
                step = self._failed(case, error)
            self.done.append(step)

    def steps(self) -> list[Step]:
        """The finished steps. A case that was interrupted is redelivered, and cases that were not begun are
        requeued."""
        done = list(self.done)
        middle = [self._interrupted(case) for case in self.cases[len(done) : self.begun]]
        return [*done, *middle, *(self._not_looked_at(case) for case in self.cases[len(done) + len(middle) :])]

    def _step(self, case: Case) -> Step:
        """One look, one decision, at most one DELETE."""
        look, policy, clock = self.look, self.visits.policy, self.visits.clock
        if not look.has(SHORTEST_LOOK):
            return self._not_looked_at(case)
        try:
            if self.visits.asked:
                case = self.visits.recall(case)
            before, seen = case, look.at(case)
            case = before.saw(seen, policy, clock())
            if case.standing is Standing.ASK:
                seen = look.with_actions(case, seen)
                case = before.saw(seen, policy, clock())
            decision = self.visits.decide(case, policy, clock())
            if not seen.listing_read and _says_something(decision):
                # A verdict needs both planes.
                case = before.saw(look.with_list(case, seen), policy, clock())
                decision = self.visits.decide(case, policy, clock())
            if isinstance(decision, Delete):
                case, decision = self._delete(case)
        except (CloudTrouble, AwsTrouble, SettingsError) as trouble:
            case, decision = self._unreadable(case, trouble)
        calls = tuple(look.calls)
        return Step(case.stepped(decision, calls), decision, calls)

    def _listed(self, case: Case) -> Step:
        """List the disks for a request for all data disks. The disks themselves get their looks later."""
        from shared.decision.disks import after_listing  # imported only for a request for all disks

        look, policy, clock = self.look, self.visits.policy, self.visits.clock
        if not look.has(SHORTEST_LOOK):
            return self._not_looked_at(case)
        decision: Disks | Requeue | Conclude
        try:
            server, listing, volumes, place = look.disks(case)
            progress = replace(case.progress, polls=case.progress.polls + 1, place=case.progress.place or place or None)
            case = replace(case, progress=progress)
            decision = after_listing(case, server, listing, volumes, policy, clock())
        except (CloudTrouble, AwsTrouble, SettingsError) as trouble:
            case, decision = self._unreadable(case, trouble)
        calls = tuple(look.calls)
        return Step(case.stepped(decision, calls), decision, calls)

    def _unreadable(
        self, case: Case, trouble: CloudTrouble | AwsTrouble | SettingsError
    ) -> tuple[Case, Requeue | Conclude]:
        if isinstance(trouble, CloudTrouble):
            self.look.calls.extend(call for call in trouble.calls if call not in self.look.calls)
            answer = trouble.classified
        else:
            # The secret may be corrected, or AWS recover, before the request's time is up.
            answer = Classified(AnswerClass.RETRY, CREDENTIALS_UNREAD, f"the credentials cannot be read: {trouble}")
        case = case.unreadable(answer)
        return case, when_unreadable(case, answer, self.visits.policy, self.visits.clock())

    def _delete(self, case: Case) -> tuple[Case, Requeue | Conclude]:
        policy = self.visits.policy
        if self.visits.sent_at and self.visits.just_sent(case):
            why = f"another request sent a DELETE less than {UNSETTLED_PAUSE} s ago"
            return case, requeue(case, policy, self.visits.clock(), why, schedule=POLL)
        sent = None if self.stopped else self.look.delete(case)
        now = self.visits.clock()
        if sent is None:
            return case, requeue(case, policy, now, "no time left for a DELETE in this invocation", schedule=POLL)
        case = case.sent(sent.answer, sent.receipt, now)
        if sent.answer.kind not in (AnswerClass.RETRY, AnswerClass.WAIT):
            self.visits.remember(case)
        return case, self.visits.after_delete(case, sent.answer, policy, now)

    def _interrupted(self, case: Case) -> Step:
        """The case that was being processed when the invocation ended. The other cases of its group are not redelivered
        with it, since their progress would be lost."""
        return self._failed(case, OutOfTime()) if case.request.summary else Step(case, Broken(OutOfTime()))

    def _failed(self, case: Case, error: Exception) -> Step:
        """Our own code failed: the case is requeued with its progress, a limited number of times."""
        from shared.decision.failures import after_failure  # imported only on a failure

        sent, calls = self.look.sent, tuple(self.look.calls)
        case, then = after_failure(sent or case, error, sent is not None, calls, self.visits.clock())
        return Step(case, Broken(error, then), calls)

    def _not_looked_at(self, case: Case) -> Step:
        """Requeue unchanged, unless the request's time is up."""
        policy, now = self.visits.policy, self.visits.clock()
        ending = requeue(case, policy, now, "no invocation had time to look")
        if isinstance(ending, Conclude) and case.may_delete and not case.progress.unsettled:
            ending = as_check(ending) if case.request.dry_run else ending
            return Step(case.stepped(ending, ()), ending)
        return Step(case, NotLookedAt())
