"""Exit statuses of every command that asks for a detach."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

FINAL = ("detached", "failed", "checked")


class Exit(IntEnum):
    """make itself turns each of them but 0 into 2; a script runs `python -m tools` or `python -m local`."""

    DETACHED = 0
    """Detached, or a dry run says that it would be, or that there is nothing to detach."""
    FAILED = 1
    """A final verdict that says no."""
    USAGE = 2
    """Nothing was asked for: the arguments, the settings or the file are wrong."""
    OPEN = 3
    """There is no final verdict yet, or a dry run says that it would have to wait."""


WOULD = {"would_fail": Exit.FAILED, "would_wait": Exit.OPEN}


def of_events(events: Iterable[Mapping[str, Any]]) -> Exit:
    """The status of one request for one volume, by what was said about it so far."""
    final = [event["data"] for event in events if event["data"]["verdict"] in FINAL]
    if not final:
        return Exit.OPEN
    if final[-1]["verdict"] == "checked":
        return WOULD.get(final[-1]["detail"], Exit.DETACHED)
    return Exit.DETACHED if final[-1]["verdict"] == "detached" else Exit.FAILED


def of_all(statuses: Iterable[Exit]) -> Exit:
    """The status of several together: one failure is a failure, and one that is open leaves all of it open."""
    found = set(statuses)
    return next((one for one in (Exit.USAGE, Exit.FAILED, Exit.OPEN) if one in found), Exit.DETACHED)
