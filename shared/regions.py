"""The addresses of Open Telekom Cloud's services, for access without a catalog."""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit


class Region(NamedTuple):
    """The addresses of one region. They contain no project, and only the identity service's contains a version.

    The bare metal service (`bms.…`) is not in every region.
    """

    name: str
    identity: str
    compute: str
    block_storage: str
    image: str
    bare_metal: str | None = None


def _at(name: str, domain: str, identity: str = "iam", bare_metal: bool = False) -> Region:
    ecs, evs, ims, bms = (f"https://{service}.{name}.{domain}" for service in ("ecs", "evs", "ims", "bms"))
    return Region(name, f"https://{identity}.{name}.{domain}/v3", ecs, evs, ims, bms if bare_metal else None)


REGIONS: Mapping[str, Region] = {
    region.name: region
    for region in (
        _at("eu-de", "otc.t-systems.com", bare_metal=True),
        _at("eu-nl", "otc.t-systems.com"),
        _at("eu-ch2", "sc.otc.t-systems.com", "iam-pub"),
    )
}
"""From "Regions and Endpoints" of Open Telekom Cloud and of its Swiss region; `bms.` from the catalog of eu-de."""


def region_of(auth_url: str, name: str | None) -> Region | None:
    """The region of that name, or the one with that identity service; None for another cloud.

    A custom address of the identity service means another cloud, whatever the region is called.
    """
    asked = region_at(auth_url)
    if auth_url and not asked:
        return None
    return REGIONS.get(name) if name else asked


def region_at(auth_url: str) -> Region | None:
    """The region with that identity service."""
    return next((region for region in REGIONS.values() if _host(region.identity) == _host(auth_url)), None)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
