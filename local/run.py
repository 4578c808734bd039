"""`make run`: send events, show what happens, print the verdicts, and say whether they are the expected ones."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.aws_stand_in import REQUESTS, queue_arn
from local.console import Console, attach_to_functions
from local.knocking import through_the_door, turns_away
from local.real_cloud import check_cloud
from local.stack import Stack, running
from local.verdicts import FINAL, Key, collect
from shared.inbox.read import Ignored, Rejected, read
from shared.model import Message
from tools.sender import came_by_http

EVENTS = Path(__file__).parent.parent / "events"
LAMBDA_RECORDS = re.compile(r'\s*\{\s*"Records"\s*:')
PATIENCE = 120
"""Seconds a sample may take; an event of the user's own is awaited for as long as the service watches."""

SAMPLES = {
    "detach_cloudevent.json": "detached",
    "detach_eventbridge.json": "detached",
    "detach_bare.json": "detached",
    "already_detached.json": "already_detached",
    "refused_by_server.json": "refused_by_server",
    "invalid_request.json": "invalid_request",
    "webhook_cloudevent.json": "detached",
    "webhook_bare.json": "detached",
}
"""The sample events and what must come of them: the verdict or its detail."""


@dataclass(frozen=True)
class Sent:
    """A request on its way, and how its verdicts will name it; without a key the door has turned it away."""

    name: str
    key: Key | None
    expected: str | None = None


def run(event: Path | None, real_cloud: bool, as_json: bool) -> int:
    """Exit status: 0 if every request reached its final verdict (a sample: the expected one); 2 if nothing was sent."""
    console = Console(as_json=as_json)
    files = {event: None} if event else {EVENTS / name: expected for name, expected in SAMPLES.items()}
    if event and (trouble := unreadable(event)):
        console.trouble(trouble)
        return 2
    if real_cloud and (trouble := check_cloud(os.environ)):
        console.trouble(trouble)
        return 2
    attach_to_functions(console)
    with running(os.environ, real_cloud=real_cloud, on_error=lambda e: console.trouble(str(e))) as stack:
        where = "the cloud of OS_AUTH_URL" if real_cloud else "a simulated cloud"
        console.say(f"webhook door → queue → detach_volume → event bus, with {where}")
        shut = event is not None or turns_away(stack, console, EVENTS / "webhook_cloudevent.json")
        sent = [one for path, expected in files.items() for one in _send(stack, console, path, expected)]
        patience = None if event else PATIENCE
        verdicts = collect(stack, console, {one.key for one in sent if one.key}, patience)
    if not sent:
        return 2
    return _summary(console, sent, verdicts) if shut else 1


def unreadable(event: Path) -> str | None:
    """None, or one sentence that says why this file holds no event."""
    if not event.is_file():
        return f"There is no event file {event}; samples are in events/."
    try:
        text = event.read_text()
    except (OSError, UnicodeDecodeError) as error:
        return f"The event file {event} cannot be read ({type(error).__name__}): it has to be JSON in UTF-8."
    if LAMBDA_RECORDS.match(text):
        return (
            f"The event file {event} is a batch as Lambda gets it; what is sent to the queue is the `body` of a record."
        )
    return None


def _send(stack: Stack, console: Console, path: Path, expected: str | None) -> list[Sent]:
    """Send a file's event; one entry for each volume it asks for."""
    body = path.read_text()
    if came_by_http(body):
        keys = through_the_door(stack, console, path)
        return [Sent(path.name, key, expected) for key in ([None] if keys is None else keys)]
    message_id = stack.request(body)
    console.at(f"sent {path.name}", "bold")
    now = datetime.now(UTC)
    message = Message(body, message_id, queue_arn(REQUESTS), now)
    found = read(message, stack.environment.get("EVENT_TYPE_PREFIX", "bms"), now)
    if isinstance(found, list):
        return [Sent(path.name, (case.request.id, case.request.volume_id), expected) for case in found]
    if isinstance(found, Rejected):
        return [Sent(path.name, (found.origin.id, found.volume_id), expected)]
    why = found.why if isinstance(found, Ignored) else "this is a message that only the service itself sends"
    console.trouble(f"{path.name}: {why}; it is not answered")
    return []


def _summary(console: Console, sent: list[Sent], verdicts: Mapping[Key, list[Any]]) -> int:
    console.say()
    good = True
    for one in sent:
        events = verdicts[one.key] if one.key else []
        final = [event["data"] for event in events if event["data"]["verdict"] in FINAL]
        got = f"{final[-1]['verdict']} ({final[-1]['detail']})" if final else "no verdict"
        right = bool(final) and one.expected in (None, final[-1]["verdict"], final[-1]["detail"])
        good &= right
        mark = console.paint("ok ", "detached") if right else console.paint("NO ", "failed")
        if right and not one.expected:
            mark = "   "  # whether it is the one that was hoped for, its sender knows
        wanted = f"   expected {one.expected}" if not right and one.expected else ""
        console.say(f"  {mark} {one.name:<26} {got}{wanted}")
        if not right:
            console.trouble(f"{one.name}: {got}, expected {one.expected or 'a verdict'}")
    return 0 if good else 1
