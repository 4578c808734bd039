"""What holds of every decision, whatever was asked, whatever happened before and whatever the cloud shows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue, identity
from shared.decision.gates import OperatingSystem, Power, gate, operating_system, power
from shared.decision.progress import Progress
from shared.decision.requeue import after_delete, when_unreadable
from shared.decision.rules import decide
from shared.inbox.read import read
from shared.model import (
    AnswerClass,
    Attachment,
    Classified,
    DetachRequest,
    Detail,
    Ended,
    Listed,
    Message,
    Outcome,
    Reason,
    Seen,
    Server,
    Volume,
)
from shared.policy import Policy, RunningServerPolicy
from tests.builders import (
    ATTACHMENT,
    FOLLOWED,
    LINUX_SERVER,
    LISTED,
    NOT_LISTED,
    NOW,
    OTHER_ATTACHMENT,
    OTHER_SERVER,
    REQUESTED,
    On,
    ago,
    answer,
    attachment,
    case,
    request,
    said,
    server,
    volume,
)
from tests.messages import SERVER, VOLUME, continuation

# ------------------------------------------------------------------------------------------- what there may be

SKEW = Policy().fence_skew
SECOND = timedelta(seconds=1)

# Every attachment there can be in these tests: an id goes with one moment, as in a cloud.
OURS = [
    attachment(),
    attachment(device=None),
    attachment(device="/dev/sda"),
    attachment(attachment_id=OTHER_ATTACHMENT, attached_at=ago(days=2)),
    attachment(attachment_id="2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a01", attached_at=REQUESTED + SKEW),
    attachment(attachment_id="2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a02", attached_at=REQUESTED + SKEW + SECOND),
    attachment(attachment_id="2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a03", attached_at=ago(seconds=1)),
    attachment(attachment_id="2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a04", attached_at=None),
    attachment(attachment_id=None, attached_at=ago(days=7)),
    attachment(attachment_id=None, attached_at=None),
]
STOPPED = {"status": "SHUTOFF", "vm_state": "stopped", "power_state": 4}
OTHERS = [
    attachment(OTHER_SERVER, attachment_id="2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a05"),
    attachment(OTHER_SERVER, attachment_id="2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a06", attached_at=ago(minutes=1)),
]


def named(on: On) -> str:
    return identity(on[1])


Points = Mapping[str, st.SearchStrategy[Any]]


@st.composite
def changes(draw: st.DrawFn, points: Points, at_most: int) -> dict[str, Any]:
    """Some of these points, each with a value: what is not ordinary about an otherwise ordinary thing."""
    names = draw(st.lists(st.sampled_from(sorted(points)), unique=True, max_size=at_most))
    return {name: draw(points[name]) for name in names}


spans = st.timedeltas(timedelta(0), timedelta(hours=12))
moments = spans.map(lambda span: NOW - span)

requests = changes(
    {
        "attachment_id": st.sampled_from([ATTACHMENT, OTHER_ATTACHMENT]),
        "unmounted": st.just(True),
        "allow_system_disk": st.just(True),
        "dry_run": st.just(True),
        "expires_at": st.sampled_from([ago(days=1), ago(seconds=1), NOW, NOW + timedelta(hours=2)]),
    },
    at_most=2,
).map(lambda changed: request(**changed))

servers = changes(
    {
        "status": st.sampled_from(["BUILD", "REBOOT", "ERROR", "PAUSED", "DELETED", "new"]),
        "task_state": st.sampled_from(["powering-off", "powering-on", "deleting"]),
        "vm_state": st.sampled_from([None, "stopped", "shutoff", "error"]),
        "power_state": st.sampled_from([None, 0, 2, 3, 4, 6, 7]),
        "locked": st.sampled_from([None, True]),
        "root_device": st.sampled_from(["/dev/vda", "/dev/sdb", None]),
        "metadata": st.sampled_from([{"os_type": "Windows"}, {"os_type": "Other"}, {}]),
        "image_properties": st.sampled_from([{"__os_type": "Linux"}, {"__os_type": "Windows"}]),
    },
    at_most=3,
).flatmap(lambda changed: st.sampled_from([server(**changed), server(**{**STOPPED, **changed})]))

oddities = changes(
    {
        "status": st.sampled_from(["available", "detaching", "attaching", "error_detaching", "backing-up"]),
        "attachments": st.lists(st.sampled_from(OURS + OTHERS), max_size=3, unique_by=named).map(tuple),
        "multiattach": st.just(True),
        "bootable": st.just(True),
        "metadata": st.sampled_from([{"detach_protection": "true"}, {"detach_protection": "false"}]),
    },
    at_most=2,
)


PLANES = [*[(volume(), LISTED)] * 4, *[(volume("available"), NOT_LISTED)] * 2, (volume("available"),
    None), (None, NOT_LISTED)]  # fmt: skip


@st.composite
def observations(draw: st.DrawFn) -> Seen:
    """Mostly attached or gone on both planes, with some oddities; now and then anything."""
    disk, listing = draw(st.sampled_from(PLANES))
    odd = draw(
        changes(
            {
                "volume": st.sampled_from([volume(), volume("detaching"), volume("available"), None]),
                "listing": st.sampled_from([NOT_LISTED, None, (), (Listed(VOLUME),), (Listed(VOLUME, "/dev/sda"),)]),
                "server": st.none(),
                "ended": st.sampled_from(Ended),
            },
            at_most=1,
        )
    )
    ordinary = {"volume": replace(disk, **draw(oddities)) if disk else None, "listing": listing,
        "server": draw(servers)}  # fmt: skip
    return Seen(**{**ordinary, **odd})


policies = changes(
    {
        "confirm_timeout": spans,
        "watch_timeout": spans,
        "request_ttl": spans,
        "running_server_policy": st.sampled_from(RunningServerPolicy),
    },
    at_most=2,
).map(lambda changed: Policy(**changed))

ANSWERS = [
    answer(AnswerClass.ACCEPTED),
    answer(AnswerClass.DONE_VERIFY),
    answer(AnswerClass.REAUTHENTICATE),
    *(
        answer(kind, retry_after=seconds)
        for kind in (AnswerClass.RETRY, AnswerClass.WAIT, AnswerClass.RECONCILE)
        for seconds in (None, 0.0, 29.4, 3600.0)
    ),
    *(answer(AnswerClass.PERMANENT, reason) for reason in (None, Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND)),
    answer(AnswerClass.PERMANENT, Reason.FORBIDDEN),
]


def may_be_meant(asked: DetachRequest, one: Attachment) -> bool:
    """Whether the request can have meant this attachment."""
    named = asked.attachment_id in (None, one.attachment_id)
    return named and (one.attached_at is None or one.attached_at <= asked.requested_at + SKEW)


@dataclass(frozen=True)
class Situation:
    """A case that has taken in what was seen."""

    case: Case
    policy: Policy

    def decision(self, **changes: Any) -> Decision:
        asked = replace(self.case.request, **changes)
        return decide(replace(self.case, request=asked), self.policy, NOW)

    @property
    def seen(self) -> Seen:
        assert self.case.seen is not None
        return self.case.seen

    @property
    def here(self) -> list[Attachment]:
        """What the volume says of its attachments to the server."""
        return [one for on, one in (self.case.volume.attachments if self.case.volume else ()) if on == SERVER]

    @property
    def followed(self) -> str | None:
        return identity(self.case.progress.followed) if self.case.progress.followed else None

    @property
    def devices(self) -> set[str | None]:
        """What both planes call the attachment that is followed."""
        listed = {entry.device for entry in self.seen.listing or () if entry.volume_id == VOLUME}
        return listed | {one.device for one in self.here if identity(one) == self.followed}


STAGES: list[dict[str, Any]] = [{}, {"followed": FOLLOWED}, {"followed": FOLLOWED,
    "detaching_since": ago(seconds=40), "detaching_seen": True}, {"followed": FOLLOWED,
    "deletes_sent": 1}, {"followed": FOLLOWED, "deletes_sent": 1, "unsettled": 1}, {"followed": FOLLOWED,
    "deletes_sent": 1, "accepted_at": ago(seconds=40)}]  # fmt: skip


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any request at any stage, with anything to be seen; what is followed may have been meant."""
    asked, policy, cloud = draw(requests), draw(policies), draw(observations())
    stage = draw(st.sampled_from(STAGES))
    sent = {"last_delete_at": ago(seconds=40)} if "deletes_sent" in stage else {}
    points = {
        "first_seen_at": moments,
        "attempt": st.integers(0, 50),
        "followed": st.sampled_from([one for _, one in OURS]),
        "detaching_since": moments,
        "detaching_seen": st.booleans(),
        "idle_reads": st.integers(0, 3),
        "unconfirmed_id": st.just("said"),
        "last_error": st.just("http_503: busy"),
        "redelivered_since": moments,
        **({"accepted_at": moments, "last_delete_at": moments} if sent else {}),
        **({"unsettled": st.integers(1, 4)} if "unsettled" in stage else {}),
        **({"last_delete_at": st.sampled_from([ago(seconds=29.9), ago(seconds=30)])} if stage else {}),
    }
    so_far = Progress(**{"first_seen_at": NOW, **sent, **stage, **draw(changes(points, at_most=3))})
    if so_far.followed and not may_be_meant(asked, so_far.followed):
        so_far = replace(so_far, followed=None)
    return Situation(case(so_far, asked).saw(cloud, policy, NOW), policy)


