"""Computes which verdicts the simulated cloud's own record justifies, for each reason and detail.

It uses nothing that the product reports: not its evidence, its times, or the attachment that it followed. It uses the
cloud's state at each moment (`timeline`), its calls and answers (`calls`), its history (`history`), the request, and
the times at which the queue delivered the request and the bus was offered the verdict.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from simulator.api import Called, CloudApi
from simulator.inventory import Attachment, Happened, Server, Volume, What

FIRST_DISKS = ("/dev/sda", "/dev/vda", "/dev/xvda", "/dev/hda")
OFF = ("SHUTOFF", "SHELVED", "SHELVED_OFFLOADED")
"""Statuses in which a server has no disk mounted."""

WAITING = ("BUILD", "REBOOT", "HARD_REBOOT", "REBUILD", "RESIZE", "REVERT_RESIZE", "MIGRATING", "PASSWORD")
"""Statuses that Nova shows during an operation."""

POWER_OFF = 4
"""Nova's power state SHUTDOWN. A server that was off when it was resized stays off until the resize is confirmed."""

DETACHABLE = frozenset({"active", "paused", "stopped", "resized", "soft-delete", "shelved", "shelved_offloaded"})
"""The vm_states in which Nova accepts a detach."""

UNMARKED = timedelta(seconds=60)
"""An accepted detach counts as refused if the volume shows nothing of it for this long."""

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class VerdictSettings:
    """The operator's settings that affect verdicts.

    `running` is RUNNING_SERVER_POLICY, `kind` is SERVER_KIND. `allowed` says whether the requester may send requests.
    `skew` is the tolerated difference of clocks; `ahead` is how far the cloud's clock is ahead of the function's.
    """

    confirm: timedelta = timedelta(seconds=600)
    watch: timedelta = timedelta(hours=6)
    ttl: timedelta = timedelta(hours=1)
    ttl_limit: timedelta = timedelta(days=1)
    skew: timedelta = timedelta(seconds=5)
    ahead: timedelta = timedelta()
    running: str = "platform"
    kind: str = "any"
    allowed: bool = True


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request, and for each of its messages the times at which it was sent and first received.

    `deaths` says whether the function may have died during a delivery, `shared` whether other requests ask for the same
    disk. `late` is the longest time for which a message of it was due and not received. `invalid` is the reason for
    which an invalid request must be refused.
    """

    request: Mapping[str, Any]
    received: Sequence[tuple[datetime, datetime]] = ()
    deaths: bool = False
    shared: bool = False
    dead_lettered: bool = False
    late: timedelta = timedelta()
    invalid: str | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self.request["data"]
        return data

    @property
    def requested_at(self) -> datetime:
        """The earliest of the times that the request contains and the time at which it was sent."""
        stated = (self.request.get("time"), self.data.get("requested_at"))
        sent = min((sent for sent, _ in self.received), default=None)
        times = [datetime.fromisoformat(time.replace("Z", "+00:00")) for time in stated if time]
        return min([*times, *([sent] if sent else [])])

    @property
    def expires_at(self) -> datetime | None:
        stated = self.request.get("expirytime")
        return datetime.fromisoformat(stated.replace("Z", "+00:00")) if stated else None

    @property
    def first_received(self) -> datetime:
        return min((at for _, at in self.received), default=self.requested_at)

    def ttl(self, settings: VerdictSettings) -> timedelta:
        asked = self.data.get("request_ttl")
        return min(timedelta(seconds=asked) if asked else settings.ttl, settings.ttl_limit)


@dataclass(frozen=True)
class Moment:
    """The disk and its server at one moment.

    `listed` is Nova's attachment of the disk to this server, `shown` are Cinder's; `elsewhere` are those to others.
    """

    at: datetime
    server: Server | None
    volume: Volume | None
    listed: Attachment | None
    shown: tuple[Attachment, ...]
    elsewhere: tuple[Attachment, ...]

    @property
    def free(self) -> bool:
        """Whether no plane holds the disk on this server."""
        return not self.listed and not self.shown

    @property
    def bindings(self) -> set[str]:
        """The bindings of the disk to this server on either plane."""
        return {one.bdm_id for one in (*self.shown, *([self.listed] if self.listed else []))}

    @property
    def both(self) -> str | None:
        """The binding of the only attachment, if both planes hold the same one."""
        same = self.listed and len(self.shown) == 1 and self.shown[0].id == self.listed.id
        return self.listed.bdm_id if same and self.listed else None

    def is_root(self) -> bool:
        """Whether the disk is the system disk: at the root device or, if that is unknown, at a first device name."""
        devices = {one.device for one in (*self.shown, *([self.listed] if self.listed else [])) if one.device}
        if self.volume and not devices:
            return self.volume.bootable
        root = {self.server.root_device} if self.server and self.server.root_device else set(FIRST_DISKS)
        return bool(devices & root)


def is_system_disk(cloud: CloudApi, server_id: str, volume_id: str, at: datetime) -> bool:
    """Whether a disk was the server's system disk at a moment, on either plane."""
    timeline = cloud.world.timeline
    held = (one for plane in ("nova", "cinder") for one in timeline.attachments(plane, volume_id, at))
    here = tuple(one for one in held if one.server_id == server_id)
    server, volume = timeline.at("servers", server_id, at), timeline.at("volumes", volume_id, at)
    return Moment(at, server, volume, None, here, ()).is_root()


