"""docs/slow-detach.svg: a detach that takes longer than CONFIRM_TIMEOUT, with the times of `shared/policy.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.drawing import dot, line, picture, text
from shared.decision.requeue import LOOKS
from shared.policy import POLL, WATCH, Policy

SENDER, QUEUE, FUNCTION, CLOUD, BUS = 140, 300, 465, 640, 800
NAMES = {SENDER: "sender", QUEUE: "request queue", FUNCTION: "detach_volume", CLOUD: "cloud", BUS: "event bus"}
"""The participants, by the position of their lines."""

WIDTH, TOP, STEP = 880, 66, 34


@dataclass(frozen=True, slots=True)
class Sent:
    """A message between two participants; `kind` is its colour."""

    origin: int
    target: int
    words: str
    time: str = ""
    kind: str = "ink"


@dataclass(frozen=True, slots=True)
class Happens:
    """An action of one participant."""

    where: int
    words: str


@dataclass(frozen=True, slots=True)
class Repeated:
    """Repeated messages, with their times."""

    when: str
    steps: Sequence[Sent]


Part = Sent | Happens | Repeated


def look(*found: str, time: str = "") -> tuple[Sent, ...]:
    """The queue delivers the request, and the function reads the cloud."""
    return (Sent(QUEUE, FUNCTION, "message", time), *(Sent(FUNCTION, CLOUD, words) for words in found))


def parts() -> Sequence[Part]:
    """The events, in order."""
    confirm = round(Policy().confirm_timeout.total_seconds())
    first, last = WATCH.first * 2 / 3, WATCH.cap / 60
    due = ", ".join(str(at) for at in LOOKS[:5])
    watched = (*look("GET volume: detaching"), Sent(FUNCTION, QUEUE, "continuation"))
    return (
        Sent(SENDER, QUEUE, "request"),
        *look("GET server, list, volume"),
        Sent(FUNCTION, CLOUD, "DELETE"),
        Sent(CLOUD, FUNCTION, "202 accepted", "0 s"),
        Sent(FUNCTION, QUEUE, f"continuation, {POLL[0]} s"),
        Repeated(f"at {due} … {LOOKS[-2]} s, then every {POLL[-1]} s", watched),
        *look("GET volume: detaching", time=f"{confirm} s"),
        Sent(FUNCTION, BUS, "detach_unconfirmed", kind="aim"),
        Sent(FUNCTION, QUEUE, "continuation"),
        Repeated(f"{first:.0f} to {WATCH.first:.0f} s later, then up to {last:.0f} min apart", watched),
        Happens(CLOUD, "detach ends"),
        *look("GET volume: available", "GET list: not listed", time="next look"),
        Sent(FUNCTION, BUS, "detached", kind="ours"),
    )


def page() -> str:
    """The whole picture."""
    y: float = TOP + STEP
    drawn: list[str] = []
    for part in parts():
        match part:
            case Sent():
                drawn += _arrow(part, y)
                y += STEP
            case Happens():
                drawn += [dot(part.where, y - 4, "ink"), text(part.where + 12, y, part.words, 13, "ink")]
                y += STEP
            case Repeated():
                drawn += _frame(part, y - 8)
                for number, sent in enumerate(part.steps):
                    drawn += _arrow(sent, y + STEP * (number + 1.3))
                y += STEP * (len(part.steps) + 1.3) + 20
    lives = [line([(x, TOP), (x, y)], "theirs", 1.5, "4 4") for x in NAMES]
    heads = [part for x, name in NAMES.items() for part in _head(x, name)]
    return picture(
        WIDTH, round(y + 14), "A slow detach: unconfirmed first, detached in the end", [*lives, *heads, *drawn]
    )


def _head(x: float, name: str) -> Iterator[str]:
    yield f"<rect x='{x - 65}' y='24' width='130' height='34' rx='6' class='page soft-line' stroke-width='1.5'/>"
    yield text(x, 46, name, 14, "ink", "600", "middle")


def _frame(part: Repeated, y: float) -> Iterator[str]:
    left, height = QUEUE - 30, STEP * (len(part.steps) + 1.3)
    shape = f"x='{left}' y='{y}' width='{CLOUD - QUEUE + 60}' height='{height}' rx='6'"
    yield f"<rect {shape} fill='none' class='soft-line' stroke-width='1' stroke-dasharray='2 3'/>"
    yield f"<rect x='{left + 8}' y='{y + 5}' width='{8 * len(part.when)}' height='20' class='page'/>"
    yield text(left + 10, y + 20, part.when, 13, "soft", "600")


def _arrow(sent: Sent, y: float) -> Iterator[str]:
    towards = 1 if sent.target > sent.origin else -1
    yield line([(sent.origin, y), (sent.target - 8 * towards, y)], sent.kind, 1.5)
    back = sent.target - 9 * towards
    yield f"<path d='M{back} {y - 5} L{sent.target} {y} L{back} {y + 5} Z' class='{sent.kind}'/>"
    middle = sent.origin + towards * min(abs(sent.target - sent.origin) / 2, (CLOUD - FUNCTION) / 2)
    yield text(middle, y - 7, sent.words, 13, sent.kind, anchor="middle")
    if sent.time:
        yield text(20, y + 4, sent.time, 13, "ink", "600")
