"""Verdicts as they come off the event bus."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from local.aws_stand_in import VERDICTS
from local.console import Console
from local.stack import Stack

FINAL = ("detached", "failed", "checked")

Key = tuple[str, str | None]
"""A request and one of its volumes, as verdicts name them."""


def collect(stack: Stack, console: Console, open_keys: set[Key], patience: float | None) -> dict[Key, list[Any]]:
    """Show events as they come, until each request has its final verdict or patience (in seconds) ends.

    A redelivered event has the id of the first and is passed over.
    """
    events: dict[str, Mapping[str, Any]] = {}
    finished: set[Key] = set()
    deadline = time.monotonic() + patience if patience else None
    while open_keys - finished and (deadline is None or time.monotonic() < deadline):
        for envelope in stack.aws.receive(VERDICTS):
            event = envelope["detail"]
            if event["id"] in events:
                continue
            events[event["id"]] = event
            console.verdict(event)
            if event["data"]["verdict"] in FINAL:
                finished.add(key_of(event))
    return {key: [event for event in events.values() if key_of(event) == key] for key in open_keys}


def key_of(event: Mapping[str, Any]) -> Key:
    return event["data"]["request"]["id"], event["data"].get("volume_id")
