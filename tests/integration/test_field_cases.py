"""Cases from the field: how real clouds, networks and senders behave, and how the service reacts.

Four parts: moving servers, answers of Nova and Cinder, networks and logins, and requests.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.model import Answer
from shared.policy import INVOCATION, SERVERS_AT_ONCE, TIME_TO_SEND
from simulator import (
    MOVES,
    PAUSED,
    RESCUED,
    SHELVED,
    SHELVED_OFFLOADED,
    SOFT_DELETED,
    STOPPED,
    SUSPENDED,
    Behaviour,
    CloudServer,
    Fault,
    What,
    bodies,
    faults,
)
from simulator.exchange import with_headers
from tests.integration.field import (
    ELSEWHERE,
    NEWEST,
    NO_RECORDS,
    RECORDS_WITH_ENDS,
    RECORDS_WITHOUT_ENDS,
    Field,
    RealTimeClock,
    ThreadClock,
    seconds,
    texts_of,
)
from tests.messages import bare, cloudevent
from tests.stack import LONG_AGO

CLOUD_VERSIONS = pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS])
QUICK = Behaviour(seconds=2)


def pass_time(bench: Field, seconds: float) -> None:
    """Advance the clock and the cloud."""
    bench.clock.sleep(seconds)
    bench.world.advance()


# -------------------------------------------------------------------------------------------------- 1 moving servers


def shelve_and_unshelve(bench: Field, disk: str) -> None:
    bench.world.shelve(bench.server)
    pass_time(bench, 60)
    bench.world.unshelve(bench.server)


def shelve_offload_later_and_unshelve(bench: Field, disk: str) -> None:
    bench.world.shelve(bench.server, offload=False)
    pass_time(bench, 60)
    bench.world.offload(bench.server)
    pass_time(bench, 60)
    bench.world.unshelve(bench.server)


def migrate_the_volume(bench: Field, disk: str) -> None:
    bench.world.swap_volume(bench.server, disk)


def resize_and_confirm(bench: Field, disk: str) -> None:
    bench.world.move(bench.server, "resize", seconds=20)
    pass_time(bench, 60)
    bench.world.confirm_resize(bench.server)


def migrate_twice(bench: Field, disk: str) -> None:
    for _ in range(2):
        bench.world.move(bench.server, "live-migration", seconds=20)
        pass_time(bench, 60)


def moves_by(kind: str) -> Callable[[Field, str], None]:
    return lambda bench, disk: bench.world.move(bench.server, kind, seconds=60)


OPERATIONS: dict[str, Callable[[Field, str], None]] = {
    **{kind: moves_by(kind) for kind in MOVES},
    **{f.__name__: f for f in (shelve_and_unshelve, shelve_offload_later_and_unshelve, migrate_the_volume,
        resize_and_confirm, migrate_twice)},
}  # fmt: skip
"""Operations that give a disk a new attachment to the same server."""

MOVING = pytest.mark.parametrize("move", OPERATIONS.values(), ids=OPERATIONS)


def moved(bench: Field, disk: str, move: Callable[[Field, str], None]) -> str | None:
    """Wait a minute, do a whole move, and return the current attachment."""
    pass_time(bench, 60)
    move(bench, disk)
    pass_time(bench, 100)
    return bench.attachment(disk)


def attached_again(bench: Field, disk: str) -> str | None:
    """Detach the disk, attach it again, and return the new attachment."""
    bench.world.begin_detach(bench.server, disk)
    pass_time(bench, 30)
    bench.world.attach(bench.server, disk)
    pass_time(bench, 30)
    return bench.attachment(disk)


@CLOUD_VERSIONS
@MOVING
def test_disk_is_detached_after_a_move_between_two_looks(
    newest: tuple[int, int], move: Callable[[Field, str], None]
) -> None:
    """The new attachment since the first look is adopted and detached."""
    bench = Field(newest)
    disk = bench.disk(behaviour=QUICK)
    old = bench.attachment(disk)
    bench.follow(disk)
    new = moved(bench, disk, move)
    data = bench.verdict()
    assert new != old
    assert (data["verdict"], data["detail"], data["attachment_id"]) == ("detached", "detached_now", new)
    assert data["evidence"]["after"]["listed_by_server"] is False
    assert (bench.attachment(disk), bench.cut()) == (None, [new])


@CLOUD_VERSIONS
@MOVING
def test_disk_is_detached_after_a_move_before_the_first_look(
    newest: tuple[int, int], move: Callable[[Field, str], None]
) -> None:
    """A CloudEvent is older than the move, and the server's records show a move and no attach since."""
    bench = Field(newest)
    disk = bench.disk(behaviour=QUICK)
    event = cloudevent(bare(bench.server, disk), time=bench.clock().isoformat())
    new = moved(bench, disk, move)
    bench.ask(json.dumps(event))
    assert bench.verdict()["detail"] == "detached_now"
    assert (bench.attachment(disk), bench.cut()) == (None, [new])


@pytest.mark.parametrize("newest", [RECORDS_WITH_ENDS, NO_RECORDS])
@pytest.mark.parametrize(
    "change", [moves_by("resize"), moves_by("evacuate"), attached_again], ids=["resize", "evacuate", "attached_again"]
)
@pytest.mark.parametrize("followed", [True, False])
def test_without_records_a_move_and_an_attach_are_indistinguishable(
    newest: tuple[int, int], change: Callable[[Field, str], object], followed: bool
) -> None:
    """A newer attachment with an unknown cause is left alone, and the verdict says so."""
    bench = Field(newest, records=False)
    disk = bench.disk()
    old, asked = bench.attachment(disk), bench.request(disk, requested_at=bench.clock().isoformat())
    if followed:
        bench.follow(disk)
    pass_time(bench, 60)
    change(bench, disk)
    pass_time(bench, 100)
    if not followed:
        bench.ask(asked)
    data = bench.verdict()
    new = bench.attachment(disk)
    assert (data["verdict"], data["detail"], bench.cut()) == ("failed", "superseded", [])
    assert "is not known" in data["explanation"]
    shown = {data["evidence"][when]["attachment"]["attachment_id"] for when in ("before", "after")}
    assert shown == ({old, new} if followed else {new})


@pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS, NO_RECORDS])
@pytest.mark.parametrize("named", [True, False])
def test_disk_that_is_attached_again_during_the_wait_is_left_alone(newest: tuple[int, int], named: bool) -> None:
    """Somebody detaches and re-attaches the disk, and the new attachment is left alone."""
    bench = Field(newest)
    disk = bench.disk()
    bench.follow(disk, **({"attachment_id": bench.attachment(disk)} if named else {}))
    new = attached_again(bench, disk)
    assert bench.verdict()["detail"] in ("replaced_by_newer", "superseded")
    assert (bench.attachment(disk), bench.cut()) == (new, [])


@pytest.mark.parametrize("shared", [False, True])
@CLOUD_VERSIONS
def test_no_detach_begins_while_a_disk_has_two_attachments(newest: tuple[int, int], shared: bool) -> None:
    """During a live migration the volume has two attachments to the same server: the request waits until one is left.

    A shared disk has a third one, to another server, which must stay.
    """
    bench = Field(newest)
    disk = bench.disk(behaviour=QUICK, multiattach=shared)
    other = bench.world.add_server().id
    if shared:
        bench.world.attach(other, disk, attached_at=LONG_AGO)
    bench.follow(disk)
    bench.world.move(bench.server, "live-migration", seconds=60)
    data = bench.verdict()
    assert (data["detail"], bench.attachment(disk), len(bench.cut())) == ("detached_now", None, 1)
    assert bool(bench.attachment(disk, other)) is shared
    received = [entry.at for entry in bench.world.history if entry.what is What.DELETE_RECEIVED]
    assert min(received) >= bench.when(What.MOVED)


@pytest.mark.parametrize("followed", [True, False])
@CLOUD_VERSIONS
def test_disk_attached_while_its_server_was_shelved_has_not_moved(newest: tuple[int, int], followed: bool) -> None:
    """The attachment's time is that of the unshelve, as after a move, but the records have an `attach_volume`."""
    bench = Field(newest)
    disk = bench.disk()
    asked = bench.request(disk, requested_at=bench.clock().isoformat())
    if followed:
        bench.follow(disk)
    bench.world.begin_detach(bench.server, disk)
    pass_time(bench, 10)
    bench.world.shelve(bench.server)
    pass_time(bench, 10)
    bench.world.attach(bench.server, disk)
    pass_time(bench, 10)
    bench.world.unshelve(bench.server)
    pass_time(bench, 10)
    if not followed:
        bench.ask(asked)
    data = bench.verdict()
    assert data["detail"] in (("superseded", "replaced_by_newer") if followed else ("superseded",))
    assert bench.attachment(disk)
    assert bench.cut() == []


@pytest.mark.parametrize("seconds_down", [120, 1200])
def test_detach_from_a_dead_host_works_after_an_evacuation(seconds_down: float) -> None:
    """The DELETE is repeated after 409 `Service is unavailable`, and works after the evacuation."""
    bench = Field()
    disk = bench.disk(behaviour=QUICK)
    bench.world.set_server(bench.server, host_up=False)
    bench.ask(bench.request(disk))
    bench.world.at(seconds_down, lambda: bench.world.move(bench.server, "evacuate", seconds=30))
    assert bench.verdict()["detail"] == "detached_now"
    assert (bench.attachment(disk), len(bench.cut())) == (None, 1)


@pytest.mark.parametrize(("more", "ends_after"), [({}, 3600), ({"request_ttl": 600}, 600)])
def test_detach_from_a_dead_host_is_tried_until_the_time_to_live_ends(more: dict[str, int], ends_after: float) -> None:
    """Without an evacuation, the request gives up with the last error when its time to live ends."""
    bench = Field()
    disk = bench.disk()
    bench.world.set_server(bench.server, host_up=False)
    bench.ask(bench.request(disk, **more))
    data = bench.verdict()
    assert (data["detail"], bench.cut()) == ("gave_up", [])
    assert "Service is unavailable" in texts_of(data)
    assert ends_after <= seconds(data) < ends_after + 60


@MOVING
@CLOUD_VERSIONS
def test_message_redelivered_after_a_move_detaches_the_disk(
    newest: tuple[int, int], move: Callable[[Field, str], None]
) -> None:
    """The message is redelivered after the server was moved."""
    bench = Field(newest)
    disk = bench.disk(behaviour=QUICK)
    message = bench.queue.put(bench.request(disk))
    bench.queue.receive(1)
    new = moved(bench, disk, move)
    message.visible_at = bench.clock()
    assert bench.verdict()["detail"] == "detached_now"
    assert message.receive_count == 2
    assert (bench.attachment(disk), bench.cut()) == (None, [new])


# ------------------------------------------------------------------------------------ 2 answers of Nova and Cinder


@pytest.mark.parametrize("beside", [False, True])
def test_attachment_to_a_host_is_ignored(beside: bool) -> None:
    """An attachment with a null `server_id` is ignored, alone or next to ours on a shared disk."""
    bench = Field()
    disk = bench.disk(attached=beside, multiattach=True, behaviour=QUICK)
    bench.world.set_volume(disk, on_a_host=True, status="in-use")
    bench.ask(bench.request(disk))
    assert bench.verdict()["detail"] == ("detached_now" if beside else "already_detached")
    assert (bench.attachment(disk), bench.world.volumes[disk].status) == (None, "in-use")


