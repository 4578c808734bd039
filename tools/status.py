"""`make status`: what became of a request, look by look, from the functions' log."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from tools.exit_status import FINAL, Exit, of_all
from tools.progress import look_of

DAY = 86_400.0


class Lines(Protocol):
    """A log that can be searched."""

    def lines(self, text: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """Every line that holds a text, the oldest first."""


@dataclass(frozen=True)
class FileLog:
    """The log of a stack on this machine, one JSON object a line."""

    path: Path

    def lines(self, text: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        found = (as_line(line) for line in self.path.read_text(encoding="utf-8").splitlines() if text in line)
        times = ((datetime.fromisoformat(line["timestamp"]), line) for line in found if line)
        return [line for at, line in times if since <= at <= until]


def as_line(text: str) -> dict[str, Any] | None:
    """A line of our log; None for what Lambda itself writes."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "message" in line else None


@dataclass(frozen=True)
class Step:
    """A row of the timeline: when, what, and what else there is to say."""

    at: datetime
    what: str
    more: tuple[str, ...] = ()


Volume = str | None


def of_request(lines: Iterable[Mapping[str, Any]], request_id: str, volume: str = "") -> dict[Volume, list[Step]]:
    """The steps of a request, by volume; those of its delivery, which are about all of it, under None."""
    found: dict[Volume, list[Step]] = {}
    for line in lines:
        about = line.get("volume_id")
        mine = line.get("request_id") == request_id or _answered(line, request_id)
        if mine and (not volume or about in (None, volume)):
            found.setdefault(about, []).append(_step(line))
    return found


def _answered(line: Mapping[str, Any], request_id: str) -> bool:
    """Whether it is the webhook's answer to that request; it names source, id and volume of each."""
    told = line.get("requests") or ()
    return any(isinstance(one, str) and one.split(" ")[1:2] == [request_id] for one in told)


def _step(line: Mapping[str, Any]) -> Step:
    at = datetime.fromisoformat(str(line["timestamp"]))
    message = str(line["message"])
    match message:
        case "request stepped":
            look = look_of(line)
            calls = tuple(str(call) for call in line.get("calls") or ())
            if line.get("decision") == "wait":
                announced = ("an unconfirmed verdict is sent",) if line.get("unconfirmed") else ()
                return Step(at, look.text, (*calls, *announced, f"waits {line.get('seconds')} s"))
            # Whatever ends it has no wait.
            return Step(at, f"{str(line.get('outcome', '')).upper()} · {line.get('detail')}", (look.text, *calls))
        case "webhook answered":
            return Step(at, f"webhook answered {line.get('http_status')}")
        case "event delivered":
            return Step(at, f"verdict delivered to {line.get('to')}", (f"event {line.get('event_id')}",))
    told = (str(line[name]) for name in ("why", "faults", "seconds", "exception_name") if line.get(name))
    return Step(at, message, tuple(told))


def as_text(steps: Sequence[Step]) -> Iterator[str]:
    """A timeline: the time of day, and the seconds since the first step."""
    first = steps[0].at
    for step in steps:
        since = (step.at - first).total_seconds()
        yield f"  {step.at.astimezone(UTC):%H:%M:%S}  {since:+8.1f} s  {step.what}"
        yield from (f"{'':24}{more}" for more in step.more if more)


def status_of(lines: Iterable[Mapping[str, Any]]) -> Exit:
    """What the log says of one volume of a request: of dry runs, only whether they were answered."""
    final = [line for line in lines if line.get("outcome") in FINAL]
    if not final:
        return Exit.OPEN
    detail = str(final[-1].get("detail"))
    failed = final[-1]["outcome"] == "failed" or detail == "would_fail"
    return Exit.FAILED if failed else Exit.OPEN if detail == "would_wait" else Exit.DETACHED


def show(log: Lines, request_id: str, volume: str, since: float, now: datetime, as_json: bool = False) -> Exit:
    """Print what became of a request. USAGE if the log knows nothing of it."""
    lines = log.lines(request_id, now - timedelta(seconds=since), now)
    found = of_request(lines, request_id, volume)
    if not found:
        about = f"request {request_id}" + (f" and volume {volume}" if volume else "")
        print(
            f"The log of the last {since / 3600:g} h knows nothing of {about}: check the id, or look further back "
            "with SINCE=7d.",
            file=sys.stderr,
        )
        return Exit.USAGE
    mine = [line for line in lines if line.get("request_id") == request_id or _answered(line, request_id)]
    if as_json:
        for line in mine:
            print(json.dumps(line, ensure_ascii=False))
    else:
        _print(found, mine, request_id)
    volumes: list[Volume] = [about for about in found if about is not None] or [None]
    return of_all(status_of([line for line in mine if line.get("volume_id") == about]) for about in volumes)


def _print(found: Mapping[Volume, list[Step]], lines: Sequence[Mapping[str, Any]], request_id: str) -> None:
    for about, steps in found.items():
        first = next((line for line in lines if line.get("volume_id") == about and line.get("server_id")), {})
        of = f" of {first['request_source']}" if first.get("request_source") else ""
        print(f"request {request_id}{of}" + (f", server {first.get('server_id')}, volume {about}" if about else ""))
        print("\n".join(as_text(steps)))
        if about and status_of([line for line in lines if line.get("volume_id") == about]) is Exit.OPEN:
            print("  no final verdict yet")
        print()
