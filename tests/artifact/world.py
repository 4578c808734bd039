"""The environment of a function: AWS by moto and the simulated cloud, with checks of both."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.moto_api._internal.models import moto_api_backend

from local.aws_stand_in import BUS, CLOUD_SECRET, REQUESTS, VERDICTS, WEBHOOK_SECRET, AwsStandIn, queue_arn
from local.demo import LONG_AGO, SERVER, demo_cloud
from local.poller import Poller
from local.stack import simulator_credentials
from shared.ports import utc_now
from simulator import Behaviour, CloudApi, CloudServer, What
from simulator.oracle import disagreement
from tests.artifact.emulated import Emulated
from tests.messages import bare
from tools.sender import LOCAL_SECRET


@dataclass
class World:
    """AWS, a cloud, and the function's variables with their addresses."""

    aws: AwsStandIn
    cloud: CloudApi
    _events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.aws.put_secret(CLOUD_SECRET, simulator_credentials(self.cloud))
        self.aws.put_secret(WEBHOOK_SECRET, {"secrets": [LOCAL_SECRET]})

    @property
    def variables(self) -> dict[str, str]:
        queue = {"REQUEST_QUEUE_URL": self.aws.queue_urls[REQUESTS], "EVENT_BUS_NAME": BUS}
        secrets = {"CLOUD_SECRET_ID": CLOUD_SECRET, "WEBHOOK_SECRET_ID": WEBHOOK_SECRET}
        return {**self.aws.environment, **queue, **secrets}

    def disk(self, seconds: float) -> str:
        """A volume that was attached to the server long ago, and takes that long to detach."""
        with self.cloud.lock:
            volume = self.cloud.world.add_volume(behaviour=Behaviour(seconds=seconds, nova_lag=0)).id
            self.cloud.world.attach(SERVER, volume, attached_at=LONG_AGO)
        return volume

    def request(self, *volumes: str, server: str = SERVER) -> None:
        for volume in volumes:
            self.aws.send(REQUESTS, json.dumps(bare(server, volume)))

    def poller(self, function: Emulated, queue: str = REQUESTS, **options: Any) -> Poller:
        """Lambda's event source mapping between a queue and a function; an error of the function fails the test."""
        options = {"on_error": fail, **options}
        handler = lambda event, _: function.invoke(event)  # noqa: E731
        return Poller(self.aws.client, self.aws.queue_urls[queue], queue_arn(queue), handler, **options)

    def drain(self, poller: Poller, seconds: float = 60) -> None:
        """Deliver until the request queue is empty, including delayed messages and those in flight."""
        ends = time.monotonic() + seconds
        while self.aws.waiting(REQUESTS):
            assert time.monotonic() < ends, "the request queue does not become empty"
            poller.poll()

    def accepted(self) -> list[str]:
        """The volumes of the accepted DELETEs, sorted by id."""
        with self.cloud.lock:
            history = self.cloud.world.history
            return sorted(h.volume_id for h in history if h.volume_id and h.what is What.DELETE_ACCEPTED)

    def attached(self, volume: str, server: str = SERVER) -> str | None:
        """The id of the attachment, if a plane still has it."""
        with self.cloud.lock:
            return self.cloud.world.is_attached(server, volume)

    def operations(self) -> list[str]:
        """The calls to the cloud, in order."""
        return [call.operation for call in self.cloud.calls]

    def events(self) -> list[dict[str, Any]]:
        """Every CloudEvent that the bus has delivered."""
        while envelopes := self.aws.receive(VERDICTS, wait_seconds=0):
            self._events += [envelope["detail"] for envelope in envelopes]
        return self._events

    def verdicts(self) -> dict[str, str]:
        """The final verdict about each volume: it agrees with the cloud's record, and every repetition is the same."""
        with self.cloud.lock:
            history = tuple(self.cloud.world.history)
        assert [why for event in self.events() if (why := disagreement(history, event))] == []
        found = {(event["id"], event["data"]["volume_id"], event["data"]["detail"]) for event in self._events}
        details = {volume: detail for _, volume, detail in found}
        assert len(details) == len(found)
        return details


def fail(error: BaseException) -> None:
    raise error


@contextmanager
def surroundings(visibility_seconds: int = 0) -> Iterator[World]:
    """A new world. By default a returned message is redelivered at once."""
    moto_api_backend.reset()  # moto keeps its state after it is stopped
    cloud = demo_cloud(utc_now)
    with AwsStandIn(visibility_seconds) as aws, CloudServer(cloud):
        yield World(aws, cloud)
    moto_api_backend.reset()
