"""A visit step by step: the order of reads, their results, and which reads are shared."""

import re
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.decision.case import Broken, Case, Conclude, NotLookedAt, Requeue, Step, failed
from shared.decision.progress import Progress
from shared.decision.requeue import pause
from shared.model import (
    Action,
    AnswerClass,
    Attachment,
    Call,
    Classified,
    DetachRequest,
    Detail,
    Ended,
    Listed,
    Outcome,
    Reason,
    Seen,
    Server,
    Volume,
)
from shared.policy import (
    AFTER_FAILURE,
    COPIES_REMEMBERED,
    LONGEST_DELETE,
    RETRY,
    SHORTEST_LOOK,
    UNSETTLED_PAUSE,
    WATCH,
    Policy,
)
from shared.ports import AwsTrouble, Cloud, CloudTrouble, Reading, Sent
from shared.visit import OTHER_ENDPOINTS, Look, OutOfTime, Visit, Visits, Workers
from tests.builders import (
    FOLLOWING,
    FRESH,
    LISTED,
    NOT_LISTED,
    NOW,
    OTHER_ATTACHMENT,
    SERVER,
    VOLUME,
    accepted,
    ago,
    answer,
    attachment,
    case,
    elsewhere,
    joined,
    lost,
    progress,
    record,
    request,
    server,
    volume,
)
from tests.stack import Clock

SECOND_VOLUME = "4b02f8ad-1c4f-4c2e-9d0b-7a6c1d0a52f3"
SEED = f"/changes 4711 {VOLUME}"
FIRST_WAIT = pause(RETRY, 0, SEED)
RESIZED = (record("resize", ago(seconds=40), ago(seconds=28)),)
NEWER = attachment(attachment_id=OTHER_ATTACHMENT, attached_at=ago(seconds=30))
ACCEPTED = answer(AnswerClass.ACCEPTED)
DOWN = Classified(AnswerClass.RETRY, "http_503", "busy")


@dataclass
class FakeCloud:
    """A cloud with the test's answers and failures, which records calls in words."""

    clock: Clock
    shows: Any = field(default_factory=volume)
    lists: Any = LISTED
    machine: Any = field(default_factory=server)
    records: Any = ()
    under_way: Any = None
    outcome: Ended = Ended.RUNNING
    back: Classified = ACCEPTED
    where: str | None = None
    deleting: float = 0
    looked: Callable[[str], object] = lambda volume_id: None
    asked: list[str] = field(default_factory=list)

    def _told(self, asked: str, value: Any) -> Reading[Any]:
        self.asked.append(asked)
        call = Call(operation=asked.split()[0], at=self.clock(), status=200, openstack_request_id=str(len(self.asked)))
        if isinstance(value, Classified):
            raise CloudTrouble(value, (replace_call(call, 503),))
        return Reading(value, (call,))

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        self.looked(volume_id)
        shown = self.shows.pop(0) if isinstance(self.shows, list) else self.shows
        return self._told(f"volume {short(volume_id)}", shown)

    def detaching(self) -> Reading[Mapping[str, Volume] | None]:
        return self._told("detaching", self.under_way)

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]:
        return self._told(f"list {short(server_id)}", self.lists)

    def server(self, server_id: str) -> Reading[Server | None]:
        return self._told(f"server {short(server_id)}", self.machine)

    def ended(self, server_id: str, receipt: str) -> Reading[Ended]:
        return self._told(f"record {short(server_id)} {receipt}", self.outcome)

    def actions(self, server_id: str) -> Reading[tuple[Action, ...]]:
        return self._told(f"records {short(server_id)}", self.records)

    def place(self) -> str | None:
        return self.where

    def detach(self, server_id: str, volume_id: str) -> Reading[Sent]:
        self.clock.sleep(self.deleting)
        return self._told(f"DELETE {short(server_id)} {short(volume_id)}", Sent(self.back, "req-1"))


def short(id: str | None) -> str:
    return {SERVER: "S", VOLUME: "V", SECOND_VOLUME: "W"}.get(id or "", str(id))


def replace_call(call: Call, status: int) -> Call:
    return replace(call, status=status)


@dataclass
class FakeClouds:
    """One cloud for every project, or none."""

    cloud: Cloud
    trouble: Exception | None = None
    selected: list[tuple[str | None, datetime | None]] = field(default_factory=list)

    def key(self, project_id: str | None) -> Hashable:
        return project_id

    def select(self, project_id: str | None, deadline: datetime | None) -> Cloud:
        self.selected.append((project_id, deadline))
        if self.trouble:
            raise self.trouble
        return self.cloud


