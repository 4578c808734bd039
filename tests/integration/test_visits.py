"""A visit shares reads, isolates failures, and ends in time."""

import json
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from shared.cloud.openstack import connect
from shared.model import Volume
from shared.policy import INVOCATION, LONGEST_DELETE, SHORTEST_LOOK, TIME_TO_SEND
from shared.ports import Cloud, Reading, Sent
from shared.visit import OutOfTime
from simulator import Behaviour, CloudApi, Fault, World, bodies, faults
from tests.messages import bare, cloudevent
from tests.stack import LONG_AGO, Bench, OneCloud, credentials_of, in_process, long_lived


def requests(bench: Bench, count: int, **attributes: Any) -> list[str]:
    return [bench.request(bench.disk(**attributes)) for _ in range(count)]


def calls(bench: Bench) -> Counter[str]:
    return Counter(call.operation for call in bench.cloud.calls)


def details(bench: Bench) -> list[str]:
    return [data["detail"] for data in bench.bus.data]


def to_the_end(bench: Bench, *bodies: str) -> list[str]:
    for body in bodies:
        bench.queue.put(body)
    bench.run()
    return details(bench)


def in_batches(bench: Bench) -> None:
    """Deliver all messages together once a second until the end, as a busy queue does."""
    while bench.queue.messages:
        bench.clock.sleep(1)
        bench.deliver(bench.queue.receive(20))


def test_one_server_is_read_once_for_all_its_disks() -> None:
    """Twenty disks of one server cost one server read, one list, twenty volume reads and twenty DELETEs."""
    bench = Bench()
    assert bench.handle(*requests(bench, 20)) == {}
    expected = {"get_token": 1, "get_server": 1, "list_attachments": 1, "get_volume": 20, "delete_attachment": 20}
    assert calls(bench) == expected


def test_every_disk_of_a_batch_is_detached() -> None:
    """Although reads are shared, each request gets its own verdict."""
    bench = Bench()
    assert to_the_end(bench, *requests(bench, 20)) == ["detached_now"] * 20


def test_an_old_read_is_not_shared() -> None:
    """Gates never use old reads: a lock during the slow DELETE of one disk is noticed for the next disk."""
    bench = Bench()
    bodies_ = requests(bench, 2)

    class Locking(Slow):
        def detach(self, server_id: str, volume_id: str) -> Reading[Sent]:
            reading = super().detach(server_id, volume_id)
            bench.world.set_server(bench.server, locked=True)
            return reading

    bench.use(Locking(bench, deleting=3))
    bench.handle(*bodies_)
    assert calls(bench)["get_server"] == 2
    assert (calls(bench)["delete_attachment"], details(bench)) == (1, ["server_locked"])


@pytest.mark.parametrize("operation", ["get_server", "list_attachments", "list_volumes"])
def test_a_failed_read_delays_all_cases_and_ends_none(operation: str) -> None:
    """A failed shared read is not repeated; all requests for that server wait, and succeed later."""
    bench = Bench()
    bodies_ = requests(bench, 3, behaviour=Behaviour(seconds=9))
    if operation == "list_volumes":
        bench.handle(*bodies_)
        bench.clock.sleep(5)
        bodies_ = []
    bench.cloud.faults.add(Fault(faults.answer(bodies.html_error(502)), operation, times=1))
    before = calls(bench)[operation]
    for body in bodies_:
        bench.queue.put(body)
    bench.step()
    assert calls(bench)[operation] == before + 1
    bench.run()
    assert details(bench) == ["detached_now"] * 3


@pytest.mark.parametrize("status", [200, 400, 403, 404])
def test_without_a_list_each_volume_is_read(status: int) -> None:
    """If the list of volumes is refused or unreadable, each detaching volume is read, and no request fails."""
    bench = Bench()
    body = {"volumes": [{"id": "1", "status": "detaching"}]} if status == 200 else {"forbidden": {"code": status}}
    refusal = faults.answer(status, body=json.dumps(body).encode())
    bench.cloud.faults.add(Fault(refusal, "list_volumes", times=None))
    bench.handle(*requests(bench, 3, behaviour=Behaviour(seconds=9)))
    in_batches(bench)
    assert details(bench) == ["detached_now"] * 3
    assert not any("last_error" in data["evidence"] for data in bench.bus.data)
    shown = {call["operation"] for data in bench.bus.data for call in data["evidence"]["calls"]}
    assert "list_volumes" in shown  # a failed call is in the evidence, too


