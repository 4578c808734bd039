"""Draws self-contained SVG pictures for light and dark pages."""

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

FONT = "font-family='system-ui, Segoe UI, Helvetica, Arial, sans-serif'"
NAMES = ("page", "ink", "soft", "ours", "theirs", "aim")
LIGHT = ("#ffffff", "#1d2529", "#5d6a71", "#1f6f8b", "#b9c2c8", "#c0392b")
DARK = ("#0d1117", "#e6edf3", "#9aa7b0", "#4fb3d4", "#56616a", "#ff7b72")
"""Colours by class name."""


def rules(colours: Sequence[str]) -> str:
    pairs = zip(NAMES, colours, strict=True)
    return "".join(f".{name}{{fill:{colour}}}.{name}-line{{stroke:{colour}}}" for name, colour in pairs)


STYLE = f"<style>{rules(LIGHT)}@media(prefers-color-scheme:dark){{{rules(DARK)}}}</style>"


def picture(width: int, height: int, label: str, parts: Iterable[str]) -> str:
    return "\n".join([
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'"
        f" {FONT} role='img' aria-label='{escape(label)}'>",
        STYLE,
        f"<rect class='page' width='{width}' height='{height}'/>",
        *parts,
        "</svg>\n",
    ])  # fmt: skip


def bar(x: float, y: float, width: float, colour: str, height: float = 13, title: str = "") -> str:
    shape = f"<rect class='{colour}' x='{x:.1f}' y='{y:.1f}' width='{max(width, 1):.1f}' height='{height}' rx='2'"
    return f"{shape}><title>{escape(title)}</title></rect>" if title else f"{shape}/>"


def text(x: float, y: float, words: str, size: int, colour: str, weight: str = "400", anchor: str = "start") -> str:
    style = f"class='{colour}' font-size='{size}' font-weight='{weight}' text-anchor='{anchor}'"
    return f"<text x='{x:.1f}' y='{y:.1f}' {style}>{escape(words)}</text>"


def line(points: Iterable[tuple[float, float]], colour: str, width: float = 2, dashes: str = "") -> str:
    path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f"<path d='M{path}' class='{colour}-line' fill='none' stroke-width='{width}' stroke-dasharray='{dashes}'/>"


def dot(x: float, y: float, colour: str) -> str:
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' class='{colour}'/>"
