"""Simulates look schedules: how late a verdict is, and how many calls a detach takes.

`python -m benchmarks.schedule` draws schedule.svg and prints its table. tests/unit/test_schedule.py compares the model
with the calls counted in the simulated cloud.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain, pairwise, repeat
from math import erf, inf, log, sqrt
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.drawing import dot, line, picture, text
from benchmarks.report import DETACHES, HERE, about
from shared.policy import POLL, RECORD_AFTER

BEFORE = (1, 1, 2, 2, *[3] * 8, 4, 5, 6, 7, 8, 10, 12, 15)
"""The former POLL, which `conventional.py` still uses."""
BEFORE_RECORD = 25
"""The former RECORD_AFTER."""

NOVA_LAG = 0.5
"""Seconds by which compute finishes after block storage: 0.3 to 0.7 in the recordings."""
OURS_LATE, CALL = 0.1, 0.06
"""The delay in seconds of a due look, and the seconds of a call of the conventional handler, which waits inline.
Both with the benchmark's latency of 50 ms."""
LONGEST = 600
"""Seconds (`CONFIRM_TIMEOUT`): longer detaches have another schedule."""

# --------------------------------------------------------------------------------- how long detaches take


Distribution = Callable[[float], float]
"""The share of detaches that block storage has finished after that many seconds."""


def lognormal(median: float, sigma: float) -> Distribution:
    return lambda x: 0.5 * (1 + erf(log(x / median) / sigma / sqrt(2))) if x > 0 else 0.0


def pareto(least: float, alpha: float) -> Distribution:
    return lambda x: 1 - (least / x) ** alpha if x > least else 0.0


RECORDED = (0.2, 0.4, 1.0, 1.7, 1.8, 1.8, 1.9, 2.0, 2.1, 2.1, 2.2, 4.7, 5.0, 7.2)
"""Seconds from DELETE to the first read without the attachment, in the recordings of a real Nova and Cinder. The first
three are of servers without a host."""

LENGTHS: Mapping[str, Distribution] = {
    # A driver that does nothing: the minimum of any cloud. Smoothed, because it was read twice a second.
    "recorded": lambda x: sum(lognormal(one, 0.15)(x) for one in RECORDED) / len(RECORDED),
    # Half of the detaches within 5 s, one in twenty over 26 s, one in a hundred over 51 s: usual for operators.
    "lognormal": lognormal(5, 1.0),
    # A guest that does not answer is asked again every 20 s, for up to 160 s (Nova, libvirt.device_detach_timeout and
    # device_detach_attempts): one in twenty over 30 s, one in a hundred over 150 s.
    "Pareto": pareto(1.5, 1.0),
}

EDGES = (*(at / 10 for at in range(400)), *(40 + at / 2 for at in range(160)), *range(120, LONGEST, 2), LONGEST)


@cache
def weights(name: str) -> tuple[tuple[float, float], ...]:
    """Durations in seconds with their shares; `all` has one third of each distribution."""
    if name == "all":
        return tuple((length, share / len(LENGTHS)) for one in LENGTHS for length, share in weights(one))
    ended = [LENGTHS[name](edge) / LENGTHS[name](LONGEST) for edge in EDGES]
    cells = zip(EDGES, EDGES[1:], ended, ended[1:], strict=False)
    return tuple(((low + high) / 2, after - before) for low, high, before, after in cells)


# ------------------------------------------------------------------------------------------- one detach


class Cost(NamedTuple):
    calls: float
    late: float
    """Seconds from the end on both planes to the verdict."""


Handler = Callable[[float], Cost]


def pauses(steps: Sequence[int]) -> Iterator[int]:
    return chain(steps, repeat(steps[-1]))


