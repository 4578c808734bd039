"""Nova's API: servers, their attachments and their action records."""

import re
from collections.abc import Iterator
from typing import Any

from shared.model import Answer
from simulator import bodies
from simulator.compute_views import action_view, attachment_view, server_summary, server_view, shaped, version_view
from simulator.deletes import begin, recorded
from simulator.detach_refusals import no_server, not_attached, refusal
from simulator.exchange import Handler, Rejected, Request, Route, Version, negotiate, route, version_text
from simulator.inventory import Attachment, Server
from simulator.paging import page, window
from simulator.planes import held
from simulator.versioned import Call, Versioned


class Compute(Versioned):
    """Serves `/v2.1`, and `/v2`, where microversions are ignored."""

    service = "compute"
    minimum = (2, 1)
    older_header = "X-OpenStack-Nova-API-Version"
    wrong_project = "Malformed request URL: URL's project_id '{}' doesn't match Context's project_id '{}'"

    @property
    def routes(self) -> tuple[Route, ...]:
        return tuple(
            route(operation, method, version + path, handler)
            for version in ("/v2.1", "/v2")
            for operation, method, path, handler in self._operations()
        )

    def _operations(self) -> Iterator[tuple[str, str, str, Handler]]:
        servers = "/{project}/servers"
        attachments = f"{servers}/{{server}}/os-volume_attachments"
        actions = f"{servers}/{{server}}/os-instance-actions"
        yield from (("get_version", "GET", path, self._version) for path in ("", "/"))
        yield "delete_attachment", "DELETE", f"{attachments}/{{volume}}", self._delete
        for operation, path, handler in (
            ("list_servers", servers, self._list_servers),
            ("list_servers", f"{servers}/detail", self._list_servers),
            ("get_server", f"{servers}/{{server}}", self._get_server),
            ("list_attachments", attachments, self._list_attachments),
            ("get_attachment", f"{attachments}/{{volume}}", self._get_attachment),
            ("list_actions", actions, self._list_actions),
            ("get_action", f"{actions}/{{action}}", self._get_action),
        ):
            yield operation, "GET", path, self._checked(handler)

    def _negotiated(self, _: Request, asked: str | None) -> Version:
        if not self._deployment.compute_open:
            closed = "Policy does not allow ecs:servers:get to be performed."
            raise Rejected(bodies.service_error("Pdp.0001", closed, 403))
        return negotiate(asked, self.minimum, self._deployment.max_compute_version)

    def _version(self, request: Request) -> Answer:
        legacy = request.path.startswith("/v2/") or request.path == "/v2"
        latest = None if legacy else self._deployment.max_compute_version
        view = version_view(self._deployment.base_url, self.minimum, latest)
        answer = bodies.json_answer(200, {"version": view})
        return self._with_own_headers(request, answer, None if legacy else version_text(self.minimum))

    def _list_servers(self, call: Call) -> Answer:
        query = call.request.query
        servers = [s for s in self._world.servers.values() if s.project_id == call.token.project_id]
        if "tags" in query and call.version >= (2, 26):  # older microversions ignore the filter
            servers = [s for s in servers if set(query["tags"].split(",")) <= set(s.tags)]
        if "name" in query:
            servers = [s for s in servers if re.search(query["name"], s.name)]
        if "status" in query:
            servers = [s for s in servers if s.status == query["status"]]
        detailed = call.request.path.endswith("/detail")
        shown, links = page(servers, call.request, "servers_links", call.base_url)
        entries = [self._described(s, call) if detailed else server_summary(s, call) for s in shown]
        return bodies.json_answer(200, {"servers": entries, **links})

    def _get_server(self, call: Call) -> Answer:
        return bodies.json_answer(200, {"server": self._described(self._server(call), call)})

    def _list_attachments(self, call: Call) -> Answer:
        server = self._server(call)
        attachments = [a for a in self._world.nova.values() if a.server_id == server.id]
        # Nova pages over block devices, of which the local disk of an image-booted server is the first.
        local: list[Attachment | None] = [None] if server.image_id else []
        rows = [*local, *attachments][window(call.request.query)]
        views = [attachment_view(row, call.version) for row in rows if row is not None]
        return bodies.json_answer(200, shaped(views, self._deployment.list_shape))

    def _get_attachment(self, call: Call) -> Answer:
        server = self._server(call)
        attachment = held(self._world.nova, server.id, call.volume_id)
        if attachment is None:
            raise Rejected(not_attached(call))
        return bodies.json_answer(200, {"volumeAttachment": attachment_view(attachment, call.version)})

    def _delete(self, request: Request) -> Answer:
        return recorded(self._world, request, self._checked(self._delete_attachment))

    def _delete_attachment(self, call: Call) -> Answer:
        if refused := refusal(call, self._world, self._deployment.root_detach):
            return refused
        return Answer(begin(call, self._world), {"content-type": bodies.JSON})

    def _list_actions(self, call: Call) -> Answer:
        self._actions_are_offered(call)
        server = self._server(call)
        actions = [a for a in self._world.actions.values() if a.server_id == server.id]
        by_start = sorted(actions, key=lambda action: action.started_at)
        views = [action_view(a, server, call, False) for a in reversed(by_start)]
        return bodies.json_answer(200, {"instanceActions": views})

    def _get_action(self, call: Call) -> Answer:
        self._actions_are_offered(call)
        server, request_id = self._server(call), call.request.ids["action"]
        action = self._world.actions.get(request_id)
        if action is None or action.server_id != server.id:
            raise Rejected(bodies.fault(404, f"Action {request_id} not found"))
        return bodies.json_answer(200, {"instanceAction": action_view(action, server, call, True)})

    def _server(self, call: Call) -> Server:
        server = call.own(self._world.servers, call.server_id)
        if server is None:
            raise Rejected(no_server(call))
        return server

    def _described(self, server: Server, call: Call) -> dict[str, Any]:
        attached = [a for a in self._world.nova.values() if a.server_id == server.id]
        image = self._world.images.get(server.image_id or "")
        return server_view(server, attached, image, call)

    def _actions_are_offered(self, call: Call) -> None:
        if not self._deployment.instance_actions:
            raise Rejected(bodies.no_such_route(call.request.headers.get("accept", "")))
