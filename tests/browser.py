"""Drives a real headless browser over a pipe (Chrome DevTools protocol), for tests of pages."""

import base64
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--no-first-run", "--hide-scrollbars",
    "--force-color-profile=srgb", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
PATIENCE = 60.0
"""Seconds after which a silent browser is killed, so that the test fails."""


def installed() -> str | None:
    """The path of an installed browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, "")}
"""Keys that tests press: their code, and the text that they write."""


def complaints_in(method: str, told: dict[str, Any]) -> list[str]:
    """The text of an event that a console would show as an error."""
    match method:
        case "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            return [f"{details['text']} {details.get('exception', {}).get('description', '')}"]
        case "Runtime.consoleAPICalled" if told["type"] in ("error", "assert"):
            return [str([argument.get("value") for argument in told["args"]])]
        case "Log.entryAdded" if told["entry"]["level"] == "error":
            return [f"{told['entry']['text']} {told['entry'].get('url', '')}"]
    return []


class Browser:
    """One tab; `complaints` are the errors of its console."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._asked, self._unread = process, 0, b""
        self._session: str | None = None
        self.complaints: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """The result of one command. Events before it are recorded."""
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
        text, _, self._unread = self._unread.partition(b"\0")
        message = json.loads(text)
        self.complaints += complaints_in(message.get("method", ""), message.get("params", {}))
        return message

    def open(self, url: str, width: int, height: int, dark: bool = False) -> None:
        """Load a page on a screen of that size, and wait for it."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def awaited(self, script: str, seconds: float = 30) -> Any:
        """The value of an expression in the page as soon as it is truthy; None after a timeout."""
        until = f"""new Promise(done => {{
            const end = performance.now() + {seconds * 1000};
            const look = () => {{
                const found = ({script});
                found || performance.now() > end ? done(found || null) : setTimeout(look, 50);
            }};
            look();
        }})"""
        return self.ask("Runtime.evaluate", expression=until, returnByValue=True, awaitPromise=True)["result"]["value"]

    def press(self, key: str) -> None:
        """Press and release one of KEYS."""
        code, text = KEYS[key]
        told: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **told)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def picture(self) -> bytes:
        """A screenshot as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browsing(executable: str, profile: Path, patience: float = PATIENCE) -> Iterator[Browser]:
    """Run a browser for the length of the block, with its files in `profile`; ends all of its processes."""
    process = subprocess.Popen(
        # The browser uses descriptors 3 and 4 for the protocol.
        ["/bin/sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null', executable, *SWITCHES,
         "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)}, start_new_session=True,
    )  # fmt: skip
    overdue = threading.Timer(patience, os.killpg, (process.pid, signal.SIGKILL))
    overdue.start()
    try:
        yield Browser(process)
    finally:
        overdue.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
