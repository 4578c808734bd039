"""The whole product in memory, on virtual time: the real service and adapters, a simulated cloud, queue and bus.

Every effect (each HTTP call, each message sent, each event emitted, each acknowledgement) is numbered as it
happens, and the process can be made to die just before or just after any of them.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, NamedTuple

import requests

from shared.cloud.openstack import OpenStackCloud, Projects, connect, connector
from shared.model import Message
from shared.outbox.consumers import Consumers
from shared.outbox.dead_letters import DeadLetters
from shared.outbox.events import EventFactory
from shared.outbox.observer import Observer
from shared.outbox.outbox import Outlets
from shared.policy import INVOCATION, MAX_RECEIVES, TIME_TO_SEND, VISIBILITY
from shared.ports import Cloud, Clouds, Consumer, Event, K, Macs, QueueMessage, Unsent
from shared.service import Service
from shared.settings import CloudCredentials, DetachApi, Settings, load
from shared.telemetry.logs import Logs, logger
from shared.visit import Visits, Workers
from simulator import CloudApi, Deployment, InProcessAdapter, World
from simulator.aws_limits import of_event, of_message
from tests.access import Access, chosen
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, START, bare

API = os.environ.get("PROOF_API", "compute")
"""The default detach API of stacks (DETACH_API)."""

RECORD = "get_job" if API == DetachApi.BMS_V1 else "get_action"
"""The operation that reads the outcome of a DELETE."""

LONG_AGO = START - timedelta(days=3)

LINES: list[str] = []
"""Every log line of all stacks."""


class _Collector(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        LINES.append(self.format(record))


def _collect_lines() -> None:
    handler = _Collector()
    handler.setFormatter(logger.registered_formatter)
    logging.getLogger(logger.name).handlers[:] = [handler]


_collect_lines()


class Clock:
    """A clock that tests move."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Died(BaseException):
    """The process died: nothing more happens in this invocation."""


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
        # Every effect takes some time, so that the clock distinguishes before and after.
        self.tick()
        number = len(self.log)
        # Another requester, an operator or a second delivery acts just before this effect.
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
    attributes: Mapping[str, str] = field(default_factory=dict)
    delay: timedelta = timedelta()

    @property
    def late(self) -> timedelta:
        """How long after its delay the message was first received. Other invocations can delay it."""
        received = self.first_received_at or self.sent_at + self.delay
        return max(received - self.sent_at - self.delay, timedelta())

    def received(self) -> Message:
        fields = self.sent_at, self.first_received_at, self.receive_count, self.attributes
        return Message(self.body, self.id, QUEUE_ARN, *fields)


