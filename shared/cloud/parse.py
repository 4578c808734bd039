"""Reads the cloud's JSON tolerantly: the documentation and real answers differ in shape."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from shared.cloud.no_answer import NoAnswer
from shared.model import Action, Attachment, Ended, Flavor, Listed, Reason, Server, Volume
from shared.regions import region_of
from shared.settings import CloudCredentials


class Unreadable(ValueError):
    """A 200 whose body does not contain what was requested."""


def document(body: bytes) -> Any:
    """Parse the JSON of an answer. Raises Unreadable, also for text that cannot be encoded again."""
    try:
        value = json.loads(body)
        if b"\\u" in body:  # it may hold half of a character: an unpaired surrogate
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # no JSON, a number of too many digits, or nested too deeply
        raise Unreadable(f"not JSON: {error}") from error
    return value


def _part(body: Any, name: str) -> dict[str, Any]:
    part = body.get(name) if isinstance(body, dict) else None
    if not isinstance(part, dict):
        raise Unreadable(f"the answer holds no {name}")
    return part


def _parts(body: Any, name: str) -> list[dict[str, Any]]:
    parts = body.get(name) if isinstance(body, dict) else None
    if not isinstance(parts, list):
        raise Unreadable(f"the answer holds no list of {name}")
    return [part for part in parts if isinstance(part, dict)]


def texts_in(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {str(key): str(item) for key, item in value.items() if isinstance(item, str | bool | int)}


LONGEST_TEXT = 255
"""The longest id, name, status or device in characters (Nova and Cinder: columns of 255)."""


def _named(found: Mapping[str, Any]) -> dict[str, str]:
    """The text members that may appear in our messages: not empty, not too long, all printable."""
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()
    }


def _true(found: Mapping[str, Any]) -> set[str]:
    """The members that are true; `bootable` is always a string, and `multiattach` sometimes is."""
    flags = {name: value for name, value in found.items() if isinstance(value, bool | str)}
    return {name for name, value in flags.items() if str(value).strip().lower() == "true"}


def cloud_time(value: Any) -> datetime | None:
    """Parse a time; Cinder writes UTC without a zone."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not 1970 < time.year < 9000:
        return None  # not a plausible time, and time arithmetic would fail
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def volume(body: Any) -> Volume:
    return _volume(_part(body, "volume"))


def all_detaching(body: Any) -> Mapping[str, Volume] | None:
    """Volumes by id; None if the cloud ignored the filter by status."""
    volumes = [_volume(entry) for entry in _parts(body, "volumes")]
    return {v.id: v for v in volumes} if all(v.status == "detaching" for v in volumes) else None


def _volume(found: Mapping[str, Any]) -> Volume:
    named, true = _named(found), _true(found)
    attachments, size = found.get("attachments"), found.get("size")
    status = named.get("status")
    if status is None or not isinstance(attachments, list):
        # Without them nothing is proven, and a missing list must not mean "not attached".
        raise Unreadable("the volume's status or attachments are missing")
    return Volume(
        id=str(found.get("id")),
        status=status,
        attachments=tuple(filter(None, map(_attachment, attachments))),
        multiattach=not true.isdisjoint(("multiattach", "shareable")),
        bootable="bootable" in true,
        metadata=texts_in(found.get("metadata")),
        updated_at=cloud_time(found.get("updated_at")),
        name=named.get("name", ""),
        size=size if isinstance(size, int) else None,
    )


def _attachment(entry: Any) -> tuple[str, Attachment] | None:
    """The server and the attachment; None for an attachment to a host (Cinder os-attach)."""
    if isinstance(entry, dict) and entry.get("server_id", "") is None:
        return None
    named = _named(entry) if isinstance(entry, dict) else {}
    if "server_id" not in named:
        raise Unreadable("an attachment of the volume names no server")
    attached_at = cloud_time(named.get("attached_at"))
    return named["server_id"].lower(), Attachment(named.get("attachment_id"), attached_at, named.get("device"))


def listing(body: Any) -> tuple[Listed, ...]:
    """Read the list of attachments: the array that clouds send, or the single object on the BMS pages, under either
    key."""
    found = None
    if isinstance(body, dict):
        found = body.get("volumeAttachments", body.get("volumeAttachment"))
    entries = [found] if isinstance(found, dict) and found else found
    if not isinstance(entries, list) and entries != {}:
        raise Unreadable("the answer holds no list of attachments")
    listed = []
    for entry in entries or ():
        # From microversion 2.89 on `id` is gone; before, it equals volumeId.
        volume_id = entry.get("volumeId") or entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(volume_id, str):
            raise Unreadable("an entry of the attachment list names no volume")
        named = _named(entry)
        listed.append(Listed(volume_id.lower(), named.get("device"), named.get("attachment_id"), named.get("bdm_uuid")))
    return tuple(listed)


