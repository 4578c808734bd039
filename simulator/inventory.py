"""Immutable values of the simulated cloud: servers, volumes, attachments, records and history entries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class What(StrEnum):
    """The kinds of history entries. A verdict is checked against their order."""

    DELETE_RECEIVED = "delete_received"
    DELETE_ACCEPTED = "delete_accepted"
    DELETE_REJECTED = "delete_rejected"
    DETACHING = "detaching"
    DETACH_REFUSED = "detach_refused"
    CINDER_DETACHED = "cinder_detached"
    NOVA_DETACHED = "nova_detached"
    ATTACHED = "attached"
    ATTACH_REFUSED = "attach_refused"
    DETACH_FAILED = "detach_failed"
    MOVING = "moving"
    MOVED = "moved"
    SERVER_CREATED = "server_created"
    SERVER_DELETED = "server_deleted"
    VOLUME_DELETED = "volume_deleted"


@dataclass(frozen=True, slots=True)
class Happened:
    """One entry of the world's history; `at` is when it happened, even if it was read later."""

    at: datetime
    what: What
    server_id: str | None = None
    volume_id: str | None = None
    attachment_id: str | None = None
    detail: str = ""


class JobReport(StrEnum):
    """Where the job of a failed detach reports the failure."""

    PARENT = "parent"
    SUB_JOB = "sub_job"  # the parent fails too, without a reason
    SUB_JOB_ALONE = "sub_job_alone"  # the parent claims success
    NOTHING = "nothing"  # parent and sub job fail without a reason
    SUCCESS = "success"  # parent and sub job claim success although the detach failed
    UNREADABLE = "unreadable"  # every query for the job fails, whatever the outcome


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a volume responds to a detach. All times are seconds after the acceptance.

    Cinder removes the attachment after `seconds`, and Nova `nova_lag` later (earlier if negative).
    With `refuse`, the volume goes back to `in-use` after `seconds` instead.
    With `stuck`, it stays `detaching` for ever, or is detached after `stuck_seconds`.
    It shows `detaching` only after `mark_lag`.
    With `error_after`, the storage back end fails: the volume stays `detaching`, and the record says Error after that.
    With `error_status`, the volume shows that status until `error_seconds`, then `detaching`, and is then detached.
    The job of a failed detach reports `job_error`, a code and a reason, in the place that `job_report` says.
    """

    seconds: float = 2.0
    nova_lag: float = 0.5
    refuse: bool = False
    stuck: bool = False
    stuck_seconds: float | None = None
    mark_lag: float = 0.0
    success_status: int = 202
    error_after: float | None = None
    error_status: str | None = None
    error_seconds: float = 3.0
    job_report: JobReport = JobReport.PARENT
    job_error: tuple[str, str] = ("BMS.1007", "Calling interface failed")

    @property
    def taken_up(self) -> bool:
        """Whether the compute host ever acts on the detach."""
        return not self.stuck or self.stuck_seconds is not None

    @property
    def detached_after(self) -> float | None:
        if self.error_after is not None:
            return None
        return self.stuck_seconds if self.stuck else self.seconds


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant; its id has 32 hex digits, as in Keystone."""

    id: str = "c685484a8cc2416b97260938705deb65"
    name: str = "eu-de"
    domain_name: str = "Default"


@dataclass(frozen=True, slots=True)
class Image:
    """An image with its custom properties, such as `__os_type`."""

    id: str
    project_id: str
    name: str = "image"
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """A server; the volume at its root device is its system disk.

    `host` is where it runs; it is empty while the server is offloaded, and users see only a hash of it. By default the
    server is a bare metal one, by its flavor and its tag; pass `**ORDINARY` for a virtual one. Without a `flavor_id`,
    the cloud shows no flavor.
    """

    id: str
    project_id: str
    created_at: datetime
    launched_at: datetime | None
    name: str = "server"
    status: str = "ACTIVE"
    vm_state: str = "active"
    task_state: str | None = None
    power_state: int = 1
    locked: bool = False
    locked_reason: str | None = None
    root_device: str | None = None
    flavor_id: str = "physical.o2.medium"
    image_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    flavor_specs: Mapping[str, str] = field(default_factory=lambda: {"resource_type": "ironic"})
    tags: tuple[str, ...] = ("__type_baremetal",)
    host: str = "host-1"
    host_up: bool = True

    @property
    def stopped(self) -> bool:
        return self.status == "SHUTOFF" and self.task_state is None

    @property
    def offloaded(self) -> bool:
        return self.vm_state == "shelved_offloaded"

    def boots_from(self, device: str | None) -> bool:
        return device == (self.root_device or "/dev/sda")


STOPPED: Mapping[str, str | int] = {"status": "SHUTOFF", "vm_state": "stopped", "power_state": 4}
RUNNING: Mapping[str, str | int] = {"status": "ACTIVE", "vm_state": "active", "power_state": 1}
PAUSED: Mapping[str, str | int] = {"status": "PAUSED", "vm_state": "paused", "power_state": 1}
SUSPENDED: Mapping[str, str | int] = {"status": "SUSPENDED", "vm_state": "suspended", "power_state": 1}
RESCUED: Mapping[str, str | int] = {"status": "RESCUE", "vm_state": "rescued", "power_state": 4}
SHELVED: Mapping[str, str | int] = {"status": "SHELVED", "vm_state": "shelved", "power_state": 4}
SHELVED_OFFLOADED: Mapping[str, str | int] = {
    "status": "SHELVED_OFFLOADED",
    "vm_state": "shelved_offloaded",
    "power_state": 4,
    "host": "",
}
SOFT_DELETED: Mapping[str, str | int] = {"status": "SOFT_DELETED", "vm_state": "soft-delete", "power_state": 0}
"""The states of a server, as recorded from a real Nova (power states are those of its fake hypervisor)."""


ORDINARY: Mapping[str, Any] = {
    "flavor_id": "s3.large.2",
    "flavor_specs": {"resource_type": "IOoptimizedS3_2"},
    "tags": (),
}
"""A virtual server with a flavor of Open Telekom Cloud."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume in Cinder. The world keeps its attachments, once for each plane.

    `on_a_host` says that the volume is also attached to a host through Cinder's own API, unknown to Nova.
    """

    id: str
    project_id: str
    created_at: datetime
    updated_at: datetime
    name: str = "volume"
    status: str = "available"
    size: int = 10
    volume_type: str = "SATA"
    multiattach: bool = False
    bootable: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    image_metadata: Mapping[str, str] = field(default_factory=dict)
    behaviour: Behaviour = Behaviour()
    on_a_host: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment of a volume to a server. Attaching the volume again makes a new one.

    `bdm_id` identifies the binding; a move of the server makes a new attachment with the same `bdm_id`. If a volume is
    attached to an offloaded server, its attachment has no device and no time until the server is unshelved.
    """

    id: str
    bdm_id: str
    server_id: str
    volume_id: str
    device: str | None = None
    attached_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """Nova's action record of an operation; its id is that of the request for the operation.

    `action` is Nova's name of the operation (`attach_volume`, `resize`, `live-migration`, …). A record without
    `finished_at` is open.
    """

    request_id: str
    server_id: str
    action: str
    started_at: datetime
    taken_up: bool = True
    finished_at: datetime | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole world at one moment; `at` does not count in comparisons."""

    at: datetime = field(compare=False)
    servers: Mapping[str, Server]
    volumes: Mapping[str, Volume]
    nova: tuple[Attachment, ...]
    cinder: tuple[Attachment, ...]


class Refused(ValueError):
    """The cloud refuses the operation in the current state."""
