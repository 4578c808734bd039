"""The group: what is known of each volume of a request, and that none is lost or doubled."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.decision.case import DELETE_CALL, Case, Conclude, detached, failed
from shared.decision.progress import Progress
from shared.group import EARLY, Group
from shared.inbox.read import Rejected, read
from shared.model import Call, Detail, Outcome, Reason, verdict_id
from shared.outbox.events import EventFactory
from shared.own_messages import NEEDS, Continuation, WaitingDelivery
from shared.policy import AWS_BATCH_BYTES, CALLS_KEPT, DISKS, LONGEST_DELAY
from shared.strict_json import signed
from tests.builders import NOW, case, request
from tests.messages import MESSAGE_KEYS, ours
from tests.stack import Bench

VOLUMES = [f"00000000-0000-4000-8000-{number:012}" for number in range(DISKS)]


def group(count: int = 3, **asked: Any) -> Group:
    progress = Progress(first_seen_at=NOW)
    return Group.of([Case(request(volume_id=id_, summary=True, **asked), MESSAGE, progress) for id_ in VOLUMES[:count]])


MESSAGE = case().message
DONE = detached(Detail.DETACHED_NOW)


def over_the_queue(one: Group) -> Group:
    """As the next delivery reads it."""
    return Group.parse(json.loads(signed(one.wire(), MESSAGE_KEYS.mac)))


def waiting(one: Group, volume_id: str) -> WaitingDelivery:
    member = next(member for member in one.cases(MESSAGE) if member.request.volume_id == volume_id)
    return WaitingDelivery(to="bus", event=EventFactory().verdict(member, DONE, NOW), since=NOW)


KINDS = st.sampled_from(["later", "over", "unsent", "taken", "redelivered"])
STEPS = st.lists(st.tuples(st.integers(0, 4), KINDS, st.integers(1, 900)), max_size=40)


@settings(deadline=None)
@given(STEPS)
def test_each_volume_is_there_exactly_once(steps: list[tuple[int, str, int]]) -> None:
    """Whatever is due, over, refused by the bus or delivered twice, and in whatever order."""
    one, over, refused, now = group(5), set[str](), set[str](), NOW
    for number, what, seconds in steps:
        volume = VOLUMES[number]
        if what == "redelivered":
            one = over_the_queue(one)
        elif what == "taken" and volume in refused:
            one = one.taken(volume)
            refused.discard(volume)
        elif volume in over:
            continue
        elif what == "later":
            one = one.later(volume, Progress(first_seen_at=NOW, polls=seconds), now + timedelta(seconds=seconds))
        elif what in ("over", "unsent"):
            event = waiting(one, volume)
            one = one.concluded(volume, DONE)
            over.add(volume)
            if what == "unsent":
                one = one.refused(volume, event, now + timedelta(seconds=seconds))
                refused.add(volume)
        now += timedelta(seconds=1)
        assert [member.volume_id for member in one.volumes] == VOLUMES[:5]
        assert {waits.request.volume_id for waits in one.cases(MESSAGE)} == set(VOLUMES[:5]) - over
        assert {volume_id for volume_id, _ in one.unsent()} == refused
        assert one.is_over == (len(over) == 5 and not refused)
        assert 1 <= one.delay(now) <= LONGEST_DELAY
        assert {member.volume_id for member in one.volumes if member.said} == over


def test_only_those_that_are_due_are_looked_at() -> None:
    """The one that has waited longest first; the others stay as they are."""
    first, second, third = VOLUMES[:3]
    known = Progress(first_seen_at=NOW, polls=7)
    one = group().later(first, known, NOW + timedelta(seconds=5)).later(second, known, NOW)
    one = one.later(third, known, NOW - timedelta(seconds=5))
    assert [waits.request.volume_id for waits in one.cases(MESSAGE, NOW)] == [third, second]
    assert [waits.request.volume_id for waits in one.cases(MESSAGE, NOW + timedelta(seconds=5) - EARLY)] == [
        third, second, first,
    ]  # fmt: skip
    assert one.delay(NOW - timedelta(seconds=8)) == 3


def test_a_redelivery_is_noted_in_every_case() -> None:
    """An earlier delivery may have done anything to any of them."""
    again = case().message
    again = type(again)(again.body, again.id, again.source, again.sent_at, NOW, 2)
    assert {waits.progress.redelivered_since for waits in group().cases(again)} == {NOW}


def test_what_is_said_is_the_verdict() -> None:
    """Its id is the one of the event, whatever it says."""
    (said,) = [member.said for member in group(1).concluded(VOLUMES[0], failed(Reason.GAVE_UP)).volumes]
    assert said is not None
    assert said.verdict_id == verdict_id("/changes", "4711", VOLUMES[0], Outcome.FAILED)
    assert (said.verdict, said.detail, said.reason) == (Outcome.FAILED, Reason.GAVE_UP, Reason.GAVE_UP)


def test_it_fits_into_the_queue_however_much_is_known() -> None:
    """With less evidence, DELETEs kept longest, and every volume in it."""
    long = Call(operation="get_volume", at=NOW, status=502, code="c" * 60, message="m" * 500)
    calls = (long.model_copy(update={"operation": DELETE_CALL}), *[long] * (CALLS_KEPT - 1))
    one = group(DISKS, context={"note": "n" * 4000})
    for volume in VOLUMES:
        one = one.later(volume, Progress(first_seen_at=NOW, calls=calls, last_error="e" * 600), NOW)
    assert len(signed(one.wire(), MESSAGE_KEYS.mac)) <= AWS_BATCH_BYTES
    read_again = over_the_queue(one)
    assert [member.volume_id for member in read_again.volumes] == VOLUMES
    kept = read_again.volumes[0].progress
    assert kept is not None
    assert DELETE_CALL in [call.operation for call in kept.calls]


def test_the_release_before_gives_it_back() -> None:
    """It is known there as a continuation, by its name and its MAC, and cannot be read as one."""
    wire = group().wire()
    assert "continuation" in wire
    assert NEEDS["continuation"] in wire
    with pytest.raises(ValidationError):
        Continuation.parse(wire)


def test_one_that_cannot_be_read_is_answered_as_a_dead_letter() -> None:
    """Each volume that has no verdict has one then, under the id that it was promised."""
    one = group().concluded(VOLUMES[0], DONE)
    body = ours({**one.wire(), "of a later release": True})
    bench = Bench()
    found = read(bench.message(body), "bms", NOW, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    assert (found.own, found.open_volumes) == ("continuation", tuple(VOLUMES[1:3]))
    bench.queue.put(body).receive_count = 25
    bench.run()
    told = {event["data"]["volume_id"]: (event["id"], event["data"]["detail"]) for event in bench.bus.events}
    expected = {id_: verdict_id("/changes", "4711", id_, Outcome.FAILED) for id_ in VOLUMES[1:3]}
    assert told == {volume: (id_, "dead_lettered") for volume, id_ in expected.items()}


def test_nobody_else_can_write_one() -> None:
    """Without our MAC it is answered as not authentic."""
    bench = Bench()
    bench.handle(json.dumps({**group().wire(), "mac": "wrong"}))
    assert [data["detail"] for data in bench.bus.data] == ["not_authentic"]


def test_a_dry_run_ends_in_checks() -> None:
    """The verdict's id is that of a dry run."""
    conclusion = Conclude(Outcome.CHECKED, Detail.WOULD_DETACH)
    (said,) = [member.said for member in group(1, dry_run=True).concluded(VOLUMES[0], conclusion).volumes]
    assert said is not None
    assert said.verdict_id == verdict_id("/changes", "4711", VOLUMES[0], Outcome.CHECKED)
