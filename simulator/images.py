"""Glance's API: an image with its custom properties; `__os_type` is its operating system."""

from shared.model import Answer
from simulator import bodies
from simulator.exchange import Request, route, simple
from simulator.identity import Identity
from simulator.world import World


class Images:
    """Serves `/v2/images`; an image's custom properties are on the same level as its standard ones."""

    def __init__(self, world: World, identity: Identity) -> None:
        self._world = world
        self._identity = identity
        self.routes = (route("get_image", "GET", "/v2/images/{image}", simple(self._get_image)),)

    def _get_image(self, request: Request) -> Answer:
        self._identity.authenticate(request)
        image = self._world.images.get(request.ids["image"])
        if image is None:
            return bodies.no_such_route()  # the image service answers in HTML, too
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
        return bodies.json_answer(200, own | dict(image.properties))
