"""The group: the progress of each volume of a request, of which none is lost or doubled."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
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
from shared.outbox.events import EventFactory, _original
from shared.own_messages import NEEDS, Continuation, WaitingDelivery
from shared.policy import CALLS_KEPT, DISKS, GROUP_BYTES, LONGEST_DELAY
from shared.strict_json import signed
from simulator.aws_limits import of_message
from tests.builders import NOW, case, request
from tests.messages import MESSAGE_KEYS, START, ours
from tests.stack import Bench

VOLUMES = [f"00000000-0000-4000-8000-{number:012}" for number in range(DISKS)]


def group(count: int = 3, **asked: Any) -> Group:
    progress = Progress(first_seen_at=NOW)
    return Group.of([Case(request(volume_id=id_, summary=True, **asked), MESSAGE, progress) for id_ in VOLUMES[:count]])


MESSAGE = case().message
DONE = detached(Detail.DETACHED_NOW)


def over_the_queue(one: Group) -> Group:
    """The group as the next delivery reads it."""
    return Group.parse(json.loads(signed(one.wire(), MESSAGE_KEYS.mac)))


def waiting(one: Group, volume_id: str) -> WaitingDelivery:
    member = next(member for member in one.cases(MESSAGE) if member.request.volume_id == volume_id)
    return WaitingDelivery(to="bus", event=EventFactory().verdict(member, DONE, NOW), since=NOW)


KINDS = st.sampled_from(["later", "over", "unsent", "taken", "redelivered"])
STEPS = st.lists(st.tuples(st.integers(0, 4), KINDS, st.integers(1, 900)), max_size=40)


@settings(deadline=None)
@given(STEPS)
def test_each_volume_is_there_exactly_once(steps: list[tuple[int, str, int]]) -> None:
    """With any of them due, finished, refused by the bus or delivered twice, in any order."""
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
    """The one that has waited longest comes first; the others stay unchanged."""
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


def test_the_event_is_the_recorded_verdict() -> None:
    """Its id is the event's, whatever the verdict."""
    (said,) = [member.said for member in group(1).concluded(VOLUMES[0], failed(Reason.GAVE_UP)).volumes]
    assert said is not None
    assert said.verdict_id == verdict_id("/changes", "4711", VOLUMES[0], Outcome.FAILED)
    assert (said.verdict, said.detail, said.reason) == (Outcome.FAILED, Reason.GAVE_UP, Reason.GAVE_UP)


EMOJI = "\U0001f600"
DRAWN = Random(4)
TEXTS: dict[str, Callable[[int], str]] = {
    "ASCII": lambda length: "m" * length,
    "CJK": lambda length: "磁" * length,
    "no two alike": lambda length: "".join(DRAWN.choices("abcdefghijklmnopqrstuvwxyz磁盘卸载失败请稍后重试", k=length)),
}


def looked_at(text: Callable[[int], str]) -> Progress:
    """The largest progress of one volume: the DELETE, and then a failure at each look."""
    calls = [
        Call(operation="get_volume", at=NOW, status=502, code="c" * 60, message=text(500)) for _ in range(CALLS_KEPT)
    ]
    calls[0] = replace(calls[0], operation=DELETE_CALL)
    return Progress(first_seen_at=NOW, calls=tuple(calls), last_error=text(560))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_it_fits_into_the_queue_with_any_progress(text: Callable[[int], str]) -> None:
    """If necessary with less evidence, in which DELETEs stay longest; it always has every volume."""
    one = group(DISKS, context={"note": EMOJI * 1000})
    for volume in VOLUMES:
        one = one.later(volume, looked_at(text), NOW)
    body = signed(one.wire(), MESSAGE_KEYS.mac)
    assert of_message(body) is None
    assert len(body) <= GROUP_BYTES or text is TEXTS["no two alike"]
    read_again = over_the_queue(one)
    assert [member.volume_id for member in read_again.volumes] == VOLUMES
    kept = read_again.volumes[0].progress
    assert kept is not None
    assert DELETE_CALL in [call.operation for call in kept.calls]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_it_fits_into_the_queue_while_the_bus_takes_nothing(text: Callable[[int], str]) -> None:
    """It contains every waiting verdict, unchanged when the next delivery reads it."""
    one = group(DISKS, context={"note": EMOJI * 1000}, correlation_id="ü" * 1000)
    for volume in VOLUMES:
        member = next(member for member in one.cases(MESSAGE) if member.request.volume_id == volume)
        event = EventFactory().verdict(replace(member, progress=looked_at(text)), DONE, NOW)
        waits = WaitingDelivery(to="bus", event=event, since=NOW)
        one = one.concluded(volume, DONE).refused(volume, waits, NOW)
    body = signed(one.wire(), MESSAGE_KEYS.mac)
    assert of_message(body) is None
    for (volume, was), (again, now) in zip(one.unsent(), over_the_queue(one).unsent(), strict=True):
        before, after = (json.loads(waits.event.body) for waits in (was, now))
        assert (volume, before["id"]) == (again, after["id"])
        for said in (before, after):
            calls = said["data"]["evidence"].pop("calls", None)  # an event that would be too large has no calls
            assert calls is None or DELETE_CALL in [call["operation"] for call in calls]
        assert before == after


