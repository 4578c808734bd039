"""The recipes of docs/workflows.md, run with their files."""

import json
import re
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests

from functions.receive_webhook.handler import http_request_of
from local.aws_stand_in import BUS, REGION, REQUESTS, VERDICTS, queue_arn
from local.demo import SERVER, VOLUME
from local.stack import Stack
from shared.aws.client import EVENTS, SQS, STATES
from shared.aws.verdict_store import PREFIX
from shared.ports import utc_now
from shared.signatures import Keys
from shared.webhook.endpoint import WebhookEndpoint
from shared.webhook.receive import Rules
from tests.contract.consumer import faults
from tests.messages import MESSAGE_KEYS
from tests.scripted import Script
from tests.stack import Clock, VirtualQueue
from tools.contract.samples import SAMPLES
from tools.documents import ROOT

FILES = ROOT / "events/workflows"
TIMEOUT = 30
TOKEN = "REPLACE-ME-with-32-characters"
FAILED = {"detach_failed", "detach_failed_invalid_request", "detach_failed_dead_lettered"}
DETACHED = {name for name in SAMPLES if name.startswith("detached")}

RULES: dict[str, set[str]] = {
    "rule_detached.json": DETACHED,
    "rule_final.json": DETACHED | FAILED,
    "rule_people.json": FAILED - {"detach_failed_dead_lettered"},
    "rule_unknown_outcome.json": {"detach_failed_dead_lettered"},
    "rule_one_server.json": set(SAMPLES),
    "rule_one_ticket.json": set(SAMPLES),
    "rule_summary.json": {"detach_summary"},
    "rule_requests.json": set(),
}
"""The samples that each rule of the page matches."""


def load(name: str) -> Any:
    return json.loads((FILES / name).read_text(encoding="utf-8"))


def put_rule(stack: Stack, name: str, target: dict[str, Any], bus: str = BUS) -> None:
    """Create a rule with the pattern of a file."""
    pattern = json.dumps(load(name))
    rule = name.removesuffix(".json")
    stack.aws.client.call(EVENTS, "PutRule", {"Name": rule, "EventBusName": bus, "EventPattern": pattern})
    stack.aws.client.call(EVENTS, "PutTargets", {"Rule": rule, "EventBusName": bus, "Targets": [target]})


def queue(stack: Stack, name: str) -> str:
    stack.aws.queue_urls[name] = stack.aws.client.call(SQS, "CreateQueue", {"QueueName": name})["QueueUrl"]
    return queue_arn(name)


def emit(stack: Stack, event: dict[str, Any], bus: str = BUS) -> None:
    entry = {"EventBusName": bus, "Source": event["source"], "DetailType": event["type"], "Detail": json.dumps(event)}
    assert 0 == stack.aws.client.call(EVENTS, "PutEvents", {"Entries": [entry]})["FailedEntryCount"]


