"""Messages of earlier releases that may still be in a queue: each version is kept as it was written, and understood."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from shared.inbox.own_messages import VERSION, Task, continuation_body

from shared.inbox.read import Delivery, read
from shared.model import DetachRequest, Progress
from shared.outbox.consumers import Deliveries
from shared.ports import Event, NotTaken
from tests.messages import QUEUE_ARN, START
from tests.stack import Bench

KEPT = Path(__file__).parent / "continuations"
CONTINUATIONS = sorted(KEPT.glob("v*.json"))
LATEST = KEPT / f"v{VERSION}.json"
NEVER_TRAVELS = {"dry_run"}
"""A dry run does not wait for anything it did; false is left out."""


def stepped(path: Path, attached: bool) -> Bench:
    """The message met by this release, in a cloud where the volume is still attached or not any more."""
    message: dict[str, Any] = json.loads(path.read_text())
    bench = Bench()
    bench.clock.pass_(60)
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
    """Every field that can travel stands in it, so that none is renamed or taken away unseen."""
    message = json.loads(LATEST.read_text())
    assert set(message["request"]) == set(DetachRequest.model_fields) - NEVER_TRAVELS
    assert set(message["progress"]) == set(Progress.model_fields)


def test_the_latest_is_what_is_written_now() -> None:
    """Read and written again, it is the same: another form of it would be another version."""
    found = read(Delivery(LATEST.read_text(), "m-1", QUEUE_ARN, START), "bms")
    assert isinstance(found, list)
    (task,) = found
    assert isinstance(task, Task)
    assert task.progress is not None
    assert json.loads(continuation_body(task.request, task.progress)) == json.loads(LATEST.read_text())


@pytest.mark.parametrize("path", CONTINUATIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("attached", [False, True])
def test_it_is_stepped_to_its_verdict(path: Path, attached: bool) -> None:
    """A request begun by an earlier release ends in one verdict, and no second DELETE is sent for it."""
    bench = stepped(path, attached)
    message = json.loads(path.read_text())
    assert bench.errors == []
    (data,) = bench.sink.data
    assert (data["verdict"], data["request"]["id"]) == ("detached", message["request"]["id"])
    assert data["evidence"]["deletes_sent"] == message["progress"]["deletes_sent"]
    assert [call.operation for call in bench.api.calls if call.operation == "delete_attachment"] == []
    assert bench.sink.events[0]["causationid"] == message["progress"]["unconfirmed_id"]


def test_a_pending_delivery_is_delivered() -> None:
    """A verdict that an earlier release could not hand over yet is handed over by this one, as it stands."""
    bench = Bench()
    bench.clock.pass_(60)
    taken: list[Event] = []

    class Sink:
        def wants(self, event: Event, /) -> bool:
            return True

        def deliver(self, event: Event) -> NotTaken | None:
            taken.append(event)
            return None

    body = (KEPT / "pending_delivery_v1.json").read_text()
    deliveries = Deliveries(bench.sink, bench.queue, bench.clock, {"sink": Sink()}, ttl=timedelta(days=1))
    assert replace(bench.service, sink=deliveries).handle([bench.delivery(body)]) == [None]
    assert [event.id for event in taken] == [json.loads(body)["event"]["id"]]
    assert json.loads(taken[0].body)["data"] == {"verdict": "detached"}
    assert bench.sink.events == []
