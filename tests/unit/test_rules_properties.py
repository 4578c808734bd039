"""Properties of every decision, for any request, history and state of the cloud."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue
from shared.decision.gates import cloud_refuses, gate
from shared.decision.meant import identity
from shared.decision.progress import Progress
from shared.decision.requeue import after_delete, when_unreadable
from shared.decision.rules import decide
from shared.model import AnswerClass, Attachment, Classified, DetachRequest, Ended, Listed, Outcome, Reason, Seen
from shared.own_messages import VERSION, Continuation
from shared.policy import Policy, RunningServerPolicy
from tests.builders import (
    ATTACHMENT,
    CREATED,
    LISTED,
    NOT_LISTED,
    NOW,
    REQUESTED,
    SERVER,
    STOPPED,
    VOLUME,
    ago,
    answer,
    attachment,
    case,
    elsewhere,
    in_words,
    progress,
    record,
    request,
    seen,
    server,
    unread,
    volume,
)

# ------------------------------------------------------------------------------------------- what there may be

SKEW = Policy().fence_skew
SECOND = timedelta(seconds=1)
NUMBER = "2b1c0a57-6e0e-4f1e-9c39-0d1b7d3a8a0{}"

# Every attachment there can be in these tests: an id goes with one moment, as in a cloud.
MOMENTS = [ago(days=2), REQUESTED + SKEW, REQUESTED + SKEW + SECOND, ago(seconds=1), None]
OURS = [
    *(attachment(device=device) for device in ("/dev/sdb", None, "/dev/sda")),
    *(attachment(attachment_id=NUMBER.format(at), attached_at=moment) for at, moment in enumerate(MOMENTS)),
    *(attachment(attachment_id=None, attached_at=moment) for moment in (ago(days=7), None)),
]
OTHERS = [elsewhere(attached_at=moment) for moment in (ago(days=30), ago(minutes=1))]
ATTACHED = st.sampled_from([*((SERVER, one) for one in OURS), *OTHERS])

Points = st.SearchStrategy[Any] | Iterable[Any]


def changes(at_most: int, **points: Points) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these points, each with a value that differs from the ordinary one."""
    values = {name: of if isinstance(of, st.SearchStrategy) else st.sampled_from([*of]) for name, of in points.items()}
    names = st.lists(st.sampled_from([*values]), unique=True, max_size=at_most)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: values[name] for name in chosen}))


spans = st.timedeltas(timedelta(0), timedelta(hours=12))
moments = spans.map(lambda span: NOW - span)

requests = changes(
    2,
    attachment_id=[ATTACHMENT, NUMBER.format(0)],
    unmounted=[True],
    allow_system_disk=[True],
    dry_run=[True],
    expires_at=[ago(days=1), ago(seconds=1), NOW, NOW + timedelta(hours=2)],
).map(lambda changed: request(**changed))

policies = changes(
    2, confirm_timeout=spans, watch_timeout=spans, request_ttl=spans, running_server_policy=RunningServerPolicy
).map(lambda changed: Policy(**changed))

servers = changes(
    3,
    status=["BUILD", "ERROR", "PAUSED", "new"],
    task_state=["powering-off"],
    vm_state=[None, "stopped", "error"],
    power_state=[None, 0, 4],
    locked=[None, True],
    root_device=["/dev/vda", "/dev/sdb", None],
    metadata=[{"os_type": "Windows"}, {}],
).flatmap(lambda changed: st.sampled_from([server(**changed), server(**{**STOPPED, **changed})]))

disks = changes(
    2,
    status=["available", "detaching", "attaching", "error_detaching", "backing-up"],
    attachments=st.lists(ATTACHED, max_size=3, unique_by=lambda one: identity(one[1])).map(tuple),
    multiattach=[True],
    bootable=[True],
    metadata=[{"detach_protection": "true"}, {"detach_protection": "false"}],
)
RECORDS = [
    (),
    (CREATED,),
    *(
        (CREATED, record(kind, ago(minutes=29), NOW))
        for kind in ("resize", "attach_volume", "attach_volume", "unshelve")
    ),
    (CREATED, record("resize", ago(minutes=29), NOW), record("attach_volume", ago(minutes=29), NOW)),
]
PLANES = [
    *[seen(volume())] * 4,
    *[seen(volume("in-use", attachment(attachment_id=NUMBER.format(3), attached_at=MOMENTS[3])))] * 2,
    *[seen(volume("available"), NOT_LISTED)] * 2,
    *(seen(volume("available"), None), seen(None, NOT_LISTED)),
]
stray = changes(
    1,
    volume=[volume(), volume("detaching"), volume("available"), None],
    listing=[NOT_LISTED, None, (), (Listed(VOLUME),), (Listed(VOLUME, "/dev/sda"),)],
    server=[None],
    ended=Ended,
    actions=[None],
)
# Mostly attached or gone on both planes, with some oddities; now and then anything.
shown = st.builds(
    lambda planes, disk, machine, odd, actions: replace(
        planes,
        **{"volume": planes.volume and replace(planes.volume, **disk), "server": machine, "actions": actions} | odd,
    ),
    *(st.sampled_from(PLANES), disks, servers, stray, st.sampled_from(RECORDS)),
)

