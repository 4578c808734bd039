"""The whole product on virtual time: the real service and adapters, a simulated cloud, queue and bus, no sockets.

Every effect (each HTTP call, each message sent, each event emitted, each acknowledgement) is numbered as it
happens, and the process can be made to die just before or just after any of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import requests

from local.stack import simulator_credentials
from shared.cloud.openstack import Projects, connect
from shared.model import Message
from shared.outbox.consumers import Consumers
from shared.outbox.dead_letters import DeadLetters
from shared.outbox.events import EventFactory
from shared.outbox.observer import Observer
from shared.outbox.outbox import Outlets
from shared.policy import MAX_RECEIVES
from shared.policy import VISIBILITY as VISIBILITY_SECONDS
from shared.ports import Consumer, Event, K, QueueMessage, Unsent
from shared.service import Service
from shared.settings import CloudCredentials, Settings, load
from shared.telemetry.logs import Logs, logger
from shared.visit import Visits
from simulator import CloudApi, InProcessAdapter

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
VISIBILITY = timedelta(seconds=VISIBILITY_SECONDS)


LINES: list[str] = []


class _Remembering(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        LINES.append(self.format(record))


def _remember_lines() -> None:
    handler = _Remembering()
    handler.setFormatter(logger.registered_formatter)
    logging.getLogger(logger.name).handlers[:] = [handler]


_remember_lines()


class Clock:
    """Time that passes only when told to."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Died(BaseException):
    """The process is gone: nothing after this point happens in this invocation."""


@dataclass
class Effects:
    """Numbers the effects of a run, and dies at the planned ones: (number, "before" or "after")."""

    deaths: frozenset[tuple[int, str]] = frozenset()
    log: list[str] = field(default_factory=list)
    dead: bool = False
    interventions: dict[int, Callable[[str], object]] = field(default_factory=dict)
    tick: Callable[[], None] = lambda: None

    def perform(self, name: str, effect: Callable[[], Any]) -> Any:
        if self.dead:
            raise Died
        # Nothing takes no time: what happens before and after an effect is told apart by the clock.
        self.tick()
        number = len(self.log)
        # Somebody else acts just before this effect: another requester, an operator, a second delivery.
        if number in self.interventions:
            self.interventions.pop(number)(name)
        self.log.append(name)
        self._die_at(number, "before")
        try:
            return effect()
        finally:
            self._die_at(number, "after")

    def _die_at(self, number: int, when: str) -> None:
        if (number, when) in self.deaths:
            self.dead = True
            raise Died


@dataclass(eq=False)
class Queued:
    """A message in the virtual queue."""

    id: str
    body: str
    sent_at: datetime
    visible_at: datetime
    receive_count: int = 0
    first_received_at: datetime | None = None

    def received(self) -> Message:
        return Message(
            body=self.body,
            id=self.id,
            source="arn:aws:sqs:eu-central-1:123456789012:volume-detach-requests",
            sent_at=self.sent_at,
            first_received_at=self.first_received_at,
            receive_count=self.receive_count,
        )


class VirtualQueue:
    """SQS as far as we lean on it: delay, visibility timeout, receive count, dead letters."""

    def __init__(self, clock: Clock, effects: Effects) -> None:
        self._clock = clock
        self._effects = effects
        self._sent = 0
        self.messages: list[Queued] = []
        self.dead_letters: list[Queued] = []
        self.copies = False

    def put(self, body: str, delay: float = 0, id: str | None = None) -> Queued:
        """A message from outside; with the `id` of another one it is a duplicate of it."""
        self._sent += 1
        self.copies |= id is not None
        now = self._clock()
        message = Queued(id or f"message-{self._sent}", body, now, now + timedelta(seconds=delay))
        self.messages.append(message)
        return message

    def send(self, messages: Mapping[K, QueueMessage]) -> Mapping[K, Unsent]:
        for message in messages.values():
            self._effects.perform("send", partial(self.put, message.body, message.delay))
        return {}

    def receive(self, most: int) -> list[Queued]:
        now = self._clock()
        batch = []
        for message in [m for m in self.messages if m.visible_at <= now][:most]:
            if message.receive_count >= MAX_RECEIVES:
                self.messages.remove(message)
                self.dead_letters.append(message)
                continue
            message.receive_count += 1
            message.first_received_at = message.first_received_at or now
            message.visible_at = now + VISIBILITY
            batch.append(message)
        return batch

    def take(self, message: Queued) -> list[Queued]:
        """Receive this very message, if it can be received now."""
        if message not in self.messages:
            return []
        kept = [other for other in self.messages if other is not message]
        self.messages = [message]
        batch = self.receive(1)
        self.messages += kept
        return batch

    def acknowledge(self, message: Queued) -> None:
        self._effects.perform("acknowledge", lambda: self.messages.remove(message))

    def next_visible(self) -> datetime | None:
        return min((message.visible_at for message in self.messages), default=None)