class Desk:
    """Visits of a fake cloud, with a virtual clock."""

    def __init__(self, trouble: Exception | None = None, **cloud: Any) -> None:
        self.clock = Clock(NOW)
        self.cloud = FakeCloud(self.clock, **cloud)
        self.clouds = FakeClouds(self.cloud, trouble)
        self.visits = Visits(self.clouds, Policy(), self.clock)

    @property
    def asked(self) -> str:
        return ", ".join(self.cloud.asked)

    def visit(self, *cases: Case, seconds: float | None = None) -> list[Step]:
        self.cloud.asked.clear()
        deadline = None if seconds is None else self.clock() + timedelta(seconds=seconds)
        return self.visits.all(cases, deadline)

    def one(self, so_far: Progress = FRESH, asked: DetachRequest | None = None, seconds: float | None = None) -> Step:
        (step,) = self.visit(case(so_far, asked), seconds=seconds)
        return step

    def look(self) -> Look:
        return Look(self.clouds, self.clock)


def second(so_far: Progress = FRESH, **changes: Any) -> Case:
    """The same for another disk of the server."""
    return case(so_far, request(volume_id=SECOND_VOLUME, **changes))


BOTH_LISTED = (*LISTED, Listed(SECOND_VOLUME, "/dev/sdc"))


def both(status: str = "in-use", **changes: Any) -> list[Volume]:
    """Two disks of the server, one after another as they are read."""
    one = volume(status, **changes)
    return [one, Volume(SECOND_VOLUME, status, one.attachments)]


# ----------------------------------------------------------------------------------------------- what is read when

FREE, DETACHING = volume("available"), volume("detaching")
WITH_RECEIPT = {"receipt": "r"}


@pytest.mark.parametrize(
    ("so_far", "cloud", "asked", "seen"),
    [
        pytest.param(FRESH, {}, "server S, list S, volume V, DELETE S V", Seen(volume(), LISTED, server()),
            id="a DELETE may follow"),
        pytest.param(FRESH, {"machine": None, "shows": FREE}, "server S, volume V", Seen(FREE, None, None),
            id="no server, no list"),
        pytest.param(accepted(5, **WITH_RECEIPT), {"shows": DETACHING}, "volume V", Seen(DETACHING, listing_read=False),
            id="detaching"),
        pytest.param(accepted(30, attempt=4, **WITH_RECEIPT), {"shows": DETACHING}, "volume V, record S r",
            Seen(DETACHING, listing_read=False, ended=Ended.RUNNING), id="detaching for 30 s"),
        pytest.param(accepted(30, attempt=3, **WITH_RECEIPT), {"shows": DETACHING}, "volume V",
            Seen(DETACHING, listing_read=False), id="at every second look"),
        pytest.param(accepted(29, attempt=4, **WITH_RECEIPT), {"shows": DETACHING}, "volume V",
            Seen(DETACHING, listing_read=False), id="detaching for 29 s"),
        pytest.param(accepted(30), {"shows": DETACHING}, "volume V", Seen(DETACHING, listing_read=False),
            id="without a receipt"),
        pytest.param(joined(30, attempt=4, **WITH_RECEIPT), {"shows": DETACHING}, "volume V",
            Seen(DETACHING, listing_read=False), id="somebody else's"),
        pytest.param(accepted(600), {"shows": DETACHING}, "volume V, list S", Seen(DETACHING, LISTED),
            id="about to be told"),
        pytest.param(accepted(5, **WITH_RECEIPT), {}, "volume V, list S, record S r",
            Seen(volume(), LISTED, ended=Ended.RUNNING), id="idle again"),
        pytest.param(accepted(5, **WITH_RECEIPT), {"shows": FREE, "lists": NOT_LISTED}, "volume V, list S",
            Seen(FREE, NOT_LISTED), id="free"),
        pytest.param(accepted(5, **WITH_RECEIPT), {"shows": None, "lists": NOT_LISTED}, "volume V, list S",
            Seen(None, NOT_LISTED), id="gone"),
        pytest.param(accepted(5, **WITH_RECEIPT), {"shows": volume("in-use", elsewhere()), "lists": NOT_LISTED},
            "volume V, list S", Seen(volume("in-use", elsewhere()), NOT_LISTED), id="elsewhere"),
        pytest.param(joined(60), {}, "volume V, server S, list S, volume V, DELETE S V",
            Seen(volume(), LISTED, server()), id="another's was refused"),
        pytest.param(joined(60), {"shows": volume("reserved")}, "volume V, server S, list S, volume V",
            Seen(volume("reserved"), LISTED, server()), id="another's, and reserved"),
        pytest.param(joined(60), {"shows": volume("backing-up")}, "volume V, list S",
            Seen(volume("backing-up"), LISTED), id="another's, and backing up"),
        pytest.param(accepted(60), {"shows": volume("reserved")}, "volume V, list S",
            Seen(volume("reserved"), LISTED), id="ours, and reserved"),
        pytest.param(FOLLOWING, {"shows": volume("in-use", NEWER), "records": RESIZED},
            "server S, list S, volume V, records S, volume V, DELETE S V",
            Seen(volume("in-use", NEWER), LISTED, server(), actions=RESIZED), id="another attachment"),
        pytest.param(accepted(600, followed=Attachment()), {"shows": volume("detaching", Attachment()),
            "records": RESIZED}, "volume V, server S, records S, volume V, list S",
            Seen(volume("detaching", Attachment()), LISTED, server(), actions=RESIZED),
            id="about to be told, of one without a name"),
        pytest.param(accepted(60), {"shows": volume("detaching", NEWER), "records": RESIZED},
            "volume V, list S, server S, records S, volume V",
            Seen(volume("detaching", NEWER), LISTED, server(), actions=RESIZED), id="another, detaching"),
    ],
)  # fmt: skip
def test_the_order_of_reads(so_far: Progress, cloud: Any, asked: str, seen: Seen) -> None:
    """Before a DELETE the volume is read last; during a detach only what is needed is read."""
    desk = Desk(**cloud)
    step = desk.one(so_far)
    assert desk.asked == asked
    assert step.case.seen == seen
    assert [call.operation for call in step.calls] == [word.split()[0] for word in asked.split(", ")]


