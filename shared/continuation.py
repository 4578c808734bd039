"""The message a request sends to itself: "look again in n seconds", with all it has learnt so far."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.model import DetachRequest, Frozen, Progress

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