def server(body: Any) -> Server:
    return _server(_part(body, "server"))


def servers(body: Any) -> tuple[list[Server], bool]:
    """A page of servers, and whether more follow (Nova, API guide, paginated collections)."""
    links = body.get("servers_links") if isinstance(body, dict) else None
    more = isinstance(links, list) and any(isinstance(link, dict) and link.get("rel") == "next" for link in links)
    return [_server(entry) for entry in _parts(body, "servers")], more


def _server(found: Mapping[str, Any]) -> Server:
    power, locked, tags = found.get("OS-EXT-STS:power_state"), found.get("locked"), found.get("tags")
    image, flavor = (part if isinstance(part, dict) else {} for part in (found.get("image"), found.get("flavor")))
    specs = flavor["extra_specs"] if isinstance(flavor.get("extra_specs"), dict) else {}
    deeper = {"image.id": image.get("id"), "flavor.id": flavor.get("id"), "flavor.name": flavor.get("original_name"),
        "flavor.resource_type": specs.get("resource_type")}  # fmt: skip
    named = _named({**found, **deeper})
    if "status" not in named:
        raise Unreadable("the server has no status")
    return Server(
        id=str(found.get("id")),
        status=named["status"],
        name=named.get("name", ""),
        task_state=named.get("OS-EXT-STS:task_state"),
        vm_state=named.get("OS-EXT-STS:vm_state"),
        power_state=power if isinstance(power, int) else None,
        locked=None if locked is None else "locked" in _true(found),
        root_device=named.get("OS-EXT-SRV-ATTR:root_device_name"),
        image_id=named.get("image.id"),
        metadata=texts_in(found.get("metadata")),
        flavor=Flavor(named.get("flavor.id"), named.get("flavor.name"), named.get("flavor.resource_type")),
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
    )


def names_system(found: Server) -> bool:
    """Whether the server itself says what it runs, so that the image need not be asked."""
    code = found.metadata.get("metering.resourcespeccode", "").rpartition(".")[2].lower()
    return bool(found.metadata.get("os_type")) or code in ("linux", "windows")


def action_ended(body: Any) -> Ended:
    """How the detach ended by the record; below microversion 2.51, without events, it shows only failures."""
    action = _part(body, "instanceAction")
    if action.get("action") != "detach_volume":
        return Ended.UNKNOWN
    if action.get("message") == "Error":
        return Ended.FAILED
    results = [event.get("result") for event in _events(action)]
    if not results:
        # Below 2.51 there are no events. From there on, none means that no compute host has begun the action.
        return Ended.RUNNING if isinstance(action.get("events"), list) else Ended.UNKNOWN
    if "Error" in results:
        return Ended.FAILED
    return Ended.SUCCEEDED if set(results) == {"Success"} else Ended.RUNNING


def actions(body: Any) -> tuple[Action, ...]:
    """The server's action records; those without a kind or a time are left out."""
    found = (_action(entry) for entry in _parts(body, "instanceActions"))
    return tuple(action for action in found if action)


def is_open(body: Any) -> bool:
    """Whether the action has an unfinished event; known from microversion 2.51 on."""
    return any(event.get("finish_time") is None for event in _events(_part(body, "instanceAction")))


def _action(entry: Mapping[str, Any]) -> Action | None:
    named, started_at = _named(entry), cloud_time(entry.get("start_time"))
    if started_at is None or "action" not in named:
        return None
    return Action(
        kind=named["action"],
        started_at=started_at,
        updated_at=cloud_time(entry.get("updated_at")),
        request_id=named.get("request_id"),
    )


def _events(action: Mapping[str, Any]) -> list[dict[str, Any]]:
    events = action.get("events")
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []


# -------------------------------------------------------------------------------------------------- the catalog

NOVA_URL = re.compile(r"^(?P<root>https?://[^?#]*?)(/v2(\.\d+)?(/[^/?#]+)?)?/*$")
EVERYWHERE = "*"
"""The region of an endpoint that serves all regions: one that names none."""

LONGEST_URL = 2048

REGIONS_TOLD = 10
"""How many names of regions a text may list."""

CINDER_TYPES = ("volumev3", "block-storage", "volumev2")


class Service(StrEnum):
    """The services that are called, and the setting that overrides each catalog entry."""

    COMPUTE = "COMPUTE_ENDPOINT"
    BLOCK_STORAGE = "VOLUME_ENDPOINT"
    BARE_METAL = "BMS_ENDPOINT"
    IMAGE = ""


