"""What must hold of summaries, judged from the world's record and from what was on the bus before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator import CloudApi, What
from simulator.expected import Asked, data_disks, is_system_disk

if TYPE_CHECKING:
    from tests.simulation.oracle import Run

Event = Mapping[str, Any]
FINAL = ("detached", "failed", "checked")


@dataclass(frozen=True)
class Summed:
    """A request, what the queue did with it, and everything that was said about it, in the order of the bus.

    It was handed out first at `since`, and the run was over at `until`, both by the cloud's clock.
    """

    asked: Asked
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
    """A request for all data disks with the volumes that verdicts and summaries of it name; None for about no volume.

    Whether those are the disks that the server had is for `summaries_list_what_was_there`.
    """
    if not request["data"].get("all_data_disks"):
        return request
    mine = [event for event in events if event["data"]["request"]["id"] == request["id"]]
    listed = [one for event in mine if is_summary(event) for one in event["data"]["volumes"]]
    named = [*listed, *(event["data"] for event in mine if not is_summary(event))]
    volumes = list(dict.fromkeys(one.get("volume_id") for one in named))
    return {**request, "data": {**request["data"], "volume_ids": volumes}}


def one_summary_id(run: Run) -> Iterator[str]:
    """Exactly one summary id for each request that asks for a summary, and none for any other."""
    for summed in run.summed:
        ids = {event["id"] for event in summed.events if is_summary(event)}
        if len(ids) != summed.wanted:
            yield f"{summed.asked.request['id']} has {len(ids)} summary ids"


def summaries_come_last(run: Run) -> Iterator[str]:
    """Each verdict that a summary lists was on the bus before it, and says what the summary says of it.

    Where no delivery died and none was doubled, nothing final is new after it.
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
    """A summary lists every volume once, and its outcome and its counts are theirs.

    Of all data disks a second listing, after a death or of a copy, finds what is left of them.
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
    """All data disks are those that the server had at one moment since the request was first handed out."""
    for summed in run.summed:
        for event in filter(is_summary, summed.events if summed.every else ()):
            listed = {one.get("volume_id") for one in event["data"]["volumes"]}
            server = summed.asked.data["server_id"]
            moments = data_disks(summed.cloud, server, summed.since, summed.until)
            if listed != {None} and listed not in moments:
                yield f"{summed.asked.request['id']}: the summary lists disks that the server never had together"


def system_disk_stays(run: Run) -> Iterator[str]:
    """No DELETE is sent for a system disk that nobody asked for by its name."""
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
            before = entry.at - timedelta(microseconds=1)  # a DELETE may have its effect in the same moment
            if volume and volume not in named and is_system_disk(summed.cloud, server, volume, before):
                yield f"a DELETE was sent for the system disk {volume}"
