"""Each sample event is what its name says, because people copy them."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.group import Group
from shared.inbox.read import Found, Rejected, read
from shared.model import Message
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, START, cloudevent_faults
from tools.exit_status import is_summary

EVENTS = Path(__file__).parents[2] / "events"
REQUESTS = ("detach_bare", "detach_cloudevent", "detach_eventbridge", "already_detached", "refused_by_server")
VERDICTS = sorted(path.name for path in (EVENTS / "verdicts").glob("*.json"))

EventFile = Callable[[str], str]


def found_in(body: str) -> Found:
    return read(Message(body, "m-1", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)


def payload_of(event: dict[str, Any]) -> str:
    """The body of an HTTP delivery as the function sees it."""
    body: str = event["body"]
    return base64.b64decode(body, validate=True).decode() if event["isBase64Encoded"] else body


def test_every_sample_is_checked() -> None:
    """A new sample needs a place in these tests."""
    by_http, queued = {"webhook_bare", "webhook_cloudevent"}, {"sqs_event", "sqs_mixed_batch"}
    known = {*by_http, *queued, "invalid_request", "detach_all_data_disks", *REQUESTS}
    assert known == {path.stem for path in EVENTS.glob("*.json")}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_valid(name: str, event_file: EventFile) -> None:
    """Each request sample is one request, for one volume."""
    found = found_in(event_file(f"{name}.json"))
    assert isinstance(found, list)
    assert len(found) == 1


def test_the_request_for_all_data_disks_is_valid(event_file: EventFile) -> None:
    """It names no volume; its disks are listed later."""
    found = found_in(event_file("detach_all_data_disks.json"))
    assert isinstance(found, Group)
    assert found.all_data_disks


def test_all_envelopes_of_a_request_ask_the_same(event_file: EventFile) -> None:
    """Bare, CloudEvent and EventBridge samples name the same server and volume."""
    asked = set()
    for name in ("detach_bare", "detach_cloudevent", "detach_eventbridge"):
        found = found_in(event_file(f"{name}.json"))
        assert isinstance(found, list)
        asked.add((found[0].request.server_id, found[0].request.volume_id))
    assert len(asked) == 1


CLOUDEVENTS = ("detach_cloudevent", "detach_all_data_disks", "already_detached", "refused_by_server", "invalid_request")


@pytest.mark.parametrize("name", CLOUDEVENTS)
def test_cloudevents_are_cloudevents(name: str, event_file: EventFile) -> None:
    """Even the invalid request is a valid CloudEvent: only its data is wrong."""
    assert cloudevent_faults(json.loads(event_file(f"{name}.json"))) == []


def test_the_invalid_request_has_several_faults(event_file: EventFile) -> None:
    """It shows that all faults are reported together: an invalid id, and a misspelt name."""
    found = found_in(event_file("invalid_request.json"))
    assert isinstance(found, Rejected)
    assert {fault.field for fault in found.faults} == {"server_id", "dryrun"}


def test_request_ids_differ(event_file: EventFile) -> None:
    """No two CloudEvent samples share id and source, so they can be sent together."""
    events = [json.loads(event_file(f"{name}.json")) for name in REQUESTS]
    ids = [(event["source"], event["id"]) for event in events if "id" in event]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("name", "expected"), [("sqs_event", [True]), ("sqs_mixed_batch", [True, False])])
def test_sqs_events_are_whole(name: str, expected: list[bool], event_file: EventFile) -> None:
    """Records have ids of their own, the checksum of their body, and hold what the name says."""
    records = json.loads(event_file(f"{name}.json"))["Records"]
    assert [hashlib.md5(record["body"].encode()).hexdigest() for record in records] == [r["md5OfBody"] for r in records]
    assert len({record["messageId"] for record in records}) == len(records)
    assert expected == [isinstance(found_in(record["body"]), list) for record in records]


@pytest.mark.parametrize("name", ["webhook_bare", "webhook_cloudevent"])
def test_webhook_events_carry_a_request(name: str, event_file: EventFile) -> None:
    """A delivery to the webhook has a signature, a length that is right, and one request in its body."""
    event = json.loads(event_file(f"{name}.json"))
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= set(event["headers"])
    payload = payload_of(event)
    assert int(event["headers"]["content-length"]) == len(payload.encode())
    assert isinstance(found_in(payload), list)


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts_are_verdicts(name: str) -> None:
    """Each sample verdict is a CloudEvent whose type and data say the same."""
    event = json.loads((EVENTS / "verdicts" / name).read_text())
    assert cloudevent_faults(event) == []
    kind = event["type"].removeprefix("bms.volume.").removesuffix(".v1")
    assert name.startswith(kind)
    if is_summary(event):
        assert event["data"]["outcome"] in ("detached", "failed", "checked")
    else:
        assert event["data"]["verdict"] == kind.removeprefix("detach_")
