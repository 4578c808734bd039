"""Attacks on the promise: one final verdict per request, a true one, in time, and no newer attachment cut.

A hostile cloud, a sender within its rights, an unlucky operator, and a queue at its worst.
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.model import Answer
from shared.policy import SHORTEST_LOOK
from simulator import Behaviour, Fault, What, bodies, faults
from simulator.exchange import with_headers
from tests.integration.field import NEWEST, RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS, Field, seconds, texts_of
from tests.messages import bare, cloudevent
from tests.stack import LONG_AGO

QUICK = Behaviour(seconds=2)
ANY = pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS, RECORDS_WITHOUT_ENDS])


def later(bench: Field, seconds: float) -> None:
    bench.clock.sleep(seconds)
    bench.world.advance()


def again(bench: Field, disk: str, gap: float = 1) -> str:
    """Somebody detaches the disk and attaches it again, as fast as a script does."""
    bench.world.set_volume(disk, behaviour=Behaviour(seconds=gap / 2, nova_lag=0))
    bench.world.begin_detach(bench.server, disk)
    later(bench, gap)
    attachment = bench.world.attach(bench.server, disk)
    later(bench, gap)
    return attachment


def together(bench: Field) -> None:
    """Deliver to the end, once a second and all at once, as a busy queue does."""
    while bench.queue.messages and len(bench.queue.sent) < 500:
        bench.clock.sleep(1)
        bench.deliver(bench.queue.receive(20))


def rewritten(change: Callable[[dict[str, Any]], object], path: str) -> Callable[[str, str, Answer], Answer]:
    """Answers to GETs of such paths, changed."""

    def leaving(method: str, asked: str, answer: Answer) -> Answer:
        if method != "GET" or path not in asked or answer.status != 200:
            return answer
        body = json.loads(answer.body)
        change(body)
        return Answer(200, answer.headers, json.dumps(body).encode())

    return leaving


# ------------------------------------------------------------------------------------- a newer attachment is cut


@ANY
@pytest.mark.parametrize(("kind", "seconds"), [("resize", 20), ("shelve", 60)])
def test_named_attachment_that_was_replaced_after_a_move(newest: tuple[int, int], kind: str, seconds: float) -> None:
    """Within 5 s of a move's end, or while its server is off its host, where an attachment has no time."""
    bench = Field(newest)
    disk = bench.disk()
    asked = bench.request(disk, attachment_id=bench.attachment(disk), requested_at=bench.clock().isoformat())
    later(bench, 60)
    if kind == "shelve":
        bench.world.shelve(bench.server)
    else:
        bench.world.move(bench.server, kind, seconds=seconds)
    later(bench, seconds)
    new = again(bench, disk)
    later(bench, 60)
    bench.ask(asked)
    bench.run()
    assert (bench.attachment(disk), bench.cut()) == (new, [])


@ANY
def test_named_attachment_of_another_server_does_not_lower_the_fence(newest: tuple[int, int]) -> None:
    """The disk comes to this server after the request, and the server is resized then."""
    bench = Field(newest)
    disk = bench.disk(attached=False, behaviour=QUICK)
    other = bench.world.add_server().id
    named = bench.world.attach(other, disk, attached_at=LONG_AGO)
    asked = bench.request(disk, attachment_id=named, requested_at=bench.clock().isoformat())
    later(bench, 60)
    bench.world.begin_detach(other, disk)
    later(bench, 60)
    bench.world.attach(bench.server, disk)
    later(bench, 60)
    bench.world.move(bench.server, "resize", seconds=20)
    later(bench, 60)
    new = bench.attachment(disk)
    bench.ask(asked)
    bench.run()
    assert (bench.attachment(disk), bench.cut()) == (new, [])


