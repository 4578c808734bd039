"""Deliveries in, the state of the world out: from the queue's messages to detached volumes and verdicts."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from shared.cloud.openstack import OpenStackCloud
from shared.model import Volume
from shared.ports import AwsTrouble, Reading, Unsent
from simulator import Behaviour, Fault, What, faults
from tests.messages import cloudevent, cloudevent_faults
from tests.stack import Bench

GARBAGE = '{"server_id": "x", "dryrun": true'


def accepted(bench: Bench) -> list[str | None]:
    return [entry.volume_id for entry in bench.world.history if entry.what is What.DELETE_ACCEPTED]


def causes(unsent: Mapping[str, Unsent]) -> dict[str, type]:
    """What kind of error each message goes back with."""
    return {id: type(why.cause) for id, why in unsent.items()}


def test_a_disk_is_detached_and_proven() -> None:
    """From one message to one verdict: one DELETE, and the verdict only after both planes have let go."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=3, nova_lag=1))
    bench.queue.put(bench.request(disk))
    bench.run()
    assert (accepted(bench), bench.world.is_attached(bench.server, disk)) == ([disk], None)
    verdict = bench.bus.final(disk)
    assert (verdict["verdict"], verdict["detail"]) == ("detached", "detached_now")
    assert verdict["evidence"]["deletes_sent"] == 1
    let_go = [entry.at for entry in bench.world.history if entry.what is What.NOVA_DETACHED]
    assert verdict["timing"]["concluded_at"] >= let_go[0].isoformat().replace("+00:00", "Z")
    assert [cloudevent_faults(event) for event in bench.bus.events] == [[]]
    assert bench.errors == []


def test_a_batch_with_garbage_concludes_all_others() -> None:
    """Of ten records one is garbage: nine disks are detached and proven, the tenth is answered with its faults."""
    bench = Bench()
    disks = [bench.disk() for _ in range(9)]
    bodies = [bench.request(disk) for disk in disks]
    bodies.insert(4, GARBAGE)
    assert bench.handle(*bodies) == {}
    (refused,) = bench.bus.data
    assert (refused["detail"], refused["original"]) == ("invalid_request", GARBAGE)
    assert refused["request"]["id"] == "m-4"
    bench.run()
    assert sorted(accepted(bench), key=str) == sorted(disks)
    assert [bench.bus.final(disk)["verdict"] for disk in disks] == ["detached"] * 9
    assert len(bench.bus.events) == 10
    assert bench.world.nova == bench.world.cinder == {}


def test_all_faults_of_a_record_are_answered() -> None:
    """A request that is JSON but wrong is answered once, with every fault and everything else that is known."""
    bench = Bench()
    wrong = cloudevent({"server_id": "x", "dryrun": True, "context": {"ticket": 1}}, correlationid="CHG-1")
    bench.queue.put(json.dumps(wrong))
    bench.run()
    (event,) = bench.bus.events
    faults_found = {fault["field"] for fault in event["data"]["faults"]}
    assert faults_found == {"server_id", "dryrun", "volume_id"}
    assert (event["data"]["context"], event["correlationid"], event["causationid"]) == ({"ticket": 1}, "CHG-1", "4711")
    assert json.loads(event["data"]["original"]) == wrong


def test_several_volumes_are_concluded_one_by_one() -> None:
    """A request for several disks has a verdict for each, under one request id."""
    bench = Bench()
    disks = [bench.disk(), bench.disk(attached=False), bench.disk(behaviour=Behaviour(seconds=2, refuse=True))]
    bench.queue.put(json.dumps(cloudevent({"server_id": bench.server, "volume_ids": disks})))
    bench.run()
    details = [bench.bus.final(disk)["detail"] for disk in disks]
    assert details == ["detached_now", "already_detached", "refused_by_server"]
    assert {data["request"]["id"] for data in bench.bus.data} == {"4711"}
    assert len({event["id"] for event in bench.bus.events}) == 3


def test_a_redelivered_message_says_the_same_again() -> None:
    """The same message once more sends no second DELETE, and its verdict has the same event id."""
    bench = Bench()
    disk = bench.disk()
    for _ in range(2):
        assert bench.handle(bench.request(disk)) == {}
    bench.run()
    assert accepted(bench) == [disk]
    assert {event["id"] for event in bench.bus.events} == {bench.bus.events[0]["id"]}
    assert {data["verdict"] for data in bench.bus.data} == {"detached"}


def test_a_continuation_that_is_not_taken_goes_back_alone() -> None:
    """A queue that is gone fails only the records that have to wait; those concluded are done."""
    bench = Bench()
    waiting, free = bench.disk(), bench.disk(attached=False)
    bench.queue.refuse = lambda message: True
    assert causes(bench.handle(bench.request(waiting), bench.request(free))) == {"m-0": AwsTrouble}
    assert bench.bus.final(free)["detail"] == "already_detached"
    bench.queue.refuse = lambda message: False
    bench.queue.put(bench.request(waiting))
    bench.run()
    assert (bench.bus.final(waiting)["verdict"], accepted(bench)) == ("detached", [waiting])


