"""Requests with a summary: several volumes, or all data disks of a server, in one message."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from shared.decision.case import Broken, NotLookedAt, Requeue
from shared.group import Group
from shared.inbox.read import read
from shared.model import Outcome, summary_id, verdict_id
from shared.policy import DISKS, MAX_RECEIVES
from shared.ports import Event, NotTaken
from shared.visit import Look, Visit
from simulator import SHELVED_OFFLOADED, Behaviour, faults
from simulator.faults import Fault
from tests.messages import MESSAGE_KEYS, bare, cloudevent
from tests.stack import Bench

QUICK = Behaviour(seconds=2)


def asked(bench: Bench, **data: Any) -> str:
    return json.dumps(cloudevent({"server_id": bench.server, **data}, id="group-1", source="/changes"))


def with_system_disk(bench: Bench) -> str:
    root = bench.world.add_volume(bootable=True)
    bench.world.attach(bench.server, root.id, "/dev/sda")
    return root.id


def summaries(bench: Bench) -> list[dict[str, Any]]:
    return [event for event in bench.bus.events if event["type"].endswith(".detach_summary.v1")]


def verdicts(bench: Bench) -> list[dict[str, Any]]:
    return [event for event in bench.bus.events if not event["type"].endswith(".detach_summary.v1")]


def played(bench: Bench, *bodies: str) -> dict[str, Any]:
    """The single summary among the events."""
    for body in bodies:
        bench.queue.put(body)
    bench.run()
    assert not bench.errors
    (summary,) = summaries(bench)
    return summary


def test_all_data_disks_are_detached_and_summed_up() -> None:
    """Each data disk has its verdict, the system disk is left alone, and the summary comes last."""
    bench = Bench()
    root, disks = with_system_disk(bench), [bench.disk(behaviour=QUICK) for _ in range(3)]
    summary = played(bench, asked(bench, all_data_disks=True, context={"ticket": "CHG-1"}))
    assert bench.bus.events[-1] is summary
    data = summary["data"]
    assert (data["outcome"], data["all_data_disks"]) == ("detached", True)
    assert data["counts"] == {"volumes": 3, "detached": 3, "failed": 0, "checked": 0}
    assert [one["volume_id"] for one in data["volumes"]] == disks
    assert [one["verdict_id"] for one in data["volumes"]] == [
        verdict_id("/changes", "group-1", disk, Outcome.DETACHED) for disk in disks
    ]
    assert summary["id"] == summary_id("/changes", "group-1")
    assert summary["subject"] == f"servers/{bench.server}"
    assert data["context"] == {"ticket": "CHG-1"}
    assert {a.volume_id for a in bench.world.nova.values()} == {root}
    assert bench.counted("delete_attachment") == 3


def test_several_volumes_are_summed_up_if_asked() -> None:
    """The verdicts have the same ids as without a summary; one failure makes the summary failed."""
    bench = Bench()
    good, bad = bench.disk(behaviour=QUICK), bench.disk(metadata={"detach_protection": "true"})
    summary = played(bench, asked(bench, volume_ids=[good, bad], summary=True))
    told = {one["volume_id"]: (one["verdict"], one["detail"], one.get("reason")) for one in summary["data"]["volumes"]}
    assert told == {good: ("detached", "detached_now", None), bad: ("failed", "volume_protected", "volume_protected")}
    assert summary["data"]["outcome"] == "failed"
    assert {one["verdict_id"] for one in summary["data"]["volumes"]} == {event["id"] for event in verdicts(bench)}


def test_no_summary_unless_it_is_requested() -> None:
    """Each volume gets its verdict as usual."""
    bench = Bench()
    bench.queue.put(asked(bench, volume_ids=[bench.disk(), bench.disk()]))
    bench.run()
    assert (len(verdicts(bench)), summaries(bench)) == (2, [])


def test_it_is_a_single_message() -> None:
    """Volumes that take different times share one message, and each has one DELETE."""
    bench = Bench()
    disks = [bench.disk(behaviour=Behaviour(seconds=seconds)) for seconds in (1, 9, 30)]
    bench.queue.put(asked(bench, volume_ids=disks, summary=True))
    most = 0
    while bench.step():
        most = max(most, len(bench.queue))
    assert most == 1
    assert bench.counted("delete_attachment") == 3
    assert [event["data"]["detail"] for event in verdicts(bench)] == ["detached_now"] * 3
    assert len(summaries(bench)) == 1


def test_a_server_without_data_disks_has_an_empty_summary() -> None:
    """There is no volume for a verdict."""
    bench = Bench()
    with_system_disk(bench)
    data = played(bench, asked(bench, all_data_disks=True))["data"]
    assert (data["outcome"], data["volumes"], verdicts(bench)) == ("detached", [], [])


def test_a_server_that_is_not_there_is_one_verdict_and_a_summary_of_it() -> None:
    """The verdict is about no volume, and the summary lists it."""
    bench = Bench()
    body = json.loads(asked(bench, all_data_disks=True))
    body["data"]["server_id"] = "00000000-0000-4000-8000-000000000001"
    data = played(bench, json.dumps(body))["data"]
    (verdict,) = verdicts(bench)
    assert (verdict["data"].get("volume_id"), verdict["data"]["detail"]) == (None, "server_not_found")
    assert [(one.get("volume_id"), one["reason"]) for one in data["volumes"]] == [(None, "server_not_found")]
    assert (data["outcome"], data["volumes"][0]["verdict_id"]) == ("failed", verdict["id"])


def test_a_dry_run_lists_the_disks_and_sends_nothing() -> None:
    """One `detach_checked` for each disk, and the summary of them."""
    bench = Bench()
    with_system_disk(bench)
    disks = [bench.disk(), bench.disk()]
    summary = played(bench, asked(bench, all_data_disks=True, dry_run=True))
    assert [event["data"]["detail"] for event in verdicts(bench)] == ["would_detach"] * 2
    assert (summary["data"]["outcome"], summary["data"]["counts"]["checked"]) == ("checked", 2)
    assert [one["volume_id"] for one in summary["data"]["volumes"]] == disks
    assert summary["id"] == summary_id("/changes", "group-1", dry_run=True)
    assert bench.counted("delete_attachment") == 0


def test_disks_are_listed_once() -> None:
    """A disk that is attached after the listing is not part of the request."""
    bench = Bench()
    disk = bench.disk(behaviour=Behaviour(seconds=20))
    bench.queue.put(asked(bench, all_data_disks=True))
    bench.step()
    later = bench.disk()
    bench.run()
    (summary,) = summaries(bench)
    assert [one["volume_id"] for one in summary["data"]["volumes"]] == [disk]
    assert later in {a.volume_id for a in bench.world.nova.values()}


def test_a_disk_that_is_new_when_the_message_comes_again_is_no_successor() -> None:
    """The first delivery died before it listed anything: a disk that was attached since is listed, and superseded."""
    bench = Bench(deaths=frozenset({(1, "before")}))
    disk = bench.disk(behaviour=QUICK)
    bench.queue.put(asked(bench, all_data_disks=True))
    bench.step()
    bench.clock.sleep(30)
    new = bench.world.add_volume().id
    bench.world.attach(bench.server, new)
    bench.run()
    (summary,) = summaries(bench)
    told = {one["volume_id"]: (one["verdict"], one["detail"]) for one in summary["data"]["volumes"]}
    assert told == {disk: ("detached", "detached_now"), new: ("failed", "superseded")}
    assert summary["data"]["outcome"] == "failed"
    assert {a.volume_id for a in bench.world.nova.values()} == {new}


def test_a_listed_disk_that_is_attached_again_was_replaced() -> None:
    """When a message is redelivered after the listing, an earlier delivery may have detached the listed disks."""
    bench = Bench()
    disk = bench.disk(behaviour=QUICK)
    bench.queue.put(asked(bench, all_data_disks=True))
    bench.step()
    bench.clock.sleep(2)
    (again,) = bench.queue.receive(1)  # read by a delivery that dies before it does anything
    bench.world.begin_detach(bench.server, disk)
    bench.clock.sleep(30)
    bench.world.attach(bench.server, disk)
    assert again in bench.queue.messages
    bench.run()
    (verdict,) = verdicts(bench)
    assert (verdict["data"]["detail"], bench.counted("delete_attachment")) == ("replaced_by_newer", 0)


def test_a_bootable_disk_without_a_device_is_taken_for_the_system_disk() -> None:
    """The gates' rule holds for the list: a data disk of unknown device is read and listed."""
    bench = Bench()
    bench.world.set_server(bench.server, **SHELVED_OFFLOADED)  # disks that are attached from now on have no device
    disks = [bench.disk(bootable=bootable) for bootable in (True, False)]
    data = played(bench, asked(bench, all_data_disks=True, dry_run=True))["data"]
    assert [one["volume_id"] for one in data["volumes"]] == disks[1:]


