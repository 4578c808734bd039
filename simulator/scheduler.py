"""What is going to happen, and when: time passes only where somebody looks."""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count


class Scheduler:
    """Scheduled actions, run in the order of their due times as soon as the clock has passed them."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._due: list[tuple[datetime, int, Callable[[], object]]] = []
        self._order = count()
        self._advancing = False
        self.now = clock()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule `action`; within another action `seconds` count from that one's due time."""
        self.advance()
        due = self.now + timedelta(seconds=max(0.0, seconds))
        heapq.heappush(self._due, (due, next(self._order), action))

    def forget(self) -> None:
        """Nothing of what was scheduled is going to happen."""
        self._due.clear()

    def advance(self) -> None:
        """Run all that is due; each action sees its own due time as `now`."""
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
