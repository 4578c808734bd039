"""The simulated cloud's HTTP API without I/O: it takes a request and returns the answer."""

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from shared.model import Answer
from simulator import bodies
from simulator.access_keys import ALGORITHM
from simulator.bare_metal import BareMetal
from simulator.block_storage import BlockStorage
from simulator.catalog import REGION_PATH
from simulator.compute import Compute
from simulator.exchange import Deployment, Handler, Request, Route, parse, with_headers
from simulator.faults import Break, Faults, Kind, TransportFault
from simulator.identity import Identity
from simulator.images import Images
from simulator.world import World


@dataclass(frozen=True, slots=True)
class Called:
    """One call as the client made it; `status` is 0 if the client got no complete answer.

    `fault` is the scripted fault that hit the call. `answer` is what the client got, kept for statuses from 300 on.
    `signed` says whether the call was signed by access key.
    """

    at: datetime
    operation: str
    method: str
    path: str
    status: int
    server_id: str | None = None
    volume_id: str | None = None
    fault: Kind | None = None
    answer: Answer | None = None
    signed: bool = False


class CloudApi:
    """Answers for Keystone, Nova, Cinder, Glance and the bare metal service, one request at a time.

    Hold `lock` when you read or change the world while requests may be in progress.
    """

    def __init__(self, world: World, base_url: str = "http://cloud.test", deployment: Deployment | None = None) -> None:
        self.world = world
        self.deployment = deployment or Deployment()
        self.deployment.base_url = base_url
        self.identity = Identity(world, self.deployment)
        self.faults = Faults()
        self.calls: list[Called] = []
        self.lock = threading.RLock()
        empty_world = World(lambda: world.now, project=world.project)
        empty_world.projects = world.projects
        other_region = REGION_PATH.format(region="[^/]+")
        self._routes: tuple[Route, ...] = (
            *self.identity.routes,
            *self._services(world),
            *(replace(at, pattern=re.compile(other_region + at.pattern.pattern)) for at in self._services(empty_world)),
        )

    def _services(self, world: World) -> Iterator[Route]:
        yield from Compute(world, self.deployment, self.identity).routes
        yield from BareMetal(world, self.deployment, self.identity).routes
        yield from BlockStorage(world, self.deployment, self.identity).routes
        yield from Images(world, self.identity).routes

    def revoke_tokens(self) -> None:
        """Make every token issued so far invalid: requests with one are answered with 401."""
        with self.lock:
            self.identity.revoke_tokens()

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Answer one request. Raises `TransportFault` if a scripted fault breaks the answer."""
        with self.lock:
            self.world.advance()
            request_id = self.world.new_request_id()
            request, handler = parse(method, path, headers, body, request_id, self._routes)
            kind = self.faults.strike(request)
            try:
                answer = self._answer(request, handler, kind)
            except TransportFault as fault:
                self._log(request, path, fault.answer.status if fault.kind is Break.SLOW else 0, kind)
                raise
            self._log(request, path, answer.status, kind, answer if answer.status >= 300 else None)
            return answer

    def _answer(self, request: Request, handler: Handler | None, kind: Kind | None) -> Answer:
        if kind is None:
            return _serve(request, handler)
        real = _serve(request, handler) if kind.effect else kind.answer
        if kind.broken is not None:
            raise TransportFault(kind.broken, real, kind.seconds)
        return kind.answer

    def _log(self, request: Request, path: str, status: int, fault: Kind | None, answer: Answer | None = None) -> None:
        ids = request.server_id, request.volume_id
        common = (self.world.now, request.operation, request.method, path, status)
        signed = request.headers.get("authorization", "").startswith(ALGORITHM)
        self.calls.append(Called(*common, *ids, fault, answer, signed))


def _serve(request: Request, handler: Handler | None) -> Answer:
    if handler is not None:
        return handler(request)
    return with_headers(bodies.no_such_route(request.headers.get("accept", "")), request.own_headers)
