"""Parsed requests, routes to the services, and the deployment options in which clouds differ."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit

from shared.model import Answer
from simulator import bodies

Version = tuple[int, int]


class ListShape(StrEnum):
    """The JSON format of a server's attachment list. The last two apply to one entry, as some documents show it."""

    ARRAY = "array"
    OBJECT = "object"
    SINGULAR = "singular"


class RootDetach(StrEnum):
    """How the cloud answers the detach of a system disk."""

    BAD_REQUEST = "bad_request"  # OpenStack from Rocky
    FORBIDDEN = "forbidden"  # OpenStack Queens
    WHEN_STOPPED = "when_stopped"  # Open Telekom Cloud: allowed if the server is stopped


@dataclass(slots=True)
class Deployment:
    """The options in which clouds differ. They may change at any time; `base_url` changes when a port is bound."""

    base_url: str = "http://cloud.test"
    region: str = "eu-de"
    regions: tuple[str, ...] = ()  # further regions in the catalog; they contain nothing
    compute_path: str = "/v2.1"
    volume_version: bool = True  # whether block storage's URL in the catalog contains its version
    volume_types: tuple[str, ...] = ("volumev3", "block-storage", "volumev2")
    list_shape: ListShape = ListShape.ARRAY
    root_detach: RootDetach = RootDetach.BAD_REQUEST
    instance_actions: bool = True
    max_compute_version: Version = (2, 96)
    max_volume_version: Version = (3, 50)
    token_seconds: int = 3600
    dialects: tuple[str, ...] = ("credential", "access")  # the accepted dialects of signatures by access key
    compute_open: bool = True  # whether tenants may use compute; if not, every call to it is answered with 403
    bare_metal: bool = False  # whether the catalog lists the bare metal service; it answers in any case

    @property
    def auth_url(self) -> str:
        return f"{self.base_url}/v3"

    def close_compute(self) -> None:
        """Leave tenants only the bare metal service, which has no action records."""
        self.compute_open, self.instance_actions, self.bare_metal = False, False, True


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    id: str
    operation: str = "unknown"
    query_string: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)

    @property
    def server_id(self) -> str | None:
        return self.ids.get("server")

    @property
    def volume_id(self) -> str | None:
        return self.ids.get("volume")

    @property
    def own_headers(self) -> dict[str, str]:
        """The answer's headers with the id of the request."""
        return {"x-openstack-request-id": self.id, "x-compute-request-id": self.id}

    def microversion(self, service: str, older_header: str) -> str | None:
        """The microversion (`2.26`, `latest`) that the client asks for, in the common or the service's older header."""
        for entry in self.headers.get("openstack-api-version", "").split(","):
            kind, _, version = entry.strip().partition(" ")
            if kind == service:
                return version
        return self.headers.get(older_header.lower())


class Rejected(Exception):
    """The service refuses the request with `answer`."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


Handler = Callable[[Request], Answer]


def with_headers(answer: Answer, own: Mapping[str, str]) -> Answer:
    """The answer with the service's own headers added."""
    return replace(answer, headers={**answer.headers, **own})


def simple(handler: Handler, **headers: str) -> Handler:
    """A handler for a service without microversions: it answers rejections and adds the service's headers."""

    def answered(request: Request) -> Answer:
        try:
            answer = handler(request)
        except Rejected as rejected:
            answer = rejected.answer
        return with_headers(answer, headers | {"x-openstack-request-id": request.id})

    return answered


@dataclass(frozen=True, slots=True)
class Route:
    """An operation and its path pattern; faults and the call log use the operation's name."""

    operation: str
    method: str
    pattern: re.Pattern[str]
    handler: Handler


def route(operation: str, method: str, path: str, handler: Handler) -> Route:
    """Build a route. `{name}` in a path matches one segment; `/{project}` is optional."""
    pattern = re.escape(path).replace(r"/\{project\}", r"(?:/(?P<project>[0-9a-f-]+))?")
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)
    return Route(operation, method, re.compile(pattern), handler)


def parse(
    method: str, target: str, headers: Mapping[str, str], body: bytes, request_id: str, routes: tuple[Route, ...]
) -> tuple[Request, Handler | None]:
    """The parsed request and its handler; the handler is None for an unknown path."""
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    lowered = {name.lower(): value for name, value in headers.items()}
    request = Request(method, parts.path, lowered, body, request_id, query_string=parts.query, query=query)
    for candidate in routes:
        match = candidate.pattern.fullmatch(parts.path)
        if match and candidate.method == method:
            ids = {name: id for name, id in match.groupdict().items() if id is not None}
            return replace(request, operation=candidate.operation, ids=ids), candidate.handler
    return request, None


def negotiate(asked: str | None, minimum: Version, maximum: Version) -> Version:
    """The microversion to use. Raises Rejected with 400 if it is malformed, and with 406 if it is out of range."""
    if asked is None:
        return minimum
    if asked == "latest":
        return maximum
    match = re.fullmatch(r"([1-9]\d*)\.([1-9]\d*|0)", asked)
    if match is None:
        form = "Must be of format MajorNum.MinorNum."
        raise Rejected(bodies.fault(400, f"API Version String {asked} is of invalid format. {form}"))
    version = int(match[1]), int(match[2])
    if not minimum <= version <= maximum:
        span = f"Minimum is {version_text(minimum)} and maximum is {version_text(maximum)}."
        raise Rejected(bodies.fault(406, f"Version {asked} is not supported by the API. {span}"))
    return version


def version_text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
