"""Cinder: volumes and what they are attached to; read only, since the detach goes through Nova."""

from collections.abc import Callable, Iterable
from typing import Any

from shared.model import Answer
from simulator import bodies
from simulator.compute_views import stamp
from simulator.exchange import Deployment, Handler, Rejected, Request, Route, Version, negotiate, route, spell
from simulator.identity import Identity, Token
from simulator.inventory import Attachment, Volume
from simulator.paging import page
from simulator.world import World

MINIMUM: Version = (3, 0)
MALFORMED = "The server could not comply with the request since it is either malformed or otherwise incorrect."
VolumeHandler = Callable[[Request, Token, Version], Answer]


class BlockStorage:
    """Serves `/v3`, and `/v2`, where microversions are ignored."""

    def __init__(self, world: World, deployment: Deployment, identity: Identity) -> None:
        self._world = world
        self._deployment = deployment
        self._identity = identity
        self.routes: tuple[Route, ...] = tuple(
            route(operation, "GET", version + path, self._checked(handler))
            for version in ("/v3", "/v2")
            for operation, path, handler in (
                ("list_volumes", "/{project}/volumes/detail", self._list_volumes),
                ("get_volume", "/{project}/volumes/{volume}", self._get_volume),
            )
        )

    def _checked(self, handler: VolumeHandler) -> Handler:
        """Token, then microversion, then project."""

        def checked(request: Request) -> Answer:
            legacy = request.path.startswith("/v2/")
            spoken: str | None = None
            try:
                token = self._identity.authenticate(request)
                version = MINIMUM if legacy else self._version(request)
                spoken = None if legacy else spell(version)
                self._check_project(request, token)
                answer = handler(request, token, version)
            except Rejected as rejected:
                answer = rejected.answer
            return _dressed(request, answer, spoken)

        return checked

    def _version(self, request: Request) -> Version:
        asked = request.microversion("volume")
        if asked is None and "openstack-api-version" in request.headers:
            # A header that speaks of other services only is not understood.
            raise Rejected(bodies.json_answer(400, {"badRequest": {"code": 400, "message": MALFORMED}}))
        return negotiate(asked, MINIMUM, self._deployment.max_volume_version)

    def _check_project(self, request: Request, token: Token) -> None:
        if request.ids.get("project") not in (None, token.project_id):
            raise Rejected(bodies.fault(400, "Malformed request url"))

    def _get_volume(self, request: Request, token: Token, version: Version) -> Answer:
        volume_id = request.named("volume")
        volume = self._world.volumes.get(volume_id)
        if volume is None or volume.project_id != token.project_id:
            message = f"Volume {volume_id} could not be found."
            raise Rejected(bodies.json_answer(404, {"itemNotFound": {"code": 404, "message": message}}))
        return bodies.json_answer(200, {"volume": self._described(volume, token, version)})

    def _list_volumes(self, request: Request, token: Token, version: Version) -> Answer:
        everywhere = "all_tenants" in request.query and "admin" in token.roles
        query = {name: value for name, value in request.query.items() if name in ("name", "status")}
        volumes = [
            volume
            for volume in self._world.volumes.values()
            if (everywhere or volume.project_id == token.project_id)
            and all(getattr(volume, name) == value for name, value in query.items())
        ]
        shown, links = page(volumes, request, "volumes_links", self._deployment.base_url)
        views = [self._described(volume, token, version) for volume in shown]
        return bodies.json_answer(200, {"volumes": views, **links})

    def _described(self, volume: Volume, token: Token, version: Version) -> dict[str, Any]:
        attached = [a for a in self._world.cinder.values() if a.volume_id == volume.id]
        return volume_view(volume, attached, version, token.user.id, self._deployment.base_url)


def volume_view(
    volume: Volume, attached: Iterable[Attachment], version: Version, user_id: str, base_url: str
) -> dict[str, Any]:
    """The whole of a volume; `bootable` is a string, as it is on the wire."""
    path = f"{volume.project_id}/volumes/{volume.id}"
    view: dict[str, Any] = {
        "id": volume.id,
        "status": volume.status,
        "size": volume.size,
        "availability_zone": "eu-de-01",
        "created_at": stamp(volume.created_at.replace(microsecond=0)),
        "updated_at": stamp(volume.updated_at.replace(microsecond=0)),
        "name": volume.name,
        "description": None,
        "volume_type": volume.volume_type,
        "snapshot_id": None,
        "source_volid": None,
        "metadata": dict(volume.metadata),
        "links": [{"rel": "self", "href": f"{base_url}/v3/{path}"}, {"rel": "bookmark", "href": f"{base_url}/{path}"}],
        "user_id": user_id,
        "bootable": "true" if volume.bootable else "false",
        "encrypted": False,
        "replication_status": None,
        "consistencygroup_id": None,
        "multiattach": volume.multiattach,
        "attachments": [_attachment_view(attachment) for attachment in attached],
        "os-vol-tenant-attr:tenant_id": volume.project_id,
    }
    if version >= (3, 13):
        view["group_id"] = None
    if version >= (3, 48):
        view |= {"shared_targets": False, "service_uuid": "d71b5982-7022-4208-b5a9-2fa6cd78a85f"}
    if volume.image_metadata:
        view["volume_image_metadata"] = dict(volume.image_metadata)
    return view


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


def _dressed(request: Request, answer: Answer, spoken: str | None) -> Answer:
    own = {"x-openstack-request-id": request.id, "x-compute-request-id": request.id}
    if spoken is not None:
        own |= {"openstack-api-version": f"volume {spoken}", "vary": "OpenStack-API-Version"}
    return Answer(answer.status, {**answer.headers, **own}, answer.body)
