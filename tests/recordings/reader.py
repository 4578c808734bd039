"""Reads the recorded exchanges of a client with a real cloud."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_EXCHANGE = re.compile(
    r"""(?P<remarks>(?:\#.*\n)*)
        ----\ \+(?P<at>[\d.]+)s\n
        >\ (?P<method>[A-Z]+)\ (?P<path>\S+)\ HTTP/1\.1\n
        (?P<sent>(?:>\ (?!\(body\)).*\n)*)
        (?:>\ \(body\)\ (?P<request_body>.*)\n)?
        <\ HTTP/1\.1\ (?P<status>\d+).*\n
        (?P<received>(?:<\ (?!\(body\)).*\n)*)
        (?:<\ \(body\)\ (?P<body>(?s:.*?)))?
        ^\(took\ [\d.]+\ s\)\n""",
    re.VERBOSE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer; `at` is in seconds since the recording began, header names are in lower case.

    `remark` is what the recording says in front of the request, one line or several; mostly nothing.
    """

    at: float
    method: str
    path: str
    request_headers: Mapping[str, str]
    request_body: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes
    remark: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def names() -> list[str]:
    """The recordings, in order, by the names of their files without the ending."""
    return sorted(path.stem for path in FOLDER.glob("[0-9]*.txt"))


@cache
def recording(name: str) -> tuple[Exchange, ...]:
    """The exchanges of one recording in their order. Raises ValueError for a line that belongs to none."""
    return tuple(_exchanges((FOLDER / f"{name}.txt").read_text()))


def _exchanges(text: str) -> Iterator[Exchange]:
    end = 0
    for found in _EXCHANGE.finditer(text):
        _nothing_in(text[end : found.start()])
        end = found.end()
        yield Exchange(
            at=float(found["at"]),
            method=found["method"],
            path=found["path"],
            request_headers=_headers(found["sent"]),
            request_body=(found["request_body"] or "").encode(),
            status=int(found["status"]),
            headers=_headers(found["received"]),
            body=(found["body"] or "").removesuffix("\n").encode(),
            remark="\n".join(line.removeprefix("# ") for line in found["remarks"].splitlines()),
        )
    _nothing_in(re.sub(r"(?m)^#.*$", "", text[end:]))


def _nothing_in(gap: str) -> None:
    if gap.strip():
        raise ValueError(f"no exchange: {gap.strip()[:80]}")


def _headers(lines: str) -> dict[str, str]:
    """Headers of one name are joined by commas, as HTTP has it."""
    headers: dict[str, str] = {}
    for line in lines.splitlines():
        name, _, value = line[2:].partition(": ")
        headers[name.lower()] = ", ".join(filter(None, (headers.get(name.lower()), value)))
    return headers
