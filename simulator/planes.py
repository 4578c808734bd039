"""Attachments on both planes: those that Nova lists, those that Cinder shows, and those that Cinder only reserves.

A binding is one attach of a volume to a server. A move makes a new attachment of the binding: Nova lists it as soon as
it exists, Cinder shows it when it is connected.
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
    """The first free device name of a server, from /dev/sdb on."""
    taken = {a.device for a in plane.values() if a.server_id == server_id}
    names = (f"/dev/sd{letter}" for letter in "bcdefghijklmnopqrstuvwxyz")
    extended = (f"/dev/sd{first}{letter}" for first in "abcdefgh" for letter in "abcdefghijklmnopqrstuvwxyz")
    return next(name for name in (*names, *extended) if name not in taken)


def renew(world: World, old: Attachment) -> Attachment | None:
    """Make the next attachment of a binding; Nova lists it at once. None if the old one is not attached and idle."""
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
    """Remove a renewed attachment from Cinder. This is not a detach."""
    world.cinder.pop(old.id, None)


def connect(world: World, new: Attachment) -> bool:
    """Make Cinder show a reserved attachment, with a device. False if it was detached in the meantime."""
    if new.id not in world.reserved | world.cinder:
        return False
    world.reserved.pop(new.id, None)
    placed = replace(new, device=new.device or free_device(world.nova, new.server_id))
    world.cinder = {placed.id: placed} | {id: a for id, a in world.cinder.items() if id != placed.id}
    world.nova[placed.id] = placed
    show_status(world, placed, "in-use")
    return True


def show_status(world: World, attachment: Attachment, status: str) -> None:
    """Set a volume's status while it is being attached; a volume that is also attached elsewhere stays in-use."""
    volume = world.volumes.get(attachment.volume_id)
    if volume is None or volume.status == "detaching" or attachment.id not in world.nova:
        return
    others = (a for a in world.cinder.values() if a.server_id != attachment.server_id)
    shared = volume.on_a_host or any(a.volume_id == volume.id for a in others)
    world.set_volume(volume.id, status="in-use" if shared else status)


def status_after_removal(world: World, volume_id: str) -> str:
    """A volume's status after one of its attachments is removed: in-use while it has another one."""
    shown, made = (any(a.volume_id == volume_id for a in p.values()) for p in (world.cinder, world.reserved))
    if shown or world.volumes[volume_id].on_a_host:
        return "in-use"
    return "reserved" if made else "available"
