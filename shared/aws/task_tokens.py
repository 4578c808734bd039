"""Answers waiting workflows by Step Functions' task tokens."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from shared.aws.client import STATES, AwsClient
from shared.aws.errors import AwsError
from shared.model import Outcome
from shared.ports import AwsTrouble, Event, NotTaken
from shared.quick import dataclass

ERROR_LIMIT = 256
CAUSE_LIMIT = 32768
"""The limit in characters (SendTaskFailure). AWS does not define them; counting UTF-16 units is always safe."""

DROPPED_FIRST = ("original", "faults", "evidence", "context")
"""Fields that are dropped from a cause that is too long, in this order; a workflow cannot use half of a JSON text."""

NOBODY_WAITS = {"TaskTimedOut", "TaskDoesNotExist", "InvalidToken", "InvalidOutput", "ValidationException"}
"""Errors that a retry cannot cure: the task is over, or never existed."""


@dataclass(frozen=True)
class TaskTokens:
    """Ends the task whose token the request carried, or sends a heartbeat for it."""

    client: AwsClient

    def wants(self, event: Event) -> bool:
        return event.task_token is not None

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        """Answer the task, in one attempt: an answer that is not accepted waits in the queue and is sent again."""
        operation, payload_of = CALLS[event.outcome]
        try:
            self.client.call(STATES, operation, {"taskToken": event.task_token, **payload_of(event)}, deadline)
        except AwsTrouble as trouble:
            return NotTaken(str(trouble), again=not (isinstance(trouble, AwsError) and trouble.code in NOBODY_WAITS))
        return None


def _success(event: Event) -> Mapping[str, str]:
    return {"output": event.body}


def _failure(event: Event) -> Mapping[str, str]:
    return {"error": (event.reason or event.outcome).value[:ERROR_LIMIT], "cause": cause_of(event.body)}


def cause_of(body: str) -> str:
    """The event as JSON, complete if the API accepts it."""
    whole: dict[str, Any] = json.loads(body)
    for name in DROPPED_FIRST:
        if _units(body) <= CAUSE_LIMIT:
            break
        whole["data"].pop(name, None)
        body = json.dumps(whole, ensure_ascii=False)
    while _units(body) > CAUSE_LIMIT:
        body = body[: len(body) - max(1, (_units(body) - CAUSE_LIMIT) // 2)]
    return body


def _units(text: str) -> int:
    """The length of a text in UTF-16."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


CALLS: Mapping[Outcome, tuple[str, Callable[[Event], Mapping[str, str]]]] = {
    Outcome.DETACHED: ("SendTaskSuccess", _success),
    Outcome.CHECKED: ("SendTaskSuccess", _success),
    Outcome.FAILED: ("SendTaskFailure", _failure),
    Outcome.UNCONFIRMED: ("SendTaskHeartbeat", lambda event: {}),
}
"""A dry run succeeds whatever it found: its `detail` says what a detach would have led to."""