def data_disks(cloud: CloudApi, server_id: str, since: datetime, until: datetime) -> list[set[str]]:
    """The data disks that compute listed for a server, at each change in an interval and at its ends."""
    entries = cloud.world.timeline.entries
    ever = [key for key, known in entries.items() if key[0] == "nova" and any(_on(one, server_id) for _, one in known)]
    volumes = {one.volume_id for key in ever for _, one in entries[key] if one is not None}
    about = [*ever, ("servers", server_id), *(("volumes", volume_id) for volume_id in volumes)]
    changes = {at for key in about for at, _ in entries.get(key, ()) if since <= at <= until}
    timeline = cloud.world.timeline
    found = []
    for at in sorted(changes | {since, until}):
        held = {one.volume_id for key in ever if _on(one := timeline.at(*key, at), server_id)}
        found.append({volume_id for volume_id in held if not is_system_disk(cloud, server_id, volume_id, at)})
    return found


def _on(attachment: Attachment | None, server_id: str) -> bool:
    return attachment is not None and attachment.server_id == server_id


@dataclass(frozen=True)
class View:
    """Everything known about a verdict of one request.

    The look that led to it began at `began`, and the verdict was offered to the bus at `offered`. `answers` are the
    relevant calls without success (see `answers_about`).
    """

    cloud: CloudApi
    asked: SentRequest
    settings: VerdictSettings
    began: datetime
    offered: datetime
    keeps_records: bool = True
    answers: Sequence[Called] = field(default_factory=tuple)

    @property
    def where(self) -> tuple[str, str]:
        return self.asked.data["server_id"], self.asked.data["volume_id"]

    def moment(self, at: datetime) -> Moment:
        timeline, (server_id, volume_id) = self.cloud.world.timeline, self.where
        nova = [one for one in timeline.attachments("nova", volume_id, at) if one.server_id == server_id]
        cinder = timeline.attachments("cinder", volume_id, at)
        shown = tuple(one for one in cinder if one.server_id == server_id)
        others = tuple(one for one in cinder if one.server_id != server_id)
        server, volume = timeline.at("servers", server_id, at), timeline.at("volumes", volume_id, at)
        return Moment(at, server, volume, nova[0] if nova else None, shown, others)

    @cached_property
    def moments(self) -> list[Moment]:
        """The states of the world from `began` to `offered`."""
        times = self.cloud.world.timeline.changes(*self.where, self.began, self.offered)
        return [self.moment(at) for at in times]

    @cached_property
    def life(self) -> list[Moment]:
        """The states since the request was first received."""
        since = min(self.asked.first_received + self.settings.ahead, self.began)
        return [self.moment(at) for at in self.cloud.world.timeline.changes(*self.where, since, self.offered)]

    @cached_property
    def end(self) -> Moment:
        return self.moment(self.offered)

    # ---------------------------------------------------------------------------------------------- bindings

    @cached_property
    def made(self) -> dict[str, datetime]:
        """The time at which each binding of the disk to the server was made."""
        found: dict[str, datetime] = {}
        for _, at, one in self.cloud.world.timeline.ever(self.where[1]):
            if one.server_id == self.where[0]:
                since = min(at, one.attached_at or at)
                found[one.bdm_id] = min(found.get(one.bdm_id, since), since)
        return found

    @cached_property
    def binding_of(self) -> dict[str, str]:
        """The binding of each attachment."""
        return {one.id: one.bdm_id for _, _, one in self.cloud.world.timeline.ever(self.where[1])}

    def meant(self, slack: timedelta) -> set[str]:
        """The binding that the request names, or else those made before the request plus `slack`."""
        named = self.asked.data.get("attachment_id")
        if named:
            return {self.binding_of[named]} & self.made.keys() if named in self.binding_of else set()
        return {one for one, at in self.made.items() if at <= self.asked.requested_at + slack}

    @cached_property
    def certain(self) -> set[str]:
        """The binding that is meant even with the worst clock skew: the last of several, since the others were gone."""
        found = self.meant(-self.settings.skew)
        return {max(found, key=lambda one: self.made[one])} if found else set()

    @cached_property
    def possible(self) -> set[str]:
        """The bindings that may be meant, given the clock skew."""
        return self.meant(self.settings.skew + SECOND)

    def happened(self, *whats: What) -> Iterator[Happened]:
        """History entries of these kinds about possible bindings, until the verdict."""
        where = self.where
        for entry in self.cloud.world.history:
            about = entry.what in whats and (entry.server_id, entry.volume_id) == where
            if about and entry.at <= self.offered and self.binding_of.get(entry.attachment_id or "") in self.possible:
                yield entry

    @cached_property
    def accepted(self) -> list[datetime]:
        """The times of accepted DELETEs for possible bindings, without those that were refused later."""
        taken = [entry.at for entry in self.happened(What.DELETE_ACCEPTED)]
        lost = sum(1 for _ in self.happened(What.DETACH_REFUSED))
        return taken[lost:]

    @cached_property
    def under_way_since(self) -> datetime | None:
        """The time since when a detach has been under way: accepted, or shown as `detaching`."""
        marks = [one.at for one in self.life if one.volume and one.volume.status == "detaching"]
        taken = [entry.at for entry in self.happened(What.DELETE_ACCEPTED)]
        return min([*marks, *taken], default=None)

    # --------------------------------------------------------------------------------------- the cloud's answers

    def answered(self, *statuses: int) -> bool:
        """Whether one of `answers` has one of these statuses."""
        return any(call.status in statuses for call in self.answers)

    def answered_with(self, *words: str) -> bool:
        bodies = (call.answer.body.decode("utf-8", "replace").lower() for call in self.answers if call.answer)
        return any(word.lower() in body for body in bodies for word in words)

    @property
    def effect(self) -> bool:
        """Whether a DELETE of this request has taken effect. A refusal is no longer true then.

        If other requests ask for the same disk, the DELETE may be theirs, and this request may still be refused.
        """
        return bool(self.accepted) and not self.over_watch and not self.asked.shared

    @property
    def over_watch(self) -> bool:
        return self.under_way_since is not None and self.offered >= self.under_way_since + self.settings.watch

    # --------------------------------------------------------------------------------------------------- the gates

    def gates(self, moment: Moment) -> set[str]:
        """The safety gates that forbid a DELETE at a moment; `wait` while the server's state is changing."""
        server, volume, data = moment.server, moment.volume, self.asked.data
        if server is None or volume is None:
            return set()
        found = set()
        if self.settings.kind == "bare_metal" and not self.shown_as_bare_metal(server):
            found.add("not_bare_metal")
        if volume.metadata.get("detach_protection", "").lower() == "true":
            found.add("volume_protected")
        if server.locked:
            found.add("server_locked")
        if server.task_state or server.status in WAITING:
            found.add("wait")
        elif _is_off(server):
            if moment.is_root() and not data.get("allow_system_disk"):
                found.add("system_disk")
        elif moment.is_root():
            found.add("system_disk")
        elif self.settings.running == "stopped_only":
            found.add("server_running")
        elif (self.settings.running == "attest" or self.system(server) != "linux") and not data.get("unmounted"):
            found.add("attestation_required")
        return found

    def system(self, server: Server) -> str:
        image = self.cloud.world.images.get(server.image_id or "")
        shown = server.metadata.get("os_type") or (image.properties.get("__os_type") if image else None)
        return (shown or "unknown").lower()

    def shown_as_bare_metal(self, server: Server) -> bool:
        """Whether the data that the cloud shows its users identify the server as bare metal."""
        version = self.cloud.deployment.max_compute_version
        marks = {server.metadata.get("metering.resourcetype"), *(server.tags if version >= (2, 26) else ())}
        return "__type_baremetal" in marks or server.flavor_id.startswith("physical.")

    def open(self, moment: Moment, meant: Set[str] | None = None) -> bool:
        """Whether a DELETE would be allowed and accepted at a moment. A host that is down does not count: users cannot
        see it.
        """
        server, volume = moment.server, moment.volume
        if server is None or volume is None or self.gates(moment):
            return False
        if server.offloaded:
            return moment.listed is not None and volume.status in ("in-use", "reserved")
        known = moment.both in (self.certain if meant is None else meant)
        return known and volume.status == "in-use" and server.vm_state in DETACHABLE

    @cached_property
    def open_for(self) -> timedelta:
        """The longest period in which the disk could have been detached, with no failing call about it.

        Time after the request's expiry does not count.
        """
        server_id, volume_id = self.where
        since = self.asked.first_received + self.settings.ahead
        expires = self.asked.expires_at
        until = min(self.offered, expires + self.settings.ahead) if expires else self.offered
        broken = [
            call.at for call in self.cloud.calls
            if (call.fault or call.status >= 400 or call.status == 0) and since <= call.at <= self.offered
            and call.server_id in (None, server_id) and call.volume_id in (None, volume_id)
        ]  # fmt: skip
        edges = sorted(at for at in {*(one.at for one in self.life), *broken, until} if at <= until)
        longest, start = timedelta(), None
        for at in edges:
            if start is not None:
                longest = max(longest, at - start)
            start = None
            if self.open(self.moment(at)):
                start = at
        return longest


