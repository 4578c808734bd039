"""The values that all packages share: the request, its origin, what the cloud shows, and the verdict.

All are frozen. A value that crosses a wire is validated where it comes in, and trusted from there on.
"""

from collections.abc import Collection, Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from shared.quick import dataclass

STRICT = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
"""How a value from a wire is validated: unknown names are rejected and nothing is converted."""

CloudId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""A UUID as the cloud spells it. The inbox converts other spellings (`inbox.request`)."""

ProjectId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$"), BeforeValidator(
    lambda value: value.lower().replace("-", "") if isinstance(value, str) else value
)]  # fmt: skip
"""32 hex digits; upper case and hyphens are converted."""


LONGEST_TTL = 604_800
"""Seconds (one week): the upper limit of what a request may ask for and of what an operator may allow."""

RequestTtl = Annotated[int, Field(ge=1, le=LONGEST_TTL)]
"""For how many seconds a request may be tried."""


class Frozen(BaseModel):
    """A value that crosses a wire. Its validator is built on first use, which keeps cold starts short."""

    model_config = ConfigDict(frozen=True, defer_build=True, **STRICT)


# ------------------------------------------------------------------------------------------------- who asked


class AuthType(StrEnum):
    """What kind of principal asked: the values of `authtype` that are used here (CloudEvents, Auth Context)."""

    USER = "user"
    SERVICE_ACCOUNT = "service_account"
    API_KEY = "api_key"
    UNAUTHENTICATED = "unauthenticated"
    UNKNOWN = "unknown"


class Via(StrEnum):
    """How the requester was proven."""

    QUEUE = "queue"
    WEBHOOK_SIGNATURE = "webhook_signature"
    WEBHOOK_BEARER = "webhook_bearer"
    WEBHOOK_IAM = "webhook_iam"


@dataclass(frozen=True)
class Requester:
    """Who asked, as proven by AWS or by a key of the webhook endpoint. A sender cannot set it."""

    __pydantic_config__ = STRICT

    type: Annotated[AuthType, Field(description="What kind of principal it is; `unknown` where nothing was proven.")]
    id: Annotated[str | None, Field(description="SQS's SenderId, the name of a key, or an ARN.")] = None
    via: Annotated[Via, Field(description="How it was proven.")] = Via.QUEUE

    @property
    def name(self) -> str:
        """The text that the patterns in ALLOWED_REQUESTERS are matched against."""
        return f"{self.type}:{self.id or ''}"

    def is_allowed(self, patterns: Collection[str]) -> bool:
        """Whether one of the patterns (`fnmatch`, case-sensitive) matches. Without patterns, everybody is allowed."""
        return not patterns or any(fnmatchcase(self.name, pattern) for pattern in patterns)


NOBODY_KNOWN = Requester(AuthType.UNKNOWN)
"""The requester of a request that proves none."""


# ----------------------------------------------------------------------------------------------- what was asked


@dataclass(frozen=True)
class Message:
    """A message as the queue delivered it; `receive_count` is 1 on the first delivery.

    `attributes` are the sender's SQS message attributes of type string. `sender` is the sender that the queue names.
    `receipt` is the receipt handle that deletes this delivery.
    """

    body: str
    id: str
    source: str
    sent_at: datetime
    first_received_at: datetime | None = None
    receive_count: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict)
    sender: Requester = NOBODY_KNOWN
    receipt: str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Origin:
    """The event that asked: its id, source and time, and what else its envelopes say. The innermost value wins.

    `requester` does not come from an envelope: it is proven.
    """

    id: str
    source: str
    time: datetime
    expires_at: datetime | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    requester: Requester = NOBODY_KNOWN


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an invalid request."""

    field: Annotated[str, Field(description="A dotted path; empty for the whole message.")]
    message: str


UNNAMED_PROJECT = "default"
"""The name for the project of a request that names none, where things are kept apart by project."""


@dataclass(frozen=True)
class DetachRequest:
    """One volume to detach from one server, with the identity and time of the event that asked for it.

    An empty `volume_id` means all data disks of the server, which are not listed yet. `summary` says that the request
    is one of a group that ends with a summary.
    """

    __pydantic_config__ = STRICT

    id: Annotated[str, Field(min_length=1, max_length=512)]
    source: Annotated[str, Field(min_length=1, max_length=2048)]
    requested_at: AwareDatetime
    server_id: CloudId
    volume_id: CloudId | Literal[""]
    project_id: ProjectId | None = None
    attachment_id: CloudId | None = None
    unmounted: bool = False
    allow_system_disk: bool = False
    dry_run: bool = False
    request_ttl: RequestTtl | None = None
    task_token: str | None = field(default=None, repr=False)
    context: dict[str, JsonValue] | None = None
    expires_at: AwareDatetime | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    requester: Requester = NOBODY_KNOWN
    summary: bool = False

    @property
    def subject(self) -> str:
        about = f"servers/{self.server_id}"
        return f"{about}/volumes/{self.volume_id}" if self.volume_id else about


