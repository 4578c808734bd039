"""Nova's descriptions of servers, attachments, action records and API versions, by microversion."""

from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha224
from typing import Any

from simulator.exchange import ListShape, Version, version_text
from simulator.inventory import Action, Attachment, Image, Server
from simulator.versioned import Call

# What each microversion adds to the description of a server.
SERVER_ADDITIONS: tuple[tuple[Version, Callable[[Server], dict[str, Any]]], ...] = (
    ((2, 3), lambda s: {"OS-EXT-SRV-ATTR:root_device_name": s.root_device} if s.root_device else {}),
    ((2, 9), lambda s: {"locked": s.locked}),
    ((2, 19), lambda _: {"description": None}),
    ((2, 26), lambda s: {"tags": list(s.tags)}),
    ((2, 63), lambda _: {"trusted_image_certificates": None}),
    ((2, 71), lambda _: {"server_groups": []}),
    ((2, 73), lambda s: {"locked_reason": s.locked_reason}),
    ((2, 90), lambda s: {"OS-EXT-SRV-ATTR:hostname": s.name}),
    ((2, 96), lambda _: {"pinned_availability_zone": None}),
    ((2, 100), lambda _: {"scheduler_hints": {}}),
)

IN_PROGRESS = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})
"""The statuses with which Nova includes `progress` in a server's description."""


def server_view(server: Server, attached: Iterable[Attachment], image: Image | None, call: Call) -> dict[str, Any]:
    """The full description of a server."""
    version = call.version
    kept = {"delete_on_termination": False} if version >= (2, 3) else {}
    description: dict[str, Any] = {
        "accessIPv4": "",
        "accessIPv6": "",
        "addresses": {},
        "created": _seconds(server.created_at),
        "flavor": _flavor(server, call),
        "hostId": _host_id(server),
        "image": _image(server, image, call),
        **server_summary(server, call),
        "metadata": dict(server.metadata),
        "status": server.status,
        "tenant_id": server.project_id,
        "user_id": call.owner_id,
        "updated": _seconds(server.created_at),
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": "eu-de-01",
        "config_drive": "",
        "key_name": None,
        "OS-SRV-USG:launched_at": stamp(server.launched_at),
        "OS-SRV-USG:terminated_at": None,
        "OS-EXT-STS:task_state": server.task_state,
        "OS-EXT-STS:vm_state": server.vm_state,
        "OS-EXT-STS:power_state": server.power_state,
        "os-extended-volumes:volumes_attached": [{"id": a.volume_id} | kept for a in attached],
    }
    if server.status in IN_PROGRESS:
        description["progress"] = 0
    for since, addition in SERVER_ADDITIONS:
        if version >= since:
            description |= addition(server)
    return description


def server_summary(server: Server, call: Call) -> dict[str, Any]:
    """The short description of a server; its `self` link keeps the service URL that the client used."""
    root = call.request.path.partition("/servers")[0]
    links = [
        {"rel": "self", "href": f"{call.base_url}{root}/servers/{server.id}"},
        _bookmark("servers", server.id, call),
    ]
    return {"id": server.id, "links": links, "name": server.name}


def attachment_view(attachment: Attachment, version: Version) -> dict[str, Any]:
    """One attachment. `id` is the volume's id, and is absent from 2.89 on. `device` is absent until it is assigned."""
    view: dict[str, Any] = {
        "id": attachment.volume_id,
        "volumeId": attachment.volume_id,
        "serverId": attachment.server_id,
    }
    if attachment.device is not None:
        view["device"] = attachment.device
    if version >= (2, 70):
        view["tag"] = None
    if version >= (2, 79):
        view["delete_on_termination"] = False
    if version >= (2, 89):
        del view["id"]
        view |= {"attachment_id": attachment.id, "bdm_uuid": attachment.bdm_id}
    return view


