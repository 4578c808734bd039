"""The values everything else speaks in: what was asked, what the cloud shows, how far we are, what we conclude."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

# --------------------------------------------------------------------------------------------- identifiers


def _canonical_uuid(value: Any) -> Any:
    """Bring an id to the one spelling the cloud uses; anything but a UUID's own two spellings is refused."""
    if not isinstance(value, str):
        raise ValueError("must be a UUID as a string")
    try:
        canonical = str(UUID(value))
    except ValueError as error:
        raise ValueError("must be a UUID, such as 95bf2490-5428-432c-ad9b-5e3406f869dd") from error
    if value.lower() not in (canonical, canonical.replace("-", "")):
        raise ValueError("must be a UUID without braces or prefix")
    return canonical


CloudId = Annotated[str, BeforeValidator(_canonical_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
ProjectId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$"), BeforeValidator(
    lambda value: value.lower().replace("-", "") if isinstance(value, str) else value
)]  # fmt: skip


class Frozen(BaseModel):
    """A value that crosses a wire: validated once, unknown names refused, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


# ------------------------------------------------------------------------------------------------- request


class DetachRequest(Frozen):
    """One wish to have one volume off one server, with the identity and the time of the event it came in."""

    id: str = Field(min_length=1, max_length=512)
    source: str = Field(min_length=1, max_length=2048)
    requested_at: AwareDatetime
    server_id: CloudId
    volume_id: CloudId
    project_id: ProjectId | None = None
    attachment_id: CloudId | None = None
    unmounted: bool = False
    allow_system_disk: bool = False
    dry_run: bool = False
    task_token: str | None = None
    context: dict[str, JsonValue] | None = None
    expires_at: AwareDatetime | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def subject(self) -> str:
        return f"servers/{self.server_id}/volumes/{self.volume_id}"


# --------------------------------------------------------------------------------------- what the cloud shows


@dataclass(frozen=True, slots=True)
class Attachment:
    """One entry of a volume's `attachments[]`; re-attaching a volume makes a new one (EVS: disk details)."""

    server_id: str
    attachment_id: str | None = None
    attached_at: datetime | None = None
    device: str | None = None

    @property
    def generation(self) -> str:
        """What tells this attachment from a later one of the same volume to the same server."""
        return self.attachment_id or (self.attached_at.isoformat() if self.attached_at else "unnamed")


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as the block storage service describes it."""

    id: str
    status: str
    attachments: tuple[Attachment, ...] = ()
    multiattach: bool = False
    bootable: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    image_metadata: Mapping[str, str] = field(default_factory=dict)

    def attachment_to(self, server_id: str) -> Attachment | None:
        return next((a for a in self.attachments if a.server_id == server_id), None)


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of the server's own list (Nova: os-volume_attachments); `device` may be missing on the wire."""

    volume_id: str
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A server as the compute service describes it, reduced to what the safety gates ask."""

    id: str
    status: str
    name: str = ""
    task_state: str | None = None
    vm_state: str | None = None
    power_state: int | None = None
    locked: bool | None = None
    root_device: str | None = None
    flavor_id: str | None = None
    image_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    image_properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """Both planes as read just now; None where the service itself says that there is no such thing."""

    volume: Volume | None
    listing: tuple[Listed, ...] | None
    server: Server | None = None
    action_failed: bool | None = None

    def listed(self, volume_id: str) -> Listed | None:
        return next((entry for entry in self.listing or () if entry.volume_id == volume_id), None)


# -------------------------------------------------------------------------------------- answers and failures


class AnswerClass(StrEnum):
    """What to do about an answer of the cloud."""

    ACCEPTED = "accepted"
    DONE_VERIFY = "done_verify"
    RETRY = "retry"
    WAIT = "wait"
    RECONCILE = "reconcile"
    REAUTHENTICATE = "reauthenticate"
    PERMANENT = "permanent"


class Reason(StrEnum):
    """Why a request ended without a detach: a closed list, part of the public contract."""

    INVALID_REQUEST = "invalid_request"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    SERVER_NOT_FOUND = "server_not_found"
    VOLUME_NOT_FOUND = "volume_not_found"
    ATTACHED_ELSEWHERE = "attached_elsewhere"
    WRONG_PROJECT = "wrong_project"
    SYSTEM_DISK = "system_disk"
    ATTESTATION_REQUIRED = "attestation_required"
    SERVER_RUNNING = "server_running"
    SERVER_LOCKED = "server_locked"
    VOLUME_LOCKED = "volume_locked"
    VOLUME_FROZEN = "volume_frozen"
    VOLUME_PROTECTED = "volume_protected"
    VOLUME_ERROR = "volume_error"
    REFUSED_BY_SERVER = "refused_by_server"
    STUCK_DETACHING = "stuck_detaching"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    API_REJECTED = "api_rejected"
    GAVE_UP = "gave_up"
    INCONSISTENT_STATE = "inconsistent_state"
    DEAD_LETTERED = "dead_lettered"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer of the cloud as it stands: header names in lower case, body as bytes."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Classified:
    """An answer, understood: its class, the reason if it is permanent, and what may be shown of it.

    `code` is the service's own (`BMS.0114`, `itemNotFound`) or `http_502`; `message` is cut and without
    secrets; `retry_after` is in seconds.
    """

    kind: AnswerClass
    code: str
    message: str = ""
    reason: Reason | None = None
    retry_after: float | None = None


class Call(Frozen):
    """One call to the cloud, as evidence: `status` 0 means that no answer came."""

    operation: str
    at: AwareDatetime
    status: int
    code: str | None = None
    message: str | None = None
    openstack_request_id: str | None = None


# ------------------------------------------------------------------------------------------------- progress


class AttachmentRecord(Frozen):
    """An attachment as progress and evidence carry it."""

    attachment_id: str | None = None
    attached_at: AwareDatetime | None = None
    device: str | None = None


class State(Frozen):
    """What both planes said at one moment; what was not read, or is gone, is left out."""

    volume_status: str | None = None
    attachment: AttachmentRecord | None = None
    listed_by_server: bool | None = None
    server_status: str | None = None
    attached_to: tuple[str, ...] = ()


class Progress(Frozen):
    """How far a request is: everything a later delivery needs that the cloud itself does not tell."""

    first_seen_at: AwareDatetime
    attempt: int = 0
    polls: int = 0
    followed: AttachmentRecord | None = None
    generation: str | None = None
    before: State | None = None
    deletes_sent: int = 0
    unsettled: int = 0
    last_delete_at: AwareDatetime | None = None
    accepted_at: AwareDatetime | None = None
    detaching_since: AwareDatetime | None = None
    detaching_seen: bool = False
    idle_reads: int = 0
    detaching_read_at: AwareDatetime | None = None
    unconfirmed_id: str | None = None
    delete_request_id: str | None = None
    last_error: str | None = None
    calls: tuple[Call, ...] = ()


# ------------------------------------------------------------------------------------------------- decision


class Outcome(StrEnum):
    """The four things a verdict can say."""

    DETACHED = "detached"
    FAILED = "failed"
    UNCONFIRMED = "unconfirmed"
    CHECKED = "checked"


@dataclass(frozen=True, slots=True)
class Delete:
    """Send the DELETE now: the last read shows this generation attached and nobody detaching it."""


@dataclass(frozen=True, slots=True)
class Inspect:
    """Read the server too: everything else allows a DELETE, and the safety gates ask about the server."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again in `seconds`; `announce_unconfirmed` says so to the consumers, once."""

    seconds: int
    why: str
    announce_unconfirmed: bool = False


@dataclass(frozen=True, slots=True)
class Conclude:
    """This request is over, and this is how."""

    outcome: Outcome
    detail: str
    reason: Reason | None = None
    explanation: str = ""


Decision = Inspect | Delete | Wait | Conclude