def test_detaching_disks_are_read_with_one_list() -> None:
    """Each look at the detaching disks of one server costs one list of volumes."""
    bench = Bench()
    bench.handle(*requests(bench, 20, behaviour=Behaviour(seconds=30)))
    in_batches(bench)
    assert details(bench) == ["detached_now"] * 20
    assert calls(bench)["get_volume"] <= 3 * 20  # before the DELETE, when it is free, and until compute agrees
    assert calls(bench)["list_volumes"] + calls(bench)["list_attachments"] < 20


def test_without_time_no_delete_is_sent() -> None:
    """A DELETE that might outlast the invocation is left to the next one."""
    bench = Bench()
    deadline = bench.clock() + timedelta(seconds=LONGEST_DELETE - 1)
    assert bench.handle(*requests(bench, 1), deadline=deadline) == {}
    assert calls(bench)["delete_attachment"] == 0
    bench.run()
    assert details(bench) == ["detached_now"]


class Slow:
    """A cloud with slow reads of volumes and slow DELETEs."""

    def __init__(self, bench: Bench, reading: float = 0, deleting: float = 0) -> None:
        self._cloud, self._clock = bench.connect(), bench.clock
        self._reading, self._deleting = reading, deleting

    def __getattr__(self, name: str) -> object:
        return getattr(self._cloud, name)

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        self._clock.sleep(self._reading)
        return self._cloud.volume(volume_id)

    def detach(self, server_id: str, volume_id: str) -> Reading[Sent]:
        self._clock.sleep(self._deleting)
        return self._cloud.detach(server_id, volume_id)


def test_slow_reads_are_not_repeated() -> None:
    """With a cloud that takes seconds for every read, the DELETE is sent without another read."""
    bench = Bench()
    bench.use(Slow(bench, reading=5))
    assert bench.handle(*requests(bench, 1)) == {}
    assert calls(bench)["delete_attachment"] == 1


def test_without_time_for_a_delete_a_request_gives_up() -> None:
    """If every invocation is too short for the slow cloud, the request gives up without a DELETE."""
    bench = Bench()
    bench.use(Slow(bench, reading=41))
    (body,) = requests(bench, 1)
    bench.queue.put(body)
    while (at := bench.queue.next_visible()) is not None:
        bench.clock.now = max(bench.clock.now, at)
        batch = [message.received() for message in bench.queue.receive(10)]
        bench.service.handle(batch, bench.clock() + timedelta(seconds=55))
        bench.queue.messages = [m for m in bench.queue.messages if m.id not in {message.id for message in batch}]
    assert (details(bench), calls(bench)["delete_attachment"]) == (["gave_up"], 0)


def test_no_delete_is_sent_too_late() -> None:
    """After the first slow DELETE for ten disks, there is no time left for another."""
    bench = Bench()
    bench.use(Slow(bench, deleting=1.5))
    deadline = bench.clock() + timedelta(seconds=LONGEST_DELETE + 1)
    assert bench.handle(*requests(bench, 10), deadline=deadline) == {}
    assert calls(bench)["delete_attachment"] == 1


class Hanging:
    """A cloud that does not answer for one volume until the test releases it."""

    def __init__(self, cloud: Cloud, volume_id: str) -> None:
        self._cloud, self._volume_id = cloud, volume_id
        self.release = threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._cloud, name)

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        if volume_id == self._volume_id:
            self.release.wait(30)
        return self._cloud.volume(volume_id)


