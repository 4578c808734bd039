"""Attacks on the promise that each request gets one true verdict in time and no newer attachment is detached.

They use a hostile cloud, unusual but valid requests, an unlucky operator, and a queue at its worst.
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
    """Detach the disk and attach it again, as fast as a script does."""
    bench.world.set_volume(disk, behaviour=Behaviour(seconds=gap / 2, nova_lag=0))
    bench.world.begin_detach(bench.server, disk)
    later(bench, gap)
    attachment = bench.world.attach(bench.server, disk)
    later(bench, gap)
    return attachment


def together(bench: Field) -> None:
    """Deliver all messages together once a second until the end, as a busy queue does."""
    while bench.queue.messages and len(bench.queue.sent) < 500:
        bench.clock.sleep(1)
        bench.deliver(bench.queue.receive(20))


def rewritten(change: Callable[[dict[str, Any]], object], path: str) -> Callable[[str, str, Answer], Answer]:
    """Change the answers to GETs whose path contains `path`."""

    def leaving(method: str, asked: str, answer: Answer) -> Answer:
        if method != "GET" or path not in asked or answer.status != 200:
            return answer
        body = json.loads(answer.body)
        change(body)
        return Answer(200, answer.headers, json.dumps(body).encode())

    return leaving


# -------------------------------------------------------------------------------- newer attachments must survive


@ANY
@pytest.mark.parametrize(("kind", "seconds"), [("resize", 20), ("shelve", 60)])
def test_named_attachment_that_was_replaced_after_a_move(newest: tuple[int, int], kind: str, seconds: float) -> None:
    """It was replaced within 5 s of a move's end, or while the server was offloaded and attachments had no time."""
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
    """The disk is attached to this server only after the request, and then the server is resized."""
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
    """The records prove a move, but somebody attaches the disk again while they are read."""
    bench = Field(RECORDS_WITH_ENDS)
    disk = bench.disk()
    more = {"attachment_id": bench.attachment(disk)} if named else {}
    asked = bench.request(disk, requested_at=bench.clock().isoformat(), **more)
    later(bench, 60)
    bench.world.move(bench.server, "resize", seconds=20)
    later(bench, 120)
    new: list[str] = []

    def arriving(method: str, path: str) -> None:
        """The list of records arrives half a minute late."""
        if "os-instance-actions/" in path and not new:
            later(bench, 15)
            new.append(again(bench, disk, gap=5))

    bench.cloud.arriving = arriving
    bench.ask(asked)
    bench.run()
    assert (bench.attachment(disk), bench.cut()) == (new[0], [])


@ANY
def test_clock_of_compute_that_is_behind_does_not_hide_an_attach(newest: tuple[int, int]) -> None:
    """The disk is attached again after the request, by a compute service whose clock is behind, and then moved.

    The fence allows for clock skew when it reads `attached_at`, but not when it looks for a later attach.
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
def test_attachments_without_id_and_time_are_not_taken_for_the_same(newest: tuple[int, int]) -> None:
    """Block storage shows neither, and a new attachment of the disk is not taken for the followed one."""
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


def test_a_disk_that_is_offloaded_twice_has_another_attachment() -> None:
    """Below 2.89, compute shows no id for the attachments of an offloaded server."""
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
def test_redelivery_does_not_detach_a_newer_attachment(trouble: bool) -> None:
    """The first delivery detached the disk; it is attached again within the clock skew before the second delivery.

    The case remembers the first delivery even if the volume cannot be read at first.
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


# ----------------------------------------------------------------------------------------- verdicts must be true


def test_stuck_is_not_reported_without_a_look() -> None:
    """After the acceptance the stack is paused for seven hours, and the next invocation has no time for this case."""
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
    """The list of detaching volumes always fails, but each volume can be read."""
    bench = Field()
    disks = [bench.disk(behaviour=Behaviour(seconds=4)) for _ in range(2)]
    bench.cloud.faults.add(Fault(faults.answer(bodies.fault(status, "no")), "list_volumes", times=None))
    bench.ask(*[bench.request(disk) for disk in disks])
    together(bench)
    assert max(seconds(data) for data in bench.bus.data) < 30
    assert [data["detail"] for data in bench.bus.data] == ["detached_now"] * 2


