"""A request that arrives several times, in any envelope, is one request with one verdict id."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.inbox.read import Ignored, read
from shared.model import Message
from tests.messages import MESSAGE_KEYS, START, bare, cloudevent
from tests.stack import Bench

SNS = "https://sns.eu-central-1.amazonaws.com"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:changes"
RULE = {"version": "0", "id": "eb-1", "account": "123456789012", "region": "eu-central-1", "resources": []}

Entry = Callable[[Any], Any]


def direct(event: Any) -> Any:
    """SendMessage, SNS with raw message delivery, a rule with InputPath `$.detail`: the body is the event itself."""
    return event


def sns(event: Any) -> Any:
    """An SNS subscription without raw message delivery."""
    return {
        "Type": "Notification", "MessageId": "sns-1", "TopicArn": TOPIC, "Subject": "Detach",
        "Message": json.dumps(event), "Timestamp": "2026-11-23T08:00:01.000Z",
        "SignatureVersion": "1", "Signature": "EXAMPLE", "SigningCertURL": f"{SNS}/cert.pem",
        "UnsubscribeURL": f"{SNS}/?Action=Unsubscribe",
        "MessageAttributes": {"content-type": {"Type": "String", "Value": "application/cloudevents+json"}},
    }  # fmt: skip


def rule(event: Any) -> Any:
    """An EventBridge rule without InputPath: the event as `detail`."""
    return {
        **RULE, "source": "com.example.changes", "detail-type": "bms.volume.detach_requested.v1",
        "time": "2026-11-23T08:00:01Z", "detail": event,
    }  # fmt: skip


def replay(event: Any) -> Any:
    """The same out of an archive: EventBridge gives it a new id and time."""
    return {**rule(event), "id": "eb-2", "time": "2026-11-23T09:00:00Z", "replay-name": "again"}


ENTRIES: dict[str, Entry] = {
    "direct": direct,
    "sns": sns,
    "rule": rule,
    "replay": replay,
    "sns behind a rule": lambda event: sns(rule(event)),
    "rule behind sns": lambda event: rule(sns(event)),
    "sns behind sns": lambda event: sns(sns(event)),
}


def final_ids(*messages: Any) -> set[str]:
    """The ids of all final verdicts, when each message has its own id, as in SQS."""
    bench = Bench()
    disk = bench.disk()
    for at, message in enumerate(messages):
        body = json.dumps(message).replace("SERVER", bench.server).replace("VOLUME", disk)
        bench.queue.put(body, id=f"sent-{at}")
        bench.run()
    assert [] == bench.errors
    return {event["id"] for event in bench.bus.events if event["data"]["verdict"] == "detached"}


def test_one_cloudevent_sent_in_every_way_has_one_verdict_id() -> None:
    """A consumer that dedupes by id sees one verdict, whatever the envelope."""
    event = cloudevent(bare("SERVER", "VOLUME"))
    assert 1 == len(final_ids(*[entry(event) for entry in ENTRIES.values()]))


@pytest.mark.parametrize("entry", ["sns", "rule"])
def test_a_bare_request_has_the_identity_of_its_message(entry: str) -> None:
    """The id of the SNS or EventBridge message names the request: the same message twice is one request."""
    message = ENTRIES[entry](bare("SERVER", "VOLUME"))
    assert 1 == len(final_ids(message, message))
    assert 2 == len(final_ids(message, bare("SERVER", "VOLUME")))


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_leads_to_the_same_request(entry: str) -> None:
    """Identity, time and trace are the CloudEvent's own, not the envelope's."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    event = cloudevent(bare(*IDS), traceparent=trace, correlationid="CHG-1")
    found = read(Message(json.dumps(ENTRIES[entry](event)), "m", "arn", START), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, list)
    (case,) = found
    request = case.request
    assert ("4711", "/changes", START) == (request.id, request.source, request.requested_at)
    assert (trace, "CHG-1") == (request.traceparent, request.correlation_id)


IDS = ("95bf2490-5428-432c-ad9b-5e3406f869dd", "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6")


@pytest.mark.parametrize("entry", ENTRIES)
def test_our_own_verdicts_are_ignored_at_every_entry(entry: str) -> None:
    """A rule or a topic that sends our verdicts back to us starts no loop."""
    verdict = cloudevent({}, type="bms.volume.detach_failed.v1")
    found = read(Message(json.dumps(ENTRIES[entry](verdict)), "m", "arn", START), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, Ignored)
