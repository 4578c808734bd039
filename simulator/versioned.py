"""The checks that Nova and Cinder make for every request: token, then microversion, then project."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from shared.model import Answer
from simulator import bodies
from simulator.exchange import Deployment, Handler, Rejected, Request, Version, version_text, with_headers
from simulator.identity import Identity, Token
from simulator.inventory import Server, Volume
from simulator.world import World

Owned = TypeVar("Owned", Server, Volume)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has passed these checks; `owner_id` is the user who owns everything, not the caller."""

    request: Request
    token: Token
    version: Version
    base_url: str
    owner_id: str

    @property
    def server_id(self) -> str:
        return self.request.ids["server"]

    @property
    def volume_id(self) -> str:
        return self.request.ids["volume"]

    def own(self, things: Mapping[str, Owned], id: str) -> Owned | None:
        """The object with this id, or None if it does not exist or belongs to another project."""
        thing = things.get(id)
        return thing if thing and thing.project_id == self.token.project_id else None


class Versioned(ABC):
    """A service with microversions; its path `/v2` ignores them."""

    service: ClassVar[str]
    minimum: ClassVar[Version]
    older_header: ClassVar[str] = ""
    wrong_project: ClassVar[str]

    def __init__(self, world: World, deployment: Deployment, identity: Identity) -> None:
        self._world = world
        self._deployment = deployment
        self._identity = identity

    @abstractmethod
    def _negotiated(self, request: Request, asked: str | None) -> Version: ...

    def _checked(self, handler: Callable[[Call], Answer]) -> Handler:
        def checked(request: Request) -> Answer:
            legacy = request.path.startswith("/v2/")
            asked = request.microversion(self.service, self.older_header)
            served: str | None = None
            try:
                token = self._identity.authenticate(request)
                version = self.minimum if legacy else self._negotiated(request, asked)
                served = version_text(version)
                if (named := request.ids.get("project")) not in (None, token.project_id):
                    raise Rejected(bodies.fault(400, self.wrong_project.format(named, token.project_id)))
                owner_id = self._identity.user.id
                answer = handler(Call(request, token, version, self._deployment.base_url, owner_id))
            except Rejected as rejected:
                answer = rejected.answer
                if answer.status == 406 and self.service == "compute":  # Cinder does not repeat the refused version
                    served = asked
            return self._with_own_headers(request, answer, None if legacy else served)

        return checked

    def _with_own_headers(self, request: Request, answer: Answer, served: str | None) -> Answer:
        own = request.own_headers
        if served is not None:
            own["openstack-api-version"] = f"{self.service} {served}"
            if self.older_header:
                own[self.older_header.lower()] = served
            own["vary"] = ", ".join(filter(None, ("OpenStack-API-Version", self.older_header)))
        return with_headers(answer, own)
