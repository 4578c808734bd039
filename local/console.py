"""Console output of a run: each look at each request as it happens, and the verdicts."""

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

from tools.exit_status import is_summary

COLOURS = {"detached": "32", "failed": "31", "unconfirmed": "33", "checked": "36", "quiet": "2", "bold": "1"}


OURS = re.compile(r"(^\n|\x1b\[\d{1,2}m)")


def plain(text: str) -> str:
    """Escape control characters and line breaks, so that text from the cloud cannot control the terminal."""
    parts = OURS.split(text)
    parts[::2] = ("".join(one if one.isprintable() else repr(one)[1:-1] for one in part) for part in parts[::2])
    return "".join(parts)


def is_rich(stream: TextIO) -> bool:
    """Whether the stream is a terminal that takes colours: not with NO_COLOR (https://no-color.org) or TERM=dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Console(logging.Handler):
    """Prints the functions' log lines and the events from the bus; uses colour on a terminal only.

    `brief` leaves out the looks and the evidence; it is for many requests at once.
    """

    def __init__(self, as_json: bool = False, brief: bool = False) -> None:
        super().__init__()
        self._json = as_json
        self._brief = brief
        self._colour = not as_json and is_rich(sys.stdout)
        self._started = time.monotonic()
        self._sent: dict[tuple[str, str, str], str] = {}
        self._lock = threading.RLock()

    # ------------------------------------------------------------------------------------------------ lines

    def say(self, text: str = "") -> None:
        """Print a line for people. With JSON=1 it is dropped, because stdout carries events only."""
        if not self._json:
            self._print(plain(text))

    def at(self, text: str, colour: str = "") -> None:
        self.say(f"{self.paint(f'{time.monotonic() - self._started:7.1f}s', 'quiet')}  {self.paint(text, colour)}")

    def trouble(self, problem: object) -> None:
        """A line on stderr, in every mode."""
        with self._lock, suppress(OSError):
            print(plain(str(problem)), file=sys.stderr, flush=True)

    def paint(self, text: str, colour: str) -> str:
        code = COLOURS.get(colour)
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text

    def mark(self, right: bool | None) -> str:
        """The start of a table row: ok, NO, or blank if nothing was expected."""
        if right is None:
            return "   "
        return self.paint("ok ", "detached") if right else self.paint("NO ", "failed")

    def _print(self, text: str) -> None:
        """Print, or discard all further output if the reader has closed the pipe. The command itself goes on."""
        with self._lock:
            try:
                print(text, flush=True)
            except OSError:
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the rest of this process

    # ------------------------------------------------------------------------------------------ progress

    def emit(self, record: logging.LogRecord) -> None:
        """Show one log line. An error in showing it must not fail the function that logged it."""
        try:
            self.shown(record)
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)

    def shown(self, record: logging.LogRecord) -> None:
        fields, message, warning = vars(record), record.getMessage(), record.levelno >= logging.WARNING
        if message == "request stepped":
            self._note(fields)
            if not self._brief:
                self.at(f"{fields['request_id']:<12.12} {(fields.get('volume_id') or 'disks')[:8]:<8}  {_step(fields)}")
        elif message == "webhook answered":
            said = fields.get("why") or ", ".join(fields.get("requests", ()))
            self.at(f"webhook → {fields['http_status']} {said}", "failed" if warning else "")
        elif warning and message != "request rejected":
            error = f": {record.exc_info[1]}" if record.exc_info else ""
            self.at(f"{message}{error} {fields.get('why', '')}".rstrip(), "failed")

    def _note(self, fields: Mapping[str, Any]) -> None:
        """Remember the volumes whose DELETE was sent and whose outcome is not known yet."""
        key = fields["request_source"], fields["request_id"], fields.get("volume_id", "")
        if fields["decision"] == "wait" and fields.get("deletes_sent"):
            self._sent[key] = fields["volume_id"]
        else:
            self._sent.pop(key, None)

    def interrupted(self, real_cloud: bool) -> str:
        """What a user who pressed Ctrl-C needs to know. Call it after the functions have stopped."""
        if not real_cloud:
            return "Stopped; the simulated cloud has ended with this command."
        if not self._sent:
            return "Stopped. No detach was seen under way; running the same command again is safe."
        return (
            f"Stopped. The detach of {', '.join(sorted(set(self._sent.values())))} continues in the cloud, and is not "
            "watched any more: run the same command again to see how it ended."
        )

    # ------------------------------------------------------------------------------------------- verdicts

    def verdict(self, event: Mapping[str, Any]) -> None:
        """Show one event from the bus."""
        if self._json:
            self._print(json.dumps(event, ensure_ascii=False))
            return
        data = event["data"]
        if is_summary(event):
            self._summary(data)
            return
        self.at(f"{data['request']['id']:<12.12} {data['verdict'].upper()} · {data['detail']}", data["verdict"])
        if self._brief:
            return
        evidence, seconds = data["evidence"], data["timing"]["seconds"]
        facts = [
            event.get("subject", "no server known"),
            f"{seconds:.1f} s, DELETEs sent: {evidence['deletes_sent']}, looks: {evidence['polls']}",
        ]
        if reason := data.get("reason"):
            facts += [reason["message"], f"→ {reason['remedy']}"]
        for fact in facts:
            self.say(f"{'':23}{fact}")

    def _summary(self, data: Mapping[str, Any]) -> None:
        """Show a summary of several volumes."""
        counts, outcome = data["counts"], data["outcome"]
        title = f"SUMMARY · {outcome}: {counts[outcome]} of {counts['volumes']} volumes"
        self.at(f"{data['request']['id']:<12.12} {title}", outcome)
        for one in () if self._brief else data["volumes"]:
            self.say(f"{'':23}{one.get('volume_id') or 'no volume'}  {one['verdict']} · {one['detail']}")


def _step(fields: Mapping[str, Any]) -> str:
    """What was seen, the cloud's answer to the DELETE if one was sent, and what follows."""
    status = fields.get("volume_status") or "-"
    calls = [call for call in fields.get("calls", ()) if call.startswith("delete_attachment")]
    answer = re.sub(r" http_\d+", "", calls[-1].removeprefix("delete_attachment ")) if calls else ""
    said = f"DELETE → {answer}; " if answer else ""
    if fields["decision"] == "list":
        return f"data disks listed: {len(fields.get('volume_ids', ()))}"
    if fields["decision"] != "wait":
        return f"{status:<10} {said}{fields['detail']}"
    why = fields["why"]
    if why.startswith("DELETE: "):
        said, why = "", why.replace("DELETE:", "DELETE →", 1)
        why = why if len(why) <= 100 else f"{why[:100]}…"
    return f"{status:<10} {said}{why}; looking again in {fields['seconds']} s"
