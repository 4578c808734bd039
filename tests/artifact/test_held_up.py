"""AWS does not answer in the middle of a batch: the function ends in time, and the batch is delivered again."""

from local.aws_stand_in import DEAD_LETTERS, REQUESTS
from local.demo import FREE_VOLUME, SERVER
from tests.artifact.emulated import Start, under_the_emulator
from tests.artifact.gate import gate_to
from tests.artifact.world import surroundings

pytestmark = under_the_emulator

TIMEOUT = 46
"""No DELETE is sent with less than 41 s left, the time for the longest call and for sending its outcome. The reads get
the other 5 s."""


def test_a_batch_that_is_held_up_halfway(start: Start) -> None:
    """Each request gets one true verdict, and a disk that was attached again in the meantime is left alone."""
    deaths: list[BaseException] = []
    # As in AWS, a message is redelivered only when no invocation can still handle it.
    with surroundings(visibility_seconds=TIMEOUT + 1) as world, gate_to(world.variables["AWS_ENDPOINT_URL"]) as gate:
        gone, renewed = world.disk(seconds=1), world.disk(seconds=1)
        world.request(gone, renewed, FREE_VOLUME)
        limits = {"AWS_ENDPOINT_URL": gate.url, "AWS_LAMBDA_FUNCTION_TIMEOUT": str(TIMEOUT)}
        with start("detach_volume", {**world.variables, **limits}) as function:
            function.invoke({"Records": []})  # start the runtime first, so that its start does not count
            poller = world.poller(function, on_error=deaths.append)
            gate.holds = "SendMessageBatch"  # by then both DELETEs are sent and one verdict is emitted
            assert poller.poll() == 3
            assert deaths == []  # Lambda did not have to kill it
            assert world.accepted() == sorted([gone, renewed])
            assert world.verdicts() == {FREE_VOLUME: "already_detached"}
            with world.cloud.lock:
                newer = world.cloud.world.attach(SERVER, renewed)
            gate.holds = ""
            world.drain(poller)
        verdicts = {FREE_VOLUME: "already_detached", gone: "detached_now", renewed: "replaced_by_newer"}
        assert world.verdicts() == verdicts
        assert (world.attached(gone), world.attached(renewed)) == (None, newer)
        assert (deaths, world.operations().count("delete_attachment")) == ([], 2)
        assert [world.aws.waiting(queue) for queue in (REQUESTS, DEAD_LETTERS)] == [0, 0]