def test_attachment_to_a_host_that_is_made_meanwhile_does_not_count() -> None:
    """The disk is attached to a host after the accepted DELETE, and is still detached from the server."""
    bench = Field()
    disk = bench.disk(multiattach=True, behaviour=Behaviour(seconds=8))
    bench.ask(bench.request(disk))
    bench.step()
    bench.world.set_volume(disk, on_a_host=True)
    assert bench.verdict()["detail"] == "detached_now"
    assert (bench.attachment(disk), len(bench.cut())) == (None, 1)


def test_project_with_an_attachment_to_a_host_can_be_listed() -> None:
    """Listing servers and disks works with a disk that is also attached to a host."""
    bench = Field()
    disk = bench.disk(multiattach=True)
    bench.world.set_volume(disk, on_a_host=True)
    cloud = bench.connect()
    (server,) = cloud.servers().value
    (entry,) = cloud.listing(server.id).value or ()
    volume = cloud.volume(entry.volume_id).value
    assert volume
    assert [(on, one.attachment_id) for on, one in volume.attachments] == [(bench.server, bench.attachment(disk))]


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS, (2, 26)])
def test_disk_of_a_shelved_server_is_detached(offload: bool, newest: tuple[int, int]) -> None:
    """The disk of a SHELVED or SHELVED_OFFLOADED server is detached, as the list and the volume prove."""
    bench = Field(newest)
    disk = bench.disk(behaviour=QUICK)
    bench.world.shelve(bench.server, offload=offload)
    pass_time(bench, 900)
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["detail"], data["evidence"]["after"]["listed_by_server"]) == ("detached_now", False)
    assert (bench.attachment(disk), bench.world.volumes[disk].status) == (None, "available")


KEEPS_MEMORY = {"SUSPENDED": SUSPENDED, "PAUSED": PAUSED, "RESCUE": RESCUED, "SOFT_DELETED": SOFT_DELETED}
OFF = {"SHUTOFF": STOPPED, "SHELVED": SHELVED, "SHELVED_OFFLOADED": SHELVED_OFFLOADED}


@pytest.mark.parametrize(("status", "state"), [*KEEPS_MEMORY.items(), *OFF.items()])
def test_refusal_names_the_state_of_the_server(status: str, state: dict[str, Any]) -> None:
    """A system disk is refused in every state, and the text does not call a stopped server running."""
    bench = Field()
    disk = bench.disk(attached=False)
    bench.world.attach(bench.server, disk, device="/dev/sda", attached_at=LONG_AGO)
    bench.world.set_server(bench.server, **state)
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["detail"], bench.cut()) == ("system_disk", [])
    assert status in data["explanation"]
    assert "running" not in texts_of(data)


@pytest.mark.parametrize(("status", "state"), [*KEEPS_MEMORY.items(), *OFF.items()])
def test_only_a_server_that_is_off_needs_no_attestation(status: str, state: dict[str, Any]) -> None:
    """With an unknown system, a data disk is detached only if the server is off; suspended counts as running."""
    bench = Field()
    bench.world.set_server(bench.server, metadata={})
    disk = bench.disk(behaviour=QUICK)
    if state is SHELVED_OFFLOADED:
        bench.world.shelve(bench.server)
        pass_time(bench, 60)
    bench.world.set_server(bench.server, **state)
    bench.ask(bench.request(disk))
    data = bench.verdict()
    if status in OFF:
        assert (data["detail"], bench.attachment(disk)) == ("detached_now", None)
    else:
        assert (data["detail"], bench.cut()) == ("attestation_required", [])
        assert status in data["explanation"]
        assert "is running" not in texts_of(data)


@pytest.mark.parametrize(("status", "state"), [("SUSPENDED", SUSPENDED), ("RESCUE", RESCUED)])
def test_refusal_by_nova_names_the_state_of_the_server(status: str, state: dict[str, Any]) -> None:
    """Nova's 409 for a suspended or rescued server ends the request soon, with the right state."""
    bench = Field()
    disk = bench.disk()
    bench.world.set_server(bench.server, **state)
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["verdict"], bench.cut()) == ("failed", [])
    assert str(state["vm_state"]) in texts_of(data)
    assert "is running" not in texts_of(data)
    assert seconds(data) < 60


@pytest.mark.parametrize(
    ("root", "device", "detail"),
    [("/dev/vda", "/dev/sda", "detached_now"), ("/dev/sda", "/dev/vda", "detached_now"),
     ("/dev/sdb", "/dev/sda", "detached_now"), ("/dev/vda", "/dev/vda", "system_disk"),
     ("/dev/sdb", "/dev/sdb", "system_disk"), (None, "/dev/sda", "system_disk"), (None, "/dev/vdb", "detached_now")],
)  # fmt: skip
def test_root_device_of_the_server_decides_about_the_system_disk(root: str | None, device: str, detail: str) -> None:
    """If the root device is `/dev/vda`, a SCSI data disk at `/dev/sda` is no system disk."""
    bench = Field()
    bench.world.set_server(bench.server, root_device=root)
    disk = bench.disk(attached=False, behaviour=QUICK)
    attachment = bench.world.attach(bench.server, disk, device=device, attached_at=LONG_AGO)
    bench.ask(bench.request(disk))
    assert bench.verdict()["detail"] == detail
    assert bench.attachment(disk) == (attachment if detail == "system_disk" else None)


