"""What holds of every decision, whatever was asked, whatever happened before and whatever the cloud shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from shared.decision.after_delete import decide_after_delete, decide_in_trouble

from shared.decision.gates import Go, OperatingSystem, Power, RunningServerPolicy, gate, operating_system, power
from shared.decision.progress import after_delete, follow, may_delete
from shared.decision.requeue import Policy
from shared.decision.rules import decide
from shared.model import (
    AnswerClass,
    Attachment,
    Classified,
    Conclude,
    Decision,
    Delete,
    DetachRequest,
    Inspect,
    Listed,
    Observation,
    Outcome,
    Progress,
    Reason,
    Server,
    Volume,
    Wait,
)
from tests.builders import (
    ATTACHMENT,
    LISTED,
    NOT_LISTED,
    NOW,
    OTHER_ATTACHMENT,
    OTHER_SERVER,
    REQUESTED,
    SERVER,
    VOLUME,
    ago,
    answer,
    attachment,
    progress,
    request,
    said,
    server,
    volume,
)

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
GENERATION = attrgetter("generation")
STOPPED = {"status": "SHUTOFF", "vm_state": "stopped", "power_state": 4}
OTHERS = [
    attachment(server_id=OTHER_SERVER, attachment_id="2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a05"),
    attachment(
        server_id=OTHER_SERVER, attachment_id="2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a06", attached_at=ago(minutes=1)
    ),
]


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
        "attachments": st.lists(st.sampled_from(OURS + OTHERS), max_size=3, unique_by=GENERATION).map(tuple),
        "multiattach": st.just(True),
        "bootable": st.just(True),
        "metadata": st.sampled_from([{"detach_protection": "true"}, {"detach_protection": "false"}]),
    },
    at_most=2,
)


PLANES = [
    *[(volume(), LISTED)] * 4,
    *[(volume("available"), NOT_LISTED)] * 2,
    (volume("available"), None),
    (None, NOT_LISTED),
]


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """Mostly attached or gone on both planes, with some oddities; now and then anything."""
    disk, listing = draw(st.sampled_from(PLANES))
    odd = draw(
        changes(
            {
                "volume": st.sampled_from([volume(), volume("detaching"), volume("available"), None]),
                "listing": st.sampled_from([NOT_LISTED, None, (), (Listed(VOLUME),), (Listed(VOLUME, "/dev/sda"),)]),
                "server": st.none(),
                "action_failed": st.booleans(),
            },
            at_most=1,
        )
    )
    ordinary = {
        "volume": replace(disk, **draw(oddities)) if disk else None,
        "listing": listing,
        "server": draw(servers),
    }
    return Observation(**{**ordinary, **odd})


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


def in_fence(asked: DetachRequest, one: Attachment) -> bool:
    """Whether the request can have meant this attachment."""
    named = asked.attachment_id in (None, one.attachment_id)
    return named and (one.attached_at is None or one.attached_at <= asked.requested_at + SKEW)


@dataclass(frozen=True)
class Situation:
    """One call of `decide`, with a progress that has taken in what is seen."""

    asked: DetachRequest
    so_far: Progress
    cloud: Observation
    policy: Policy
    redelivered_since: datetime | None

    def decision(self) -> Decision:
        return decide(self.asked, self.so_far, self.cloud, self.policy, NOW, self.redelivered_since)

    @property
    def here(self) -> list[Attachment]:
        """What the volume says of its attachments to the server."""
        return [one for one in (self.cloud.volume.attachments if self.cloud.volume else ()) if one.server_id == SERVER]

    @property
    def listed(self) -> bool:
        return any(entry.volume_id == VOLUME for entry in self.cloud.listing or ())


STAGES: list[dict[str, Any]] = [
    {},
    {"generation": ATTACHMENT},
    {"generation": ATTACHMENT, "detaching_since": ago(seconds=40), "detaching_seen": True},
    {"generation": ATTACHMENT, "deletes_sent": 1},
    {"generation": ATTACHMENT, "deletes_sent": 1, "unsettled": 1},
    {"generation": ATTACHMENT, "deletes_sent": 1, "accepted_at": ago(seconds=40)},
]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any request at any stage, with anything to be seen; only what is followed must have passed the fence."""
    asked, policy, cloud = draw(requests), draw(policies), draw(observations())
    stage = draw(st.sampled_from(STAGES))
    so_far = {
        "first_seen_at": NOW,
        "last_delete_at": ago(seconds=40) if "deletes_sent" in stage else None,
        **stage,
        **draw(
            changes(
                {
                    "first_seen_at": moments,
                    "attempt": st.integers(0, 50),
                    "generation": st.sampled_from([one.generation for one in OURS]),
                    "detaching_since": moments,
                    "detaching_seen": st.booleans(),
                    "idle_reads": st.integers(0, 3),
                    "unconfirmed_id": st.just("said"),
                    "last_error": st.just("http_503: busy"),
                    **({"accepted_at": moments, "last_delete_at": moments} if "deletes_sent" in stage else {}),
                    **({"unsettled": st.integers(1, 4)} if "unsettled" in stage else {}),
                    **({"last_delete_at": st.sampled_from([ago(seconds=29.9), ago(seconds=30)])} if stage else {}),
                },
                at_most=3,
            )
        ),
    }
    if not any(in_fence(asked, one) for one in OURS if one.generation == so_far.get("generation")):
        so_far["generation"] = None
    redelivered_since = draw(st.one_of(st.none(), moments))
    skew = timedelta(0) if redelivered_since else SKEW
    return Situation(asked, follow(asked, Progress(**so_far), cloud, NOW, skew), cloud, policy, redelivered_since)


