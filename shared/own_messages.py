"""The messages we send to ourselves: a case that is looked at again later, a verdict that a consumer has not taken yet.

The outbox writes them, the inbox reads them. One queue may hold messages of two releases, so each format has a version.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import AwareDatetime

from shared.decision.progress import Progress
from shared.model import DetachRequest, Frozen
from shared.ports import Event

VERSION: Literal[1] = 1
RETIRED = ("generation", "detaching_read_at")
"""What progress carried once and is derived, or of no use, today."""


class Continuation(Frozen):
    """`continuation` is the version of the format."""

    continuation: Literal[1]
    request: DetachRequest
    progress: Progress

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Continuation:
        """Raises ValidationError."""
        progress = value["progress"]
        if isinstance(progress, dict):
            progress = {name: item for name, item in progress.items() if name not in RETIRED}
        return cls.model_validate_json(json.dumps({**value, "progress": progress}))


class WaitingDelivery(Frozen):
    """An event that one consumer has not taken yet; the bus, and whoever else took it, are not asked again.

    `pending_delivery` is the version of the format, `attempt` how often the consumer has said no since `since`.
    """

    pending_delivery: Literal[1] = VERSION
    to: str
    event: Event
    since: AwareDatetime
    attempt: int = 0
    not_before: AwareDatetime | None = None


NEEDS = {"continuation": "progress", "pending_delivery": "event"}
"""The name of the version, by which each kind is known, and another name that it must have."""
