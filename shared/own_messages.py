"""The messages we send to ourselves: a case that is looked at again later, a verdict that a consumer has not taken yet.

What waits for a summary is a continuation of a second kind (`group`).

The webhook endpoint signs the requests that it puts on the queue in the same way: it says who sent them.

The outbox writes them, the inbox reads them. One queue may hold messages of two releases, so each format has a version.
Many may be allowed to send to the queue, so each message carries a MAC: nobody else can say what a request has been
through, or have a verdict delivered.
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
"""What progress carried once and is derived, or of no use, today."""


class Continuation(Frozen):
    """`continuation` is the version of the format."""

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
    """An event that the bus or one consumer has not taken yet; whoever else took it is not asked again.

    `pending_delivery` is the version of the format, `to` the name of the consumer or `bus`, `attempt` how often it has
    said no since `since`. What the bus has not taken no consumer has been offered.
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
"""The name of the version, by which each kind is known, and another name that it must have."""


def is_signed(value: Mapping[str, Any], macs: Macs) -> bool:
    """Whether the MAC of an object is ours. Raises AwsTrouble if that cannot be told."""
    mac = value.get(MAC)
    return isinstance(mac, str) and mac.isascii() and macs.is_mac(strict_json.canonical(unsigned(value)), mac)


def without_mac(body: str) -> str:
    """The text of a message, to be shown: without a MAC, by which anybody who reads it could send it again."""
    try:
        value = strict_json.loads(body)
    except strict_json.NotJson:
        return body
    return json.dumps(unsigned(value)) if isinstance(value, dict) and MAC in value else body


def is_of_the_release_before(value: Mapping[str, Any], sent_at: datetime, macs: Macs) -> bool:
    """Whether the object may be without a MAC: sent before there was a key, or while that release was replaced.

    `sent_at` is the queue's own word. Raises AwsTrouble if that cannot be told.
    """
    return MAC not in value and sent_at <= macs.since() + timedelta(seconds=UPGRADE)


REQUESTER = {"authtype": "type", "authid": "id", "authvia": "via"}
"""The attributes of a request from the webhook endpoint that say who sent it, and the fields they are of."""


def as_attributes(requester: Requester) -> dict[str, str]:
    """Who was proven, as attributes of an event; only beside a MAC of ours they mean anything."""
    told = {name: getattr(requester, field) for name, field in REQUESTER.items()}
    return {name: str(value) for name, value in told.items() if value is not None}


def requester_in(event: Mapping[str, Any]) -> Requester | None:
    """Who sent a request that the webhook endpoint signed; None if it does not say so.

    A kind that this release does not know, since a later one wrote it, is `unknown`.
    """
    via, type_, id_ = event.get("authvia", Via.QUEUE), event.get("authtype"), event.get("authid")
    if via not in list(Via) or not isinstance(type_, str):
        return None
    known = type_ in list(AuthType)
    return Requester(AuthType(type_) if known else NOBODY_KNOWN.type, id_ if isinstance(id_, str) else None, Via(via))


def unsigned(value: Mapping[str, Any]) -> dict[str, Any]:
    """A message of ours without its MAC."""
    return {name: item for name, item in value.items() if name != MAC}