def sample(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((ROOT / f"events/verdicts/{name}.json").read_text(encoding="utf-8"))
    return event


def awaited(stack: Stack, name: str, number: int = 1) -> list[dict[str, Any]]:
    """The next messages of a queue, as many as expected."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + TIMEOUT
    while len(found) < number and time.monotonic() < deadline:
        found += stack.aws.receive(name, wait_seconds=0)
        time.sleep(0.02)
    return found


def unwrapped(message: dict[str, Any]) -> dict[str, Any]:
    """The event in a message, with or without InputPath."""
    inner: dict[str, Any] = message.get("detail", message)
    return inner


def everything(stack: Stack, name: str) -> Iterable[Any]:
    """All messages of a queue."""
    return chain.from_iterable(iter(lambda: stack.aws.receive(name, wait_seconds=0), []))


def test_each_rule_matches_the_documented_events(stack: Stack) -> None:
    """On the bus, every pattern matches exactly the expected samples."""
    for rule in RULES:
        put_rule(stack, rule, {"Id": "consumer", "Arn": queue(stack, rule[:-5]), "InputPath": "$.detail"})
    for name in SAMPLES:
        emit(stack, {**sample(name), "sample": name})
    came = {rule: [unwrapped(message) for message in everything(stack, rule[:-5])] for rule in RULES}
    assert RULES == {rule: {event["sample"] for event in events} for rule, events in came.items()}
    assert [] == [fault for events in came.values() for event in events for fault in faults(event)]


def test_every_rule_file_is_tested() -> None:
    """RULES has every rule file."""
    assert set(RULES) == {path.name for path in FILES.glob("rule_*.json")}


def test_a_consumer_sees_one_verdict(stack: Stack) -> None:
    """A consumer that deduplicates by source and id sees the unconfirmed event and one final verdict."""
    consumer: dict[tuple[str, str], dict[str, Any]] = {}
    final, first = sample("detached_after_unconfirmed"), sample("detach_unconfirmed")
    for event in (final, first, final):
        consumer.setdefault((event["source"], event["id"]), event)
    ordered = sorted(consumer.values(), key=lambda event: str(event["time"]))
    assert ["unconfirmed", "detached"] == [event["data"]["verdict"] for event in ordered]
    assert first["id"] == final["causationid"]
    assert sample("detached")["id"] == sample("detach_failed_dead_lettered")["id"]


@pytest.fixture
def with_interpreter(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The stack with an interpreter of state machines."""
    endpoint = stack.environment["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("MOTO_PORT", str(urlsplit(endpoint).port))
    for execute in (True, False):
        config = {"stepfunctions": {"execute_state_machine": execute}}
        assert 201 == requests.post(f"{endpoint}/moto-api/config", json=config, timeout=5).status_code
        if execute:
            yield stack


def test_a_rule_starts_a_state_machine(with_interpreter: Stack) -> None:
    """The event that the rule passes on is valid input for the state machine."""
    stack, aws = with_interpreter, with_interpreter.aws
    put_rule(stack, "rule_detached.json", {"Id": "m", "Arn": queue(stack, "handed-over"), "InputPath": "$.detail"})
    queue(stack, "next")
    definition = (FILES / "on_detached.asl.json").read_text().replace("${NextQueueUrl}", aws.queue_urls["next"])
    made = {"name": "on-detached", "definition": definition, "roleArn": "arn:aws:iam::123456789012:role/workflow"}
    machine = aws.client.call(STATES, "CreateStateMachine", made)["stateMachineArn"]
    emit(stack, sample("detached"))
    (message,) = awaited(stack, "handed-over")
    event = unwrapped(message)
    started = {"stateMachineArn": machine, "name": event["id"], "input": json.dumps(event)}
    aws.client.call(STATES, "StartExecution", started)
    (snapshot_message,) = awaited(stack, "next")
    assert ("snapshot", event["data"]["volume_id"], event["id"]) == (
        snapshot_message["do"], snapshot_message["volume_id"], snapshot_message["causationid"]
    )  # fmt: skip


def request(id: str) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": id, "source": "/changes", "type": "bms.volume.detach_requested.v1",
        "data": {"server_id": SERVER, "volume_id": VOLUME, "dry_run": True},
    }  # fmt: skip


@pytest.mark.parametrize("raw", ["true", "false"])
def test_sns_in(stack: Stack, raw: str) -> None:
    """Requests of an SNS topic are handled, with and without raw message delivery."""
    sns = boto3.client(
        "sns", endpoint_url=stack.environment["AWS_ENDPOINT_URL"], region_name=REGION,
        aws_access_key_id="local", aws_secret_access_key="local",
    )  # fmt: skip
    topic = sns.create_topic(Name="changes")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn(REQUESTS), Attributes={"RawMessageDelivery": raw})
    sns.publish(TopicArn=topic, Message=json.dumps(request("sns-1")))
    (envelope,) = awaited(stack, VERDICTS)
    assert ("would_detach", "sns-1") == (
        envelope["detail"]["data"]["detail"], envelope["detail"]["data"]["request"]["id"]
    )  # fmt: skip


