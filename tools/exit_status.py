"""Exit statuses of the commands that request a detach."""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

FINAL = ("detached", "failed", "checked")


def is_summary(event: Mapping[str, Any]) -> bool:
    """Whether an event is the summary of a request for several volumes, and not a verdict."""
    return str(event.get("type")).endswith(".volume.detach_summary.v1")


def is_final(event: Mapping[str, Any]) -> bool:
    """Whether an event is the last one: the final verdict on a volume, or the summary of several."""
    return is_summary(event) or event["data"]["verdict"] in FINAL


class Exit(IntEnum):
    """make turns each of them except 0 into 2; scripts therefore run `python -m tools` or `python -m local`."""

    DETACHED = 0
    """Detached; or a dry run says that the volume would be detached or is detached already."""
    FAILED = 1
    """A final failure."""
    USAGE = 2
    """No detach was requested: the arguments, the settings or the file are wrong."""
    OPEN = 3
    """No final verdict yet, or a dry run says that the request would wait."""


WOULD = {"would_fail": Exit.FAILED, "would_wait": Exit.OPEN}


def of_events(events: Iterable[Mapping[str, Any]]) -> Exit:
    """The status of one request, for one volume or for several with a summary, from its events so far."""
    final = [event for event in events if is_final(event)]
    if not final:
        return Exit.OPEN
    if is_summary(final[-1]):
        return of_all(_of(one) for one in final[-1]["data"]["volumes"])
    return _of(final[-1]["data"])


def _of(said: Mapping[str, Any]) -> Exit:
    if said["verdict"] == "checked":
        return WOULD.get(said["detail"], Exit.DETACHED)
    return Exit.DETACHED if said["verdict"] == "detached" else Exit.FAILED


def of_all(statuses: Iterable[Exit]) -> Exit:
    """The status of several requests together: FAILED if one failed, else OPEN if one is open."""
    found = set(statuses)
    return next((one for one in (Exit.USAGE, Exit.FAILED, Exit.OPEN) if one in found), Exit.DETACHED)