@dataclass(frozen=True)
class Ours:
    """This service: looks are due at fixed times; if one sees block storage free, the next follows after a second."""

    steps: Sequence[int]
    record_after: float = RECORD_AFTER
    delay: float = OURS_LATE

    def __call__(self, seconds: float) -> Cost:
        calls = 4  # server, list, volume, DELETE
        for number, due in enumerate(accumulate(pauses(self.steps)), 1):
            at = due + self.delay
            if at >= seconds:
                too_early = at < seconds + NOVA_LAG
                return Cost(calls + (4 if too_early else 2), at + too_early - seconds - NOVA_LAG)
            calls += 2 if at >= self.record_after and number % 2 == 0 else 1
        raise AssertionError("the pauses never end")


@dataclass(frozen=True)
class Conventional:
    """`conventional.py`: each call delays all later looks; a look that sees block storage free waits as usual."""

    steps: Sequence[int]
    call: float = CALL

    def __call__(self, seconds: float) -> Cost:
        calls, at = 3, self.call  # server, volume, DELETE
        for pause in pauses(self.steps):
            calls, at = calls + 1, at + pause + self.call
            if at >= seconds:
                calls, at = calls + 1, at + self.call
                if at >= seconds + NOVA_LAG:
                    return Cost(calls, at - seconds - NOVA_LAG)
        raise AssertionError("the pauses never end")


class Expectation(NamedTuple):
    """The mean number of calls of a handler, and the 95th percentile of lateness."""

    calls: float
    late: float
    late_95: float


def expected(handler: Handler, name: str) -> Expectation:
    costs = [(*handler(length), share) for length, share in weights(name) if share > 1e-9]
    by_lateness = sorted(costs, key=lambda cost: cost[1])
    reached = accumulate(share for *_, share in by_lateness)
    late_95 = next(late for (_, late, _), share in zip(by_lateness, reached, strict=True) if share >= 0.95)
    return Expectation(
        sum(calls * share for calls, _, share in costs), sum(late * share for _, late, share in costs), late_95
    )


def at_lengths(handler: Handler, number: int = 9) -> dict[int, Cost]:
    """The medians of a detach of about that many seconds, as `make bench` measures them."""
    found = {seconds: [handler(one) for one in about(seconds, number)] for seconds in DETACHES}
    return {seconds: Cost(*map(median, zip(*costs, strict=True))) for seconds, costs in found.items()}


# ------------------------------------------------------------------------------------------- the best schedules

PRICES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0)
"""Seconds of additional lateness that one call less is worth."""
WIDEST = 40


def best(price: float) -> tuple[int, ...]:
    """The best schedule in whole seconds by lateness and calls at this price.

    Dynamic programming from the last second; reads of records are left out.
    """
    shares, moments = [0.0], [0.0]
    cells = [0.0] * (LONGEST * 10 + 1)
    for length, share in weights("all"):
        cells[round(length * 10)] += share
    for tenth, share in enumerate(cells):
        shares.append(shares[-1] + share)
        moments.append(moments[-1] + share * tenth / 10)

    def upto(second: float) -> int:
        return min(len(cells), max(0, round(second * 10) + 1))

    cost, then = [0.0] * (LONGEST + 1), [0] * (LONGEST + 1)
    for since in range(LONGEST - 1, -1, -1):
        low, choices = upto(since + OURS_LATE) if since else 0, []
        for due in range(since + 1, min(LONGEST, since + WIDEST) + 1):
            at = due + OURS_LATE
            middle, high = max(low, upto(at - NOVA_LAG)), upto(at)
            early, ended = shares[high] - shares[middle], shares[high] - shares[low]
            late = (at - NOVA_LAG) * ended - (moments[high] - moments[low]) + early
            calls = 2 * ended + 2 * early + 1 - shares[high]
            choices.append((late + price * calls + cost[due], due))
        cost[since], then[since] = min(choices)
    looks = [0]
    while looks[-1] < LONGEST:
        looks.append(then[looks[-1]])
    return tuple(after - before for before, after in pairwise(looks))


# ------------------------------------------------------------------------------------------- the page and the picture

