"""A real browser without a window, spoken to over a pipe (Chrome DevTools protocol); for tests that look at a page."""

import base64
import json
import os
import shutil
import signal
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run", "--hide-scrollbars",
    "--force-color-profile=srgb", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
PATIENCE = 60.0
"""Seconds until a browser that says nothing is ended; what waits for it then fails."""


def installed() -> str | None:
    """The browser of this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@dataclass(frozen=True)
class Picture:
    """A decoded screenshot: rows of pixels, each pixel three bytes of red, green and blue."""

    width: int
    rows: tuple[bytes, ...]

    @property
    def height(self) -> int:
        return len(self.rows)

    @property
    def background(self) -> bytes:
        """The colour in the upper left corner, where nothing is written."""
        return self.rows[0][:3]

    @property
    def lines(self) -> int:
        """How many lines something is written on: runs of rows that are not all background."""
        blank = self.background * self.width
        written = [row != blank for row in self.rows]
        return sum(here and not before for before, here in zip([False, *written], written, strict=False))

    @property
    def colours(self) -> int:
        return len({row[at : at + 3] for row in set(self.rows) for at in range(0, len(row), 3)})

    @property
    def contrast(self) -> int:
        """How far the channel that differs most is from the background, of 255."""
        ground = self.background[0]
        return max(max(abs(max(row) - ground), abs(min(row) - ground)) for row in self.rows)


def decoded(png: bytes) -> Picture:
    """Only what a browser writes: eight bits a channel, not interlaced, with or without transparency."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, header, packed = 8, b"", b""
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        content = png[at + 8 : at + 8 + length]
        header, packed = (content, packed) if kind == b"IHDR" else (header, packed + content * (kind == b"IDAT"))
        at += length + 12
    width, height, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, interlaced) == (8, 0)
    size = {2: 3, 6: 4}[colour]
    raw, step, rows, above = zlib.decompress(packed), width * size, [], bytes(width * size)
    for start in range(0, height * (step + 1), step + 1):
        above = _unfiltered(raw[start], raw[start + 1 : start + 1 + step], above, size)
        rows.append(above if size == 3 else bytes(above[i] for i in range(step) if i % 4 != 3))
    return Picture(width, tuple(rows))


def _unfiltered(kind: int, line: bytes, above: bytes, size: int) -> bytes:
    """One row with the PNG filter taken off (PNG specification §9)."""
    if kind == 0:
        return line
    if kind == 2:
        return bytes((guess + more) & 255 for guess, more in zip(above, line, strict=True))
    row = bytearray(line)
    for at in range(len(row)):
        left, up = row[at - size] if at >= size else 0, above[at]
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + up) // 2
        else:
            corner = above[at - size] if at >= size else 0
            guess = min((left, up, corner), key=lambda found: abs(left + up - corner - found))
        row[at] = (row[at] + guess) & 255
    return bytes(row)


class Browser:
    """One tab."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._asked, self._unread = process, 0, b""
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """The result of one command; events that come before it are passed over."""
        self._asked += 1
        told = {"id": self._asked, "method": method, "params": parameters}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(told | ({"sessionId": self._session} if self._session else {})).encode())
        self._process.stdin.write(b"\0")
        self._process.stdin.flush()
        while (message := self._next()).get("id") != self._asked:
            pass
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def _next(self) -> Any:
        assert self._process.stdout
        while b"\0" not in self._unread:
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            assert more, "the browser has gone away"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def open(self, url: str, width: int, height: int, dark: bool = False) -> None:
        """Show a page as on a screen of that size; returns when it is loaded."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def value(self, script: str) -> Any:
        """What an expression is in the page."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def picture(self) -> bytes:
        """What is to be seen, as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browsing(executable: str, profile: Path) -> Iterator[Browser]:
    """A browser of its own, ended with all of its processes; it keeps everything it writes in `profile`."""
    process = subprocess.Popen(
        # The protocol is spoken on descriptors 3 and 4.
        ["/bin/sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null', executable, *SWITCHES,
         "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)}, start_new_session=True,
    )  # fmt: skip
    overdue = threading.Timer(PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
    overdue.start()
    try:
        yield Browser(process)
    finally:
        overdue.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