@pytest.mark.parametrize(
    ("so_far", "cloud"),
    [
        (FRESH, {"shows": DETACHING}),
        (accepted(600), {"shows": DETACHING}),
        (accepted(60), {"shows": volume("detaching", NEWER), "records": RESIZED}),
    ],
)
def test_a_detach_that_shows_is_timed(so_far: Progress, cloud: Any) -> None:
    """From the first look that sees it, whatever else that look reads."""
    seen_first = Desk(**cloud).one(so_far).case.progress
    assert (seen_first.detaching_since, seen_first.polls) == (NOW, 1)


def test_a_change_during_the_read_of_records_needs_another_look() -> None:
    """The records are older than the change."""
    desk = Desk(shows=[volume("in-use", NEWER), volume("detaching", NEWER)], records=RESIZED)
    why = "changed: the volume changed during the look"
    step = desk.one(FOLLOWING)
    assert step.decision == Requeue(FIRST_WAIT, why)
    so_far = step.case.progress
    assert (so_far.last_error, so_far.attempt, so_far.calls, so_far.followed) == (why, 1, step.calls, attachment())
    assert desk.asked == "server S, list S, volume V, records S, volume V"
    with pytest.raises(CloudTrouble) as trouble:
        Desk().look().with_actions(case(), Seen(volume("in-use", NEWER), LISTED, server()))
    changed = Classified(AnswerClass.RECONCILE, "changed", "the volume changed during the look")
    assert trouble.value.classified == changed


@pytest.mark.parametrize(
    ("cloud", "place", "believed"),
    [
        ({"shows": None}, "there", False),
        ({"machine": None}, "there", False),
        ({}, "there", True),
        ({"shows": None}, "here", True),
        ({"shows": None}, None, True),
    ],
)
def test_not_found_at_other_endpoints_is_not_believed(cloud: Any, place: str | None, believed: bool) -> None:
    """A found object counts at any endpoint; the first look's endpoints are kept."""
    look, one = Desk(where="here", **cloud).look(), case(progress(place=place))
    if believed:
        assert look.at(one).place == "here"
        return
    with pytest.raises(CloudTrouble) as trouble:
        look.at(one)
    assert trouble.value.classified == Classified(AnswerClass.RECONCILE, "other_endpoints", OTHER_ENDPOINTS)