@pytest.mark.parametrize("named", [True, False])
def test_disk_that_is_replaced_while_records_are_read(named: bool) -> None:
    """A move is proven by the records; while they are read somebody attaches the disk again."""
    bench = Field(RECORDS_WITH_ENDS)
    disk = bench.disk()
    more = {"attachment_id": bench.attachment(disk)} if named else {}
    asked = bench.request(disk, requested_at=bench.clock().isoformat(), **more)
    later(bench, 60)
    bench.world.move(bench.server, "resize", seconds=20)
    later(bench, 120)
    new: list[str] = []

    def arriving(method: str, path: str) -> None:
        """The answer that lists the records was on its way for half a minute."""
        if "os-instance-actions/" in path and not new:
            later(bench, 15)
            new.append(again(bench, disk, gap=5))

    bench.cloud.arriving = arriving
    bench.ask(asked)
    bench.run()
    assert (bench.attachment(disk), bench.cut()) == (new[0], [])


@ANY
def test_clock_of_compute_that_is_behind_does_not_hide_an_attach(newest: tuple[int, int]) -> None:
    """Attached again a second after the request, which takes seven, by a compute service three seconds behind; moved.

    The fence allows for the skew of clocks when it reads `attached_at`, not when it asks for an attach since.
    """
    bench = Field(newest)
    disk = bench.disk()
    later(bench, 60)
    asked = bench.request(disk, requested_at=bench.clock().isoformat())
    bench.world.set_volume(disk, behaviour=Behaviour(seconds=0, nova_lag=0))
    bench.world.begin_detach(bench.server, disk)
    later(bench, 1)
    bench.world.attach(bench.server, disk, attached_at=bench.clock() + timedelta(seconds=7))
    later(bench, 60)
    bench.world.move(bench.server, "resize", seconds=20)
    later(bench, 60)
    new = bench.attachment(disk)

    def behind(body: dict[str, Any]) -> None:
        for record in body.get("instanceActions", [body.get("instanceAction")]):
            for name in {"start_time", "updated_at"} & set(record):
                record[name] = (datetime.fromisoformat(record[name]) - timedelta(seconds=3)).isoformat()

    bench.cloud.leaving = rewritten(behind, "/os-instance-actions")
    bench.ask(asked)
    bench.run()
    assert (bench.attachment(disk), bench.cut()) == (new, [])


@pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS])
def test_attachments_without_id_and_time_are_not_all_the_same(newest: tuple[int, int]) -> None:
    """Block storage tells neither: another attachment of the disk is not the one that was followed."""
    bench = Field(newest)
    disk = bench.disk()

    def bare_of_all(body: dict[str, Any]) -> None:
        for entry in body["volume"]["attachments"]:
            for name in ("attachment_id", "attached_at", "id"):
                entry.pop(name, None)

    bench.cloud.leaving = rewritten(bare_of_all, "/volumes/")
    bench.follow(disk)
    new = again(bench, disk)
    later(bench, 60)
    bench.run()
    assert (bench.attachment(disk), bench.cut()) == (new, [])


def test_offloaded_twice_is_not_the_same_attachment() -> None:
    """Below 2.89 compute gives no id to what an offloaded server holds."""
    bench = Field(RECORDS_WITH_ENDS)
    disk = bench.disk(behaviour=QUICK)
    bench.world.shelve(bench.server)
    later(bench, 60)
    # The DELETE is throttled at the first look, for ten minutes.
    throttled = with_headers(bodies.fault(429, "later"), {"retry-after": "600"})
    bench.cloud.faults.add(Fault(faults.answer(throttled), "delete_attachment"))
    bench.ask(bench.request(disk))
    bench.step()
    bench.world.begin_detach(bench.server, disk)
    later(bench, 10)
    bench.world.unshelve(bench.server)
    later(bench, 10)
    bench.world.attach(bench.server, disk)
    later(bench, 10)
    bench.world.shelve(bench.server)
    later(bench, 10)
    new = bench.attachment(disk)
    bench.run()
    assert (bench.attachment(disk), bench.cut()) == (new, [])


