"""What a person sees of a run: each look at each request as it happens, and the verdicts."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

COLOURS = {"detached": "32", "failed": "31", "unconfirmed": "33", "checked": "36", "quiet": "2", "bold": "1"}


class Console(logging.Handler):
    """Fed by the log lines of the functions and by the events off the bus; colour on a terminal only."""

    def __init__(self, out: TextIO = sys.stdout, as_json: bool = False) -> None:
        super().__init__()
        self._out = out
        self._json = as_json
        self._colour = not as_json and out.isatty()
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self.brief = False

    # ------------------------------------------------------------------------------------------------ lines

    def say(self, text: str = "") -> None:
        """A line for people; with JSON=1 stdout carries events only, so it goes nowhere."""
        if not self._json:
            self._print(text)

    def at(self, text: str, colour: str = "") -> None:
        self.say(f"{self.paint(f'{time.monotonic() - self._started:7.1f}s', 'quiet')}  {self.paint(text, colour)}")

    def trouble(self, text: str) -> None:
        """A line on stderr, in every mode."""
        with self._lock:
            print(text, file=sys.stderr, flush=True)

    def paint(self, text: str, colour: str) -> str:
        code = COLOURS.get(colour)
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text

    def _print(self, text: str) -> None:
        with self._lock:
            print(text, file=self._out, flush=True)

    # ------------------------------------------------------------------------------------------ progress

    def emit(self, record: logging.LogRecord) -> None:
        """Show one log line of the functions."""
        fields = vars(record)
        if record.getMessage() == "request stepped":
            if self.brief:
                return
            self.at(f"{fields['request_id']:<12.12} {fields['volume_id'][:8]}  {_step(fields)}")
        elif record.getMessage() == "webhook answered":
            said = fields.get("why") or ", ".join(fields.get("requests", ()))
            self.at(f"webhook → {fields['http_status']} {said}", "failed" if record.levelno >= logging.WARNING else "")
        elif record.levelno >= logging.WARNING and record.getMessage() != "request rejected":
            error = f": {record.exc_info[1]}" if record.exc_info else ""
            self.at(f"{record.getMessage()}{error} {fields.get('why', '')}".rstrip(), "failed")

    # ------------------------------------------------------------------------------------------- verdicts

    def verdict(self, event: Mapping[str, Any]) -> None:
        """Show one event that came off the bus."""
        if self._json:
            self._print(json.dumps(event, ensure_ascii=False))
            return
        data = event["data"]
        headline = f"{data['verdict'].upper()} · {data['detail']}"
        what = event.get("subject", "no server and volume known")
        self.at(f"{data['request']['id']:<12.12} {headline}", data["verdict"])
        if self.brief:
            return
        evidence, timing = data["evidence"], data["timing"]
        facts = [
            what,
            f"{timing['seconds']:.1f} s, DELETEs sent: {evidence['deletes_sent']}, looks: {evidence['polls']}",
        ]
        if reason := data.get("reason"):
            facts += [reason["message"], f"→ {reason['remedy']}"]
        for fault in data.get("faults") or ():
            facts.append(f"· {fault['field'] or 'message'}: {fault['message']}")
        for fact in facts:
            self.say(f"{'':23}{fact}")


def _step(fields: Mapping[str, Any]) -> str:
    status = fields.get("volume_status") or "-"
    if fields["decision"] != "wait":
        return f"{status:<10} {_deleted(fields)}{fields['detail']}"
    why = fields["why"]
    if why.startswith("DELETE: "):
        said = f"DELETE → {why.removeprefix('DELETE: ')}"
        return f"{status:<10} {said[:100]}{'…' if len(said) > 100 else ''}; looking again in {fields['seconds']} s"
    return f"{status:<10} {_deleted(fields)}{why}; looking again in {fields['seconds']} s"


def _deleted(fields: Mapping[str, Any]) -> str:
    """What the cloud answered to the DELETE of this look, if there was one."""
    calls = [call for call in fields.get("calls", ()) if call.startswith("delete_attachment")]
    answer = re.sub(r" http_\d+", "", calls[-1].removeprefix("delete_attachment ")) if calls else ""
    return f"DELETE → {answer}; " if answer else ""


def attach_to_functions(console: Console) -> None:
    """Take the functions' log lines instead of letting them go to stdout as JSON."""
    from shared.telemetry.logs import logger

    target = logging.getLogger(logger.name)
    target.handlers[:] = [console]
    target.propagate = False
