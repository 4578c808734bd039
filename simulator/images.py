"""Glance: an image with its custom properties, of which `__os_type` names the operating system."""

from shared.model import Answer
from simulator import bodies
from simulator.exchange import Rejected, Request, Route, route
from simulator.identity import Identity
from simulator.world import World


class Images:
    """Serves `/v2/images`, where an image's custom properties stand beside its own."""

    def __init__(self, world: World, identity: Identity) -> None:
        self._world = world
        self._identity = identity
        self.routes: tuple[Route, ...] = (route("get_image", "GET", "/v2/images/{image}", self._get_image),)

    def _get_image(self, request: Request) -> Answer:
        try:
            self._identity.authenticate(request)
        except Rejected as rejected:
            return _dressed(request, rejected.answer)
        image = self._world.images.get(request.named("image"))
        if image is None:
            return _dressed(request, bodies.no_such_route())  # Glance answers in HTML, too
        own = {
            "id": image.id,
            "name": image.name,
            "status": "active",
            "visibility": "public",
            "owner": image.project_id,
            "container_format": "bare",
            "disk_format": "zvhd2",
            "tags": [],
            "self": f"/v2/images/{image.id}",
            "file": f"/v2/images/{image.id}/file",
            "schema": "/v2/schemas/image",
        }
        return _dressed(request, bodies.json_answer(200, own | dict(image.properties)))


def _dressed(request: Request, answer: Answer) -> Answer:
    return Answer(answer.status, {**answer.headers, "x-openstack-request-id": request.id}, answer.body)