@pytest.mark.parametrize("takes", [3, 10, 20, 25])
def test_end_of_a_detach_is_noticed_within_two_seconds(takes: float) -> None:
    """The verdict follows within two seconds after the end on both planes."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=takes, nova_lag=0.3))
    bench.ask(bench.request(disk))
    data = bench.verdict()
    late = datetime.fromisoformat(data["timing"]["concluded_at"]) - bench.when(What.NOVA_DETACHED)
    assert data["detail"] == "detached_now"
    assert late <= timedelta(seconds=2.1)  # the calls of the last look take milliseconds


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("refused_after", [2, 4, 12, 20])
def test_refusal_by_the_guest_is_noticed_within_one_look(refused_after: float, records: bool) -> None:
    """The accepted detach goes back to `in-use` after some seconds, and the next look shows it."""
    bench = Field(records=records)
    disk = bench.disk(behaviour=Behaviour(seconds=refused_after, refuse=True))
    bench.ask(bench.request(disk))
    data = bench.verdict()
    late = datetime.fromisoformat(data["timing"]["concluded_at"]) - bench.when(What.DETACH_REFUSED)
    assert (data["detail"], len(bench.cut())) == ("refused_by_server", 1)
    assert late <= timedelta(seconds=5)
    assert bench.attachment(disk)


@pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS])
@pytest.mark.parametrize("fails_after", [4, 20, 45])
def test_failed_record_ends_a_stuck_detach(fails_after: float, newest: tuple[int, int]) -> None:
    """Cinder stays `detaching`, and Nova's action record ends the request within a minute."""
    bench = Field(newest)
    disk = bench.disk(behaviour=Behaviour(error_after=fails_after))
    bench.ask(bench.request(disk))
    data = bench.verdict()
    late = datetime.fromisoformat(data["timing"]["concluded_at"]) - bench.when(What.DETACH_FAILED)
    assert data["detail"] in ("stuck_detaching", "refused_by_server")
    assert late < timedelta(seconds=60)
    assert "action record" in data["explanation"]
    assert "get_action" in {call["operation"] for call in data["evidence"]["calls"]}


@pytest.mark.parametrize(("lasts", "records"), [(3, True), (10, True), (1, False)])
@pytest.mark.parametrize("status", ["error", "error_detaching"])
def test_temporary_error_does_not_end_an_accepted_detach(status: str, lasts: float, records: bool) -> None:
    """The volume has an error status for a while, and then the detach succeeds."""
    bench = Field(records=records)
    disk = bench.disk(behaviour=Behaviour(seconds=lasts + 3, error_status=status, error_seconds=lasts))
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["detail"], bench.attachment(disk), len(bench.cut())) == ("detached_now", None, 1)


@pytest.mark.parametrize("newest", [RECORDS_WITHOUT_ENDS, NO_RECORDS])
@pytest.mark.parametrize("lasts", [3, 10])
def test_temporary_error_does_not_end_a_detach_without_records(lasts: float, newest: tuple[int, int]) -> None:
    """The same holds in a cloud whose records do not show that the detach continues, or without records."""
    bench = Field(newest)
    disk = bench.disk(behaviour=Behaviour(seconds=lasts + 3, error_status="error", error_seconds=lasts))
    bench.ask(bench.request(disk))
    assert (bench.verdict()["detail"], bench.attachment(disk), len(bench.cut())) == ("detached_now", None, 1)


@pytest.mark.parametrize("status", ["error", "error_extending"])
def test_lasting_error_ends_a_request_after_two_looks(status: str) -> None:
    """The volume is attached on both planes with an error status: the verdict says so, and no DELETE is sent."""
    bench = Field()
    disk = bench.disk()
    bench.world.set_volume(disk, status=status)
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["detail"], bench.cut(), data["evidence"]["polls"]) == ("volume_error", [], 2)
    assert data["evidence"]["after"]["listed_by_server"] is True


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("mark_lag", [10, 30, 45])
def test_late_mark_is_no_refusal(mark_lag: float, records: bool) -> None:
    """The volume shows `detaching` long after the 202; looking idle until then does not count as a refusal."""
    bench = Field(records=records)
    disk = bench.disk(behaviour=Behaviour(seconds=mark_lag + 10, mark_lag=mark_lag))
    bench.ask(bench.request(disk))
    assert bench.verdict()["detail"] == "detached_now"
    assert (bench.attachment(disk), len(bench.cut())) == (None, 1)


# ------------------------------------------------------------------------------------ 3 tokens, endpoints, networks

NO_TOKEN = bodies.unauthorized("http://cloud.test/v3")
LOGINS = "/v3/auth/tokens"


def everywhere(bench: Field, count: int, **attributes: Any) -> dict[str, str]:
    """Create `count` servers with one disk each; returns the server of each disk."""
    disks = {}
    for _ in range(count):
        server, disk = bench.world.add_server(metadata={"os_type": "Linux"}).id, bench.world.add_volume(**attributes).id
        bench.world.attach(server, disk, attached_at=LONG_AGO)
        disks[disk] = server
    return disks


def requests_for(disks: dict[str, str]) -> list[str]:
    return [json.dumps(bare(server, disk)) for disk, server in disks.items()]


@pytest.mark.parametrize("under_way", [True, False])
def test_token_that_expires_during_a_batch_is_renewed_for_all(under_way: bool) -> None:
    """Ten workers are refused at the same time, and each repeats its read with the new token."""
    bench = Field()
    bench.log_in()
    disks = everywhere(bench, SERVERS_AT_ONCE, behaviour=QUICK)
    if not under_way:
        bench.ask(bench.request(bench.disk(attached=False)))
        bench.step()
    bench.ask(*requests_for(disks))
    if under_way:
        bench.step()
        bench.clock.sleep(10)
    all_refused = threading.Barrier(SERVERS_AT_ONCE)

    def wait_for_the_others(method: str, path: str, answer: Answer) -> Answer:
        if answer.status == 401:
            with suppress(threading.BrokenBarrierError):
                all_refused.wait(5)
        return answer

    bench.cloud.leaving = wait_for_the_others
    bench.cloud.revoke_tokens()
    bench.step()
    assert not all_refused.broken
    bench.cloud.leaving = lambda method, path, answer: answer
    asked = {data["volume_id"]: data["detail"] for data in bench.verdicts()}
    assert {disk: asked[disk] for disk in disks} == dict.fromkeys(disks, "detached_now")
    assert not any(bench.attachment(disk, server) for disk, server in disks.items())