# ---------------------------------------------------------------------------------------- of a single decision


@settings(max_examples=500, deadline=None)
@given(situations())
def test_delete_goes_out_only_where_every_condition_holds(situation: Situation) -> None:
    """A DELETE needs all of it: attached on both planes, idle, the one meant, not begun, in time, wanted and safe."""
    if situation.decision() != Delete():
        return
    asked, so_far, cloud = situation.case.request, situation.case.progress, situation.seen
    assert cloud.volume is not None
    assert cloud.volume.status == "in-use"
    assert situation.case.listed
    ours = next(one for one in situation.here if identity(one) == situation.followed)
    assert may_be_meant(asked, ours)
    assert so_far.accepted_at is None
    assert so_far.unsettled < 3
    if so_far.unsettled:
        assert so_far.last_delete_at is not None
        assert NOW - so_far.last_delete_at >= timedelta(seconds=30)
    assert asked.expires_at is None or asked.expires_at > NOW
    assert not asked.dry_run
    assert cloud.server is not None
    assert gate(asked, cloud.volume, situation.devices, cloud.server, situation.policy.running_server_policy) is None


@settings(max_examples=500, deadline=None)
@given(situations())
def test_running_server_is_let_through_only_where_no_data_can_be_lost(situation: Situation) -> None:
    """A running server loses data disks only, and unless it says to run Linux only those attested as unmounted."""
    if situation.decision() != Delete():
        return
    machine, asked = situation.seen.server, situation.case.request
    assert machine is not None
    assert power(machine) is not Power.CHANGING
    assert not machine.locked
    system_disk = situation.devices & {"/dev/sda", machine.root_device} - {None}
    if power(machine) is Power.RUNNING:
        assert operating_system(machine) is OperatingSystem.LINUX or asked.unmounted
        assert not system_disk
    elif system_disk:
        assert asked.allow_system_disk