def test_a_cloud_is_chosen_by_the_project_and_knows_when_to_end() -> None:
    """Once for all cases of a visit."""
    desk = Desk(shows=both(), lists=BOTH_LISTED)
    desk.visit(case(FRESH, request(project_id="p")), second(project_id="p"), seconds=60)
    assert desk.clouds.selected == [("p", NOW + timedelta(seconds=60))]


# ------------------------------------------------------------------------------------------------- what is shared


def test_a_server_is_read_once_for_its_disks() -> None:
    """Whatever each disk needs of it, as long as it is fresh."""
    desk = Desk(shows=both(), lists=BOTH_LISTED)
    _, other = desk.visit(case(), second())
    assert desk.asked == "server S, list S, volume V, DELETE S V, volume W, DELETE S W"
    assert [call.operation for call in other.calls] == ["server", "list", "volume", "DELETE"]
    moved = Volume(SECOND_VOLUME, "detaching", ((SERVER, NEWER),))
    desk = Desk(shows=[volume(), moved, moved], lists=BOTH_LISTED, records=RESIZED)
    desk.visit(case(), second(accepted(60)))
    assert desk.asked == "server S, list S, volume V, DELETE S V, volume W, records S, volume W"
    desk = Desk(shows=[volume("in-use", NEWER)] * 2 + [replace(moved, status="in-use")] * 2, lists=BOTH_LISTED)
    desk.visit(case(FOLLOWING), second(FOLLOWING))
    assert desk.asked == "server S, list S, volume V, records S, volume V, volume W, volume W"


@pytest.mark.parametrize(("seconds", "again"), [(2, ""), (2.5, "server S, list S, ")])
def test_reads_are_fresh_for_two_seconds(seconds: float, again: str) -> None:
    """After that it is read again, so that gates never see old data."""
    desk = Desk(shows=both(), lists=BOTH_LISTED, deleting=seconds)
    desk.visit(case(), second())
    assert desk.asked == f"server S, list S, volume V, DELETE S V, {again}volume W, DELETE S W"


def test_a_failed_read_is_shared_as_well() -> None:
    """A cloud that has just failed is not called again; each case has the error."""
    desk = Desk(machine=DOWN)
    steps = desk.visit(case(), second())
    assert desk.asked == "server S"
    assert [step.case.progress.last_error for step in steps] == ["http_503: busy"] * 2
    assert [[call.status for call in step.calls] for step in steps] == [[503]] * 2
    assert steps[0].decision == Requeue(FIRST_WAIT, "http_503: busy")


SHOWN = {VOLUME: DETACHING, SECOND_VOLUME: Volume(SECOND_VOLUME, "detaching", DETACHING.attachments)}


@pytest.mark.parametrize(
    ("first", "other", "asked"),
    [
        pytest.param(accepted(5), accepted(5), "detaching", id="both under way"),
        pytest.param(accepted(5), FRESH, "volume V, server S, list S, volume W, DELETE S W", id="one under way"),
        pytest.param(accepted(600), accepted(5), "detaching, volume V, list S", id="one about to be told"),
    ],
)
def test_disks_under_way_are_read_at_once(first: Progress, other: Progress, asked: str) -> None:
    """If there are several; before a verdict on one, it is read alone."""
    shows = [DETACHING, *([both()[1]] if other is FRESH else [])]
    desk = Desk(shows=shows, under_way=SHOWN, lists=BOTH_LISTED)
    steps = desk.visit(case(first), second(other))
    assert desk.asked == asked
    assert [step.case.volume for step in steps] == [DETACHING, both()[1] if other is FRESH else SHOWN[SECOND_VOLUME]]


def test_verdicts_rest_on_a_read_of_the_volume_itself() -> None:
    """Not on an entry of a list, which may be older."""
    latest = volume("detaching", updated_at=ago(seconds=1))
    desk = Desk(shows=[latest], under_way=SHOWN, lists=BOTH_LISTED)
    told, waiting = desk.visit(case(accepted(600)), second(accepted(5)))
    assert (told.case.volume, told.case.listed) == (latest, True)
    assert told.decision == Requeue(pause(WATCH, 0, SEED), "the volume is detaching", announce_unconfirmed=True)
    assert (waiting.case.listed, waiting.decision) == (None, Requeue(3, "the volume is detaching"))


