"""The figures that are held against the conventional handler, as bars: an SVG that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.figures import Figure, told

WIDTH, LEFT, BARS, ROW, TOP = 860, 250, 400, 44, 74
OURS, THEIRS, AIM, INK, SOFT = "#1f6f8b", "#b9c2c8", "#c0392b", "#1d2529", "#5d6a71"
LABEL = 60
"""A value is as wide as that; the mark of an aim does not go through it."""
FONT = "font-family='system-ui, Segoe UI, Helvetica, Arial, sans-serif'"


def chart(figures: Sequence[Figure]) -> str:
    """Two bars for each figure, scaled to the longer one, a mark where the aim is."""
    height = TOP + ROW * len(figures) + 12
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'"
        f" {FONT} role='img' aria-label='This function against the conventional handler'>",
        f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>",
        text(20, 30, "This function against a handler with boto3 and openstacksdk that waits inline", 16, INK, "600"),
        *legend(),
    ]
    for at, figure in enumerate(figures):
        parts += row(figure, TOP + ROW * at)
    return "\n".join([*parts, "</svg>"]) + "\n"


def legend() -> list[str]:
    return [
        bar(LEFT, 44, 14, OURS, 12),
        text(LEFT + 20, 55, "this function", 12, INK),
        bar(LEFT + 120, 44, 14, THEIRS, 12),
        text(LEFT + 140, 55, "conventional", 12, INK),
        f"<path d='M{LEFT + 247} 43v14' stroke='{AIM}' stroke-width='2'/>",
        text(LEFT + 255, 55, "aim", 12, INK),
    ]


def row(figure: Figure, y: int) -> list[str]:
    other = figure.other or 0.0
    longest = max(figure.product, other) or 1.0
    ours, theirs = (BARS * value / longest for value in (figure.product, other))
    aim = BARS * other * (figure.limit or 0) / longest
    clear = aim if ours <= aim < ours + LABEL else ours
    parts = [
        text(LEFT - 12, y + 22, figure.title, 13, INK, anchor="end"),
        bar(LEFT, y + 4, ours, OURS),
        bar(LEFT, y + 19, theirs, THEIRS),
        text(LEFT + clear + 6, y + 15, f"{told(figure.product)} {figure.unit}", 12, INK),
        text(LEFT + theirs + 6, y + 30, f"{told(other)} {figure.unit}", 12, SOFT),
        text(
            WIDTH - 20,
            y + 23,
            f"{told(figure.ratio or 0)}×",
            15,
            OURS if figure.met is not False else AIM,
            "600",
            "end",
        ),
    ]
    if figure.limit:
        parts.append(f"<path d='M{LEFT + aim:.1f} {y + 2}v31' stroke='{AIM}' stroke-width='2'/>")
    return parts


def bar(x: float, y: float, width: float, colour: str, height: float = 13) -> str:
    return f"<rect x='{x}' y='{y}' width='{max(width, 1):.1f}' height='{height}' rx='2' fill='{colour}'/>"


def text(x: float, y: float, words: str, size: int, colour: str, weight: str = "400", anchor: str = "start") -> str:
    style = f"font-size='{size}' font-weight='{weight}' fill='{colour}' text-anchor='{anchor}'"
    return f"<text x='{x:.1f}' y='{y}' {style}>{escape(words)}</text>"
