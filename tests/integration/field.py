"""A bench for cases from the field, with clocks for each thread and a cloud whose calls a test can intercept."""

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
"""Clouds that show `bdm_uuid` (from 2.89), action records with ends (from 2.58), records without ends, or none."""

UUIDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ELSEWHERE = "http://elsewhere.test"


class ThreadClock(Clock):
    """A clock for each thread, so that concurrent waits of workers count once.

    In each invocation, a worker's clock starts at `begin`; the clock of the test goes on.
    """

    def __init__(self) -> None:
        self._own, self._of_the_test = threading.local(), threading.current_thread()
        self._latest = self._begin = START
        self._invocation = 0

    def start(self, begin: datetime) -> None:
        """Start the next invocation."""
        self._begin, self._invocation = begin, self._invocation + 1

    @property
    def now(self) -> datetime:
        now, invocation = getattr(self._own, "reading", (self._begin, self._invocation))
        goes_on = invocation == self._invocation or threading.current_thread() is self._of_the_test
        return now if goes_on else self._begin

    @now.setter
    def now(self, now: datetime) -> None:
        self._own.reading, self._latest = (now, self._invocation), max(self._latest, now)

    def latest(self) -> datetime:
        """The time of the latest clock."""
        return self._latest


class RealTimeClock(Clock):
    """A clock that runs in real time."""

    @property
    def now(self) -> datetime:
        return self._began_at + timedelta(seconds=time.monotonic() - self._began)

    @now.setter
    def now(self, now: datetime) -> None:
        self._began_at, self._began = now, time.monotonic()


class InterceptedCloud(CloudApi):
    """A cloud whose calls a test can observe, and whose answers it can change.


    Paths below `empty_below` belong to another region, which contains nothing.
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


class OtherHost(InProcessAdapter):
    """Another host that records requests."""

    def __init__(self, cloud: CloudApi) -> None:
        super().__init__(cloud)
        self.received: list[str] = []

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        self.received.append(f"{request.method} {request.url} {request.headers} {request.body!r}")
        return super().send(request, *arguments, **options)


class Field(Bench):
    """A bench whose invocations end in time, and whose verdicts are compared with the cloud's own record."""

    cloud: InterceptedCloud

    def __init__(self, newest: tuple[int, int] = NEWEST, records: bool = True, clock: Clock | None = None) -> None:
        super().__init__(InterceptedCloud, clock=clock)
        if isinstance(clock, ThreadClock):
            self.outlets = replace(self.outlets, clock=clock.latest)  # messages are sent when all workers are done
        self.cloud.deployment.max_compute_version = newest
        self.cloud.deployment.instance_actions = records and newest != NO_RECORDS

    def log_in(self, latency: float = 0, over_socket: bool = False, **credentials: object) -> OtherHost:
        """Serve every request with a new login and ten workers; without a socket each call takes `latency` seconds."""
        http, other_host = requests.Session(), OtherHost(self.cloud)
        http.trust_env = False
        http.mount("http://", _Distant(self.cloud, self.clock, latency))
        for scheme in ("http", "https"):
            http.mount(ELSEWHERE.replace("http", scheme), other_host)
        words = credentials_of(self.cloud, **credentials)
        self.serve(Projects(lambda read: connect(read, None if over_socket else http, self.clock), lambda _: words))
        return other_host

    def deliver(self, batch: list[Queued], elsewhere: bool = False) -> None:
        """One invocation that ends when Lambda would end it."""
        self.invoke(batch, self.clock())

    def invoke(self, batch: list[Queued], begin: datetime) -> None:
        """One invocation that began at this time."""
        clock = self.clock
        if isinstance(clock, ThreadClock):
            clock.start(begin)
        deadline = begin + timedelta(seconds=INVOCATION - TIME_TO_SEND)
        unsent = self.service.handle([message.received() for message in batch], deadline).unsent
        if isinstance(clock, ThreadClock):
            clock.now = clock.latest()
        for message in batch:
            if message.id not in unsent:
                self.queue.acknowledge(message)
        self.errors += [why.cause or AssertionError(why.why) for why in unsent.values()]

    # ---------------------------------------------------------------------------------------- requests and verdicts

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
        """Run to the end and return every verdict. All must be true, with no lost message and no error."""
        self.run()
        records = self.cloud.deployment.instance_actions
        # If the cloud does not show the attachment's id, the verdict has none, and the oracle cannot judge it.
        judged = (
            disagreement(self.world.history, without_calls(event), records)
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

    # -------------------------------------------------------------------------------------------- state of the world

    def attachment(self, volume_id: str, server_id: str | None = None) -> str | None:
        """The id of the attachment, if a plane still has it."""
        return self.world.is_attached(server_id or self.server, volume_id)

    def cut(self) -> list[str | None]:
        """The attachments of the accepted DELETEs."""
        return [entry.attachment_id for entry in self.world.history if entry.what is What.DELETE_ACCEPTED]

    def when(self, what: What) -> datetime:
        """The time of its last occurrence."""
        return [entry.at for entry in self.world.history if entry.what is what][-1]


class _Distant(InProcessAdapter):
    """An adapter whose calls take time."""

    def __init__(self, cloud: CloudApi, clock: Clock, latency: float) -> None:
        super().__init__(cloud, sleep=clock.sleep)
        self._clock, self._latency = clock, latency

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        self._clock.sleep(self._latency)
        return super().send(request, *arguments, **options)


def without_calls(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event without its calls, so that it is compared with the world at the time of the verdict."""
    data = event["data"]
    return {**event, "data": {**data, "evidence": {**data["evidence"], "calls": []}}}


def seconds(data: Mapping[str, Any]) -> float:
    """Seconds from the first look to the verdict."""
    return float(data["timing"]["seconds"])


def texts_of(data: Mapping[str, Any]) -> str:
    """All texts of a verdict."""
    reason = data.get("reason") or {}
    texts = [data.get("explanation"), reason.get("message"), reason.get("remedy"), data["evidence"].get("last_error")]
    return "\n".join(filter(None, texts))
