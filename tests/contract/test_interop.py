"""Requests from other SDKs and brokers are accepted, by queue and webhook alike."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from functions.sqs_batch import message_of
from shared.inbox.read import read
from shared.model import DetachRequest
from tests.http_requests import NOW, FakeQueue, endpoint, http_request, requests_read
from tests.messages import MESSAGE_KEYS, SERVER, START, VOLUME, bare, sqs_record
from tools.sender import LOCAL_SECRET, Post, post_of

SAMPLES = sorted((Path(__file__).parents[2] / "events" / "interop").glob("*.json"))
CONTEXT = {"ticket": "CHG-1", "note": "Größe + Preis"}


def by_webhook(post: Post) -> DetachRequest:
    queue, signed = FakeQueue(), post.signed(LOCAL_SECRET, NOW)
    answer = endpoint(queue).answer(http_request("POST", signed.headers, signed.body))
    assert answer.status == 202, answer
    (request,) = requests_read(queue)
    return request


def by_queue(post: Post) -> DetachRequest:
    """A message with the attributes of a binary event as message attributes."""
    record = sqs_record(post.body.decode(), "m-1")
    texts = {name: value for name, value in post.headers.items() if re.fullmatch("ce-.*|content-type", name)}
    record["messageAttributes"] = {name: {"dataType": "String", "stringValue": text} for name, text in texts.items()}
    found = read(message_of(record), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, list), found
    (case,) = found
    return case.request


def asked(request: DetachRequest) -> tuple[Any, ...]:
    return request.id, request.source, request.server_id, request.volume_id, request.context


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_request_is_accepted_by_queue_and_webhook_alike(path: Path) -> None:
    """The same request with the same identity, by either path."""
    post = post_of(path.read_text())
    there = asked(by_webhook(post))
    assert there == asked(by_queue(post))
    assert there[2:] == (SERVER, VOLUME, CONTEXT)
    assert re.search(r"4711|4712|4713", there[0])


def test_each_sample_is_described() -> None:
    """The page beside the samples names exactly these."""
    page = (SAMPLES[0].parent / "README.md").read_text()
    assert {path.stem for path in SAMPLES} == set(re.findall(r"`((?:\w+_)+\w+)`", page)) - {"data_base64"}
    ids = [asked(by_queue(post_of(path.read_text())))[0] for path in SAMPLES]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("write", [to_structured_event, to_binary_event])
@pytest.mark.parametrize("more", [{}, {"datacontenttype": "application/json"}, {"subject": "Größe", "note": "ä€😀 %"}])
def test_events_of_the_python_sdk_are_accepted(write: Any, more: dict[str, str]) -> None:
    """Made by the SDK itself."""
    attributes = {"id": "4711", "source": "/changes", "type": "bms.volume.detach_requested.v1", **more}
    written = write(CloudEvent(attributes, {"server_id": SERVER, "volume_id": VOLUME, "context": CONTEXT}))
    headers = {name.lower(): value for name, value in written.headers.items()}
    assert asked(by_webhook(Post(headers, written.body)))[2:] == (SERVER, VOLUME, CONTEXT)


@pytest.mark.parametrize("prefix", ["ce-", "ce_", "cloudEvents_"])
def test_bindings_mark_attributes_in_their_own_ways(prefix: str) -> None:
    """SQS has no binding; adapters use that of HTTP, Kafka or AMQP."""
    record = sqs_record(json.dumps({"server_id": SERVER, "volume_id": VOLUME}), "m-1")
    attributes = {"specversion": "1.0", "id": "4711", "source": "/changes", "type": "bms.volume.detach_requested.v1"}
    record["messageAttributes"] = {
        **{f"{prefix}{name}": {"dataType": "String", "stringValue": text} for name, text in attributes.items()},
        "picture": {"dataType": "Binary", "binaryValue": base64.b64encode(b"\xff").decode()},
    }
    found = read(message_of(record), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, list)
    assert (found[0].request.id, found[0].request.source) == ("4711", "/changes")


def test_attributes_that_only_inform_change_nothing() -> None:
    """A structured event may repeat its attributes beside it, and a bare request have others."""
    structured = next(path for path in SAMPLES if path.stem == "go_structured")
    for text in (json.dumps(bare(SERVER, VOLUME)), post_of(structured.read_text()).body.decode()):
        record = sqs_record(text, "m-1")
        record["messageAttributes"] = {"ce-id": {"stringValue": "another"}, "team": {"stringValue": "storage"}}
        assert isinstance(read(message_of(record), "bms", START, MESSAGE_KEYS), list)