@settings(max_examples=200, deadline=None)
@given(situations())
def test_there_is_always_a_decision(situation: Situation) -> None:
    """Nothing that can be seen is without an answer, and each wait is one that a queue can do."""
    match situation.decision():
        case Requeue(seconds):
            assert isinstance(seconds, int)
            assert 1 <= seconds <= 900
        case Conclude(Outcome.FAILED, detail, reason):
            assert reason is not None
            assert detail == reason
        case Conclude(Outcome.DETACHED, _, reason):
            assert reason is None
        case Conclude(Outcome.CHECKED):
            assert situation.case.request.dry_run
        case other:
            assert other == Delete()


@settings(max_examples=500, deadline=None)
@given(situations())
def test_detached_is_said_only_of_what_is_gone(situation: Situation) -> None:
    """The attachment followed is gone; or none was followed, and none is there that this request could mean."""
    decision = situation.decision()
    if not isinstance(decision, Conclude) or decision.outcome is not Outcome.DETACHED:
        return
    since = situation.case.progress.redelivered_since
    assert situation.followed not in [identity(one) for one in situation.here]
    assert situation.here or not situation.case.listed
    if situation.here and situation.followed is None:
        assert since is not None
        assert any(one.attached_at and one.attached_at > since for one in situation.here)


@settings(max_examples=500, deadline=None)
@given(situations())
def test_without_the_server_nothing_new_is_said_or_sent(situation: Situation) -> None:
    """A look without the server decides the same, or waits; it never deletes."""
    blind = replace(situation.case, seen=replace(situation.seen, server=None))
    decision = decide(blind, situation.policy, NOW)
    assert decision == situation.decision() or said(decision).startswith(("wait", "failed: gave_up", "checked: would"))
    assert decision != Delete()


