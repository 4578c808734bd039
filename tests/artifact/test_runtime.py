"""The artifact under Lambda's official emulator and runtime client: each function, cold and warm."""

import json
from datetime import UTC, datetime
from typing import Any

from local.aws_stand_in import DEAD_LETTERS, REQUESTS, queue_arn
from local.demo import FREE_VOLUME, SERVER, STOPPED_SERVER, STOPPED_VOLUME, VOLUME, WINDOWS_SERVER, WINDOWS_VOLUME
from local.function_url import payload
from tests.artifact.emulated import Start, under_the_emulator
from tests.artifact.gate import gate_to
from tests.artifact.world import World
from tests.messages import bare, sqs_record
from tools.sender import LOCAL_SECRET, Post

pytestmark = under_the_emulator


def records(*volumes: str) -> dict[str, Any]:
    return {"Records": [sqs_record(json.dumps(bare(SERVER, volume)), volume) for volume in volumes]}


def test_every_request_of_a_batch_gets_its_verdict(world: World, start: Start) -> None:
    """Each of the four requests of a batch gets one verdict, which agrees with the cloud's record."""
    world.request(VOLUME, FREE_VOLUME)
    world.request(STOPPED_VOLUME, server=STOPPED_SERVER)
    world.request(WINDOWS_VOLUME, server=WINDOWS_SERVER)
    with start("detach_volume", world.variables) as function:
        poller = world.poller(function)
        assert poller.poll() == 4
        world.drain(poller)
    assert world.verdicts() == {
        VOLUME: "detached_now",
        STOPPED_VOLUME: "detached_now",
        FREE_VOLUME: "already_detached",
        WINDOWS_VOLUME: "attestation_required",
    }
    assert len(world.events()) == 4
    assert world.accepted() == sorted([VOLUME, STOPPED_VOLUME])
    assert (world.attached(VOLUME), world.attached(STOPPED_VOLUME, STOPPED_SERVER)) == (None, None)
    assert world.attached(WINDOWS_VOLUME, WINDOWS_SERVER)
    assert world.aws.waiting(DEAD_LETTERS) == 0


def test_cold_and_warm(world: World, start: Start) -> None:
    """The second invocation reuses imports, secrets and login, and makes only the calls of its request."""
    with (
        gate_to(world.variables["AWS_ENDPOINT_URL"]) as gate,
        start("detach_volume", {**world.variables, "AWS_ENDPOINT_URL": gate.url}) as function,
    ):
        assert function.invoke(records(VOLUME, FREE_VOLUME)) == {"batchItemFailures": []}
        asked, called = len(world.operations()), len(gate.operations)
        assert function.invoke(records(FREE_VOLUME)) == {"batchItemFailures": []}
    steps, metrics = function.logged("request stepped"), function.metrics()
    assert [step["cold_start"] for step in steps] == [True, True, False]
    assert gate.operations[:called] == ["GetSecretValue", "PutEvents", "GetSecretValue", "SendMessageBatch"]
    assert gate.operations[called:] == ["PutEvents"]
    assert world.operations()[:asked].count("get_token") == 1
    assert world.operations()[asked:] == ["get_server", "list_attachments", "get_volume"]
    assert (metrics.get("Requests"), metrics.get("Verdicts")) == (3, 2)
    cold, warm = function.seconds
    assert warm < cold


def test_the_log_has_what_operators_look_for(world: World, start: Start) -> None:
    """Each step has one JSON line with the id of the request and those of the cloud."""
    with start("detach_volume", {**world.variables, "AWS_LAMBDA_FUNCTION_NAME": "detach"}) as function:
        function.invoke(records(VOLUME))
        (step,) = function.logged("request stepped")
    assert (step["request_id"], step["volume_id"], step["decision"]) == (VOLUME, VOLUME, "wait")
    assert step["openstack_request_ids"]
    assert step["function_name"] == "detach"


def test_a_webhook(world: World, start: Start) -> None:
    """A signed request is queued before the answer, and its verdict has the id that the answer gives."""
    post = Post({"content-type": "application/json"}, json.dumps(bare(SERVER, VOLUME)).encode())
    signed = post.signed(LOCAL_SECRET, datetime.now(UTC))
    with start("receive_webhook", {**world.variables, "AWS_LAMBDA_FUNCTION_TIMEOUT": "30"}) as webhook:
        answer = webhook.invoke(payload("POST", "/", signed.headers.items(), signed.body))
    assert answer["statusCode"] == 202
    assert world.aws.waiting(REQUESTS) == 1
    with start("detach_volume", world.variables) as function:
        world.drain(world.poller(function))
    (promised,) = json.loads(answer["body"])["requests"]
    assert [event["id"] for event in world.events()] == [promised["verdict_id"]]
    assert (world.verdicts(), world.attached(VOLUME)) == ({VOLUME: "detached_now"}, None)


def test_an_unauthenticated_webhook_request(world: World, start: Start) -> None:
    """A request that is unsigned, or was changed after signing, is refused and not queued."""
    post = Post({"content-type": "application/json"}, json.dumps(bare(SERVER, VOLUME)).encode())
    tampered = post.signed(LOCAL_SECRET, datetime.now(UTC)).tampered()
    with start("receive_webhook", world.variables) as webhook:
        answers = [webhook.invoke(payload("POST", "/", sent.headers.items(), sent.body)) for sent in (post, tampered)]
    assert [answer["statusCode"] for answer in answers] == [401, 401]
    assert world.aws.waiting(REQUESTS) == 0


def test_a_dead_letter(world: World, start: Start) -> None:
    """A request that no delivery could finish gets a verdict, without a call to the cloud."""
    disk = world.disk(seconds=3600)
    world.request(disk)
    nowhere = world.variables["REQUEST_QUEUE_URL"] + "-that-is-not-there"
    with start("detach_volume", {**world.variables, "REQUEST_QUEUE_URL": nowhere}) as function:
        world.drain(world.poller(function))
    assert (world.aws.waiting(DEAD_LETTERS), world.verdicts(), world.accepted()) == (1, {}, [disk])
    asked = world.operations()
    with start("report_dead_letter", world.variables) as function:
        world.poller(function, DEAD_LETTERS, died_in=queue_arn(REQUESTS)).poll()
        assert function.metrics().get("DeadLetters") == 1
    assert (world.verdicts(), world.aws.waiting(DEAD_LETTERS)) == ({disk: "dead_lettered"}, 0)
    assert world.operations() == asked
