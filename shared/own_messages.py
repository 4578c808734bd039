"""The messages we send to ourselves: continuations, and waiting deliveries.

A continuation carries a case to its next look; `group` is a second kind, for a request with a summary. A waiting
delivery is a verdict that the bus or a consumer has not taken yet. The outbox writes both, and the inbox reads them.

One queue may hold messages of two releases, so each format has a version. Others may be allowed to send to the queue,
so each message carries a MAC: nobody else can invent the progress of a request or have a verdict delivered. The webhook
endpoint signs the requests that it puts on the queue in the same way, since they name their sender.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime

from shared import strict_json
from shared.decision.progress import Progress
from shared.model import NOBODY_KNOWN, AuthType, DetachRequest, Frozen, Requester, Via
from shared.policy import UPGRADE
from shared.ports import Event, Macs
from shared.strict_json import MAC

VERSION: Literal[1] = 1
RETIRED = ("generation", "detaching_read_at")
"""Fields of progress in earlier releases; they are derived now, or no longer needed."""


class Continuation(Frozen):
    """A case on its way to its next look; `continuation` is the version of the format."""

    continuation: Literal[1]
    request: DetachRequest
    progress: Progress

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Continuation:
        """Raises ValidationError."""
        value = unsigned(value)
        progress = value["progress"]
        if isinstance(progress, dict):
            progress = {name: item for name, item in progress.items() if name not in RETIRED}
        return cls.model_validate_json(json.dumps({**value, "progress": progress}))


class WaitingDelivery(Frozen):
    """An event that the bus or one consumer has not taken yet. Those that have taken it do not get it again.

    `pending_delivery` is the version of the format. `to` is the name of the consumer, or `bus`. `attempt` counts
    refusals since `since`. Consumers get an event only after the bus has taken it.
    """

    pending_delivery: Literal[1] = VERSION
    to: str
    event: Event
    since: AwareDatetime
    attempt: int = 0
    not_before: AwareDatetime | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> WaitingDelivery:
        """Raises ValidationError."""
        return cls.model_validate_json(json.dumps(unsigned(value)))


NEEDS = {"continuation": "progress", "pending_delivery": "event"}
"""The version field by which each kind is recognised, and another field that it must have."""


def is_signed(value: Mapping[str, Any], macs: Macs) -> bool:
    """Whether the object has a MAC of ours. Raises AwsTrouble if no key can be read."""
    mac = value.get(MAC)
    return isinstance(mac, str) and mac.isascii() and macs.is_mac(strict_json.canonical(unsigned(value)), mac)


def without_mac(body: str) -> str:
    """The text of a message for display, without its MAC: with the MAC a reader could send the message again."""
    try:
        value = strict_json.loads(body)
    except strict_json.NotJson:
        return body
    return json.dumps(unsigned(value)) if isinstance(value, dict) and MAC in value else body


def is_of_the_release_before(value: Mapping[str, Any], sent_at: datetime, macs: Macs) -> bool:
    """Whether the object may lack a MAC: it was sent before the first key existed, or while the release without MACs
    was being replaced.

    `sent_at` is the queue's time. Raises AwsTrouble if no key can be read.
    """
    return MAC not in value and sent_at <= macs.since() + timedelta(seconds=UPGRADE)


REQUESTER = {"authtype": "type", "authid": "id", "authvia": "via"}
"""The attributes in which the webhook endpoint names the sender, and the fields of `Requester` that they hold."""


def as_attributes(requester: Requester) -> dict[str, str]:
    """The proven requester as attributes of an event; they count only with a MAC of ours."""
    told = {name: getattr(requester, field) for name, field in REQUESTER.items()}
    return {name: str(value) for name, value in told.items() if value is not None}


def requester_in(event: Mapping[str, Any]) -> Requester | None:
    """The sender of a request that the webhook endpoint signed; None if it does not name one.

    A kind that only a later release knows becomes `unknown`.
    """
    via, type_, id_ = event.get("authvia", Via.QUEUE), event.get("authtype"), event.get("authid")
    if via not in list(Via) or not isinstance(type_, str):
        return None
    known = type_ in list(AuthType)
    return Requester(AuthType(type_) if known else NOBODY_KNOWN.type, id_ if isinstance(id_, str) else None, Via(via))


def unsigned(value: Mapping[str, Any]) -> dict[str, Any]:
    """The message without its MAC."""
    return {name: item for name, item in value.items() if name != MAC}
