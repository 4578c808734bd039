"""`make detach`: detach one disk from one server: look it up, check, ask, send the request, show the verdict."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.cloud.openstack import OpenStackCloud
from shared.policy import Policy
from shared.ports import utc_now
from tools.exit_status import FINAL, Exit, of_events
from tools.inventory import Disk, Machine, NotFound, disk_called, is_id, machine, server_called
from tools.progress import Progress, Ticker
from tools.servers import disk_line, kind_of

CHECK = 90.0
"""Seconds that a dry run may take."""

AGAIN = 20.0
"""Seconds after which the dry run is sent again, as the same request: a new EventBridge rule may miss the first
verdicts (EventBridge, PutRule)."""

WAIT = re.compile(r"(\d{1,6})([smhd]?)")
LONGEST = 366 * 86400
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Service(Protocol):
    """The functions, on this machine or in AWS."""

    @property
    def prefix(self) -> str:
        """The prefix of event types."""

    def ask(self, body: str) -> None:
        """Put a request on the queue."""

    def heard(self) -> Sequence[Mapping[str, Any]]:
        """The verdicts since the last call; waits about a second for one."""


@dataclass(frozen=True)
class Order:
    """The arguments of the command; `wait` is in seconds."""

    server: str
    volume: str
    wait: float = 600.0
    dry: bool = False
    unmounted: bool = False
    allow_system_disk: bool = False


@dataclass(frozen=True)
class Target:
    """The ids of server and volume; if they were looked up, also their names and the attachment.

    The attachment is part of the request, so that a disk attached while the user is asked is not detached.
    """

    server_id: str
    volume_id: str
    server: str = ""
    volume: str = ""
    attachment_id: str | None = None

    @property
    def text(self) -> str:
        return f"{self.volume or self.volume_id} from {self.server or self.server_id}"


def seconds_of(text: str) -> float:
    """A duration such as 90, 90s, 10m or 2h, in seconds. Raises ValueError."""
    found = WAIT.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text} is not a duration: write 90s, 10m or 2h")
    seconds = float(found[1]) * UNITS[found[2]]
    if not 1 <= seconds <= LONGEST:
        raise ValueError(f"{text} is not between a second and a year")
    return seconds


def find(cloud: OpenStackCloud | None, order: Order, progress: Progress, policy: Policy) -> Target:
    """Look up and show server and volume. Raises NotFound, CloudTrouble."""
    if cloud is None:
        if not (is_id(order.server) and is_id(order.volume)):
            raise NotFound("Names are looked up in the cloud: add CLOUD=env with OS_… variables, or give both ids.")
        return Target(order.server.lower(), order.volume.lower())
    found = machine(cloud, server_called(cloud, order.server), policy, utc_now())
    disk = disk_called(found, order.volume)
    for line in _found(found, disk, order.volume):
        progress.say(line)
    if disk is None:
        return Target(found.server_id, order.volume.lower(), found.name)
    return Target(found.server_id, disk.volume_id, found.name, disk.name, disk.attachment_id)


def _found(found: Machine, disk: Disk | None, asked: str) -> list[str]:
    lines = [
        f"  server  {found.server_id}  {found.name or '(no name)'}  {found.status}, {found.system}, {kind_of(found)}"
    ]
    if disk is None:
        lines.append(f"  volume  {asked}  the server does not list it")
    else:
        lines.append(f"  volume  {disk.volume_id}  {disk_line(disk)}")
    return [*lines, *([f"          some of it cannot be read: {found.trouble}"] if found.trouble else [])]


def request(order: Order, target: Target, prefix: str, id_: str, now: datetime, dry: bool) -> str:
    """The request as a CloudEvent."""
    data: dict[str, Any] = {"server_id": target.server_id, "volume_id": target.volume_id}
    data |= {"attachment_id": target.attachment_id} if target.attachment_id else {}
    given = {"dry_run": dry, "unmounted": order.unmounted, "allow_system_disk": order.allow_system_disk}
    event = {
        "specversion": "1.0",
        "id": id_,
        "source": "/by-hand",
        "type": f"{prefix}.volume.detach_requested.v1",
        "time": now.isoformat(),
        "data": data | {name: True for name, value in given.items() if value},
    }
    return json.dumps(event)


@dataclass(frozen=True)
class Detach:
    """Carries one order out; `session` is the id of the request."""

    service: Service
    progress: Progress
    order: Order
    target: Target
    confirm: Callable[[str], bool]
    session: str

    def run(self) -> Exit:
        """Check, ask, detach; returns OPEN if there is no final verdict in time. `progress` has what was seen."""
        checked = self._asked(dry=True, wait=CHECK)
        status = of_events(checked)
        if not _is_over(checked):
            return status
        if self.order.dry or status is Exit.FAILED:
            self._tell(self.progress.final[-1])
            return status
        said = self.progress.final[-1]["data"]
        self.progress.say(f"  check   {said['detail']}: {said.get('explanation') or ''}".rstrip(": "))
        if not self.confirm(f"Detach {self.target.text}?"):
            self.progress.say("No detach was requested.")
            return Exit.USAGE
        events = self._asked(dry=False, wait=self.order.wait)
        if _is_over(events):
            self._tell(self.progress.final[-1])
        return of_events(events)

    def _asked(self, dry: bool, wait: float) -> list[Mapping[str, Any]]:
        """Send a request and wait for its final verdict; returns all its events."""
        progress = self.progress
        id_ = f"{self.session}-check" if dry else self.session
        body = request(self.order, self.target, self.service.prefix, id_, utc_now(), dry)
        events: dict[str, Mapping[str, Any]] = {}
        progress.begin(id_, dry)
        with Ticker(progress):
            self.service.ask(body)
            again = AGAIN
            while not _is_over(events.values()) and progress.seconds < wait:
                if dry and progress.seconds >= again:
                    self.service.ask(body)
                    again += AGAIN
                for event in self.service.heard():
                    if event["data"]["request"]["id"] == id_ and event["id"] not in events:
                        events[event["id"]] = event
                        progress.heard(event)
        return list(events.values())

    def _tell(self, event: Mapping[str, Any]) -> None:
        for line in ending(event, self.order, self.target, self.progress):
            self.progress.say(line)


def _is_over(events: Any) -> bool:
    return any(event["data"]["verdict"] in FINAL for event in events)


LISTED = {"True": "lists it", "False": "does not list it"}
HERE = {
    "attestation_required": ("unmounted", "--unmounted (make: UNMOUNTED=1)"),
    "system_disk": ("allow_system_disk", "--allow-system-disk (make: SYSTEM_DISK=1), and the server has to be off"),
}
"""The switch of this command for the remedy of a reason, as a field of Order and as its words."""


def ending(event: Mapping[str, Any], order: Order, target: Target, progress: Progress) -> list[str]:
    """The verdict, its evidence in short, and what to do."""
    data = event["data"]
    evidence, after = data["evidence"], data["evidence"].get("after") or {}
    reason = data.get("reason") or {}
    title = f"{data['verdict'].upper()} · {data['detail']}" + (f" · {reason['code']}" if order.dry and reason else "")
    if data["detail"] == "would_fail" and not order.dry:
        title = f"NOT DETACHED · {reason.get('code')}: the check failed, so no detach was requested"
    colour = "failed" if reason else data["verdict"]
    lines = [f"{progress.paint(title, colour)}  {target.text}"]
    listed = LISTED.get(str(after.get("listed_by_server")), "was not asked")
    servers = [target.server or id_ if id_ == target.server_id else id_ for id_ in after.get("attached_to") or ()]
    held = ", ".join(servers) or "no server"
    status = after.get("volume_status")
    storage = f"{status}, attached to {held}" if status else "does not know it"
    lines.append(f"  compute {listed}; block storage: {storage}" if after else "  the cloud was not read")
    counts = f"DELETEs sent: {evidence['deletes_sent']}, looks: {evidence['polls']}"
    lines.append(f"  {data['timing']['seconds']:.1f} s, {counts}, event {event['id']}")
    if reason:
        lines += [f"  {reason['message']}", f"  → {reason['remedy']}"]
        switch, words = HERE.get(reason["code"], ("", ""))
        lines += [f"  → With this command: {words}."] if switch and not getattr(order, switch) else []
    lines += [f"  · {fault['field'] or 'message'}: {fault['message']}" for fault in data.get("faults") or ()]
    return lines