def _is_off(server: Server) -> bool:
    return server.status in OFF or (server.status == "VERIFY_RESIZE" and server.power_state == POWER_OFF)


# ---------------------------------------------------------------------------------------------------------- claims

Claim = Callable[[View], bool]


def _gone(view: View) -> bool:
    """No plane holds the certainly meant binding any more."""
    return not view.certain & view.end.bindings


def _free(view: View) -> bool:
    return _gone(view) and any(one.free for one in view.moments)


def _now(view: View) -> bool:
    several = view.asked.deaths or view.asked.shared
    return _free(view) and (bool(view.accepted) if several else len(view.accepted) == 1)


def _meanwhile(view: View) -> bool:
    """A DELETE was sent. The sender cannot know whether a DELETE that was answered with an error reached the cloud."""
    sent = any(True for _ in view.happened(What.DELETE_RECEIVED)) or any(one.method == "DELETE" for one in view.answers)
    return _free(view) and sent


def _by_other(view: View) -> bool:
    """The attachment existed during the request, and no DELETE of ours is known to have removed it."""
    ours = view.accepted and not (view.asked.deaths or view.asked.shared)
    return _free(view) and not ours and any(view.possible & one.bindings for one in view.life)


def _already(view: View) -> bool:
    ours = view.accepted and not (view.asked.deaths or view.asked.shared)
    return _free(view) and not ours


