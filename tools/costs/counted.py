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
    Counted(1, 3, 8, 1, 1_950, 6_600, 10),
    Counted(5, 5, 9, 1, 1_950, 8_600, 10),
    Counted(30, 14, 19, 1, 1_950, 20_000, 10),
    Counted(60, 19, 27, 1, 1_950, 27_200, 11),
    Counted(120, 23, 32, 1, 1_950, 32_400, 11),
    Counted(600, 56, 82, 2, 4_010, 80_200, 13),
    Counted(3600, 63, 94, 2, 4_360, 90_600, 13),
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