@pytest.mark.parametrize("under_way", [None, {}, DOWN])
def test_disks_without_a_list_are_read_one_by_one(under_way: Any) -> None:
    """A cloud may not filter, or not allow the list; the evidence of one case has the failure."""
    desk = Desk(shows=list(SHOWN.values()), under_way=under_way)
    steps = desk.visit(case(accepted(5)), second(accepted(5)))
    assert desk.asked == "detaching, volume V, volume W"
    alone = ["volume"] if isinstance(under_way, Classified) else ["detaching", "volume"]
    assert [[call.operation for call in step.calls] for step in steps] == [["detaching", "volume"], alone]


def test_servers_and_projects_share_nothing() -> None:
    """Neither reads nor failures."""
    for other in ({"server_id": "another"}, {"project_id": "p"}):
        desk = Desk(shows=FREE, machine=None)
        desk.visits = replace(desk.visits, workers=Workers(1))
        desk.visit(case(), case(FRESH, request(id="4712", **other)))
        assert desk.asked == f"server S, volume V, server {other.get('server_id', 'S')}, volume V"


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_number_of_concurrent_visits_is_limited(at_once: int) -> None:
    """Up to the limit servers are visited together."""
    met, meeting = [], threading.Barrier(2)

    def meet(_: str) -> None:
        with suppress(threading.BrokenBarrierError):
            meeting.wait(1 if at_once > 1 else 0.1)
            met.append(1)

    desk = Desk(shows=FREE, machine=None, looked=meet)
    desk.visits = replace(desk.visits, workers=Workers(at_once))
    desk.visit(case(), case(FRESH, request(server_id="another")))
    assert len(met) == (2 if at_once > 1 else 0)


def test_a_hanging_server_delays_only_its_own_cases() -> None:
    """A second after the deadline its cases are requeued; others are done, and it sends nothing more."""
    desk, released = Desk(), threading.Event()
    before, deadline = set(threading.enumerate()), NOW + timedelta(seconds=60)
    readings = iter([deadline])
    desk.visits = replace(desk.visits, clock=lambda: next(readings, NOW))
    desk.cloud.looked = lambda volume_id: volume_id == VOLUME and released.wait(5)
    begun = time.monotonic()
    hanging, last, other = desk.visits.all(
        [case(), second(), case(FRESH, request(server_id="another", volume_id="other"))], deadline
    )
    assert 0.9 < time.monotonic() - begun < 3
    assert isinstance(hanging.decision, Broken)
    assert isinstance(hanging.decision.error, OutOfTime)
    assert last == Step(second(), NotLookedAt())
    assert isinstance(other.decision, Conclude)
    released.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert "DELETE" not in desk.asked


# ------------------------------------------------------------------------------------------------------ the DELETE


def test_an_accepted_delete_is_booked() -> None:
    """With its receipt; the next look follows after a second."""
    step = Desk(where="here").one(replace(FOLLOWING, attempt=3))
    assert step.decision == Requeue(1, "accepted")
    booked = step.case.progress
    assert (booked.deletes_sent, booked.receipt, booked.accepted_at, booked.place) == (1, "req-1", NOW, "here")
    assert (booked.attempt, booked.calls) == (1, step.calls)


def test_a_throttled_delete_is_sent_again_when_the_cloud_says() -> None:
    """It is not recorded, because it had no effect."""
    desk = Desk(back=answer(AnswerClass.RETRY, retry_after=50))
    assert desk.one().decision == Requeue(50, "DELETE: test.retry as the cloud put it")
    assert (desk.visits.asked, desk.visits.sent_at) == ({}, {})
    desk.cloud.back = answer(AnswerClass.WAIT)
    desk.one()
    assert desk.visits.asked == {}


@pytest.mark.parametrize(("seconds", "sent"), [(LONGEST_DELETE, True), (LONGEST_DELETE - 0.1, False)])
def test_a_delete_needs_its_time(seconds: float, sent: bool) -> None:
    """Its whole limit has to fit into the remaining time; otherwise the next look, soon after, sends it."""
    desk = Desk()
    step = desk.one(replace(FOLLOWING, attempt=3), seconds=seconds)
    assert ("DELETE" in desk.asked) is sent
    if not sent:
        assert step.decision == Requeue(3, "no time left for a DELETE in this invocation")
        assert step.case.progress.deletes_sent == 0