def test_a_packed_one_that_cannot_be_read_is_answered() -> None:
    """Each volume without a verdict on the bus gets one, as with an unpacked group."""
    one = group(DISKS)
    for volume in VOLUMES[:-1]:
        one = one.later(volume, looked_at(TEXTS["ASCII"]), NOW)
    one = one.concluded(VOLUMES[-1], DONE)
    wire = one.wire()
    assert isinstance(wire["volumes"], str)
    found = read(Bench().message(ours({**wire, "of a later release": True})), "bms", NOW, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    assert found.open_volumes == tuple(VOLUMES[:-1])


@pytest.mark.parametrize("packed", ["", "no base64", "AAAA", "/Td6WFoAAAE="])
def test_one_that_cannot_be_unpacked_returns_to_the_queue(packed: str) -> None:
    """It is our own, and nothing is lost: another release may read it."""
    found = read(Bench().message(ours({**group().wire(), "volumes": packed})), "bms", NOW, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    assert (found.own, found.open_volumes) == ("continuation", ())


def test_the_previous_release_returns_it_to_the_queue() -> None:
    """That release recognises a continuation by its name and MAC, but cannot read it."""
    wire = group().wire()
    assert "continuation" in wire
    assert NEEDS["continuation"] in wire
    with pytest.raises(ValidationError):
        Continuation.parse(wire)


def test_one_that_cannot_be_read_is_answered_as_a_dead_letter() -> None:
    """Each volume without a verdict gets one, with the promised id."""
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


def test_a_verdict_that_the_bus_has_not_taken_is_answered_too() -> None:
    """Only the unreadable message contains it."""
    event = waiting(group(), VOLUMES[0])
    one = group(2).concluded(VOLUMES[0], DONE).concluded(VOLUMES[1], DONE).refused(VOLUMES[0], event, NOW)
    bench = Bench()
    bench.queue.put(ours({**one.wire(), "of a later release": True})).receive_count = 25
    bench.run()
    assert [data["volume_id"] for data in bench.bus.data] == [VOLUMES[0]]


def test_a_dead_letter_is_looked_through_once() -> None:
    """Every verdict shows the message without secrets, but it is searched once, not for each of a hundred volumes."""
    _original.cache_clear()
    bench = Bench()
    bench.queue.put(ours(group(DISKS, task_token="AQC-token").wire())).receive_count = 25
    bench.run()
    *told, summary = bench.bus.data
    assert (len(told), summary["counts"]["failed"]) == (DISKS, DISKS)
    assert len({data["original"] for data in told}) == 1
    assert "AQC-token" not in told[0]["original"]
    assert _original.cache_info().misses == 1


def test_no_release_has_written_one_without_a_mac() -> None:
    """Unsigned messages of the first releases are still read, but a group without a MAC is forged."""
    bench = Bench(macs=replace(MESSAGE_KEYS, made=START + timedelta(days=1)))
    bench.handle(json.dumps(group().wire()))
    assert [data["detail"] for data in bench.bus.data] == ["not_authentic"]


def test_a_group_without_our_mac_is_not_authentic() -> None:
    """It is answered as not authentic."""
    bench = Bench()
    bench.handle(json.dumps({**group().wire(), "mac": "wrong"}))
    assert [data["detail"] for data in bench.bus.data] == ["not_authentic"]


def test_a_dry_run_ends_in_checks() -> None:
    """The verdict's id is that of a dry run."""
    conclusion = Conclude(Outcome.CHECKED, Detail.WOULD_DETACH)
    (said,) = [member.said for member in group(1, dry_run=True).concluded(VOLUMES[0], conclusion).volumes]
    assert said is not None
    assert said.verdict_id == verdict_id("/changes", "4711", VOLUMES[0], Outcome.CHECKED)