def _replaced(view: View) -> bool:
    """A newer binding exists, and the meant one is gone."""
    newer = {one for one, at in view.made.items() if at > view.asked.requested_at - view.settings.skew}
    return _gone(view) and any((newer - view.certain) & one.bindings for one in view.moments)


def _server_gone(view: View) -> bool:
    """The server does not exist, and the attachment is gone.

    If it was never there during the request, the disk must be free: a disk elsewhere points to a wrong request.
    """
    left = any(one.volume and (one.volume.status != "available" or one.elsewhere) for one in [view.end])
    was_there = any(view.possible & one.bindings for one in view.life)
    return _gone(view) and any(one.server is None for one in view.moments) and (was_there or not left)


def _volume_gone(view: View) -> bool:
    """The volume existed during the request, and does not exist any more."""
    return _gone(view) and any(one.volume is None for one in view.moments) and any(one.volume for one in view.life)


def _held(view: View) -> bool:
    """A possible binding is attached."""
    return any(view.possible & one.bindings for one in view.moments)


def _expired(view: View) -> bool:
    expires, settings = view.asked.expires_at, view.settings
    over = expires is not None and view.offered - settings.ahead >= expires
    ttl = view.asked.ttl(settings)
    late = any(at - view.asked.requested_at >= ttl - settings.skew for _, at in view.asked.received)
    there = bool(view.answers) or not all(one.free for one in view.moments)
    return (over or late) and there and not view.effect