def test_no_delete_is_sent_after_the_deadline() -> None:
    """The message was requeued meanwhile, and another invocation may handle it."""
    desk = Desk()
    visit = Visit(desk.visits, [case(), second()], desk.look())
    desk.cloud.looked = lambda _: setattr(visit, "stopped", True)
    visit.run()
    assert desk.asked == "server S, list S, volume V"
    assert [type(step.decision) for step in visit.steps()] == [Requeue, NotLookedAt]


def test_cases_that_are_not_done_in_time_are_redelivered() -> None:
    """The interrupted case has an unknown outcome; later ones were not begun."""
    desk, third = Desk(shows=[*both(), volume()], lists=BOTH_LISTED), case(FRESH, request(id="4712"))
    visit = Visit(desk.visits, [case(), second(), third], desk.look())
    at_each_look: list[list[Step]] = []
    desk.cloud.looked = lambda _: at_each_look.append(visit.steps())
    visit.run()
    before, meanwhile, _ = at_each_look
    done, middle, last = meanwhile
    assert (done.decision, last) == (Requeue(1, "accepted"), Step(third, NotLookedAt()))
    assert middle.case == second()
    assert isinstance(middle.decision, Broken)
    assert isinstance(middle.decision.error, OutOfTime)
    assert [type(step.decision) for step in before] == [Broken, NotLookedAt, NotLookedAt]
    assert [type(step.decision) for step in visit.steps()] == [Requeue] * 3


@pytest.mark.parametrize(("later", "sent"), [(0, False), (UNSETTLED_PAUSE - 1, False), (UNSETTLED_PAUSE, True)])
def test_a_disk_whose_delete_was_just_sent_is_left_alone(later: float, sent: bool) -> None:
    """The cloud may not show it yet; another request for the disk waits, at the pace of a detach."""
    desk = Desk()
    desk.visit(case())
    desk.clock.sleep(later)
    (step,) = desk.visit(case(progress(attempt=3), request(id="4712")))
    assert ("DELETE" in desk.asked) is sent
    if not sent:
        assert step.decision == Requeue(3, "another request sent a DELETE less than 30 s ago")


@pytest.mark.parametrize("fresh", [True, False])
def test_a_copy_continues_with_the_progress_of_the_request(fresh: bool) -> None:
    """If it is a fresh request; a continuation has its own progress."""
    desk = Desk()
    (step,) = desk.visit(case())
    sent = step.case.progress
    copy = replace(case(), fresh=fresh)
    assert desk.visits.recall(copy).progress == (replace(sent, attempt=0, calls=()) if fresh else FRESH)
    assert desk.visits.recall(case(FRESH, request(id="4712"))).progress == FRESH
    desk.cloud.shows = DETACHING
    (again,) = desk.visit(copy)
    assert (again.case.progress.accepted_at == NOW) is fresh


def test_only_so_many_copies_are_remembered() -> None:
    """The oldest is forgotten first."""
    visits = Desk().visits
    cases = [case(FOLLOWING, request(id=str(n), volume_id=str(n))) for n in range(COPIES_REMEMBERED + 1)]
    for one in cases[:-1]:
        visits.remember(one)
    assert (len(visits.asked), len(visits.sent_at)) == (COPIES_REMEMBERED, COPIES_REMEMBERED)
    assert visits.just_sent(cases[0])
    visits.remember(cases[-1])
    assert (len(visits.asked), len(visits.sent_at)) == (COPIES_REMEMBERED, COPIES_REMEMBERED)
    assert [visits.just_sent(one) for one in (cases[0], cases[1], cases[-1])] == [False, True, True]
    assert visits.recall(replace(cases[0], progress=FRESH)).progress == FRESH
    assert visits.recall(replace(cases[1], progress=FRESH)).progress == FOLLOWING


# ------------------------------------------------------------------------------------------ when something is wrong

BUG = ZeroDivisionError("a bug")


def fails(*_: Any) -> Any:
    raise BUG


def test_a_bug_is_booked_and_the_look_repeated() -> None:
    """With the calls that were made, and without effect on other cases."""
    desk = Desk(shows=both(), lists=BOTH_LISTED)
    desk.visits = replace(desk.visits, decide=fails)
    one, other = desk.visit(case(FOLLOWING), second(FOLLOWING))
    assert isinstance(one.decision, Broken)
    assert isinstance(one.decision.then, Requeue)
    said = one.decision.then.why
    assert re.fullmatch(r"our own code failed: ZeroDivisionError in shared/visit\.py, line \d+, \w+", said)
    booked = replace(FOLLOWING, failures=1, last_error=said, calls=one.calls)
    assert one == Step(case(booked), Broken(BUG, Requeue(pause(AFTER_FAILURE, 0, SEED), said)), one.calls)
    assert [call.operation for call in one.calls] == ["server", "list", "volume"]
    assert isinstance(other.decision, Broken)
    assert [call.operation for call in other.calls] == ["server", "list", "volume"]