@pytest.mark.parametrize("trouble", [True, False])
def test_redelivery_does_not_cut_what_was_attached_since(trouble: bool) -> None:
    """Detached by the first delivery, attached again within the skew of clocks, and delivered a second time.

    A volume that cannot be read at first does not make the case forget that it was delivered before.
    """
    bench = Field()
    disk = bench.disk()
    message = bench.queue.put(bench.request(disk))
    bench.queue.receive(1)
    new = again(bench, disk, gap=1.5)
    later(bench, 60)
    message.visible_at = bench.clock()
    if trouble:
        bench.cloud.faults.add(Fault(faults.answer(503), "get_volume"))
    bench.run()
    assert (bench.attachment(disk), bench.cut()) == (new, [])


# ------------------------------------------------------------------------------------------ an untrue verdict


def test_stuck_is_not_said_without_a_look() -> None:
    """Accepted; the stack is paused for seven hours, and the first invocation after it has no time for this case."""
    bench = Field()
    disk = bench.disk(behaviour=QUICK)
    bench.ask(bench.request(disk))
    bench.step()
    later(bench, 7 * 3600)
    batch = bench.queue.receive(10)
    deadline = bench.clock() + timedelta(seconds=SHORTEST_LOOK - 1)
    unsent = bench.service.handle([message.received() for message in batch], deadline).unsent
    for message in batch:
        if message.id not in unsent:
            bench.queue.acknowledge(message)
    bench.run()
    assert [data["detail"] for data in bench.bus.data] == ["detached_now"]


@pytest.mark.parametrize("status", [405, 429, 500, 501, 503, 504])
def test_a_list_of_volumes_that_always_fails_delays_nothing(status: int) -> None:
    """Two disks under way; the query by status is refused or times out, each volume can be read."""
    bench = Field()
    disks = [bench.disk(behaviour=Behaviour(seconds=4)) for _ in range(2)]
    bench.cloud.faults.add(Fault(faults.answer(bodies.fault(status, "no")), "list_volumes", times=None))
    bench.ask(*[bench.request(disk) for disk in disks])
    together(bench)
    assert max(seconds(data) for data in bench.bus.data) < 30
    assert [data["detail"] for data in bench.bus.data] == ["detached_now"] * 2


def test_list_of_volumes_that_is_stale() -> None:
    """The list says detaching for ever, the volumes themselves are free."""
    bench = Field()
    disks = [bench.disk(behaviour=Behaviour(seconds=4)) for _ in range(2)]
    kept: list[Answer] = []

    def leaving(method: str, path: str, answer: Answer) -> Answer:
        if "volumes/detail" not in path:
            return answer
        if len(json.loads(answer.body)["volumes"]) == 2:
            kept[:] = [answer]
        return kept[0] if kept else answer

    bench.cloud.leaving = leaving
    bench.ask(*[bench.request(disk) for disk in disks])
    together(bench)
    assert [data["detail"] for data in bench.bus.data] == ["detached_now"] * 2


def test_one_not_found_of_the_server_proves_nothing_while_the_volume_is_reserved() -> None:
    """Shelved and off its host: block storage shows no attachment, so one stray 404 of one read would be all proof."""
    bench = Field()
    disk = bench.disk(behaviour=QUICK)
    bench.follow(disk)
    bench.world.shelve(bench.server)
    later(bench, 60)
    absent = bodies.fault(404, f"Instance {bench.server} could not be found.")
    bench.cloud.faults.add(Fault(faults.answer(absent), "get_server"))
    bench.run()
    assert ([data["detail"] for data in bench.bus.data], bench.attachment(disk)) == (["detached_now"], None)