# ------------------------------------------------------------------------------------------ what the cloud shows


@dataclass(frozen=True)
class Attachment:
    """An attachment as progress and evidence carry it; any field may be missing.

    `bdm_uuid` is Nova's id for the binding of the disk to the server. A move of the server renews the attachment and
    keeps the binding. Attaching the disk again renews both (Nova API, from microversion 2.89).
    """

    attachment_id: str | None = None
    attached_at: AwareDatetime | None = None
    device: str | None = None
    bdm_uuid: str | None = None


@dataclass(frozen=True)
class Volume:
    """A volume as block storage describes it; `attachments` are pairs of a server id and an attachment to that server.

    `name` and `size` (GiB) are for people; no decision depends on them.
    """

    id: str
    status: str
    attachments: tuple[tuple[str, Attachment], ...] = ()
    multiattach: bool = False
    bootable: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    updated_at: datetime | None = None
    name: str = ""
    size: int | None = None


@dataclass(frozen=True)
class Listed:
    """One entry of the server's list of attachments (Nova: os-volume_attachments).

    `device` may be missing. `attachment_id` and `bdm_uuid` come from microversion 2.89 on.
    """

    volume_id: str
    device: str | None = None
    attachment_id: str | None = None
    bdm_uuid: str | None = None


@dataclass(frozen=True)
class Flavor:
    """A server's flavor: below microversion 2.47 the cloud gives its id, from 2.47 on its name and extra specs.

    `resource_type` is from the extra specs.
    """

    id: str | None = None
    name: str | None = None
    resource_type: str | None = None


@dataclass(frozen=True)
class Server:
    """A server as compute describes it, reduced to what the safety gates need.

    `image_unread` means that the image could not be read this time, so a later look may tell the operating system.
    `boot_volumes` are the volumes that the cloud itself names as system disks, if it names any.
    """

    id: str
    status: str
    name: str = ""
    task_state: str | None = None
    vm_state: str | None = None
    power_state: int | None = None
    locked: bool | None = None
    root_device: str | None = None
    image_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    image_properties: Mapping[str, str] = field(default_factory=dict)
    image_unread: bool = False
    flavor: Flavor = Flavor()
    tags: tuple[str, ...] = ()
    boot_volumes: tuple[str, ...] = ()

    @property
    def offloaded(self) -> bool:
        """Shelved and on no host: block storage keeps the volume reserved, and only compute knows for which server."""
        return "SHELVED_OFFLOADED" in (self.status.upper(), (self.vm_state or "").upper())


class Ended(StrEnum):
    """How a DELETE ended, by the cloud's own record (Nova's action record, a BMS job).

    Nova records success from microversion 2.51 on.
    """

    FAILED = "failed"
    SUCCEEDED = "succeeded"
    RUNNING = "running"
    UNKNOWN = "unknown"


MOVES = frozenset(
    {"resize", "revertResize", "migrate", "live-migration", "evacuate", "rebuild"}
    | {"shelve", "shelveOffload", "unshelve", "swap_volume"}
)
"""Actions that move a server or a volume and so renew the attachment (Nova, instance actions)."""


@dataclass(frozen=True)
class Action:
    """Nova's record of an operation on a server. It does not name the volume that an attach or a detach was for.

    `updated_at` comes from microversion 2.58 on. While the action is `open`, it is not the end.
    """

    kind: str
    started_at: datetime
    updated_at: datetime | None = None
    open: bool = False
    request_id: str | None = None

    @property
    def moves(self) -> bool:
        return self.kind in MOVES