class VirtualBus:
    """Takes every event, and remembers them in order."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self.events: list[dict[str, Any]] = []

    def emit(self, events: Mapping[K, Event]) -> Mapping[K, Unsent]:
        for event in events.values():
            self._effects.perform("emit", partial(self.events.append, json.loads(event.body)))
        return {}


class CountingAdapter(InProcessAdapter):
    """The in-process cloud, with every call an effect."""

    def __init__(self, cloud: CloudApi, effects: Effects, clock: Clock) -> None:
        super().__init__(cloud, sleep=clock.sleep)
        self._effects = effects

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        name = f"{request.method} {request.path_url}"
        forward = super().send
        answer: requests.Response = self._effects.perform(name, lambda: forward(request, *arguments, **options))
        return answer


class Simulation:
    """Runs messages through the service until nothing is left to do."""

    def __init__(
        self,
        make_cloud: Callable[[Callable[[], datetime]], CloudApi],
        settings: Mapping[str, str] | None = None,
        deaths: frozenset[tuple[int, str]] = frozenset(),
        observers: Sequence[Observer] = (Logs(),),
        consumers: Mapping[str, Consumer] | None = None,
        mutate: Callable[[Service], Service] = lambda service: service,
    ) -> None:
        self.clock = Clock()
        self.effects = Effects(deaths, tick=partial(self.clock.sleep, 0.001))
        self.cloud = make_cloud(self.clock)
        # keystoneauth1 looks at the real clock; on ours a token must not seem to have expired.
        self.cloud.deployment.token_seconds = 10 * 365 * 86400
        self._first_line = len(LINES)
        self.queue = VirtualQueue(self.clock, self.effects)
        self.bus = VirtualBus(self.effects)
        self._settings = load(Settings, {"REQUEST_QUEUE_URL": "virtual", **(settings or {})})
        self._observers = observers
        self._mutate = mutate
        self._consumers = consumers or {}
        self.errors: list[BaseException] = []
        self._service = self._start()

    @property
    def logs(self) -> list[str]:
        """Every line logged since the start, as it would stand in the log."""
        return LINES[self._first_line :]

    def _start(self) -> Service:
        """A fresh process: new service, new connections, no token."""
        http = requests.Session()
        http.mount("http://", CountingAdapter(self.cloud, self.effects, self.clock))
        credentials = load(CloudCredentials, simulator_credentials(self.cloud))
        projects = Projects(lambda read: connect(read, http, self.clock), lambda _: credentials)
        visits = Visits(projects, self._settings.policy, self.clock, at_once=1)
        return self._mutate(Service(self._settings.event_type_prefix, visits, self._outlets()))

    def _outlets(self) -> Outlets:
        events = EventFactory(self._settings.event_source, self._settings.event_type_prefix)
        consumers = Consumers(self._consumers)
        return Outlets(self.bus, self.queue, events, self.clock, consumers, self._observers)

    def run(self, most_deliveries: int = 2000, batch: int = 1) -> None:
        """Deliver until the queue is empty; time jumps to the next message."""
        for _ in range(most_deliveries):
            if not self.step(batch):
                return
        raise AssertionError(f"not done after {most_deliveries} deliveries")

    def step(self, batch: int = 1) -> bool:
        """Jump to the next message and deliver it, a dead letter if there is no other; False if there is none."""
        at = self.queue.next_visible()
        if at is None:
            return self._bury()
        self.clock.now = max(self.clock.now, at)
        self.deliver(self.queue.receive(batch))
        return True

    def _bury(self) -> bool:
        """Let report_dead_letter answer what died too often."""
        last = DeadLetters(self._settings.event_type_prefix, self._outlets())
        for message in list(self.queue.dead_letters):
            try:
                if not last.handle([message.received()]).unsent:
                    self.effects.perform("acknowledge", partial(self.queue.dead_letters.remove, message))
            except Died:
                self.effects.dead = False
            return True
        return False

    def deliver(self, batch: list[Queued], elsewhere: bool = False) -> None:
        """One invocation, in this process or in another one; a death ends it, and the next is a new process."""
        service = self._start() if elsewhere else self._service
        try:
            unsent = service.handle([message.received() for message in batch]).unsent
            for message in batch:
                if message.id not in unsent:
                    self.queue.acknowledge(message)
            self.errors += [why.cause or AssertionError(why.why) for why in unsent.values()]
        except Died:
            pass
        if self.effects.dead:
            self.effects.dead = False
            self._service = self._start()
