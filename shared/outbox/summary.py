"""The `data` of the summary that ends a request for several volumes (public contract)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field, JsonValue

from shared.model import Detail, Frozen, Outcome, Reason, Requester
from shared.outbox.verdict import RequestRef, Timing

if TYPE_CHECKING:
    from shared.group import Group

SummaryOutcome = Literal[Outcome.DETACHED, Outcome.FAILED, Outcome.CHECKED]


class SummaryCounts(Frozen):
    """How many of the listed verdicts have each outcome."""

    volumes: int
    detached: int
    failed: int
    checked: int


class SummaryVolume(Frozen):
    """A final verdict, as in its own event."""

    volume_id: str | None = Field(
        description="Missing if the server's disks could not be listed: that verdict is about no volume."
    )
    verdict_id: str = Field(description="The id of the verdict's event.")
    verdict: Outcome
    detail: Detail | Reason = Field(description="How this verdict came about; if failed, the reason's code.")
    reason: Reason | None = Field(None, description="The reason's code, if failed or if a dry run would fail.")


class SummaryData(Frozen):
    """The `data` of a summary, which follows the last of the verdicts that it lists."""

    outcome: SummaryOutcome = Field(
        description="`detached`: every listed verdict is `detached`, or there is none. `failed`: at least one failed. "
        "`checked`: it was a dry run."
    )
    all_data_disks: bool = Field(description="Whether all data disks of the server were asked for.")
    counts: SummaryCounts
    volumes: tuple[SummaryVolume, ...] = Field(
        description="The final verdicts, in the order of the request or of the listing."
    )
    server_id: str
    project_id: str | None = None
    request: RequestRef
    requester: Requester | None = Field(None, description="Who asked, as far as proven; senders cannot set it.")
    context: dict[str, JsonValue] | None = Field(None, description="The request's `context`, without the task token.")
    timing: Timing


def summary_data(group: Group, context: dict[str, JsonValue] | None, now: datetime) -> SummaryData:
    """The summary of a group in which every volume has its verdict."""
    request = group.request
    volumes = [
        SummaryVolume(volume_id=member.volume_id or None, **dict(member.said))
        for member in group.volumes
        if member.said
    ]
    return SummaryData(
        outcome=_outcome(volumes, request.dry_run),
        all_data_disks=group.all_data_disks,
        counts=_counts(volumes),
        volumes=tuple(volumes),
        server_id=request.server_id,
        project_id=request.project_id,
        request=RequestRef(id=request.id, source=request.source),
        requester=request.requester,
        context=context,
        timing=Timing(
            requested_at=request.requested_at,
            first_seen_at=group.progress.first_seen_at,
            concluded_at=now,
            seconds=round(max(0.0, (now - group.progress.first_seen_at).total_seconds()), 3),
        ),
    )


def _outcome(volumes: Sequence[SummaryVolume], dry_run: bool) -> SummaryOutcome:
    if dry_run:
        return Outcome.CHECKED
    return Outcome.FAILED if any(one.verdict is not Outcome.DETACHED for one in volumes) else Outcome.DETACHED


def _counts(volumes: Sequence[SummaryVolume]) -> SummaryCounts:
    said = [one.verdict for one in volumes]
    return SummaryCounts(
        volumes=len(said),
        detached=said.count(Outcome.DETACHED),
        failed=said.count(Outcome.FAILED),
        checked=said.count(Outcome.CHECKED),
    )