@dataclass(frozen=True)
class Seen:
    """What one look read. None means that the service itself answered that the volume or server does not exist.

    While a detach is under way, the volume alone can be enough for a look: then `listing_read` is False. `actions` are
    the server's action records, if they were needed; empty if the cloud keeps none. `place` is the project and
    endpoints that were read. `said` is the explanation in the record of a failed DELETE, and `reason` what its code
    means; both only if it gives them.
    """

    volume: Volume | None
    listing: tuple[Listed, ...] | None = ()
    server: Server | None = None
    ended: Ended | None = None
    listing_read: bool = True
    actions: tuple[Action, ...] | None = None
    place: str | None = None
    said: str = ""
    reason: "Reason | None" = None


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
    NOT_AUTHENTIC = "not_authentic"
    REQUESTER_NOT_ALLOWED = "requester_not_allowed"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    SERVER_NOT_FOUND = "server_not_found"
    VOLUME_NOT_FOUND = "volume_not_found"
    ATTACHED_ELSEWHERE = "attached_elsewhere"
    WRONG_PROJECT = "wrong_project"
    SYSTEM_DISK = "system_disk"
    ATTESTATION_REQUIRED = "attestation_required"
    SERVER_RUNNING = "server_running"
    NOT_BARE_METAL = "not_bare_metal"
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


class Cause(StrEnum):
    """Why a request was dead-lettered: a closed list, part of the public contract."""

    NO_LOOK_FINISHED = "no_look_finished"
    CODE_FAILED = "code_failed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Answer:
    """An unchanged HTTP answer of the cloud: header names in lower case, body as bytes."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Classified:
    """A classified answer: its class, the reason if it is permanent, and the parts that may be shown.

    `code` is the service's own (`BMS.0114`, `itemNotFound`) or `http_502`. `message` is cut and contains no secrets.
    `retry_after` is in seconds.
    """

    kind: AnswerClass
    code: str
    message: str = ""
    reason: Reason | None = None
    retry_after: float | None = None


@dataclass(frozen=True)
class Call:
    """One call to the cloud, as evidence: `status` 0 means that no answer came."""

    __pydantic_config__ = STRICT

    operation: str
    at: AwareDatetime
    status: int
    code: str | None = None
    message: str | None = None
    openstack_request_id: str | None = None


# ------------------------------------------------------------------------------------------------- conclusions


class Outcome(StrEnum):
    """The four things a verdict can say."""

    DETACHED = "detached"
    FAILED = "failed"
    UNCONFIRMED = "unconfirmed"
    CHECKED = "checked"

    @property
    def event_name(self) -> str:
        """The end of the event type of a verdict, before its version."""
        return self.value if self is Outcome.DETACHED else f"detach_{self.value}"


class Detail(StrEnum):
    """How a verdict that is no failure came about: a closed list. A failure's detail is its reason."""

    DETACHED_NOW = "detached_now"
    DETACHED_MEANWHILE = "detached_meanwhile"
    DETACHED_BY_OTHER = "detached_by_other"
    ALREADY_DETACHED = "already_detached"
    REPLACED_BY_NEWER = "replaced_by_newer"
    SERVER_GONE = "server_gone"
    VOLUME_GONE = "volume_gone"
    STILL_WATCHING = "still_watching"
    WOULD_DETACH = "would_detach"
    WOULD_WAIT = "would_wait"
    WOULD_FAIL = "would_fail"
    WOULD_REPORT_DETACHED_NOW = "would_report_detached_now"
    WOULD_REPORT_DETACHED_MEANWHILE = "would_report_detached_meanwhile"
    WOULD_REPORT_DETACHED_BY_OTHER = "would_report_detached_by_other"
    WOULD_REPORT_ALREADY_DETACHED = "would_report_already_detached"
    WOULD_REPORT_REPLACED_BY_NEWER = "would_report_replaced_by_newer"
    WOULD_REPORT_SERVER_GONE = "would_report_server_gone"
    WOULD_REPORT_VOLUME_GONE = "would_report_volume_gone"


FINAL = (Outcome.DETACHED, Outcome.FAILED)
NAMESPACE = UUID("6b0a0dc8-52a5-5c0e-9f0c-3d0f1d1f3c55")


def verdict_id(source: str, request_id: str, volume_id: str | None, outcome: Outcome) -> str:
    """The event id of a verdict: the same for the same request and volume, so that consumers can drop duplicates.

    All final outcomes share one id: a consumer that drops duplicates never acts on two of them.
    """
    slot = "final" if outcome in FINAL else outcome.value
    return str(uuid5(NAMESPACE, f"{source}\n{request_id}\n{volume_id or ''}\n{slot}"))


SUMMARY = "detach_summary"
"""The end of the event type of a summary, before its version."""


def summary_id(source: str, request_id: str, dry_run: bool = False) -> str:
    """The event id of a summary: the same for the same request, whatever the summary says."""
    slot = "checked_summary" if dry_run else "summary"
    return str(uuid5(NAMESPACE, f"{source}\n{request_id}\n\n{slot}"))
