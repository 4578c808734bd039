"""Messages of earlier releases that may still be in a queue are understood; a sample of each version is kept."""

import json
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.decision.progress import Progress
from shared.group import Group
from shared.inbox.read import read
from shared.model import DetachRequest, Message
from shared.own_messages import RETIRED, VERSION
from shared.ports import Event, NotTaken
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, START, continuation
from tests.stack import Bench

MESSAGES = Path(__file__).parent / "continuations"
CONTINUATIONS = sorted(MESSAGES.glob("v*.json"))
LATEST = MESSAGES / f"v{VERSION}.json"
BEFORE = replace(MESSAGE_KEYS, made=START + timedelta(days=1))
"""The first releases signed nothing: their messages are older than the key."""

NEVER_TRAVELS = {"dry_run", "requester", "summary"}
"""A dry run does not wait for anything it did; false is left out. The first releases did not write who asked. What a
summary answers travels as a group."""

ON_THE_WIRE = {"receipt": "delete_request_id"}
LATER = {"denied", "redelivered_since", "place", "error_reads", "failures", "listed_at"}
"""Not written by the first releases, with a default that means as before."""


def stepped(path: Path, attached: bool) -> Bench:
    """The message handled by this release, in a cloud where the volume is attached or detached."""
    message: dict[str, Any] = json.loads(path.read_text())
    bench = Bench(macs=BEFORE)
    bench.clock.sleep(60)
    request, followed = message["request"], message["progress"]["followed"]
    server = bench.world.add_server(request["server_id"], metadata={"os_type": "Linux"})
    volume = bench.world.add_volume(request["volume_id"])
    body = path.read_text()
    if attached:
        attachment = bench.world.attach(server.id, volume.id, attached_at=START)
        bench.world.begin_detach(server.id, volume.id)
        body = body.replace(followed["attachment_id"], attachment)
    bench.queue.put(body)
    bench.run()
    return bench


def test_there_is_one_of_each_version() -> None:
    """From the first one to the one that is written now, without a gap."""
    assert [path.name for path in CONTINUATIONS] == [f"v{version}.json" for version in range(1, VERSION + 1)]


def test_the_latest_is_complete() -> None:
    """It has every field of a continuation, so that no field is renamed or removed unnoticed."""
    message = json.loads(LATEST.read_text())
    assert set(message["request"]) == {field.name for field in fields(DetachRequest)} - NEVER_TRAVELS
    written = {ON_THE_WIRE.get(field.name, field.name) for field in fields(Progress)}
    assert set(message["progress"]) == (written - LATER) | set(RETIRED)


def test_the_latest_is_what_is_written_now() -> None:
    """It is read and written again unchanged; another form would be another version."""
    found = read(Message(LATEST.read_text(), "m-1", QUEUE_ARN, START), "bms", START, BEFORE)
    assert isinstance(found, list)
    (case,) = found
    latest = json.loads(LATEST.read_text())
    for name in RETIRED:
        latest["progress"].pop(name)
    assert {**latest, "mac": ...} == {**json.loads(continuation(case.request, case.progress)), "mac": ...}


@pytest.mark.parametrize("path", CONTINUATIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("attached", [False, True])
def test_it_is_stepped_to_its_verdict(path: Path, attached: bool) -> None:
    """A request begun by an earlier release ends in one verdict, and no second DELETE is sent for it."""
    bench = stepped(path, attached)
    message = json.loads(path.read_text())
    assert bench.errors == []
    (data,) = bench.bus.data
    assert (data["verdict"], data["request"]["id"]) == ("detached", message["request"]["id"])
    assert data["evidence"]["deletes_sent"] == message["progress"]["deletes_sent"]
    assert bench.counted("delete_attachment") == 0
    assert bench.bus.events[0]["causationid"] == message["progress"]["unconfirmed_id"]


def test_a_pending_delivery_is_delivered() -> None:
    """A verdict that an earlier release could not deliver is delivered unchanged."""
    taken: list[Event] = []

    class Sink:
        def wants(self, event: Event, /) -> bool:
            return True

        def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
            taken.append(event)
            return None

    body = (MESSAGES / "pending_delivery_v1.json").read_text()
    bench = Bench(consumers={"sink": Sink()}, macs=BEFORE)
    bench.clock.sleep(60)
    assert bench.handle(body) == {}
    assert [event.id for event in taken] == [json.loads(body)["event"]["id"]]
    assert json.loads(taken[0].body)["data"] == {"verdict": "detached"}
    assert bench.bus.events == []


def test_a_group_continues() -> None:
    """One volume is watched to its end, one is finished, and the verdict on a third is emitted; then the summary."""
    body = (MESSAGES / "group_v2.json").read_text()
    group = json.loads(body)
    bench = Bench()
    bench.clock.sleep(60)
    server = bench.world.add_server(group["request"]["server_id"], metadata={"os_type": "Linux"})
    for member in group["volumes"]:
        bench.world.add_volume(member["volume_id"])
    bench.queue.put(body)
    bench.run()
    assert bench.errors == []
    *verdicts, summary = bench.bus.events
    assert summary["subject"] == f"servers/{server.id}"
    assert [event["data"]["volume_id"] for event in verdicts] == [
        group["volumes"][2]["volume_id"], group["volumes"][0]["volume_id"],
    ]  # fmt: skip
    assert {one["verdict_id"] for one in summary["data"]["volumes"]} > {event["id"] for event in verdicts}
    assert [one["detail"] for one in summary["data"]["volumes"]] == ["detached_now", *["already_detached"] * 2]


def test_a_group_is_written_as_it_was() -> None:
    """It is read and written again unchanged; another form would be another version."""
    body = (MESSAGES / "group_v2.json").read_text()
    found = read(Message(body, "m-1", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, Group)
    assert {**json.loads(body), "mac": ...} == {**found.wire(), "mac": ...}