# ---------------------------------------------------------------------------------------- of a single decision


@settings(max_examples=500, deadline=None)
@given(situations())
def test_delete_goes_out_only_where_every_condition_holds(situation: Situation) -> None:
    """A DELETE needs all of it: attached on both planes, idle, the one meant, not begun, in time, wanted and safe."""
    if situation.decision() != Delete():
        return
    asked, so_far, cloud = situation.asked, situation.so_far, situation.cloud
    assert cloud.volume is not None
    assert cloud.volume.status == "in-use"
    assert situation.listed
    ours = next(one for one in situation.here if one.generation == so_far.generation)
    assert in_fence(asked, ours)
    assert so_far.accepted_at is None
    assert so_far.unsettled < 3
    if so_far.unsettled:
        assert so_far.last_delete_at is not None
        assert NOW - so_far.last_delete_at >= timedelta(seconds=30)
    assert asked.expires_at is None or asked.expires_at > NOW
    assert not asked.dry_run
    assert cloud.server is not None
    entry = next(entry for entry in cloud.listing or () if entry.volume_id == VOLUME)
    assert gate(asked, cloud.volume, ours, entry, cloud.server, situation.policy.running_server_policy) == Go()


@settings(max_examples=500, deadline=None)
@given(situations())
def test_running_server_is_let_through_only_where_no_data_can_be_lost(situation: Situation) -> None:
    """A running server loses data disks only, and unless it says to run Linux only those attested as unmounted."""
    if situation.decision() != Delete():
        return
    machine, asked = situation.cloud.server, situation.asked
    assert machine is not None
    assert power(machine) is not Power.CHANGING
    assert not machine.locked
    devices = {one.device for one in situation.here if one.generation == situation.so_far.generation} | {
        entry.device for entry in situation.cloud.listing or () if entry.volume_id == VOLUME
    }
    if power(machine) is Power.RUNNING:
        assert operating_system(machine) is OperatingSystem.LINUX or asked.unmounted
        assert not devices & {"/dev/sda", machine.root_device} - {None}
    elif devices & {"/dev/sda", machine.root_device} - {None}:
        assert asked.allow_system_disk


@settings(max_examples=200, deadline=None)
@given(situations())
def test_there_is_always_a_decision(situation: Situation) -> None:
    """Nothing that can be seen is without an answer, and each wait is one that a queue can do."""
    match situation.decision():
        case Wait(seconds):
            assert isinstance(seconds, int)
            assert 1 <= seconds <= 900
        case Conclude(Outcome.FAILED, detail, reason):
            assert reason is not None
            assert detail == reason.value
        case Conclude(Outcome.DETACHED, _, reason):
            assert reason is None
        case Conclude(Outcome.CHECKED):
            assert situation.asked.dry_run
        case other:
            assert other in (Delete(), Inspect())


