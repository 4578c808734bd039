"""A request whose volumes share a summary: the progress of each volume, and the verdicts so far.

It travels as one message. Each delivery looks at the volumes that are due and leaves the others unchanged. When the
last volume has its verdict, the summary is sent instead of another message. A request for all data disks has one member
without a volume until the disks are listed.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Literal, Self, TypeVar

from pydantic import AwareDatetime

from shared.decision.case import DELETE_CALL, Case, Conclude
from shared.decision.progress import Progress
from shared.model import CloudId, DetachRequest, Detail, Frozen, Message, Outcome, Reason, verdict_id
from shared.own_messages import WaitingDelivery, unsigned
from shared.policy import GROUP_BYTES, LONGEST_DELAY

VERSION: Literal[2] = 2
"""The version of this continuation format. Releases that know only version 1 return a group to the queue."""

EARLY = timedelta(seconds=1)
"""A volume gets its look up to this much early if others get theirs, to save a message."""

CALLS_SHORTENED = 3
"""How many calls of each volume are kept if the message is too large even when compressed: the latest, DELETEs
first."""


class Said(Frozen):
    """A final verdict of one volume, as the summary lists it."""

    verdict_id: str
    verdict: Outcome
    detail: Detail | Reason
    reason: Reason | None = None


class Member(Frozen):
    """One volume: waiting for its next look, or finished.

    `due` is the time of the next look, None before the first one. `said` is the final verdict, and `unsent` its event
    until the bus has taken it. `volume_id` is empty for the member that lists the disks.
    """

    volume_id: CloudId | Literal[""]
    due: AwareDatetime | None = None
    progress: Progress | None = None
    said: Said | None = None
    unsent: WaitingDelivery | None = None

    @property
    def is_over(self) -> bool:
        """Whether the bus has its final verdict."""
        return self.said is not None and self.unsent is None

    def is_due(self, now: datetime) -> bool:
        return not self.is_over and (self.due is None or self.due <= now + EARLY)


class Begun(Frozen):
    """When the request was first seen."""

    first_seen_at: AwareDatetime


class Group(Frozen):
    """A request with several volumes; `continuation` is the version of the format, `request` is without a volume."""

    continuation: Literal[2] = VERSION
    request: DetachRequest
    progress: Begun
    all_data_disks: bool = False
    volumes: tuple[Member, ...]

    # ----------------------------------------------------------------------------------------- where it comes from

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Self:
        """The group of a new request: one case for each volume."""
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
        return cls.model_validate_json(json.dumps({**unsigned(value), "volumes": members_in(value)}))

    # ------------------------------------------------------------------------------------------------ what it says

    @property
    def is_over(self) -> bool:
        """Whether the bus has a verdict for every volume."""
        return all(member.is_over for member in self.volumes)

    def cases(self, message: Message, now: datetime | None = None) -> list[Case]:
        """A case for each volume without a verdict; with `now`, only those that are due, the longest due first."""
        open_ = [member for member in self.volumes if member.said is None and (now is None or member.is_due(now))]
        return [self._case(member, message) for member in sorted(open_, key=_urgency)]

    def _case(self, member: Member, message: Message) -> Case:
        progress = member.progress or Progress(first_seen_at=self.progress.first_seen_at)
        again = message.first_received_at if message.receive_count > 1 else None
        progress = replace(progress, redelivered_since=again or progress.redelivered_since)
        return Case(replace(self.request, volume_id=member.volume_id), message, progress, fresh=member.due is None)

    def unsent(self, now: datetime | None = None) -> list[tuple[str, WaitingDelivery]]:
        """The verdicts that the bus has not taken; with `now`, only those that are due."""
        return [
            (member.volume_id, member.unsent)
            for member in self.volumes
            if member.unsent and (now is None or member.is_due(now))
        ]

    def delay(self, now: datetime) -> int:
        """Seconds until the next volume is due, as a delay that the queue supports."""
        due = min((member.due or now for member in self.volumes if not member.is_over), default=now)
        return max(1, min(LONGEST_DELAY, ceil((due - now).total_seconds())))

    def wire(self) -> dict[str, Any]:
        """The message. If it is too large for the queue, its volumes are compressed, and then evidence is dropped.

        It compresses well, since progress and verdicts of many volumes are similar.
        """
        whole = self._written()
        if _fits(whole):
            return whole
        packed = _packed(whole)
        return packed if _fits(packed) else _packed(self._shortened()._written())

    def _written(self) -> dict[str, Any]:
        written = self.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        return {"continuation": self.continuation, **written}

    def _shortened(self) -> Group:
        return self._with(
            lambda member: True,
            lambda member: {"progress": _fewer_calls(member.progress), "unsent": _with_fewer_calls(member.unsent)},
        )

    # ---------------------------------------------------------------------------------------------- how it moves on

    def listed(self, volume_ids: Sequence[str], progress: Progress, now: datetime, due: datetime) -> Group:
        """The group with the listed disks. From now on they are fixed."""
        begun = Progress(
            first_seen_at=progress.first_seen_at,
            redelivered_since=progress.redelivered_since,
            listed_at=now,
            place=progress.place,
        )
        return self.model_copy(
            update={"volumes": tuple(Member(volume_id=id_, due=due, progress=begun) for id_ in volume_ids)}
        )

    def later(self, volume_id: str, progress: Progress, due: datetime) -> Group:
        """The group with the next look of one volume."""
        return self._of(volume_id, progress=progress, due=due)

    def concluded(self, volume_id: str, conclusion: Conclude) -> Group:
        """The group with the final verdict of one volume."""
        request = self.request
        id_ = verdict_id(request.source, request.id, volume_id, conclusion.outcome)
        said = Said(verdict_id=id_, verdict=conclusion.outcome, detail=conclusion.detail, reason=conclusion.reason)
        return self._of(volume_id, said=said, progress=None, due=None)

    def refused(self, volume_id: str, unsent: WaitingDelivery, due: datetime) -> Group:
        """The group with a verdict that the bus did not take: it is offered again, and the summary waits for it."""
        return self._of(volume_id, unsent=unsent, due=due)

    def taken(self, volume_id: str) -> Group:
        """The group with a verdict that the bus has taken."""
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


def _fits(written: Mapping[str, Any]) -> bool:
    return len(json.dumps(written)) <= GROUP_BYTES


def _packed(written: Mapping[str, Any]) -> dict[str, Any]:
    import lzma  # imported only for large messages

    text = json.dumps(written["volumes"], ensure_ascii=False)
    return {**written, "volumes": b64encode(lzma.compress(text.encode(), preset=1)).decode()}


def members_in(value: Mapping[str, Any]) -> Any:
    """The volumes of a message, decompressed if needed; unchanged if they cannot be decompressed.

    Pass only a message with our MAC, since its decompressed size is not limited.
    """
    packed = value.get("volumes")
    if not isinstance(packed, str):
        return packed
    import lzma

    try:
        return json.loads(lzma.decompress(b64decode(packed)))
    except (lzma.LZMAError, ValueError):
        return packed


def _fewer_calls(progress: Progress | None) -> Progress | None:
    return progress and replace(progress, calls=tuple(_latest(progress.calls, lambda call: call.operation)))


def _with_fewer_calls(waiting: WaitingDelivery | None) -> WaitingDelivery | None:
    """The verdict with fewer calls as evidence; its result is the same."""
    if waiting is None:
        return None
    said = json.loads(waiting.event.body)
    evidence = said["data"]["evidence"]
    if "calls" in evidence:  # an event that was too large has none
        evidence["calls"] = _latest(evidence["calls"], lambda call: str(call["operation"]))
    event = replace(waiting.event, body=json.dumps(said))
    return waiting.model_copy(update={"event": event})


T = TypeVar("T")


def _latest(calls: Sequence[T], operation: Callable[[T], str]) -> list[T]:
    latest = sorted(range(len(calls)), key=lambda at: (operation(calls[at]) == DELETE_CALL, at))
    return [calls[at] for at in sorted(latest[-CALLS_SHORTENED:])]
