"""Reports the measurements with their aims, as JSON, as a page, and as a chart."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.drawing import bar, line, picture, text
from shared.policy import POLL

HERE = Path(__file__).parent
SHOWN = ("cold_start", "memory", "throughput", "calls_20", "billed_30", "late_30", "webhook_cold")
"""The rows of the chart; the table has all rows."""

DETACHES = (2, 10, 30, 120)
"""Seconds."""
BILLED = (30, 120)
DISKS = (1, 20)
FILLED = (2, 5, 10)
AGES = (10, 100)
BATCHES = ((1, "≤ 1.3×"), (10, "≤ 1.15×"))
"""Messages in a batch, and the aim for their CPU time relative to bare calls."""

SPREAD = 0.1
"""A detach "of 30 s" takes 27 to 33 s, because a single length would measure only one phase of the schedule."""

FLAT = "≤ 1.1×"
IMPORT = "most of it is the agreed libraries (pydantic, requests, Powertools): [by package](flame.md)."
EVENT = "the bare calls have no login to look after, no evidence, no logs, no metrics. A batch shares some of it."
LOOKS = "a fixed schedule meets a fixed length with one phase; [schedule.svg](schedule.svg) has the whole picture."


BILLED_CALLS = "each look is an invocation, and waits for its calls: what 16 calls of 50 ms take is most of the aim."
QUEUED = "the CPU of ten looks is spent one after another, and comes on top of the calls."


class Row(NamedTuple):
    """A row of the table; `aim` is the aimed ratio as text, `why` the known cause of a miss."""

    title: str
    unit: str
    aim: str | None = None
    why: str = "why is not known yet."


ROWS = {
    "cold_start": Row("cold start to the first DELETE", "ms", "≤ 0.4×", IMPORT),
    "memory": Row("peak memory after a detach", "MB", "≤ 0.55×", IMPORT),
    "import": Row("import of the handler", "ms", "≤ 0.4×", IMPORT),
    "import_cpu": Row("import of the handler, CPU", "ms", "≤ 0.4×", IMPORT),
    "zip": Row("artifact, zipped", "MB"),
    **{f"cpu_{size}": Row(f"CPU per event, batch of {size}", "ms", aim, EVENT) for size, aim in BATCHES},
    "cpu_conventional": Row("CPU per event, batch of 10", "ms"),
    **{f"late_{one}": Row(f"cloud's end → verdict, {one} s", "s", "≤ 0.8×", LOOKS) for one in DETACHES},
    **{f"late_calls_{one}": Row(f"calls of a detach of {one} s", "calls", "≤ 1×", LOOKS) for one in DETACHES},
    **{
        f"calls_{disks}": Row(f"calls, 30 s, disks of a server: {disks}", "calls", aim, LOOKS)
        for disks, aim in zip(DISKS, ("≤ 1×", "≤ 0.45×"), strict=True)
    },
    **{
        f"billed_{one}": Row(f"billed, a detach of {one} s", "ms", "≤ 0.03×" if one == 30 else None, BILLED_CALLS)
        for one in BILLED
    },
    "throughput": Row("events per second, API at 50 ms", "/s", "≥ 8×", QUEUED),
    "throughput_ideal": Row("events per second, API at 50 ms", "/s", "≥ 0.8×", QUEUED),
    **{f"filled_{size}": Row(f"CPU per event, {size} in a batch", "ms", FLAT) for size in FILLED},
    **{f"age_{looks}": Row(f"CPU of a look after {looks} others", "ms", FLAT) for looks in AGES},
    "growth": Row("CPU per request after", "× bare calls", FLAT),
    "growth_memory": Row("memory after", "MB", FLAT),
    "webhook_cold": Row("webhook, cold start to the 202", "ms"),
    "webhook_p50": Row("webhook, median at 50/s, warm", "ms"),
    "webhook_p99": Row("webhook, p99 at 50/s, warm", "ms"),
    "webhook_zip": Row("webhook, artifact, zipped", "MB"),
}
"""All rows by key. The report has the order of the measurements."""


@dataclass(frozen=True)
class Figure:
    """A measurement of the product and of another handler; `note` completes the title of its row."""

    key: str
    product: float
    other: float
    against: str = "conventional"
    note: str = ""

    @property
    def described(self) -> Row:
        return ROWS[self.key]

    @property
    def title(self) -> str:
        return f"{self.described.title} {self.note}".strip()

    @property
    def unit(self) -> str:
        return self.described.unit

    @property
    def aim(self) -> str | None:
        return self.described.aim

    @property
    def ratio(self) -> float:
        return self.product / self.other

    @property
    def limit(self) -> float:
        return float(self.aim.strip("≤≥ ×")) if self.aim else 0.0

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without an aim."""
        if not self.aim:
            return None
        return self.ratio >= self.limit if "≥" in self.aim else self.ratio <= self.limit

    @property
    def cells(self) -> tuple[str, ...]:
        """The line of a table."""
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        ours, theirs = f"{rounded(self.product)} {self.unit}", f"{rounded(self.other)} {self.against}"
        return self.title, ours, theirs, f"{rounded(self.ratio)}×", self.aim or "", verdict

    @property
    def row(self) -> dict[str, Any]:
        """The row of the JSON."""
        return {
            **asdict(self),
            "title": self.title,
            "unit": self.unit,
            "aim": self.aim,
            "ratio": self.ratio,
            "met": self.met,
        }