@settings(max_examples=200, deadline=None)
@given(situations())
def test_same_situation_gives_same_decision(situation: Situation) -> None:
    """A message that is delivered twice is decided twice alike."""
    assert situation.decision() == situation.decision()


@settings(max_examples=500, deadline=None)
@given(situations())
def test_detached_is_said_only_of_what_is_gone(situation: Situation) -> None:
    """The attachment followed is gone; or none was followed, and none is there that this request could mean."""
    decision = situation.decision()
    if not isinstance(decision, Conclude) or decision.outcome is not Outcome.DETACHED:
        return
    so_far, since = situation.so_far, situation.redelivered_since
    replaced = bool(situation.here)
    assert so_far.generation not in [one.generation for one in situation.here]
    assert replaced or not situation.listed
    if replaced and so_far.generation is None:
        assert since is not None
        assert any(one.attached_at and one.attached_at > since for one in situation.here)


@settings(max_examples=200, deadline=None)
@given(situations())
def test_dry_run_begins_nothing(situation: Situation) -> None:
    """A dry run never deletes and never waits: one complete look is its answer."""
    dry = replace(situation, asked=situation.asked.model_copy(update={"dry_run": True}))
    decision = dry.decision()
    assert isinstance(decision, Inspect) or (isinstance(decision, Conclude) and decision.outcome is Outcome.CHECKED)


@settings(max_examples=200, deadline=None)
@given(situations())
def test_dry_run_tells_what_a_real_one_would_do(situation: Situation) -> None:
    """What a dry run reports is the decision the same situation gives without it."""
    dry = replace(situation, asked=situation.asked.model_copy(update={"dry_run": True})).decision()
    match replace(situation, asked=situation.asked.model_copy(update={"dry_run": False})).decision():
        case Inspect():
            assert dry == Inspect()
        case Delete():
            assert dry == Conclude(Outcome.CHECKED, "would_detach", explanation="all checks passed")
        case Wait(why=why):
            assert dry == Conclude(Outcome.CHECKED, "would_wait", explanation=why)
        case Conclude(Outcome.DETACHED, detail, reason, explanation):
            assert dry == Conclude(Outcome.CHECKED, f"would_report_{detail}", reason, explanation)
        case Conclude(_, _, reason, explanation):
            assert dry == Conclude(Outcome.CHECKED, "would_fail", reason, explanation)


@settings(max_examples=200, deadline=None)
@given(situations(), st.sampled_from(ANSWERS))
def test_any_answer_to_a_delete_is_coped_with(situation: Situation, back: Classified) -> None:
    """Whatever the cloud answers, nothing is sent or claimed in reply, and each wait is one that a queue can do."""
    booked = after_delete(situation.so_far, back, None, NOW)
    decisions = (
        decide_after_delete(situation.asked, booked, back, situation.policy, NOW),
        decide_in_trouble(situation.asked, situation.so_far, back, situation.policy, NOW),
    )
    for decision in decisions:
        match decision:
            case Wait(seconds):
                assert 1 <= seconds <= 900
            case Conclude(outcome):
                assert outcome in (Outcome.FAILED, Outcome.CHECKED)
            case other:
                pytest.fail(f"{other} in reply to an answer")


KINDS = {
    *("delete", "inspect", "wait", "checked: would_detach"),
    *("detached: detached_now", "detached: detached_by_other", "detached: detached_meanwhile"),
    *("detached: already_detached", "detached: replaced_by_newer", "detached: server_gone", "detached: volume_gone"),
    *("failed: superseded", "failed: expired", "failed: attestation_required"),
}


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

    cloud: Observation
    machine: Server | None
    trouble: Classified | None
    back: Classified
    late: timedelta


