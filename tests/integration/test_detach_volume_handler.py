"""The Lambda handler: records in, a partial batch response out, over real sockets."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from functions.detach_volume.handler import lambda_handler
from local.aws_stand_in import BUS, REQUESTS, VERDICTS, AwsStandIn, queue_arn
from local.demo import FREE_VOLUME, LONG_AGO, SERVER, VOLUME, demo_cloud
from local.poller import LambdaContext, Poller
from local.stack import simulator_credentials
from shared.ports import utc_now
from shared.settings import SettingsError
from simulator import Behaviour, CloudApi, CloudServer, What
from tests.messages import bare, cloudevent_faults, sqs_record

Use = Callable[[dict[str, str]], None]


@dataclass
class Function:
    """The deployed function with its cloud and AWS."""

    api: CloudApi
    aws: AwsStandIn
    use: Use

    def start(self, **changes: str) -> None:
        names = {"auth_url", "username", "password", "user_domain_name", "project_id", "region_name"}
        known = simulator_credentials(self.api)
        cloud = {f"OS_{name.upper()}": known[name] for name in names}
        queue = {"REQUEST_QUEUE_URL": self.aws.queue_urls[REQUESTS], "EVENT_BUS_NAME": BUS}
        self.use({**self.aws.environment, **queue, **cloud, **changes})

    def invoke(self, *records: dict[str, Any]) -> list[str]:
        """The ids of the returned records."""
        response = lambda_handler({"Records": list(records)}, LambdaContext("detach-volume"))
        assert list(response) == ["batchItemFailures"]
        assert [list(failure) for failure in response["batchItemFailures"]] == [["itemIdentifier"]] * len(
            response["batchItemFailures"]
        )
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def verdicts(self, count: int) -> list[dict[str, Any]]:
        """The events that the bus has delivered."""
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + 5
        while len(found) < count and time.monotonic() < deadline:
            found += [envelope["detail"] for envelope in self.aws.receive(VERDICTS, wait_seconds=0)]
        assert [cloudevent_faults(event) for event in found] == [[]] * count
        return found

    def accepted(self) -> list[str | None]:
        return [entry.volume_id for entry in self.api.world.history if entry.what is What.DELETE_ACCEPTED]


@pytest.fixture
def function(aws: AwsStandIn, function_environment: Use) -> Iterator[Function]:
    """The function against the demo cloud."""
    api = demo_cloud(utc_now)
    with CloudServer(api):
        function = Function(api, aws, function_environment)
        function.start()
        yield function


WAITING = sqs_record(json.dumps(bare(SERVER, VOLUME)), "waiting")
FREE = sqs_record(json.dumps(bare(SERVER, FREE_VOLUME)), "free")
GARBAGE = sqs_record("{not json", "garbage")


def test_the_sample_event(function: Function, event_file: Callable[[str], str]) -> None:
    """The sample SQS event begins a detach and leaves a continuation in the queue."""
    assert function.invoke(*json.loads(event_file("sqs_event.json"))["Records"]) == []
    assert (function.accepted(), function.aws.waiting(REQUESTS)) == ([VOLUME], 1)


def test_the_mixed_sample(function: Function, event_file: Callable[[str], str]) -> None:
    """In the mixed sample the valid record is handled, the broken one gets a verdict, and none returns."""
    assert function.invoke(*json.loads(event_file("sqs_mixed_batch.json"))["Records"]) == []
    (event,) = function.verdicts(1)
    assert (event["data"]["detail"], event["data"]["original"]) == ("invalid_request", "{not json")
    assert event["causationid"] == "2e1424d4-f796-459a-8184-9c92662be6da"
    assert (function.accepted(), function.aws.waiting(REQUESTS)) == ([VOLUME], 1)


def test_ten_records_one_of_them_garbage(function: Function) -> None:
    """Nine records and the garbage get their verdicts on the bus."""
    disks = [function.api.world.add_volume().id for _ in range(9)]
    records = [sqs_record(json.dumps(bare(SERVER, disk)), f"m-{at}") for at, disk in enumerate(disks)]
    assert function.invoke(*records[:5], GARBAGE, *records[5:]) == []
    found = {event["data"]["request"]["id"]: event["data"]["detail"] for event in function.verdicts(10)}
    assert found == {f"m-{at}": "already_detached" for at in range(9)} | {"garbage": "invalid_request"}


def test_a_queue_that_is_gone(function: Function) -> None:
    """Only the record whose continuation could not be sent returns; the others are concluded."""
    function.start(REQUEST_QUEUE_URL=function.aws.queue_urls[REQUESTS] + "-gone")
    assert function.invoke(WAITING, FREE, GARBAGE) == ["waiting"]
    assert {event["data"]["request"]["id"] for event in function.verdicts(2)} == {"free", "garbage"}


def test_missing_aws_credentials(function: Function) -> None:
    """If nothing can be sent, every record returns without an exception."""
    function.start(AWS_SECRET_ACCESS_KEY="")
    assert {*function.invoke(WAITING, FREE, GARBAGE)} == {"waiting", "free", "garbage"}


def test_a_secret_that_is_missing(function: Function) -> None:
    """Without the cloud's credentials requests wait in the queue; garbage needs no cloud and gets its verdict."""
    function.start(CLOUD_SECRET_ID="nowhere")
    assert function.invoke(WAITING, GARBAGE, FREE) == []
    assert function.aws.waiting(REQUESTS) == 2
    assert [event["data"]["request"]["id"] for event in function.verdicts(1)] == ["garbage"]
    assert function.api.calls == []


