"""Reads events from a file or standard input: one event, an array of events, or one event a line."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STDIN = "-"
LAMBDA_RECORDS = re.compile(r'\s*\{\s*"Records"\s*:')


class NoEvents(ValueError):
    """There is nothing to send; the text is one sentence for the user."""


def read_events(path: str) -> list[str]:
    """The events of a file, each as JSON text; `-` is standard input. Raises NoEvents."""
    name = "Standard input" if path == STDIN else f"The event file {path}"
    return list(events_in(_text(path, name), name))


def _text(path: str, name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    except FileNotFoundError:
        raise NoEvents(f"There is no event file {path}; samples are in events/.") from None
    except OSError as error:
        raise NoEvents(f"{name} cannot be read ({error.strerror}): name a file with JSON in it.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoEvents(f"{name} is not UTF-8 (byte {error.start}): save it as JSON in UTF-8.") from error


def events_in(text: str, name: str) -> Iterator[str]:
    """The text of each event. Raises NoEvents, which names the text as `name`."""
    if not text.strip():
        raise NoEvents(f"{name} is empty: write an event as JSON, such as events/detach_bare.json.")
    if LAMBDA_RECORDS.match(text):
        raise NoEvents(f"{name} is a batch for Lambda; a message on the queue is the `body` of a record.")
    within = name[0].lower() + name[1:]
    value, why = _parsed(text)
    if why:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        lines = [(number, line.rstrip("\r")) for number, line in lines]
        if len(lines) == 1 or _parsed(lines[0][1])[1]:
            raise NoEvents(f"{name} is not JSON ({why}): write one event, an array of events, or one event a line.")
        for number, line in lines:
            yield _event(*_parsed(line), line, f"Line {number} of {within}")
    elif isinstance(value, list):
        if not value:
            raise NoEvents(f"{name} is an empty array: there is nothing to send.")
        for number, (entry, written) in enumerate(zip(value, _entries(text), strict=True), 1):
            yield _event(entry, None, written, f"Entry {number} of {within}")
    else:
        yield _event(value, None, text, name)


def _entries(text: str) -> Iterator[str]:
    """The text of each entry of an array, unchanged, so that the service can refuse duplicate keys."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while (at := BLANK.match(text, at).end()) < len(text) and text[at] != "]":  # type: ignore[union-attr]
        _, end = decoder.raw_decode(text, at)
        yield text[at:end]
        at = BLANK.match(text, end).end()  # type: ignore[union-attr]
        at += text[at] == ","


BLANK = re.compile(r"[ \t\r\n]*")


def _parsed(text: str) -> tuple[Any, str | None]:
    """The value, and None or why it cannot be parsed."""
    try:
        return json.loads(text), None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} " if "\n" in text else ""
        return None, f"{error.msg[0].lower()}{error.msg[1:]}, {where}column {error.colno}"
    except (ValueError, RecursionError):
        return None, "it is nested too deeply, or a number in it is too long"


def _event(value: Any, why: str | None, text: str, name: str) -> str:
    if why:
        raise NoEvents(f"{name} is not JSON ({why}): nothing was sent.")
    if not isinstance(value, dict):
        raise NoEvents(f"{name} is not a JSON object: write an event such as events/detach_bare.json.")
    return text
