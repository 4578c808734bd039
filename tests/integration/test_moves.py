"""A moved server keeps its disk under a new attachment, which clouds show in different ways."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from simulator import MOVES, Behaviour, What
from tests.stack import Bench

NEWEST, RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS = (2, 96), (2, 60), (2, 50)
CLOUD_VERSIONS = pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS])
KINDS = pytest.mark.parametrize("kind", [*MOVES, "shelve", "swap"])


def cloud(newest: tuple[int, int] = NEWEST, records: bool = True) -> Bench:
    """A cloud that shows `bdm_uuid` (from 2.89), the ends of action records (from 2.58), or only their starts."""
    bench = Bench()
    bench.cloud.deployment.max_compute_version = newest
    bench.cloud.deployment.instance_actions = records
    return bench


def moved(bench: Bench, kind: str, disk: str) -> None:
    """Move the server completely, which takes a minute."""
    if kind == "shelve":
        bench.world.shelve(bench.server)
        bench.clock.sleep(60)
        bench.world.unshelve(bench.server)
    elif kind == "swap":
        bench.world.swap_volume(bench.server, disk)
    else:
        bench.world.move(bench.server, kind, seconds=60)
    bench.clock.sleep(100)
    bench.world.advance()


def attached_again(bench: Bench, _kind: str, disk: str) -> None:
    """Detach the disk and attach it again, as somebody else."""
    bench.world.begin_detach(bench.server, disk)
    bench.clock.sleep(30)
    bench.world.attach(bench.server, disk)
    bench.clock.sleep(30)


def current(bench: Bench, disk: str) -> str | None:
    return bench.world.is_attached(bench.server, disk)


def first_look(bench: Bench, disk: str, **asked: Any) -> None:
    """Look at a request while its disk is busy: the attachment is followed, and no DELETE is sent."""
    bench.world.set_volume(disk, status="backing-up")
    bench.queue.put(bench.request(disk, **asked))
    bench.step()
    bench.world.set_volume(disk, status="in-use")


def verdict(bench: Bench) -> dict[str, Any]:
    bench.run()
    (data,) = bench.bus.data
    assert isinstance(data, dict)
    return data


def deletes(bench: Bench) -> list[str | None]:
    return [entry.attachment_id for entry in bench.world.history if entry.what is What.DELETE_ACCEPTED]


Step = Callable[[Bench, str, str], None]


@CLOUD_VERSIONS
@KINDS
@pytest.mark.parametrize("named", [False, True])
def test_disk_of_a_server_that_moved_between_two_looks_is_detached(
    newest: tuple[int, int], kind: str, named: bool
) -> None:
    """The new attachment is adopted and detached by one DELETE, and the verdict has both attachments."""
    bench = cloud(newest)
    disk = bench.disk(behaviour=Behaviour(seconds=2))
    old = current(bench, disk)
    first_look(bench, disk, **({"attachment_id": old} if named else {}))
    moved(bench, kind, disk)
    new = current(bench, disk)
    data = verdict(bench)
    assert new != old
    assert (data["detail"], data["attachment_id"], current(bench, disk)) == ("detached_now", new, None)
    assert data["evidence"]["before"]["attachment"]["attachment_id"] == old
    assert deletes(bench) == [new]


@CLOUD_VERSIONS
@KINDS
@pytest.mark.parametrize("named", [False, True])
def test_request_that_is_older_than_the_move_is_carried_out(newest: tuple[int, int], kind: str, named: bool) -> None:
    """No attach has begun since the request, and a move explains the new attachment, so it is detached."""
    bench = cloud(newest)
    disk = bench.disk(behaviour=Behaviour(seconds=2))
    asked = {"requested_at": bench.clock().isoformat()} | ({"attachment_id": current(bench, disk)} if named else {})
    moved(bench, kind, disk)
    new = current(bench, disk)
    bench.queue.put(bench.request(disk, **asked))
    assert (verdict(bench)["detail"], deletes(bench), current(bench, disk)) == ("detached_now", [new], None)


@KINDS
def test_redelivered_message_finds_the_moved_disk(kind: str) -> None:
    """The server was moved between two deliveries of the message."""
    bench = cloud()
    disk = bench.disk(behaviour=Behaviour(seconds=2))
    message = bench.queue.put(bench.request(disk))
    bench.queue.receive(1)
    moved(bench, kind, disk)
    message.visible_at = bench.clock()
    assert (verdict(bench)["detail"], current(bench, disk), len(deletes(bench))) == ("detached_now", None, 1)


@KINDS
def test_dry_run_after_a_move_would_detach(kind: str) -> None:
    """A dry run reports what a request of the same time would do."""
    bench = cloud()
    disk = bench.disk()
    asked = bench.request(disk, requested_at=bench.clock().isoformat(), dry_run=True)
    moved(bench, kind, disk)
    bench.queue.put(asked)
    assert (verdict(bench)["detail"], deletes(bench)) == ("would_detach", [])
    assert current(bench, disk)


@pytest.mark.parametrize("kind", [*MOVES, "swap"])
@pytest.mark.parametrize("followed", [False, True])
def test_without_records_the_cause_stays_unknown(kind: str, followed: bool) -> None:
    """Without a binding and records, the disk stays attached, and the verdict says that the cause is unknown."""
    bench = cloud(RECORDS_WITH_ENDS, records=False)
    disk = bench.disk()
    old, asked = current(bench, disk), bench.request(disk, requested_at=bench.clock().isoformat())
    if followed:
        first_look(bench, disk)
    bench.clock.sleep(60)
    moved(bench, kind, disk)
    if not followed:
        bench.queue.put(asked)
    data = verdict(bench)
    assert (data["detail"], deletes(bench)) == ("superseded", [])
    assert "is not known" in data["explanation"]
    assert current(bench, disk) == data["evidence"]["after"]["attachment"]["attachment_id"] != old


@CLOUD_VERSIONS
def test_disk_that_somebody_attached_again_is_left_alone(newest: tuple[int, int]) -> None:
    """The followed attachment is gone, and the new one is left alone."""
    bench = cloud(newest)
    disk = bench.disk()
    first_look(bench, disk)
    attached_again(bench, "", disk)
    assert (verdict(bench)["detail"], deletes(bench)) == ("replaced_by_newer", [])
    assert current(bench, disk)


@CLOUD_VERSIONS
def test_disk_attached_again_since_the_request_is_left_alone(newest: tuple[int, int]) -> None:
    """The attachment that the request means is gone, and the new one is left alone."""
    bench = cloud(newest)
    disk = bench.disk()
    asked = bench.request(disk, requested_at=bench.clock().isoformat())
    attached_again(bench, "", disk)
    bench.queue.put(asked)
    data = verdict(bench)
    assert (data["detail"], deletes(bench)) == ("superseded", [])
    assert "somebody attached the volume" in data["explanation"]


@pytest.mark.parametrize("steps", [(attached_again, moved), (moved, attached_again)])
@pytest.mark.parametrize("newest", [RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS])
def test_ambiguous_records_prove_nothing(newest: tuple[int, int], steps: tuple[Step, ...]) -> None:
    """After an attach and a move in either order, the disk is left alone, and `detached` needs proof."""
    bench = cloud(newest)
    disk = bench.disk()
    first_look(bench, disk)
    for one in steps:
        one(bench, "resize", disk)
        bench.clock.sleep(100)
    data = verdict(bench)
    assert data["detail"] in ("superseded", "replaced_by_newer")
    assert data["detail"] == "superseded" or steps[-1] is attached_again
    assert deletes(bench) == []


def test_disk_attached_while_its_server_was_shelved_has_not_moved() -> None:
    """Its attachment gets its time at the unshelve, as after a move, but the records have an attach."""
    bench = cloud()
    disk = bench.disk()
    asked = bench.request(disk, requested_at=bench.clock().isoformat())
    bench.world.begin_detach(bench.server, disk)
    bench.clock.sleep(10)
    bench.world.shelve(bench.server)
    bench.clock.sleep(10)
    bench.world.attach(bench.server, disk)
    bench.clock.sleep(10)
    bench.world.unshelve(bench.server)
    bench.clock.sleep(10)
    bench.queue.put(asked)
    assert (verdict(bench)["detail"], deletes(bench)) == ("superseded", [])


def test_no_detach_begins_while_a_disk_has_two_attachments() -> None:
    """The request waits for the end of a live migration, and then detaches the disk."""
    bench = cloud()
    disk = bench.disk(behaviour=Behaviour(seconds=2))
    first_look(bench, disk)
    bench.world.move(bench.server, "live-migration", seconds=60)
    data = verdict(bench)
    assert (data["detail"], len(deletes(bench)), current(bench, disk)) == ("detached_now", 1, None)
    waits = {
        json.loads(message.body)["progress"].get("followed", {}).get("attachment_id") for message in bench.queue.sent
    }
    assert len(waits) == 2


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS])
@pytest.mark.parametrize("ago", [0, 600])
def test_disk_of_a_shelved_server_is_detached(offload: bool, newest: tuple[int, int], ago: int) -> None:
    """The disk is detached whether or not the server is offloaded, with a microversion that allows it."""
    bench = cloud(newest)
    disk = bench.disk(behaviour=Behaviour(seconds=2))
    bench.world.shelve(bench.server, offload=offload)
    bench.clock.sleep(900)
    bench.world.advance()
    bench.queue.put(bench.request(disk, requested_at=(bench.clock() - timedelta(seconds=ago)).isoformat()))
    assert (verdict(bench)["detail"], len(deletes(bench)), current(bench, disk)) == ("detached_now", 1, None)


def test_delete_is_repeated_without_a_refused_microversion() -> None:
    """The refused DELETE had no effect, so the next look sends one without the microversion."""
    bench = cloud((2, 10))
    disk = bench.disk(behaviour=Behaviour(seconds=2))
    bench.queue.put(bench.request(disk))
    assert (verdict(bench)["detail"], len(deletes(bench))) == ("detached_now", 1)


def test_detach_from_a_dead_host_works_after_an_evacuation() -> None:
    """The DELETE is repeated after 409 `Service is unavailable`, and works after the evacuation."""
    bench = cloud()
    disk = bench.disk(behaviour=Behaviour(seconds=2))
    bench.world.set_server(bench.server, host_up=False)
    bench.queue.put(bench.request(disk))
    bench.world.at(120, lambda: bench.world.move(bench.server, "evacuate", seconds=30))
    data = verdict(bench)
    assert (data["detail"], len(deletes(bench)), current(bench, disk)) == ("detached_now", 1, None)