def test_eventbridge_in(stack: Stack) -> None:
    """Requests of a rule on another bus are handled, with or without InputPath, which moto ignores."""
    stack.aws.client.call(EVENTS, "CreateEventBus", {"Name": "changes"})
    target = {"Id": "requests", "Arn": queue_arn(REQUESTS), "InputPath": "$.detail"}
    put_rule(stack, "rule_requests.json", target, bus="changes")
    emit(stack, request("eb-1"), bus="changes")
    (envelope,) = awaited(stack, VERDICTS)
    assert ("would_detach", "eb-1") == (
        envelope["detail"]["data"]["detail"], envelope["detail"]["data"]["request"]["id"]
    )  # fmt: skip


def test_api_destination_out(stack: Stack, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's connection, destination and target reach the endpoint (moto sends no body)."""
    monkeypatch.setenv("MOTO_EVENTS_INVOKE_HTTP", "true")
    parts, client = load("api_destination.json"), stack.aws.client
    connection = client.call(EVENTS, "CreateConnection", parts["connection"])["ConnectionArn"]
    destination = {**parts["destination"], "InvocationEndpoint": script.url, "ConnectionArn": connection}
    arn = client.call(EVENTS, "CreateApiDestination", destination)["ApiDestinationArn"]
    put_rule(stack, "rule_final.json", {**parts["target"], "Arn": arn})
    emit(stack, sample("detach_checked"))
    emit(stack, sample("detached"))
    (asked,) = script.asked
    assert "application/cloudevents+json; charset=utf-8" == asked.headers["content-type"]


class OneToken:
    """The keys of a webhook endpoint with one bearer token."""

    def keys(self, newest: bool = False) -> Keys:
        return Keys.model_validate({"bearer_tokens": [TOKEN]})


def endpoint(waiting: VirtualQueue) -> WebhookEndpoint:
    rules = Rules(source="/bms-volume-detach/webhook", allowed_origins=("eventgrid.azure.net",))
    return WebhookEndpoint(rules, OneToken(), waiting, MESSAGE_KEYS, utc_now)


def test_azure_event_grid_may_send() -> None:
    """The handshake of Azure Event Grid is accepted."""
    answer = endpoint(VirtualQueue(Clock())).answer(http_request_of(load("event_grid_handshake.json")))
    assert (200, "eventgrid.azure.net") == (answer.status, answer.all_headers["WebHook-Allowed-Origin"])


@pytest.mark.parametrize("name", ["event_grid_delivery.json", "knative_delivery.json"])
def test_events_of_other_clouds_are_accepted(stack: Stack, name: str) -> None:
    """Requests of Event Grid (structured) and Knative (binary) get their verdicts."""
    waiting = VirtualQueue(Clock())
    answer = endpoint(waiting).answer(http_request_of(load(name)))
    assert 202 == answer.status, answer.body
    (message,) = waiting.sent
    sent = json.loads(message.body)
    sent["data"]["dry_run"] = True
    stack.request(json.dumps(sent))
    (envelope,) = awaited(stack, VERDICTS)
    event = envelope["detail"]
    assert ("would_detach", sent["id"]) == (event["data"]["detail"], event["causationid"])
    assert sent.get("traceparent") == event.get("traceparent")


def test_stored_verdicts_expire() -> None:
    """The documented lifecycle rule applies to the keys that the product writes."""
    (rule,) = load("verdict_bucket_lifecycle.json")["Rules"]
    assert ("Enabled", {"Prefix": PREFIX}) == (rule["Status"], rule["Filter"])


def test_the_pages_name_exactly_the_existing_files() -> None:
    """docs/workflows.md and docs/using.md name every file of events/workflows and no other."""
    page = "".join((ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("workflows", "using"))
    named = set(re.findall(r"events/workflows/([\w./-]+\.\w+)", page))
    assert {str(path.relative_to(FILES)) for path in FILES.rglob("*") if path.is_file()} == named
