"""Which verdicts the world's own record justifies, for every reason and every detail.

Nothing of the product is asked: not its evidence, nor its times, nor which attachment it followed. What is known is
what the cloud was at each moment (`timeline`), what it was asked and answered (`calls`), what happened in it
(`history`), what the sender wrote, and when the queue handed it out and the bus was offered the verdict.
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
"""A server in one of these has nothing mounted (design §5)."""

WAITING = ("BUILD", "REBOOT", "HARD_REBOOT", "REBUILD", "RESIZE", "REVERT_RESIZE", "MIGRATING", "PASSWORD")
"""Nova shows these in the course of an operation."""

POWER_OFF = 4
"""Nova's SHUTDOWN. A server that was off when it was resized stays off until the resize is confirmed."""

LETS_GO = frozenset({"active", "paused", "stopped", "resized", "soft-delete", "shelved", "shelved_offloaded"})
"""States in which Nova accepts a detach."""

UNMARKED = timedelta(seconds=60)
"""An accepted detach that has shown nothing for so long counts as refused (design rule 4)."""

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Promise:
    """What the operator has set, as far as verdicts depend on it.

    `running` is RUNNING_SERVER_POLICY, `kind` SERVER_KIND. `skew` is what clocks may differ by; `ahead` is how far the
    cloud's clock is before the function's.
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
class Asked:
    """A request: what its sender wrote, and of each of its messages when it was sent and first handed out.

    `deaths` says whether a delivery of it may not have been finished, `shared` whether others ask for the same disk.
    """

    request: Mapping[str, Any]
    received: Sequence[tuple[datetime, datetime]] = ()
    deaths: bool = False
    shared: bool = False
    dead_lettered: bool = False
    invalid: str | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self.request["data"]
        return data

    @property
    def requested_at(self) -> datetime:
        """No request was made after it was sent."""
        told = (self.request.get("time"), self.data.get("requested_at"))
        sent = min((sent for sent, _ in self.received), default=None)
        times = [datetime.fromisoformat(time.replace("Z", "+00:00")) for time in told if time]
        return min([*times, *([sent] if sent else [])])

    @property
    def expires_at(self) -> datetime | None:
        told = self.request.get("expirytime")
        return datetime.fromisoformat(told.replace("Z", "+00:00")) if told else None

    @property
    def first_received(self) -> datetime:
        return min((at for _, at in self.received), default=self.requested_at)

    def ttl(self, promise: Promise) -> timedelta:
        asked = self.data.get("request_ttl")
        return min(timedelta(seconds=asked) if asked else promise.ttl, promise.ttl_limit)


@dataclass(frozen=True)
class Moment:
    """The disk and its server at one moment."""

    at: datetime
    server: Server | None
    volume: Volume | None
    listed: Attachment | None
    shown: tuple[Attachment, ...]
    elsewhere: tuple[Attachment, ...]

    @property
    def free(self) -> bool:
        """No plane holds the disk on this server."""
        return not self.listed and not self.shown

    @property
    def bindings(self) -> set[str]:
        """Of the disk to this server, by either plane."""
        return {one.bdm_id for one in (*self.shown, *([self.listed] if self.listed else []))}

    @property
    def both(self) -> str | None:
        """The attachment that both planes show, the only one."""
        same = self.listed and len(self.shown) == 1 and self.shown[0].id == self.listed.id
        return self.listed.bdm_id if same and self.listed else None

    def is_root(self) -> bool:
        """Whether the disk is the system disk: at the root device, or at the first name if none is told."""
        devices = {one.device for one in (*self.shown, *([self.listed] if self.listed else [])) if one.device}
        if self.volume and not devices:
            return self.volume.bootable
        root = {self.server.root_device} if self.server and self.server.root_device else set(FIRST_DISKS)
        return bool(devices & root)


def is_system_disk(cloud: CloudApi, server_id: str, volume_id: str, at: datetime) -> bool:
    """Whether a disk was the server's system disk at a moment, by either plane."""
    timeline = cloud.world.timeline
    held = (one for plane in ("nova", "cinder") for one in timeline.attachments(plane, volume_id, at))
    here = tuple(one for one in held if one.server_id == server_id)
    server, volume = timeline.at("servers", server_id, at), timeline.at("volumes", volume_id, at)
    return Moment(at, server, volume, None, here, ()).is_root()


