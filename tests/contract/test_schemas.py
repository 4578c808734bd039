"""The published schemas: valid themselves, as strict as the reader, and true of every event that is emitted."""

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from shared.decision.progress import Progress
from shared.inbox.read import Rejected, read
from shared.model import DetachRequest, Message, Outcome
from shared.outbox.dead_letters import DeadLetters
from shared.outbox.events import EventFactory
from shared.outbox.outbox import Outlets
from simulator.scenarios import CATALOGUE, Scenario, scenario_cloud
from tests.contract.consumer import SCHEMAS, closed, faults, load, validator
from tests.messages import MESSAGE_KEYS, OTHER_VOLUME, QUEUE_ARN, SERVER, VOLUME, bare, cloudevent, continuation, ours
from tests.stack import Clock, Stack, VirtualBus, VirtualQueue
from tools.contract.samples import SAMPLES, START, Rehearsal, sample
from tools.contract.schemas import VERDICTS
from tools.documents import ROOT
from tools.exit_status import is_summary

FILES = sorted(SCHEMAS.glob("*.json"))
CLOUDEVENTS = Draft7Validator(load(ROOT / "tests/contract/specs/cloudevents-1.0.json"))


def arrived(body: str) -> Message:
    return Message(body, "m-1", QUEUE_ARN, START)


def answer_to_dead_letter(body: str) -> Any:
    bus, clock = VirtualBus(), Clock()
    letters = DeadLetters("bms", Outlets(bus, VirtualQueue(clock), MESSAGE_KEYS, EventFactory(), clock))
    assert {} == letters.handle([arrived(body)]).unsent
    (event,) = bus.events
    return event


def accepted(event: Any) -> None:
    """By the official schema of CloudEvents, by ours, and by ours without room for names it does not list."""
    assert [] == [error.message for error in CLOUDEVENTS.iter_errors(event)]
    assert [] == faults(event)
    assert [] == faults(event, strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_schema_is_one(file: Any) -> None:
    """By the dialect's own meta-schema, with an absolute URI of its own."""
    schema = load(file)
    Draft202012Validator.check_schema(schema)
    assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]
    assert schema["$id"].startswith("urn:bms-volume-detach:schema:volume.")


def test_no_two_schemas_have_one_id() -> None:
    """Each id belongs to one file."""
    ids = [load(file)["$id"] for file in FILES]
    assert len(ids) == len(set(ids)) == 12


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=CATALOGUE)
def test_every_event_of_every_scenario_is_accepted(scenario: Scenario) -> None:
    """A consumer with only the schemas understands the events of all scenarios."""
    simulation = Stack(scenario_cloud, scenario.settings)
    for body in scenario.on(simulation.cloud).bodies():
        simulation.queue.put(body)
    simulation.run()
    assert simulation.bus.events
    for event in simulation.bus.events:
        accepted(event)
        if is_summary(event):
            continue
        details = VERDICTS[Outcome(event["data"]["verdict"])].details
        assert not details or event["data"]["detail"] in details


REJECTED = {
    "no JSON": "{",
    "an array": "[]",
    "nothing": "{}",
    "a broken event": json.dumps(cloudevent({"server_id": 5}, id="", time="now", correlationid="c")),
    "a typo": json.dumps(bare(SERVER, VOLUME, dry_rum=True, context={"a": [None, {"b": None}]})),
    "a server only": json.dumps({"server_id": SERVER}),
    "volumes named twice": json.dumps({"server_id": SERVER, "all_data_disks": True, "volume_ids": [VOLUME]}),
    "an id only": json.dumps({"volume_id": VOLUME}),
    "a message of ours": ours({"continuation": 7, "progress": {}, "request": {"id": "4711"}}),
    "a forged message of ours": json.dumps({"continuation": 1, "progress": {}, "request": {"id": "4711"}}),
}


