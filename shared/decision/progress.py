"""The progress of a request: what a later look needs and cannot read from the cloud. Continuations carry it."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from shared.model import STRICT, Attachment, Call, Reason
from shared.quick import dataclass


@dataclass(frozen=True)
class State:
    """What both planes showed at one moment. Values that were not read, or do not exist, are left out."""

    __pydantic_config__ = STRICT

    volume_status: str | None = None
    attachment: Attachment | None = None
    listed_by_server: bool | None = None
    server_status: str | None = None
    attached_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Denial:
    """A clear refusal of the DELETE and its text. Both planes are read before it is reported."""

    __pydantic_config__ = STRICT

    reason: Reason
    why: str


@dataclass(frozen=True)
class Progress:
    """The progress of a case. Change it with `dataclasses.replace`, which type checkers understand.

    - `receipt`: what an accepted DELETE left behind, the id of its request or job. Only the cloud's adapter knows which
      (`cloud.openstack`, `cloud.bms_v1`).
    - `redelivered_since`: when the queue first delivered the request's message, if it did so more than once. An earlier
      delivery may have had any effect.
    - `listed_at`: when the disk was listed for a request for all disks. An attachment of that time is not a newer one.
    - `place`: the project and the endpoints of the first look.
    - `error_reads`: looks in a row in which both planes had the volume and its status was an error.
    - `failures`: looks in a row that failed in our own code; `last_error` says where.
    - `denied`: the refusal of the last DELETE.
    """

    __pydantic_config__ = STRICT

    first_seen_at: AwareDatetime
    attempt: int = 0
    polls: int = 0
    followed: Attachment | None = None
    before: State | None = None
    deletes_sent: int = 0
    unsettled: int = 0
    last_delete_at: AwareDatetime | None = None
    accepted_at: AwareDatetime | None = None
    detaching_since: AwareDatetime | None = None
    detaching_seen: bool = False
    idle_reads: int = 0
    error_reads: int = 0
    unconfirmed_id: str | None = None
    receipt: Annotated[str | None, Field(alias="delete_request_id")] = None
    last_error: str | None = None
    calls: tuple[Call, ...] = ()
    redelivered_since: AwareDatetime | None = None
    listed_at: AwareDatetime | None = None
    place: str | None = None
    failures: int = 0
    denied: Denial | None = None