class VirtualQueue:
    """The features of SQS that the product uses: delay, visibility timeout, receive count, dead letters.

    `refuse` decides which of our messages it refuses; `sent` has those that it accepted. It refuses messages beyond
    AWS's limits and records them in `illegal`. Its clock is `ahead` of ours. `died` has the id of each message that
    became a dead letter, even if it was handled later. `ever` has all messages. `order` shuffles the deliveries.
    """

    def __init__(self, clock: Clock, effects: Effects | None = None) -> None:
        self._clock = clock
        self.ahead = timedelta()
        self.died: list[str] = []
        self._effects = effects or Effects()
        self._put = 0
        self.ever: list[Queued] = []
        self.refuse: Callable[[QueueMessage], bool] = lambda message: False
        self.sent: list[QueueMessage] = []
        self.illegal: list[str] = []
        self.messages: list[Queued] = []
        self.dead_letters: list[Queued] = []
        self.copies = False
        self.order: Random | None = None

    def put(self, body: str, delay: float = 0, id: str | None = None) -> Queued:
        """Send a message from outside; the `id` of another message makes it a duplicate."""
        self._put += 1
        self.copies |= id is not None
        now = self._clock()
        wait = timedelta(seconds=delay)
        message = Queued(id or f"message-{self._put}", body, now + self.ahead, now + wait, delay=wait)
        self.messages.append(message)
        self.ever.append(message)
        return message

    def send(self, messages: Mapping[K, QueueMessage], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        refused = {key: Unsent("QueueDoesNotExist") for key, message in messages.items() if self.refuse(message)}
        for key, message in messages.items():
            if illegal := of_message(message.body, message.delay):
                self.illegal.append(f"{illegal.code}: {illegal.message}")
                refused[key] = Unsent(illegal.code)
        for key, message in messages.items():
            if key not in refused:
                self.sent.append(message)
                self._effects.perform("send", partial(self.put, message.body, message.delay))
        return refused

    def receive(self, most: int) -> list[Queued]:
        now = self._clock()
        batch = []
        visible = [message for message in self.messages if message.visible_at <= now]
        if self.order:
            self.order.shuffle(visible)
        for message in visible[:most]:
            if message.receive_count >= MAX_RECEIVES:
                self.messages.remove(message)
                self.dead_letters.append(message)
                self.died.append(message.id)
                continue
            message.receive_count += 1
            message.first_received_at = message.first_received_at or now + self.ahead
            message.visible_at = now + timedelta(seconds=VISIBILITY)
            batch.append(message)
        return batch

    def take(self, message: Queued) -> list[Queued]:
        """Receive this message, if it is visible now."""
        if message not in self.messages:
            return []
        kept = [other for other in self.messages if other is not message]
        self.messages = [message]
        batch = self.receive(1)
        self.messages += kept
        return batch

    def acknowledge(self, message: Queued) -> None:
        if message in self.messages:  # otherwise it was deleted by its receipt before
            self._effects.perform("acknowledge", lambda: self.messages.remove(message))

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete a message by its receipt, as the function does before the batch ends."""
        for message in [one for one in self.messages if one.id in {message.id for message in messages}]:
            self.acknowledge(message)

    def next_visible(self) -> datetime | None:
        return min((message.visible_at for message in self.messages), default=None)

    def __len__(self) -> int:
        return len(self.messages)


class Offer(NamedTuple):
    """When an event was first sent to the bus, and when that invocation began."""

    began: datetime
    at: datetime


class VirtualBus:
    """Records events in order, as JSON; `refuse` decides which it refuses.

    It refuses events beyond AWS's limits and records them in `illegal`. `offered` has the time of each first attempt.
    """

    def __init__(self, effects: Effects | None = None, offer: Callable[[], Offer] | None = None) -> None:
        self._effects = effects or Effects()
        self._offer = offer or (lambda: Offer(START, START))
        self.refuse: Callable[[Event], bool] = lambda event: False
        self.events: list[dict[str, Any]] = []
        self.illegal: list[str] = []
        self.offered: dict[str, Offer] = {}

    def emit(self, events: Mapping[K, Event], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        for event in events.values():
            self.offered.setdefault(json.dumps(json.loads(event.body)), self._offer())
        refused = {key: Unsent("InternalFailure") for key, event in events.items() if self.refuse(event)}
        for key, event in events.items():
            if illegal := of_event(event.source, event.type, event.body):
                self.illegal.append(f"{illegal.code}: {illegal.message}")
                refused[key] = Unsent(illegal.code)
        for key, event in events.items():
            if key not in refused:
                self._effects.perform("emit", partial(self.events.append, json.loads(event.body)))
        return refused

    @property
    def data(self) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events]

    def final(self, volume_id: str) -> dict[str, Any]:
        """The one final verdict about a volume."""
        (only,) = [d for d in self.data if d.get("volume_id") == volume_id and d["verdict"] in ("detached", "failed")]
        return only


class CountingAdapter(InProcessAdapter):
    """The in-process cloud; every call is an effect."""

    def __init__(
        self, cloud: CloudApi, effects: Effects, clock: Clock, ended: Callable[[str], None] = lambda name: None
    ) -> None:
        super().__init__(cloud, sleep=clock.sleep)
        self._effects = effects
        self._ended = ended

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        name = f"{request.method} {request.path_url}"
        forward = super().send
        try:
            answer: requests.Response = self._effects.perform(name, lambda: forward(request, *arguments, **options))
        finally:
            self._ended(name)
        return answer


@dataclass
class OneCloud:
    """The same cloud for the requests of all projects."""

    cloud: Cloud

    def key(self, project_id: str | None) -> None:
        return None

    def select(self, project_id: str | None, deadline: datetime | None) -> Cloud:
        return self.cloud


class Stack:
    """Delivers messages to the service until the queue is empty.

    `access` is the kind of login, by default the `chosen` one.

    `began` has the start of each running invocation, `unfinished` the ids of messages with an unacknowledged delivery,
    and `late` the DELETEs that outlived their invocation.
    """

    def __init__(
        self,
        make_cloud: Callable[[Callable[[], datetime]], CloudApi],
        settings: Mapping[str, str] | None = None,
        deaths: frozenset[tuple[int, str]] = frozenset(),
        observers: Sequence[Observer] = (Logs(),),
        consumers: Mapping[str, Consumer] | None = None,
        mutate: Callable[[Service], Service] = lambda service: service,
        clock: Clock | None = None,
        macs: Macs = MESSAGE_KEYS,
        cloud_ahead: timedelta = timedelta(),
        access: str | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.effects = Effects(deaths, tick=partial(self.clock.sleep, 0.001))
        self.cloud = make_cloud(self.clock)
        self.access = Access(self.cloud, access or chosen())
        self.settings = load(Settings, {"REQUEST_QUEUE_URL": "virtual", "DETACH_API": API, **(settings or {})})
        if self.settings.detach_api is DetachApi.BMS_V1:
            self.cloud.deployment.close_compute()
        self.queue = VirtualQueue(self.clock, self.effects)
        self.bus = VirtualBus(self.effects, lambda: Offer(self.began[-1], self.clock()))
        self.began: list[datetime] = [self.clock()]
        self.unfinished: set[str] = set()
        self.late: list[str] = []
        events = EventFactory(self.settings.event_source, self.settings.event_type_prefix)
        self.outlets = Outlets(self.bus, self.queue, macs, events, self.clock, Consumers(consumers or {}), observers)
        self.errors: list[BaseException] = []
        self.batch = 1
        self.cloud_ahead = cloud_ahead
        self._first_line = len(LINES)
        self._mutate = mutate
        self.service = self._start()

    @property
    def logs(self) -> list[str]:
        """Every log line since the start."""
        return LINES[self._first_line :]

    def clouds(self) -> Clouds:
        """New connections, and no token."""
        http = requests.Session()
        for scheme in ("http://", "https://"):
            http.mount(scheme, CountingAdapter(self.cloud, self.effects, self.clock, self._call_ended))
        return Projects(
            partial(connector(self.settings.detach_api), http=http, clock=self.clock), lambda _: self.access.read()
        )

    def _call_ended(self, name: str) -> None:
        """Record a DELETE that outlives its invocation."""
        ends = self.began[-1] + timedelta(seconds=INVOCATION)
        if name.startswith("DELETE") and (len(self.began) < 2 or self.clock() > ends):
            self.late.append(f"{name} ended at {self.clock()}, its invocation at {ends}")

    def _start(self) -> Service:
        """Start a new process."""
        visits = Visits(self.clouds(), self.settings.policy, self.clock, Workers(1))
        return self._mutate(Service(self.settings.event_type_prefix, visits, self.outlets, self.queue.delete))

    def run(self, most_deliveries: int = 2000) -> None:
        """Deliver until the queue is empty, moving the clock to each message."""
        for _ in range(most_deliveries):
            if not self.step():
                return
        raise AssertionError(f"not done after {most_deliveries} deliveries")

    def step(self) -> bool:
        """Move the clock to the next message and deliver it, dead letters last; False if there is none."""
        at = self.queue.next_visible()
        if at is None:
            return self._handle_dead_letters()
        self.clock.now = max(self.clock.now, at)
        self.deliver(self.queue.receive(self.batch))
        return True

    def _handle_dead_letters(self) -> bool:
        """Let report_dead_letter handle the dead letters."""
        last = DeadLetters(self.settings.event_type_prefix, self.outlets)
        for message in list(self.queue.dead_letters):
            self.began.append(self.clock())
            try:
                if not last.handle([message.received()]).unsent:
                    self.effects.perform("acknowledge", partial(self.queue.dead_letters.remove, message))
            except Died:
                self.effects.dead = False
            finally:
                self.began.pop()
            return True
        return False

    def deliver(self, batch: list[Queued], elsewhere: bool = False) -> None:
        """One invocation, in this process or with `elsewhere` in another one. After a death, a new process starts."""
        service = self._start() if elsewhere else self.service
        self.began.append(self.clock())
        try:
            deadline = self.clock() + timedelta(seconds=INVOCATION - TIME_TO_SEND)
            unsent = service.handle([message.received() for message in batch], deadline).unsent
            for message in batch:
                if message.id not in unsent:
                    self.queue.acknowledge(message)
            self.errors += [why.cause or AssertionError(why.why) for why in unsent.values()]
            self.unfinished |= set(unsent)
        except Died:
            self.unfinished |= {message.id for message in batch}
        finally:
            self.began.pop()
        if self.effects.dead:
            self.effects.dead = False
            self.service = self._start()


class Bench(Stack):
    """A stack with one running Linux server, to which a test delivers batches.

    The cloud's clock is `cloud_ahead` of ours.
    """

    def __init__(
        self, cloud: Callable[[World], CloudApi] = CloudApi, cloud_ahead: timedelta = timedelta(), **options: Any
    ) -> None:
        super().__init__(lambda clock: cloud(World(lambda: clock() + cloud_ahead)), cloud_ahead=cloud_ahead, **options)
        self.batch = 10
        self.world = self.cloud.world
        self.server = self.world.add_server(metadata={"os_type": "Linux"}).id

    def disk(self, attached: bool = True, **attributes: Any) -> str:
        """A volume that was attached to the server long ago."""
        volume = self.world.add_volume(**attributes)
        if attached:
            self.world.attach(self.server, volume.id, attached_at=LONG_AGO)
        return volume.id

    def request(self, volume_id: str, **more: object) -> str:
        """The smallest request for a disk of the server."""
        return json.dumps(bare(self.server, volume_id, **more))

    def use(self, cloud: Any) -> None:
        """Let this cloud serve every request."""
        self.serve(OneCloud(cloud))

    def serve(self, clouds: Clouds) -> None:
        visits = Visits(clouds, self.settings.policy, self.clock)
        self.service = Service(self.settings.event_type_prefix, visits, self.outlets)

    def connect(self) -> OpenStackCloud:
        return connect(lambda _: credentials_of(self.cloud), in_process(self.cloud), self.clock)

    def message(self, body: str, id: str = "m-1") -> Message:
        return Message(body, id, QUEUE_ARN, self.clock.now)

    def handle(self, *bodies: str, deadline: datetime | None = None) -> Mapping[str, Unsent]:
        """One invocation with these messages, `m-0` and so on; returns the unsent ones."""
        messages = [self.message(body, f"m-{number}") for number, body in enumerate(bodies)]
        return self.service.handle(messages, deadline).unsent

    def counted(self, operation: str) -> int:
        """How often this operation was called."""
        return [call.operation for call in self.cloud.calls].count(operation)


def long_lived() -> Deployment:
    """A cloud whose tokens outlive any test, because the login library uses the real clock."""
    return Deployment(token_seconds=20 * 365 * 86400)


def credentials_of(api: CloudApi, **changes: object) -> CloudCredentials:
    """Credentials of the simulator's user; a change to None leaves the value out."""
    values: dict[str, object] = {
        "auth_url": api.deployment.auth_url,
        "username": api.identity.user.name,
        "password": api.identity.user.password,
        "project_id": api.world.project.id,
        **changes,
    }
    return load(CloudCredentials, {name: value for name, value in values.items() if value is not None})


def in_process(api: CloudApi) -> requests.Session:
    """A session that reaches only the simulator, without a socket."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", InProcessAdapter(api))
    session.mount("https://", InProcessAdapter(api))
    return session


@dataclass
class Site:
    """A simulated cloud with one server and one data disk on it, and the adapter that talks to it."""

    deployment: Deployment = field(default_factory=long_lived)
    http: Callable[[CloudApi], requests.Session | None] = lambda api: None
    over_socket: bool = True

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.world = World(self.clock)
        self.api = CloudApi(self.world, deployment=self.deployment)
        self.server = self.world.add_server(metadata={"os_type": "Linux"}, root_device="/dev/sda").id
        self.volume = self.world.add_volume().id
        self.attachment = self.world.attach(self.server, self.volume, device="/dev/sdb", attached_at=LONG_AGO)

    def connect(self, **changes: object) -> OpenStackCloud:
        """Log in again, by default with the same credentials."""
        credentials = credentials_of(self.api, **changes)
        return connect(lambda _: credentials, self.http(self.api), self.clock)

    def count(self, operation: str) -> int:
        """How often this operation was called."""
        return [call.operation for call in self.api.calls].count(operation)

    def paths(self, operation: str) -> set[str]:
        return {call.path for call in self.api.calls if call.operation == operation}
