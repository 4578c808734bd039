"""`make run`: send events, show what happens, print the verdicts, and say whether they are the expected ones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.aws_stand_in import REQUESTS, queue_arn
from local.console import Console
from local.stack import Stack
from local.verdicts import FINAL, Key, collect, watched
from shared.inbox.read import Ignored, Rejected, read
from shared.model import Message
from tools.sender import Post, came_by_http, deliver, post_of

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
    """A request on its way, and how its verdicts will name it; without a key the webhook has rejected it."""

    name: str
    key: Key | None
    expected: str | None = None


def run(event: Path | None, real_cloud: bool, as_json: bool) -> int:
    """Exit status: 0 if every request reached its final verdict (a sample: the expected one); 2 if nothing was sent."""
    console = Console(as_json)
    files = {event: None} if event else {EVENTS / name: expected for name, expected in SAMPLES.items()}
    with watched(console, real_cloud) as stack:
        safe = event is not None or refuses_tampered(stack, console, EVENTS / "webhook_cloudevent.json")
        sent = [one for path, expected in files.items() for one in _send(stack, console, path, expected)]
        patience = None if event else PATIENCE
        verdicts = collect(stack, console, {one.key for one in sent if one.key}, patience)
    if not sent:
        return 2
    return _summary(console, sent, verdicts) if safe else 1


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
        keys = post_signed(stack, console, path)
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


def signed_anew(stack: Stack, path: Path) -> Post:
    """A file's event as it goes over HTTP: its own signature has aged."""
    return post_of(path.read_text()).signed(stack.webhook_secret, datetime.now(UTC))


def post_signed(stack: Stack, console: Console, path: Path) -> list[Key] | None:
    """Post a file's event to the webhook; what is in the queue now, or None if it was rejected."""
    answer = deliver(signed_anew(stack, path), stack.webhook_url)
    console.at(f"posted {path.name} → {answer.status_code} {answer.reason}", "bold")
    if answer.status_code != 202:
        console.trouble(f"{path.name}: the webhook answered {answer.status_code}: {answer.text}")
        return None
    said = answer.json()
    results = said.get("events") or [said]
    return [(entry["id"], entry["volume_id"]) for result in results for entry in result.get("requests", ())]


def refuses_tampered(stack: Stack, console: Console, path: Path) -> bool:
    """Whether the webhook says 401 to a request that was changed after it was signed."""
    answer = deliver(signed_anew(stack, path).tampered(), stack.webhook_url)
    console.at(f"posted {path.name}, tampered with → {answer.status_code} {answer.reason}", "bold")
    if answer.status_code != 401:
        console.trouble(f"the webhook answered {answer.status_code} to a request that was tampered with")
    return answer.status_code == 401


def _summary(console: Console, sent: list[Sent], verdicts: Mapping[Key, list[Any]]) -> int:
    console.say()
    wrong = 0
    for one in sent:
        events = verdicts[one.key] if one.key else []
        final = [event["data"] for event in events if event["data"]["verdict"] in FINAL]
        got = f"{final[-1]['verdict']} ({final[-1]['detail']})" if final else "no verdict"
        right = bool(final) and one.expected in (None, final[-1]["verdict"], final[-1]["detail"])
        # Whether an event of the user's own has come to the hoped-for verdict, only its sender knows.
        mark = console.mark(None if right and not one.expected else right)
        wanted = f"   expected {one.expected}" if not right and one.expected else ""
        console.say(f"  {mark} {one.name:<26} {got}{wanted}")
        if not right:
            wrong += 1
            console.trouble(f"{one.name}: {got}, expected {one.expected or 'a verdict'}")
    return 1 if wrong else 0