def _superseded(view: View) -> bool:
    """A newer attachment exists, or one that a client cannot distinguish from a newer one."""
    named = view.asked.data.get("attachment_id")
    for one in view.moments:
        for attachment in (*one.shown, *([one.listed] if one.listed else [])):
            newer = attachment.bdm_id not in view.certain
            renewed = attachment.attached_at is None or attachment.attached_at > view.asked.requested_at
            other = named is not None and named != attachment.id
            silent = any(call.operation in ("list_actions", "get_action") for call in view.answers)
            shown = view.keeps_records and not silent and not _ambiguous(view)
            if newer or ((renewed or other) and not shown):
                return True
    return False


ATTACH_OR_DETACH = ("attach_volume", "detach_volume")


def _ambiguous(view: View) -> bool:
    """The server's records have attaches or detaches, of any disk, that a client cannot rule out as the cause.

    Those after the request count; if the request names an attachment, every detach counts.
    """
    since = view.asked.requested_at - view.settings.skew
    named = view.asked.data.get("attachment_id") is not None
    actions = (one for one in view.cloud.world.actions.values() if one.server_id == view.where[0])
    return any(
        one.action in ATTACH_OR_DETACH and (one.started_at > since or (named and one.action == "detach_volume"))
        for one in actions
    )


def _server_not_found(view: View) -> bool:
    return any(
        one.server is None and (one.volume is None or one.volume.status != "available" or one.elsewhere)
        for one in view.moments
    )


def _volume_not_found(view: View) -> bool:
    return any(one.volume is None for one in view.moments)


def _elsewhere(view: View) -> bool:
    return any(one.free and one.elsewhere and one.volume and not one.volume.multiattach for one in view.moments)


def _wrong_project(view: View) -> bool:
    project = view.asked.data.get("project_id")
    return project not in (None, view.cloud.world.project.id)


def _gate(reason: str) -> Claim:
    def claim(view: View) -> bool:
        """The gate forbade a DELETE, and no DELETE has taken effect."""
        return not view.effect and any(
            reason in view.gates(one) and view.possible & one.bindings for one in view.moments
        )

    return claim


def _answer(*statuses: int, words: Sequence[str] = ()) -> Claim:
    def claim(view: View) -> bool:
        """The cloud gave such an answer, and no DELETE has taken effect."""
        answered = view.answered_with(*words) if words else view.answered(*statuses)
        return answered and not view.effect and not _newly_gone(view)

    return claim


def _newly_gone(view: View) -> bool:
    """A DELETE of this service has detached the disk, whatever its answer was."""
    return bool(view.accepted) and view.end.free and not view.asked.shared


def _volume_error(view: View) -> bool:
    return any(one.volume and one.volume.status.startswith("error") and one.bindings for one in view.moments)


