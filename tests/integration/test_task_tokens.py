"""Answers to a waiting workflow, with a fake Step Functions server."""

import json
from dataclasses import replace
from typing import Any

import pytest

from local.aws_stand_in import CREDENTIALS
from shared.aws.client import AwsClient
from shared.aws.task_tokens import CAUSE_LIMIT, TaskTokens, cause_of
from shared.decision.case import Case, Conclude, detached, failed
from shared.decision.progress import Progress
from shared.model import DetachRequest, Detail, Message, Outcome, Reason
from shared.outbox.events import EventFactory
from shared.ports import Event
from tests.messages import QUEUE_ARN, START
from tests.scripted import BROKEN, Script, reply

REQUEST = DetachRequest(
    id="4711", source="/changes", requested_at=START, server_id="95bf2490-5428-432c-ad9b-5e3406f869dd",
    volume_id="b53f23bd-ee8f-49ec-9420-d1acfeaf91d6", task_token="AQC-token/+=",
)  # fmt: skip
CONCLUSIONS = {"detached": detached(Detail.DETACHED_NOW), "checked": Conclude(Outcome.CHECKED,
    Detail.WOULD_DETACH), "failed": failed(Reason.SYSTEM_DISK)}  # fmt: skip


def event(verdict: str, request: DetachRequest = REQUEST) -> Event:
    case = Case(request, Message("", "m", QUEUE_ARN, START), Progress(first_seen_at=START))
    if verdict == "unconfirmed":
        return EventFactory().unconfirmed(case, "the volume is detaching", START)
    return EventFactory().verdict(case, CONCLUSIONS[verdict], START)


def tokens(script: Script) -> TaskTokens:
    return TaskTokens(AwsClient({**CREDENTIALS, "AWS_ENDPOINT_URL": script.url}, sleep=lambda seconds: None))


@pytest.mark.parametrize("verdict", ["detached", "checked"])
def test_success_has_the_event_as_output(script: Script, verdict: str) -> None:
    """The task's output is the whole CloudEvent, for a choice in the next step."""
    sent = event(verdict)
    assert tokens(script).deliver(sent) is None
    (asked,) = script.asked
    assert "AWSStepFunctions.SendTaskSuccess" == asked.headers["x-amz-target"]
    assert {"taskToken": "AQC-token/+=", "output": sent.body} == asked.json


def test_failure_has_the_reason_as_error(script: Script) -> None:
    """The error is the reason code, which a Catch can match; the cause is the whole event."""
    sent = event("failed")
    assert tokens(script).deliver(sent) is None
    (asked,) = script.asked
    assert "AWSStepFunctions.SendTaskFailure" == asked.headers["x-amz-target"]
    assert {"taskToken": "AQC-token/+=", "error": "system_disk", "cause": sent.body} == asked.json


def test_unconfirmed_is_a_heartbeat(script: Script) -> None:
    """An unconfirmed detach sends a heartbeat, so that the task neither ends nor times out."""
    assert tokens(script).deliver(event("unconfirmed")) is None
    (asked,) = script.asked
    assert "AWSStepFunctions.SendTaskHeartbeat" == asked.headers["x-amz-target"]
    assert {"taskToken": "AQC-token/+="} == asked.json


def test_only_requests_with_a_token_are_answered(script: Script) -> None:
    """A request without a token has no waiting workflow."""
    waiting = tokens(script)
    assert waiting.wants(event("detached"))
    assert not waiting.wants(event("detached", replace(REQUEST, task_token=None)))


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken", "InvalidOutput"])
def test_a_finished_task_gets_one_attempt(script: Script, code: str) -> None:
    """A stale token is not tried again."""
    script.then(reply({"__type": f"com.amazonaws.swf.service.v2.model#{code}", "message": "no"}, status=400))
    refusal = tokens(script).deliver(event("detached"))
    assert refusal
    assert (False, 1) == (refusal.again, len(script.asked))
    assert code in refusal.why


@pytest.mark.parametrize(
    ("status", "code"), [(400, "ThrottlingException"), (500, "InternalFailure"), (400, "AccessDeniedException")]
)
def test_temporary_errors_are_retried(script: Script, status: int, code: str) -> None:
    """Throttling, an outage and a missing permission, which an operator can add, are retried."""
    script.then(reply({"__type": code}, status=status))
    refusal = tokens(script).deliver(event("detached"))
    assert refusal
    assert refusal.again


def test_a_missing_answer_is_retried(script: Script) -> None:
    """The answer is retried after a broken connection."""
    script.then(BROKEN)
    refusal = tokens(script).deliver(event("detached"))
    assert refusal
    assert refusal.again


@pytest.mark.parametrize("name", ["original", "evidence", "context"])
def test_a_cause_that_is_too_long_is_still_json(script: Script, name: str) -> None:
    """Long parts are left out completely, so that the rest is valid JSON."""
    sent = event("failed")
    whole: dict[str, Any] = json.loads(sent.body)
    whole["data"][name] = {"x": "ä" * CAUSE_LIMIT}
    tokens(script).deliver(replace(sent, body=json.dumps(whole, ensure_ascii=False)))
    cause = script.asked[0].json["cause"]
    assert len(cause) <= CAUSE_LIMIT
    data = json.loads(cause)["data"]
    assert name not in data
    assert "system_disk" == data["reason"]["code"]


def test_a_cause_is_never_longer_than_the_limit() -> None:
    """A cause with any other long part is cut."""
    assert CAUSE_LIMIT == len(cause_of(json.dumps({"data": {}, "subject": "x" * CAUSE_LIMIT})))


def test_only_step_functions_gets_the_token() -> None:
    """No verdict contains the token, since its holder could answer in our place."""
    assert "AQC-token" not in event("failed").body
    assert "AQC-token" not in repr(event("failed"))
