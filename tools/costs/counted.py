"""The work that one request causes, counted on the simulated cloud (tests/simulation/test_costs.py)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of one request, alone in its batch, in a process that has logged in already.

    `seconds` is how long the cloud took for the detach. `calls` are those to the cloud. `log_bytes` includes embedded
    metrics. `event_bytes` is the size of all `events`. `metrics` is the number of custom metrics.
    """

    seconds: float
    invocations: float
    calls: float
    events: float
    event_bytes: float
    log_bytes: float
    metrics: float


DETACHES: Sequence[Counted] = (
    Counted(1, 3, 8, 1, 1_950, 6_700, 11),
    Counted(2, 3, 7, 1, 1_950, 6_300, 11),
    Counted(5, 5, 10, 1, 1_950, 9_250, 11),
    Counted(30, 12, 16, 1, 1_950, 17_800, 11),
    Counted(60, 15, 20, 1, 1_950, 22_000, 12),
    Counted(120, 19, 26, 1, 1_950, 27_900, 12),
    Counted(600, 52, 76, 2, 4_010, 77_900, 14),
    Counted(3600, 59, 88, 2, 4_360, 88_800, 14),
)
"""Successful detaches, by duration. From 600 s on an `unconfirmed` precedes the final verdict."""

CHECK = Counted(0, 1, 3, 1, 2_160, 2_900, 7)
"""A dry run, such as a canary's."""


def between(seconds: float) -> Counted:
    """The counts of a detach of that duration, interpolated linearly."""
    first, *_, last = DETACHES
    at = min(max(seconds, first.seconds), last.seconds)
    above = next(row for row in DETACHES if row.seconds >= at)
    below = next(row for row in reversed(DETACHES) if row.seconds <= at)
    part = (at - below.seconds) / (above.seconds - below.seconds) if above is not below else 0.0

    def line(low: float, high: float) -> float:
        return low + part * (high - low)

    return Counted(
        at,
        line(below.invocations, above.invocations),
        line(below.calls, above.calls),
        below.events,
        below.event_bytes,
        line(below.log_bytes, above.log_bytes),
        above.metrics,
    )