def _refused(view: View) -> bool:
    """A DELETE was accepted, but the disk is attached and idle: the server refused, or nothing happened for long."""
    idle = any(one.volume and one.volume.status != "detaching" for one in view.moments)
    taken = [entry.at for entry in view.happened(What.DELETE_ACCEPTED)]
    failed = any(True for _ in view.happened(What.DETACH_REFUSED, What.DETACH_FAILED))
    silent = bool(taken) and view.offered - max(taken) >= UNMARKED - SECOND
    return _held(view) and idle and bool(taken) and (failed or silent)


def _stuck(view: View) -> bool:
    failed = any(True for _ in view.happened(What.DETACH_FAILED))
    return _held(view) and (failed or view.over_watch)


def _inconsistent(view: View) -> bool:
    """The planes contradict each other, and the time of the request or of the watch is over."""
    since = view.asked.first_received + view.settings.ahead
    ended = view.offered - since >= view.asked.ttl(view.settings) - SECOND or view.over_watch
    return ended and any(_contradicts(one) for one in view.moments)


def _contradicts(one: Moment) -> bool:
    absent = (one.server is None or one.volume is None) and bool(one.bindings or _between(one))
    return absent or (one.both is None and bool(one.bindings)) or bool(_between(one))


def _between(one: Moment) -> bool:
    return one.volume is not None and one.volume.status in ("reserved", "attaching")


OPEN_AT_MOST = timedelta(seconds=75)
"""The longest time for which a detachable disk may wait: a pause between two looks is at most a minute."""


UNSETTLED = 3


def _gave_up(view: View) -> bool:
    """The request's time to live is over, and the disk could not be detached before."""
    since = max(view.asked.first_received, view.asked.requested_at) + view.settings.ahead
    over = view.offered - since >= view.asked.ttl(view.settings) - SECOND
    # After a death or a lost answer, it is unknown whose detach a multi-attach volume shows.
    lost = view.asked.deaths or any(call.method == "DELETE" for call in view.answers)
    several = lost and any(one.volume and one.volume.multiattach for one in view.life)
    # After three DELETEs with unknown outcomes, no other may be sent.
    unsettled = sum(call.method == "DELETE" for call in view.answers) >= UNSETTLED
    waited = view.asked.deaths or unsettled or view.open_for < OPEN_AT_MOST + view.asked.late
    return (over and waited and (several or not view.effect)) or view.over_watch


def _watching(view: View) -> bool:
    since = view.under_way_since
    return since is not None and view.offered >= since + view.settings.confirm and (_held(view) or bool(view.answers))


MOST_DISKS = 100
"""The most disks of one request for all data disks."""


def _too_many(view: View) -> bool:
    """The server has more data disks than one request may have."""
    every = bool(view.asked.data.get("all_data_disks")) and not view.where[1]
    since = min(view.asked.first_received + view.settings.ahead, view.began)
    moments = data_disks(view.cloud, view.where[0], since, view.offered) if every else []
    return any(len(disks) > MOST_DISKS for disks in moments)


def _sender(*faults: str) -> Claim:
    return lambda view: view.asked.invalid in faults


CLAIMS: Mapping[str, Claim] = {
    "detached_now": _now,
    "detached_meanwhile": _meanwhile,
    "detached_by_other": _by_other,
    "already_detached": _already,
    "replaced_by_newer": _replaced,
    "server_gone": _server_gone,
    "volume_gone": _volume_gone,
    "still_watching": _watching,
    "invalid_request": lambda view: view.asked.invalid == "invalid_request" or _too_many(view),
    "not_authentic": _sender("not_authentic"),
    "requester_not_allowed": lambda view: not view.settings.allowed,
    "expired": _expired,
    "superseded": _superseded,
    "server_not_found": _server_not_found,
    "volume_not_found": _volume_not_found,
    "attached_elsewhere": _elsewhere,
    "wrong_project": _wrong_project,
    **{
        reason: _gate(reason)
        for reason in (
            "system_disk",
            "attestation_required",
            "server_running",
            "server_locked",
            "volume_protected",
            "not_bare_metal",
        )
    },
    "volume_locked": _answer(words=("BMS.0297", "locked")),
    "volume_frozen": _answer(words=("BMS.0360", "frozen")),
    "volume_error": _volume_error,
    "refused_by_server": _refused,
    "stuck_detaching": _stuck,
    "forbidden": _answer(403),
    "unauthorized": _answer(401, 403),
    "api_rejected": _answer(*range(300, 501), 501, 505),
    "gave_up": _gave_up,
    "inconsistent_state": _inconsistent,
    "dead_lettered": lambda view: view.asked.dead_lettered,
}
"""The claim of each detail and each reason."""