def shaped(views: list[dict[str, Any]], shape: ListShape) -> dict[str, Any]:
    """The list of a server's attachments, in the deployment's format."""
    if shape is ListShape.ARRAY or len(views) != 1:
        return {"volumeAttachments": views}
    return {"volumeAttachments" if shape is ListShape.OBJECT else "volumeAttachment": views[0]}


def action_view(action: Action, server: Server, call: Call, single: bool) -> dict[str, Any]:
    """The action record of an operation.

    Its owner sees the events from microversion 2.51 on, and only when reading a single record. `updated_at` of an open
    record is its start, so it looks like a record that ended at once.
    """
    view: dict[str, Any] = {
        "action": action.action,
        "instance_uuid": action.server_id,
        "request_id": action.request_id,
        "user_id": call.owner_id,
        "project_id": server.project_id,
        "start_time": whole(action.started_at),
        "message": "Error" if action.failed else None,
    }
    if call.version >= (2, 58):
        view["updated_at"] = whole(action.finished_at or action.started_at)
    if single and call.version >= (2, 51):
        view["events"] = [_event(action, server, call.version)] if action.taken_up else []
    return view


def version_view(base_url: str, minimum: Version, latest: Version | None) -> dict[str, Any]:
    """The API's description of itself; without `latest` it is that of the legacy API."""
    number = "2.1" if latest else "2"
    kind = f"application/vnd.openstack.compute+json;version={number}"
    return {
        "id": "v2.1" if latest else "v2.0",
        "status": "CURRENT" if latest else "DEPRECATED",
        "version": version_text(latest) if latest else "",
        "min_version": version_text(minimum) if latest else "",
        "updated": "2013-07-23T11:33:21Z",
        "links": [
            {"rel": "self", "href": f"{base_url}/v{number}/"},
            {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"},
        ],
        "media-types": [{"base": "application/json", "type": kind}],
    }


def stamp(moment: datetime | None) -> str | None:
    """A time in the format of Nova and Cinder: UTC, without a time zone."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") if moment else None


def whole(moment: datetime | None) -> str | None:
    """The same in whole seconds, as these services store the times of records and attachments."""
    return stamp(moment.replace(microsecond=0)) if moment else None


def _event(action: Action, server: Server, version: Version) -> dict[str, Any]:
    result = ("Error" if action.failed else "Success") if action.finished_at else None
    event = {
        "event": f"compute_{action.action.replace('-', '_')}",
        "start_time": whole(action.started_at),
        "finish_time": whole(action.finished_at),
        "result": result,
    }
    return event | ({"hostId": _host_id(server)} if version >= (2, 62) else {})


def _bookmark(things: str, id: str, call: Call) -> dict[str, str]:
    """A link without the API version; it contains the project if the client's path did."""
    project = call.request.ids.get("project")
    return {"rel": "bookmark", "href": "/".join(filter(None, (call.base_url, project, things, id)))}


def _flavor(server: Server, call: Call) -> dict[str, Any]:
    if not server.flavor_id:
        return {}
    if call.version < (2, 47):
        return {"id": server.flavor_id, "links": [_bookmark("flavors", server.flavor_id, call)]}
    sizes = {"vcpus": 1, "ram": 64, "disk": 1, "ephemeral": 0, "swap": 0}
    return sizes | {"original_name": server.flavor_id, "extra_specs": dict(server.flavor_specs)}


def _image(server: Server, image: Image | None, call: Call) -> dict[str, Any] | str:
    if server.image_id is None:
        return ""  # booted from a volume
    view: dict[str, Any] = {"id": server.image_id, "links": [_bookmark("images", server.image_id, call)]}
    if call.version >= (2, 98):
        view["properties"] = dict(image.properties) if image else {}
    return view


def _host_id(server: Server) -> str:
    """A hash that is the same for all servers of a project on one host; empty without a host."""
    return sha224(f"{server.project_id}{server.host}".encode()).hexdigest() if server.host else ""


def _seconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
