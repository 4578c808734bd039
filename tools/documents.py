"""`make docs`: write the documents that are generated from the code. A test fails when they differ."""

import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from shared.model import Detail
from shared.outbox.reasons import catalogue
from tools import bare_metal_page, decision_picture, openapi, slow_detach_picture
from tools.contract import asyncapi, samples, schemas
from tools.costs.page import page as costs

ROOT = Path(__file__).parent.parent


AGAIN = " Then send a new request."
"""How most remedies end. The page says it once."""


def failure_reasons() -> str:
    """The catalogue of reasons as a page for people."""
    text = """\
# Failure reasons

Every `detach_failed` event carries one of these codes in `data.reason.code`. The list is closed; no code changes its
meaning. After the cure, send a request with a new event id.
{retryable} can succeed without a cure.
"""
    reasons = catalogue().items()
    retryable = " and ".join(f"`{reason.value}`" for reason, told in reasons if told.retryable)
    entries = {reason.value: f"{told.message} {told.remedy.removesuffix(AGAIN)}" for reason, told in reasons}
    return _page(text.format(retryable=retryable), entries)


DETAILS: Mapping[Detail, str] = {
    Detail.DETACHED_NOW: "Our DELETE was accepted; compute and block storage both show the volume detached.",
    Detail.DETACHED_MEANWHILE: "Our DELETE was refused, or its answer was lost; the volume is detached.",
    Detail.DETACHED_BY_OTHER: "A detach that we did not start removed the attachment.",
    Detail.ALREADY_DETACHED: "The volume was not attached to the server at the first look.",
    Detail.REPLACED_BY_NEWER: "The requested attachment is gone; a newer one was left alone.",
    Detail.SERVER_GONE: "The server does not exist; the volume is not attached to it.",
    Detail.VOLUME_GONE: "The volume was deleted after its attachment was seen.",
    Detail.STILL_WATCHING: "The detach takes longer than CONFIRM_TIMEOUT; a final verdict follows.",
    Detail.WOULD_DETACH: "All checks passed; the DELETE would be sent.",
    Detail.WOULD_WAIT: "The request would wait; `explanation` says for what.",
    Detail.WOULD_FAIL: "The request would fail; `reason` says why.",
}
"""What each detail means, but for `would_report_…`, which is what a request without `dry_run` would report."""


def details() -> str:
    """The closed list of details as a page for people."""
    text = """\
# Details

Every verdict carries one of these in `data.detail`. The list is closed. A `detach_failed` event has its
[reason](failure-reasons.md)'s code there. A dry run says what would happen without `dry_run`.
"""
    listed = {detail.value: meaning for detail, meaning in DETAILS.items()}
    return _page(text, {**listed, "would_report_<detail>": "The request would report that detail at once."})


def _page(text: str, entries: Mapping[str, str]) -> str:
    paragraphs = (fill(f"**`{name}`**: {meaning}") for name, meaning in entries.items())
    return "\n\n".join((f"{text}\nMade by `make docs`.", *paragraphs)) + "\n"


def fill(text: str) -> str:
    """A paragraph in lines of at most 120 characters, broken at blanks only."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


DOCUMENTS: Mapping[str, Callable[[], object]] = {
    "docs/bare-metal.md": bare_metal_page.page,
    "docs/costs.md": costs,
    "docs/details.md": details,
    "docs/decision.svg": decision_picture.page,
    "docs/slow-detach.svg": slow_detach_picture.page,
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