REFUSED_TOKEN = {
    "middleware": NO_TOKEN,
    "gateway": bodies.gateway_error("APIGW.0307", "The token must be updated.", 401),
}


@pytest.mark.parametrize("answer", REFUSED_TOKEN.values(), ids=REFUSED_TOKEN)
def test_look_precedes_the_delete_after_a_refused_one(answer: Answer) -> None:
    """After 401 to the DELETE, somebody attaches the disk again, and the new attachment is not detached."""
    bench = Field()
    bench.log_in()
    disk = bench.disk(behaviour=Behaviour(seconds=0, nova_lag=0))
    bench.cloud.faults.add(Fault(faults.answer(answer), "delete_attachment"))
    made: list[str | None] = []

    def meanwhile(method: str, path: str, answer: Answer) -> Answer:
        if method == "DELETE" and answer.status == 401:
            made.append(attached_again(bench, disk))
        return answer

    bench.cloud.leaving = meanwhile
    bench.ask(bench.request(disk))
    assert bench.verdict()["detail"] in ("replaced_by_newer", "superseded")
    assert ([bench.attachment(disk)], bench.cut()) == (made, [])


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("answer", REFUSED_TOKEN.values(), ids=REFUSED_TOKEN)
def test_refused_delete_may_have_taken_effect(answer: Answer, effect: bool) -> None:
    """A 401 to the DELETE leaves its outcome unknown: exactly one DELETE takes effect, this one or the next."""
    bench = Field()
    bench.log_in()
    disk = bench.disk(behaviour=QUICK)
    kind = faults.answer_after_effect(answer) if effect else faults.answer(answer)
    bench.cloud.faults.add(Fault(kind, "delete_attachment"))
    bench.ask(bench.request(disk))
    assert bench.verdict()["detail"] in ("detached_now", "detached_meanwhile")
    assert (bench.attachment(disk), len(bench.cut())) == (None, 1)


@pytest.mark.parametrize("first", [True, False])
def test_single_refusal_by_keystone_fails_no_request(first: bool) -> None:
    """Keystone answers 401 once, and accepts the same credentials a moment later."""
    bench = Field()
    bench.log_in()
    disks = everywhere(bench, 4, behaviour=QUICK)
    bench.ask(*requests_for(disks))
    if not first:
        bench.step()
        bench.cloud.revoke_tokens()
    bench.cloud.faults.add(Fault(faults.answer(bodies.keystone_error(401)), "get_token"))
    assert [data["detail"] for data in bench.verdicts()] == ["detached_now"] * 4
    assert not any(bench.attachment(disk, server) for disk, server in disks.items())


def test_wrong_credentials_fail_a_request() -> None:
    """Keystone always answers 401: the verdict follows within a minute and names the settings."""
    bench = Field()
    bench.log_in(password="wrong")
    disk = bench.disk()
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["detail"], bench.cut()) == ("unauthorized", [])
    assert "OS_PASSWORD" in texts_of(data)
    assert seconds(data) < 60


@pytest.mark.parametrize("credential", [False, True])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_password_follows_a_redirect(status: int, credential: bool) -> None:
    """If Keystone redirects the login to another host, nothing is sent there, and the verdict names the setting."""
    bench = Field()
    known = bench.cloud.identity.application_credential
    words: dict[str, Any] = {"application_credential_id": known.id, "application_credential_secret": known.secret,
        "username": None, "password": None, "project_id": None}  # fmt: skip
    other_host = bench.log_in(**(words if credential else {}))
    to = {"location": ELSEWHERE + LOGINS}
    bench.cloud.faults.add(Fault(faults.answer(status, to), "get_token", times=None))
    disk = bench.disk()
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert other_host.received == []
    assert (data["verdict"], bench.cut()) == ("failed", [])
    assert "OS_AUTH_URL" in texts_of(data)
    assert seconds(data) < 60


def catalog_with(bench: Field, change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
    """Replace each endpoint of Keystone's catalog by those that `change` returns."""

    def changed(method: str, path: str, answer: Answer) -> Answer:
        if not (path.startswith(LOGINS) and answer.status == 201):
            return answer
        body = json.loads(answer.body)
        for service in body["token"]["catalog"]:
            changed_ones = [change({**one, "type": service["type"]}) for one in service["endpoints"]]
            service["endpoints"] = [one for several in changed_ones for one in several]
        return replace(answer, body=json.dumps(body).encode())

    bench.cloud.leaving = changed


@pytest.mark.parametrize("ending", ["", "/"])
@pytest.mark.parametrize("types", [("volumev3",), ("block-storage",)])
def test_block_storage_without_a_version_is_found(types: tuple[str, ...], ending: str) -> None:
    """If the catalog's URL of block storage has no version, it is added, or the verdict names the setting."""
    bench = Field()
    bench.log_in()
    bench.cloud.deployment.volume_types = types
    base = bench.cloud.deployment.base_url + ending
    catalog_with(bench, lambda one: [one | ({"url": base} if one["type"] in types else {})])
    disk = bench.disk(behaviour=QUICK)
    bench.ask(bench.request(disk))
    data = bench.verdict()
    if data["verdict"] == "detached":
        assert bench.attachment(disk) is None
    else:
        assert "VOLUME_ENDPOINT" in data["explanation"]
        assert seconds(data) < 60


@pytest.mark.parametrize("status", [301, 302, 308])
@pytest.mark.parametrize(
    ("operation", "setting"), [("get_volume", "VOLUME_ENDPOINT"), ("get_server", "COMPUTE_ENDPOINT")]
)
def test_redirecting_service_is_reported(operation: str, setting: str, status: int) -> None:
    """A service redirects to https: the request fails within a minute, and no token is sent there."""
    bench = Field()
    other_host = bench.log_in()
    to = {"location": ELSEWHERE.replace("http", "https") + "/v3"}
    bench.cloud.faults.add(Fault(faults.answer(status, to), operation, times=None))
    disk = bench.disk()
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["verdict"], other_host.received, bench.cut()) == ("failed", [], [])
    assert setting in data["explanation"]
    assert seconds(data) < 60


