"""`make docs`: write the documents that are generated from the code. A test fails when they differ."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from shared.model import Detail
from shared.outbox.reasons import catalogue
from tools import bare_metal_page, openapi
from tools.contract import asyncapi, samples, schemas
from tools.costs.page import page as costs

ROOT = Path(__file__).parent.parent


def failure_reasons() -> str:
    """The catalogue of reasons as a page for people."""
    return _page(
        """\
# Why a detach did not happen

Every `detach_failed` event carries one of these codes in `data.reason.code`. The list is closed and part
of the public contract: a code is never renamed, and its meaning never changes. *Again?* says whether the
same request can succeed later without anybody changing anything; a new request needs a new event id.
""",
        ("code", "what happened", "what to do", "again?"),
        [
            (f"`{reason.value}`", text.message, text.remedy, "yes" if text.retryable else "no")
            for reason, text in catalogue().items()
        ],
    )


DETAILS: Mapping[Detail, str] = {
    Detail.DETACHED_NOW: "Our DELETE was accepted, and both planes have let go.",
    Detail.DETACHED_MEANWHILE: "A DELETE was sent, its acceptance was not heard of, and both planes have let go.",
    Detail.DETACHED_BY_OTHER: "The attachment was there at the first look. A detach that this one joined took it away.",
    Detail.ALREADY_DETACHED: "The volume was not attached to the server at the first look.",
    Detail.REPLACED_BY_NEWER: "The attachment that was asked for is gone. A newer one is there and was not touched.",
    Detail.SERVER_GONE: "The server does not exist, and the volume is not attached to it.",
    Detail.VOLUME_GONE: "The attachment was seen, then the volume was deleted. The server does not list it.",
    Detail.STILL_WATCHING: "The detach takes longer than CONFIRM_TIMEOUT. It is watched until a final verdict.",
    Detail.WOULD_DETACH: "Every check passed. A request without `dry_run` would send the DELETE now.",
    Detail.WOULD_WAIT: "A request without `dry_run` would wait. `explanation` says for what.",
    Detail.WOULD_FAIL: "A request without `dry_run` would fail. `reason` says why.",
}
"""What each detail means. `would_report_…` is what a request without `dry_run` would report."""


def details() -> str:
    """The closed list of details as a page for people."""
    return _page(
        """\
# How it came to a verdict

Every verdict carries one of these in `data.detail`. The list is closed and part of the public contract.
A `detach_failed` event has its [reason](failure-reasons.md)'s code there instead.
""",
        ("detail", "meaning"),
        [(f"`{detail.value}`", DETAILS.get(detail) or _would_report(detail)) for detail in Detail],
    )


def _would_report(detail: Detail) -> str:
    reported = Detail(detail.value.removeprefix("would_report_"))
    return f"A request without `dry_run` would report `{reported.value}` at once."


def _page(text: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    first, *rest = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in (head, *rows))
    table = "\n".join((f"| {first} |", "|---" * len(head) + "|", *(f"| {cells} |" for cells in rest)))
    return f"{text}\nThis page is made from the code (`make docs`).\n\n{table}\n"


DOCUMENTS: Mapping[str, Callable[[], object]] = {
    "docs/bare-metal.md": bare_metal_page.page,
    "docs/costs.md": costs,
    "docs/details.md": details,
    "docs/failure-reasons.md": failure_reasons,
    "docs/openapi.json": openapi.document,
    "docs/asyncapi.json": asyncapi.document,
    **schemas.documents(),
    **samples.documents(),
}
"""Generators by file: a string is written as it is, anything else as JSON."""


def text_of(name: str) -> str:
    """The text of a document."""
    made = DOCUMENTS[name]()
    return made if isinstance(made, str) else json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def differing() -> list[str]:
    """The documents whose files differ from what the code generates."""
    present = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS if (ROOT / name).is_file()}
    return [name for name in DOCUMENTS if present.get(name) != text_of(name)]


def write() -> None:
    for name in DOCUMENTS:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    write()
