"""`make status`: show the history of a request, look by look, from the functions' log."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from local.console import plain
from tools.exit_status import FINAL, Exit, of_all
from tools.progress import look_of

DAY = 86_400.0


class Lines(Protocol):
    """A log that can be searched."""

    def lines(self, request_id: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Every line about a request, oldest first."""


@dataclass(frozen=True)
class FileLog:
    """The logs of local stacks, one JSON object a line."""

    paths: tuple[Path, ...]

    def lines(self, request_id: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        texts = (path.read_text(encoding="utf-8") for path in self.paths)
        told = (as_line(line) for text in texts for line in text.split("\n"))
        times = [(datetime.fromisoformat(line["timestamp"]), line) for line in told if line]
        found = [(at, line) for at, line in times if since <= at <= until and is_about(line, request_id)]
        return [line for _, line in sorted(found, key=lambda one: one[0])]


def as_line(text: str) -> dict[str, Any] | None:
    """A line of our log; None for lines of Lambda itself."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "message" in line else None


@dataclass(frozen=True)
class Step:
    """A row of the timeline: the time, what happened, and details."""

    at: datetime
    what: str
    more: tuple[str, ...] = ()


Volume = str | None
About = tuple[str, Volume]
"""The source of a request and one of its volumes; None for lines about all volumes."""


def is_about(line: Mapping[str, Any], request_id: str) -> bool:
    """Whether a line is about a request. The webhook's line lists source, id and volume of each request."""
    told = line.get("requests") or ()
    named = any(isinstance(one, str) and one.split(" ")[1:2] == [request_id] for one in told)
    return line.get("request_id") == request_id or named


def grouped(lines: Iterable[Mapping[str, Any]], volume: str = "") -> dict[About, list[Mapping[str, Any]]]:
    """The lines of one request id by source and volume, because two senders may use the same id."""
    found: dict[About, list[Mapping[str, Any]]] = {}
    for line in lines:
        about = line.get("volume_id")
        if not volume or about in (None, volume):
            found.setdefault((str(line.get("request_source") or ""), about), []).append(line)
    return found


def _step(line: Mapping[str, Any]) -> Step:
    at = datetime.fromisoformat(str(line["timestamp"]))
    message = str(line["message"])
    match message:
        case "request stepped":
            look = look_of(line)
            calls = tuple(re.sub(r" http_\d+", "", str(call)) for call in line.get("calls") or ())
            if line.get("decision") == "wait":
                announced = ("an unconfirmed verdict is sent",) if line.get("unconfirmed") else ()
                return Step(at, look.text, (*calls, *announced, f"waits {line.get('seconds')} s"))
            if line.get("decision") == "list":
                return Step(at, f"data disks listed: {len(line.get('volume_ids') or ())}", calls)
            # Any other decision ends the request.
            return Step(at, f"{str(line.get('outcome', '')).upper()} · {line.get('detail')}", (look.text, *calls))
        case "webhook answered":
            return Step(at, f"webhook answered {line.get('http_status')}")
        case "event delivered":
            what = "summary" if str(line.get("event_type")).endswith(".volume.detach_summary.v1") else "verdict"
            return Step(at, f"{what} delivered to {line.get('to')}", (f"event {line.get('event_id')}",))
    told = (str(line[name]) for name in ("why", "faults", "seconds", "exception_name") if line.get(name))
    return Step(at, message, tuple(told))


def as_text(steps: Sequence[Step]) -> Iterator[str]:
    """A timeline: the time of day, and the seconds since the first step."""
    first = steps[0].at
    for step in steps:
        since = (step.at - first).total_seconds()
        yield f"  {step.at.astimezone(UTC):%H:%M:%S}  {since:+8.1f} s  {step.what}"
        yield from (f"{'':24}{more}" for more in step.more if more)


FINAL_TYPES = re.compile(r"\.volume\.(detached|detach_failed|detach_checked)\.v\d+$")


def status_of(lines: Iterable[Mapping[str, Any]]) -> Exit:
    """The status of one volume of a request, from its conclusion or else its delivered verdict."""
    status = Exit.OPEN
    for line in lines:
        delivered = (
            FINAL_TYPES.search(str(line.get("event_type") or "")) if line["message"] == "event delivered" else None
        )
        if line.get("outcome") in FINAL:
            detail = str(line.get("detail"))
            failed = line["outcome"] == "failed" or detail == "would_fail"
            status = Exit.FAILED if failed else Exit.OPEN if detail == "would_wait" else Exit.DETACHED
        elif delivered and status is Exit.OPEN:
            status = Exit.FAILED if delivered[1] == "detach_failed" else Exit.DETACHED
    return status


def show(log: Lines, request_id: str, volume: str, since: float, now: datetime, as_json: bool = False) -> Exit:
    """Print the history of a request. USAGE if the log has no line about it, or about that volume."""
    lines = log.lines(request_id, now - timedelta(seconds=since), now)
    found = grouped(lines, volume)
    if not lines or (volume and all(about is None for _, about in found)):
        others = sorted({line["volume_id"] for line in lines if line.get("volume_id")})
        unknown = f"volume {volume} of request {request_id}" if volume and lines else f"request {request_id}"
        there = (
            f"; it names {', '.join(others)}"
            if volume and others
            else ": check the id, or look further back (SINCE=7d)"
        )
        print(f"The log of the last {_length(since)} has nothing about {unknown}{there}.", file=sys.stderr)
        return Exit.USAGE
    for about, mine in found.items():
        if as_json:
            print("\n".join(json.dumps(line, ensure_ascii=False) for line in mine))
        else:
            _print(about, mine, request_id)
    volumes = [about for about in found if about[1] is not None] or list(found)
    return of_all(status_of(found[about]) for about in volumes)


def _length(seconds: float) -> str:
    unit, size = next(((unit, size) for unit, size in (("h", 3600), ("min", 60)) if seconds >= size), ("s", 1))
    return f"{seconds / size:g} {unit}"


def _print(about: About, lines: Sequence[Mapping[str, Any]], request_id: str) -> None:
    source, volume = about
    server = next((line["server_id"] for line in lines if line.get("server_id")), None)
    of, what = (f" of {source}" if source else ""), (f", server {server}, volume {volume}" if volume else "")
    print(plain(f"request {request_id}{of}{what}"))
    for row in as_text([_step(line) for line in lines]):
        print(plain(row))
    if volume and status_of(lines) is Exit.OPEN:
        print("  no final verdict yet")
    print()