def test_redirected_delete_is_not_followed() -> None:
    """A redirected DELETE is not sent to the other host, and the verdict names the setting."""
    bench = Field()
    other_host = bench.log_in()
    to = {"location": f"{ELSEWHERE}/v2.1"}
    bench.cloud.faults.add(Fault(faults.answer(307, to), "delete_attachment", times=None))
    disk = bench.disk()
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["verdict"], other_host.received) == ("failed", [])
    assert "COMPUTE_ENDPOINT" in texts_of(data)
    assert bench.attachment(disk)


OTHER_REGION = "/other-region"


def two_regions(bench: Field) -> None:
    """Add an empty first region to the catalog."""
    base = bench.cloud.deployment.base_url

    def both(one: dict[str, Any]) -> list[dict[str, Any]]:
        other = one | {"region": "eu-nl", "region_id": "eu-nl", "url": one["url"].replace(base, base + OTHER_REGION)}
        return [other, one]

    catalog_with(bench, both)
    bench.cloud.empty_below = OTHER_REGION


@pytest.mark.parametrize("followed", [True, False])
def test_several_regions_are_ambiguous_unless_one_is_set(followed: bool) -> None:
    """With two regions and no setting, the request fails with both names, and nothing is reported as gone."""
    bench = Field()
    if followed:
        bench.log_in()
    disk = bench.disk()
    bench.follow(disk) if followed else bench.ask(bench.request(disk))
    two_regions(bench)
    bench.log_in()
    data = bench.verdict()
    assert (data["verdict"], bench.cut()) == ("failed", [])
    assert {"OS_REGION_NAME", "eu-nl", "eu-de"} <= set(data["explanation"].replace(",", " ").split())
    assert seconds(data) < 60


def test_region_setting_selects_the_region() -> None:
    """With two regions and the right one set, the disk is found and detached."""
    bench = Field()
    two_regions(bench)
    bench.log_in(region="eu-de")
    disk = bench.disk(behaviour=QUICK)
    bench.ask(bench.request(disk))
    assert (bench.verdict()["detail"], bench.attachment(disk)) == ("detached_now", None)


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("accepted", [True, False])
def test_changed_region_proves_no_detach(accepted: bool, corrected: bool) -> None:
    """Somebody sets the wrong region after the first look: a 404 from there does not mean that the disk is gone."""
    bench = Field()
    two_regions(bench)
    bench.log_in(region="eu-de")
    disk = bench.disk(behaviour=Behaviour(seconds=20))
    if accepted:
        bench.ask(bench.request(disk))
        bench.step()
    else:
        bench.follow(disk)
    bench.log_in(region="eu-nl")
    for _ in range(4):
        bench.step()
    if corrected:
        bench.log_in(region="eu-de")
        assert (bench.verdict()["detail"], bench.attachment(disk)) == ("detached_now", None)
    else:
        assert bench.verdicts()[-1]["verdict"] == "failed"
        assert bool(bench.attachment(disk)) is not accepted


def test_wrong_region_from_the_start_is_no_success() -> None:
    """In the wrong region neither the server nor the volume exists, which does not prove that they are gone."""
    bench = Field()
    two_regions(bench)
    bench.log_in(region="eu-nl")
    disk = bench.disk()
    bench.ask(bench.request(disk))
    bench.run()
    assert ([data["detail"] for data in bench.bus.data], bool(bench.attachment(disk))) == (["server_not_found"], True)


ENDLESS = ("9999999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "-1", "1e400", "soon")


@pytest.mark.parametrize("retry_after", ENDLESS)
@pytest.mark.parametrize(
    ("operation", "status"), [("delete_attachment", 429), ("delete_attachment", 503), ("get_volume", 429),
                              ("get_server", 503), ("get_token", 429)]
)  # fmt: skip
def test_retry_after_is_capped(operation: str, status: int, retry_after: str) -> None:
    """An endless or invalid Retry-After delays the batch by at most an hour, and every disk is detached."""
    bench = Field()
    bench.log_in()
    disks = everywhere(bench, 3, behaviour=QUICK)
    answer = with_headers(bodies.fault(status, "later"), {"retry-after": retry_after})
    bench.cloud.faults.add(Fault(faults.answer(answer), operation))
    bench.ask(*requests_for(disks))
    verdicts = bench.verdicts()
    assert [data["verdict"] for data in verdicts] == ["detached"] * 3
    assert max(seconds(data) for data in verdicts) <= 3600
    assert all(message.delay <= 900 for message in bench.queue.sent)


def workers() -> set[threading.Thread]:
    """All threads of pools."""
    return {thread for thread in threading.enumerate() if "ThreadPool" in thread.name}


def all_idle(bench: Field, others: set[threading.Thread], seconds: float) -> bool:
    """Whether, within so many seconds, each worker of the bench has ended or waits for the next invocation."""
    ends, pool = time.monotonic() + seconds, bench.service.visits.workers._pool
    while True:
        idle = pool._idle_semaphore._value if pool else 0
        if len(workers() - others) <= idle:
            return True
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("slow", "after"), [("get_server", LOGINS), ("list_attachments", "/servers/{}"), ("get_volume", "-attachments")]
)
def test_slow_answer_ends_at_the_deadline(slow: str, after: str) -> None:
    """With an answer that arrives slowly, the invocation ends at its deadline and leaves no busy thread."""
    others, clock = workers(), RealTimeClock()
    bench = Field(clock=clock)
    disks = everywhere(bench, 2, behaviour=QUICK)
    disk, server = next(iter(disks.items()))
    bench.ask(*requests_for(disks))
    its_disk, its_server = (disk, None) if slow == "get_volume" else (None, server)
    bench.cloud.faults.add(Fault(faults.slow(4), slow, server_id=its_server, volume_id=its_disk))
    deadline = clock() + timedelta(seconds=INVOCATION - TIME_TO_SEND)

    def arriving(method: str, path: str) -> None:
        """Leave the invocation one second when the call before the slow one arrives."""
        if path.endswith(after.format(server)) and (server in path or after == LOGINS) and clock() < deadline:
            clock.now = deadline - timedelta(seconds=1)

    with CloudServer(bench.cloud):
        bench.log_in(over_socket=True)
        bench.cloud.arriving = arriving
        bench.deliver(bench.queue.receive(10))
        late = (clock() - deadline).total_seconds()
        idle = all_idle(bench, others, 1)
        bench.cloud.arriving = lambda method, path: None
        bench.run()
    assert late < 2
    assert idle
    assert [data["verdict"] for data in bench.bus.data] == ["detached"] * 2
    assert len(bench.cut()) == 2


