"""How far a request is: what a later look needs and the cloud does not tell. It travels in the continuation."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from shared.model import STRICT, Attachment, Call, Frozen, Reason
from shared.quick import dataclass


class State(Frozen):
    """What both planes said at one moment; what was not read, or is gone, is left out."""

    volume_status: str | None = None
    attachment: Attachment | None = None
    listed_by_server: bool | None = None
    server_status: str | None = None
    attached_to: tuple[str, ...] = ()


class Denial(Frozen):
    """A clear no to the DELETE, and what it said. It is held against both planes before it is passed on."""

    reason: Reason
    why: str


@dataclass(frozen=True)
class Progress:
    """Changed by `Case` alone, with `dataclasses.replace`, so that a type checker sees every name.

    `receipt` is what an accepted DELETE left behind: the id of its request, or of its job. Only the cloud's adapter
    knows which (`cloud.openstack`, `cloud.bms_v1`).
    `redelivered_since` is when the queue first handed out the message that the request came in, if it did so more
    than once: an earlier delivery may have done anything. `listed_at` is when the disk was listed for a request for all
    of them: an attachment that was there then has not taken the place of the one that is meant. `place` names the
    project and the endpoints of the first look. `error_reads` are looks in a row at which both planes held the volume
    and its status was an error. `failures` are looks in a row that our own code failed on; `last_error` says where.
    `denied` is the no that the last DELETE was answered with.
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
