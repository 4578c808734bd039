"""What Nova and Cinder do around every request: token, then microversion, then project, in this order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from shared.model import Answer
from simulator import bodies
from simulator.exchange import Deployment, Handler, Rejected, Request, Version, dressed, spell
from simulator.identity import Identity, Token
from simulator.inventory import Server, Volume
from simulator.world import World

Owned = TypeVar("Owned", Server, Volume)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has passed these checks; `owner_id` is the user that all things belong to, whoever asks."""

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
        """What another project owns is not there."""
        thing = things.get(id)
        return thing if thing and thing.project_id == self.token.project_id else None


class Versioned(ABC):
    """A service with microversions, which are ignored through its path `/v2`."""

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
            spoken: str | None = None
            try:
                token = self._identity.authenticate(request)
                version = self.minimum if legacy else self._negotiated(request, asked)
                spoken = spell(version)
                if (named := request.ids.get("project")) not in (None, token.project_id):
                    raise Rejected(bodies.fault(400, self.wrong_project.format(named, token.project_id)))
                owner_id = self._identity.user.id
                answer = handler(Call(request, token, version, self._deployment.base_url, owner_id))
            except Rejected as rejected:
                answer = rejected.answer
                if answer.status == 406 and self.service == "compute":  # Cinder does not name what it refuses
                    spoken = asked
            return self._dressed(request, answer, None if legacy else spoken)

        return checked

    def _dressed(self, request: Request, answer: Answer, spoken: str | None) -> Answer:
        own = request.own_headers
        if spoken is not None:
            own["openstack-api-version"] = f"{self.service} {spoken}"
            if self.older_header:
                own[self.older_header.lower()] = spoken
            own["vary"] = ", ".join(filter(None, ("OpenStack-API-Version", self.older_header)))
        return dressed(answer, own)
