"""Who holds what: Nova's attachments, Cinder's, and those that Cinder has made and does not show yet.

A binding is one attach of a volume to a server. A move renews its attachment: Nova lists the next one as soon as it is
made, Cinder shows it when it is connected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from simulator.inventory import Attachment

if TYPE_CHECKING:
    from simulator.world import World


def held(plane: Mapping[str, Attachment], server_id: str, volume_id: str) -> Attachment | None:
    """The attachment of this volume to this server on one plane."""
    return next((a for a in plane.values() if (a.server_id, a.volume_id) == (server_id, volume_id)), None)


def free_device(plane: Mapping[str, Attachment], server_id: str) -> str:
    """The first name that no volume of the server has, from the second on."""
    taken = {a.device for a in plane.values() if a.server_id == server_id}
    names = (f"/dev/sd{letter}" for letter in "bcdefghijklmnopqrstuvwxyz")
    extended = (f"/dev/sd{first}{letter}" for first in "abcdefgh" for letter in "abcdefghijklmnopqrstuvwxyz")
    return next(name for name in (*names, *extended) if name not in taken)


def renew(world: World, old: Attachment) -> Attachment | None:
    """Nova makes the next attachment of a binding, and lists it at once; None if there is nothing to renew."""
    volume = world.volumes.get(old.volume_id)
    both = old.id in world.nova and old.id in world.cinder
    if volume is None or volume.status != "in-use" or not both:
        return None
    new = replace(old, id=world.new_id(), attached_at=None)
    in_order = [new if listed == old else listed for listed in world.nova.values()]
    world.nova = {listed.id: listed for listed in in_order}
    world.reserved[new.id] = new
    return new


def drop(world: World, old: Attachment) -> None:
    """Cinder forgets an attachment that has been renewed; this is no detach."""
    world.cinder.pop(old.id, None)


def connect(world: World, new: Attachment) -> bool:
    """Cinder shows a reserved attachment from now on, and gives it a device; False if it was let go meanwhile."""
    if new.id not in world.reserved | world.cinder:
        return False
    world.reserved.pop(new.id, None)
    placed = replace(new, device=new.device or free_device(world.nova, new.server_id))
    world.cinder = {placed.id: placed} | {id: a for id, a in world.cinder.items() if id != placed.id}
    world.nova[placed.id] = placed
    show_status(world, placed, "in-use")
    return True


def show_status(world: World, attachment: Attachment, status: str) -> None:
    """How far a volume is with an attachment; one that others use, too, stays in-use or detaching."""
    volume = world.volumes.get(attachment.volume_id)
    if volume is None or volume.status == "detaching" or attachment.id not in world.nova:
        return
    others = (a for a in world.cinder.values() if a.server_id != attachment.server_id)
    shared = volume.on_a_host or any(a.volume_id == volume.id for a in others)
    world.set_volume(volume.id, status="in-use" if shared else status)


def status_when_let_go(world: World, volume_id: str) -> str:
    """What a volume shows when an attachment is gone; a shared one is in use until the last is."""
    shown, made = (any(a.volume_id == volume_id for a in p.values()) for p in (world.cinder, world.reserved))
    if shown or world.volumes[volume_id].on_a_host:
        return "in-use"
    return "reserved" if made else "available"
