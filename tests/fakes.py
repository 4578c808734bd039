"""Stand-ins for the ports, on a clock that moves only when told to; a whole service built of them."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import requests

from shared.cloud.openstack import OpenStackCloud
from shared.decision.requeue import Policy
from shared.inbox.read import Delivery
from shared.outbox.consumers import Deliveries
from shared.outbox.events import EventFactory
from shared.ports import Cloud, Clouds, Event, Message
from shared.service import Service
from shared.settings import CloudCredentials, load
from shared.visit import Reconciler
from simulator import CloudApi, Deployment, InProcessAdapter, World

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
LONG_AGO = START - timedelta(days=3)
QUEUE_ARN = "arn:aws:sqs:eu-central-1:123456789012:volume-detach-requests"


class VirtualClock:
    """Time as a test wants it: `pass_` moves it."""

    def __init__(self, time: datetime = START) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time

    def pass_(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class MemoryQueue:
    """A queue that hands out what is due; `refuse` says which messages it does not take."""

    def __init__(self, clock: VirtualClock, refuse: Callable[[Message], bool] = lambda message: False) -> None:
        self.clock = clock
        self.refuse = refuse
        self.sent: list[Message] = []
        self._due: list[tuple[datetime, int, str]] = []
        self._order = count()

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]:
        refused = {at: "QueueDoesNotExist" for at, message in enumerate(messages) if self.refuse(message)}
        for at, message in enumerate(messages):
            if at not in refused:
                self.sent.append(message)
                self.put(message.body, message.delay)
        return refused

    def put(self, body: str, delay: float = 0) -> None:
        heapq.heappush(self._due, (self.clock.time + timedelta(seconds=delay), next(self._order), body))

    def take(self) -> list[str]:
        """Up to ten bodies that are due now; if none is, the clock moves on to the next one."""
        if not self._due:
            return []
        self.clock.time = max(self.clock.time, self._due[0][0])
        bodies: list[str] = []
        while self._due and len(bodies) < 10 and self._due[0][0] <= self.clock.time:
            bodies.append(heapq.heappop(self._due)[2])
        return bodies

    def __len__(self) -> int:
        return len(self._due)


class MemorySink:
    """Keeps events as the JSON they were sent as; `refuse` says which it does not take."""

    def __init__(self, refuse: Callable[[Event], bool] = lambda event: False) -> None:
        self.refuse = refuse
        self.events: list[dict[str, Any]] = []

    def emit(self, events: Sequence[Event]) -> Mapping[int, str]:
        refused = {at: "InternalFailure" for at, event in enumerate(events) if self.refuse(event)}
        self.events += [json.loads(event.body) for at, event in enumerate(events) if at not in refused]
        return refused

    @property
    def data(self) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events]

    def final(self, volume_id: str) -> dict[str, Any]:
        """The one final verdict about a volume."""
        (only,) = [d for d in self.data if d.get("volume_id") == volume_id and d["verdict"] in ("detached", "failed")]
        return only


@dataclass
class OneCloud:
    """The same cloud for every request, whatever project it names."""

    cloud: Cloud

    def select(self, project_id: str | None) -> Cloud:
        return self.cloud


@dataclass
class Bench:
    """A service over the simulated cloud in this process, with a queue and a sink in memory."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self.world = World(self.clock)
        self.api = CloudApi(self.world, deployment=long_lived())
        self.queue = MemoryQueue(self.clock)
        self.sink = MemorySink()
        self.server = self.world.add_server(metadata={"os_type": "Linux"}).id
        self.cloud = OpenStackCloud(credentials_of(self.api), in_process(self.api), self.clock)
        self.clouds: Clouds = OneCloud(self.cloud)
        self.errors: list[BaseException] = []

    def disk(self, attached: bool = True, **attributes: Any) -> str:
        """A volume, on the server since long ago."""
        volume = self.world.add_volume(**attributes)
        if attached:
            self.world.attach(self.server, volume.id, attached_at=LONG_AGO)
        return volume.id

    @property
    def service(self) -> Service:
        events = EventFactory()
        reconciler = Reconciler(self.clouds, self.queue, self.sink, events, self.policy, self.clock)
        return Service("bms", reconciler, Deliveries(self.sink, self.queue, self.clock), events, self.clock)

    def delivery(self, body: str, message_id: str = "m-1") -> Delivery:
        return Delivery(body, message_id, QUEUE_ARN, self.clock.time)

    def run(self) -> None:
        """Deliver what the queue holds until it is empty, moving the clock from one due time to the next."""
        for batch in range(1000):
            bodies = self.queue.take()
            if not bodies:
                return
            deliveries = [self.delivery(body, f"m-{batch}-{at}") for at, body in enumerate(bodies)]
            self.errors += [error for error in self.service.handle(deliveries) if error]
        raise AssertionError("the queue never runs empty")


