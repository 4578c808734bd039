"""One run of the canary: sends a dry run, waits for its verdict, and collects evidence if none comes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Protocol
from uuid import uuid4

from shared.canary.stages import Failure, Silence, of_silence, of_unsent, of_verdict, of_webhook
from shared.model import Message
from shared.policy import CANARY_EVIDENCE, CANARY_PAUSE, CANARY_WAIT
from shared.ports import AwsTrouble, Clock, Queue, QueueMessage
from shared.quick import dataclass


@dataclass(frozen=True)
class Asked:
    """What the canary asks for, its source and event type prefix, and its time limit in seconds."""

    source: str
    prefix: str
    server_id: str
    volume_id: str
    project_id: str | None
    bound: float


@dataclass(frozen=True)
class Ended:
    """How a run ended: the seconds until its verdict, or the failure."""

    request_id: str
    asked: Asked
    seconds: float
    detail: str | None = None
    failure: Failure | None = None


class Verdicts(Protocol):
    """The queue that gets the canary's verdicts from the bus."""

    def receive(self, wait: int, /) -> Sequence[Message]:
        """Up to ten messages, after waiting up to `wait` seconds for the first. Raises AwsTrouble."""

    def delete(self, messages: Sequence[Message], /) -> None: ...


class Evidence(Protocol):
    """Collects evidence about a request without a verdict; never raises."""

    def silence(self, deadline: datetime, /) -> Silence:
        """What AWS says about the request queue, its event source mapping, and the rule of the canary's queue."""

    def webhook(self) -> str | None:
        """Why the webhook endpoint takes no requests; None if it does, or if there is no endpoint."""


@dataclass(frozen=True)
class Canary:
    """Runs may overlap: a person may start one, or the schedule may fire twice.

    So the verdict of another run stays in the queue while that run may wait for it, and is then deleted.
    """

    asked: Asked
    queue: Queue
    verdicts: Verdicts
    evidence: Evidence
    clock: Clock
    sleep: Callable[[float], None]
    new_id: Callable[[], str] = lambda: str(uuid4())

    def run(self) -> Ended:
        """Run once. Failures of AWS or the cloud are returned with their stage, not raised."""
        began, id_ = self.clock(), self.new_id()
        ends = began + timedelta(seconds=self.asked.bound)
        unsent = self.queue.send({id_: QueueMessage(message(self.asked, id_, began))}, ends)
        if unsent:
            return self._ended(id_, began, of_unsent(unsent[id_].why))
        verdict, trouble = self._received(id_, ends)
        seconds = (self.clock() - began).total_seconds()
        if verdict is None:
            silence = self.evidence.silence(self.clock() + timedelta(seconds=CANARY_EVIDENCE))
            return self._ended(id_, began, of_silence(replace(silence, queue_trouble=trouble), seconds), seconds)
        failure, detail = of_verdict(verdict), str(verdict.get("detail"))
        if failure is None and (webhook := self.evidence.webhook()):
            failure = of_webhook(webhook)
        return self._ended(id_, began, failure, seconds, detail)

    def _ended(
        self,
        id_: str,
        began: datetime,
        failure: Failure | None,
        seconds: float | None = None,
        detail: str | None = None,
    ) -> Ended:
        so_long = (self.clock() - began).total_seconds() if seconds is None else seconds
        return Ended(id_, self.asked, so_long, detail, failure)

    def _received(self, id_: str, ends: datetime) -> tuple[Mapping[str, Any] | None, str | None]:
        """The `data` of the verdict, or None at the end; and the last error in reading the queue."""
        trouble = None
        while (left := (ends - self.clock()).total_seconds()) > 0:
            try:
                found = self.verdicts.receive(min(CANARY_WAIT, ceil(left)))
            except AwsTrouble as no:
                trouble = str(no)
                self.sleep(CANARY_PAUSE)
                continue
            trouble = None
            answers = [(message, verdict_in(message)) for message in found]
            own = [data for _, data in answers if data and data["context"].get(MARK) == id_]
            self.verdicts.delete(
                [message for message, data in answers if data in own or not self._awaited(message, data)]
            )
            if own:
                return own[0], None
        return None, trouble

    def _awaited(self, message: Message, data: Mapping[str, Any] | None) -> bool:
        """Whether another run may wait for it: a run waits at most for the bound, and sent its request before the
        verdict."""
        return data is not None and (self.clock() - message.sent_at).total_seconds() < self.asked.bound


MARK = "canary"
"""The name in the request's `context` that holds its id. Every verdict echoes it, and the rule matches it.

The request's own id does not work: a requester that is not allowed gets a verdict under the id of the message.
"""


def message(asked: Asked, id_: str, now: datetime) -> str:
    """The dry run as a CloudEvent.

    Its time to live is half of the bound, so that the verdict about an unavailable cloud comes within the bound. It
    expires at the bound, so that a paused queue does not send it later.
    """
    data = {
        "server_id": asked.server_id,
        "volume_id": asked.volume_id,
        **({"project_id": asked.project_id} if asked.project_id else {}),
        "dry_run": True,
        "context": {MARK: id_},
        "request_ttl": max(1, int(asked.bound / 2)),
    }
    event = {
        "specversion": "1.0",
        "id": id_,
        "source": asked.source,
        "type": f"{asked.prefix}.volume.detach_requested.v1",
        "time": now.isoformat(),
        "expirytime": (now + timedelta(seconds=asked.bound)).isoformat(),
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(event)


def verdict_in(message: Message) -> Mapping[str, Any] | None:
    """The `data` of the verdict in an EventBridge message; None if it is not for a canary."""
    try:
        data = json.loads(message.body)["detail"]["data"]
    except (ValueError, TypeError, LookupError):
        return None
    return data if isinstance(data, dict) and isinstance(data.get("context"), dict) else None
