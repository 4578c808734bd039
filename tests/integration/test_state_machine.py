"""The example state machine, run by an interpreter of Step Functions against the local stack, to each of its ends."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from moto.core.responses import ActionResult, EmptyResult
from moto.stepfunctions.responses import StepFunctionResponse

from local.aws_stand_in import DEAD_LETTERS, REQUESTS, VERDICTS
from local.demo import SERVER, VOLUME, WINDOWS_SERVER, WINDOWS_VOLUME
from local.stack import Stack
from shared.aws.client import SQS, STATES
from tests.contract.consumer import faults
from tools.documents import ROOT

DEFINITION = (ROOT / "events/workflows/detach_then_snapshot.asl.json").read_text()
NOWHERE = "00000000-0000-4000-8000-000000000000"
NAME = "chg-1"
PATIENCE = 60


@dataclass
class Workflows:
    """A state machine beside the stack, and the queues of those who are next."""

    stack: Stack
    machine: str

    def run(self, server_id: str, volume_id: str) -> dict[str, Any]:
        """Start an execution and wait for its end."""
        urls = self.stack.aws.queue_urls
        given = {"server_id": server_id, "volume_id": volume_id, "request_queue_url": urls[REQUESTS],
                 "next_queue_url": urls["next"], "operations_queue_url": urls["operations"]}  # fmt: skip
        asked = {"stateMachineArn": self.machine, "input": json.dumps(given), "name": NAME}
        execution = self.stack.aws.client.call(STATES, "StartExecution", asked)["executionArn"]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.stack.aws.client.call(STATES, "DescribeExecution", {"executionArn": execution})
            if found["status"] != "RUNNING":
                answer: dict[str, Any] = found
                return answer
            time.sleep(0.05)
        raise AssertionError("the execution does not end")

    def told(self, queue: str) -> list[dict[str, Any]]:
        return self.stack.aws.receive(queue, wait_seconds=0)


@pytest.fixture
def workflows(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflows]:
    """Step Functions that really steps; moto reaches its own queues by the port it is told."""
    endpoint = stack.environment["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("MOTO_PORT", str(urlsplit(endpoint).port))
    monkeypatch.setattr(StepFunctionResponse, "send_task_failure", _with_its_cause)
    _configure(endpoint, execute=True)
    for name in ("next", "operations"):
        answer = stack.aws.client.call(SQS, "CreateQueue", {"QueueName": name})
        stack.aws.queue_urls[name] = answer["QueueUrl"]
    made = {"name": "detach", "definition": DEFINITION, "roleArn": "arn:aws:iam::123456789012:role/workflow"}
    yield Workflows(stack, stack.aws.client.call(STATES, "CreateStateMachine", made)["stateMachineArn"])
    _configure(endpoint, execute=False)


def _with_its_cause(response: StepFunctionResponse) -> ActionResult:
    """What the real service does: this one loses the cause on the way to its interpreter."""
    token, error, cause = (response._get_param(name) for name in ("taskToken", "error", "cause"))
    backend: Any = response.stepfunction_backend
    backend.send_task_failure(token, error=error, cause=cause)
    return EmptyResult()


def _configure(endpoint: str, execute: bool) -> None:
    config = {"stepfunctions": {"execute_state_machine": execute}}
    assert requests.post(f"{endpoint}/moto-api/config", json=config, timeout=5).status_code == 201


def test_detached_leads_to_the_next_steps(workflows: Workflows) -> None:
    """From StartExecution to the end: detached by proof, snapshot, attached again, and nobody is bothered."""
    ended = workflows.run(SERVER, VOLUME)
    assert "SUCCEEDED" == ended["status"], ended
    verdict = json.loads(ended["output"])["verdict"]
    assert [] == faults(verdict)
    assert ("detached_now", NAME) == (verdict["data"]["detail"], verdict["correlationid"])
    assert {"execution": ended["executionArn"]} == verdict["data"]["context"]
    assert ["snapshot", "attach"] == [message["do"] for message in workflows.told("next")]
    assert [] == workflows.told("operations")
    (event,) = [envelope["detail"] for envelope in workflows.told(VERDICTS)]
    assert verdict == event
    assert workflows.stack.cloud
    assert workflows.stack.cloud.world.is_attached(SERVER, VOLUME) is None


def test_a_reason_that_people_can_mend_leads_to_them(workflows: Workflows) -> None:
    """The Catch knows the reason by its code, and the message holds the whole verdict."""
    ended = workflows.run(WINDOWS_SERVER, WINDOWS_VOLUME)
    assert ("FAILED", "NotDetached") == (ended["status"], ended["error"])
    (message,) = workflows.told("operations")
    assert "attestation_required" == message["reason"] == message["verdict"]["data"]["reason"]["code"]
    assert [] == faults(message["verdict"])
    assert [] == workflows.told("next")
    assert workflows.stack.cloud
    assert workflows.stack.cloud.world.is_attached(WINDOWS_SERVER, WINDOWS_VOLUME)


def test_any_other_reason_leads_to_the_operator(workflows: Workflows) -> None:
    """No failure is lost between the reasons that are named."""
    ended = workflows.run(SERVER, NOWHERE)
    assert "FAILED" == ended["status"]
    (message,) = workflows.told("operations")
    assert ("look into it", "volume_not_found") == (message["task"], message["reason"])
    assert 0 == workflows.stack.aws.waiting(DEAD_LETTERS)


def test_a_token_that_nobody_waits_for_changes_nothing(workflows: Workflows) -> None:
    """The verdict is on the bus, the request is done with, and nothing is tried again."""
    asked = {"server_id": WINDOWS_SERVER, "volume_id": WINDOWS_VOLUME, "task_token": "expired"}
    workflows.stack.request(json.dumps(asked))
    deadline = time.monotonic() + PATIENCE
    events: list[dict[str, Any]] = []
    while not events and time.monotonic() < deadline:
        events = workflows.told(VERDICTS)
        time.sleep(0.05)
    while workflows.stack.aws.waiting(REQUESTS) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ["attestation_required"] == [event["detail"]["data"]["detail"] for event in events]
    assert (0, 0) == tuple(workflows.stack.aws.waiting(queue) for queue in (REQUESTS, DEAD_LETTERS))