HANDLERS: Mapping[str, Handler] = {
    "chosen": Ours(POLL),
    "before": Ours(BEFORE, BEFORE_RECORD),
    "every 3 s": Ours((3,)),
    "conventional": Conventional(BEFORE),
}


def table() -> list[str]:
    """Calls, mean lateness and its 95th percentile of each handler for each distribution, and the bench's values."""
    names = (*LENGTHS, "all")
    rows = [("calls · late · late in 95 %", *names, *(f"{one} s" for one in DETACHES)), ("---",) * (5 + len(DETACHES))]
    for title, handler in HANDLERS.items():
        means = [expected(handler, name) for name in names]
        known = [f"{cost.calls:.0f} · {cost.late:.1f} s" for cost in at_lengths(handler).values()]
        rows.append((title, *(f"{one.calls:.1f} · {one.late:.2f} s · {one.late_95:.1f} s" for one in means), *known))
    return ["| " + " | ".join(row) + " |" for row in rows]


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 420, 70, 30, 70, 60
CALLS, LATE = (6.5, 13.0), (0.0, 4.0)


def place(calls: float, late: float) -> tuple[float, float]:
    across = (calls - CALLS[0]) / (CALLS[1] - CALLS[0])
    up = (late - LATE[0]) / (LATE[1] - LATE[0])
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def curve() -> str:
    """A chart of lateness by calls: the best schedules, and some others."""
    found = sorted({expected(Ours(best(price), inf), "all") for price in PRICES})
    shown = [one for one in found if CALLS[0] <= one.calls <= CALLS[1]]
    parts = [text(20, 30, "How late a verdict is, by the calls of a detach", 16, "ink", "600")]
    for late in range(5):
        (x, y), (end, _) = place(CALLS[0], late), place(CALLS[1], late)
        parts += [line([(x, y), (end, y)], "theirs", 0.5), text(x - 8, y + 4, f"{late} s", 12, "soft", anchor="end")]
    for calls in range(7, 14):
        x, y = place(calls, 0)
        parts.append(text(x, y + 20, str(calls), 12, "soft", anchor="middle"))
    parts.append(
        text(WIDTH / 2, HEIGHT - 16, "calls to the cloud, on average over all lengths", 12, "soft", anchor="middle")
    )
    for index, dashes, what in ((1, "", "on average"), (2, "5 4", "in 95 of 100")):
        points = [place(one.calls, one[index]) for one in shown if one[index] <= LATE[1]]
        x, y = points[-1]
        parts += [line(points, "ours", 2, dashes), text(x + 8, y + 4, f"the best, {what}", 12, "ours")]
    for title, handler in HANDLERS.items():
        mean = expected(handler, "all")
        colour = {"chosen": "ours", "conventional": "theirs"}.get(title, "soft")
        for x, y in (place(mean.calls, late) for late in mean[1:]):
            parts += [dot(x, y, colour), text(x + 9, y - 6, title, 12, "ink" if title == "chosen" else "soft")]
    return picture(WIDTH, HEIGHT, "Lateness of a verdict by calls of a detach", parts)


CHOSEN = """
`POLL` is chosen by [simulation](schedule.py) over lengths of detaches: those recorded of a real cloud, and two
heavy-tailed ones. The curves are the best that any schedule reaches at its number of calls; the points are on average
and in 95 of 100. The chosen one makes no more calls than the conventional handler at 2, 10, 30 and 120 s, and is sooner
at each. That keeps it off the curve: `every 3 s` is as soon on average, and makes twice the calls in 120 s.
"""


def page_lines() -> list[str]:
    """The text of the page about the look schedule."""
    drawn = "![How late a verdict is, by the calls of a detach](schedule.svg)"
    return ["## The look schedule", CHOSEN, *table(), "", drawn]


def write(directory: Path) -> None:
    (directory / "schedule.svg").write_text(curve())


if __name__ == "__main__":
    write(HERE)
    print("\n".join(page_lines()))