def test_volume_that_stays_detaching_without_an_attachment_is_detached() -> None:
    """Both planes have let go, and the status of the volume stays behind for good (rule 1: it proves nothing)."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=4))
    bench.ask(bench.request(disk))
    bench.world.at(4.1, lambda: bench.world.set_volume(disk, status="detaching"))
    bench.run()
    data = bench.bus.data[-1]
    assert data["detail"] == "detached_now"
    assert seconds(data) < 900


def test_detach_of_another_server_is_not_ours_to_watch() -> None:
    """A shared disk says detaching for the other server, for good: this one has ten minutes, and is not stuck."""
    bench = Field()
    disk = bench.disk(multiattach=True, behaviour=Behaviour(stuck=True))
    other = bench.world.add_server().id
    bench.world.attach(other, disk, attached_at=LONG_AGO)
    bench.world.begin_detach(other, disk)
    bench.ask(bench.request(disk, request_ttl=600))
    bench.run()
    data = bench.bus.data[-1]
    assert data["detail"] == "gave_up"
    assert seconds(data) < 660


@pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS])
def test_record_that_is_never_closed_does_not_hold_the_verdict_back(newest: tuple[int, int]) -> None:
    """No compute host took the detach up, and an operator sets the volume back to in-use: idle on both planes."""
    bench = Field(newest)
    disk = bench.disk(behaviour=Behaviour(stuck=True))
    bench.ask(bench.request(disk))
    bench.world.at(40, lambda: bench.world.set_volume(disk, status="in-use"))
    bench.run()
    data = bench.bus.data[-1]
    assert data["detail"] == "refused_by_server"
    assert seconds(data) < 900


# ----------------------------------------------------------------------------------- what can be detached is not


@pytest.mark.parametrize("newest", [RECORDS_WITH_ENDS])
def test_request_that_comes_while_its_server_is_being_shelved(newest: tuple[int, int]) -> None:
    """Shelving takes a minute and a half (its image is uploaded); the request comes after twenty seconds."""
    bench = Field(newest)
    disk = bench.disk(behaviour=QUICK)
    bench.world.shelve(bench.server, seconds=90)
    later(bench, 20)
    bench.ask(bench.request(disk))
    assert (bench.verdict()["detail"], bench.attachment(disk)) == ("detached_now", None)


@ANY
def test_shared_disk_of_an_offloaded_server(newest: tuple[int, int]) -> None:
    """A shared disk stays in-use for the other server while this one is shelved and on no host."""
    bench = Field(newest)
    disk = bench.disk(multiattach=True, behaviour=QUICK)
    other = bench.world.add_server().id
    bench.world.attach(other, disk, attached_at=LONG_AGO)
    bench.world.shelve(bench.server)
    later(bench, 600)
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["detail"], bench.attachment(disk), bool(bench.attachment(disk, other))) == ("detached_now", None, True)


def test_move_between_the_two_reads_is_not_called_unknown() -> None:
    """Compute names the binding; the list was read before the move, the volume after it."""
    bench = Field(NEWEST, records=False)
    disk = bench.disk(behaviour=QUICK)
    bench.follow(disk)
    swapped: list[str] = []

    def arriving(method: str, path: str) -> None:
        if f"/volumes/{disk}" in path and not swapped:
            swapped.append(path)
            bench.world.swap_volume(bench.server, disk)

    bench.cloud.arriving = arriving
    assert (bench.verdict()["detail"], bench.attachment(disk)) == ("detached_now", None)


def test_new_request_for_a_new_attachment_is_not_the_old_ones() -> None:
    """The disk is attached again a few seconds after it was detached, and a request with a short life asks for that."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=1, nova_lag=0))
    bench.ask(bench.request(disk))
    bench.run()
    bench.world.attach(bench.server, disk)
    later(bench, 2)
    bench.ask(bench.request(disk, request_ttl=15))
    first, second = bench.verdicts()
    assert (first["detail"], second["detail"], bench.attachment(disk)) == ("detached_now", "detached_now", None)


def test_a_single_missing_image_is_no_refusal() -> None:
    """Linux by its image, and the image service answers 503 once."""
    bench = Field()
    image = bench.world.add_image({"__os_type": "Linux"}).id
    bench.world.set_server(bench.server, metadata={}, image_id=image)
    disk = bench.disk(behaviour=QUICK)
    bench.cloud.faults.add(Fault(faults.answer(bodies.html_error(503)), "get_image"))
    bench.ask(bench.request(disk))
    assert bench.verdict()["detail"] == "detached_now"


