"""The artifact as Lambda runs it: the official emulator and runtime client, cold and warm, and killed half-way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from moto.moto_api._internal.models import moto_api_backend

from benchmarks.cold import emulator
from local.artifact import Recipe
from local.aws_stand_in import BUS, CLOUD_SECRET, REQUESTS, VERDICTS, WEBHOOK_SECRET, AwsStandIn, queue_arn
from local.cloud import Behaviour, CloudApi, CloudServer, What
from local.demo import FREE_VOLUME, LONG_AGO, SERVER, VOLUME, demo_cloud
from local.function_url import payload
from local.poller import Poller
from local.sender import LOCAL_SECRET, Post
from local.stack import simulator_credentials
from shared.bootstrap import utc_now
from tests.artifact.emulated import Emulated, Killed, emulated, stalling
from tests.fakes import bare, sqs_record
from tests.simulation.measured import Samples

pytestmark = [
    pytest.mark.artifact,
    pytest.mark.skipif(emulator() is None, reason="the emulator comes with sam: make .venv/sam/.ready"),
]

TIME_FOR_A_DELETE = 43
"""With less than the longest call and the sending of its outcome ahead, no DELETE is sent, and nothing to be killed."""

Start = Callable[..., AbstractContextManager[Emulated]]


class World:
    """AWS, a cloud, and the variables that lead to them."""

    def __init__(self, aws: AwsStandIn, cloud: CloudApi) -> None:
        self.aws, self.cloud = aws, cloud
        aws.put_secret(CLOUD_SECRET, simulator_credentials(cloud))
        aws.put_secret(WEBHOOK_SECRET, {"secrets": [LOCAL_SECRET]})
        queue = {"REQUEST_QUEUE_URL": aws.queue_urls[REQUESTS], "EVENT_BUS_NAME": BUS}
        secrets = {"CLOUD_SECRET_ID": CLOUD_SECRET, "WEBHOOK_SECRET_ID": WEBHOOK_SECRET}
        self.variables = {**aws.environment, **queue, **secrets}

    def accepted(self) -> list[str | None]:
        return [entry.volume_id for entry in self.cloud.world.history if entry.what is What.DELETE_ACCEPTED]

    def verdicts(self) -> dict[str, str]:
        """What came through the bus, by volume."""
        events = [envelope["detail"]["data"] for envelope in self.aws.receive(VERDICTS, wait_seconds=0)]
        return {data["volume_id"]: data["detail"] for data in events}


@pytest.fixture
def world() -> Iterator[World]:
    cloud = demo_cloud(utc_now)
    moto_api_backend.reset()  # the stand-in keeps its state beyond its own end
    with AwsStandIn(visibility_seconds=2) as aws, CloudServer(cloud):
        yield World(aws, cloud)
    moto_api_backend.reset()


@pytest.fixture
def start(recipe: Recipe, tmp_path: Path) -> Start:
    """Start a function from an empty directory."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return partial(emulated, recipe, empty=empty)


def records(*volumes: str) -> dict[str, Any]:
    return {"Records": [sqs_record(json.dumps(bare(SERVER, volume)), volume) for volume in volumes]}


def test_a_batch_cold_and_warm(world: World, start: Start) -> None:
    """A batch ends in a verdict and a continuation; the next one finds the login and the imports done."""
    with start("detach_volume", world.variables) as function:
        assert function.invoke(records(VOLUME, FREE_VOLUME)) == {"batchItemFailures": []}
        assert function.invoke(records(FREE_VOLUME)) == {"batchItemFailures": []}
        metrics = Samples.of(function.output)
    assert (world.accepted(), world.verdicts()) == ([VOLUME], {FREE_VOLUME: "already_detached"})
    assert world.aws.waiting(REQUESTS) == 1
    assert (metrics.get("Requests"), metrics.get("Verdicts")) == (3, 2)
    assert [call.operation for call in world.cloud.calls].count("get_token") == 1
    cold, warm = function.seconds
    assert warm < cold


def test_the_log_is_what_operators_look_for(world: World, start: Start) -> None:
    """One line a step, with the request's id and the cloud's; nothing that is not JSON but the emulator's own."""
    with start("detach_volume", world.variables) as function:
        function.invoke(records(VOLUME))
        lines = [json.loads(line) for line in function.output.splitlines()]
    (step,) = [line for line in lines if line.get("message") == "request stepped"]
    assert (step["request_id"], step["volume_id"], step["decision"]) == (VOLUME, VOLUME, "wait")
    assert step["openstack_request_ids"]
    assert step["function_name"] == "detach_volume"


def test_a_webhook(world: World, start: Start) -> None:
    """A signed delivery is in the queue before it is answered, an unsigned one is turned away."""
    post = Post({"content-type": "application/json"}, json.dumps(bare(SERVER, VOLUME)).encode())
    signed = post.signed(LOCAL_SECRET, datetime.now(UTC))
    with start("receive_webhook", world.variables, timeout=30) as function:
        taken = function.invoke(payload("POST", "/", signed.headers.items(), signed.body))
        refused = function.invoke(payload("POST", "/", post.headers.items(), post.body))
    assert (taken["statusCode"], refused["statusCode"]) == (202, 401)
    assert world.aws.waiting(REQUESTS) == 1


def test_a_dead_letter(world: World, start: Start) -> None:
    """What died is answered, without a call to the cloud."""
    with start("report_dead_letter", world.variables) as function:
        assert function.invoke(records(VOLUME)) == {"batchItemFailures": []}
        assert Samples.of(function.output).get("DeadLetters") == 1
    assert (world.verdicts(), world.cloud.calls) == ({VOLUME: "dead_lettered"}, [])


def test_killed_in_the_middle_of_a_batch(world: World, start: Start) -> None:
    """Lambda ends it after the DELETE and before anybody is told; the batch comes again and ends as it should.

    One DELETE was sent, one verdict for each request, and nothing is left in the queue.
    """
    cloud = world.cloud.world
    disk = cloud.add_volume(behaviour=Behaviour(seconds=1, nova_lag=0)).id
    cloud.attach(SERVER, disk, attached_at=LONG_AGO)
    for volume in (disk, FREE_VOLUME):
        world.aws.send(REQUESTS, json.dumps(bare(SERVER, volume)))
    deaths: list[BaseException] = []
    with stalling(world.aws.environment["AWS_ENDPOINT_URL"], "PutEvents") as (endpoint, open_again):
        variables = {**world.variables, "AWS_ENDPOINT_URL": endpoint}
        with start("detach_volume", variables, timeout=TIME_FOR_A_DELETE) as function:
            function.invoke({"Records": []})  # what starting takes must not be missing below
            handler = lambda event, _: function.invoke(event)  # noqa: E731
            url = world.aws.queue_urls[REQUESTS]
            poller = Poller(world.aws.client, url, queue_arn(REQUESTS), handler, on_error=deaths.append)
            while not deaths:
                poller.poll()
            assert isinstance(deaths[0], Killed)
            assert (world.accepted(), world.verdicts()) == ([disk], {})
            open_again.set()
            for _ in range(40):
                if not world.aws.waiting(REQUESTS):
                    break
                poller.poll()
    found = world.verdicts()
    assert set(found) == {disk, FREE_VOLUME}
    assert found[FREE_VOLUME] == "already_detached"
    assert found[disk] in ("detached_now", "detached_by_other", "already_detached")
    assert (world.accepted(), len(deaths), world.aws.waiting(REQUESTS)) == ([disk], 1, 0)
