"""What one request makes the service do, as counted on the simulated cloud (tests/simulation/test_costs.py)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counted:
    """One request, alone in its batch, in a process that is logged in already.

    `seconds` is how long the cloud took for the detach, `calls` are those to the cloud, `log_bytes` all lines with the
    embedded metrics, `event_bytes` those of all `events`, `metrics` the custom metrics that were written.
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
"""Detaches that go well, by their length. From 600 s on there is an `unconfirmed` before the final verdict."""

CHECK = Counted(0, 1, 3, 1, 2_160, 2_900, 7)
"""A dry run: what a canary asks for."""


def between(seconds: float) -> Counted:
    """The counts of a detach that takes so long: on a straight line between the two lengths beside it."""
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
