"""Invariants of summaries, checked against the world's record and the earlier events on the bus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator import CloudApi, What
from simulator.expected import SentRequest, data_disks, is_system_disk

if TYPE_CHECKING:
    from tests.simulation.oracle import Run

Event = Mapping[str, Any]
FINAL = ("detached", "failed", "checked")


@dataclass(frozen=True)
class Summed:
    """A request with all its events, in the order of the bus.

    The request was first received at `since`, and the run ended at `until`, both by the cloud's clock.
    """

    asked: SentRequest
    events: Sequence[Event]
    cloud: CloudApi
    since: datetime
    until: datetime

    @property
    def wanted(self) -> bool:
        return self.every or bool(self.asked.data.get("summary"))

    @property
    def every(self) -> bool:
        return bool(self.asked.data.get("all_data_disks"))


def is_summary(event: Event) -> bool:
    return str(event["type"]).endswith(".volume.detach_summary.v1")


def with_volumes(request: Mapping[str, Any], events: Sequence[Event]) -> Mapping[str, Any]:
    """The request; for all data disks, with the volume ids in its verdicts and summaries (None for a verdict without).

    `summaries_list_what_was_there` checks whether the server had these disks.
    """
    if not request["data"].get("all_data_disks"):
        return request
    mine = [event for event in events if event["data"]["request"]["id"] == request["id"]]
    listed = [one for event in mine if is_summary(event) for one in event["data"]["volumes"]]
    named = [*listed, *(event["data"] for event in mine if not is_summary(event))]
    volumes = list(dict.fromkeys(one.get("volume_id") for one in named))
    return {**request, "data": {**request["data"], "volume_ids": volumes}}


def one_summary_id(run: Run) -> Iterator[str]:
    """Each request that asks for a summary gets exactly one summary id; no other request gets one."""
    for summed in run.summed:
        ids = {event["id"] for event in summed.events if is_summary(event)}
        if len(ids) != summed.wanted:
            yield f"{summed.asked.request['id']} has {len(ids)} summary ids"


def summaries_come_last(run: Run) -> Iterator[str]:
    """Each verdict in a summary was on the bus before it, with the same content.

    Unless a delivery died or was duplicated, no new final verdict comes after the summary.
    """
    for summed in run.summed:
        id_ = summed.asked.request["id"]
        said: dict[str, set[tuple[Any, ...]]] = {}
        over = False
        for event in summed.events:
            data = event["data"]
            if not is_summary(event):
                if data["verdict"] in FINAL:
                    if over and event["id"] not in said and not summed.asked.deaths:
                        yield f"{id_}: the verdict {data['detail']} came after the summary"
                    said.setdefault(event["id"], set()).add(_told(data))
                continue
            over = True
            for one in data["volumes"]:
                reason = one.get("reason")
                if (one.get("volume_id"), one["verdict"], one["detail"], reason) not in said.get(one["verdict_id"], ()):
                    yield f"{id_}: the summary lists {one['detail']}, and no such verdict came before it"


def _told(data: Mapping[str, Any]) -> tuple[Any, ...]:
    return data.get("volume_id"), data["verdict"], data["detail"], (data.get("reason") or {}).get("code")


def summaries_are_complete(run: Run) -> Iterator[str]:
    """A summary lists every volume once, and its outcome and counts match them.

    If a request for all data disks is listed again after a death or by a copy, it has only the remaining disks.
    """
    for summed in run.summed:
        id_, data = summed.asked.request["id"], summed.asked.data
        verdicts = [event["data"] for event in summed.events if not is_summary(event)]
        answered = {one.get("volume_id") for one in verdicts if one["verdict"] in FINAL}
        for event in filter(is_summary, summed.events):
            told = event["data"]
            listed = [one.get("volume_id") for one in told["volumes"]]
            expected = answered if summed.every else set(data["volume_ids"])
            several = summed.every and summed.asked.deaths
            if len(set(listed)) != len(listed) or not (set(listed) <= expected if several else set(listed) == expected):
                yield f"{id_}: the summary lists {len(listed)} of {len(expected)} volumes"
            outcomes = [one["verdict"] for one in told["volumes"]]
            if told["counts"] != {"volumes": len(listed)} | {name: outcomes.count(name) for name in FINAL}:
                yield f"{id_}: the summary counts {told['counts']} of {outcomes}"
            dry, good = bool(data.get("dry_run")), all(one == "detached" for one in outcomes)
            if told["outcome"] != ("checked" if dry else "detached" if good else "failed"):
                yield f"{id_}: the summary says {told['outcome']} of {outcomes}"


def summaries_list_what_was_there(run: Run) -> Iterator[str]:
    """The disks in a summary of all data disks were on the server together at some moment since the first receipt."""
    for summed in run.summed:
        for event in filter(is_summary, summed.events if summed.every else ()):
            listed = {one.get("volume_id") for one in event["data"]["volumes"]}
            server = summed.asked.data["server_id"]
            moments = data_disks(summed.cloud, server, summed.since, summed.until)
            if listed != {None} and listed not in moments:
                yield f"{summed.asked.request['id']}: the summary lists disks that the server never had together"


def system_disk_stays(run: Run) -> Iterator[str]:
    """No DELETE is sent for a system disk unless a request names its id."""
    for summed in run.summed:
        server = summed.asked.data["server_id"]
        named = {
            volume
            for request in run.requests
            if request["data"]["server_id"] == server and not request["data"].get("all_data_disks")
            for volume in request["data"].get("volume_ids", [request["data"].get("volume_id")])
        }
        for entry in run.happened(What.DELETE_RECEIVED) if summed.every else ():
            volume = entry.volume_id if entry.server_id == server else None
            before = entry.at - timedelta(microseconds=1)  # a DELETE may take effect at the same moment
            if volume and volume not in named and is_system_disk(summed.cloud, server, volume, before):
                yield f"a DELETE was sent for the system disk {volume}"
