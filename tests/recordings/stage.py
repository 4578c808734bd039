"""A simulated cloud in the initial state of a recording, which then follows it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.model import Answer
from simulator import PAUSED, RESCUED, RUNNING, SOFT_DELETED, SUSPENDED, CloudApi, Deployment, Project, World
from tests.recordings.compare import Pairs
from tests.recordings.reader import Exchange
from tests.stack import Clock

START = datetime(2026, 11, 27, tzinfo=UTC)
"""Later than all recordings: what is attached from then on is newer than what the recording found."""

SERVER_IN_PATH = re.compile(r"/servers/([0-9a-f-]{36})")
PROJECT_IN_PATH = re.compile(r"^/v[\d.]+/([0-9a-f]{32})/")
VOLUME_IN_PATH = re.compile(r"/(?:os-volume_attachments|volumes)/([0-9a-f-]{36})")
ROLES: Mapping[str, tuple[str, ...]] = {
    "member": ("member", "reader"),
    "reader": ("reader",),
    "admin": ("admin", "member", "reader"),
}

Slowly = Callable[[World, str], object]
"""Begins something with a server."""


def is_login(exchange: Exchange) -> bool:
    return exchange.path == "/v3/auth/tokens"


class Stage:
    """One project with the servers, volumes and attachments that the recording finds when it begins.

    The clock follows the recording; a request that only changes something is not sent, but made to the world.
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.exchanges = exchanges
        self.pairs = Pairs()
        self.clock = Clock(START)
        self.world = World(self.clock, project=Project(_project(exchanges), "demo-project"))
        place = Deployment(
            volume_types=("volumev3", "block-storage"), max_compute_version=(2, 103), max_volume_version=(3, 71)
        )
        self.api = CloudApi(self.world, deployment=place)
        self._tokens: dict[str, str] = {}
        _furnish(self.world, exchanges)

    def at(self, exchange: Exchange) -> None:
        self.clock.now = START + timedelta(seconds=exchange.at)
        self.world.advance()

    def ask(self, exchange: Exchange, actor: str) -> Answer:
        """Send the recorded request, with ids of requests and secrets as they are here."""
        headers = {**exchange.request_headers, "accept": "*/*"}
        if headers.get("x-auth-token") == "<token>":
            headers["x-auth-token"] = self._token(actor, exchange.path)
        path, body = self.pairs.translate(exchange.path), exchange.request_body
        if is_login(exchange):
            body = self._with_secrets(body)
        return self.api.handle(exchange.method, path, headers, body)

    def change(self, exchange: Exchange, slowly: Slowly | None = None) -> None:
        """Do to the world what the recorded request did to the cloud; a refused one did nothing.

        What takes its time is told by the caller. Records of it are paired with the recorded request.
        """
        if exchange.method != "GET" and exchange.status < 400:
            before = set(self.world.actions)
            if slowly:
                slowly(self.world, SERVER_IN_PATH.findall(exchange.path)[0])
            else:
                (what, details), *_ = json.loads(exchange.request_body or '{"delete": null}').items()
                CHANGES[what](self.world, exchange, details)
            for record in self.world.actions.keys() - before:
                self.pairs.same(exchange.headers["x-openstack-request-id"], record)

    def _with_secrets(self, body: bytes) -> bytes:
        credential = self.api.identity.application_credential
        auth = json.loads(body.replace(b"<password>", self.api.identity.user.password.encode()))
        if "application_credential" in auth["auth"].get("identity", {}):
            auth["auth"]["identity"]["application_credential"] = {"id": credential.id, "secret": credential.secret}
        return json.dumps(auth).encode()

    def _token(self, actor: str, path: str) -> str:
        """A token for somebody with the roles of this name; `unscoped`, or in `another project`: the path's."""
        if actor not in self._tokens:
            project = self.world.project
            if actor == "another project":
                project = self.world.add_project(actor, PROJECT_IN_PATH.findall(path)[0])
            if actor == "member":
                user = self.api.identity.user
            else:
                user = self.api.identity.add_user(actor, "a-password", project, ROLES.get(actor, ROLES["member"]))
            known = {"user": {"name": user.name, "domain": {"id": "default"}, "password": user.password}}
            scope = {} if actor == "unscoped" else {"scope": {"project": {"id": project.id}}}
            asked = {"auth": {"identity": {"methods": ["password"], "password": known}, **scope}}
            answer = self.api.handle("POST", "/v3/auth/tokens", {}, json.dumps(asked).encode())
            self._tokens[actor] = answer.headers["x-subject-token"]
        return self._tokens[actor]


# -------------------------------------------------------------------------------------------- what is there at first


def _project(exchanges: Sequence[Exchange]) -> str:
    """The project of most requests: one may be meant for another."""
    found = [id for e in exchanges for id in PROJECT_IN_PATH.findall(e.path)]
    return max(set(found), key=found.count) if found else "eed5e70137394cdcb6b208a34717d715"


