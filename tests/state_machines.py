"""Step Functions next to the local stack, with moto's interpreter of state machines."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from moto.core.responses import ActionResult, EmptyResult
from moto.stepfunctions.responses import StepFunctionResponse

from local.aws_stand_in import REQUESTS
from local.stack import Stack
from shared.aws.client import SQS, STATES

NAME = "chg-1"
PATIENCE = 60


@dataclass
class Workflows:
    """A state machine next to the stack, and the queues of its next steps."""

    stack: Stack
    machine: str

    def run(self, **given: str) -> dict[str, Any]:
        """Start an execution with this input and the queues' addresses, and wait for its end."""
        urls = self.stack.aws.queue_urls
        queues = {
            "request_queue_url": urls[REQUESTS],
            "next_queue_url": urls["next"],
            "operations_queue_url": urls["operations"],
        }
        asked = {"stateMachineArn": self.machine, "input": json.dumps({**queues, **given}), "name": NAME}
        execution = self.stack.aws.client.call(STATES, "StartExecution", asked)["executionArn"]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.stack.aws.client.call(STATES, "DescribeExecution", {"executionArn": execution})
            if found["status"] != "RUNNING":
                answer: dict[str, Any] = found
                return answer
            time.sleep(0.05)
        raise AssertionError("the execution did not end")

    def received(self, queue: str) -> list[dict[str, Any]]:
        return self.stack.aws.receive(queue, wait_seconds=0)


@contextmanager
def state_machine(stack: Stack, definition: str, patch: pytest.MonkeyPatch) -> Iterator[Workflows]:
    """A state machine that moto executes, with moto's own services behind it."""
    endpoint = stack.environment["AWS_ENDPOINT_URL"]
    patch.setenv("MOTO_PORT", str(urlsplit(endpoint).port))
    patch.setattr(StepFunctionResponse, "send_task_failure", _with_its_cause)
    _configure(endpoint, {"execute_state_machine": True})
    for name in ("next", "operations"):
        answer = stack.aws.client.call(SQS, "CreateQueue", {"QueueName": name})
        stack.aws.queue_urls[name] = answer["QueueUrl"]
    made = {"name": "detach", "definition": definition, "roleArn": "arn:aws:iam::123456789012:role/workflow"}
    yield Workflows(stack, stack.aws.client.call(STATES, "CreateStateMachine", made)["stateMachineArn"])
    _configure(endpoint, {"execute_state_machine": False})


def _with_its_cause(response: StepFunctionResponse) -> ActionResult:
    """Pass on the cause of a failure, which moto does not pass to its interpreter."""
    token, error, cause = (response._get_param(name) for name in ("taskToken", "error", "cause"))
    backend: Any = response.stepfunction_backend
    backend.send_task_failure(token, error=error, cause=cause)
    return EmptyResult()


def _configure(endpoint: str, settings: Mapping[str, bool]) -> None:
    config = {"stepfunctions": dict(settings)}
    assert requests.post(f"{endpoint}/moto-api/config", json=config, timeout=5).status_code == 201