HANGS = {
    "the login after a refused DELETE": lambda bench, path: LOGINS in path and bench.counted("delete_attachment"),
    "the first login": lambda bench, path: LOGINS in path,
    "the last read before the DELETE": lambda bench, path: "/volumes/" in path,
}


@pytest.mark.parametrize("hangs", HANGS.values(), ids=HANGS)
def test_frozen_workers_send_no_delete_later(hangs: Callable[[Field, str], bool]) -> None:
    """A call hangs until the handler has returned at its deadline; its worker sends no DELETE afterwards."""
    others, clock = workers(), ThreadClock()
    bench = Field(clock=clock)
    bench.log_in()
    disk = bench.disk(behaviour=QUICK)
    bench.cloud.faults.add(Fault(faults.answer(NO_TOKEN), "delete_attachment"))
    thawed = threading.Event()
    bench.cloud.arriving = lambda method, path: hangs(bench, path) and thawed.wait(20)
    bench.ask(bench.request(disk))
    batch = bench.queue.receive(10)
    # For the worker the invocation has just begun; for the handler it is almost over.
    begin = clock()
    clock.sleep(INVOCATION - TIME_TO_SEND - 0.2)
    bench.invoke(batch, begin)
    sent = bench.counted("delete_attachment")
    thawed.set()
    assert all_idle(bench, others, 10)
    assert bench.counted("delete_attachment") == sent
    bench.errors.clear()  # the message of the interrupted case has returned
    assert bench.verdict()["detail"] in ("detached_now", "detached_meanwhile")
    assert (bench.attachment(disk), len(bench.cut())) == (None, 1)


@pytest.mark.parametrize("same_server", [False, True])
@pytest.mark.parametrize("latency", [0.3, 1, 4])
def test_forty_volumes_on_a_slow_cloud_do_not_delay_other_requests(latency: float, same_server: bool) -> None:
    """One message has forty volumes, three have one each; all disks are detached without a dead letter."""
    bench = Field(clock=ThreadClock())
    bench.log_in(latency=latency)
    many = [bench.disk(behaviour=QUICK) for _ in range(40)]
    others = {bench.disk(behaviour=QUICK): bench.server for _ in range(3)} if same_server else everywhere(bench, 3)
    bench.ask(json.dumps({"server_id": bench.server, "volume_ids": many}), *requests_for(others))
    together = threading.Barrier(1 if same_server else 4)

    def arriving(method: str, path: str) -> None:
        """Let no worker finish before the others have begun."""
        if "/servers/" in path and not bench.cut():
            together.wait(10)

    bench.cloud.arriving = arriving
    bench.step()
    bench.cloud.arriving = lambda method, path: None
    accepted = {entry.volume_id for entry in bench.world.history if entry.what is What.DELETE_ACCEPTED}
    assert same_server or accepted >= set(others)
    verdicts = {data["volume_id"]: data["detail"] for data in bench.verdicts()}
    assert verdicts == dict.fromkeys([*many, *others], "detached_now")
    assert (bench.world.nova, bench.world.cinder, len(bench.cut())) == ({}, {}, 43)


# -------------------------------------------------------------------------------------------- 4 requests of senders


def at_time(bench: Field, disk: str, time: str, **more: object) -> str:
    """A CloudEvent with this time."""
    return json.dumps(cloudevent(bare(bench.server, disk, **more), time=time))


IN_THE_FUTURE = ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00-08:00", "2026-11-24T08:00:00Z", "9999-12-31T23:59:59Z")
IN_THE_PAST = ("0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-11-22T08:00:00+14:00")


@pytest.mark.parametrize("time", IN_THE_FUTURE)
def test_future_time_does_not_weaken_the_fence(time: str) -> None:
    """The time is in the future; a disk that is attached again after the message was sent is left alone."""
    bench = Field()
    disk = bench.disk()
    bench.queue.put(at_time(bench, disk, time), delay=600)
    pass_time(bench, 300)
    new = attached_again(bench, disk)
    assert bench.verdict()["detail"] in ("superseded", "replaced_by_newer")
    assert (bench.attachment(disk), bench.cut()) == (new, [])


