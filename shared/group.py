"""A request whose volumes are answered together: how far each of them is, and what was said of those that are over.

It travels as one message of ours. Each delivery looks at the volumes that are due, and leaves the others as they are;
when the last one has its verdict, the summary is sent instead of another message. Until the disks of a request for all
of them are listed, it has one member without a volume: the look that lists them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Literal, Self

from pydantic import AwareDatetime

from shared.decision.case import DELETE_CALL, Case, Conclude
from shared.decision.progress import Progress
from shared.model import CloudId, DetachRequest, Detail, Frozen, Message, Outcome, Reason, verdict_id
from shared.own_messages import WaitingDelivery, unsigned
from shared.policy import AWS_BATCH_BYTES, LONGEST_DELAY

VERSION: Literal[2] = 2
"""Of the format of continuations. The release before knows the first one only, and gives a group back to the queue."""

EARLY = timedelta(seconds=1)
"""A volume is looked at so much before it is due, if others are looked at anyway: one message, one moment."""

CALLS_SHORTENED = 3
"""Calls kept of each volume if the message would be larger than the queue takes: the latest ones, DELETEs first."""


class Said(Frozen):
    """A final verdict of one volume, as the summary lists it."""

    verdict_id: str
    verdict: Outcome
    detail: Detail | Reason
    reason: Reason | None = None


class Member(Frozen):
    """One volume: waiting for its next look, or over.

    `due` is the moment of the next look, None before the first one. `said` is the final verdict, and `unsent` its
    event as long as the bus has not taken it. `volume_id` is empty for the look that lists the disks.
    """

    volume_id: CloudId | Literal[""]
    due: AwareDatetime | None = None
    progress: Progress | None = None
    said: Said | None = None
    unsent: WaitingDelivery | None = None

    @property
    def is_over(self) -> bool:
        """Whether its verdict is final, and on the bus."""
        return self.said is not None and self.unsent is None

    def is_due(self, now: datetime) -> bool:
        return not self.is_over and (self.due is None or self.due <= now + EARLY)


class Begun(Frozen):
    """When the request was first seen."""

    first_seen_at: AwareDatetime


class Group(Frozen):
    """`continuation` is the version of the format; `request` is what the volumes have in common, without a volume."""

    continuation: Literal[2] = VERSION
    request: DetachRequest
    progress: Begun
    all_data_disks: bool = False
    volumes: tuple[Member, ...]

    # ----------------------------------------------------------------------------------------- where it comes from

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Self:
        """The group of a request that was just read: one case for each volume."""
        first = cases[0]
        return cls(
            request=replace(first.request, volume_id=""),
            progress=Begun(first_seen_at=first.progress.first_seen_at),
            all_data_disks=not first.request.volume_id,
            volumes=tuple(Member(volume_id=case.request.volume_id, progress=case.progress) for case in cases),
        )

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Raises ValidationError."""
        return cls.model_validate_json(json.dumps(unsigned(value)))

    # ------------------------------------------------------------------------------------------------ what it says

    @property
    def is_over(self) -> bool:
        """Whether every volume has its verdict, and the bus has taken it."""
        return all(member.is_over for member in self.volumes)

    def cases(self, message: Message, now: datetime | None = None) -> list[Case]:
        """A case for each volume without a verdict; with `now`, for those that are due then, the longest due first."""
        open_ = [member for member in self.volumes if member.said is None and (now is None or member.is_due(now))]
        return [self._case(member, message) for member in sorted(open_, key=_urgency)]

    def _case(self, member: Member, message: Message) -> Case:
        progress = member.progress or Progress(first_seen_at=self.progress.first_seen_at)
        again = message.first_received_at if message.receive_count > 1 else None
        progress = replace(progress, redelivered_since=again or progress.redelivered_since)
        return Case(replace(self.request, volume_id=member.volume_id), message, progress, fresh=member.due is None)

    def unsent(self, now: datetime | None = None) -> list[tuple[str, WaitingDelivery]]:
        """The verdicts that the bus has not taken and is to be offered; with `now`, those that are due then."""
        return [
            (member.volume_id, member.unsent)
            for member in self.volumes
            if member.unsent and (now is None or member.is_due(now))
        ]

    def delay(self, now: datetime) -> int:
        """Seconds until the next volume is due, as a queue can do it."""
        due = min((member.due or now for member in self.volumes if not member.is_over), default=now)
        return max(1, min(LONGEST_DELAY, ceil((due - now).total_seconds())))

    def wire(self) -> dict[str, Any]:
        """The message; with less evidence, if it would be larger than the queue takes."""
        whole = self._written()
        return whole if len(json.dumps(whole)) <= AWS_BATCH_BYTES else self._shortened()._written()

    def _written(self) -> dict[str, Any]:
        written = self.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        return {"continuation": self.continuation, **written}

    def _shortened(self) -> Group:
        return self._with(lambda member: True, lambda member: {"progress": _fewer_calls(member.progress)})

    # ---------------------------------------------------------------------------------------------- how it moves on

    def listed(self, volume_ids: Sequence[str], progress: Progress, due: datetime) -> Group:
        """The same with the disks that the look has listed instead of it. From here on they are fixed."""
        begun = Progress(
            first_seen_at=progress.first_seen_at, redelivered_since=progress.redelivered_since, place=progress.place
        )
        return self.model_copy(
            update={"volumes": tuple(Member(volume_id=id_, due=due, progress=begun) for id_ in volume_ids)}
        )

    def later(self, volume_id: str, progress: Progress, due: datetime) -> Group:
        """The same with one volume that is looked at again."""
        return self._of(volume_id, progress=progress, due=due)

    def concluded(self, volume_id: str, conclusion: Conclude) -> Group:
        """The same with a volume that is over."""
        request = self.request
        id_ = verdict_id(request.source, request.id, volume_id, conclusion.outcome)
        said = Said(verdict_id=id_, verdict=conclusion.outcome, detail=conclusion.detail, reason=conclusion.reason)
        return self._of(volume_id, said=said, progress=None, due=None)

    def refused(self, volume_id: str, unsent: WaitingDelivery, due: datetime) -> Group:
        """The same with a verdict that the bus has not taken: it is offered again, and the summary waits for it."""
        return self._of(volume_id, unsent=unsent, due=due)

    def taken(self, volume_id: str) -> Group:
        """The same with a verdict that the bus has taken."""
        return self._of(volume_id, unsent=None, due=None)

    def _of(self, volume_id: str, **changes: Any) -> Group:
        return self._with(lambda member: member.volume_id == volume_id, lambda _: changes)

    def _with(self, which: Callable[[Member], bool], changes: Callable[[Member], Mapping[str, Any]]) -> Group:
        members = (
            member.model_copy(update=dict(changes(member))) if which(member) else member for member in self.volumes
        )
        return self.model_copy(update={"volumes": tuple(members)})


def _urgency(member: Member) -> float:
    return member.due.timestamp() if member.due else 0.0


def _fewer_calls(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    latest = sorted(range(len(progress.calls)), key=lambda at: (progress.calls[at].operation == DELETE_CALL, at))
    kept = sorted(latest[-CALLS_SHORTENED:])
    return replace(progress, calls=tuple(progress.calls[at] for at in kept))
