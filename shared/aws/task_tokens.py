"""The answer to a workflow that waits: Step Functions' task tokens."""

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
"""Characters (SendTaskFailure). AWS does not say which; counted in UTF-16 units a text fits in any case."""

DROPPED_FIRST = ("original", "faults", "evidence", "context")
"""What a cause that is too long does without, in this order: half of a JSON text is no use to a workflow."""

NOBODY_WAITS = {"TaskTimedOut", "TaskDoesNotExist", "InvalidToken", "InvalidOutput", "ValidationException"}
"""Errors that no repetition helps against: the task is over, or never was."""


@dataclass(frozen=True)
class TaskTokens:
    """Ends the task whose token the request carried, or shows that somebody is still at work on it."""

    client: AwsClient

    def wants(self, event: Event) -> bool:
        return event.task_token is not None

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        """One attempt: an answer that is not taken waits in the queue and is given again."""
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
    """The event as JSON, whole if the API takes it."""
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
"""A dry run ends in a success whatever it found: its `detail` says what the detach would have come to."""