@pytest.mark.parametrize("operation", ["get_server", "delete_attachment"])
def test_one_stray_406_does_not_take_the_microversion_away(operation: str) -> None:
    """A gateway's 406, once; an hour later the same process is to detach from a shelved server."""
    bench = Field()
    first, disk = bench.disk(behaviour=QUICK), bench.disk(behaviour=QUICK)
    bench.cloud.faults.add(Fault(faults.answer(bodies.html_error(406)), operation))
    bench.ask(bench.request(first))
    bench.run()
    bench.world.shelve(bench.server)
    later(bench, 3600)
    bench.ask(bench.request(disk))
    assert [data["detail"] for data in bench.verdicts()] == ["detached_now"] * 2


# --------------------------------------------------------------------------------------------- much too late


@pytest.mark.parametrize("effect", [True, False])
def test_retry_after_of_an_unknown_outcome_does_not_outlast_the_request(effect: bool) -> None:
    """503 with Retry-After 900 for a request that may be tried for a minute."""
    bench = Field()
    disk = bench.disk(behaviour=QUICK)
    answer = with_headers(bodies.fault(503, "later"), {"retry-after": "900"})
    kind = faults.answer_after_effect(answer) if effect else faults.answer(answer)
    bench.cloud.faults.add(Fault(kind, "delete_attachment", times=None))
    bench.ask(bench.request(disk, request_ttl=60))
    data = bench.verdict()
    assert seconds(data) < 120
    assert data["detail"] == ("detached_meanwhile" if effect else "gave_up")


def test_no_delete_after_the_time_to_live_when_the_queue_is_late() -> None:
    """A throttled request waits; the stack is paused for five hours, and resumed."""
    bench = Field()
    disk = bench.disk(behaviour=QUICK)
    bench.cloud.faults.add(Fault(faults.answer(bodies.fault(429, "later")), "delete_attachment"))
    bench.ask(bench.request(disk))
    bench.step()
    later(bench, 5 * 3600)
    data = bench.verdict()
    assert (data["detail"], bench.cut()) == ("gave_up", [])


def test_no_delete_after_the_time_to_live_when_another_detach_is_joined() -> None:
    """Somebody else's detach is refused after five minutes; the request was to be tried for one."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=300, refuse=True))
    bench.world.begin_detach(bench.server, disk)
    bench.ask(bench.request(disk, request_ttl=60))
    later(bench, 1)
    bench.step()
    bench.world.set_volume(disk, behaviour=QUICK)
    bench.run()
    assert ([data["detail"] for data in bench.bus.data], bench.cut()) == (["gave_up"], [])


def test_detach_after_an_unconfirmed_one_is_watched_closely() -> None:
    """Somebody else's detach hangs for twelve minutes, then is refused; ours takes two seconds."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=720, refuse=True))
    bench.world.begin_detach(bench.server, disk)
    bench.ask(bench.request(disk))
    later(bench, 1)
    bench.step()
    bench.world.set_volume(disk, behaviour=QUICK)
    bench.run()
    assert [data["detail"] for data in bench.bus.data] == ["still_watching", "detached_now"]
    assert bench.clock() - bench.when(What.NOVA_DETACHED) < timedelta(seconds=20)


def test_clear_no_after_a_throttled_delete_is_said_at_once() -> None:
    """The DELETE was throttled, which had no effect; then the project may not be read any more."""
    bench = Field()
    disk = bench.disk()
    bench.cloud.faults.add(Fault(faults.answer(bodies.fault(429, "later")), "delete_attachment"))
    bench.ask(bench.request(disk))
    bench.step()
    no = bodies.fault(403, "Policy doesn't allow os_compute_api:servers:show to be performed.")
    bench.cloud.faults.add(Fault(faults.answer(no), "get_server", times=None))
    data = bench.verdict()
    assert data["detail"] == "forbidden"
    assert seconds(data) < 60