def data_disks(cloud: CloudApi, server_id: str, since: datetime, until: datetime) -> list[set[str]]:
    """The data disks that compute listed for a server, at each moment of an interval at which they may have changed."""
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
    """All that is known of a verdict about one request, at the time when it was said."""

    cloud: CloudApi
    asked: Asked
    promise: Promise
    began: datetime
    said: datetime
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
        """The states that the world was in while the verdict was being made."""
        times = self.cloud.world.timeline.changes(*self.where, self.began, self.said)
        return [self.moment(at) for at in times]

    @cached_property
    def life(self) -> list[Moment]:
        """The states since the request was handed out."""
        since = min(self.asked.first_received + self.promise.ahead, self.began)
        return [self.moment(at) for at in self.cloud.world.timeline.changes(*self.where, since, self.said)]

    @cached_property
    def end(self) -> Moment:
        return self.moment(self.said)

    # ---------------------------------------------------------------------------------------------- bindings

    @cached_property
    def made(self) -> dict[str, datetime]:
        """When each binding of the disk to the server was made."""
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
        """The bindings that there were when the request was made, or the one that it names."""
        named = self.asked.data.get("attachment_id")
        if named:
            return {self.binding_of[named]} & self.made.keys() if named in self.binding_of else set()
        return {one for one, at in self.made.items() if at <= self.asked.requested_at + slack}

    @cached_property
    def certain(self) -> set[str]:
        """Meant, whichever clock is right; of several the last, since the others were gone by then."""
        found = self.meant(-self.promise.skew)
        return {max(found, key=lambda one: self.made[one])} if found else set()

    @cached_property
    def possible(self) -> set[str]:
        return self.meant(self.promise.skew + SECOND)

    def happened(self, *whats: What) -> Iterator[Happened]:
        """To bindings that may be meant, until the verdict was said."""
        where = self.where
        for entry in self.cloud.world.history:
            about = entry.what in whats and (entry.server_id, entry.volume_id) == where
            if about and entry.at <= self.said and self.binding_of.get(entry.attachment_id or "") in self.possible:
                yield entry

    @cached_property
    def accepted(self) -> list[datetime]:
        """When DELETEs were accepted for what may be meant, and not refused later."""
        taken = [entry.at for entry in self.happened(What.DELETE_ACCEPTED)]
        lost = sum(1 for _ in self.happened(What.DETACH_REFUSED))
        return taken[lost:]

    @cached_property
    def under_way_since(self) -> datetime | None:
        """Since when a detach has been under way, accepted or seen as `detaching`."""
        marks = [one.at for one in self.life if one.volume and one.volume.status == "detaching"]
        taken = [entry.at for entry in self.happened(What.DELETE_ACCEPTED)]
        return min([*marks, *taken], default=None)

    # ------------------------------------------------------------------------------------------ what was answered

    def answered(self, *statuses: int) -> bool:
        """Whether one of the calls about this disk was answered so while the verdict was being made."""
        return any(call.status in statuses for call in self.answers)

    def answered_with(self, *words: str) -> bool:
        bodies = (call.answer.body.decode("utf-8", "replace").lower() for call in self.answers if call.answer)
        return any(word.lower() in body for body in bodies for word in words)

    @property
    def effect(self) -> bool:
        """A DELETE has taken effect and the disk is on its way, or gone: no refusal is true any more.

        Where others ask for the same disk it may be theirs; then this request may be refused all the same.
        """
        return bool(self.accepted) and not self.over_watch and not self.asked.shared

    @property
    def over_watch(self) -> bool:
        return self.under_way_since is not None and self.said >= self.under_way_since + self.promise.watch

    # --------------------------------------------------------------------------------------------------- the gates

    def gates(self, moment: Moment) -> set[str]:
        """Every reason that speaks against a DELETE at a moment; `wait` where the answer is about to change."""
        server, volume, data = moment.server, moment.volume, self.asked.data
        if server is None or volume is None:
            return set()
        found = set()
        if self.promise.kind == "bare_metal" and not self.shown_as_bare_metal(server):
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
        elif self.promise.running == "stopped_only":
            found.add("server_running")
        elif (self.promise.running == "attest" or self.system(server) != "linux") and not data.get("unmounted"):
            found.add("attestation_required")
        return found

    def system(self, server: Server) -> str:
        image = self.cloud.world.images.get(server.image_id or "")
        told = server.metadata.get("os_type") or (image.properties.get("__os_type") if image else None)
        return (told or "unknown").lower()

    def shown_as_bare_metal(self, server: Server) -> bool:
        """Whether anything that the cloud shows to its users says so; of what it hides nobody can know."""
        version = self.cloud.deployment.max_compute_version
        marks = {server.metadata.get("metering.resourcetype"), *(server.tags if version >= (2, 26) else ())}
        return "__type_baremetal" in marks or server.flavor_id.startswith("physical.")

    def open(self, moment: Moment, meant: Set[str] | None = None) -> bool:
        """Whether a DELETE would be right and be accepted at a moment, as far as users are told: not of a dead host."""
        server, volume = moment.server, moment.volume
        if server is None or volume is None or self.gates(moment):
            return False
        if server.offloaded:
            return moment.listed is not None and volume.status in ("in-use", "reserved")
        known = moment.both in (self.certain if meant is None else meant)
        return known and volume.status == "in-use" and server.vm_state in LETS_GO

    @cached_property
    def open_for(self) -> timedelta:
        """The longest time for which the disk could have been detached, with no call about it going wrong.

        Once the time that the request sets is over, nothing is begun.
        """
        server_id, volume_id = self.where
        since = self.asked.first_received + self.promise.ahead
        until = self.asked.expires_at + self.promise.ahead if self.asked.expires_at else self.said
        broken = [
            call.at for call in self.cloud.calls
            if (call.fault or call.status >= 400 or call.status == 0) and since <= call.at <= self.said
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


# -------------------------------------------------------------------------------------------------- what is justified

Claim = Callable[[View], bool]


def _gone(view: View) -> bool:
    """No plane holds what was certainly meant."""
    return not view.certain & view.end.bindings


def _free(view: View) -> bool:
    return _gone(view) and any(one.free for one in view.moments)


def _now(view: View) -> bool:
    several = view.asked.deaths or view.asked.shared
    return _free(view) and (bool(view.accepted) if several else len(view.accepted) == 1)


def _meanwhile(view: View) -> bool:
    """A DELETE was sent. Whether the cloud received one that was answered with an error, no sender can know."""
    sent = any(True for _ in view.happened(What.DELETE_RECEIVED)) or any(one.method == "DELETE" for one in view.answers)
    return _free(view) and sent


def _by_other(view: View) -> bool:
    """It was there while the request was, and no DELETE of ours took it, as far as one can know after a crash."""
    ours = view.accepted and not (view.asked.deaths or view.asked.shared)
    return _free(view) and not ours and any(view.possible & one.bindings for one in view.life)


def _already(view: View) -> bool:
    ours = view.accepted and not (view.asked.deaths or view.asked.shared)
    return _free(view) and not ours


def _replaced(view: View) -> bool:
    """Another binding is there, made after the one that was meant was gone."""
    newer = {one for one, at in view.made.items() if at > view.asked.requested_at - view.promise.skew}
    return _gone(view) and any((newer - view.certain) & one.bindings for one in view.moments)


def _server_gone(view: View) -> bool:
    """There is no such server, and nothing is left of what was asked for: a disk elsewhere may be the wrong one."""
    left = any(one.volume and (one.volume.status != "available" or one.elsewhere) for one in [view.end])
    was_there = any(view.possible & one.bindings for one in view.life)
    return _gone(view) and any(one.server is None for one in view.moments) and (was_there or not left)


def _volume_gone(view: View) -> bool:
    """It was there while the request was, and is not any more."""
    return _gone(view) and any(one.volume is None for one in view.moments) and any(one.volume for one in view.life)


def _held(view: View) -> bool:
    """What may be meant is attached."""
    return any(view.possible & one.bindings for one in view.moments)


def _expired(view: View) -> bool:
    expires, promise = view.asked.expires_at, view.promise
    over = expires is not None and view.said - promise.ahead >= expires
    ttl = view.asked.ttl(promise)
    late = any(at - view.asked.requested_at >= ttl - promise.skew for _, at in view.asked.received)
    there = bool(view.answers) or not all(one.free for one in view.moments)
    return (over or late) and there and not view.effect


def _superseded(view: View) -> bool:
    """Another attachment is there: a newer one, or one that nobody can tell from a newer one."""
    named = view.asked.data.get("attachment_id")
    for one in view.moments:
        for attachment in (*one.shown, *([one.listed] if one.listed else [])):
            newer = attachment.bdm_id not in view.certain
            renewed = attachment.attached_at is None or attachment.attached_at > view.asked.requested_at
            other = named is not None and named != attachment.id
            silent = any(call.operation in ("list_actions", "get_action") for call in view.answers)
            told = view.keeps_records and not silent and not _blurred(view)
            if newer or ((renewed or other) and not told):
                return True
    return False


BLURS = ("attach_volume", "detach_volume")


def _blurred(view: View) -> bool:
    """The server's records name attaches and detaches, of whichever disk, after the request or the binding."""
    since = view.asked.requested_at - view.promise.skew
    named = view.asked.data.get("attachment_id") is not None
    actions = (one for one in view.cloud.world.actions.values() if one.server_id == view.where[0])
    return any(
        one.action in BLURS and (one.started_at > since or (named and one.action == "detach_volume")) for one in actions
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
        """Something spoke against a DELETE, and none has had an effect."""
        return not view.effect and any(
            reason in view.gates(one) and view.possible & one.bindings for one in view.moments
        )

    return claim


def _answer(*statuses: int, words: Sequence[str] = ()) -> Claim:
    def claim(view: View) -> bool:
        """The cloud has answered so, and no DELETE has had an effect."""
        told = view.answered_with(*words) if words else view.answered(*statuses)
        return told and not view.effect and not _newly_gone(view)

    return claim


def _newly_gone(view: View) -> bool:
    """What was meant was detached by a DELETE of this service: whatever it heard of it, it is done."""
    return bool(view.accepted) and view.end.free and not view.asked.shared


def _volume_error(view: View) -> bool:
    return any(one.volume and one.volume.status.startswith("error") and one.bindings for one in view.moments)


def _refused(view: View) -> bool:
    """It was accepted, and the server would not let go; or nothing has come of it for long. The disk is idle again."""
    idle = any(one.volume and one.volume.status != "detaching" for one in view.moments)
    taken = [entry.at for entry in view.happened(What.DELETE_ACCEPTED)]
    told = any(True for _ in view.happened(What.DETACH_REFUSED, What.DETACH_FAILED))
    silent = bool(taken) and view.said - max(taken) >= UNMARKED - SECOND
    return _held(view) and idle and bool(taken) and (told or silent)


def _stuck(view: View) -> bool:
    failed = any(True for _ in view.happened(What.DETACH_FAILED))
    return _held(view) and (failed or view.over_watch)


def _apart(view: View) -> bool:
    """The planes contradict each other, and have done so until the time was up."""
    since = view.asked.first_received + view.promise.ahead
    ended = view.said - since >= view.asked.ttl(view.promise) - SECOND or view.over_watch
    return ended and any(_contradicts(one) for one in view.moments)


def _contradicts(one: Moment) -> bool:
    absent = (one.server is None or one.volume is None) and bool(one.bindings or _between(one))
    return absent or (one.both is None and bool(one.bindings)) or bool(_between(one))


def _between(one: Moment) -> bool:
    return one.volume is not None and one.volume.status in ("reserved", "attaching")


OPEN_AT_MOST = timedelta(seconds=75)
"""The longest pause between two looks is a minute while nothing is under way: so long a disk that can be detached may
wait, and no longer."""


UNSETTLED = 3


def _gave_up(view: View) -> bool:
    """Its time was over, and there was no time at which it could have been detached."""
    since = max(view.asked.first_received, view.asked.requested_at) + view.promise.ahead
    over = view.said - since >= view.asked.ttl(view.promise) - SECOND
    # After a death nobody knows whose detach it is that a disk of several servers shows.
    several = view.asked.deaths and any(one.volume and one.volume.multiattach for one in view.life)
    # Three DELETEs whose outcome nobody knows, and none after them (design rule 2).
    unsettled = sum(call.method == "DELETE" for call in view.answers) >= UNSETTLED
    waited = view.asked.deaths or unsettled or view.open_for < OPEN_AT_MOST
    return (over and waited and (several or not view.effect)) or view.over_watch


def _watching(view: View) -> bool:
    since = view.under_way_since
    return since is not None and view.said >= since + view.promise.confirm and (_held(view) or bool(view.answers))


MOST_DISKS = 100
"""A request for all data disks is for so many at most."""


def _too_many(view: View) -> bool:
    """The server has more data disks than one request may be for."""
    every = bool(view.asked.data.get("all_data_disks")) and not view.where[1]
    since = min(view.asked.first_received + view.promise.ahead, view.began)
    moments = data_disks(view.cloud, view.where[0], since, view.said) if every else []
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
    "requester_not_allowed": lambda view: not view.promise.allowed,
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
    "inconsistent_state": _apart,
    "dead_lettered": lambda view: view.asked.dead_lettered,
}
"""What each reason and each detail claims of the world."""

BY_ANSWER: Mapping[str, Claim] = {
    "server_locked": _answer(409),
    "system_disk": _answer(400, 403, words=("root device",)),
    "wrong_project": _answer(400, words=("project_id",)),
    "volume_error": _answer(words=("status must be",)),
}
"""What the cloud may also say itself, in its answer to a DELETE."""


def justified(view: View, detail: str) -> bool:
    """Whether the record justifies a final verdict with this detail, or this reason, and the announcement."""
    also = BY_ANSWER.get(detail)
    return CLAIMS[detail](view) or (also is not None and also(view))


def expected(view: View) -> frozenset[str]:
    """Every detail and reason that the record justifies."""
    return frozenset(detail for detail in CLAIMS if justified(view, detail))


def objection(view: View, data: Mapping[str, Any]) -> str | None:
    """Why a verdict is not one of those that the record justifies; None if it is."""
    detail, outcome = data["detail"], data["verdict"]
    if outcome == "checked":
        return _objection_to_check(view, data)
    if justified(view, detail):
        return None
    return f"said {detail}; the record justifies {', '.join(sorted(expected(view))) or 'nothing'}"


def _objection_to_check(view: View, data: Mapping[str, Any]) -> str | None:
    """A dry run says what a request would lead to, and nothing is sent."""
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
    """The cloud would refuse a DELETE, since the server is in such a state."""
    return one.server is not None and one.server.vm_state not in LETS_GO


LOGIN = timedelta(minutes=15)


def _is_login(call: Called) -> bool:
    return call.operation == "get_token" or (call.signed and call.status == 401)


def answers_about(
    calls: Sequence[Called], where: tuple[str, str], received: datetime, began: datetime, said: datetime
) -> list[Called]:
    """The calls that were no success: while a verdict was made, and each DELETE since the request was received.

    A login that was refused is not repeated for up to a quarter of an hour, and stands for those that are not made; so
    does a signature.
    About the disk, its server, or nobody in particular (a login, a list of volumes).
    """
    server_id, volume_id = where
    return [
        call
        for call in calls
        if (received if call.method == "DELETE" else began - LOGIN if _is_login(call) else began) <= call.at <= said
        and (call.status >= 300 or call.status == 0 or call.fault)
        and call.server_id in (None, server_id)
        and call.volume_id in (None, volume_id)
    ]