def test_more_disks_than_fit_are_refused_before_any_is_touched() -> None:
    """The verdict has the number of disks, and the limit."""
    bench = Bench()
    for _ in range(DISKS + 1):
        bench.disk()
    data = played(bench, asked(bench, all_data_disks=True))["data"]
    (verdict,) = verdicts(bench)
    assert verdict["data"]["detail"] == "invalid_request"
    assert f"{DISKS + 1} data disks" in verdict["data"]["explanation"]
    assert (data["outcome"], bench.counted("delete_attachment")) == ("failed", 0)


def test_as_many_disks_as_fit_are_detached() -> None:
    """Their messages and their summary are within AWS's limits."""
    bench = Bench()
    for _ in range(DISKS):
        bench.disk(behaviour=QUICK)
    summary = played(bench, asked(bench, all_data_disks=True))
    assert summary["data"]["counts"]["detached"] == DISKS
    assert (bench.queue.illegal, bench.bus.illegal) == ([], [])
    assert len(json.dumps(summary)) < 64 * 1024


def test_a_failed_listing_is_read_again_later() -> None:
    """A cloud that is away for a while delays the listing."""
    bench = Bench()
    bench.disk(behaviour=QUICK)
    bench.cloud.faults.add(Fault(faults.RESET_BEFORE, "list_attachments", times=3))
    summary = played(bench, asked(bench, all_data_disks=True))
    assert (summary["data"]["outcome"], summary["data"]["timing"]["seconds"] > 10) == ("detached", True)