CERTAIN = (AnswerClass.ACCEPTED, AnswerClass.RETRY, AnswerClass.WAIT)
UNCERTAIN = (AnswerClass.RECONCILE, AnswerClass.DONE_VERIFY, AnswerClass.REAUTHENTICATE)
NOES = (None, Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND, Reason.FORBIDDEN)
ANSWERS = [
    *(answer(kind, retry_after=after) for kind in CERTAIN + UNCERTAIN for after in (None, 0.0, 29.4, 3600.0)),
    *(answer(AnswerClass.PERMANENT, reason) for reason in NOES),
]


def may_be_meant(asked: DetachRequest, one: Attachment | None) -> bool:
    if one is None or asked.attachment_id not in (None, one.attachment_id):
        return False
    return one.attached_at is None or one.attached_at <= asked.requested_at + SKEW


def moved(cloud: Seen) -> bool:
    """The records show a move, and no attach that could be the disk's."""
    kinds = {one.kind for one in cloud.actions or ()}
    return bool(kinds & {"resize", "unshelve"}) and "attach_volume" not in kinds


def attached_again(cloud: Seen) -> bool:
    """The records show an attach, and no move."""
    kinds = {one.kind for one in cloud.actions or ()}
    return "attach_volume" in kinds and not kinds & {"resize", "unshelve"}


SENT = {"deletes_sent": 1, "last_delete_at": ago(seconds=40)}
STAGES: list[dict[str, Any]] = [
    {},
    {"followed": attachment()},
    {"followed": attachment(), "detaching_since": ago(seconds=40), "detaching_seen": True},
    {"followed": attachment(), **SENT},
    {"followed": attachment(), **SENT, "unsettled": 1},
    {"followed": attachment(), **SENT, "accepted_at": ago(seconds=40)},
]


@dataclass(frozen=True)
class Situation:
    """A case that is to take in a look at NOW."""

    before: Case
    cloud: Seen
    policy: Policy

    @property
    def case(self) -> Case:
        return self.before.saw(self.cloud, self.policy, NOW)

    def decision(self) -> Decision:
        return decide(self.case, self.policy, NOW)

    def asking(self, **changed: Any) -> "Situation":
        return replace(self, before=replace(self.before, request=replace(self.before.request, **changed)))


def histories(stage: dict[str, Any]) -> st.SearchStrategy[Progress]:
    sent: dict[str, Points] = {"accepted_at": moments, "last_delete_at": [ago(seconds=29.9), ago(seconds=30)]}
    return changes(
        3,
        first_seen_at=moments,
        redelivered_since=moments,
        attempt=st.integers(0, 50),
        followed=OURS,
        detaching_since=moments,
        detaching_seen=[False, True],
        idle_reads=range(4),
        unconfirmed_id=["said"],
        last_error=["http_503: busy"],
        **(sent if "deletes_sent" in stage else {}),
        **({"unsettled": range(1, 5)} if "unsettled" in stage else {}),
    ).map(lambda odd: progress(**{**stage, **odd}))


def situation_of(asked: DetachRequest, so_far: Progress, cloud: Seen, policy: Policy) -> Situation:
    """Any request at any stage, with anything to be seen; only what is followed must be what the request may mean."""
    followed = so_far.followed if may_be_meant(asked, so_far.followed) else None
    return Situation(case(replace(so_far, followed=followed), asked), cloud, policy)


situations = st.builds(situation_of, requests, st.one_of(*map(histories, STAGES)), shown, policies)


# ---------------------------------------------------------------------------------------- of a single decision


