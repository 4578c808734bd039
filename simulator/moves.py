"""Moves of servers and what they do to attachments: a move keeps the binding and makes a new attachment.

The states, their order and their times were recorded from a real Nova and Cinder: a resize, a live migration, an
evacuation and shelved servers. Durations are in seconds. A function raises `Refused` if Nova would refuse the move
immediately. Later steps skip servers and volumes that have been deleted, and disks that are being detached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator import planes
from simulator.inventory import RUNNING, SHELVED, SHELVED_OFFLOADED, STOPPED, Attachment, Refused, Server, What

if TYPE_CHECKING:
    from simulator.world import World

MOVABLE = frozenset({"active", "stopped", "paused"})
SHELVABLE = MOVABLE | {"suspended"}
OTHER_HOST: Mapping[str, str] = {"host-1": "host-2"}
"""The next host of a server by its current one; the default is host-1."""


@dataclass(frozen=True, slots=True)
class Move:
    """The server's attributes in each phase of a move: at its `start`, once the attachments are `renewed`, while they
    are being `connected`, and `afterwards`, if they differ from those before the move.

    `share` is the default of `attaching_after`, as a fraction of the time between the renewal and the end. With
    `side_by_side`, Cinder shows the old and the new attachment together for a while. The record ends `record_lag`
    seconds after the server is steady.
    """

    start: Mapping[str, Any]
    renewed: Mapping[str, Any] = field(default_factory=dict)
    connected: Mapping[str, Any] = field(default_factory=dict)
    afterwards: Mapping[str, Any] = field(default_factory=dict)
    share: float = 0.6
    side_by_side: bool = False
    relaunched: bool = True
    record_lag: float = 0.0


RESIZE = Move(
    {"status": "RESIZE", "task_state": "resize_prep"},
    {"task_state": "resize_migrating"},
    {"task_state": "resize_finish"},
    {"status": "VERIFY_RESIZE", "vm_state": "resized"},
)
MOVES: Mapping[str, Move] = {
    "resize": RESIZE,
    "migrate": RESIZE,
    "evacuate": Move(
        {"status": "REBUILD", "task_state": "rebuilding"},
        {"power_state": 0},
        {"task_state": "rebuild_block_device_mapping"},
        {"host_up": True},
        record_lag=2.0,
    ),
    "live-migration": Move(
        {"status": "MIGRATING", "task_state": "migrating"}, share=0.2, side_by_side=True, relaunched=False
    ),
}
"""The moves by the operation's name in Nova's records."""


# ---------------------------------------------------------------------------------------------------- operations


def move(
    world: World, server_id: str, kind: str, seconds: float, reserved_after: float, attaching_after: float | None
) -> None:
    """See `World.move`; raises `KeyError` for a kind that is not in `MOVES`."""
    how, server, old = MOVES[kind], _idle(world, server_id, MOVABLE), _attachments_in_use(world, server_id)
    if not server.host_up and kind != "evacuate":
        raise Refused(f"the host of {server_id} is down")
    record = world.record(server_id, kind)
    _note(world, What.MOVING, old, kind)
    renewed = min(reserved_after, seconds)
    attaching = renewed + how.share * (seconds - renewed) if attaching_after is None else attaching_after
    _show(world, server_id, how.start)
    world.after(renewed, partial(_show, world, server_id, how.renewed))
    take_over = _side_by_side if how.side_by_side else _one_after_the_other
    for attachment in old:
        world.after(renewed, partial(take_over, world, attachment, attaching - renewed, seconds - renewed))
    world.after(attaching, partial(_show, world, server_id, how.connected))
    steady = {"status": server.status, "vm_state": server.vm_state, "power_state": server.power_state}
    world.after(seconds, partial(_settle, world, server_id, steady | dict(how.afterwards), how.relaunched))
    world.after(seconds + how.record_lag, partial(world.finish, record))


def confirm_resize(world: World, server_id: str) -> None:
    """See `World.confirm_resize`."""
    server = _idle(world, server_id, {"resized"})
    _show(world, server_id, STOPPED if server.power_state == STOPPED["power_state"] else RUNNING)
    world.finish(world.record(server_id, "confirmResize"))


def shelve(world: World, server_id: str, offload: bool, seconds: float) -> None:
    """See `World.shelve`."""
    _idle(world, server_id, SHELVABLE)
    old = _attachments_in_use(world, server_id) if offload else []
    record = world.record(server_id, "shelve")
    _show(world, server_id, {"task_state": "shelving"})
    if offload:
        _note(world, What.MOVING, old, "shelve")
        world.after(seconds / 2, partial(_reserve_all, world, old))
    state = SHELVED_OFFLOADED if offload else SHELVED
    world.after(seconds, partial(_show, world, server_id, {**state, "task_state": None}))
    world.after(seconds, partial(world.finish, record))


def offload(world: World, server_id: str, seconds: float) -> None:
    """See `World.offload`."""
    _idle(world, server_id, {"shelved"})
    old = _attachments_in_use(world, server_id)
    record = world.record(server_id, "shelveOffload")
    _note(world, What.MOVING, old, "shelveOffload")
    _show(world, server_id, {"task_state": "shelving_offloading"})
    world.after(seconds / 2, partial(_reserve_all, world, old))
    world.after(seconds, partial(_show, world, server_id, {**SHELVED_OFFLOADED, "task_state": None}))
    world.after(seconds, partial(world.finish, record))


def unshelve(world: World, server_id: str, seconds: float) -> None:
    """See `World.unshelve`."""
    server = _idle(world, server_id, {"shelved", "shelved_offloaded"})
    record = world.record(server_id, "unshelve")
    _show(world, server_id, {"task_state": "unshelving"})
    if server.offloaded:
        world.after(seconds / 4, partial(_connect_all, world, server_id, seconds / 2))
    world.after(seconds, partial(_settle, world, server_id, RUNNING))
    world.after(seconds, partial(world.finish, record))


def swap_volume(world: World, server_id: str, volume_id: str) -> None:
    """See `World.swap_volume`."""
    _idle(world, server_id, MOVABLE)
    old = [a for a in _attachments_in_use(world, server_id) if a.volume_id == volume_id]
    if not old:
        raise Refused(f"{volume_id} is not attached to {server_id}")
    record = world.record(server_id, "swap_volume")
    _note(world, What.MOVING, old, "swap_volume")
    _one_after_the_other(world, old[0], 0, 0)
    world.finish(record)


# --------------------------------------------------------------------------------------------------------- steps


def _idle(world: World, server_id: str, vm_states: Iterable[str]) -> Server:
    world.advance()
    server = world.server(server_id)
    if server.task_state is not None or server.vm_state not in vm_states:
        raise Refused(f"server is {server.vm_state}, task {server.task_state}")
    return server


def _attachments_in_use(world: World, server_id: str) -> list[Attachment]:
    """The server's attachments. Raises Refused while one of its volumes is being detached, as a real rescue did."""
    attached = [a for a in world.nova.values() if a.server_id == server_id and a.id in world.cinder]
    for volume in (world.volumes[a.volume_id] for a in attached):
        if volume.status != "in-use":
            raise Refused(f"volume is {volume.status}")
    return attached