def test_a_verdict_that_is_not_taken_goes_back_alone() -> None:
    """A bus that refuses one event fails that record; delivered again, it says the same under the same id."""
    bench = Bench()
    first, second = bench.disk(attached=False), bench.disk(attached=False)
    bench.bus.refuse = lambda event: first in (event.subject or "")
    bodies = [bench.request(first), bench.request(second)]
    assert causes(bench.handle(*bodies)) == {"m-0": AwsTrouble}
    bench.bus.refuse = lambda event: False
    assert bench.handle(*bodies) == {}
    assert [data["volume_id"] for data in bench.bus.data] == [second, first, second]
    assert bench.bus.events[0]["id"] == bench.bus.events[2]["id"]


def test_an_answer_to_garbage_that_is_not_taken_goes_back() -> None:
    """Garbage is not lost either: its record comes back until the answer is taken."""
    bench = Bench()
    bench.bus.refuse = lambda event: True
    assert causes(bench.handle(GARBAGE, bench.request(bench.disk()))) == {"m-0": AwsTrouble}
    assert len(bench.queue) == 1


class Stumbling:
    """A cloud adapter with a bug in it: one volume makes it fall over."""

    def __init__(self, cloud: OpenStackCloud, stone: str) -> None:
        self._cloud, self._stone = cloud, stone

    def __getattr__(self, name: str) -> object:
        return getattr(self._cloud, name)

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        if volume_id == self._stone:
            raise ZeroDivisionError("a bug")
        return self._cloud.volume(volume_id)


def test_a_bug_fails_its_own_record_only() -> None:
    """An exception nobody foresaw stays with the record that brought it to light."""
    bench = Bench()
    disks = [bench.disk() for _ in range(3)]
    bench.use(Stumbling(bench.connect(), disks[1]))
    assert causes(bench.handle(*map(bench.request, disks))) == {"m-1": ZeroDivisionError}
    bench.run()
    assert sorted(accepted(bench), key=str) == sorted([disks[0], disks[2]])


def test_one_volume_of_several_fails_the_whole_record() -> None:
    """If one of a record's requests cannot be brought on, the record comes back; the others lose nothing by it."""
    bench = Bench()
    disks = [bench.disk() for _ in range(2)]
    bench.use(Stumbling(bench.connect(), disks[1]))
    body = json.dumps(cloudevent({"server_id": bench.server, "volume_ids": disks}))
    assert causes(bench.handle(body)) == {"m-0": ZeroDivisionError}
    bench.use(bench.connect())
    bench.queue.put(body)
    bench.run()
    assert sorted(accepted(bench), key=str) == sorted(disks)
    assert {event["subject"] for event in bench.bus.events} == {
        f"servers/{bench.server}/volumes/{disk}" for disk in disks
    }


def test_a_body_that_is_no_text_fails_its_own_record_only() -> None:
    """Even what SQS never sends, a body that is no text, does not take the batch along."""
    bench = Bench()
    nothing: Any = None
    assert list(bench.handle(nothing, bench.request(bench.disk()))) == ["m-0"]


def test_our_own_verdict_is_left_alone() -> None:
    """A verdict that a rule has routed back into the queue is dropped: no event, no message, no error."""
    bench = Bench()
    bench.queue.put(bench.request(bench.disk(attached=False)))
    bench.run()
    assert bench.handle(json.dumps(bench.bus.events[0])) == {}
    assert (len(bench.bus.events), len(bench.queue)) == (1, 0)


def test_a_cloud_that_is_away_is_waited_for() -> None:
    """Trouble with the cloud is no error of the record: the request looks again until the cloud is back."""
    bench = Bench()
    disk = bench.disk()
    bench.cloud.faults.add(Fault(faults.CONNECTION_REFUSED, times=6))
    bench.queue.put(bench.request(disk))
    bench.run()
    assert (bench.bus.final(disk)["detail"], bench.errors) == ("detached_now", [])
    assert accepted(bench) == [disk]


def test_a_dry_run_changes_nothing() -> None:
    """With dry_run the world is the same afterwards, and the answer says what would happen."""
    bench = Bench()
    disk = bench.disk()
    before = bench.world.snapshot()
    bench.queue.put(bench.request(disk, dry_run=True))
    bench.run()
    assert [data["detail"] for data in bench.bus.data] == ["would_detach"]
    assert bench.world.snapshot() == before


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda bench, disk: bench.world.set_server(bench.server, locked=True), "server_locked"),
        (lambda bench, disk: bench.world.set_server(bench.server, metadata={"os_type": "Windows"}),
            "attestation_required"),
        (lambda bench, disk: bench.world.set_volume(disk, metadata={"detach_protection": "true"}), "volume_protected"),
        (lambda bench, disk: bench.world.set_volume(disk, status="error"), "volume_error"),
        (lambda bench, disk: bench.world.set_server(bench.server, root_device="/dev/sdb"), "system_disk"),
    ],
)  # fmt: skip
def test_what_would_lose_data_is_refused_without_a_delete(prepare: Callable[[Bench, str], Any], reason: str) -> None:
    """The gates hold end to end: the DELETE never leaves, and the verdict says why and what to do."""
    bench = Bench()
    disk = bench.disk()
    prepare(bench, disk)
    bench.queue.put(bench.request(disk))
    bench.run()
    verdict = bench.bus.final(disk)
    assert (verdict["verdict"], verdict["reason"]["code"]) == ("failed", reason)
    assert What.DELETE_RECEIVED not in [entry.what for entry in bench.world.history]
