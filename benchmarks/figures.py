"""What was measured, what it is held against, and how it is told: as a table, as JSON, as Markdown."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measurement of the product beside another; `limit` is the ratio aimed at, at most or `at_least`."""

    key: str
    title: str
    unit: str
    product: float
    other: float | None
    other_name: str = "conventional"
    limit: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        return self.product / self.other if self.other else None

    @property
    def met(self) -> bool | None:
        """None where nothing is aimed at."""
        if self.limit is None or self.ratio is None:
            return None
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    @property
    def aim(self) -> str:
        return "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {self.limit:g}×"

    @property
    def cells(self) -> tuple[str, ...]:
        """The line of a table."""
        ratio = "" if self.ratio is None else f"{told(self.ratio)}×"
        verdict = {True: "yes", False: "NO", None: ""}[self.met]
        other = "" if self.other is None else f"{told(self.other)} {self.other_name}"
        return self.title, f"{told(self.product)} {self.unit}", other, ratio, self.aim, verdict

    def as_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "product": rounded(self.product),
            "against": self.other_name if self.other is not None else None,
            "other": rounded(self.other),
            "ratio": rounded(self.ratio),
            "aim": self.aim or None,
            "met": self.met,
        }


HEAD = ("", "this", "against", "ratio", "aim", "met")


def rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def told(value: float) -> str:
    """Three significant digits, never an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the figures depend on, besides the code."""
    return {
        "python": platform.python_version(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def table(figures: Sequence[Figure]) -> str:
    rows = [HEAD, *(figure.cells for figure in figures)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def markdown(figures: Sequence[Figure], told_by: dict[str, Any], method: str) -> str:
    rows = [HEAD, ("---",) * len(HEAD), *(figure.cells for figure in figures)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    where = "Python {python}, {architecture}, {cpus} CPUs, load {load} at the start".format(**told_by)
    return "\n".join(["# Measured", "", f"By `make bench`: {where}.", "", *lines, "", method.strip(), ""])


def as_json(figures: Sequence[Figure], told_by: dict[str, Any], more: dict[str, Any]) -> str:
    document = {"machine": told_by, "figures": [figure.as_json() for figure in figures], **more}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
