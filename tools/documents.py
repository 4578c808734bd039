"""The documents that are made from the code; `make docs` writes them, a test fails when they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from shared.model import Detail
from shared.outbox.reasons import catalogue
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
    for reason, text in catalogue().items():
        again = "yes" if text.retryable else "no"
        cells = (f"`{reason.value}`", text.message, text.remedy, again)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


DETAILS: Mapping[Detail, str] = {
    Detail.DETACHED_NOW: "Our DELETE was accepted, and both planes have let go.",
    Detail.DETACHED_MEANWHILE: "The answer to our DELETE was lost. Both planes have let go; by whose work is unknown.",
    Detail.DETACHED_BY_OTHER: "The attachment was there at the first look. Somebody else's detach took it away.",
    Detail.ALREADY_DETACHED: "The volume was not attached to the server at the first look.",
    Detail.REPLACED_BY_NEWER: "The attachment that was asked for is gone. A newer one is there and was not touched.",
    Detail.SERVER_GONE: "The attachment was seen, then the server was deleted. The volume is not attached to it.",
    Detail.VOLUME_GONE: "The attachment was seen, then the volume was deleted. The server does not list it.",
    Detail.STILL_WATCHING: "The detach takes longer than CONFIRM_TIMEOUT. It is watched until a final verdict.",
    Detail.WOULD_DETACH: "Every check passed. A request without `dry_run` would send the DELETE now.",
    Detail.WOULD_WAIT: "A request without `dry_run` would wait. `explanation` says for what.",
    Detail.WOULD_FAIL: "A request without `dry_run` would fail. `reason` says why.",
}
"""What each detail means. `would_report_…` is what a request without `dry_run` would report."""


def details() -> str:
    """The closed list of details as a page for people."""
    lines = [
        "# How it came to a verdict",
        "",
        "Every verdict carries one of these in `data.detail`. The list is closed and part of the public contract.",
        "A `detach_failed` event has its [reason](failure-reasons.md)'s code there instead.",
        "",
        "This page is made from the code (`make docs`).",
        "",
        "| detail | meaning |",
        "|---|---|",
    ]
    for detail in Detail:
        reported = detail.value.removeprefix("would_report_")
        text = DETAILS.get(detail) or f"A request without `dry_run` would report `{Detail(reported).value}` at once."
        lines.append(f"| `{detail.value}` | {text} |")
    return "\n".join(lines) + "\n"


DOCUMENTS: Mapping[str, Callable[[], str]] = {
    "docs/details.md": details,
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
