"""A batch shares what it can, keeps apart what it must, and ends in time."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from shared.batch import LONGEST_CALL, BatchClouds
from shared.decision.backoff import POLL

from shared.decision.requeue import Policy
from shared.inbox.read import read
from shared.model import Classified, Conclude, Decision, Reason, Volume, Wait
from shared.outbox.events import EventFactory
from shared.ports import Cloud, Reading
from shared.visit import OutOfTime, Reconciler
from simulator import Behaviour, Fault, bodies, faults
from tests.messages import bare
from tests.stack import Bench, MemorySink, OneCloud


def requests(bench: Bench, count: int) -> list[str]:
    return [json.dumps(bare(bench.server, bench.disk())) for _ in range(count)]


def calls(bench: Bench) -> Counter[str]:
    return Counter(call.operation for call in bench.api.calls)


def step(bench: Bench, texts: list[str], deadline: datetime | None = None) -> list[BaseException | None]:
    deliveries = [bench.delivery(text, f"m-{at}") for at, text in enumerate(texts)]
    return bench.service.handle(deliveries, deadline)


def test_one_server_is_read_once_for_all_its_disks() -> None:
    """Twenty disks of one server cost one server read, one list, twenty volume reads and twenty DELETEs."""
    bench = Bench()
    step(bench, requests(bench, 20))

    expected = {"get_token": 1, "get_server": 1, "list_attachments": 1, "get_volume": 20, "delete_attachment": 20}
    assert expected == dict(calls(bench))


def test_every_disk_of_a_batch_ends_detached() -> None:
    """Sharing reads loses nothing: each request has its own verdict."""
    bench = Bench()
    for text in requests(bench, 20):
        bench.queue.put(text)
    bench.run()

    assert ["detached_now"] * 20 == [event["data"]["detail"] for event in bench.sink.events]


def test_a_read_is_not_shared_once_it_is_old() -> None:
    """Two seconds later the server is read anew: a gate is not asked of the past."""
    bench = Bench()
    step(bench, requests(bench, 1))
    bench.clock.time += timedelta(seconds=3)
    step(bench, requests(bench, 1))

    assert 2 == calls(bench)["get_server"]


def test_a_failed_read_is_everybodys_trouble_and_nobodys_end() -> None:
    """If the shared list cannot be read, all requests for that server wait, and end well later."""
    bench = Bench()
    bench.api.faults.add(Fault(faults.answer(bodies.html_error(502)), "list_attachments"))
    for text in requests(bench, 3):
        bench.queue.put(text)
    bench.run()

    assert ["detached_now"] * 3 == [event["data"]["detail"] for event in bench.sink.events]


def test_without_time_no_delete_is_sent() -> None:
    """A DELETE that might not end before the invocation does is left to the next one, and nothing is lost."""
    bench = Bench()
    errors = step(bench, requests(bench, 1), deadline=bench.clock.time + LONGEST_CALL - timedelta(seconds=1))

    assert [None] == errors
    assert 0 == calls(bench)["delete_attachment"]
    bench.run()
    assert ["detached_now"] == [event["data"]["detail"] for event in bench.sink.events]


class Slow:
    """A cloud that takes its time for reads of volumes, and for DELETEs."""

    def __init__(self, bench: Bench, reading: float = 0, deleting: float = 0) -> None:
        self._cloud, self._clock, self._reading, self._deleting = bench.cloud, bench.clock, reading, deleting

    def __getattr__(self, name: str) -> object:
        return getattr(self._cloud, name)

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        self._clock.pass_(self._reading)
        return self._cloud.volume(volume_id)

    def detach(self, server_id: str, volume_id: str) -> Reading[Classified]:
        self._clock.pass_(self._deleting)
        return self._cloud.detach(server_id, volume_id)


def decision_after_a_long_wait(bench: Bench, meanwhile: Callable[[], object] = lambda: None) -> Decision:
    """What comes of a request whose turn comes after another disk's DELETE of three seconds."""

    @contextmanager
    def turn() -> Iterator[None]:
        bench.clock.pass_(3)
        meanwhile()
        yield

    found = read(bench.delivery(*requests(bench, 1)), "bms")
    assert isinstance(found, list)
    clouds = BatchClouds(bench.clouds, bench.clock, one_at_a_time=turn)
    return bench.service.reconciler.step(found[0], clouds).decision


def test_who_waits_long_for_its_turn_looks_again() -> None:
    """A server that is locked while another disk goes keeps this one, though its look had passed the gates."""
    bench = Bench()
    decision = decision_after_a_long_wait(bench, lambda: bench.world.set_server(bench.server, locked=True))

    assert isinstance(decision, Conclude)
    assert decision.reason is Reason.SERVER_LOCKED
    assert 0 == calls(bench)["delete_attachment"]


