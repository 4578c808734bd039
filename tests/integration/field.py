"""A bench for cases from the field: clocks that threads share or do not, and a cloud that a test stands in front of."""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import requests

from shared.cloud.openstack import Projects, connect
from shared.model import Answer
from shared.policy import INVOCATION, TIME_TO_SEND
from simulator import CloudApi, What, World
from simulator.oracle import disagreement
from simulator.transports import InProcessAdapter
from tests.messages import START
from tests.stack import Bench, Clock, Queued, credentials_of

NEWEST, RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS, NO_RECORDS = (2, 96), (2, 60), (2, 50), (2, 40)
"""Clouds that tell `bdm_uuid` (from 2.89), or only the ends of action records (from 2.58), or not even those."""

UUIDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ELSEWHERE = "http://elsewhere.test"


class EachThread(Clock):
    """A clock for each thread, so that concurrent waits of workers pass once.

    Those of new threads begin at `begin`.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._latest = self.begin = START

    @property
    def now(self) -> datetime:
        return getattr(self._own, "now", self.begin)

    @now.setter
    def now(self, now: datetime) -> None:
        self._own.now, self._latest = now, max(self._latest, now)

    def latest(self) -> datetime:
        """The time of the latest clock."""
        return self._latest


class Running(Clock):
    """A clock that runs by itself."""

    @property
    def now(self) -> datetime:
        return self._began_at + timedelta(seconds=time.monotonic() - self._began)

    @now.setter
    def now(self, now: datetime) -> None:
        self._began_at, self._began = now, time.monotonic()


class Front(CloudApi):
    """A cloud before which a test stands: it sees each call as it comes, and may change the answer.

    Below `empty_below` is another region, in which nothing is to be found.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.arriving: Callable[[str, str], object] = lambda method, path: None
        self.leaving: Callable[[str, str, Answer], Answer] = lambda method, path, answer: answer
        self.empty_below = "/nowhere"

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        self.arriving(method, path)
        if path.startswith(self.empty_below):
            path = UUIDS.sub(str(UUID(int=0)), path.removeprefix(self.empty_below))
        return self.leaving(method, path, super().handle(method, path, headers, body))


class Stranger(InProcessAdapter):
    """Another host, which records requests."""

    def __init__(self, cloud: CloudApi) -> None:
        super().__init__(cloud)
        self.received: list[str] = []

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        self.received.append(f"{request.method} {request.url} {request.headers} {request.body!r}")
        return super().send(request, *arguments, **options)


class Field(Bench):
    """A bench whose invocations end in time, and whose verdicts are held against the cloud's own record."""

    cloud: Front

    def __init__(self, newest: tuple[int, int] = NEWEST, records: bool = True, clock: Clock | None = None) -> None:
        super().__init__(Front, clock=clock)
        if isinstance(clock, EachThread):
            self.outlets = replace(self.outlets, clock=clock.latest)  # what is sent is sent when all workers are done
        self.cloud.deployment.max_compute_version = newest
        self.cloud.deployment.instance_actions = records and newest != NO_RECORDS

    def log_in(self, latency: float = 0, over_socket: bool = False, **credentials: object) -> Stranger:
        """Serve every request with a new login and ten workers; in the process each call takes `latency` seconds."""
        http, stranger = requests.Session(), Stranger(self.cloud)
        http.trust_env = False
        http.mount("http://", _Distant(self.cloud, self.clock, latency))
        for scheme in ("http", "https"):
            http.mount(ELSEWHERE.replace("http", scheme), stranger)
        words = credentials_of(self.cloud, **credentials)
        self.serve(Projects(lambda read: connect(read, None if over_socket else http, self.clock), lambda _: words))
        return stranger

    def deliver(self, batch: list[Queued], elsewhere: bool = False) -> None:
        """One invocation, which ends when Lambda would have it end."""
        self.invoke(batch, self.clock())

    def invoke(self, batch: list[Queued], begin: datetime) -> None:
        """One invocation that began at this time."""
        clock = self.clock
        if isinstance(clock, EachThread):
            clock.begin = begin
        deadline = begin + timedelta(seconds=INVOCATION - TIME_TO_SEND)
        unsent = self.service.handle([message.received() for message in batch], deadline).unsent
        if isinstance(clock, EachThread):
            clock.now = clock.latest()
        for message in batch:
            if message.id not in unsent:
                self.queue.acknowledge(message)
        self.errors += [why.cause or AssertionError(why.why) for why in unsent.values()]

    # -------------------------------------------------------------------------------------- what is asked and said

    def ask(self, *bodies: str) -> None:
        for body in bodies:
            self.queue.put(body)

    def follow(self, volume_id: str, **more: object) -> None:
        """A request that is looked at while its disk is busy: the attachment is followed, no DELETE is sent."""
        self.world.set_volume(volume_id, status="backing-up")
        self.ask(self.request(volume_id, **more))
        self.step()
        self.world.set_volume(volume_id, status="in-use")

    def verdicts(self) -> list[dict[str, Any]]:
        """Every verdict, after all is over; none is untrue, no message is lost, and nothing has failed."""
        self.run()
        records = self.cloud.deployment.instance_actions
        # Of a verdict that names no attachment, since the cloud does not tell it, the oracle cannot say whose it was.
        judged = (
            disagreement(self.world.history, as_of_its_end(event), records)
            for event in self.bus.events
            if "attachment_id" in event["data"]
        )
        wrong = [found for found in judged if found]
        assert wrong == []
        assert (self.errors, self.queue.dead_letters) == ([], [])
        return self.bus.data

    def verdict(self) -> dict[str, Any]:
        (data,) = self.verdicts()
        return data

    # ---------------------------------------------------------------------------------------- what became of the world

    def attachment(self, volume_id: str, server_id: str | None = None) -> str | None:
        """What either plane still holds."""
        return self.world.is_attached(server_id or self.server, volume_id)

    def cut(self) -> list[str | None]:
        """The attachments that accepted DELETEs were about."""
        return [entry.attachment_id for entry in self.world.history if entry.what is What.DELETE_ACCEPTED]

    def when(self, what: What) -> datetime:
        """The time of its last occurrence."""
        return [entry.at for entry in self.world.history if entry.what is what][-1]


class _Distant(InProcessAdapter):
    """Each call takes its time."""

    def __init__(self, cloud: CloudApi, clock: Clock, latency: float) -> None:
        super().__init__(cloud, sleep=clock.sleep)
        self._clock, self._latency = clock, latency

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        self._clock.sleep(self._latency)
        return super().send(request, *arguments, **options)


def as_of_its_end(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event without its calls, so that it is held against the world as it was when the verdict was made."""
    data = event["data"]
    return {**event, "data": {**data, "evidence": {**data["evidence"], "calls": []}}}


def seconds(data: Mapping[str, Any]) -> float:
    """From the first look to the verdict."""
    return float(data["timing"]["seconds"])


def told(data: Mapping[str, Any]) -> str:
    """All texts of the verdict."""
    reason = data.get("reason") or {}
    said = [data.get("explanation"), reason.get("message"), reason.get("remedy"), data["evidence"].get("last_error")]
    return "\n".join(filter(None, said))
