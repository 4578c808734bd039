"""One run of the canary: send a dry run, wait for its verdict for so long, and ask what is known if none comes."""

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
    """What the canary asks for, under which source and prefix of event types, and within how many seconds."""

    source: str
    prefix: str
    server_id: str
    volume_id: str
    project_id: str | None
    bound: float


@dataclass(frozen=True)
class Ended:
    """How a run ended: after how many seconds its verdict was there, or which failure was found."""

    request_id: str
    asked: Asked
    seconds: float
    detail: str | None = None
    failure: Failure | None = None


class Verdicts(Protocol):
    """The queue on which the bus puts the verdicts of canaries."""

    def receive(self, wait: int, /) -> Sequence[Message]:
        """Those that are there, up to ten, after waiting for so many seconds for one. Raises AwsTrouble."""

    def delete(self, messages: Sequence[Message], /) -> None: ...


class Evidence(Protocol):
    """What can be known of the way of a request; neither call raises."""

    def silence(self, deadline: datetime, /) -> Silence:
        """What AWS says of the request queue, of who reads it, and of the rule behind the bus."""

    def webhook(self) -> str | None:
        """Why the webhook endpoint takes no requests, if it does not; None without an endpoint."""


@dataclass(frozen=True)
class Canary:
    """The schedule runs one at a time; a person may run another beside it, or the schedule come twice.

    So the verdict of another run is left in the queue for as long as that run may wait for it, and then deleted.
    """

    asked: Asked
    queue: Queue
    verdicts: Verdicts
    evidence: Evidence
    clock: Clock
    sleep: Callable[[float], None]
    new_id: Callable[[], str] = lambda: str(uuid4())

    def run(self) -> Ended:
        """Never raises for what AWS or the cloud does: that is a failure, with its stage."""
        began, id_ = self.clock(), self.new_id()
        ends = began + timedelta(seconds=self.asked.bound)
        unsent = self.queue.send({id_: QueueMessage(message(self.asked, id_, began))}, ends)
        if unsent:
            return self._ended(id_, began, of_unsent(unsent[id_].why))
        verdict, trouble = self._heard(id_, ends)
        seconds = (self.clock() - began).total_seconds()
        if verdict is None:
            silence = self.evidence.silence(self.clock() + timedelta(seconds=CANARY_EVIDENCE))
            return self._ended(id_, began, of_silence(replace(silence, unheard=trouble), seconds), seconds)
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

    def _heard(self, id_: str, ends: datetime) -> tuple[Mapping[str, Any] | None, str | None]:
        """The `data` of the verdict, or None if it has not come by then; and why the queue could not be read last."""
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
        """Whether another run may wait for it: its request was sent before this was, and so its wait ends before."""
        return data is not None and (self.clock() - message.sent_at).total_seconds() < self.asked.bound


MARK = "canary"
"""The name in the request's `context` that holds its id. Every verdict echoes it, and the rule knows verdicts by it.

The request's own id will not do: one that may not ask is answered under the id of its message.
"""


def message(asked: Asked, id_: str, now: datetime) -> str:
    """The dry run as a CloudEvent.

    It is tried for half of the bound, so that a cloud that does not answer is told of by a verdict before the bound is
    over. It expires at the bound: nobody waits for what a paused queue held back.
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
    """The `data` of the verdict in a message of EventBridge; None for what answers no canary."""
    try:
        data = json.loads(message.body)["detail"]["data"]
    except (ValueError, TypeError, LookupError):
        return None
    return data if isinstance(data, dict) and isinstance(data.get("context"), dict) else None