def test_the_secret_of_the_cloud(function: Function) -> None:
    """With a secret, the credentials come from its lower-case fields."""
    function.aws.put_secret("handler/cloud", simulator_credentials(function.api))
    function.start(CLOUD_SECRET_ID="handler/cloud", OS_PASSWORD="wrong")
    assert function.invoke(FREE) == []
    assert function.verdicts(1)[0]["data"]["verdict"] == "detached"


def test_invalid_settings_fail_the_invocation(function: Function) -> None:
    """A misconfigured function reports all faults before it handles a record."""
    function.start(REQUEST_QUEUE_URL="", CONFIRM_TIMEOUT="soon")
    with pytest.raises(SettingsError, match=r"REQUEST_QUEUE_URL.*CONFIRM_TIMEOUT"):
        function.invoke(FREE)
    assert function.api.calls == []


def test_another_project_is_refused_before_any_call(function: Function) -> None:
    """A request for another project than that of the credentials is refused without a call about its server."""
    body = json.dumps(bare(SERVER, VOLUME, project_id="0" * 32))
    assert function.invoke(sqs_record(body, "m-1")) == []
    assert function.verdicts(1)[0]["data"]["reason"]["code"] == "wrong_project"
    assert {call.operation for call in function.api.calls} <= {"get_token"}


def test_the_poller_completes_a_request(function: Function) -> None:
    """With the poller, the disk is detached, its verdict is emitted, and the queue becomes empty."""
    world = function.api.world
    disk = world.add_volume(behaviour=Behaviour(seconds=0, nova_lag=0)).id
    world.attach(SERVER, disk, attached_at=LONG_AGO)
    poller = Poller(function.aws.client, function.aws.queue_urls[REQUESTS], queue_arn(REQUESTS), lambda_handler)
    function.aws.send(REQUESTS, json.dumps(bare(SERVER, disk)))
    deadline = time.monotonic() + 20
    while function.aws.waiting(REQUESTS) and time.monotonic() < deadline:
        poller.poll()
    (event,) = function.verdicts(1)
    assert (event["data"]["detail"], function.accepted()) == ("detached_now", [disk])
    assert world.is_attached(SERVER, disk) is None