@pytest.mark.parametrize(
    ("looks_refused", "detail", "latest"), [(1, "expired", 60), (None, "gave_up", 3601)], ids=["once", "for ever"]
)
def test_expiry_is_not_slept_through(looks_refused: int | None, detail: str, latest: float) -> None:
    """A cloud asks to wait for a quarter of an hour, and the request expires in half a minute.

    A look follows at the expiry. Nothing is called expired while nobody can look: another delivery may be detaching.
    """
    bench = Field()
    disk = bench.disk()
    throttled = with_headers(bodies.fault(429, "later"), {"retry-after": "900"})
    bench.cloud.faults.add(Fault(faults.answer(throttled), "get_volume", times=looks_refused))
    ends = (bench.clock() + timedelta(seconds=30)).isoformat()
    bench.ask(json.dumps(cloudevent(bare(bench.server, disk), expirytime=ends)))
    data = bench.verdict()
    assert data["detail"] == detail
    assert seconds(data) <= latest


# ------------------------------------------------------------------------------------------------- exceptions


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59.000000", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
@pytest.mark.parametrize("newest", [NEWEST, RECORDS_WITH_ENDS])
def test_time_of_an_attachment_that_no_calendar_holds(time: str, newest: tuple[int, int]) -> None:
    """A time outside of the range of arithmetic is ignored, and the request gets its verdict."""
    bench = Field(newest)
    disk = bench.disk()

    def dated(body: dict[str, Any]) -> None:
        for entry in body["volume"]["attachments"]:
            entry["attached_at"] = time

    bench.cloud.leaving = rewritten(dated, "/volumes/")
    bench.ask(bench.request(disk))
    bench.run()
    assert (bench.errors, bench.queue.dead_letters) == ([], [])
    assert [data["detail"] for data in bench.bus.data] != ["dead_lettered"]


# ------------------------------------------------------------------------------ what is claimed is not known


def test_delete_that_was_not_sent_is_not_counted() -> None:
    """The token of another thread's refused DELETE is dropped between the look and the DELETE: nothing is sent."""
    bench = Field()
    disk = bench.disk(behaviour=QUICK)
    cloud = bench.connect()
    bench.use(cloud)

    def leaving(method: str, path: str, answer: Answer) -> Answer:
        if "/volumes/" in path and not bench.counted("delete_attachment") and (held := cloud.login.held):
            cloud.login.drop(held)
        return answer

    bench.cloud.leaving = leaving
    bench.ask(bench.request(disk))
    bench.step()
    bench.cloud.leaving = lambda method, path, answer: answer
    data = bench.verdict()
    assert data["evidence"]["deletes_sent"] == bench.counted("delete_attachment") == 1


def test_accepted_without_any_effect_did_not_go_back() -> None:
    """202, and nothing ever happens: the text must not mention a change of state."""
    bench = Field(records=False)
    disk = bench.disk()
    bench.cloud.faults.add(Fault(faults.answer(202), "delete_attachment", times=None))
    bench.ask(bench.request(disk))
    bench.run()
    (data,) = bench.bus.data
    assert "went back" not in texts_of(data)


def unnamed(body: dict[str, Any]) -> None:
    for entry in body["volume"]["attachments"]:
        del entry["attachment_id"]


@pytest.mark.parametrize("told_by_cloud", [True, False])
def test_wrong_name_is_no_proof_that_somebody_attached_the_disk(told_by_cloud: bool) -> None:
    """The request names an attachment that never was, or the cloud names none: nobody attached anything since."""
    bench = Field()
    disk = bench.disk()
    named = str(UUID(int=1)) if told_by_cloud else bench.attachment(disk)
    if not told_by_cloud:
        bench.cloud.leaving = rewritten(unnamed, "/volumes/")
    bench.ask(bench.request(disk, attachment_id=named))
    bench.run()
    (data,) = bench.bus.data
    assert "somebody attached the volume after" not in texts_of(data)