class Offered(NamedTuple):
    """An entry of the catalog; an endpoint that names no region is EVERYWHERE."""

    kind: str
    region: str
    url: str


def offered(catalog: Sequence[Mapping[str, Any]], interface: str) -> list[Offered]:
    """The endpoints of a token's catalog that have this interface."""
    found = []
    for service in catalog:
        endpoints = service.get("endpoints") if isinstance(service, dict) else None
        for endpoint in endpoints if isinstance(endpoints, list) else ():
            if isinstance(endpoint, dict) and endpoint.get("interface") == interface:
                at = str(endpoint.get("region_id") or endpoint.get("region") or EVERYWHERE)
                url = str(endpoint.get("url") or "")
                # Both appear in our messages.
                if len(at) <= LONGEST_TEXT and len(url) <= LONGEST_URL and (at + url).isprintable():
                    found.append(Offered(str(service.get("type")), at, url))
    return found


def addresses(
    listed: Sequence[Offered], known: CloudCredentials, project_id: str, servers_at: Service = Service.COMPUTE
) -> tuple[Mapping[Service, str], str]:
    """The address of each service for a project, from the settings or the catalog, and a text that says where it was
    looked up.

    Raises NoAnswer if several regions fit.
    """
    region, regions = _region(listed, known, servers_at)
    offers: dict[str, str] = {}
    for kind, at, url in listed:
        if at in (EVERYWHERE, region):
            offers.setdefault(kind, url)
    found: dict[Service, str] = {}
    if servers_at is Service.BARE_METAL:
        if bare_metal := _bare_metal(known, offers, region, project_id):
            found[Service.BARE_METAL] = bare_metal
    elif compute := NOVA_URL.match(known.compute_endpoint or offers.get("compute", "")):
        # Always `/v2.1`: under `/v2` microversions are ignored.
        found[Service.COMPUTE] = f"{compute['root']}/v2.1/{project_id}"
    volumes = known.volume_endpoint or next((offers[kind] for kind in CINDER_TYPES if kind in offers), "")
    if volumes := volumes.rstrip("/").removesuffix(f"/{project_id}"):
        # Some catalogs omit the project from the path, some the version.
        version = "" if re.search(r"/v\d[\d.]*$", volumes) else "/v3"
        found[Service.BLOCK_STORAGE] = f"{volumes}{version}/{project_id}"
    if "image" in offers:
        found[Service.IMAGE] = re.sub(r"/v2(\.\d+)?/*$", "", offers["image"].rstrip("/")) + "/v2"
    elsewhere = f", only in {_some(regions)}" if regions and region not in regions else ""
    where = f"with the interface {known.interface}" + (f" in the region {region}{elsewhere}" if region else "")
    remedy = "OS_REGION_NAME" if elsewhere else "OS_INTERFACE"
    return found, f"{where}: set {remedy} or"


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:REGIONS_TOLD], *(["…"] if len(names) > REGIONS_TOLD else [])])


def _bare_metal(known: CloudCredentials, offers: Mapping[str, str], region: str | None, project_id: str) -> str:
    """The address of the bare metal service from the setting, the catalog (type `bms`) or the table of regions; else
    empty."""
    place = region_of(known.auth_url, region)
    url = known.bms_endpoint or offers.get("bms") or (place.bare_metal if place else None) or ""
    root = re.sub(r"/v1(\.\d+)?$", "", url.rstrip("/").removesuffix(f"/{project_id}"))
    return f"{root}/v1/{project_id}" if root else ""


def _region(
    listed: Sequence[Offered], known: CloudCredentials, servers_at: Service = Service.COMPUTE
) -> tuple[str | None, list[str]]:
    """The region to use, and all regions of the services whose addresses are not set.

    A region that lacks one of the services is not an option if another region has all. Raises NoAnswer if several fit.
    """
    servers: tuple[tuple[str, ...], str | None] = ("compute",), known.compute_endpoint
    if servers_at is Service.BARE_METAL:
        servers = ("bms",), known.bms_endpoint
    given = {servers[0]: servers[1], CINDER_TYPES: known.volume_endpoint}
    needed = [kinds for kinds, url in given.items() if not url]
    places = [{at for kind, at, _ in listed if kind in kinds} for kinds in needed or [("image",)]]
    regions = sorted(set().union(*places) - {EVERYWHERE})
    choices = [at for at in regions if all(place & {at, EVERYWHERE} for place in places)] or regions
    if needed and len(choices) > 1 and not known.region:
        several = f"the catalog has several regions: set OS_REGION_NAME to one of {_some(choices)}"
        raise NoAnswer.for_good(Reason.API_REJECTED, several)
    return known.region or (choices[0] if len(choices) == 1 else None), regions
