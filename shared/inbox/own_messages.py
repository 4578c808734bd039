"""The messages we send to ourselves: a request that looks again later, a verdict that somebody has not taken yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime

from shared.model import DetachRequest, Frozen, Progress
from shared.ports import Event

VERSION: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Task:
    """One request to step: fresh (no progress yet) or continued.

    `redelivered_since` is when the queue first handed out the very message it came in, if this is not the
    first time.
    """

    request: DetachRequest
    progress: Progress | None = None
    redelivered_since: datetime | None = None


class Continuation(Frozen):
    """`continuation` is the version of the format; one queue may hold messages of two releases."""

    continuation: Literal[1]
    request: DetachRequest
    progress: Progress


def continuation_body(request: DetachRequest, progress: Progress) -> str:
    message = Continuation(continuation=VERSION, request=request, progress=progress)
    return message.model_dump_json(exclude_defaults=True)


def is_continuation(value: object) -> bool:
    return isinstance(value, dict) and "continuation" in value and "progress" in value


class PendingDelivery(Frozen):
    """An event that one consumer has not taken yet; the bus, and whoever else took it, are not asked again.

    `pending_delivery` is the version of the format, `attempt` how often the consumer has said no since `since`.
    """

    pending_delivery: Literal[1] = VERSION
    to: str
    event: Event
    since: AwareDatetime
    attempt: int = 0
    not_before: AwareDatetime | None = None

    def body(self) -> str:
        return self.model_dump_json()


def is_pending_delivery(value: object) -> bool:
    return isinstance(value, dict) and "pending_delivery" in value and "event" in value
