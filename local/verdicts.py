"""Runs the local stack with its log on the console, and collects the verdicts from the event bus."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.console import Console
from local.stack import Stack, running
from shared.telemetry.logs import logger
from tools.exit_status import is_final, is_summary

Key = tuple[str, str | None]
"""The id of a request and of a volume, as verdicts name them; or the id of a request and SUMMARY."""

SUMMARY = "summary"


LOGS = Path("build")
"""Folder of the functions' logs under `make serve`: one file for each port, one JSON object a line."""

FORMATTER = logger.registered_formatter
"""The formatter of the functions' log lines."""


@contextmanager
def watched(
    console: Console,
    real_cloud: bool = False,
    settings: Mapping[str, str] | None = None,
    log: Path | None = None,
    introduced: bool = True,
    **options: Any,
) -> Iterator[Stack]:
    """Run the stack. The functions' log lines and errors go to the console, and to the file `log` if one is named."""
    target = logging.getLogger(logger.name)
    target.handlers[:] = [console]
    target.propagate = False
    with running(os.environ | (settings or {}), real_cloud=real_cloud, on_error=console.trouble, **options) as stack:
        if log:  # opened only now, because the process with the port owns the file
            log.parent.mkdir(exist_ok=True)
            lines = logging.FileHandler(log, mode="w", encoding="utf-8")
            lines.setFormatter(FORMATTER)
            target.addHandler(lines)
        where = "the cloud of CLOUD=env" if real_cloud else "a simulated cloud"
        if introduced:
            console.say(f"webhook → queue → detach_volume → event bus, with {where}")
        yield stack


def collect(stack: Stack, console: Console, keys: set[Key], patience: float) -> dict[Key, list[Any]]:
    """Show events until each request has its final verdict, or for `patience` seconds; returns the events by key.

    A redelivered event, which has the same id, is skipped.
    """
    events: dict[str, Mapping[str, Any]] = {}
    unanswered = set(keys)
    deadline = time.monotonic() + patience
    while unanswered and time.monotonic() < deadline:
        for event in stack.aws.verdicts():
            if event["id"] not in events:
                events[event["id"]] = event
                console.verdict(event)
                if is_final(event):
                    unanswered.discard(key_of(event))
    return {key: [event for event in events.values() if _is_about(event, key)] for key in keys}


def key_of(event: Mapping[str, Any]) -> Key:
    return event["data"]["request"]["id"], SUMMARY if is_summary(event) else event["data"].get("volume_id")


def _is_about(event: Mapping[str, Any], key: Key) -> bool:
    """Whether an event belongs to a key. The key of a summary includes the verdicts of its volumes."""
    return key_of(event) == key or (key[1] == SUMMARY and event["data"]["request"]["id"] == key[0])


def told(events: Sequence[Mapping[str, Any]]) -> str:
    """The events of a key in short: the details of its verdicts, or the contents of the summary."""
    if events and is_summary(events[-1]):
        data = events[-1]["data"]
        return f"{data['outcome']}: " + (", ".join(one["detail"] for one in data["volumes"]) or "no volumes")
    return " then ".join(event["data"]["detail"] for event in events) or "no verdict"
