"""One sample of each verdict: what the service really says, played on virtual time against the simulated cloud."""

import heapq
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Self

import requests

from local.aws_stand_in import REQUESTS, queue_arn
from local.demo import MOUNTED_VOLUME, SERVER, VOLUME, demo_cloud
from local.message_keys import FixedKeys
from local.stack import simulator_credentials
from shared.cloud.openstack import Projects, connect
from shared.model import Message
from shared.outbox.dead_letters import DeadLetters
from shared.outbox.events import EventFactory
from shared.outbox.outbox import Outlets
from shared.policy import Policy
from shared.ports import Event, K, QueueMessage, Unsent
from shared.service import Service
from shared.settings import CloudCredentials, load
from shared.visit import Visits
from simulator import Behaviour, CloudApi, InProcessAdapter

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class Rehearsal:
    """The service with a queue, a bus and a clock in memory; the same every time, ids included."""

    def __init__(self, arrange: Callable[[CloudApi], object] = lambda api: None) -> None:
        self.now = START
        self.events: list[Event] = []
        self._due: list[tuple[datetime, int, str]] = []
        self._sent = 0
        api = demo_cloud(self.clock)
        # The identity library looks at the real clock: on ours a token must not seem to have expired.
        api.deployment.token_seconds = 10 * 365 * 86400
        arrange(api)
        http = requests.Session()
        http.mount("http://", InProcessAdapter(api))
        credentials = load(CloudCredentials, simulator_credentials(api))
        outlets = Outlets(self, self, FixedKeys((b"samples",)), EventFactory(), self.clock)
        projects = Projects(lambda read: connect(read, http, self.clock), lambda _: credentials)
        self.service = Service("bms", Visits(projects, Policy(), self.clock), outlets)
        self.dead_letters = DeadLetters("bms", outlets)

    def clock(self) -> datetime:
        return self.now

    def emit(self, events: Mapping[K, Event], _: datetime | None = None) -> Mapping[K, Unsent]:
        self.events += events.values()
        return {}

    def send(self, messages: Mapping[K, QueueMessage], _: datetime | None = None) -> Mapping[K, Unsent]:
        for message in messages.values():
            self._sent += 1
            heapq.heappush(self._due, (self.now + timedelta(seconds=message.delay), self._sent, message.body))
        return {}

    def play(self, request: Mapping[str, Any]) -> Self:
        """Send a request and deliver until nothing is left."""
        self.send({"request": QueueMessage(json.dumps(request))})
        while self._due:
            at, number, body = heapq.heappop(self._due)
            self.now = max(self.now, at)
            receipts = self.service.handle([self._message(body, number)])
            assert not receipts.unsent, receipts  # noqa: S101
        return self

    def bury(self, request: Mapping[str, Any]) -> Self:
        """Hand over a request as a dead letter, five tries later."""
        self.now += timedelta(minutes=30)
        self.dead_letters.handle([replace(self._message(json.dumps(request), 1), sent_at=START, receive_count=6)])
        return self

    def _message(self, body: str, number: int) -> Message:
        return Message(body, f"message-{number}", queue_arn(REQUESTS), self.now)


def _request(volume_id: str = VOLUME, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "4711",
        "source": "/changes",
        "type": "bms.volume.detach_requested.v1",
        "time": "2026-11-23T08:00:00Z",
        "correlationid": "CHG-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": {"server_id": SERVER, "volume_id": volume_id, "context": {"ticket": "CHG-1"}, **data},
    }


def _slow(api: CloudApi) -> None:
    """It takes the cloud a quarter of an hour to let go."""
    api.world.set_volume(VOLUME, behaviour=Behaviour(stuck=True, stuck_seconds=900))


SAMPLES: Mapping[str, Callable[[], Rehearsal]] = {
    "detached": lambda: Rehearsal().play(_request()),
    "detach_unconfirmed": lambda: Rehearsal(_slow).play(_request()),
    "detached_after_unconfirmed": lambda: Rehearsal(_slow).play(_request()),
    "detach_checked": lambda: Rehearsal().play(_request(dry_run=True)),
    "detach_failed": lambda: Rehearsal().play(_request(MOUNTED_VOLUME)),
    "detach_failed_invalid_request": lambda: Rehearsal().play(_request(dry_rum=True)),
    "detach_failed_dead_lettered": lambda: Rehearsal().bury(_request()),
}
"""The last event of each, except for the one that announces that it is not known yet."""


@cache
def sample(name: str) -> dict[str, Any]:
    """A sample by its name."""
    events = SAMPLES[name]().events
    event: dict[str, Any] = json.loads(events[0 if name == "detach_unconfirmed" else -1].body)
    return event


def documents() -> dict[str, Callable[[], object]]:
    return {f"events/verdicts/{name}.json": partial(sample, name) for name in SAMPLES}
