"""How a bare metal server is recognised, and what is special about one on Open Telekom Cloud: a table of each.

The filter for bare metal servers is not a security boundary. Users can edit metadata and tags, so they can make an
ordinary server look like bare metal and pass this filter; all other gates still apply. They cannot hide a bare metal
server, since they cannot rename a flavor.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

from shared.model import Server
from shared.policy import VOLUMES
from shared.quick import dataclass

TYPE = "__type_baremetal"
FLAVORS = "physical."
"""The prefix of every bare metal flavor's name (BMS API, querying BMSs)."""


class Kind(StrEnum):
    """The kind of a server. `unknown` means: no signal, and its flavor is not given."""

    BARE_METAL = "bare metal"
    VIRTUAL = "virtual"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Signal:
    """A property that only a bare metal server has: a value that is `read` equals `wanted`, or starts with it if
    `begins`.

    `name` is for people; `source` is the page of the cloud's documentation ("BMS API: BMS details" is its chapter
    about querying details of a BMS), or the microversion of compute.
    """

    name: str
    wanted: str
    source: str
    read: Callable[[Server], Sequence[str | None]]
    begins: bool = False

    def shows(self, server: Server) -> bool:
        """Whether the server has this property."""
        told = filter(None, self.read(server))
        return any(value.startswith(self.wanted) if self.begins else value == self.wanted for value in told)


SIGNALS = (
    Signal("metadata metering.resourcetype", TYPE, "BMS API: BMS details",
        lambda server: [server.metadata.get("metering.resourcetype")]),
    Signal("tag", TYPE, "BMS API: BMSs, from 2.26", lambda server: server.tags),
    Signal("flavor id", FLAVORS, "BMS API: BMS details, below 2.47",
        lambda server: [server.flavor.id], begins=True),
    Signal("flavor original_name", FLAVORS, "Nova API history, 2.47",
        lambda server: [server.flavor.name], begins=True),
    Signal("flavor extra_specs resource_type", "ironic",
        "BMS API: flavor extra_specs",
        lambda server: [server.flavor.resource_type]),
)  # fmt: skip
"""Ordered by strength; one is enough."""


def signal(server: Server) -> Signal | None:
    """The strongest signal of the server."""
    return next((one for one in SIGNALS if one.shows(server)), None)


def kind(server: Server) -> Kind:
    """The kind of the server. Without a signal it is virtual only if the flavor, which users cannot change, was
    read."""
    if signal(server):
        return Kind.BARE_METAL
    return Kind.VIRTUAL if server.flavor.id or server.flavor.name else Kind.UNKNOWN


LONGEST_VALUE = 64


def seen(server: Server) -> str:
    """Every signal with its value and what was read, for people: `flavor id physical.… (seen: s3.large.2)`."""
    return ", ".join(
        f"{one.name} {one.wanted}{'…' if one.begins else ''} (seen: {_shown(one, server)})" for one in SIGNALS
    )


def _shown(one: Signal, server: Server) -> str:
    """What was read, cut to length. Users write it, so unprintable text is not shown."""
    told = ", ".join(value for value in one.read(server) if value)
    if not told:
        return "nothing"
    if not told.isprintable():
        return "unprintable text"
    return told if len(told) <= LONGEST_VALUE else f"{told[:LONGEST_VALUE]}…"


@dataclass(frozen=True)
class Special:
    """A row of the table: `text` is what the documentation says, `here` what the product does about it."""

    about: str
    text: str
    here: str
    source: str


SYSTEM_DISK = Special(
    "system disk",
    "on a bare metal server the disk at /dev/sda is the system disk, unless the server boots from a local disk",
    "`allow_system_disk` detaches it from a stopped server only",
    "BMS guide: detaching",
)
SPECIAL = (
    SYSTEM_DISK,
    Special("device names",
        "they differ between API and server",
        "the server's own names are never compared",
        "BMS guide: attaching, FAQ"),
    Special("number of disks",
        f"at most {VOLUMES} EVS disks",
        f"`volume_ids` takes {VOLUMES}",
        "BMS API: attaching"),
    Special("hot detach",
        "flavors without an SDI card have no EVS disks",
        "upstream Ironic cannot hot detach, which ends in `refused_by_server`",
        "BMS guide: attaching; Nova's Ironic driver"),
    Special("one change at a time",
        "a call detaches one disk",
        "disks follow one another, and a busy server (409) is tried again",
        "BMS API: attaching"),
    Special("power",
        "a shutdown from inside is not a stop",
        "the cloud's status counts",
        "BMS guide: stopping"),
    Special("region",
        "documented for eu-de only",
        "not checked",
        "Regions and Endpoints"),
)  # fmt: skip
"""What the documentation says about bare metal servers only. docs/bare-metal.md is generated from it."""
