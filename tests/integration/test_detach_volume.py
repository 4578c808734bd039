"""The service with a queue and a cloud: messages lead to detached volumes and verdicts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.cloud.openstack import OpenStackCloud
from shared.decision.case import Case, Conclude
from shared.model import Outcome, Volume, verdict_id
from shared.outbox.events import EventFactory
from shared.policy import FAILURES
from shared.ports import AwsTrouble, Event, Reading, Sent, Unsent
from simulator import Behaviour, Fault, What, faults
from tests.contract import consumer
from tests.messages import START, bare, cloudevent, cloudevent_faults
from tests.stack import Bench

GARBAGE = '{"server_id": "x", "dryrun": true'


def accepted(bench: Bench) -> list[str | None]:
    return [entry.volume_id for entry in bench.world.history if entry.what is What.DELETE_ACCEPTED]


def causes(unsent: Mapping[str, Unsent]) -> dict[str, type]:
    """The type of the error of each returned message."""
    return {id: type(why.cause) for id, why in unsent.items()}


def test_a_disk_is_detached_and_proven() -> None:
    """A message leads to one DELETE, and to one verdict after both planes have removed the attachment."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=3, nova_lag=1))
    bench.queue.put(bench.request(disk))
    bench.run()
    assert (accepted(bench), bench.world.is_attached(bench.server, disk)) == ([disk], None)
    verdict = bench.bus.final(disk)
    assert (verdict["verdict"], verdict["detail"]) == ("detached", "detached_now")
    assert verdict["evidence"]["deletes_sent"] == 1
    removed = [entry.at for entry in bench.world.history if entry.what is What.NOVA_DETACHED]
    assert verdict["timing"]["concluded_at"] >= removed[0].isoformat().replace("+00:00", "Z")
    assert [cloudevent_faults(event) for event in bench.bus.events] == [[]]
    assert bench.errors == []


def test_garbage_in_a_batch_affects_no_other_record() -> None:
    """Nine valid records lead to detached disks, and the garbage to a verdict with its faults."""
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
    """An invalid JSON request is answered once, with every fault and its valid fields."""
    bench = Bench()
    wrong = cloudevent({"server_id": "x", "dryrun": True, "context": {"ticket": 1}}, correlationid="CHG-1")
    bench.queue.put(json.dumps(wrong))
    bench.run()
    (event,) = bench.bus.events
    faults_found = {fault["field"] for fault in event["data"]["faults"]}
    assert faults_found == {"server_id", "dryrun", "volume_id"}
    assert (event["data"]["context"], event["correlationid"], event["causationid"]) == ({"ticket": 1}, "CHG-1", "4711")
    assert json.loads(event["data"]["original"]) == wrong


def test_each_volume_of_a_request_has_its_verdict() -> None:
    """A request for several disks has a verdict for each, with the same request id."""
    bench = Bench()
    disks = [bench.disk(), bench.disk(attached=False), bench.disk(behaviour=Behaviour(seconds=2, refuse=True))]
    bench.queue.put(json.dumps(cloudevent({"server_id": bench.server, "volume_ids": disks})))
    bench.run()
    details = [bench.bus.final(disk)["detail"] for disk in disks]
    assert details == ["detached_now", "already_detached", "refused_by_server"]
    assert {data["request"]["id"] for data in bench.bus.data} == {"4711"}
    assert len({event["id"] for event in bench.bus.events}) == 3


def test_a_redelivered_message_gets_the_same_verdict() -> None:
    """The redelivered message causes no second DELETE, and its verdict has the same event id."""
    bench = Bench()
    disk = bench.disk()
    for _ in range(2):
        assert bench.handle(bench.request(disk)) == {}
    bench.run()
    assert accepted(bench) == [disk]
    assert {event["id"] for event in bench.bus.events} == {bench.bus.events[0]["id"]}
    assert {data["verdict"] for data in bench.bus.data} == {"detached"}


def test_only_the_record_of_a_failed_continuation_returns() -> None:
    """If the queue refuses messages, only the records that have to wait return."""
    bench = Bench()
    waiting, free = bench.disk(), bench.disk(attached=False)
    bench.queue.refuse = lambda message: True
    assert causes(bench.handle(bench.request(waiting), bench.request(free))) == {"m-0": AwsTrouble}
    assert bench.bus.final(free)["detail"] == "already_detached"
    bench.queue.refuse = lambda message: False
    bench.queue.put(bench.request(waiting))
    bench.run()
    assert (bench.bus.final(waiting)["verdict"], accepted(bench)) == ("detached", [waiting])