def _furnish(world: World, exchanges: Sequence[Exchange]) -> None:
    """Make what the recording shows, as it shows it first; what it attaches itself is not attached yet."""
    volumes = {e.json["volume"]["id"]: e.json["volume"] for e in reversed(exchanges) if _shows(e, "volume")}
    servers = {e.json["server"]["id"]: e.json["server"] for e in reversed(exchanges) if _shows(e, "server")}
    attached = list(_attached(exchanges))
    for id in _existing(exchanges, SERVER_IN_PATH, [server for server, _, _ in attached]):
        world.add_server(id, tags=(), flavor_specs={}, **_server(servers.get(id)))
    for id in _existing(exchanges, VOLUME_IN_PATH, [volume for _, volume, _ in attached]):
        world.add_volume(id, **_volume(volumes.get(id)))
    for server, volume, device in attached:
        times = {a["server_id"]: a["attached_at"] for a in volumes.get(volume, {}).get("attachments", ())}
        attached_at = datetime.fromisoformat(f"{times[server]}+00:00") if times.get(server) else None
        world.attach(server, volume, device, attached_at)


def _shows(exchange: Exchange, thing: str) -> bool:
    return exchange.status == 200 and exchange.body.startswith(f'{{"{thing}":'.encode())


def _server(view: Mapping[str, Any] | None) -> dict[str, Any]:
    if view is None:
        return {}
    return {"image_id": view["image"]["id"] if view["image"] else None, "power_state": view["OS-EXT-STS:power_state"]}


def _volume(view: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if view is None else {"multiattach": view["multiattach"], "bootable": view["bootable"] == "true"}


def _existing(exchanges: Sequence[Exchange], in_path: re.Pattern[str], attached: Sequence[str]) -> Iterator[str]:
    """The ids of which some answer does not say that there is no such thing."""
    ids = dict.fromkeys(attached)
    for exchange in exchanges:
        for id in in_path.findall(exchange.path):
            if not re.search(rf'"(Instance|Volume) {id} could not be found', exchange.body.decode()):
                ids.setdefault(id)
    denied = {id for e in exchanges for id in re.findall(r'"Volume (\S+) could not be found', e.body.decode())}
    yield from (id for id in ids if id not in denied)


def _attached(exchanges: Sequence[Exchange]) -> Iterator[tuple[str, str, str | None]]:
    """Server, volume and device of each attachment that is there before the recording makes it."""
    devices: dict[tuple[str, str], str | None] = {}
    made: set[tuple[str, str]] = set()
    for exchange in exchanges:
        for server, volume, device in _attachments_in(exchange):
            if exchange.method == "POST" and (server, volume) not in devices:
                made.add((server, volume))
            devices[server, volume] = devices.get((server, volume)) or device
    yield from ((*pair, device) for pair, device in devices.items() if pair not in made)


def _attachments_in(exchange: Exchange) -> Iterator[tuple[str, str, str | None]]:
    if exchange.method == "DELETE" and exchange.status == 202:
        (server,), (volume,) = SERVER_IN_PATH.findall(exchange.path), VOLUME_IN_PATH.findall(exchange.path)
        yield server, volume, None
    elif exchange.status == 200 and exchange.body.startswith(b"{"):
        body = exchange.json
        single = [body["volumeAttachment"]] if "volumeAttachment" in body else []
        for entry in [*body.get("volumeAttachments", ()), *single]:
            yield entry["serverId"], entry["volumeId"], entry.get("device")
        server = body.get("server", {})
        for entry in server.get("os-extended-volumes:volumes_attached", ()):
            yield server["id"], entry["id"], None
        for entry in body.get("volume", {}).get("attachments", ()):
            if entry["server_id"]:
                yield entry["server_id"], entry["volume_id"], entry["device"]


# ------------------------------------------------------------------------------------------------ what changes it

Change = Callable[[World, Exchange, Any], object]


def _to(**state: Any) -> Change:
    """The server is in this state from now on."""
    return lambda world, exchange, _: world.set_server(SERVER_IN_PATH.findall(exchange.path)[0], **state)


def _lock(world: World, exchange: Exchange, details: Any) -> None:
    _to(locked=True, locked_reason=(details or {}).get("locked_reason"))(world, exchange, None)


def _reset(world: World, exchange: Exchange, details: Any) -> None:
    state = details["state"]
    _to(status=state.upper(), vm_state=state)(world, exchange, None)


def _attach(world: World, exchange: Exchange, details: Any) -> None:
    (server,) = SERVER_IN_PATH.findall(exchange.path)
    world.attach(server, details["volumeId"], exchange.json["volumeAttachment"]["device"])


def _on_a_host(world: World, exchange: Exchange, _: Any) -> None:
    (volume,) = VOLUME_IN_PATH.findall(exchange.path) or world.volumes
    world.set_volume(volume, on_a_host=True, status="in-use")


CHANGES: Mapping[str, Change] = {
    "lock": _lock,
    "unlock": _to(locked=False, locked_reason=None),
    "os-resetState": _reset,
    "reboot": _to(status="HARD_REBOOT", task_state="rebooting_hard"),
    "suspend": _to(**SUSPENDED),
    "resume": _to(**RUNNING),
    "pause": _to(**PAUSED),
    "unpause": _to(**RUNNING),
    "confirmResize": lambda world, exchange, _: world.confirm_resize(SERVER_IN_PATH.findall(exchange.path)[0]),
    "rescue": _to(**RESCUED),
    "unrescue": _to(**RUNNING),
    "delete": _to(**SOFT_DELETED),
    "restore": _to(**{**RUNNING, "power_state": 0}),
    "volumeAttachment": _attach,
    "os-attach": _on_a_host,
    "attachment": lambda world, exchange, details: world.set_volume(details["volume_uuid"], status="attaching"),
    "os-complete": _on_a_host,
}
"""What the recorded requests do, by the name in their bodies."""