@pytest.mark.parametrize("body", REJECTED.values(), ids=REJECTED)
def test_the_answer_to_any_message_is_accepted(body: str) -> None:
    """An invalid request is answered by an event like any other, and so is a dead letter."""
    found = read(arrived(body), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    accepted(json.loads(EventFactory().rejected(found, START).body))
    accepted(answer_to_dead_letter(body))


def test_the_answer_to_a_dead_continuation_is_accepted() -> None:
    """With all the evidence of the continuation."""
    request = DetachRequest(id="1", source="/s", requested_at=START, server_id=SERVER, volume_id=VOLUME)
    progress = Progress(first_seen_at=START, deletes_sent=1, last_delete_at=START, last_error="http_502", polls=2)
    accepted(answer_to_dead_letter(continuation(request, progress)))


def test_another_prefix_needs_no_other_schemas() -> None:
    """Event types with another prefix are recognised by their ends."""
    event = Rehearsal().play(bare(SERVER, VOLUME)).events[0]
    renamed = json.loads(event.body) | {"type": "com.example-1.storage.volume.detached.v1"}
    assert [] == faults(renamed)


def test_additions_of_a_later_release_are_ignored() -> None:
    """New fields do not break a consumer's validator."""
    event = sample("detached")
    more = {**event, "severity": "1", "data": {**event["data"], "colour": "red"}}
    assert [] == faults(more)
    assert [] != faults(more, strict=True)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_accepted(name: str) -> None:
    """What stands under events/verdicts is what a consumer will get."""
    event = json.loads((ROOT / f"events/verdicts/{name}.json").read_text(encoding="utf-8"))
    accepted(event)
    assert event["dataschema"] in [load(file)["$id"] for file in FILES]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"verdict": "failed"}, "$.data.verdict"),
        ({"server_id": ...}, "$.data"),
        ({"evidence": ...}, "$.data"),
        ({"timing": {}}, "$.data.timing"),
        ({"volume_id": None}, "$.data.volume_id"),
    ],
)
def test_the_schemas_do_say_something(change: dict[str, Any], path: str) -> None:
    """A `detached` that lacks or contradicts itself is refused at the place."""
    event = sample("detached")
    data = {name: value for name, value in {**event["data"], **change}.items() if value is not ...}
    assert path in [fault.split(": ")[0] for fault in faults({**event, "data": data})]


ID = {"server_id": SERVER}
REQUESTS: dict[str, tuple[dict[str, Any], bool]] = {
    "smallest": ({**ID, "volume_id": VOLUME}, True),
    "several": ({**ID, "volume_ids": [VOLUME, OTHER_VOLUME]}, True),
    "everything": ({**ID, "volume_id": VOLUME, "project_id": "c685484a8cc2416b97260938705deb65",
        "attachment_id": OTHER_VOLUME, "unmounted": True, "allow_system_disk": False, "dry_run": True,
        "request_ttl": 604800, "requested_at": "2026-11-23T08:00:00Z", "task_token": "t",
        "context": {"a": [None]}}, True),
    "no volume": (ID, False),
    "no server": ({"volume_id": VOLUME}, False),
    "both": ({**ID, "volume_id": VOLUME, "volume_ids": [OTHER_VOLUME]}, False),
    "both, and an attachment": ({**ID, "volume_id": VOLUME, "volume_ids": [VOLUME], "attachment_id": VOLUME}, False),
    "an attachment of several": ({**ID, "volume_ids": [VOLUME], "attachment_id": OTHER_VOLUME}, False),
    "one answer for several": ({**ID, "volume_ids": [VOLUME, OTHER_VOLUME], "task_token": "t"}, False),
    "a typo": ({**ID, "volume_id": VOLUME, "dry_rum": True}, False),
    "no id": ({**ID, "volume_id": "vol-1"}, False),
    "no time at all": ({**ID, "volume_id": VOLUME, "request_ttl": 0}, False),
    "more than a week": ({**ID, "volume_id": VOLUME, "request_ttl": 604801}, False),
    "a number": ({**ID, "volume_id": VOLUME, "dry_run": 1}, False),
    "none": ({**ID, "volume_ids": []}, False),
    "too many": ({**ID, "volume_ids": [VOLUME] * 41}, False),
    "no zone": ({**ID, "volume_id": VOLUME, "requested_at": "2026-11-23T08:00:00"}, False),
    "an empty token": ({**ID, "volume_id": VOLUME, "task_token": ""}, False),
    "text as context": ({**ID, "volume_id": VOLUME, "context": "CHG-1"}, False),
}  # fmt: skip


@pytest.mark.parametrize(("data", "good"), REQUESTS.values(), ids=REQUESTS)
def test_the_request_schema_says_what_the_reader_says(data: dict[str, Any], good: bool) -> None:
    """Alone and as an event: the schema refuses what the reader refuses, and accepts nothing else."""
    alone = validator(load(SCHEMAS / "volume.detach_requested.v1.data.json"))
    event = cloudevent(data)
    for message, says in ((data, alone.is_valid(data)), (event, [] == faults(event))):
        assert good == says
        assert good == isinstance(read(arrived(json.dumps(message)), "bms", START, MESSAGE_KEYS), list)


def test_closing_a_schema_closes_all_of_it() -> None:
    """The strict validators of these tests do look at every level."""
    schema = {"properties": {"a": {"properties": {}}}, "$defs": {"b": {"items": {"properties": {}}}}}
    assert 3 == json.dumps(closed(schema)).count("additionalProperties")
