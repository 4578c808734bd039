"""`make run`: send events, show what happens, print the verdicts, and say whether they are the expected ones."""

import re
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from requests import Response

from local.aws_stand_in import REQUESTS, queue_arn
from local.console import Console
from local.message_keys import FixedKeys
from local.stack import Stack
from local.verdicts import FINAL, Key, collect, watched
from shared.inbox.read import Ignored, Rejected, read
from shared.model import Message
from tools.sender import came_by_http, deliver, post_of

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


def run(event: Path | None, real_cloud: bool, as_json: bool) -> int:
    """Exit status: 0 if every request reached its final verdict (a sample: the expected one); 2 if nothing was sent."""
    console = Console(as_json)
    files = {event: None} if event else {EVENTS / name: expected for name, expected in SAMPLES.items()}
    with watched(console, real_cloud) as stack:
        safe = event is not None or refuses_tampered(stack, console, EVENTS / "webhook_cloudevent.json")
        sent = [(path, expected, key) for path, expected in files.items() for key in _send(stack, console, path)]
        patience = inf if event else PATIENCE
        verdicts = collect(stack, console, {key for _, _, key in sent if key}, patience)
    if not sent:
        return 2
    console.say()
    right = [_summary(console, path, expected, verdicts[key] if key else []) for path, expected, key in sent]
    return 0 if safe and all(right) else 1


def unreadable(event: Path) -> str | None:
    """None, or one sentence that says why this file holds no event."""
    if not event.is_file():
        return f"There is no event file {event}; samples are in events/."
    try:
        text = event.read_text()
    except (OSError, UnicodeDecodeError) as error:
        return f"The event file {event} cannot be read ({type(error).__name__}): it has to be JSON in UTF-8."
    if LAMBDA_RECORDS.match(text):
        return f"The event file {event} is a batch as Lambda gets it; a message on the queue is the `body` of a record."
    return None


def _send(stack: Stack, console: Console, path: Path) -> list[Key | None]:
    """Send a file's event; how verdicts will name each volume that it asks for, or None where it was rejected."""
    body = path.read_text()
    if came_by_http(body):
        return post_signed(stack, console, path)
    unnamed = Message(body, "", queue_arn(REQUESTS), datetime.now(UTC))
    found = read(unnamed, stack.environment.get("EVENT_TYPE_PREFIX", "bms"), unnamed.sent_at, FixedKeys())
    message_id = stack.request(body)
    console.at(f"sent {path.name}", "bold")
    if isinstance(found, list):
        return [(case.request.id or message_id, case.request.volume_id) for case in found]
    if isinstance(found, Rejected):
        return [(found.origin.id or message_id, found.volume_id)]
    why = found.why if isinstance(found, Ignored) else "this is a message that only the service itself sends"
    console.trouble(f"{path.name}: {why}; it is not answered")
    return []


def post_signed(stack: Stack, console: Console, path: Path) -> list[Key | None]:
    """Post a file's event to the webhook; what is in the queue now, or None if it was rejected."""
    answer = _post(stack, console, path)
    if answer.status_code != 202:
        console.trouble(f"{path.name}: the webhook answered {answer.status_code}: {answer.text}")
        return [None]
    said = answer.json()
    results = said.get("events") or [said]
    return [(entry["id"], entry["volume_id"]) for result in results for entry in result.get("requests", ())]


def refuses_tampered(stack: Stack, console: Console, path: Path) -> bool:
    """Whether the webhook says 401 to a request that was changed after it was signed."""
    status = _post(stack, console, path, tampered=True).status_code
    if status != 401:
        console.trouble(f"the webhook answered {status} to a request that was tampered with")
    return status == 401


def _post(stack: Stack, console: Console, path: Path, tampered: bool = False) -> Response:
    """Post a file's event, signed anew since its own signature has aged."""
    post = post_of(path.read_text()).signed(stack.webhook_secret, datetime.now(UTC))
    answer = deliver(post.tampered() if tampered else post, stack.webhook_url)
    how = ", tampered with" if tampered else ""
    console.at(f"posted {path.name}{how} → {answer.status_code} {answer.reason}", "bold")
    return answer


def _summary(console: Console, path: Path, expected: str | None, events: list[Any]) -> bool:
    """Show what came of a request; whether that is the final verdict that was expected."""
    final = [event["data"] for event in events if event["data"]["verdict"] in FINAL]
    got = f"{final[-1]['verdict']} ({final[-1]['detail']})" if final else "no verdict"
    right = bool(final) and expected in (None, final[-1]["verdict"], final[-1]["detail"])
    # Whether an event of the user's own has come to the hoped-for verdict, only its sender knows.
    mark = console.mark(None if right and not expected else right)
    wanted = f"   expected {expected}" if not right and expected else ""
    console.say(f"  {mark} {path.name:<26} {got}{wanted}")
    if not right:
        console.trouble(f"{path.name}: {got}, expected {expected or 'a verdict'}")
    return right