def test_a_cloud_that_stays_away_ends_in_one_verdict() -> None:
    """When the time to live is over; the verdict and its summary say so."""
    bench = Bench()
    bench.disk()
    bench.cloud.faults.add(Fault(faults.RESET_BEFORE, "list_attachments", times=None))
    data = played(bench, asked(bench, all_data_disks=True))["data"]
    assert [(one.get("volume_id"), one["reason"]) for one in data["volumes"]] == [(None, "gave_up")]


def test_a_request_that_is_too_old_has_each_disk_expired() -> None:
    """The disks can be listed, and each gets the verdict `expired`."""
    bench = Bench()
    disk = bench.disk()
    body = json.loads(asked(bench, all_data_disks=True)) | {"time": (bench.clock() - timedelta(days=2)).isoformat()}
    data = played(bench, json.dumps(body))["data"]
    assert [(one.get("volume_id"), one["reason"]) for one in data["volumes"]] == [(disk, "expired")]


def test_the_summary_waits_for_a_verdict_that_the_bus_refuses() -> None:
    """No summary precedes the last verdict, however late that is; each is emitted once."""
    bench = Bench()
    disks = [bench.disk(behaviour=QUICK), bench.disk(behaviour=QUICK)]
    no = Counter[str]()

    def refuse(event: Event) -> bool:
        no[event.id] += 1
        return disks[0] in event.body and not event.is_summary and no[event.id] < 4

    bench.bus.refuse = refuse
    summary = played(bench, asked(bench, volume_ids=disks, summary=True))
    assert bench.bus.events[-1] is summary
    assert Counter(event["id"] for event in bench.bus.events).most_common(1)[0][1] == 1
    assert summary["data"]["counts"]["detached"] == 2


def test_a_summary_that_the_bus_refuses_is_sent_again() -> None:
    """It waits in the queue, like verdicts."""
    bench = Bench()
    no = Counter[bool]()

    def refuse(event: Event) -> bool:
        no[event.is_summary] += 1
        return event.is_summary and no[True] < 3

    bench.bus.refuse = refuse
    summary = played(bench, asked(bench, volume_ids=[bench.disk(behaviour=QUICK)], summary=True))
    assert bench.bus.events[-1] is summary


