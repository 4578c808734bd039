"""`make run`: send events, show what happens, print the verdicts, and compare them with what is expected."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from requests import Response

from local.aws_stand_in import REQUESTS, queue_arn
from local.console import Console
from local.message_keys import FixedKeys
from local.stack import Stack
from local.verdicts import SUMMARY, Key, collect, told, watched
from shared.inbox.read import Ignored, Rejected, read
from shared.model import Message
from shared.own_messages import WaitingDelivery
from tools.exit_status import Exit, is_final, is_summary, of_all, of_events
from tools.sender import came_by_http, deliver, post_of

EVENTS = Path(__file__).parent.parent / "events"
PATIENCE = 120
"""Seconds that a sample may take. A user's own event has no limit: the service ends it."""

SAMPLES = {
    "detach_cloudevent.json": "detached",
    "detach_eventbridge.json": "detached",
    "detach_bare.json": "detached",
    "detach_all_data_disks.json": "detached",
    "already_detached.json": "already_detached",
    "refused_by_server.json": "refused_by_server",
    "invalid_request.json": "invalid_request",
    "webhook_cloudevent.json": "detached",
    "webhook_bare.json": "detached",
}
"""The sample events, each with its expected verdict or detail."""


def run(events: Sequence[str] | None, name: str, real_cloud: bool, as_json: bool) -> Exit:
    """Send the user's events, read from the file `name`, or the samples if `events` is None."""
    console = Console(as_json)
    wanted: list[tuple[str, str, str | None]]
    if events is None:
        wanted = [(sample, (EVENTS / sample).read_text(), expected) for sample, expected in SAMPLES.items()]
    else:
        names = [name] if len(events) == 1 else [f"{name} #{number}" for number in range(1, len(events) + 1)]
        wanted = [(one, body, None) for one, body in zip(names, events, strict=True)]
    try:
        with watched(console, real_cloud) as stack:
            safe = events is not None or refuses_tampered(stack, console, EVENTS / "webhook_cloudevent.json")
            sent = [(one, expected, key) for one, body, expected in wanted for key in _send(stack, console, one, body)]
            patience = PATIENCE if events is None else inf
            verdicts = collect(stack, console, {key for _, _, key in sent if key}, patience)
    except KeyboardInterrupt:
        # The local functions have stopped by now, so the message stays true.
        console.trouble(console.interrupted(real_cloud))
        return Exit.OPEN
    console.say()
    found = [verdicts[key] if key else [] for _, _, key in sent]
    if events is None:
        console.say(console.paint(f"  {'':3} {'sample':<26} result", "bold"))
    right = [_summary(console, *one[:2], events) for one, events in zip(sent, found, strict=True)]
    if events is None:
        console.say(f"\n  {sum(right)} of {len(right)} samples ended as expected")
        return Exit.DETACHED if safe and all(right) else Exit.FAILED
    # A request that the webhook refused gets no verdict.
    keys = [key for _, _, key in sent]
    return of_all(of_events(said) if key else Exit.FAILED for key, said in zip(keys, found, strict=True))


def _send(stack: Stack, console: Console, name: str, body: str) -> list[Key | None]:
    """Send an event; returns the key of each verdict that it will get, or None for a rejected one."""
    if came_by_http(body):
        return post_signed(stack, console, name, body)
    unnamed = Message(body, "", queue_arn(REQUESTS), datetime.now(UTC))
    found = read(unnamed, stack.environment.get("EVENT_TYPE_PREFIX", "bms"), unnamed.sent_at, FixedKeys())
    message_id = stack.request(body)
    console.at(f"sent {name}", "bold")
    if isinstance(found, list):
        return [(case.request.id or message_id, case.request.volume_id) for case in found]
    if isinstance(found, Rejected):
        return [(found.origin.id or message_id, found.volume_id)]
    if isinstance(found, Ignored | WaitingDelivery):
        why = found.why if isinstance(found, Ignored) else "only the service itself sends such a message"
        console.trouble(f"{name}: {why}; it gets no verdict")
        return [None]
    return [(found.request.id or message_id, SUMMARY)]


def post_signed(stack: Stack, console: Console, name: str, body: str) -> list[Key | None]:
    """Post an event to the webhook; returns the key of each verdict that it will get, or None if it was rejected."""
    answer = _post(stack, console, name, body)
    if answer.status_code != 202:
        console.trouble(f"{name}: the webhook answered {answer.status_code}: {answer.text}")
        return [None]
    said = answer.json()
    results = said.get("events") or [said]
    summed_up = [(result["summary"]["id"], SUMMARY) for result in results if "summary" in result]
    ids = {id_ for id_, _ in summed_up}
    single = [(entry["id"], entry["volume_id"]) for result in results for entry in result.get("requests", ())]
    return [*(key for key in single if key[0] not in ids), *summed_up]


def refuses_tampered(stack: Stack, console: Console, path: Path) -> bool:
    """Whether the webhook answers 401 to a request that was changed after it was signed."""
    console.say("A request that was changed after it was signed must be answered 401:")
    status = _post(stack, console, path.name, path.read_text(), tampered=True).status_code
    if status != 401:
        console.trouble(f"the webhook answered {status} to a request that was tampered with")
    return status == 401


def _post(stack: Stack, console: Console, name: str, body: str, tampered: bool = False) -> Response:
    """Post an event with a new signature, because the one in its file has expired."""
    post = post_of(body).signed(stack.webhook_secret, datetime.now(UTC))
    answer = deliver(post.tampered() if tampered else post, stack.webhook_url)
    how = ", tampered with" if tampered else ""
    console.at(f"posted {name}{how} → {answer.status_code} {answer.reason}", "bold")
    return answer


def _summary(console: Console, name: str, expected: str | None, events: list[Any]) -> bool:
    """Show the result of a request; returns whether it is the expected final verdict."""
    final = [event for event in events if is_final(event)]
    summed_up = bool(final) and is_summary(final[-1])
    data = final[-1]["data"] if final else {}
    outcome, detail = data.get("outcome" if summed_up else "verdict"), data.get("detail")
    got = told(final) if summed_up else f"{outcome} ({detail})" if final else "no verdict"
    right = bool(final) and expected in (None, outcome, detail)
    # Nothing is expected of a user's own event, so its row has no mark.
    mark = console.mark(None if right and not expected else right)
    wanted = (", as expected" if right else f", expected {expected}") if expected else ""
    console.say(f"  {mark} {name:<26} {got}{wanted}")
    if not right:
        console.trouble(f"{name}: {got}, expected {expected or 'a verdict'}")
    return right
