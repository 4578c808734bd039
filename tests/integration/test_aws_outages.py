"""AWS is away for two hours of virtual time: every request still gets its one true final verdict."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest

from shared.aws.client import AwsClient, Protocol
from shared.aws.errors import NoAnswer
from shared.aws.secrets import CloudSecret, MessageKey, Secrets
from shared.cloud.openstack import Projects, connect
from shared.ports import Clouds
from simulator import Behaviour
from simulator.scenarios import scenario_cloud
from simulator.scenarios.stage import PROMPT, Stage
from tests.messages import START
from tests.simulation.oracle import Run, violations
from tests.simulation.test_consumers import RecordingConsumer
from tests.stack import Clock, Stack, credentials_of, in_process

TWO_HOURS = timedelta(hours=2)
CLOUD_SECRET, KEY_SECRET = "cloud", "key"
SERVICES = ("queue", "bus", "secrets")

BEHAVIOURS = {
    "prompt": PROMPT,
    "slow": Behaviour(seconds=900),
    "refused": Behaviour(seconds=3, refuse=True),
    "stuck for hours": Behaviour(stuck=True, stuck_seconds=3 * 3600),
}


@dataclass
class Outage:
    """Some of AWS's services do not answer during an interval."""

    clock: Clock
    away: frozenset[str]
    begins: timedelta
    values: dict[str, str] = field(default_factory=dict)

    def has(self, service: str) -> bool:
        return service in self.away and self.begins <= self.clock() - START < self.begins + TWO_HOURS

    def call(self, _: Protocol, operation: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call to Secrets Manager."""
        if self.has("secrets"):
            raise NoAnswer(f"{operation}: no answer")
        return {"SecretString": self.values[payload["SecretId"]], "CreatedDate": 0}

    def secrets(self) -> Secrets:
        """Secrets as in a new process, without a cache."""
        return Secrets(cast("AwsClient", self), lambda: self.clock().timestamp())


class Deployment(Stack):
    """The product with a Secrets Manager, and requests before, during and after an outage."""

    def __init__(self, *away: str, begins: float = 60, renewed: bool = False) -> None:
        clock = Clock()
        self.outage = Outage(clock, frozenset(away), timedelta(seconds=begins))
        self.outage.values[KEY_SECRET] = json.dumps({"key": "k" * 64})
        self.sink, self.task = RecordingConsumer("sink"), RecordingConsumer("task")
        macs = MessageKey(self.outage.secrets(), KEY_SECRET)
        consumers = {"sink": self.sink, "task": self.task}
        super().__init__(scenario_cloud, clock=clock, macs=macs, consumers=consumers)
        self.sink.effects = self.task.effects = self.effects
        self.batch, self.renewed = 10, renewed
        self.queue.refuse = lambda _: self.outage.has("queue")
        self.bus.refuse = lambda _: self.outage.has("bus")
        self.died: list[str] = []
        self.stage = Stage(self.cloud, "outage")
        for minutes, behaviour in itertools.product((0, 0.5, 30, 110, 125), BEHAVIOURS.values()):
            server = self.stage.server()
            self.stage.request(server, self.stage.disk(server, behaviour=behaviour), delay=int(minutes * 60))
        for body, delay in zip(self.stage.bodies(), self.stage.delays, strict=True):
            at = START + timedelta(seconds=delay)
            self.queue.put(json.dumps({**json.loads(body), "time": at.isoformat()}), delay=delay).sent_at = at

    def clouds(self) -> Clouds:
        self.outage.values[CLOUD_SECRET] = json.dumps(login(self))
        read = CloudSecret(self.outage.secrets(), CLOUD_SECRET)
        return Projects(lambda given: connect(given, in_process(self.cloud), self.clock), read)

    def step(self) -> bool:
        if self.renewed and self.outage.has("bus" if "bus" in self.outage.away else next(iter(self.outage.away))):
            # A new process: it has no secret yet, and no token.
            self.outlets = replace(self.outlets, macs=MessageKey(self.outage.secrets(), KEY_SECRET))
            self.service, self.renewed = self._start(), False
        continues = super().step()
        self.died += [message.id for message in self.queue.dead_letters]
        return continues

    def finals(self, events: list[dict[str, Any]]) -> dict[str, set[tuple[str, str]]]:
        """The final verdict of each request: its ids and its contents."""
        found: dict[str, set[tuple[str, str]]] = {request["id"]: set() for request in self.stage.requests}
        for event in events:
            data = event["data"]
            if data["verdict"] != "unconfirmed":
                found[data["request"]["id"]].add((event["id"], json.dumps(data["detail"])))
        return found


def login(stack: Stack) -> dict[str, Any]:
    known = credentials_of(stack.cloud)
    password = known.password.get_secret_value() if known.password else ""
    return {"auth_url": known.auth_url, "username": known.username, "password": password,
            "project_id": known.project_id}  # fmt: skip


AWAY = [*itertools.combinations(SERVICES, 1), *itertools.combinations(SERVICES, 2), SERVICES]


@pytest.mark.parametrize("renewed", [False, True], ids=["same process", "new process"])
@pytest.mark.parametrize("away", AWAY, ids="+".join)
def test_an_outage_of_two_hours_loses_nothing(away: tuple[str, ...], renewed: bool) -> None:
    """Each request gets one true final verdict with one id and one content, and no message becomes a dead letter."""
    deployment = Deployment(*away, renewed=renewed)
    deployment.run()
    assert deployment.died == []
    finals = deployment.finals(deployment.bus.events)
    assert {id_: verdicts for id_, verdicts in finals.items() if len(verdicts) != 1} == {}
    assert deployment.finals(deployment.sink.taken) == finals
    assert violations(Run.of(deployment, [*deployment.stage.requests], deployment.stage.untouchable)) == []
    assert deployment.clock.now - START > deployment.outage.begins + TWO_HOURS


def test_a_delayed_verdict_is_unchanged() -> None:
    """A verdict that the bus did not accept is emitted once, two hours later, with its original time."""
    deployment = Deployment("bus", begins=0)
    deployment.run()
    detached = [data for data in deployment.bus.data if data["detail"] == "detached_now"]
    assert sum(data["timing"]["seconds"] < 10 for data in detached) == 5  # all the prompt ones
    assert len({event["id"] for event in deployment.bus.events}) == len(deployment.bus.events)