def test_a_long_wait_costs_one_more_look() -> None:
    """Where nothing has changed the DELETE goes out all the same, in its turn."""
    bench = Bench()
    assert isinstance(decision_after_a_long_wait(bench), Wait)
    assert (1, 2, 2) == tuple(calls(bench)[name] for name in ("delete_attachment", "get_volume", "get_server"))


def test_slow_reads_are_not_waited_for_again() -> None:
    """A cloud that takes seconds for every read is a cloud all the same: the look is as fresh as it can be."""
    bench = Bench()
    bench.clouds = OneCloud(Slow(bench, reading=5))  # type: ignore[arg-type]
    assert [None] == step(bench, requests(bench, 1))
    assert 1 == calls(bench)["delete_attachment"]


def test_without_time_for_a_delete_a_request_gives_up() -> None:
    """Where every invocation is too short for the cloud's pace, the request ends as one that could not be tried."""
    bench = Bench()
    bench.clouds = OneCloud(Slow(bench, reading=20))  # type: ignore[arg-type]
    bench.queue.put(requests(bench, 1)[0])
    for _ in range(2000):
        if not (bodies := bench.queue.take()):
            break
        step(bench, bodies, deadline=bench.clock.time + timedelta(seconds=55))
    assert ["gave_up"] == [event["data"]["detail"] for event in bench.sink.events]
    assert 0 == calls(bench)["delete_attachment"]


def test_no_delete_goes_out_when_its_turn_comes_too_late() -> None:
    """Ten disks of one server share the time: after the first DELETE there is none left for another."""
    bench = Bench()
    bench.clouds = OneCloud(Slow(bench, deleting=1.5))  # type: ignore[arg-type]
    deadline = bench.clock.time + LONGEST_CALL + timedelta(seconds=1)
    assert [None] * 10 == step(bench, requests(bench, 10), deadline)
    assert 1 == calls(bench)["delete_attachment"]


class Hanging:
    """A cloud whose answers for one volume never come, until the test lets them."""

    def __init__(self, cloud: Cloud, volume_id: str) -> None:
        self._cloud = cloud
        self._volume_id = volume_id
        self.release = threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._cloud, name)

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        if volume_id == self._volume_id:
            self.release.wait(30)
        return self._cloud.volume(volume_id)


def test_what_hangs_is_given_back_in_time() -> None:
    """One request that hangs goes back to the queue alone; the others of its batch are done."""
    bench = Bench()
    texts = requests(bench, 3)
    hanging = Hanging(bench.cloud, json.loads(texts[1])["volume_id"])
    bench.clouds = OneCloud(hanging)  # type: ignore[arg-type]
    errors = step(bench, texts, deadline=bench.clock.time + timedelta(seconds=0.3))
    hanging.release.set()

    assert [None, OutOfTime, None] == [error and type(error) for error in errors]
    assert 2 == len(bench.queue.sent)


def test_nothing_to_do_is_done_at_once() -> None:
    """An empty batch asks nobody anything."""
    bench = Bench()
    reconciler = Reconciler(bench.clouds, bench.queue, MemorySink(), EventFactory(), bench.policy, bench.clock)

    assert [] == reconciler.run([])
    assert [] == bench.api.calls


def test_disks_that_a_server_still_lists_cost_one_list() -> None:
    """Until a server lets go nothing is proven: its list alone is asked, once a look for a batch of its disks."""
    bench = Bench()
    texts = [json.dumps(bare(bench.server, bench.disk(behaviour=Behaviour(seconds=30)))) for _ in range(20)]
    for text in texts:
        bench.queue.put(text)
    bench.run()

    assert ["detached_now"] * 20 == [event["data"]["detail"] for event in bench.sink.events]
    before_first_detaching_at_last = 3 * len(texts)
    assert before_first_detaching_at_last == calls(bench)["get_volume"]
    assert calls(bench)["list_attachments"] < 20


@pytest.mark.parametrize(
    ("refused_after", "late"), [(2, 5), (10, Policy().glances.total_seconds() + POLL.cap)], ids=["soon", "later"]
)
def test_a_refusal_is_noticed_between_glances(refused_after: float, late: float) -> None:
    """A disk that goes back to in-use is still listed: the volume is read too, after seconds and then now and again."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=refused_after, refuse=True))
    bench.queue.put(json.dumps(bare(bench.server, disk)))
    bench.run()

    [event] = bench.sink.events
    assert "refused_by_server" == event["data"]["reason"]["code"]
    assert event["data"]["timing"]["seconds"] < refused_after + late