@pytest.mark.parametrize("time", IN_THE_FUTURE)
def test_future_time_does_not_extend_the_time_to_live(time: str) -> None:
    """The server stays busy, and the request ends an hour after it was sent, whatever its time says."""
    bench = Field()
    disk = bench.disk()
    bench.world.set_server(bench.server, task_state="rebooting")
    bench.ask(at_time(bench, disk, time))
    data = bench.verdict()
    assert (data["detail"], bench.cut()) == ("gave_up", [])
    assert 3600 <= seconds(data) < 3660


@pytest.mark.parametrize("time", IN_THE_FUTURE)
def test_future_time_counts_as_now(time: str) -> None:
    """The server is busy for ten minutes, and then the disk is detached."""
    bench = Field()
    disk = bench.disk(behaviour=QUICK)
    bench.world.set_server(bench.server, task_state="rebooting")
    bench.world.at(600, lambda: bench.world.set_server(bench.server, task_state=None))
    bench.ask(at_time(bench, disk, time))
    assert (bench.verdict()["detail"], bench.attachment(disk)) == ("detached_now", None)


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("time", IN_THE_PAST)
def test_request_from_long_ago_has_expired(time: str, busy: bool) -> None:
    """Senders without a clock send the earliest possible time, and nothing is detached."""
    bench = Field()
    disk = bench.disk()
    if busy:
        bench.world.set_server(bench.server, task_state="rebooting")
    bench.ask(at_time(bench, disk, time))
    assert bench.verdict()["detail"] in ("expired", "superseded")
    assert bench.cut() == []


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_time_out_of_range_in_utc_does_no_harm(time: str) -> None:
    """The time overflows in UTC: the request is refused, or its time counts as now or long ago."""
    bench = Field()
    disk = bench.disk()
    bench.queue.put(at_time(bench, disk, time), delay=600)
    pass_time(bench, 300)
    new = attached_again(bench, disk)
    assert bench.verdict()["detail"] in ("invalid_request", "superseded", "expired")
    assert (bench.attachment(disk), bench.cut()) == (new, [])


@pytest.mark.parametrize("hours", [1, 2, 72])
@pytest.mark.parametrize("attached", [True, False])
def test_copy_of_an_old_request_has_expired(hours: int, attached: bool) -> None:
    """A copy that is hours old is not carried out; if its disk is already detached, the verdict says so."""
    bench = Field()
    disk = bench.disk(attached=attached)
    bench.ask(at_time(bench, disk, (bench.clock() - timedelta(hours=hours)).isoformat()))
    assert bench.verdict()["detail"] == ("expired" if attached else "already_detached")
    assert (bool(bench.attachment(disk)), bench.cut()) == (attached, [])


@pytest.mark.parametrize("depth", [1, 8, 20, *range(24, 36), 64])
def test_accepted_context_survives_continuations(depth: int) -> None:
    """A deeply nested context is refused at once, or repeated in the verdict after several looks."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=8))
    nested: dict[str, Any] = {}
    for _ in range(depth - 1):
        nested = {"a": nested}
    bench.ask(json.dumps(cloudevent(bare(bench.server, disk, context=nested))))
    data = bench.verdict()
    if data["detail"] == "invalid_request":
        assert depth > 20
        assert (bench.cut(), bool(bench.attachment(disk))) == ([], True)
    else:
        assert (data["detail"], data["context"]) == ("detached_now", nested)
        assert (len(bench.cut()), bench.attachment(disk)) == (1, None)


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("takes", [0, 2, 30])
def test_requests_for_one_disk_share_one_delete(times: int, takes: float) -> None:
    """Several requests in a batch lead to one DELETE, and each has its verdict."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=takes))
    bench.ask(*[bench.request(disk) for _ in range(times)])
    assert [data["verdict"] for data in bench.verdicts()] == ["detached"] * times
    received = [entry for entry in bench.world.history if entry.what is What.DELETE_RECEIVED]
    assert (len(received), bench.attachment(disk)) == (1, None)


@pytest.mark.parametrize("apart", [0, 1, 5, 60, 1800])
def test_repeated_event_gets_a_consistent_verdict(apart: float) -> None:
    """The second verdict is that of the first or `already_detached`, but not `detached_by_other`."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=20))
    body = json.dumps(cloudevent(bare(bench.server, disk)))
    bench.ask(body)
    bench.queue.put(body, delay=apart)
    first, second = bench.verdicts()
    assert {first["detail"], second["detail"]} <= {"detached_now", "already_detached"}
    assert first["detail"] == "detached_now"
    assert (len(bench.cut()), len({event["id"] for event in bench.bus.events})) == (1, 1)


@pytest.mark.parametrize("followed", [True, False])
def test_disk_of_a_deleted_server_is_detached(followed: bool) -> None:
    """The server was deleted, and the volume is `available` without an attachment."""
    bench = Field()
    disk = bench.disk()
    if followed:
        bench.follow(disk)
    else:
        bench.ask(bench.request(disk))
    bench.world.delete_server(bench.server)
    data = bench.verdict()
    assert (data["verdict"], data["detail"]) == ("detached", "server_gone")
    assert bench.world.volumes[disk].status == "available"


@pytest.mark.parametrize("volume", ["elsewhere", "deleted", "on a host"])
def test_deleted_server_alone_proves_no_detach(volume: str) -> None:
    """If the volume is attached elsewhere or does not exist either, the verdict is not `detached`."""
    bench = Field()
    disk = bench.disk(attached=False)
    bench.ask(bench.request(disk))
    bench.world.delete_server(bench.server)
    if volume == "elsewhere":
        bench.world.attach(bench.world.add_server().id, disk, attached_at=LONG_AGO)
    elif volume == "deleted":
        bench.world.delete_volume(disk)
    else:
        bench.world.set_volume(disk, on_a_host=True, status="in-use")
    assert bench.verdict()["detail"] in ("server_not_found", "attached_elsewhere", "volume_not_found")