@settings(max_examples=200, deadline=None)
@given(situations())
def test_dry_run_tells_what_a_real_one_would_do(situation: Situation) -> None:
    """One complete look is its answer: the decision of the same situation without it, in the same words."""
    dry = situation.decision(dry_run=True)
    match situation.decision(dry_run=False):
        case Delete():
            assert dry == Conclude(Outcome.CHECKED, Detail.WOULD_DETACH, explanation="all checks passed")
        case Requeue(why=why):
            assert dry == Conclude(Outcome.CHECKED, Detail.WOULD_WAIT, explanation=why)
        case Conclude(Outcome.DETACHED, detail, reason, explanation):
            assert dry == Conclude(Outcome.CHECKED, Detail(f"would_report_{detail}"), reason, explanation)
        case Conclude(_, _, reason, explanation):
            assert dry == Conclude(Outcome.CHECKED, Detail.WOULD_FAIL, reason, explanation)


@settings(max_examples=200, deadline=None)
@given(situations(), st.sampled_from(ANSWERS))
def test_any_answer_to_a_delete_is_coped_with(situation: Situation, back: Classified) -> None:
    """Whatever the cloud answers, nothing is sent or claimed in reply, and each wait is one that a queue can do."""
    one, policy = situation.case, situation.policy
    decisions = (after_delete(one.sent(back, None, NOW), back, policy, NOW), when_unreadable(one, back, policy, NOW))
    for decision in decisions:
        match decision:
            case Requeue(seconds):
                assert 1 <= seconds <= 900
            case Conclude(outcome):
                assert outcome in (Outcome.FAILED, Outcome.CHECKED)
            case other:
                pytest.fail(f"{other} in reply to an answer")


KINDS = {*("delete", "wait", "checked: would_detach"), *("detached: detached_now",
    "detached: detached_by_other", "detached: detached_meanwhile"), *("detached: already_detached",
    "detached: replaced_by_newer", "detached: server_gone", "detached: volume_gone"),
    *("failed: superseded", "failed: expired", "failed: attestation_required")}  # fmt: skip


def test_situations_reach_every_decision() -> None:
    """The properties above are about something: their situations come to each kind of decision."""
    reached: set[str] = set()

    @settings(max_examples=800, derandomize=True, database=None, phases=[Phase.generate], deadline=None)
    @given(situations())
    def decide_all(situation: Situation) -> None:
        reached.add(said(situation.decision()))

    decide_all()
    assert set() == KINDS - reached


# -------------------------------------------------------------------------------------- of a request's whole way


@dataclass(frozen=True)
class Look:
    """What one delivery meets: the cloud, or trouble reading it, and what a DELETE would be answered."""

    cloud: Seen
    machine: Server | None
    trouble: Classified | None
    back: Classified
    late: timedelta


USUAL = [Seen(volume("in-use"), LISTED), Seen(volume("in-use", multiattach=True), LISTED),
    Seen(volume("detaching"), LISTED), Seen(volume("detaching", multiattach=True), LISTED),
    Seen(volume("in-use"), NOT_LISTED), Seen(volume("available"), LISTED)]  # fmt: skip
ATTACHED: list[tuple[On, ...]] = [(), *((one,) for one in OURS + OTHERS), (OURS[3], OURS[0]), (OTHERS[0], OURS[0])]
STATUSES = ("in-use", "detaching", "available", "attaching", "error_detaching")
DISKS = [
    Volume(VOLUME, status, attached, shared) for status in STATUSES for attached in ATTACHED for shared in (False, True)
]
ANYTHING = [
    Seen(disk, listing, ended=ended)
    for disk in (None, *DISKS)
    for listing in (LISTED, NOT_LISTED, None)
    for ended in (None, *Ended)
]

