"""How `make run` sends what comes by HTTP: to the door, signed now, and once tampered with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from local.console import Console
from local.stack import Stack
from local.verdicts import Key
from tools.sender import deliver, post_of


def through_the_door(stack: Stack, console: Console, path: Path) -> list[Key] | None:
    """Post a file's event, signed anew since its own signature has aged; what is in the queue, or None for a no."""
    post = post_of(path.read_text()).signed(stack.door_secret, datetime.now(UTC))
    answer = deliver(post, stack.door_url)
    console.at(f"posted {path.name} → {answer.status_code} {answer.reason}", "bold")
    said = answer.json()
    if answer.status_code == 202:
        results = said.get("events") or [said]
        return [(entry["id"], entry["volume_id"]) for result in results for entry in result.get("requests", ())]
    console.trouble(f"{path.name}: the door answered {answer.status_code}: {answer.text}")
    return None


def turns_away(stack: Stack, console: Console, path: Path) -> bool:
    """Whether the door says 401 to a delivery which was changed after it was signed."""
    post = post_of(path.read_text()).signed(stack.door_secret, datetime.now(UTC)).tampered()
    answer = deliver(post, stack.door_url)
    console.at(f"posted {path.name}, tampered with → {answer.status_code} {answer.reason}", "bold")
    if answer.status_code != 401:
        console.trouble(f"the door answered {answer.status_code} to a delivery that was tampered with")
    return answer.status_code == 401
