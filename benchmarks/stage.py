"""The cloud and AWS for all contenders: the local stack's own, on a clock that can be moved."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from local.aws_stand_in import BUS, CLOUD_SECRET, REQUESTS, AwsStandIn
from local.stack import simulator_credentials
from shared.aws.client import EVENTS
from simulator import Behaviour, CloudApi, CloudServer, Deployment, What, World

LONG_AGO = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
ACCOUNT, REGION = "123456789012", "eu-central-1"
NEVER_RECEIVED_TWICE = 7200


def moved(skipped: Synchronized[float]) -> datetime:
    """The time of day here: real, plus what has been skipped so far."""
    return datetime.now(UTC) + timedelta(seconds=skipped.value)


@dataclass
class Stage:
    """The simulator and moto, both over sockets, both on the moved clock; counts calls and notes verdicts."""

    skipped: Synchronized[float]
    _stack: ExitStack = field(default_factory=ExitStack)
    _bus: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)

    def __enter__(self) -> Stage:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._world = World(lambda: moved(self.skipped))
        self._api = CloudApi(self._world, deployment=Deployment(token_seconds=10**8))
        self._aws = self._stack.enter_context(AwsStandIn(visibility_seconds=NEVER_RECEIVED_TWICE))
        self._server = self._stack.enter_context(CloudServer(self._api))
        self._aws.put_secret(CLOUD_SECRET, simulator_credentials(self._api))
        self._follow_clock_and_bus()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _follow_clock_and_bus(self) -> None:
        from moto.events.models import EventsBackend
        from moto.sqs import models as queues

        setattr(queues, "unix_time_millis", lambda *_: moved(self.skipped).timestamp() * 1000)  # noqa: B010
        put = EventsBackend.put_events

        def noted(backend: EventsBackend, events: list[dict[str, Any]]) -> Any:
            self._bus += [(moved(self.skipped), json.loads(event["Detail"])) for event in events]
            return put(backend, events)

        setattr(EventsBackend, "put_events", noted)  # noqa: B010
        # Nobody reads the queue behind the bus here, and what is put there would only pile up.
        self._aws.client.call(EVENTS, "RemoveTargets", {"Rule": "verdicts", "EventBusName": BUS, "Ids": ["verdicts"]})

    def environment(self) -> dict[str, str]:
        """What a function finds in its environment here."""
        return {
            **self._aws.environment,
            "REQUEST_QUEUE_URL": self._aws.queue_urls[REQUESTS],
            "EVENT_BUS_NAME": BUS,
            "CLOUD_SECRET_ID": CLOUD_SECRET,
        }

    def cloud_url(self) -> str:
        return self._server.url

    def set_latency(self, seconds: float) -> None:
        """How long the cloud's API takes to answer anything."""
        self._server.latency = seconds

    def add(self, servers: int, disks: int, seconds: float | None) -> list[tuple[str, list[str]]]:
        """New servers with disks whose detach takes that long; None: disks that are on no server."""
        with self._api.lock:
            return [self._add_server(disks, seconds) for _ in range(servers)]

    def _add_server(self, disks: int, seconds: float | None) -> tuple[str, list[str]]:
        server = self._world.add_server(metadata={"os_type": "Linux"}, root_device="/dev/sda").id
        volumes = [self._world.add_volume(behaviour=Behaviour(seconds=seconds or 0)).id for _ in range(disks)]
        if seconds is not None:
            for volume in volumes:
                self._world.attach(server, volume, attached_at=LONG_AGO)
        return server, volumes

    def clear(self) -> None:
        """Forget servers, disks, calls and verdicts: the simulator looks through all it holds."""
        with self._api.lock:
            for held in (self._world.servers, self._world.volumes, self._world.nova, self._world.cinder):
                held.clear()
            self._world.history.clear()
            self._api.calls.clear()
            self._bus.clear()

    def clear_records(self) -> None:
        """Forget what was called and told, and keep the servers and disks."""
        with self._api.lock:
            self._api.calls.clear()
            self._bus.clear()

    def calls(self) -> list[str]:
        """The operations the cloud was asked for since it was cleared."""
        with self._api.lock:
            return [call.operation for call in self._api.calls]

    def verdicts(self) -> int:
        return len(self._bus)

    def send(self, body: str) -> None:
        self._aws.send(REQUESTS, body)

    def due_in(self) -> float | None:
        """Seconds until the next message can be received; None if there is none."""
        from moto.sqs.models import sqs_backends

        queue = sqs_backends[ACCOUNT][REGION].queues[REQUESTS]
        due = [max(message.delayed_until, message.visible_at) for message in queue._messages]
        now = moved(self.skipped).timestamp() * 1000
        return max(0.0, (min(due) - now) / 1000 + 0.001) if due else None

    def waiting_for_verdict(self) -> list[float]:
        """Of each disk that was let go: seconds from the cloud's end of it to the final verdict on the bus."""
        ended: dict[str, datetime] = {}
        for happened in self._world.history:
            if happened.what in (What.NOVA_DETACHED, What.CINDER_DETACHED) and happened.volume_id:
                ended[happened.volume_id] = max(happened.at, ended.get(happened.volume_id, happened.at))
        told = {event["subject"].rsplit("/", 1)[-1]: at for at, event in self._bus}
        return [(told[volume] - at).total_seconds() for volume, at in ended.items() if volume in told]