def test_a_verdict_that_the_bus_refuses_delays_no_other() -> None:
    """The refused verdict waits unchanged, and is emitted once."""
    bench = Bench()
    first, second = bench.disk(attached=False), bench.disk(attached=False)
    bench.bus.refuse = lambda event: first in (event.subject or "")
    assert bench.handle(bench.request(first), bench.request(second)) == {}
    decided = bench.clock().isoformat()
    bench.bus.refuse = lambda event: bench.clock() < START + timedelta(minutes=30)
    bench.run()
    assert [data["volume_id"] for data in bench.bus.data] == [second, first]
    assert bench.bus.data[1]["timing"]["concluded_at"][:19] == decided[:19]


def test_a_refused_verdict_about_garbage_waits() -> None:
    """It waits in the queue; if the queue refuses it, the record returns."""
    bench = Bench()
    bench.bus.refuse = lambda event: True
    assert bench.handle(GARBAGE, bench.request(bench.disk())) == {}
    assert len(bench.queue) == 2
    bench.queue.refuse = lambda message: True
    assert causes(bench.handle(GARBAGE)) == {"m-0": AwsTrouble}


class FailingCloud:
    """A cloud adapter with a bug: it fails for one volume, `times` times, before or after the DELETE."""

    def __init__(
        self, cloud: OpenStackCloud, broken_volume: str, times: int = 1000, after_delete: bool = False
    ) -> None:
        self._cloud, self._broken_volume, self._times, self._after_delete = cloud, broken_volume, times, after_delete

    def __getattr__(self, name: str) -> object:
        return getattr(self._cloud, name)

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        if not self._after_delete:
            self._fail(volume_id)
        return self._cloud.volume(volume_id)

    def detach(self, server_id: str, volume_id: str) -> Reading[Sent]:
        sent = self._cloud.detach(server_id, volume_id)
        self._fail(volume_id)
        return sent

    def _fail(self, volume_id: str) -> None:
        if volume_id == self._broken_volume and self._times:
            self._times -= 1
            raise ZeroDivisionError("a bug that knows the password")


def test_a_bug_fails_its_own_case_only() -> None:
    """An unexpected exception affects only its case, and its message is not redelivered."""
    bench = Bench()
    disks = [bench.disk() for _ in range(3)]
    bench.use(FailingCloud(bench.connect(), disks[1]))
    assert bench.handle(*map(bench.request, disks)) == {}
    bench.run()
    assert sorted(accepted(bench), key=str) == sorted([disks[0], disks[2]])
    assert bench.bus.final(disks[1])["reason"]["code"] == "dead_lettered"


def test_one_volume_of_several_fails_alone() -> None:
    """If one volume of a message fails, it alone is requeued, and each gets one final verdict."""
    bench = Bench()
    disks = [bench.disk() for _ in range(2)]
    bench.use(FailingCloud(bench.connect(), disks[1], times=2))
    assert bench.handle(json.dumps(cloudevent({"server_id": bench.server, "volume_ids": disks}))) == {}
    bench.run()
    assert sorted(accepted(bench), key=str) == sorted(disks)
    assert {bench.bus.final(disk)["detail"] for disk in disks} == {"detached_now"}


@pytest.mark.parametrize("fresh", [True, False])
def test_a_lasting_bug_gets_a_verdict_with_its_location(fresh: bool) -> None:
    """After six failed looks in a row, the verdict names the error's class and line, but not its message."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=120))
    bench.queue.put(bench.request(disk))
    if not fresh:
        bench.step()
    began = bench.clock()
    bench.use(FailingCloud(bench.connect(), disk))
    bench.run()
    (event,) = bench.bus.events
    data = event["data"]
    assert (data["verdict"], data["reason"]["code"], data["reason"]["cause"]) == (
        "failed",
        "dead_lettered",
        "code_failed",
    )
    assert "ZeroDivisionError in shared/visit.py, line" in data["evidence"]["last_error"]
    assert "failed on it 6 times in a row" in data["reason"]["message"]
    assert "password" not in json.dumps(event)
    assert 15 <= (bench.clock() - began).total_seconds() / 60 <= 35
    assert ("the cloud accepted the detach" in data["reason"]["message"]) is not fresh
    assert (bench.errors, bench.queue.dead_letters) == ([], [])


def test_a_dry_run_that_fails_on_a_bug_gets_a_checked_verdict() -> None:
    """The verdict has the announced type and id."""
    bench = Bench()
    disk = bench.disk()
    bench.use(FailingCloud(bench.connect(), disk))
    bench.queue.put(json.dumps(cloudevent(bare(bench.server, disk, dry_run=True))))
    bench.run()
    (event,) = bench.bus.events
    assert event["id"] == verdict_id("/changes", "4711", disk, Outcome.CHECKED)
    assert (event["data"]["detail"], event["data"]["reason"]["code"]) == ("would_fail", "dead_lettered")
    assert consumer.faults(event, strict=True) == []


def test_a_bug_after_the_delete_sends_no_second_one() -> None:
    """The outcome of the DELETE is unknown, and the next look shows that it took effect."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=5))
    bench.use(FailingCloud(bench.connect(), disk, after_delete=True))
    bench.queue.put(bench.request(disk))
    bench.run()
    data = bench.bus.final(disk)
    assert (data["detail"], data["evidence"]["deletes_sent"]) == ("detached_meanwhile", 1)
    assert accepted(bench) == [disk]


