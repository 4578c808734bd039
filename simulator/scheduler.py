"""Runs scheduled actions on the world's clock; due actions run when the world is read."""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count


class Scheduler:
    """Scheduled actions; `advance` runs those that are due, in the order of their due times."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._due: list[tuple[datetime, int, Callable[[], object]]] = []
        self._order = count()
        self._advancing = False
        self.now = clock()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule `action` in `seconds`; inside another action they count from that action's due time."""
        self.advance()
        due = self.now + timedelta(seconds=max(0.0, seconds))
        heapq.heappush(self._due, (due, next(self._order), action))

    def forget(self) -> None:
        """Cancel all scheduled actions."""
        self._due.clear()

    def advance(self) -> None:
        """Run all actions that are due; each sees its own due time as `now`."""
        if self._advancing:
            return
        self._advancing = True
        try:
            self._run_until(self._clock())
        finally:
            self._advancing = False

    def _run_until(self, end: datetime) -> None:
        while self._due and self._due[0][0] <= end:
            self.now, _, action = heapq.heappop(self._due)
            action()
        self.now = max(self.now, end)
