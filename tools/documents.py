"""The documents that are made from the code; `make docs` writes them, a test fails when they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from shared.outbox.reasons import CATALOGUE
from tools import openapi
from tools.contract import asyncapi, samples, schemas

ROOT = Path(__file__).parent.parent


def failure_reasons() -> str:
    """The catalogue of reasons as a page for people."""
    lines = [
        "# Why a detach did not happen",
        "",
        "Every `detach_failed` event carries one of these codes in `data.reason.code`. The list is closed and part",
        "of the public contract: a code is never renamed, and its meaning never changes. *Again?* says whether the",
        "same request can succeed later without anybody changing anything; a new request needs a new event id.",
        "",
        "This page is made from the code (`make docs`).",
        "",
        "| code | what happened | what to do | again? |",
        "|---|---|---|---|",
    ]
    for reason, text in CATALOGUE.items():
        again = "yes" if text.retryable else "no"
        cells = (f"`{reason.value}`", text.message, text.remedy, again)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


DOCUMENTS: Mapping[str, Callable[[], str]] = {
    "docs/failure-reasons.md": failure_reasons,
    "docs/openapi.json": openapi.text,
    "docs/asyncapi.json": asyncapi.text,
    **schemas.documents(),
    **samples.documents(),
}


def differing() -> list[str]:
    """The documents whose files are not what the code makes of them."""
    return [name for name, make in DOCUMENTS.items() if not _holds(ROOT / name, make())]


def write() -> None:
    for name, make in DOCUMENTS.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(make(), encoding="utf-8")


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    write()