USUAL = [
    Observation(volume("in-use"), LISTED),
    Observation(volume("in-use", multiattach=True), LISTED),
    Observation(volume("detaching"), LISTED),
    Observation(volume("detaching", multiattach=True), LISTED),
    Observation(volume("in-use"), NOT_LISTED),
    Observation(volume("available"), LISTED),
]
ANYTHING = [
    Observation(disk, listing, action_failed=action_failed)
    for disk in (
        None,
        *(
            Volume(VOLUME, status, attachments, multiattach)
            for status in ("in-use", "detaching", "available", "attaching", "error_detaching")
            for attachments in ((), *((one,) for one in OURS + OTHERS), (OURS[3], OURS[0]), (OTHERS[0], OURS[0]))
            for multiattach in (False, True)
        ),
    )
    for listing in (LISTED, NOT_LISTED, None)
    for action_failed in (None, False, True)
]

MACHINES = [server(**STOPPED), server(task_state="deleting"), server(metadata={}), server(locked=True)]

looks = st.builds(
    Look,
    cloud=st.one_of(st.sampled_from(USUAL), st.sampled_from(USUAL), st.sampled_from(ANYTHING)),
    machine=st.sampled_from([*[server()] * 9, *MACHINES, None]),
    trouble=st.sampled_from([None] * 9 + [one for one in ANSWERS if one.kind is not AnswerClass.ACCEPTED]),
    back=st.sampled_from(ANSWERS),
    late=st.sampled_from([timedelta(0)] * 9 + [timedelta(minutes=1), timedelta(hours=3)]),
)


class Way:
    """Drives one request through look after look as the reconciler does, and keeps what must be counted."""

    def __init__(self, asked: DetachRequest, policy: Policy) -> None:
        self.asked, self.policy = asked, policy
        self.now = NOW
        self.so_far = progress()
        self.decision: Decision = Wait(1, "not looked yet")
        self.accepted = 0
        self.unsettled: list[datetime] = []
        self.announced = 0

    @property
    def over(self) -> bool:
        return isinstance(self.decision, Conclude)

    def step(self, look: Look) -> None:
        assert not self.over
        if look.trouble:
            self.decision = decide_in_trouble(self.asked, self.so_far, look.trouble, self.policy, self.now)
        else:
            self._look(look)
        match self.decision:
            case Wait(seconds, announce_unconfirmed=announce):
                self.announced += announce
                changes = {"unconfirmed_id": "said", "attempt": 0} if announce else {"attempt": self.so_far.attempt + 1}
                self.so_far = self.so_far.model_copy(update=changes)
                self.now += timedelta(seconds=seconds) + look.late
            case Conclude():
                pass
            case other:
                pytest.fail(f"{other} is neither the end nor a wait")

    def _read(self, look: Look, with_server: bool) -> None:
        listing = None if with_server and look.machine is None else look.cloud.listing
        cloud = replace(look.cloud, server=look.machine if with_server else None, listing=listing)
        self.so_far = follow(self.asked, self.so_far, cloud, self.now, SKEW)
        self.decision = decide(self.asked, self.so_far, cloud, self.policy, self.now)

    def _look(self, look: Look) -> None:
        with_server = may_delete(self.so_far)
        self._read(look, with_server)
        if isinstance(self.decision, Inspect) and not with_server:
            self._read(look, with_server=True)
        if isinstance(self.decision, Delete):
            assert not self.accepted, "a DELETE after an accepted one"
            if self.unsettled:
                assert self.now - self.unsettled[-1] >= timedelta(seconds=30), "a DELETE too soon after a lost one"
            self.accepted += look.back.kind is AnswerClass.ACCEPTED
            if look.back.kind not in (AnswerClass.ACCEPTED, AnswerClass.RETRY, AnswerClass.WAIT):
                self.unsettled.append(self.now)
            self.so_far = after_delete(self.so_far, look.back, None, self.now)
            self.decision = decide_after_delete(self.asked, self.so_far, look.back, self.policy, self.now)


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


@settings(max_examples=100, deadline=None)
@given(asked=requests, policy=policies, way_there=st.lists(looks, max_size=25))
def test_progress_survives_the_queue(asked: DetachRequest, policy: Policy, way_there: list[Look]) -> None:
    """What a continuation carries is all there is to know: written out and read again, it decides the same."""
    way = Way(asked, policy)
    for look in way_there:
        if not way.over:
            way.step(look)
            assert way.so_far == Progress.model_validate_json(way.so_far.model_dump_json(exclude_defaults=True))
