"""Nova: servers, their attachments, and what became of the operations on them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.model import Answer
from simulator import bodies
from simulator.compute_views import action_view, attachment_view, server_summary, server_view, version_view
from simulator.detach_refusals import Facts, refusal
from simulator.exchange import (
    Deployment,
    Handler,
    ListShape,
    Rejected,
    Request,
    Route,
    Version,
    negotiate,
    route,
    spell,
)
from simulator.identity import Identity, Token
from simulator.inventory import Attachment, Server, What
from simulator.paging import page, window
from simulator.world import World, held

MINIMUM: Version = (2, 1)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that has passed the token, version and project checks."""

    request: Request
    token: Token
    version: Version
    base_url: str
    endpoint: str

    @property
    def server_id(self) -> str:
        return self.request.named("server")

    @property
    def volume_id(self) -> str:
        return self.request.named("volume")


class Compute:
    """Serves `/v2.1`, and `/v2`, where microversions are ignored."""

    def __init__(self, world: World, deployment: Deployment, identity: Identity) -> None:
        self._world = world
        self._deployment = deployment
        self._identity = identity
        self.routes: tuple[Route, ...] = tuple(
            route(operation, method, version + path, handler)
            for version in ("/v2.1", "/v2")
            for operation, method, path, handler in self._operations()
        )

    def _operations(self) -> tuple[tuple[str, str, str, Handler], ...]:
        server = "/{project}/servers/{server}"
        attachments = f"{server}/os-volume_attachments"
        actions = f"{server}/os-instance-actions"
        delete = self._witnessed(self._checked(self._delete_attachment))
        return (
            ("get_version", "GET", "", self._version),
            ("get_version", "GET", "/", self._version),
            ("list_servers", "GET", "/{project}/servers", self._checked(self._list_servers)),
            ("list_servers", "GET", "/{project}/servers/detail", self._checked(self._list_servers)),
            ("get_server", "GET", server, self._checked(self._get_server)),
            ("list_attachments", "GET", attachments, self._checked(self._list_attachments)),
            ("get_attachment", "GET", f"{attachments}/{{volume}}", self._checked(self._get_attachment)),
            ("delete_attachment", "DELETE", f"{attachments}/{{volume}}", delete),
            ("list_actions", "GET", actions, self._checked(self._list_actions)),
            ("get_action", "GET", f"{actions}/{{action}}", self._checked(self._get_action)),
        )

    # ----------------------------------------------------------------------------------- around every request

    def _checked(self, handler: Callable[[Visit], Answer]) -> Handler:
        """Token, then microversion, then project: in this order, as Nova's pipeline does."""

        def checked(request: Request) -> Answer:
            legacy = request.path.startswith("/v2/")
            asked = None if legacy else request.microversion("compute", "x-openstack-nova-api-version")
            spoken: str | None = None
            try:
                token = self._identity.authenticate(request)
                version = negotiate(asked, MINIMUM, self._deployment.max_compute_version)
                spoken = spell(version)
                answer = handler(self._visit(request, token, version))
            except Rejected as rejected:
                answer = rejected.answer
                if answer.status == 406:
                    spoken = asked
            return _dressed(request, answer, None if legacy else spoken)

        return checked

    def _visit(self, request: Request, token: Token, version: Version) -> Visit:
        named = request.ids.get("project")
        if named is not None and named != token.project_id:
            mismatch = f"URL's project_id '{named}' doesn't match Context's project_id '{token.project_id}'"
            raise Rejected(bodies.fault(400, f"Malformed request URL: {mismatch}"))
        base_url = self._deployment.base_url
        root = request.path.split("/")[1]
        endpoint = f"{base_url}/{root}" + (f"/{named}" if named else "")
        return Visit(request, token, version, base_url, endpoint)

    def _witnessed(self, handler: Handler) -> Handler:
        """Write down what Nova was asked and whether it refused, with the generation that was there."""

        def witnessed(request: Request) -> Answer:
            server_id, volume_id = request.named("server"), request.named("volume")
            generation = self._world.is_attached(server_id, volume_id)
            self._world.note(What.DELETE_RECEIVED, server_id, volume_id, generation, request.id)
            answer = handler(request)
            if answer.status >= 300:
                detail = f"{answer.status} {answer.body.decode()}"
                self._world.note(What.DELETE_REJECTED, server_id, volume_id, generation, detail)
            return answer

        return witnessed

    # ----------------------------------------------------------------------------------------------- handlers

    def _version(self, request: Request) -> Answer:
        legacy = request.path.startswith("/v2/") or request.path == "/v2"
        latest = None if legacy else self._deployment.max_compute_version
        view = version_view(self._deployment.base_url, MINIMUM, latest)
        answer = bodies.json_answer(200, {"version": view})
        return _dressed(request, answer, None if legacy else spell(MINIMUM))

    def _list_servers(self, visit: Visit) -> Answer:
        query = visit.request.query
        servers = [s for s in self._world.servers.values() if s.project_id == visit.token.project_id]
        if "tags" in query and visit.version >= (2, 26):  # dropped without a word below
            servers = [s for s in servers if set(query["tags"].split(",")) <= set(s.tags)]
        if "name" in query:
            servers = [s for s in servers if re.search(query["name"], s.name)]
        if "status" in query:
            servers = [s for s in servers if s.status == query["status"]]
        detailed = visit.request.path.endswith("/detail")
        shown, links = page(servers, visit.request, "servers_links", visit.base_url)
        entries = [self._described(s, visit) if detailed else self._summary(s, visit) for s in shown]
        return bodies.json_answer(200, {"servers": entries, **links})

    def _get_server(self, visit: Visit) -> Answer:
        return bodies.json_answer(200, {"server": self._described(self._server(visit), visit)})

    def _list_attachments(self, visit: Visit) -> Answer:
        server = self._server(visit)
        attachments = [a for a in self._world.nova.values() if a.server_id == server.id]
        # Nova pages over block devices, of which the local disk of an image-booted server is the first.
        local: list[Attachment | None] = [None] if server.image_id else []
        rows = [*local, *attachments][window(visit.request.query)]
        views = [attachment_view(row, visit.version) for row in rows if row is not None]
        return bodies.json_answer(200, self._shaped(views))

    def _shaped(self, views: list[dict[str, Any]]) -> dict[str, Any]:
        shape = self._deployment.list_shape
        if shape is ListShape.ARRAY or len(views) != 1:
            return {"volumeAttachments": views}
        return {"volumeAttachments" if shape is ListShape.OBJECT else "volumeAttachment": views[0]}

    def _get_attachment(self, visit: Visit) -> Answer:
        server = self._server(visit)
        attachment = held(self._world.nova, server.id, visit.volume_id)
        if attachment is None:
            message = f"Instance {server.id} is not attached to volume {visit.volume_id}"
            raise Rejected(bodies.fault(404, message))
        view = attachment_view(attachment, visit.version)
        return bodies.json_answer(200, {"volumeAttachment": view})

    def _delete_attachment(self, visit: Visit) -> Answer:
        refused = refusal(self._facts(visit))
        if refused is not None:
            return refused
        where = visit.server_id, visit.volume_id
        behaviour = self._world.volumes[visit.volume_id].behaviour
        self._world.note(What.DELETE_ACCEPTED, *where, self._world.is_attached(*where), visit.request.id)
        self._world.begin_detach(*where, visit.request.id)
        return Answer(behaviour.success_status, {"content-type": bodies.JSON})

    def _facts(self, visit: Visit) -> Facts:
        ids, project_id = (visit.server_id, visit.volume_id), visit.token.project_id
        server = self._world.servers.get(visit.server_id)
        volume = self._world.volumes.get(visit.volume_id)
        return Facts(
            server_id=visit.server_id,
            volume_id=visit.volume_id,
            roles=visit.token.roles,
            version=visit.version,
            server=server if server and server.project_id == project_id else None,
            volume=volume if volume and volume.project_id == project_id else None,
            attachment=held(self._world.nova, *ids),
            in_use=bool(volume and volume.status == "in-use" and held(self._world.cinder, *ids)),
            root_detach=self._deployment.root_detach,
            cinder_request_id=self._world.new_request_id(),
        )

    def _list_actions(self, visit: Visit) -> Answer:
        self._actions_are_offered(visit)
        server = self._server(visit)
        actions = [a for a in self._world.actions.values() if a.server_id == server.id]
        owner = visit.token.user.id
        views = [action_view(a, server, owner, visit.version, False) for a in reversed(actions)]
        return bodies.json_answer(200, {"instanceActions": views})

    def _get_action(self, visit: Visit) -> Answer:
        self._actions_are_offered(visit)
        server, request_id = self._server(visit), visit.request.named("action")
        action = self._world.actions.get(request_id)
        if action is None or action.server_id != server.id:
            message = f"Action for request_id {request_id} on instance {server.id} not found"
            raise Rejected(bodies.fault(404, message))
        view = action_view(action, server, visit.token.user.id, visit.version, True)
        return bodies.json_answer(200, {"instanceAction": view})

    # ------------------------------------------------------------------------------------------------ details

    def _server(self, visit: Visit) -> Server:
        server = self._world.servers.get(visit.server_id)
        if server is None or server.project_id != visit.token.project_id:
            raise Rejected(bodies.fault(404, f"Instance {visit.server_id} could not be found."))
        return server

    def _described(self, server: Server, visit: Visit) -> dict[str, Any]:
        attached = [a for a in self._world.nova.values() if a.server_id == server.id]
        image = self._world.images.get(server.image_id or "")
        return server_view(server, attached, image, visit.version, visit.token.user.id, visit.base_url, visit.endpoint)

    def _summary(self, server: Server, visit: Visit) -> dict[str, Any]:
        return server_summary(server, visit.base_url, visit.endpoint)

    def _actions_are_offered(self, visit: Visit) -> None:
        if not self._deployment.instance_actions:
            raise Rejected(bodies.no_such_route(visit.request.headers.get("accept", "")))


def _dressed(request: Request, answer: Answer, spoken: str | None) -> Answer:
    own = {"x-openstack-request-id": request.id, "x-compute-request-id": request.id}
    if spoken is not None:
        own |= {
            "openstack-api-version": f"compute {spoken}",
            "x-openstack-nova-api-version": spoken,
            "vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
        }
    return Answer(answer.status, {**answer.headers, **own}, answer.body)
