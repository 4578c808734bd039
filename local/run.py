"""`make run`: send events, show what happens, print the verdicts, and say whether they are the expected ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.aws_stand_in import REQUESTS, queue_arn
from local.console import Console, attach_to_functions
from local.real_cloud import check_cloud
from local.stack import Stack, running
from local.verdicts import FINAL, Key, collect
from shared.intake import Delivery, Rejected, read

EVENTS = Path(__file__).parent.parent / "events"
PATIENCE = 120
"""Seconds a sample may take; an event of the user's own is awaited for as long as the service watches."""

SAMPLES = {
    "detach_cloudevent.json": "detached",
    "detach_eventbridge.json": "detached",
    "detach_bare.json": "detached",
    "already_detached.json": "already_detached",
    "refused_by_server.json": "refused_by_server",
    "invalid_request.json": "invalid_request",
}
"""The sample events and what must come of them: the verdict or its detail."""


@dataclass(frozen=True)
class Sent:
    """A request on its way, and how its verdicts will name it."""

    name: str
    key: Key
    expected: str | None = None


def run(event: Path | None, real_cloud: bool, as_json: bool) -> int:
    """Exit status: 0 if every request reached its final verdict (a sample: the expected one); 2 if nothing was sent."""
    console = Console(as_json=as_json)
    files = {event: None} if event else {EVENTS / name: expected for name, expected in SAMPLES.items()}
    if event and not event.is_file():
        console.trouble(f"There is no event file {event}; samples are in events/.")
        return 2
    if real_cloud and (trouble := check_cloud(os.environ)):
        console.trouble(trouble)
        return 2
    attach_to_functions(console)
    with running(os.environ, real_cloud=real_cloud, on_error=lambda e: console.trouble(str(e))) as stack:
        where = "the cloud of OS_AUTH_URL" if real_cloud else "a simulated cloud"
        console.say(f"queue → detach_volume → event bus, with {where}")
        sent = [one for path, expected in files.items() for one in _send(stack, console, path, expected)]
        patience = None if event else PATIENCE
        verdicts = collect(stack, console, {one.key for one in sent}, patience)
    return _summary(console, sent, verdicts)


def _send(stack: Stack, console: Console, path: Path, expected: str | None) -> list[Sent]:
    """Send a file's event; one entry for each volume it asks for."""
    body = path.read_text()
    message_id = stack.request(body)
    console.at(f"sent {path.name}", "bold")
    delivery = Delivery(body, message_id, queue_arn(REQUESTS), datetime.now(UTC))
    found = read(delivery, stack.environment.get("EVENT_TYPE_PREFIX", "bms"))
    if isinstance(found, list):
        return [Sent(path.name, (task.request.id, task.request.volume_id), expected) for task in found]
    if isinstance(found, Rejected):
        return [Sent(path.name, (found.id, found.volume_id), expected)]
    console.trouble(f"{path.name}: {found.why}; it is not answered")
    return []


def _summary(console: Console, sent: list[Sent], verdicts: Mapping[Key, list[Any]]) -> int:
    console.say()
    good = True
    for one in sent:
        final = [event["data"] for event in verdicts[one.key] if event["data"]["verdict"] in FINAL]
        got = f"{final[-1]['verdict']} ({final[-1]['detail']})" if final else "no verdict"
        right = bool(final) and one.expected in (None, final[-1]["verdict"], final[-1]["detail"])
        good &= right
        mark = console.paint("ok ", "detached") if right else console.paint("NO ", "failed")
        wanted = f"   expected {one.expected}" if not right and one.expected else ""
        console.say(f"  {mark} {one.name:<26} {got}{wanted}")
        if not right:
            console.trouble(f"{one.name}: {got}, expected {one.expected or 'a verdict'}")
    return 0 if good else 1