def test_list_of_volumes_that_is_stale() -> None:
    """The list shows `detaching` for ever, although the volumes are free."""
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
    """Block storage shows no attachment for an offloaded server, so a single stray 404 would be the only proof."""
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
    """Both planes have removed the attachment; the status, which stays `detaching`, proves nothing (rule 1)."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=4))
    bench.ask(bench.request(disk))
    bench.world.at(4.1, lambda: bench.world.set_volume(disk, status="detaching"))
    bench.run()
    data = bench.bus.data[-1]
    assert data["detail"] == "detached_now"
    assert seconds(data) < 900


def test_detach_from_another_server_is_not_followed() -> None:
    """A shared disk stays `detaching` because of the other server; this request gives up after its ten minutes."""
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
def test_record_that_is_never_closed_does_not_delay_the_verdict(newest: tuple[int, int]) -> None:
    """No compute host acts on the detach, and an operator resets the volume to in-use."""
    bench = Field(newest)
    disk = bench.disk(behaviour=Behaviour(stuck=True))
    bench.ask(bench.request(disk))
    bench.world.at(40, lambda: bench.world.set_volume(disk, status="in-use"))
    bench.run()
    data = bench.bus.data[-1]
    assert data["detail"] == "refused_by_server"
    assert seconds(data) < 900


# ------------------------------------------------------------------------- detaches that must not be refused


@pytest.mark.parametrize("newest", [RECORDS_WITH_ENDS])
def test_request_that_comes_while_its_server_is_being_shelved(newest: tuple[int, int]) -> None:
    """Shelving takes a minute and a half because of the image upload; the request comes after twenty seconds."""
    bench = Field(newest)
    disk = bench.disk(behaviour=QUICK)
    bench.world.shelve(bench.server, seconds=90)
    later(bench, 20)
    bench.ask(bench.request(disk))
    assert (bench.verdict()["detail"], bench.attachment(disk)) == ("detached_now", None)


@ANY
def test_shared_disk_of_an_offloaded_server(newest: tuple[int, int]) -> None:
    """A shared disk stays in-use on the other server while this one is offloaded."""
    bench = Field(newest)
    disk = bench.disk(multiattach=True, behaviour=QUICK)
    other = bench.world.add_server().id
    bench.world.attach(other, disk, attached_at=LONG_AGO)
    bench.world.shelve(bench.server)
    later(bench, 600)
    bench.ask(bench.request(disk))
    data = bench.verdict()
    assert (data["detail"], bench.attachment(disk), bool(bench.attachment(disk, other))) == ("detached_now", None, True)


def test_move_between_the_two_reads_is_recognized() -> None:
    """The list is read before the move and the volume after it; the binding shows that both are the same."""
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


def test_new_request_for_a_new_attachment_is_carried_out() -> None:
    """The disk is attached again seconds after the detach, and a new request with a short time to live detaches it."""
    bench = Field()
    disk = bench.disk(behaviour=Behaviour(seconds=1, nova_lag=0))
    bench.ask(bench.request(disk))
    bench.run()
    bench.world.attach(bench.server, disk)
    later(bench, 2)
    bench.ask(bench.request(disk, request_ttl=15))
    first, second = bench.verdicts()
    assert (first["detail"], second["detail"], bench.attachment(disk)) == ("detached_now", "detached_now", None)


def test_a_single_failed_image_read_is_no_refusal() -> None:
    """Only the image shows that the server runs Linux, and the image service answers 503 once."""
    bench = Field()
    image = bench.world.add_image({"__os_type": "Linux"}).id
    bench.world.set_server(bench.server, metadata={}, image_id=image)
    disk = bench.disk(behaviour=QUICK)
    bench.cloud.faults.add(Fault(faults.answer(bodies.html_error(503)), "get_image"))
    bench.ask(bench.request(disk))
    assert bench.verdict()["detail"] == "detached_now"


@pytest.mark.parametrize("operation", ["get_server", "delete_attachment"])
def test_one_stray_406_does_not_disable_the_microversion(operation: str) -> None:
    """After one 406 of a gateway, the same process can still detach from a shelved server an hour later."""
    bench = Field()
    first, disk = bench.disk(behaviour=QUICK), bench.disk(behaviour=QUICK)
    bench.cloud.faults.add(Fault(faults.answer(bodies.html_error(406)), operation))
    bench.ask(bench.request(first))
    bench.run()
    bench.world.shelve(bench.server)
    later(bench, 3600)
    bench.ask(bench.request(disk))
    assert [data["detail"] for data in bench.verdicts()] == ["detached_now"] * 2


# --------------------------------------------------------------------------------- nothing happens too late


@pytest.mark.parametrize("effect", [True, False])
def test_retry_after_of_an_unknown_outcome_does_not_outlast_the_request(effect: bool) -> None:
    """A 503 with Retry-After 900 does not extend a time to live of one minute."""
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
    """The stack is paused for five hours while a throttled request waits."""
    bench = Field()
    disk = bench.disk(behaviour=QUICK)
    bench.cloud.faults.add(Fault(faults.answer(bodies.fault(429, "later")), "delete_attachment"))
    bench.ask(bench.request(disk))
    bench.step()
    later(bench, 5 * 3600)
    data = bench.verdict()
    assert (data["detail"], bench.cut()) == ("gave_up", [])


def test_no_delete_after_the_time_to_live_when_another_detach_is_joined() -> None:
    """Somebody else's detach is refused after five minutes, after the request's time to live of one."""
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
    """Somebody else's detach is refused after twelve minutes; our detach takes two seconds and is noticed soon."""
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


