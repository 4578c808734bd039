"""Counts what the first delivery of a fresh process passes through: our own calls, files, and changes of file.

Run as a module it plays one event through the local stack, as `make run` does, and prints the counts as JSON.
"""

import json
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
DEPLOYED = (f"{ROOT}/shared/", f"{ROOT}/functions/")
HANDLER = f"{ROOT}/functions/detach_volume/handler.py"
UNNAMED = ("<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>", "<lambda>", "<module>")


class Walk:
    """A profile hook. It counts from the handler's first call to its return, in every thread."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.changes = 0
        self._running = self._over = False
        self._last: dict[int, str] = {}

    def hook(self, frame: FrameType, event: str, _: Any) -> None:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        is_handler = name == "lambda_handler" and path == HANDLER
        if event == "call" and is_handler and not self._over:
            self._running = True
        if event == "call" and self._running and path.startswith(DEPLOYED) and name not in UNNAMED:
            thread = threading.get_ident()
            self.changes += self._last.get(thread, path) != path
            self._last[thread] = path
            self.calls[path] += 1
        if event == "return" and is_handler and self._running:
            self._running, self._over = False, True


def main() -> None:
    from local.run import run

    walk = Walk()
    threading.setprofile(walk.hook)
    sys.setprofile(walk.hook)
    run([(ROOT / "events/detach_bare.json").read_text()], "detach_bare.json", real_cloud=False, as_json=True)
    sys.setprofile(None)
    print(json.dumps({"calls": walk.calls.total(), "files": len(walk.calls), "changes": walk.changes}))


if __name__ == "__main__":
    main()
