"""Data for the page about the running stack: the last requests, from their log lines and verdicts."""

import json
import logging
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from queue import Empty, SimpleQueue
from typing import Any

from shared.telemetry.logs import logger
from tools.exit_status import is_summary

KEPT = 50
"""Number of requests that are kept; a new one replaces the oldest."""

STEPS_KEPT = 300
"""Number of looks that are kept of each request."""

STILL_HERE = 10.0
"""Seconds after which an idle stream sends a comment. The write fails if the client has gone."""

FIELDS = ("volume_status", "listed_by_server", "decision", "detail", "outcome", "reason", "why", "seconds")
"""The fields of a step's log line that are shown."""

Key = tuple[str, str, str | None]
"""Source and id of a request, and a volume of it."""


@dataclass
class Followed:
    """One request for one volume. `name` is unique among those kept; times are seconds since 1970."""

    name: str
    request_id: str
    volume_id: str | None
    at: float
    server_id: str | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def concluded(self) -> bool:
        return bool(self.steps) and self.steps[-1]["decision"] == "conclude"

    def shown(self) -> dict[str, Any]:
        return dict(vars(self))


class Live(logging.Handler):
    """Collects the functions' log lines and the events from the bus, and tells subscribers of each change.

    It has no other source: the page shows what the product saw and said.
    """

    def __init__(self) -> None:
        super().__init__()
        self._requests: dict[str, Followed] = {}
        self._latest: dict[Key, Followed] = {}
        self._subscribers: set[SimpleQueue[str | None]] = set()
        self._guard = threading.Lock()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive the functions' log lines; end every stream on exit."""
        heard = logging.getLogger(logger.name)
        heard.addHandler(self)
        try:
            yield
        finally:
            heard.removeHandler(self)
            with self._guard:
                for subscriber in self._subscribers:
                    subscriber.put(None)

    # ----------------------------------------------------------------------------------------------- what comes in

    def emit(self, record: logging.LogRecord) -> None:
        """Record a log line about a request; ignore others."""
        fields, message = vars(record), record.getMessage()
        with self._guard:
            if message == "webhook answered":
                for said in fields.get("requests", ()):
                    named = said.split(" ")
                    if len(named) == 3:  # an id with spaces is listed from its first look on
                        self._tell(self._of((named[0], named[1], named[2]), record.created, anew=True))
            elif message in ("request stepped", "look failed"):
                key = fields["request_source"], fields["request_id"], fields.get("volume_id")
                followed = self._of(key, record.created, anew=True)
                followed.server_id = fields["server_id"]
                followed.steps = [*followed.steps[1 - STEPS_KEPT :], _step(fields, record.created)]
                self._tell(followed)

    def verdict(self, event: Mapping[str, Any]) -> None:
        """Record an event from the bus. A redelivered event changes nothing."""
        data, now = event["data"], time.time()
        with self._guard:
            asked = data["request"]
            followed = self._of((asked.get("source", ""), asked["id"], data.get("volume_id")), now)
            if any(known["event"]["id"] == event["id"] for known in followed.verdicts):
                return
            followed.server_id = followed.server_id or data.get("server_id")
            shown = dict(event)
            if is_summary(event):  # the page needs a verdict and a detail
                count = data["counts"]["volumes"]
                shown["data"] = {**data, "verdict": data["outcome"], "detail": f"summary of {count} volumes"}
            followed.verdicts.append({"at": now, "event": shown})
            self._tell(followed)

    def cloud_changed(self) -> None:
        """Tell subscribers to read servers and disks again."""
        with self._guard:
            self._say(_sse("cloud", {}))

    def _of(self, key: Key, now: float, anew: bool = False) -> Followed:
        """The request with that key. With `anew`, a concluded request is followed by a new one with its own name."""
        known = self._latest.get(key)
        if known and not (anew and known.concluded):
            return known
        id_, others = key[1], (f"{key[1]}~{number}" for number in count(2))
        name = next(name for name in chain([id_], others) if name not in self._requests)
        followed = self._requests[name] = self._latest[key] = Followed(name, id_, key[2], now)
        if len(self._requests) > KEPT:
            oldest = self._requests.pop(next(iter(self._requests)))
            self._latest = {key: one for key, one in self._latest.items() if one is not oldest}
        return followed

    # ----------------------------------------------------------------------------------------------- what goes out

    def stream(self) -> Generator[str, None, None]:
        """Server-sent events: every kept request, `ready` with their names, and then each change."""
        news: SimpleQueue[str | None] = SimpleQueue()
        with self._guard:
            kept = list(self._requests.values())
            for followed in kept:
                news.put(_sse("request", followed.shown()))
            news.put(_sse("ready", {"names": [followed.name for followed in kept]}))
            self._subscribers.add(news)
        try:
            while True:
                try:
                    told = news.get(timeout=STILL_HERE)
                except Empty:
                    told = ": still here\n\n"
                if told is None:
                    return
                yield told
        finally:
            with self._guard:
                self._subscribers.discard(news)

    def _tell(self, followed: Followed) -> None:
        self._say(_sse("request", followed.shown()))

    def _say(self, event: str) -> None:
        for subscriber in self._subscribers:
            subscriber.put(event)


def _sse(event: str, data: object) -> str:
    return f"event: {event}\ndata: {json.dumps(data, default=str)}\n\n"


def _step(fields: Mapping[str, Any], at: float) -> dict[str, Any]:
    """A look, from its log line; `delete` is the cloud's answer to the DELETE, if one was sent."""
    calls = [re.sub(r" (http_\d+|req-\S+)", "", call) for call in fields.get("calls", ())]
    deletes = [call.partition(" ")[2] for call in calls if call.startswith("delete_attachment")]
    shown = {name: fields[name] for name in FIELDS if name in fields}
    said = {"decision": "failed", "why": "our own code failed on this look"} if "decision" not in fields else {}
    return {"at": at, **shown, **said, "calls": calls, "delete": deletes[-1] if deletes else None}
