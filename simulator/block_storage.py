"""Cinder's API: volumes and their attachments, read-only, since the product detaches through Nova."""

from collections.abc import Iterable
from typing import Any

from shared.model import Answer
from simulator import bodies
from simulator.compute_views import stamp, whole
from simulator.exchange import Rejected, Request, Route, Version, negotiate, route
from simulator.inventory import Attachment, Volume
from simulator.paging import page
from simulator.versioned import Call, Versioned

MALFORMED = "The server could not comply with the request since it is either malformed or otherwise incorrect."


class BlockStorage(Versioned):
    """Serves `/v3`, and `/v2`, where microversions are ignored."""

    service = "volume"
    minimum = (3, 0)
    wrong_project = "Malformed request url"

    @property
    def routes(self) -> tuple[Route, ...]:
        return tuple(
            route(operation, "GET", version + path, self._checked(handler))
            for version in ("/v3", "/v2")
            for operation, path, handler in (
                ("list_volumes", "/{project}/volumes/detail", self._list_volumes),
                ("get_volume", "/{project}/volumes/{volume}", self._get_volume),
            )
        )

    def _negotiated(self, request: Request, asked: str | None) -> Version:
        if asked is None and "openstack-api-version" in request.headers:
            # Cinder refuses a microversion header that names only other services.
            raise Rejected(bodies.json_answer(400, {"badRequest": {"code": 400, "message": MALFORMED}}))
        return negotiate(asked, self.minimum, self._deployment.max_volume_version)

    def _get_volume(self, call: Call) -> Answer:
        volume = call.own(self._world.volumes, call.volume_id)
        if volume is None:
            message = f"Volume {call.volume_id} could not be found."
            raise Rejected(bodies.json_answer(404, {"itemNotFound": {"code": 404, "message": message}}))
        return bodies.json_answer(200, {"volume": self._described(volume, call)})

    def _list_volumes(self, call: Call) -> Answer:
        query, token = call.request.query, call.token
        everywhere = "all_tenants" in query and "admin" in token.roles
        volumes = [
            volume
            for volume in self._world.volumes.values()
            if (everywhere or volume.project_id == token.project_id)
            and all(getattr(volume, name) == query[name] for name in ("name", "status") if name in query)
        ]
        shown, links = page(volumes, call.request, "volumes_links", call.base_url)
        return bodies.json_answer(200, {"volumes": [self._described(volume, call) for volume in shown], **links})

    def _described(self, volume: Volume, call: Call) -> dict[str, Any]:
        attached = [a for a in self._world.cinder.values() if a.volume_id == volume.id]
        return volume_view(volume, attached, call)


def volume_view(volume: Volume, attached: Iterable[Attachment], call: Call) -> dict[str, Any]:
    """The full description of a volume; `bootable` is a string, as in Cinder's answers."""
    path = f"{volume.project_id}/volumes/{volume.id}"
    hrefs = {"self": f"{call.base_url}/v3/{path}", "bookmark": f"{call.base_url}/{path}"}
    view: dict[str, Any] = {
        "id": volume.id,
        "status": volume.status,
        "size": volume.size,
        "availability_zone": "eu-de-01",
        "created_at": whole(volume.created_at),
        "updated_at": whole(volume.updated_at),
        "name": volume.name,
        "description": None,
        "volume_type": volume.volume_type,
        "snapshot_id": None,
        "source_volid": None,
        "metadata": dict(volume.metadata),
        "links": [{"rel": rel, "href": href} for rel, href in hrefs.items()],
        "user_id": call.owner_id,
        "bootable": "true" if volume.bootable else "false",
        "encrypted": False,
        "replication_status": None,
        "consistencygroup_id": None,
        "multiattach": volume.multiattach,
        "attachments": [_attachment_view(attachment) for attachment in attached] + _on_a_host(volume),
        "os-vol-tenant-attr:tenant_id": volume.project_id,
    }
    if call.version >= (3, 13):
        view["group_id"] = None
    if call.version >= (3, 48):
        view |= {"shared_targets": False, "service_uuid": "d71b5982-7022-4208-b5a9-2fa6cd78a85f"}
    if volume.image_metadata:
        view["volume_image_metadata"] = dict(volume.image_metadata)
    return view


def _on_a_host(volume: Volume) -> list[dict[str, Any]]:
    """An attachment to a host, as an ordinary user sees it: without a server and without the host's name."""
    if not volume.on_a_host:
        return []
    attachment = Attachment(f"{volume.id[:-4]}0000", "", "", volume.id, "/dev/vdz", volume.created_at)
    return [_attachment_view(attachment) | {"server_id": None}]


def _attachment_view(attachment: Attachment) -> dict[str, Any]:
    return {
        "id": attachment.volume_id,
        "attachment_id": attachment.id,
        "volume_id": attachment.volume_id,
        "server_id": attachment.server_id,
        "host_name": None,
        "device": attachment.device,
        "attached_at": stamp(attachment.attached_at),
    }