def long_lived() -> Deployment:
    """A cloud whose tokens outlive any test: the login library judges their age by the real clock."""
    return Deployment(token_seconds=20 * 365 * 86400)


def credentials_of(api: CloudApi, **changes: object) -> CloudCredentials:
    """How to log in to the simulator as its own user; a change of None leaves the value out."""
    values: dict[str, object] = {
        "auth_url": api.deployment.auth_url,
        "username": api.identity.user.name,
        "password": api.identity.user.password,
        "project_id": api.world.project.id,
        **changes,
    }
    return load(CloudCredentials, {name: value for name, value in values.items() if value is not None})


def in_process(api: CloudApi) -> requests.Session:
    """A session which reaches the simulator without a socket, and nothing else."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", InProcessAdapter(api))
    session.mount("https://", InProcessAdapter(api))
    return session


def bare(server_id: str, volume_id: str, **more: object) -> dict[str, Any]:
    """The smallest request, as bare JSON would carry it."""
    return {"server_id": server_id, "volume_id": volume_id, **more}


def cloudevent(data: object, **attributes: object) -> dict[str, Any]:
    """A request as a CloudEvent; an attribute of `...` is left out."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "4711",
        "source": "/changes",
        "type": "bms.volume.detach_requested.v1",
        "time": "2026-11-23T08:00:00Z",
        "datacontenttype": "application/json",
        "data": data,
        **attributes,
    }
    return {name: value for name, value in event.items() if value is not ...}


def sqs_record(body: str, message_id: str, sent_at: datetime = START) -> dict[str, Any]:
    """A record as Lambda hands it over."""
    milliseconds = str(int(sent_at.timestamp() * 1000))
    return {
        "messageId": message_id,
        "receiptHandle": f"receipt-{message_id}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": milliseconds,
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": milliseconds,
        },
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE_ARN,
        "awsRegion": "eu-central-1",
    }


REQUIRED_ATTRIBUTES = ("id", "source", "specversion", "type")
TEXT_ATTRIBUTES = (*REQUIRED_ATTRIBUTES, "subject", "datacontenttype", "correlationid", "causationid", "traceparent")


def cloudevent_faults(event: Mapping[str, Any]) -> list[str]:
    """What the JSON schema of CloudEvents 1.0 would say: the required list, the types, no empty text."""
    faults = [f"{name} is missing" for name in REQUIRED_ATTRIBUTES if name not in event]
    texts = [name for name in (*TEXT_ATTRIBUTES, "time", "tracestate") if name in event]
    faults += [f"{name} is no text" for name in texts if not (isinstance(event[name], str) and event[name])]
    if event.get("specversion") != "1.0":
        faults.append("specversion is not 1.0")
    if datetime.fromisoformat(str(event.get("time", START.isoformat()))).tzinfo is None:
        faults.append("time has no zone")
    faults += [f"{name} is no attribute name" for name in event if not (name.isascii() and name.isalnum())]
    if not isinstance(event.get("data"), dict):
        faults.append("data is no object")
    return faults


def nulls_in(value: object) -> list[str]:
    """The paths at which a JSON value holds null."""
    if isinstance(value, dict):
        return [f"{key}.{path}" for key, item in value.items() for path in nulls_in(item)]
    if isinstance(value, list):
        return [f"{at}.{path}" for at, item in enumerate(value) for path in nulls_in(item)]
    return [""] if value is None else []


def is_uuid(text: str) -> bool:
    return str(UUID(text)) == text
