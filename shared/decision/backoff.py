"""How long to wait: growing, jittered, and the same for the same request, so that the core stays pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Backoff:
    """Whole seconds from `first`, times `factor` each attempt, up to `cap`; jitter takes off up to a third."""

    first: float
    factor: float
    cap: float

    def seconds(self, attempt: int, seed: str) -> int:
        """The same for the same seed: a redelivery waits as its first delivery did."""
        grown = min(self.cap, self.first * self.factor ** min(attempt, 64))
        jittered = grown * (1 - Random(f"{seed}/{attempt}").random() / 3)  # noqa: S311 - no secret
        return max(1, round(jittered))


POLL = Backoff(first=1, factor=1.6, cap=15)
RETRY = Backoff(first=5, factor=2, cap=60)
WATCH = Backoff(first=60, factor=2, cap=900)
