"""The state machine of the simulated cloud: servers, volumes, and their attachments on both planes."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

from simulator import moves
from simulator.inventory import (
    Action,
    Attachment,
    Behaviour,
    Happened,
    Image,
    Project,
    Refused,
    Server,
    Snapshot,
    Volume,
    What,
)
from simulator.planes import free_device, held, status_after_removal
from simulator.scheduler import Scheduler
from simulator.timeline import Plane, Timeline

OFFLOADED_USE = frozenset({"in-use", "reserved"})
"""A volume's statuses on an offloaded server: in-use if attached after the offload, reserved if before."""

RECORD_LAG = 0.3
"""Seconds between the removal of an attachment from Cinder and the end of Nova's record."""


class World:
    """The state of the cloud. The same clock, seed and calls give the same history, including ids.

    Nova and Cinder keep separate attachments (`nova`, `cinder`, by attachment id), because they differ while a detach
    is under way. `reserved` holds the attachments that Cinder has made for a moving server and does not show before
    they are connected. Not thread-safe: use the API's lock.
    """

    servers: dict[str, Server] = Plane()  # type: ignore[assignment]
    volumes: dict[str, Volume] = Plane()  # type: ignore[assignment]
    nova: dict[str, Attachment] = Plane()  # type: ignore[assignment]
    cinder: dict[str, Attachment] = Plane()  # type: ignore[assignment]

    def __init__(self, clock: Callable[[], datetime], seed: int = 0, project: Project | None = None) -> None:
        self._scheduler = Scheduler(clock)
        self.timeline = Timeline(lambda: self.now)
        self._random = Random(seed)
        self._record_ids = Random(f"records of {seed}")  # separate, so that an extra record changes no other id
        self.project = project or Project()
        self.projects: dict[str, Project] = {self.project.id: self.project}
        self.servers, self.volumes = {}, {}
        self.images: dict[str, Image] = {}
        self.nova, self.cinder = {}, {}
        self.reserved: dict[str, Attachment] = {}
        self.actions: dict[str, Action] = {}
        self.history: list[Happened] = []

    # ----------------------------------------------------------------------------------------- time and names

    @property
    def now(self) -> datetime:
        return self._scheduler.now

    def advance(self) -> None:
        """Run every scheduled action that is due."""
        self._scheduler.advance()

    def at(self, seconds_from_now: float, action: Callable[[], object]) -> None:
        """Schedule an action; if the cloud refuses it then, nothing happens."""
        self._scheduler.at(seconds_from_now, partial(_attempt, action))

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule a step of an operation; without a delay it runs immediately."""
        if seconds > 0:
            self._scheduler.at(seconds, action)
        else:
            action()

    def new_id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def new_request_id(self) -> str:
        return f"req-{self.new_id()}"

    def note(
        self,
        what: What,
        server_id: str | None = None,
        volume_id: str | None = None,
        attachment_id: str | None = None,
        detail: str = "",
    ) -> None:
        """Add an entry to the history, at the world's time."""
        self.history.append(Happened(self.now, what, server_id, volume_id, attachment_id, detail))

    # ------------------------------------------------------------------------------------------------- set-up

    def add_project(self, name: str, id: str | None = None, domain_name: str = "Default") -> Project:
        project = Project(id or self.new_id().replace("-", ""), name, domain_name)
        self.projects[project.id] = project
        return project

    def add_image(self, properties: Mapping[str, str], id: str | None = None, project_id: str | None = None) -> Image:
        image = Image(id or self.new_id(), project_id or self.project.id, properties=properties)
        self.images[image.id] = image
        return image

    def add_server(self, id: str | None = None, project_id: str | None = None, **attributes: Any) -> Server:
        """Create a running server; `attributes` are those of `Server`."""
        self.advance()
        times = {"created_at": self.now, "launched_at": self.now} | attributes
        server = Server(id or self.new_id(), project_id or self.project.id, **times)
        self.servers[server.id] = server
        self.record(server.id, "create", server.created_at, server.launched_at)
        self.note(What.SERVER_CREATED, server.id)
        return server

    def add_volume(self, id: str | None = None, project_id: str | None = None, **attributes: Any) -> Volume:
        """Create an unattached volume; `attributes` are those of `Volume`."""
        self.advance()
        times = {"created_at": self.now, "updated_at": self.now} | attributes
        volume = Volume(id or self.new_id(), project_id or self.project.id, **times)
        self.volumes[volume.id] = volume
        return volume

    def clear(self) -> None:
        """Remove everything and cancel all scheduled actions. Ids are not reused."""
        self.advance()
        self._scheduler.forget()
        self.servers, self.volumes, self.nova, self.cinder = {}, {}, {}, {}
        self.reserved, self.actions, self.images = {}, {}, {}

    def set_server(self, server_id: str, **changes: Any) -> Server:
        self.advance()
        self.servers[server_id] = replace(self.server(server_id), **changes)
        return self.servers[server_id]

    def set_volume(self, volume_id: str, **changes: Any) -> Volume:
        self.advance()
        times = {"updated_at": self.now} | changes
        self.volumes[volume_id] = replace(self._volume(volume_id), **times)
        return self.volumes[volume_id]

    # -------------------------------------------------------------------------------------- attach and detach

    def attach(
        self, server_id: str, volume_id: str, device: str | None = None, attached_at: datetime | None = None
    ) -> str:
        """Attach a volume and return the attachment's id. Raises `Refused` if Nova would refuse.

        The default `attached_at` is now, in whole seconds as in Cinder. The record of the operation starts at
        `attached_at`. On an offloaded server the attachment gets no device and no time.
        """
        self.advance()
        server, volume = self.server(server_id), self._volume(volume_id)
        free = volume.status == "available" or (volume.multiattach and volume.status == "in-use")
        if not free or self.is_attached(server_id, volume_id):
            why = f"volume is {volume.status}"
            self.note(What.ATTACH_REFUSED, server_id, volume_id, detail=why)
            raise Refused(why)
        attachment = Attachment(id=self.new_id(), bdm_id=self.new_id(), server_id=server.id, volume_id=volume.id)
        if not server.offloaded:
            device, since = device or free_device(self.nova, server_id), attached_at or self.now.replace(microsecond=0)
            attachment = replace(attachment, device=device, attached_at=since)
        self.nova[attachment.id] = self.cinder[attachment.id] = attachment
        self.set_volume(volume_id, status="in-use")
        self._note_attachment(What.ATTACHED, attachment)
        started = min(attached_at or self.now, self.now)
        self.record(server_id, "attach_volume", started, started)
        return attachment.id

    def begin_detach(self, server_id: str, volume_id: str, request_id: str | None = None) -> str:
        """Begin a detach and return the id of the attachment. Raises `Refused` if Nova would refuse."""
        self.advance()
        server, volume = self.server(server_id), self._volume(volume_id)
        if server.task_state is not None:
            raise Refused(f"server is busy with {server.task_state}")
        if server.offloaded:
            return self._detach_offloaded(server, volume, request_id)
        attachment = held(self.cinder, server_id, volume_id)
        if attachment is None or volume.status != "in-use":
            raise Refused(f"volume is {volume.status}")
        behaviour = volume.behaviour
        request_id = self.record(server_id, "detach_volume", request_id=request_id, taken_up=behaviour.taken_up)
        self.after(behaviour.mark_lag, partial(self._mark, attachment, behaviour, request_id))
        return attachment.id

    def delete_server(self, server_id: str) -> None:
        """Delete a server at once; its volumes are detached on both planes."""
        self.advance()
        self.server(server_id)
        for attachment in [a for a in self._all_attachments() if a.server_id == server_id]:
            self._cinder_detach(attachment)
            self._nova_detach(attachment)
        del self.servers[server_id]
        self.note(What.SERVER_DELETED, server_id)

    def delete_volume(self, volume_id: str, keep_listed: bool = False) -> None:
        """Delete a volume at once; with `keep_listed` Nova still lists it, as after a forced delete."""
        self.advance()
        self._volume(volume_id)
        for attachment in [a for a in self._all_attachments() if a.volume_id == volume_id]:
            self._cinder_detach(attachment)
            if not keep_listed:
                self._nova_detach(attachment)
        del self.volumes[volume_id]
        self.note(What.VOLUME_DELETED, volume_id=volume_id)

    # -------------------------------------------------------------------------------------------------- moves

    def move(
        self,
        server_id: str,
        kind: str = "resize",
        seconds: float = 6.0,
        reserved_after: float = 1.0,
        attaching_after: float | None = None,
    ) -> None:
        """Begin a move of a kind in `simulator.moves.MOVES`. The server is steady after `seconds`.

        After `reserved_after`, Cinder drops the attachments of the server's volumes and Nova lists the new ones. After
        `attaching_after`, they are being connected. Halfway from there to the end, Cinder shows them. In a live
        migration, Cinder shows the old and the new attachments from `attaching_after` until halfway to the end. The
        record ends when the server is steady; that of an evacuation ends two seconds later.
        """
        moves.move(self, server_id, kind, seconds, reserved_after, attaching_after)

    def confirm_resize(self, server_id: str) -> None:
        """Confirm a resize or a migration at once; no attachment changes."""
        moves.confirm_resize(self, server_id)

    def shelve(self, server_id: str, offload: bool = True, seconds: float = 2.0) -> None:
        """Begin to shelve a server. With `offload`, its attachments are renewed and reserved halfway."""
        moves.shelve(self, server_id, offload, seconds)

    def offload(self, server_id: str, seconds: float = 0.0) -> None:
        """Begin to take a shelved server off its host."""
        moves.offload(self, server_id, seconds)

    def unshelve(self, server_id: str, seconds: float = 2.0) -> None:
        """Begin to unshelve a server; its reserved volumes are being attached from a quarter of the time on."""
        moves.unshelve(self, server_id, seconds)

    def swap_volume(self, server_id: str, volume_id: str) -> None:
        """Migrate a volume to other storage at once: the binding stays, with a new attachment."""
        moves.swap_volume(self, server_id, volume_id)

    # ------------------------------------------------------------------------------------------------ records

    def record(
        self,
        server_id: str,
        action: str,
        started_at: datetime | None = None,
        finished_at: datetime | None = None,
        request_id: str | None = None,
        taken_up: bool = True,
    ) -> str:
        """Write Nova's record of an operation and return its id; it starts now by default, open until `finish`."""
        request_id = request_id or f"req-{UUID(int=self._record_ids.getrandbits(128), version=4)}"
        self.actions[request_id] = Action(
            request_id, server_id, action, started_at or self.now, taken_up, finished_at=finished_at
        )
        return request_id

    def finish(self, request_id: str, failed: bool = False) -> None:
        """Close an open record now; do nothing if there is none."""
        action = self.actions.get(request_id)
        if action and action.finished_at is None:
            self.actions[request_id] = replace(action, taken_up=True, finished_at=self.now, failed=failed)

    # -------------------------------------------------------------------------------------------------- reads

    def server(self, server_id: str) -> Server:
        """The server; raises `Refused` if there is none."""
        if server_id not in self.servers:
            raise Refused(f"no server {server_id}")
        return self.servers[server_id]

    def is_attached(self, server_id: str, volume_id: str) -> str | None:
        """The id of the attachment that Cinder or Nova still holds; None means detached on both planes."""
        self.advance()
        attachment = held(self.cinder, server_id, volume_id) or held(self.nova, server_id, volume_id)
        return attachment.id if attachment else None

    def snapshot(self) -> Snapshot:
        self.advance()
        planes = tuple(self.nova.values()), tuple(self.cinder.values())
        return Snapshot(self.now, dict(self.servers), dict(self.volumes), *planes)

    # -------------------------------------------------------------------------------------------- transitions

    def _detach_offloaded(self, server: Server, volume: Volume, request_id: str | None) -> str:
        """Detach from an offloaded server: there is no host, so Nova's API does all of it at once."""
        attachment = held(self.nova, server.id, volume.id)
        if attachment is None or volume.status not in OFFLOADED_USE:
            raise Refused(f"volume is {volume.status}")
        request_id = self.record(server.id, "detach_volume", request_id=request_id)
        self._cinder_detach(attachment, request_id)
        self._nova_detach(attachment, request_id)
        self.finish(request_id)
        return attachment.id

    def _mark(self, attachment: Attachment, behaviour: Behaviour, request_id: str) -> None:
        volume = self.volumes.get(attachment.volume_id)
        held = attachment.id in self.cinder and attachment.id in self.nova
        if volume is None or volume.status != "in-use" or not held:
            self._too_late(attachment, request_id)
            return
        self.set_volume(volume.id, status=behaviour.error_status or "detaching")
        self._note_attachment(What.DETACHING, attachment, request_id)
        if behaviour.error_status:
            later = behaviour.error_seconds - behaviour.mark_lag
            self.after(later, partial(self._resume, attachment, behaviour.error_status))
        if behaviour.error_after is not None:
            later = behaviour.error_after - behaviour.mark_lag
            self.after(later, partial(self._fail, attachment, request_id))
        elif behaviour.refuse:
            later = behaviour.seconds - behaviour.mark_lag
            self.after(later, partial(self._roll_back, attachment, request_id))
        elif (seconds := behaviour.detached_after) is not None:
            later = max(0.0, seconds - behaviour.mark_lag)
            self.after(later, partial(self._cinder_detach, attachment, request_id))
            self.after(later + behaviour.nova_lag, partial(self._nova_detach, attachment, request_id))

    def _too_late(self, attachment: Attachment, request_id: str) -> None:
        """Handle a detach whose attachment changed during `mark_lag`: it fails after a move, and otherwise ends."""
        if attachment.id not in self.nova and any(a.bdm_id == attachment.bdm_id for a in self.nova.values()):
            self.finish(request_id, failed=True)
            self._note_attachment(What.DETACH_REFUSED, attachment, request_id)

    def _resume(self, attachment: Attachment, status: str) -> None:
        """End a temporary error status: the volume shows `detaching` again."""
        volume = self.volumes.get(attachment.volume_id)
        if volume and volume.status == status and attachment.id in self.cinder:
            self.set_volume(volume.id, status="detaching")

    def _fail(self, attachment: Attachment, request_id: str) -> None:
        """The storage back end fails: the record says so, and the volume stays `detaching`."""
        if attachment.id in self.cinder:
            self.finish(request_id, failed=True)
            self._note_attachment(What.DETACH_FAILED, attachment, request_id)

    def _roll_back(self, attachment: Attachment, request_id: str) -> None:
        volume = self.volumes.get(attachment.volume_id)
        under_way = volume and volume.status in ("detaching", volume.behaviour.error_status)
        if volume is None or not under_way or attachment.id not in self.cinder:
            return
        self.set_volume(volume.id, status="in-use")
        self.finish(request_id, failed=True)
        self._note_attachment(What.DETACH_REFUSED, attachment, request_id)

    def _cinder_detach(self, attachment: Attachment, request_id: str = "") -> None:
        if attachment.id not in self.cinder | self.reserved:
            return
        self.cinder.pop(attachment.id, None)
        self.reserved.pop(attachment.id, None)
        self.set_volume(attachment.volume_id, status=status_after_removal(self, attachment.volume_id))
        self._note_attachment(What.CINDER_DETACHED, attachment, request_id)
        self.after(RECORD_LAG, partial(self.finish, request_id))

    def _nova_detach(self, attachment: Attachment, request_id: str = "") -> None:
        if self.nova.pop(attachment.id, None) is None:
            return
        self._note_attachment(What.NOVA_DETACHED, attachment, request_id)

    # ------------------------------------------------------------------------------------------------ details

    def _all_attachments(self) -> list[Attachment]:
        return list((self.nova | self.reserved | self.cinder).values())

    def _volume(self, volume_id: str) -> Volume:
        if volume_id not in self.volumes:
            raise Refused(f"no volume {volume_id}")
        return self.volumes[volume_id]

    def _note_attachment(self, what: What, attachment: Attachment, detail: str = "") -> None:
        self.note(what, attachment.server_id, attachment.volume_id, attachment.id, detail)


def _attempt(action: Callable[[], object]) -> None:
    with suppress(Refused):
        action()
