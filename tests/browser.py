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
TIMEOUT = 60.0
"""Seconds after which a silent browser is killed, so that the test fails."""


def installed() -> str | None:
    """The path of an installed browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, "")}
"""Keys that tests press: their code, and the text that they write."""


def console_errors_in(method: str, fields: dict[str, Any]) -> list[str]:
    """The texts that the console would show as errors for an event."""
    match method:
        case "Runtime.exceptionThrown":
            details = fields["exceptionDetails"]
            return [f"{details['text']} {details.get('exception', {}).get('description', '')}"]
        case "Runtime.consoleAPICalled" if fields["type"] in ("error", "assert"):
            return [str([argument.get("value") for argument in fields["args"]])]
        case "Log.entryAdded" if fields["entry"]["level"] == "error":
            return [f"{fields['entry']['text']} {fields['entry'].get('url', '')}"]
    return []


class Browser:
    """One tab; `console_errors` are the errors that its console shows."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._last_id, self._unread = process, 0, b""
        self._session: str | None = None
        self.console_errors: list[str] = []
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> Any:
        """The result of one command. Events before it are recorded."""
        self._last_id += 1
        fields = {"id": self._last_id, "method": method, "params": parameters}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(fields | ({"sessionId": self._session} if self._session else {})).encode())
        self._process.stdin.write(b"\0")
        self._process.stdin.flush()
        while (message := self._next()).get("id") != self._last_id:
            pass
        assert "error" not in message, (method, message["error"])
        return message["result"]

    def _next(self) -> Any:
        assert self._process.stdout
        while b"\0" not in self._unread:
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            assert more, "the browser has exited"
            self._unread += more
        text, _, self._unread = self._unread.partition(b"\0")
        message = json.loads(text)
        self.console_errors += console_errors_in(message.get("method", ""), message.get("params", {}))
        return message

    def open(self, url: str, width: int, height: int, dark: bool = False) -> None:
        """Load a page on a screen of that size, and wait for it."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                 mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def value(self, script: str) -> Any:
        """The value of an expression in the page."""
        return self.command("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

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
        answer = self.command("Runtime.evaluate", expression=until, returnByValue=True, awaitPromise=True)
        return answer["result"]["value"]

    def press(self, key: str) -> None:
        """Press and release one of KEYS."""
        code, text = KEYS[key]
        fields: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.command("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **fields)
        self.command("Input.dispatchKeyEvent", type="keyUp", **fields)

    def picture(self) -> bytes:
        """A screenshot as PNG."""
        return base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browsing(executable: str, profile: Path, timeout: float = TIMEOUT) -> Iterator[Browser]:
    """Run a browser inside the block, with its files in `profile`, and then end all of its processes."""
    process = subprocess.Popen(
        # The browser uses descriptors 3 and 4 for the protocol.
        ["/bin/sh", "-c", 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null', executable, *SWITCHES,
         "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(profile)}, start_new_session=True,
    )  # fmt: skip
    overdue = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
    overdue.start()
    try:
        yield Browser(process)
    finally:
        overdue.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