@settings(max_examples=500, deadline=None)
@given(situations)
def test_delete_goes_out_only_where_every_condition_holds(situation: Situation) -> None:
    """A DELETE needs all of it: attached on both planes, idle, the one meant, not begun, in time, wanted and safe."""
    if situation.decision() != Delete():
        return
    asked, so_far, cloud = situation.before.request, situation.case.progress, situation.cloud
    assert cloud.volume
    assert cloud.server
    assert cloud.volume.status == "in-use"
    assert so_far.followed
    was = situation.before.progress.followed
    followed_before = was and identity(was) == identity(so_far.followed)
    assert followed_before or may_be_meant(asked, so_far.followed) or moved(cloud)
    named = [one for at, one in cloud.volume.attachments if at == SERVER and identity(one) == identity(so_far.followed)]
    assert so_far.accepted_at is None
    assert so_far.unsettled < 3
    assert not so_far.unsettled or (so_far.last_delete_at and NOW - so_far.last_delete_at >= 30 * SECOND)
    assert asked.expires_at is None or asked.expires_at > NOW
    assert not asked.dry_run
    (entry,) = [entry for entry in cloud.listing or () if entry.volume_id == VOLUME]
    devices = {named[0].device, entry.device}
    assert gate(asked, cloud.volume, devices, cloud.server, situation.policy) is None


def check(decision: Decision) -> None:
    """A wait is one that a queue can do; a failure has its reason, and nothing else has one."""
    match decision:
        case Requeue(seconds):
            assert 1 <= seconds <= 900
        case Conclude(Outcome.FAILED, detail, reason):
            assert detail == reason
        case Conclude(Outcome.DETACHED, _, reason):
            assert reason is None


@settings(max_examples=200, deadline=None)
@given(situations, st.sampled_from(ANSWERS))
def test_there_is_always_a_decision(situation: Situation, back: Classified) -> None:
    """Whatever is seen or answered has one decision, the same each time; in reply to an answer nothing is claimed."""
    now, policy = situation.case, situation.policy
    check(situation.decision())
    assert situation.decision() == situation.decision()
    replies = after_delete(now.sent(back, None, NOW), back, policy, NOW), when_unreadable(now, back, policy, NOW)
    for reply in replies:
        check(reply)
        assert not isinstance(reply, Conclude) or reply.outcome in (Outcome.FAILED, Outcome.CHECKED)


@settings(max_examples=500, deadline=None)
@given(situations)
def test_detached_is_said_only_of_what_is_gone(situation: Situation) -> None:
    """The attachment followed is gone; or none was followed, and none is there that this request could mean."""
    decision = situation.asking(dry_run=False).decision()
    if not isinstance(decision, Conclude) or decision.outcome is not Outcome.DETACHED:
        return
    cloud, so_far = situation.cloud, situation.case.progress
    here = [one for at, one in (cloud.volume.attachments if cloud.volume else ()) if at == SERVER]
    assert so_far.followed is None or identity(so_far.followed) not in map(identity, here)
    assert here or VOLUME not in [entry.volume_id for entry in cloud.listing or ()]
    assert not here or attached_again(cloud)
    if here and so_far.followed is None:
        since = so_far.redelivered_since
        assert any(since and one.attached_at and one.attached_at > since for one in here)


@settings(max_examples=200, deadline=None)
@given(situations)
def test_dry_run_tells_what_a_real_one_would_do(situation: Situation) -> None:
    """A dry run begins nothing and waits for nothing: one look tells the real decision, in the same words."""
    match situation.asking(dry_run=False).decision():
        case Delete():
            words, reason, explanation = "would_detach", None, "all checks passed"
            if situation.cloud.server and (why := cloud_refuses(situation.cloud.server)):
                words, reason, explanation = "would_fail", Reason.API_REJECTED, why
        case Requeue(why=why):
            words, reason, explanation = "would_wait", None, why
        case Conclude(Outcome.DETACHED, detail, reason, explanation):
            words = f"would_report_{detail}"
        case Conclude(_, _, reason, explanation):
            words = "would_fail"
    if situation.cloud.volume and situation.cloud.volume.status.startswith("error"):
        return  # a real one looks twice whether it stays
    dry = situation.asking(dry_run=True).decision()
    assert isinstance(dry, Conclude)
    assert (dry.outcome, dry.detail, dry.reason, dry.explanation) == (Outcome.CHECKED, words, reason, explanation)


@settings(max_examples=200, deadline=None)
@given(situations)
def test_server_is_asked_about_only_before_a_delete(situation: Situation) -> None:
    """Without a read of the server the decision is the same, or a wait until time is up, and never a DELETE."""
    real = situation.asking(dry_run=False)
    blind = replace(real, cloud=replace(real.cloud, server=None)).decision()
    assert blind != Delete()
    assert isinstance(blind, Requeue) or blind == real.decision() or in_words(blind) == "failed: gave_up"