MACHINES = [server(**STOPPED), server(task_state="deleting"), server(metadata={}), server(locked=True)]

looks = st.builds(
    Look,
    cloud=st.one_of(st.sampled_from(USUAL), st.sampled_from(USUAL), st.sampled_from(ANYTHING)),
    machine=st.sampled_from([*[LINUX_SERVER] * 9, *MACHINES, None]),
    trouble=st.sampled_from([None] * 9 + [one for one in ANSWERS if one.kind is not AnswerClass.ACCEPTED]),
    back=st.sampled_from(ANSWERS),
    late=st.sampled_from([timedelta(0)] * 9 + [timedelta(minutes=1), timedelta(hours=3)]),
)


class Way:
    """Drives one request through look after look, each of them a message, and keeps what must be counted."""

    def __init__(self, asked: DetachRequest, policy: Policy) -> None:
        self.policy, self.now = policy, NOW
        self.case = case(asked=asked)
        self.decision: Decision = Requeue(1, "not looked yet")
        self.accepted = self.announced = 0
        self.unsettled: list[datetime] = []

    @property
    def over(self) -> bool:
        return isinstance(self.decision, Conclude)

    def step(self, look: Look) -> None:
        assert not self.over
        if look.trouble:
            self.case = self.case.unreadable(look.trouble)
            self.decision = when_unreadable(self.case, look.trouble, self.policy, self.now)
        else:
            self._look(look)
        if isinstance(self.decision, Requeue):
            self.announced += self.decision.announce_unconfirmed
            self._send_on(self.decision)
            self.now += timedelta(seconds=self.decision.seconds) + look.late
        else:
            assert self.over

    def _look(self, look: Look) -> None:
        cloud = look.cloud
        if self.case.may_delete:
            cloud = replace(cloud, server=look.machine, listing=cloud.listing if look.machine else None)
        self.case = self.case.saw(cloud, self.policy, self.now)
        self.decision = decide(self.case, self.policy, self.now)
        if isinstance(self.decision, Delete):
            assert not self.accepted, "a DELETE after an accepted one"
            if self.unsettled:
                assert self.now - self.unsettled[-1] >= timedelta(seconds=30), "a DELETE too soon after a lost one"
            self.accepted += look.back.kind is AnswerClass.ACCEPTED
            if look.back.kind not in (AnswerClass.ACCEPTED, AnswerClass.RETRY, AnswerClass.WAIT):
                self.unsettled.append(self.now)
            self.case = self.case.sent(look.back, None, self.now)
            self.decision = after_delete(self.case, look.back, self.policy, self.now)

    def _send_on(self, decision: Requeue) -> None:
        """What the message carries is all there is to know: written out and read again, the case is the same."""
        stepped = self.case.stepped(decision, ())
        message = Message(continuation(stepped.request, stepped.progress), "m-2", "queue", self.now)
        found = read(message, "bms", self.now)
        assert isinstance(found, list)
        (self.case,) = found
        assert (self.case.request, self.case.progress) == (stepped.request, stepped.progress)


DEADLINES_PASS = 12
"""Looks, each after every deadline of the look before, that a request may take to its end: a detach that begins
has a watch of its own, and three unsettled DELETEs may each be followed by somebody else's."""


@settings(max_examples=400, deadline=None)
@given(
    asked=requests,
    policy=policies,
    first=st.lists(looks, max_size=20),
    last=st.lists(looks, min_size=DEADLINES_PASS, max_size=DEADLINES_PASS),
)
def test_every_way_ends_in_one_conclusion(
    asked: DetachRequest, policy: Policy, first: list[Look], last: list[Look]
) -> None:
    """Whatever the cloud shows and answers, a request ends once, after at most one accepted DELETE."""
    if asked.dry_run:
        return
    way = Way(asked, policy)
    for look in first:
        if not way.over:
            way.step(look)
    for look in last:
        if not way.over:
            way.now += max(policy.watch_timeout, policy.request_ttl)
            way.step(look)
    assert way.over
    assert way.accepted <= 1
    assert len(way.unsettled) <= 3
    assert way.announced <= 1