def test_a_bug_after_a_delete_does_not_forget_it() -> None:
    """Its effect is not known: it is counted like a DELETE whose answer was lost."""
    desk = Desk()
    desk.visits = replace(desk.visits, after_delete=fails)
    step = desk.one()
    booked = step.case.progress
    assert (booked.deletes_sent, booked.unsettled, booked.last_delete_at) == (1, 1, NOW)
    assert (booked.followed, booked.failures) == (attachment(), 1)
    assert [call.operation for call in step.calls] == ["server", "list", "volume", "DELETE"]


def test_a_bug_of_an_undelivered_case_remembers_since_when() -> None:
    """An earlier delivery may have done anything."""
    desk = Desk()
    desk.visits = replace(desk.visits, decide=fails)
    assert desk.one().case.progress.redelivered_since == NOW


@pytest.mark.parametrize(
    ("so_far", "decision"),
    [
        (FRESH, Requeue(FIRST_WAIT, "credentials_unread: the credentials cannot be read: GetSecretValue")),
        (accepted(6 * 3600, unconfirmed_id="u"), failed(Reason.GAVE_UP, "the cloud could no longer be read: "
            "credentials_unread: the credentials cannot be read: GetSecretValue")),
    ],
)  # fmt: skip
def test_credentials_that_cannot_be_read_are_waited_for(so_far: Progress, decision: Any) -> None:
    """The secret may be corrected before the request's time is up."""
    step = Desk(trouble=AwsTrouble("GetSecretValue")).one(so_far)
    assert step.decision == decision
    assert step.case.progress.last_error == "credentials_unread: the credentials cannot be read: GetSecretValue"
    assert step.calls == ()


def test_a_project_without_credentials_is_refused() -> None:
    """Like a refusal of the cloud."""
    unknown = Classified(AnswerClass.PERMANENT, "no_project", "unknown", Reason.FORBIDDEN)
    assert Desk(trouble=CloudTrouble(unknown)).one().decision == failed(Reason.FORBIDDEN, "no_project: unknown")


# ------------------------------------------------------------------------------------------- when there is no time

OLD = request(requested_at=ago(hours=1))
TIRED = progress(first_seen_at=ago(hours=1), attempt=3)
GAVE_UP = "last: no invocation had time to look"


@pytest.mark.parametrize(
    ("so_far", "asked", "ending"),
    [
        pytest.param(FRESH, request(), None, id="there is time left"),
        pytest.param(TIRED, OLD, failed(Reason.GAVE_UP, GAVE_UP), id="time is up"),
        pytest.param(replace(TIRED, last_error="http_503: busy"), OLD, failed(Reason.GAVE_UP, "last: http_503: busy"),
            id="time is up, and the cloud said something before"),
        pytest.param(TIRED, replace(OLD, dry_run=True),
            Conclude(Outcome.CHECKED, Detail.WOULD_FAIL, Reason.GAVE_UP, GAVE_UP), id="of a dry run"),
        pytest.param(lost(1, 60, first_seen_at=ago(hours=1)), OLD, None, id="a DELETE may have had its effect"),
        pytest.param(accepted(7 * 3600, unconfirmed_id="u"), OLD, None, id="accepted"),
        pytest.param(joined(7 * 3600, unconfirmed_id="u"), OLD, None, id="joined"),
    ],
)  # fmt: skip
def test_cases_without_a_look_are_put_back(so_far: Progress, asked: DetachRequest, ending: Conclude | None) -> None:
    """Unchanged, unless its time is up and nothing was begun."""
    desk = Desk()
    step = desk.one(so_far, asked, seconds=SHORTEST_LOOK - 0.1)
    assert step == Step(case(so_far, asked), ending or NotLookedAt())
    assert desk.asked == ""
    assert isinstance(desk.one(seconds=SHORTEST_LOOK).decision, Requeue)
    assert desk.asked == "server S, list S, volume V"