@settings(max_examples=200, deadline=None)
@given(situations)
def test_volume_alone_proves_no_detach_and_no_refusal(situation: Situation) -> None:
    """Without the server's list nothing is sent, and neither success nor refusal is claimed of what we follow."""
    alone = replace(situation.asking(dry_run=False), cloud=unread(situation.cloud.volume)).decision()
    claimed = in_words(alone).startswith(("delete", "detached", "failed: refused"))
    assert not claimed or in_words(alone) == "detached: replaced_by_newer"


KINDS = {
    *("delete", "wait", "wait, say unconfirmed", "checked: would_detach", "checked: would_wait"),
    *("detached: detached_now", "detached: detached_by_other", "detached: detached_meanwhile"),
    *("detached: already_detached", "detached: replaced_by_newer", "detached: server_gone", "detached: volume_gone"),
    *("failed: superseded", "failed: expired", "failed: server_locked"),
}


def test_situations_reach_every_decision() -> None:
    """The properties above are about something: their situations come to each kind of decision."""
    reached: set[str] = set()

    @settings(max_examples=1600, derandomize=True, database=None, phases=[Phase.generate], deadline=None)
    @given(situations)
    def decide_all(situation: Situation) -> None:
        reached.add(in_words(situation.decision()))

    decide_all()
    assert set() == KINDS - reached


# -------------------------------------------------------------------------------------- of a request's whole way


@dataclass(frozen=True)
class Look:
    """What one delivery meets: the cloud, or trouble reading it, and what a DELETE would be answered."""

    cloud: Seen
    trouble: Classified | None
    back: Classified
    late: timedelta


USUAL = [
    seen(disk, listing)
    for disk in (volume(), volume("detaching"), volume("detaching", multiattach=True))
    for listing in (LISTED, LISTED, NOT_LISTED)
]
SELDOM = [seen(volume("available"), LISTED), *(unread(disk) for disk in (volume(), volume("detaching"), None))]

looks = st.builds(
    Look,
    cloud=st.one_of(st.sampled_from(USUAL), st.sampled_from(USUAL), st.sampled_from(SELDOM), shown),
    trouble=st.sampled_from([None] * 9 + [one for one in ANSWERS if one.kind is not AnswerClass.ACCEPTED]),
    back=st.sampled_from(ANSWERS),
    late=st.sampled_from([timedelta(0)] * 9 + [timedelta(minutes=1), timedelta(hours=3)]),
)


class Way:
    """Takes one request through look after look and the queue between them, and keeps what must be counted."""

    def __init__(self, asked: DetachRequest, policy: Policy) -> None:
        self.case, self.policy, self.now = case(asked=asked), policy, NOW
        self.decision: Decision = Requeue(1, "not looked yet")
        self.accepted = self.announced = 0
        self.unsettled: list[datetime] = []

    def step(self, look: Look) -> None:
        if look.trouble:
            self.case = self.case.unreadable(look.trouble)
            self.decision = when_unreadable(self.case, look.trouble, self.policy, self.now)
        else:
            self.case = self.case.saw(look.cloud, self.policy, self.now)
            self.decision = decide(self.case, self.policy, self.now)
        if self.decision == Delete():
            self._delete(look.back)
        if isinstance(self.decision, Requeue):
            self.announced += self.decision.announce_unconfirmed
            self.case = queued(self.case.stepped(self.decision, ()))
            self.now += self.decision.seconds * SECOND + look.late

    def _delete(self, back: Classified) -> None:
        assert not self.accepted, "a DELETE after an accepted one"
        if self.unsettled:
            assert self.now - self.unsettled[-1] >= 30 * SECOND, "a DELETE too soon after a lost one"
        self.accepted += back.kind is AnswerClass.ACCEPTED
        if back.kind not in CERTAIN:
            self.unsettled.append(self.now)
        self.case = self.case.sent(back, "req-1", self.now)
        self.decision = after_delete(self.case, back, self.policy, self.now)


def queued(one: Case) -> Case:
    """The case of the continuation: what it carries is all there is to know."""
    written = Continuation(continuation=VERSION, request=one.request, progress=one.progress)
    found = Continuation.parse(json.loads(written.model_dump_json(exclude_defaults=True, by_alias=True)))
    assert (found.request, found.progress) == (one.request, one.progress)
    return case(found.progress, found.request)


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
    for at, look in enumerate([*first, *last]):
        if not isinstance(way.decision, Conclude):
            way.now += max(policy.watch_timeout, policy.request_ttl) if at >= len(first) else timedelta(0)
            way.step(look)
    assert isinstance(way.decision, Conclude)
    assert len(way.unsettled) <= 3
    assert way.announced <= 1