def test_a_hanging_server_delays_only_its_own_requests() -> None:
    """The interrupted case returns, the cases behind it are requeued unchanged, and other servers are handled."""
    bench = Bench()
    first, second, third = requests(bench, 3)
    elsewhere = bench.world.add_server(metadata={"os_type": "Linux"}).id
    bystander = bench.world.add_volume().id
    bench.world.attach(elsewhere, bystander, attached_at=LONG_AGO)
    hanging = Hanging(bench.connect(), json.loads(second)["volume_id"])
    bench.use(hanging)
    texts = [first, second, third, json.dumps(bare(elsewhere, bystander))]
    unsent = bench.handle(*texts, deadline=bench.clock() + timedelta(seconds=SHORTEST_LOOK + 0.3))
    hanging.release.set()
    assert {id: type(why.cause) for id, why in unsent.items()} == {"m-1": OutOfTime}
    sent = {json.loads(m.body)["request"]["volume_id"]: json.loads(m.body)["progress"] for m in bench.queue.sent}
    looked_at = {volume: progress.get("polls", 0) for volume, progress in sent.items()}
    volumes = [json.loads(text)["volume_id"] for text in texts]
    assert looked_at == {volumes[0]: 1, volumes[2]: 0, volumes[3]: 1}


def test_an_empty_batch_makes_no_call() -> None:
    """Without messages there is no call to the cloud."""
    bench = Bench()
    assert bench.handle() == {}
    assert bench.cloud.calls == []


@pytest.mark.parametrize("refused_after", [2, 10, 60])
def test_a_refusal_is_noticed_at_the_next_look(refused_after: float) -> None:
    """The next look sees that the disk is in-use again, and its action record shows the outcome."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=refused_after, refuse=True))
    bench.queue.put(bench.request(disk))
    bench.run()
    (data,) = bench.bus.data
    assert data["reason"]["code"] == "refused_by_server"
    assert data["timing"]["seconds"] < refused_after * 7 / 6 + 3


def test_a_delete_may_begin_in_the_first_half_of_an_invocation() -> None:
    """With half of an invocation left, a DELETE still fits before the time that is reserved for sending."""
    bench = Bench()
    deadline = bench.clock() + timedelta(seconds=INVOCATION / 2 - TIME_TO_SEND)
    assert bench.handle(*requests(bench, 1), deadline=deadline) == {}
    assert calls(bench)["delete_attachment"] == 1


def test_two_requests_for_one_disk_make_one_delete() -> None:
    """In one batch the second request joins the detach of the first, before the cloud shows it."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=8, mark_lag=4))
    bench.handle(bench.request(disk), bench.request(disk))
    bench.run()
    assert sorted(details(bench)) == ["detached_by_other", "detached_now"]
    assert calls(bench)["delete_attachment"] == 1


@pytest.mark.parametrize("together", [True, False])
def test_copies_of_a_request_recognize_their_own_detach(together: bool) -> None:
    """Both copies end in the same verdict under the same id, with one DELETE."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=8))
    event = json.dumps(cloudevent(bare(bench.server, disk)))
    bench.batch = 10 if together else 1
    for _ in range(2):
        bench.queue.put(event)
    bench.run()
    assert details(bench) == ["detached_now"] * 2
    assert len({event["id"] for event in bench.bus.events}) == 1
    assert calls(bench)["delete_attachment"] == 1


@pytest.mark.parametrize("begun", [True, False])
def test_not_found_at_other_endpoints_proves_nothing(begun: bool) -> None:
    """When the credentials' region changes during a request, a 404 from the new region proves nothing."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=60))
    if not begun:
        bench.world.set_volume(disk, status="backing-up")
    bench.handle(bench.request(disk))
    elsewhere = CloudApi(World(bench.clock), "http://elsewhere.test", long_lived())
    bench.serve(OneCloud(connect(lambda _: credentials_of(elsewhere), in_process(elsewhere), bench.clock)))
    for _ in range(5):
        bench.step()
    assert bench.bus.events == []
    bench.serve(bench.clouds())
    bench.world.set_volume(disk, status="detaching" if begun else "in-use")
    bench.run()
    assert details(bench) == ["detached_now"]


def test_changed_endpoints_are_reported_in_the_verdict() -> None:
    """After its time to live, the request gives up with the name of the setting to check."""
    bench = Bench()
    disk = bench.disk()
    bench.world.set_volume(disk, status="backing-up")
    bench.handle(bench.request(disk))
    elsewhere = CloudApi(World(bench.clock), "http://elsewhere.test", long_lived())
    bench.serve(OneCloud(connect(lambda _: credentials_of(elsewhere), in_process(elsewhere), bench.clock)))
    bench.run()
    (data,) = bench.bus.data
    assert data["detail"] == "gave_up"
    assert "OS_REGION_NAME" in data["explanation"]