class Tasks:
    """A workflow that waits for its task."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def wants(self, event: Event) -> bool:
        return event.task_token is not None

    def deliver(self, event: Event, deadline: object = None) -> NotTaken | None:
        self.heard.append(event)
        return None


def test_the_summary_answers_the_task() -> None:
    """A workflow that waits for several volumes gets one answer for all of them."""
    tasks = Tasks()
    bench = Bench(consumers={"task": tasks})
    bad = bench.disk(metadata={"detach_protection": "true"})
    played(bench, asked(bench, volume_ids=[bench.disk(behaviour=QUICK), bad], summary=True, task_token="AAAA-token"))
    (heard,) = tasks.heard
    assert (heard.is_summary, heard.outcome, heard.task_token) == (True, "failed", "AAAA-token")
    assert "AAAA-token" not in json.dumps(bench.bus.events)


def test_a_waiting_task_gets_a_heartbeat() -> None:
    """An unconfirmed verdict shows that the request is still being handled."""
    tasks = Tasks()
    bench = Bench(consumers={"task": tasks}, settings={"CONFIRM_TIMEOUT": "60"})
    slow = bench.disk(behaviour=Behaviour(stuck=True, stuck_seconds=120))
    played(bench, asked(bench, volume_ids=[slow], summary=True, task_token="AAAA-token"))
    assert [event.outcome for event in tasks.heard] == ["unconfirmed", "detached"]
    assert tasks.heard[-1].is_summary


def test_a_look_that_is_cut_off_affects_no_other_volume() -> None:
    """It is requeued alone, with the possible effects of the interrupted look; the others continue."""
    bench = Bench()
    disks = [bench.disk(), bench.disk()]
    bench.queue.put(asked(bench, volume_ids=disks, summary=True))
    message = bench.queue.receive(1)[0].received()
    group = read(message, "bms", bench.clock(), MESSAGE_KEYS)
    assert isinstance(group, Group)
    visit = Visit(bench.service.visits, group.cases(message), Look(bench.clouds(), bench.clock))
    visit.begun = 1
    middle, other = visit.steps()
    assert isinstance(middle.decision, Broken)
    assert isinstance(middle.decision.then, Requeue)
    assert middle.case.progress.redelivered_since is not None
    assert (middle.case.progress.failures, other.decision) == (1, NotLookedAt())


def test_dead_letters_are_answered_and_summed_up() -> None:
    """Every volume without a verdict is `dead_lettered`; the summary lists it beside the others."""
    bench = Bench(settings={"CONFIRM_TIMEOUT": "60"})
    quick, slow = bench.disk(behaviour=QUICK), bench.disk(behaviour=Behaviour(stuck=True))
    bench.queue.put(asked(bench, volume_ids=[quick, slow], summary=True))
    while len(verdicts(bench)) < 1:
        bench.step()
    (message,) = bench.queue.messages
    message.receive_count = MAX_RECEIVES
    bench.run()
    (summary,) = summaries(bench)
    told = {one["volume_id"]: one["detail"] for one in summary["data"]["volumes"]}
    assert told == {quick: "detached_now", slow: "dead_lettered"}
    assert {one["verdict_id"] for one in summary["data"]["volumes"]} == {event["id"] for event in verdicts(bench)}


def test_a_dead_request_for_all_disks_is_one_verdict_and_a_summary() -> None:
    """Its disks were never listed."""
    bench = Bench()
    bench.disk()
    bench.queue.put(asked(bench, all_data_disks=True)).receive_count = MAX_RECEIVES
    bench.run()
    (verdict,), (summary,) = verdicts(bench), summaries(bench)
    assert (verdict["data"].get("volume_id"), verdict["data"]["detail"]) == (None, "dead_lettered")
    assert [one["verdict_id"] for one in summary["data"]["volumes"]] == [verdict["id"]]


def test_a_refused_requester_gets_no_summary() -> None:
    """The task gets the refusal."""
    tasks = Tasks()
    bench = Bench(consumers={"task": tasks}, settings={"ALLOWED_REQUESTERS": "user:nobody"})
    bench.queue.put(asked(bench, all_data_disks=True, task_token="AAAA-token"))
    bench.run()
    assert summaries(bench) == []
    assert [(event.outcome, event.reason) for event in tasks.heard] == [("failed", "requester_not_allowed")]


def test_a_summary_that_is_routed_back_is_ignored() -> None:
    """Like verdicts."""
    bench = Bench()
    summary = played(bench, asked(bench, all_data_disks=True))
    bench.queue.put(json.dumps(summary))
    bench.run()
    assert len(bench.bus.events) == 1


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({}, "volume_id is required (or volume_ids, or all_data_disks)"),
        ({"all_data_disks": True, "volume_id": "V"}, "all_data_disks must not stand beside volume_id or volume_ids"),
        ({"all_data_disks": True, "volume_ids": ["V"]}, "all_data_disks must not stand beside volume_id or volume_ids"),
        ({"volume_id": "V", "summary": True}, "summary goes with volume_ids or all_data_disks only"),
        ({"all_data_disks": True, "allow_system_disk": True}, "allow_system_disk does not go with all_data_disks"),
        ({"all_data_disks": True, "attachment_id": "V"}, "attachment_id goes with a single volume_id only"),
        ({"volume_ids": ["V"], "summary": True, "attachment_id": "V"}, "attachment_id goes with a single volume_id"),
        ({"volume_ids": ["V"], "task_token": "T"}, "task_token goes with a single volume_id only, or with summary"),
        ({"all_data_disks": "yes"}, "all_data_disks must be true or false"),
    ],
)
def test_what_does_not_go_together_is_refused(data: dict[str, Any], fault: str) -> None:
    """The field is named, and nothing is sent to the cloud."""
    bench = Bench()
    disk = bench.disk()
    text = json.dumps(bare(bench.server, disk) | {"volume_id": None} | data).replace('"V"', f'"{disk}"')
    bench.queue.put(json.dumps({name: value for name, value in json.loads(text).items() if value is not None}))
    bench.run()
    (event,) = bench.bus.events
    said = "; ".join(f"{one['field']} {one['message']}" for one in event["data"]["faults"])
    assert fault in said
    assert bench.cloud.calls == []
