"""What was measured, what it is held against, and how it is told: as JSON, as a page, as a chart."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
SHOWN = ("cold_start", "memory", "throughput", "calls_20", "billed_30", "billed_120")
"""What the chart shows; all of it stands in the table."""

IMPORT = "most of it is the agreed libraries; the rest is mostly the making of frozen dataclasses and pydantic models."
EVENT = "the bare calls have no login to look after, no evidence, no logs, no metrics. A batch shares some of it."
WHY = {"cold_start": IMPORT, "import": IMPORT, "import_cpu": IMPORT, "cpu_1": EVENT, "cpu_10": EVENT}
"""Why a figure may fall short; for one that is not among them nothing has been measured that would say."""


@dataclass(frozen=True)
class Figure:
    """One measurement of the product against another; `aim` is the ratio aimed at, as the page says it."""

    key: str
    title: str
    unit: str
    product: float
    other: float
    against: str = "conventional"
    aim: str | None = None

    @property
    def ratio(self) -> float:
        return self.product / self.other

    @property
    def limit(self) -> float:
        return float(self.aim.strip("≤≥ ×")) if self.aim else 0.0

    @property
    def met(self) -> bool | None:
        """None where nothing is aimed at."""
        if not self.aim:
            return None
        return self.ratio >= self.limit if "≥" in self.aim else self.ratio <= self.limit

    @property
    def cells(self) -> tuple[str, ...]:
        """The line of a table."""
        verdict = {True: "yes", False: "NO", None: ""}[self.met]
        ours, theirs = f"{told(self.product)} {self.unit}", f"{told(self.other)} {self.against}"
        return self.title, ours, theirs, f"{told(self.ratio)}×", self.aim or "", verdict

    @property
    def row(self) -> dict[str, Any]:
        """The row of the JSON."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def told(value: float) -> str:
    """Three significant digits, never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the figures depend on, besides the code."""
    python, load = platform.python_version(), round(os.getloadavg()[0], 1)
    return {"python": python, "architecture": platform.machine(), "cpus": os.cpu_count(), "load": load}


def as_json(told_by: dict[str, Any], figures: Sequence[Figure]) -> str:
    document = {"machine": told_by, "figures": [figure.row for figure in figures]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def write_page() -> None:
    """Make the page and the chart of the JSON that lies here."""
    document = json.loads((HERE / "results.json").read_text())
    figures = [Figure(**{field.name: row[field.name] for field in fields(Figure)}) for row in document["figures"]]
    (HERE / "results.md").write_text(page(document["machine"], figures))
    (HERE / "results.svg").write_text(chart([one for key in SHOWN for one in figures if one.key == key]))


def page(told_by: dict[str, Any], figures: Sequence[Figure]) -> str:
    rows = [("", "this", "against", "ratio", "aim", "met"), ("---",) * 6, *(figure.cells for figure in figures)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    where = "Python {python}, {architecture}, {cpus} CPUs, load {load} at the start".format(**told_by)
    method = (HERE / "method.md").read_text()
    return "\n".join(["# Measured", "", f"By `make bench`: {where}.", "", *lines, "", method, *shortfalls(figures), ""])


def shortfalls(figures: Sequence[Figure]) -> list[str]:
    """Each aim that was missed, with what is known of why."""
    missed = [figure for figure in figures if figure.met is False]
    if not missed:
        return ["Every aim is met."]
    why = [f"- **{figure.title}**: {WHY.get(figure.key, 'why is not known yet.')}" for figure in missed]
    return ["What falls short, and why:", "", *why]


WIDTH, LEFT, BARS, ROW, TOP = 860, 250, 400, 44, 74
OURS, THEIRS, AIM, INK, SOFT = "#1f6f8b", "#b9c2c8", "#c0392b", "#1d2529", "#5d6a71"
LABEL = 60
"""A value is as wide as that; the mark of an aim does not go through it."""
FONT = "font-family='system-ui, Segoe UI, Helvetica, Arial, sans-serif'"


def chart(figures: Sequence[Figure]) -> str:
    """Two bars for each figure, scaled to the longer one, a mark where the aim is; needs nothing but itself."""
    height = TOP + ROW * len(figures) + 12
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'"
        f" {FONT} role='img' aria-label='This function against the conventional handler'>",
        f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>",
        text(20, 30, "This function against a handler with boto3 and openstacksdk that waits inline", 16, INK, "600"),
        bar(LEFT, 44, 14, OURS, 12),
        text(LEFT + 20, 55, "this function", 12, INK),
        bar(LEFT + 120, 44, 14, THEIRS, 12),
        text(LEFT + 140, 55, "conventional", 12, INK),
        f"<path d='M{LEFT + 247} 43v14' stroke='{AIM}' stroke-width='2'/>",
        text(LEFT + 255, 55, "aim", 12, INK),
    ]
    for at, figure in enumerate(figures):
        parts += bars(figure, TOP + ROW * at)
    return "\n".join([*parts, "</svg>"]) + "\n"


def bars(figure: Figure, y: int) -> list[str]:
    longest = max(figure.product, figure.other)
    ours, theirs = (BARS * value / longest for value in (figure.product, figure.other))
    aim = theirs * figure.limit
    label = aim if ours <= aim < ours + LABEL else ours
    colour = AIM if figure.met is False else OURS
    parts = [
        text(LEFT - 12, y + 22, figure.title, 13, INK, anchor="end"),
        bar(LEFT, y + 4, ours, OURS),
        bar(LEFT, y + 19, theirs, THEIRS),
        text(LEFT + label + 6, y + 15, f"{told(figure.product)} {figure.unit}", 12, INK),
        text(LEFT + theirs + 6, y + 30, f"{told(figure.other)} {figure.unit}", 12, SOFT),
        text(WIDTH - 20, y + 23, f"{told(figure.ratio)}×", 15, colour, "600", "end"),
    ]
    mark = f"<path d='M{LEFT + aim:.1f} {y + 2}v31' stroke='{AIM}' stroke-width='2'/>"
    return [*parts, mark] if aim else parts


def bar(x: float, y: float, width: float, colour: str, height: float = 13) -> str:
    return f"<rect x='{x}' y='{y}' width='{max(width, 1):.1f}' height='{height}' rx='2' fill='{colour}'/>"


def text(x: float, y: float, words: str, size: int, colour: str, weight: str = "400", anchor: str = "start") -> str:
    style = f"font-size='{size}' font-weight='{weight}' fill='{colour}' text-anchor='{anchor}'"
    return f"<text x='{x:.1f}' y='{y}' {style}>{escape(words)}</text>"