def _job_says(code: str) -> Claim:
    """The server refused, and the job of the DELETE failed with this code."""
    return lambda view: (
        _refused(view) and any(one.volume and one.volume.behaviour.job_error[0] == code for one in view.moments)
    )


BY_ANSWER: Mapping[str, Claim] = {
    "server_locked": _answer(409),
    "system_disk": _answer(400, 403, words=("root device",)),
    "wrong_project": _answer(400, words=("project_id",)),
    "volume_error": _answer(words=("status must be",)),
    "volume_frozen": _job_says("BMS.0360"),
    "volume_locked": _job_says("BMS.0297"),
}
"""Reasons that an answer of the cloud also justifies."""


def justified(view: View, detail: str) -> bool:
    """Whether the record justifies this detail or reason in a verdict (final or `unconfirmed`)."""
    also = BY_ANSWER.get(detail)
    return CLAIMS[detail](view) or (also is not None and also(view))


def expected(view: View) -> frozenset[str]:
    """Every detail and reason that the record justifies."""
    return frozenset(detail for detail in CLAIMS if justified(view, detail))


def objection(view: View, data: Mapping[str, Any]) -> str | None:
    """Why the record does not justify a verdict; None if it does."""
    detail, outcome = data["detail"], data["verdict"]
    if outcome == "checked":
        return _objection_to_check(view, data)
    if justified(view, detail):
        return None
    return f"said {detail}; the record justifies {', '.join(sorted(expected(view))) or 'nothing'}"


def _objection_to_check(view: View, data: Mapping[str, Any]) -> str | None:
    """Why a dry run's verdict is wrong; None if it is right. A dry run must not send a DELETE."""
    detail = data["detail"]
    if any(True for _ in view.happened(What.DELETE_RECEIVED)) and not view.asked.shared:
        return "a dry run sent a DELETE"
    match detail:
        case "would_detach":
            right = any(view.open(one, view.possible) for one in view.moments)
        case "would_wait":
            right = any(not view.open(one) for one in view.moments) or bool(view.answers)
        case "would_fail":
            code = (data.get("reason") or {}).get("code", "")
            right = justified(view, code) or (code == "api_rejected" and any(map(_refused_by_state, view.moments)))
        case _:
            right = justified(view, detail.removeprefix("would_report_"))
    if right:
        return None
    return f"said {detail}; the record justifies {', '.join(sorted(expected(view))) or 'nothing'}"


def _refused_by_state(one: Moment) -> bool:
    """Whether the cloud would refuse a DELETE because of the server's vm_state."""
    return one.server is not None and one.server.vm_state not in DETACHABLE


LOGIN = timedelta(minutes=15)


def _is_login(call: Called) -> bool:
    return call.operation == "get_token" or (call.signed and call.status == 401)


def answers_about(
    calls: Sequence[Called], where: tuple[str, str], received: datetime, began: datetime, offered: datetime
) -> list[Called]:
    """The calls without success that may have influenced a verdict.

    They were made between `began` and `offered`, or are DELETEs since the request was received. They are about the
    disk, its server, or no object in particular (a login, a list of volumes). Refused logins and signatures count 15
    minutes longer, and for every disk and server: the product uses refused credentials for nothing until a pause is
    over.
    """
    server_id, volume_id = where
    return [
        call
        for call in calls
        if (received if call.method == "DELETE" else began - LOGIN if _is_login(call) else began) <= call.at <= offered
        and (call.status >= 300 or call.status == 0 or call.fault)
        and (_is_login(call) or (call.server_id in (None, server_id) and call.volume_id in (None, volume_id)))
    ]
