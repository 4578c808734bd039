"""Gather what the cloud shows, decide, apply: one step of one request, and a batch of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from shared.batch import FRESH, BatchClouds, SharedReads
from shared.decision.after_delete import decide_after_delete, decide_in_trouble
from shared.decision.backoff import POLL
from shared.decision.progress import after_delete, follow, may_delete, may_glance, state_of, with_calls
from shared.decision.requeue import Policy, wait
from shared.decision.rules import RULES, Rule, decide, glance
from shared.inbox.own_messages import Task, continuation_body
from shared.model import (
    Call,
    Classified,
    Conclude,
    Decision,
    Delete,
    DetachRequest,
    Inspect,
    Observation,
    Progress,
    Wait,
)
from shared.outbox.events import EventFactory
from shared.ports import AwsTrouble, Cloud, Clouds, CloudTrouble, Event, EventSink, Message, Queue, Reading

Clock = Callable[[], datetime]
Value = TypeVar("Value")
Settle = Callable[[DetachRequest, Progress, Classified, Policy, datetime], Decision]


@dataclass(frozen=True, slots=True)
class Step:
    """What one look at one request came to, and what is still to be sent for it."""

    task: Task
    progress: Progress
    decision: Decision
    seen: Observation | None
    calls: tuple[Call, ...]
    events: tuple[Event, ...] = ()
    message: Message | None = None


Observer = Callable[[Step], None]


class OutOfTime(Exception):
    """The invocation ends before the request was stepped; the message comes again."""


def _value(reading: Reading[Value], calls: list[Call]) -> Value:
    """What was read, with its calls noted; a reading that is shared is noted once."""
    calls.extend(call for call in reading.calls if call not in calls)
    return reading.value


def failed_with(error: Exception) -> Future[Step]:
    future: Future[Step] = Future()
    future.set_exception(error)
    return future


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Level-triggered: each step reads the world anew, does at most one effect, and concludes or comes back."""

    clouds: Clouds
    queue: Queue
    sink: EventSink
    events: EventFactory
    policy: Policy
    clock: Clock
    observe: Observer = lambda step: None
    in_flight: int = 10
    rules: Sequence[Rule] = RULES
    settle: Settle = decide_after_delete

    def run(self, tasks: Sequence[Task], deadline: datetime | None = None) -> list[BaseException | None]:
        """Step every task, several at once, then send what they came to; a position holds its error, if any.

        An error (AWS did not take a message, no time was left, or a bug of ours) stays with its own task: the
        caller gives that one back to the queue, the others are done. All is over by `deadline`.
        """
        if not tasks:
            return []
        clouds = BatchClouds(self.clouds, self.clock, deadline)
        pool = ThreadPoolExecutor(max_workers=min(self.in_flight, len(tasks)))
        futures = [pool.submit(self.step, task, clouds) for task in tasks]
        left = (deadline - self.clock()).total_seconds() if deadline else None
        late = wait_for(futures, timeout=left).not_done
        pool.shutdown(wait=not late, cancel_futures=True)
        return self._send([failed_with(OutOfTime()) if future in late else future for future in futures])

    def step(self, task: Task, clouds: BatchClouds) -> Step:
        """One look, one decision, at most one DELETE."""
        now = self.clock()
        progress = task.progress or Progress(first_seen_at=now)
        calls: list[Call] = []
        seen: Observation | None = None
        try:
            cloud = clouds.select(task.request.project_id)
            glanced = self._glance(cloud, task, progress, calls)
            seen, progress, decision = glanced or self._look(cloud, task, progress, calls, may_delete(progress))
            if isinstance(decision, Inspect):
                seen, progress, decision = self._look(cloud, task, progress, calls, with_server=True)
            if isinstance(decision, Delete):
                seen, progress, decision = self._delete(cloud, task, seen, progress, calls)
        except CloudTrouble as trouble:
            calls.extend(trouble.calls)
            last_error = f"{trouble.classified.code}: {trouble.classified.message}"
            progress = progress.model_copy(update={"last_error": last_error})
            decision = decide_in_trouble(task.request, progress, trouble.classified, self.policy, self.clock())
        step = self._finish(task, with_calls(progress, tuple(calls)), decision, seen, tuple(calls))
        self.observe(step)
        return step

    def _glance(
        self, cloud: Cloud, task: Task, progress: Progress, calls: list[Call]
    ) -> tuple[None, Progress, Wait] | None:
        """The server's list alone, which all requests for it share: enough to say "not yet", and for nothing else."""
        if not may_glance(progress, self.policy.glances, self.clock()):
            return None
        listing = _value(cloud.listing(task.request.server_id), calls)
        not_yet = glance(task.request, progress, listing, self.policy, self.clock())
        return (None, progress.model_copy(update={"polls": progress.polls + 1}), not_yet) if not_yet else None

    def _look(
        self, cloud: Cloud, task: Task, progress: Progress, calls: list[Call], with_server: bool
    ) -> tuple[Observation, Progress, Decision]:
        """Read the planes, take in what they say, decide."""
        seen = self._read(cloud, task, progress, calls, with_server)
        skew = timedelta(0) if task.redelivered_since else self.policy.fence_skew
        progress = follow(task.request, progress, seen, self.clock(), skew)
        decision = decide(task.request, progress, seen, self.policy, self.clock(), task.redelivered_since, self.rules)
        return seen, progress, decision

    def _read(self, cloud: Cloud, task: Task, progress: Progress, calls: list[Call], with_server: bool) -> Observation:
        """The volume last: it names the attachment, and nothing may come between that read and a DELETE."""

        server_id = task.request.server_id
        server = _value(cloud.server(server_id), calls) if with_server else None
        listing = None if with_server and server is None else _value(cloud.listing(server_id), calls)
        volume = _value(cloud.volume(task.request.volume_id), calls)
        action_failed = None
        if progress.accepted_at and progress.delete_request_id and volume and volume.status == "in-use":
            action_failed = _value(cloud.action_failed(server_id, progress.delete_request_id), calls)
        return Observation(volume, listing, server, action_failed)

    def _delete(
        self, cloud: SharedReads, task: Task, seen: Observation | None, progress: Progress, calls: list[Call]
    ) -> tuple[Observation | None, Progress, Decision]:
        """When its turn has come; after a long wait for it everything is asked once more, gates and fence."""
        decision: Decision = Delete()
        with cloud.turn(task.request.server_id) as waited:
            if waited > FRESH:
                seen, progress, decision = self._look(cloud, task, progress, calls, with_server=True)
            if isinstance(decision, Delete) and not cloud.has_time:
                why = "no time left for a DELETE in this invocation"
                decision = wait(task.request, progress, self.policy, self.clock(), why, schedule=POLL)
            if isinstance(decision, Delete):
                answer = cloud.detach(task.request.server_id, task.request.volume_id)
                calls.extend(answer.calls)
                now = self.clock()
                progress = after_delete(progress, answer.value, answer.calls[-1] if answer.calls else None, now)
                decision = self.settle(task.request, progress, answer.value, self.policy, now)
        return seen, progress, decision

    def _finish(
        self,
        task: Task,
        progress: Progress,
        decision: Decision,
        seen: Observation | None,
        calls: tuple[Call, ...],
    ) -> Step:
        """Turn the decision into what has to be sent."""
        now = self.clock()
        after = state_of(task.request, seen) if seen else None
        step = Step(task, progress, decision, seen, calls)
        match decision:
            case Conclude():
                event = self.events.verdict(task.request, progress, decision, after, now)
                return replace(step, events=(event,))
            case Wait(seconds=seconds, announce_unconfirmed=announce):
                events: tuple[Event, ...] = ()
                if announce:
                    event = self.events.unconfirmed(task.request, progress, decision, after, now)
                    events = (event,)
                    progress = progress.model_copy(update={"unconfirmed_id": event.id, "attempt": -1})
                progress = progress.model_copy(update={"attempt": progress.attempt + 1})
                message = Message(continuation_body(task.request, progress), delay=seconds)
                return replace(step, progress=progress, events=events, message=message)
        raise AssertionError(f"nothing applies {decision}")

    def _send(self, futures: Sequence[Future[Step]]) -> list[BaseException | None]:
        """Events before continuations: a verdict may be sent twice under one id, but is never lost."""
        results: list[BaseException | None] = [future.exception() for future in futures]
        steps = [(at, future.result()) for at, future in enumerate(futures) if results[at] is None]
        emitting = [(at, event) for at, step in steps for event in step.events]
        for index, why in self.sink.emit([event for _, event in emitting]).items():
            results[emitting[index][0]] = AwsTrouble(f"event not emitted: {why}")
        sending = [(at, step.message) for at, step in steps if step.message and results[at] is None]
        for index, why in self.queue.send([message for _, message in sending]).items():
            results[sending[index][0]] = AwsTrouble(f"continuation not sent: {why}")
        return results
