"""An object in a process of its own, so that what is measured shares neither a clock's tick nor the GIL with it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any

PROCESSES = multiprocessing.get_context("spawn")


class Remote:
    """Makes the object there on entry, asks its methods by name, and ends its process on exit."""

    def __init__(self, make: Callable[..., AbstractContextManager[Any]], *arguments: Any) -> None:
        self._pipe, self._theirs = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_serve, args=(self._theirs, make, arguments), daemon=True)

    def __enter__(self) -> Remote:
        self._process.start()
        self._theirs.close()
        self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._pipe.send(None)
        self._process.join(timeout=10)

    def ask(self, method: str, *arguments: Any) -> Any:
        """What the method answers; raises EOFError if the process died, and there says why on stderr."""
        self._pipe.send((method, arguments))
        return self._pipe.recv()


def _serve(pipe: Connection, make: Callable[..., AbstractContextManager[Any]], arguments: tuple[Any, ...]) -> None:
    with make(*arguments) as subject:
        pipe.send(None)
        while (asked := pipe.recv()) is not None:
            method, given = asked
            pipe.send(getattr(subject, method)(*given))