def _show(world: World, server_id: str, changes: Mapping[str, Any]) -> None:
    if server_id in world.servers:
        world.set_server(server_id, **changes)


def _settle(world: World, server_id: str, steady: Mapping[str, Any], relaunched: bool = True) -> None:
    """Put the server on its next host, in its steady state."""
    if server_id in world.servers:
        host = OTHER_HOST.get(world.servers[server_id].host, "host-1")
        times = {"launched_at": world.now} if relaunched else {}
        world.set_server(server_id, **{**steady, **times, "task_state": None, "host": host})


def _note(world: World, what: What, attachments: Iterable[Attachment], detail: str) -> None:
    for attachment in attachments:
        world.note(what, attachment.server_id, attachment.volume_id, attachment.id, detail)


def _one_after_the_other(world: World, old: Attachment, attaching: float, end: float) -> None:
    """Renew an attachment as a resize does: Cinder shows none until the new one is connected."""
    if new := planes.renew(world, old):
        planes.drop(world, old)
        planes.show_status(world, new, "reserved")
        shown = (attaching + end) / 2
        world.after(attaching, partial(_connect, world, new, shown - attaching, old))


def _side_by_side(world: World, old: Attachment, both: float, end: float) -> None:
    """Renew an attachment as a live migration does: Cinder connects the new one before it drops the old one."""
    if new := planes.renew(world, old):
        _connect(world, new, both, old)
        world.after((both + end) / 2, partial(planes.drop, world, old))


def _connect(world: World, new: Attachment, shown: float, old: Attachment | None = None) -> None:
    """Begin to connect an attachment. Its time is now, in whole seconds; Cinder shows it `shown` seconds later."""
    planes.show_status(world, new, "attaching")
    since = world.now.replace(microsecond=0)
    world.after(shown, partial(_connected, world, replace(new, attached_at=since), old))


def _reserve_all(world: World, attachments: Iterable[Attachment]) -> None:
    """Make the attachments that an unshelve will use. Cinder shows none until then."""
    for old in attachments:
        if new := planes.renew(world, old):
            planes.drop(world, old)
            planes.show_status(world, new, "reserved")
            _note(world, What.MOVED, [new], old.id)


def _connect_all(world: World, server_id: str, shown: float) -> None:
    for attachment in [a for a in world.nova.values() if a.server_id == server_id]:
        _connect(world, attachment, shown)


def _connected(world: World, new: Attachment, old: Attachment | None) -> None:
    if planes.connect(world, new) and old:
        _note(world, What.MOVED, [new], old.id)
