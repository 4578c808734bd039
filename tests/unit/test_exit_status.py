"""Exit statuses of the commands."""

from typing import Any

import pytest

from tools.exit_status import Exit, of_all, of_events


def said(verdict: str, detail: str = "") -> dict[str, Any]:
    return {"data": {"verdict": verdict, "detail": detail}}


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([said("detached", "detached_now")], Exit.DETACHED),
        ([said("unconfirmed"), said("detached", "already_detached")], Exit.DETACHED),
        ([said("checked", "would_detach")], Exit.DETACHED),
        ([said("checked", "would_report_already_detached")], Exit.DETACHED),
        ([said("checked", "would_fail")], Exit.FAILED),
        ([said("failed", "system_disk")], Exit.FAILED),
        ([said("checked", "would_wait")], Exit.OPEN),
        ([said("unconfirmed")], Exit.OPEN),
        ([], Exit.OPEN),
    ],
)
def test_the_latest_final_verdict_counts(events: list[dict[str, Any]], status: Exit) -> None:
    assert of_events(events) is status


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([Exit.DETACHED, Exit.DETACHED], Exit.DETACHED),
        ([Exit.DETACHED, Exit.OPEN], Exit.OPEN),
        ([Exit.OPEN, Exit.FAILED, Exit.DETACHED], Exit.FAILED),
        ([Exit.FAILED, Exit.USAGE], Exit.USAGE),
        ([], Exit.DETACHED),
    ],
)
def test_of_several_the_worst_counts(statuses: list[Exit], status: Exit) -> None:
    assert of_all(statuses) is status


def test_the_numbers_are_promised() -> None:
    assert {status.name: int(status) for status in Exit} == {"DETACHED": 0, "FAILED": 1, "USAGE": 2, "OPEN": 3}