def test_refusal_after_a_throttled_delete_waits_for_a_look() -> None:
    """A gateway may throttle a DELETE after its effect, so a refused read is a verdict only when the time is up."""
    bench = Field()
    disk = bench.disk()
    bench.cloud.faults.add(Fault(faults.answer(bodies.fault(429, "later")), "delete_attachment"))
    bench.ask(bench.request(disk))
    bench.step()
    no = bodies.fault(403, "Policy doesn't allow os_compute_api:servers:show to be performed.")
    bench.cloud.faults.add(Fault(faults.answer(no), "get_server", times=None))
    data = bench.verdict()
    assert data["detail"] == "forbidden"
    assert 3600 <= seconds(data) < 3660


@pytest.mark.parametrize(
    ("looks_refused", "detail", "latest"), [(1, "expired", 60), (None, "gave_up", 3601)], ids=["once", "for ever"]
)
def test_a_long_retry_after_does_not_delay_the_expiry(looks_refused: int | None, detail: str, latest: float) -> None:
    """The cloud asks for a wait of 15 minutes, and the request expires after 30 seconds.

    A look follows at the expiry. `expired` needs a successful look, since another delivery may be detaching.
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
def test_attachment_time_out_of_range_is_ignored(time: str, newest: tuple[int, int]) -> None:
    """The request gets its verdict although arithmetic with the time would overflow."""
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


# ------------------------------------------------------------------------- verdicts claim only what is known


def test_delete_that_was_not_sent_is_not_counted() -> None:
    """Another thread drops the token between the look and the DELETE, so no DELETE is sent."""
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


def test_accepted_detach_without_effect_is_described_correctly() -> None:
    """After a 202 without any effect, the text does not claim that the volume's state changed back."""
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


@pytest.mark.parametrize("id_shown", [True, False])
def test_unknown_attachment_id_is_no_proof_of_a_new_attach(id_shown: bool) -> None:
    """The request names an unknown attachment, or the cloud shows no id: the text must not claim a newer attach."""
    bench = Field()
    disk = bench.disk()
    named = str(UUID(int=1)) if id_shown else bench.attachment(disk)
    if not id_shown:
        bench.cloud.leaving = rewritten(unnamed, "/volumes/")
    bench.ask(bench.request(disk, attachment_id=named))
    bench.run()
    (data,) = bench.bus.data
    assert "somebody attached the volume after" not in texts_of(data)