def test_a_successful_look_resets_the_count_of_failures() -> None:
    """Only consecutive failures end a request."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=30))
    bench.queue.put(bench.request(disk))
    for _ in range(3):
        bench.use(FailingCloud(bench.connect(), disk, times=FAILURES - 1))
        for _ in range(FAILURES):
            bench.step()
    bench.run()
    assert bench.bus.final(disk)["detail"] in ("detached_now", "detached_meanwhile")


def test_the_message_returns_if_a_failure_cannot_be_recorded() -> None:
    """If the queue refuses the continuation, the message itself is redelivered."""
    bench = Bench()
    disk = bench.disk()
    bench.use(FailingCloud(bench.connect(), disk))
    bench.queue.refuse = lambda message: True
    assert causes(bench.handle(bench.request(disk))) == {"m-0": AwsTrouble}


@dataclass(frozen=True)
class FailingEvents(EventFactory):
    """Fails to build the verdict about one volume: any verdict, or only `detached`."""

    volume_id: str = ""
    always: bool = False

    def verdict(self, case: Case, conclusion: Conclude, now: datetime, original: str | None = None) -> Event:
        fails = self.always or conclusion.outcome is Outcome.DETACHED
        if fails and case.request.volume_id == self.volume_id:
            raise ZeroDivisionError("a bug")
        return EventFactory.verdict(self, case, conclusion, now, original)


@pytest.mark.parametrize("always", [False, True])
def test_a_verdict_that_cannot_be_built_affects_no_other(always: bool) -> None:
    """Only its case fails, and becomes a dead letter by our own count or, if necessary, by the queue's."""
    bench = Bench()
    disks = [bench.disk(attached=False) for _ in range(3)]
    service = bench.service
    events = FailingEvents(volume_id=disks[1], always=always)
    bench.service = replace(service, outlets=replace(service.outlets, events=events))
    assert bench.handle(*map(bench.request, disks)) == {}
    assert {bench.bus.final(disk)["detail"] for disk in (disks[0], disks[2])} == {"already_detached"}
    bench.run()
    data = bench.bus.final(disks[1])
    assert (data["reason"]["code"], data["reason"]["cause"]) == ("dead_lettered", "code_failed")
    assert {type(error) for error in bench.errors} == ({ZeroDivisionError} if always else set())


def test_a_body_that_is_not_text_fails_only_its_record() -> None:
    """A body that is not text, which SQS never sends, does not fail the batch."""
    bench = Bench()
    nothing: Any = None
    assert list(bench.handle(nothing, bench.request(bench.disk()))) == ["m-0"]


def test_our_own_verdict_is_dropped() -> None:
    """A verdict that a rule routes back into the queue causes no event, no message and no error."""
    bench = Bench()
    bench.queue.put(bench.request(bench.disk(attached=False)))
    bench.run()
    assert bench.handle(json.dumps(bench.bus.events[0])) == {}
    assert (len(bench.bus.events), len(bench.queue)) == (1, 0)


def test_a_request_waits_for_an_unreachable_cloud() -> None:
    """An unreachable cloud is no error of the record: the request is retried until the cloud answers."""
    bench = Bench()
    disk = bench.disk()
    bench.cloud.faults.add(Fault(faults.CONNECTION_REFUSED, times=6))
    bench.queue.put(bench.request(disk))
    bench.run()
    assert (bench.bus.final(disk)["detail"], bench.errors) == ("detached_now", [])
    assert accepted(bench) == [disk]


def test_a_dry_run_changes_nothing() -> None:
    """A dry run leaves the world unchanged, and its verdict says what would happen."""
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
    """The gates work end to end: no DELETE is sent, and the verdict has the reason."""
    bench = Bench()
    disk = bench.disk()
    prepare(bench, disk)
    bench.queue.put(bench.request(disk))
    bench.run()
    verdict = bench.bus.final(disk)
    assert (verdict["verdict"], verdict["reason"]["code"]) == ("failed", reason)
    assert What.DELETE_RECEIVED not in [entry.what for entry in bench.world.history]
