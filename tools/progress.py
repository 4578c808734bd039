"""Shows the progress of a detach: one updating line on a terminal, a line for each step elsewhere."""

import json
import logging
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.console import Console, is_rich
from tools.exit_status import FINAL

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
STILL = 15
"""Seconds after which a line without a terminal is repeated, although nothing has changed."""


@dataclass(frozen=True)
class Look:
    """What the latest look saw, from the function's log. `sent` says whether a DELETE was sent."""

    volume: str = ""
    listed: bool | None = None
    why: str = ""
    answer: str = ""
    sent: bool = False

    @property
    def text(self) -> str:
        """Both planes, the answer to a DELETE, and what the request waits for."""
        plane = {True: "listed by the server", False: "not listed by the server", None: ""}[self.listed]
        seen = f"volume {self.volume}" if self.volume else "no volume seen" if self.why else ""
        return " · ".join(part for part in (seen, plane, self.answer, self.why) if part)


def look_of(fields: Mapping[str, Any]) -> Look:
    """The look of a log line "request stepped"."""
    calls = [call for call in fields.get("calls") or () if call.startswith("delete_attachment")]
    answer = re.sub(r" http_\d+", "", calls[-1].removeprefix("delete_attachment ")) if calls else ""
    why = str(fields.get("why") or fields.get("detail") or "")
    return Look(
        volume=fields.get("volume_status") or "",
        listed=fields.get("listed_by_server"),
        why=why.removeprefix("accepted; ") if answer else why,
        answer=f"DELETE answered {answer}" if answer else "",
        sent=bool(fields.get("deletes_sent")),
    )


class Progress(Console):
    """Shows the looks at one request only. Shows nothing if stdout carries events."""

    def __init__(self, as_json: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(as_json)
        self.look = Look()
        self.request_id = ""
        self._clock = clock
        self._since = clock()
        self._printed_at = clock()
        self._moving = is_rich(sys.stdout) and not as_json
        self.asked: str | None = None
        self.final: list[Mapping[str, Any]] = []
        self._stopped: float | None = None
        self._drawn = False
        self._quiet = False
        self._turns = 0

    def begin(self, request_id: str, dry: bool = False) -> None:
        """Watch this request from now on. The looks of a dry run are not shown.

        `asked` becomes the id of a request that is no dry run. It is set before the request is sent, because the
        request may have been sent even if the call fails.
        """
        self.request_id, self.look, self._quiet, self._stopped = request_id, Look(), dry, None
        self.asked = None if dry else request_id
        self.final = []
        self._since = self._printed_at = self._clock()

    @property
    def seconds(self) -> float:
        """How long this request has been watched, or was."""
        return (self._stopped or self._clock()) - self._since

    def stop(self) -> None:
        """Stop watching the request."""
        self._stopped = self._clock()
        self._erase()

    # ------------------------------------------------------------------------------------------------ lines

    def _print(self, text: str) -> None:
        with self._lock:
            self._erase()
            super()._print(text)

    def _erase(self) -> None:
        if self._drawn:
            sys.stdout.write("\r\x1b[2K")
            sys.stdout.flush()
            self._drawn = False

    def tick(self) -> None:
        """Update the line; called several times a second."""
        if not self.request_id:
            return
        if self._moving:
            self._turns += 1
            text = f"{FRAMES[self._turns % len(FRAMES)]} {self.seconds:5.1f}s  {self.look.text or 'in the queue'}"
            width = shutil.get_terminal_size().columns - 1
            with self._lock:
                sys.stdout.write(f"\r\x1b[2K{text[:width]}")
                sys.stdout.flush()
                self._drawn = True
        elif self._clock() - self._printed_at >= STILL:
            self._tell(f"still {self.look.text or 'in the queue'}")

    def _tell(self, text: str) -> None:
        self._printed_at = self._clock()
        self.say(f"{self.seconds:7.1f}s  {text}")

    # --------------------------------------------------------------------------------------------- progress

    def emit(self, record: logging.LogRecord) -> None:
        """Show one log line of the functions."""
        self.take(vars(record), record.getMessage(), record.levelno >= logging.WARNING)

    def take(self, fields: Mapping[str, Any], message: str, warning: bool = False) -> None:
        if message == "request stepped":
            if fields.get("request_id") == self.request_id:
                look = look_of(fields)
                if look != self.look or not self._moving:
                    self.look = look
                    if not self._quiet:
                        self._tell(look.text)
        elif warning and message not in ("request rejected",):
            self._tell(self.paint(f"{message}: {fields.get('why') or ''}".rstrip(": "), "failed"))

    def heard(self, event: Mapping[str, Any]) -> None:
        """Show a verdict. Final verdicts are kept for the caller, which shows their details."""
        if event["data"]["verdict"] in FINAL:
            self.final.append(event)
        if self._json:
            self._print(json.dumps(event, ensure_ascii=False))
        elif event["data"]["verdict"] == "unconfirmed" and not self.final:
            self._tell(self.paint("UNCONFIRMED: the outcome is not known yet; still watching", "unconfirmed"))


class Ticker:
    """Updates a progress while the main thread waits."""

    def __init__(self, progress: Progress, seconds: float = 0.1) -> None:
        self._progress, self._seconds, self._over = progress, seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Ticker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._progress.stop()

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            self._progress.tick()
