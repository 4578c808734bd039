"""The example state machine, run to each of its ends with the local stack and an interpreter of Step Functions."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from local.aws_stand_in import DEAD_LETTERS, REQUESTS, VERDICTS
from local.demo import SERVER, VOLUME, WINDOWS_SERVER, WINDOWS_VOLUME
from local.stack import Stack
from tests.contract.consumer import faults
from tests.state_machines import NAME, PATIENCE, Workflows, state_machine
from tools.documents import ROOT

DEFINITION = (ROOT / "events/workflows/detach_then_snapshot.asl.json").read_text()
NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def workflows(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflows]:
    with state_machine(stack, DEFINITION, monkeypatch) as machine:
        yield machine


def test_detached_leads_to_the_next_steps(workflows: Workflows) -> None:
    """The disk is detached, and the messages for a snapshot and an attach are sent, but none to operations."""
    ended = workflows.run(server_id=SERVER, volume_id=VOLUME)
    assert "SUCCEEDED" == ended["status"], ended
    verdict = json.loads(ended["output"])["verdict"]
    assert [] == faults(verdict)
    assert ("detached_now", NAME) == (verdict["data"]["detail"], verdict["correlationid"])
    assert {"execution": ended["executionArn"]} == verdict["data"]["context"]
    assert ["snapshot", "attach"] == [message["do"] for message in workflows.received("next")]
    assert [] == workflows.received("operations")
    (event,) = [envelope["detail"] for envelope in workflows.received(VERDICTS)]
    assert verdict == event
    assert workflows.stack.cloud
    assert workflows.stack.cloud.world.is_attached(SERVER, VOLUME) is None


def test_a_reason_that_people_can_correct_is_reported(workflows: Workflows) -> None:
    """The Catch matches the reason's code, and the message contains the verdict."""
    ended = workflows.run(server_id=WINDOWS_SERVER, volume_id=WINDOWS_VOLUME)
    assert ("FAILED", "NotDetached") == (ended["status"], ended["error"])
    (message,) = workflows.received("operations")
    assert "attestation_required" == message["reason"] == message["verdict"]["data"]["reason"]["code"]
    assert [] == faults(message["verdict"])
    assert [] == workflows.received("next")
    assert workflows.stack.cloud
    assert workflows.stack.cloud.world.is_attached(WINDOWS_SERVER, WINDOWS_VOLUME)


def test_any_other_reason_leads_to_the_operator(workflows: Workflows) -> None:
    """A reason without its own branch is reported to operations too."""
    ended = workflows.run(server_id=SERVER, volume_id=NOWHERE)
    assert "FAILED" == ended["status"]
    (message,) = workflows.received("operations")
    assert ("look into it", "volume_not_found") == (message["task"], message["reason"])
    assert 0 == workflows.stack.aws.waiting(DEAD_LETTERS)


def test_a_stale_token_changes_nothing(workflows: Workflows) -> None:
    """The verdict is on the bus, and nothing is retried for the stale token."""
    asked = {"server_id": WINDOWS_SERVER, "volume_id": WINDOWS_VOLUME, "task_token": "expired"}
    workflows.stack.request(json.dumps(asked))
    deadline = time.monotonic() + PATIENCE
    events: list[dict[str, Any]] = []
    while not events and time.monotonic() < deadline:
        events = workflows.received(VERDICTS)
        time.sleep(0.05)
    while workflows.stack.aws.waiting(REQUESTS) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ["attestation_required"] == [event["detail"]["data"]["detail"] for event in events]
    assert (0, 0) == tuple(workflows.stack.aws.waiting(queue) for queue in (REQUESTS, DEAD_LETTERS))
