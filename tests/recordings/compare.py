"""Compares a recorded answer with the simulator's, leaf by leaf."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.model import Answer
from tests.recordings.reader import Exchange

ID = re.compile(r"req-[0-9a-f-]{36}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
TIMES = {"created", "updated", "created_at", "updated_at", "attached_at", "start_time", "finish_time", "expires_at",
         "issued_at", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at"}  # fmt: skip
"""Compared by their form, since the simulator's clock is another one."""
FREE = {"name", "hostId", "size", "volume_type", "availability_zone", "OS-EXT-AZ:availability_zone", "id",
        "audit_ids", "user_id", "original_name", "OS-EXT-SRV-ATTR:hostname", "service_uuid", "region",
        "region_id"}  # fmt: skip
"""Compared by their type. Ids are compared too: where the recording has the same one, so has the simulator."""
BY_SHAPE = {"catalog", "endpoints"}
"""Lists of which each element has the shape of some recorded one; their length is the cloud's own affair."""


class Pairs:
    """Which id of the simulator stands for which recorded one: one for one, throughout a recording."""

    def __init__(self) -> None:
        self._simulated: dict[str, str] = {}
        self._recorded: dict[str, str] = {}

    def same(self, recorded: str, simulated: str) -> bool:
        return (
            self._simulated.setdefault(recorded, simulated) == simulated
            and self._recorded.setdefault(simulated, recorded) == recorded
        )

    def known(self, id: str) -> bool:
        return id in self._simulated or id in self._recorded

    def translate(self, text: str) -> str:
        return ID.sub(lambda found: self._simulated.get(found[0], found[0]), text)


def differences(recorded: Any, simulated: Any, pairs: Pairs, where: str = "") -> Iterator[str]:
    """Each difference as a line that begins with its place: `.server.status: 'ACTIVE', simulated 'SHUTOFF'`."""
    key = where.rpartition(".")[2].partition("[")[0]
    if type(recorded) is not type(simulated):
        yield f"{where}: {_short(recorded)}, simulated {_short(simulated)}"
    elif isinstance(recorded, dict):
        for name in sorted(recorded.keys() | simulated.keys()):
            if name not in simulated:
                yield f"{where}.{name}: missing"
            elif name not in recorded:
                yield f"{where}.{name}: too much"
            else:
                yield from differences(recorded[name], simulated[name], pairs, f"{where}.{name}")
    elif isinstance(recorded, list) and key in BY_SHAPE:
        for index, element in enumerate(simulated):
            if not any(not list(differences(other, element, Pairs())) for other in recorded):
                yield f"{where}[{index}]: no recorded one has its shape"
    elif isinstance(recorded, list):
        if key == "attachments":
            recorded, simulated = _in_order(recorded), _in_order(simulated)
        if len(recorded) != len(simulated):
            yield f"{where}: {len(recorded)} elements, simulated {len(simulated)}"
        for index, (left, right) in enumerate(zip(recorded, simulated, strict=False)):
            yield from differences(left, right, pairs, f"{where}[{index}]")
    elif not _same_value(key, recorded, simulated, pairs):
        yield f"{where}: {_short(recorded)}, simulated {_short(simulated)}"


def _in_order(attachments: list[Any]) -> list[Any]:
    """Cinder lists attachments in no order that means anything."""
    return sorted(attachments, key=lambda a: (a["server_id"] or "", a["attached_at"] or ""))


def _same_value(key: str, recorded: Any, simulated: Any, pairs: Pairs) -> bool:
    if not isinstance(recorded, str):
        return key in FREE or bool(recorded == simulated)
    if ID.fullmatch(recorded) and ID.fullmatch(simulated):
        return pairs.same(recorded, simulated)
    if key in TIMES:
        return re.sub(r"\d", "0", recorded) == re.sub(r"\d", "0", simulated)
    if key == "message":  # Keystone appends the schema that was violated
        recorded, simulated = recorded.partition("\n")[0], simulated.partition("\n")[0]
    return key in FREE or _plain(recorded) == _plain(simulated)


def _plain(text: str) -> str:
    """Without what differs from cloud to cloud: ids, addresses, the names of flavors."""
    text = re.sub(r"http://[^/\s\"']+", "http://cloud", ID.sub("<id>", text))
    return re.sub(r"/flavors/.+", "/flavors/<id>", text)


def _short(value: Any) -> str:
    return repr(value)[:120]


HEADERS = ("content-type", "openstack-api-version", "x-openstack-nova-api-version", "vary", "x-openstack-request-id",
           "x-compute-request-id", "www-authenticate", "location")  # fmt: skip


def answers_differ(exchange: Exchange, answer: Answer, pairs: Pairs) -> Iterator[str]:
    if exchange.status != answer.status:
        yield f"status: {exchange.status}, simulated {answer.status} {answer.body[:200]!r}"
        return
    for name in HEADERS:
        recorded, simulated = exchange.headers.get(name), answer.headers.get(name)
        yield from differences(recorded, simulated, pairs, f"header.{name}")
    if ("x-subject-token" in exchange.headers) != ("x-subject-token" in answer.headers):
        yield "header.x-subject-token: in one of them only"
    if exchange.body[:1] == b"{":
        recorded, simulated = exchange.json, json.loads(answer.body)
        for body in (recorded, simulated):
            if "instanceActions" in body:
                body["instanceActions"] = [a for a in body["instanceActions"] if _kept(a, pairs)]
        yield from differences(recorded, simulated, pairs)
    elif _plain(exchange.body.decode()) != _plain(answer.body.decode()):
        yield f"body: {_short(exchange.body)}, simulated {_short(answer.body)}"


def _kept(action: Mapping[str, Any], pairs: Pairs) -> bool:
    """Of the list of actions: those of the recording itself, of which the simulator keeps a record."""
    return pairs.known(action["request_id"])