def rounded(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def about(seconds: float, number: int) -> list[float]:
    """That many lengths, evenly spread around the length."""
    return [seconds * (1 - SPREAD + 2 * SPREAD * (at + 0.5) / number) for at in range(number)]


def machine() -> dict[str, Any]:
    """The machine and versions that the figures depend on; `looks` is the look schedule."""
    python, load = platform.python_version(), round(os.getloadavg()[0], 1)
    where = {"python": python, "architecture": platform.machine(), "cpus": os.cpu_count(), "load": load}
    return {**where, "looks": POLL}


def as_json(facts: dict[str, Any], figures: Sequence[Figure]) -> str:
    document = {"machine": facts, "figures": [figure.row for figure in figures]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def write_page(looks: Sequence[str]) -> None:
    """Write the page and the chart from the JSON here; `looks` is the text about the look schedule."""
    document = json.loads((HERE / "results.json").read_text())
    figures = [Figure(**{field.name: row[field.name] for field in fields(Figure)}) for row in document["figures"]]
    (HERE / "results.md").write_text(page(document["machine"], figures, looks))
    (HERE / "results.svg").write_text(chart([one for key in SHOWN for one in figures if one.key == key]))


def page(facts: dict[str, Any], figures: Sequence[Figure], looks: Sequence[str]) -> str:
    rows = [("", "this", "against", "ratio", "aim", ""), ("---",) * 6, *(figure.cells for figure in figures)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    where = "Python {python}, {architecture}, {cpus} CPUs, load {load} at the start".format(**facts)
    method = (HERE / "method.md").read_text()
    parts = [
        f"By `make bench`: {where}.",
        "",
        *lines,
        "",
        *shortfalls(figures),
        "",
        *looks,
        "",
        "## How it was measured",
        "",
        method,
    ]
    return "\n".join(["# Measured", "", *parts])


def shortfalls(figures: Sequence[Figure]) -> list[str]:
    """Each missed aim, with its known cause."""
    missed = [figure for figure in figures if figure.met is False]
    if not missed:
        return ["Every aim is met."]
    why = [f"- **{figure.title}**: {figure.described.why}" for figure in missed]
    return ["What falls short, and why:", "", *why]


WIDTH, LEFT, BARS, ROW, TOP = 860, 250, 400, 44, 74
LABEL = 60
"""The width of a value, which the mark of an aim must not cross."""


def chart(figures: Sequence[Figure]) -> str:
    """Two bars for each figure, scaled to the longer one, with a mark for the aim."""
    parts = [
        text(20, 30, "This function against conventional handlers", 16, "ink", "600"),
        bar(LEFT, 44, 14, "ours", 12),
        text(LEFT + 20, 55, "this function", 12, "ink"),
        bar(LEFT + 120, 44, 14, "theirs", 12),
        text(LEFT + 140, 55, "conventional", 12, "ink"),
        line([(LEFT + 247, 43), (LEFT + 247, 57)], "aim"),
        text(LEFT + 255, 55, "aim", 12, "ink"),
    ]
    for at, figure in enumerate(figures):
        parts += bars(figure, TOP + ROW * at)
    return picture(WIDTH, TOP + ROW * len(figures) + 12, "This function against conventional handlers", parts)


def bars(figure: Figure, y: int) -> list[str]:
    longest = max(figure.product, figure.other)
    ours, theirs = (BARS * value / longest for value in (figure.product, figure.other))
    aim = min(theirs * figure.limit, float(BARS))
    label = aim if ours <= aim < ours + LABEL else ours
    parts = [
        text(LEFT - 12, y + 22, figure.title, 13, "ink", anchor="end"),
        bar(LEFT, y + 4, ours, "ours"),
        bar(LEFT, y + 19, theirs, "theirs"),
        text(LEFT + label + 6, y + 15, f"{rounded(figure.product)} {figure.unit}", 12, "ink"),
        text(LEFT + theirs + 6, y + 30, f"{rounded(figure.other)} {figure.unit}", 12, "soft"),
        text(
            WIDTH - 20, y + 23, f"{rounded(figure.ratio)}×", 15, "aim" if figure.met is False else "ours", "600", "end"
        ),
    ]
    return [*parts, line([(LEFT + aim, y + 2), (LEFT + aim, y + 33)], "aim")] if aim else parts
