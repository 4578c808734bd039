"""What a verdict says: the `data` of every event this service emits (public contract)."""

from pydantic import AwareDatetime, Field, JsonValue

from shared.decision.progress import State
from shared.model import Call, Cause, Detail, Fault, Frozen, Outcome, Reason, Requester


class RequestRef(Frozen):
    """The request a verdict answers, by the identity of its event."""

    id: str
    source: str


class ReasonData(Frozen):
    """Why there was no detach, from the catalogue; `message` ends in what was found in this case."""

    code: Reason = Field(description="From a closed list: see docs/failure-reasons.md.")
    message: str = Field(description="What happened, for people.")
    remedy: str = Field(description="What to do about it, for people.")
    retryable: bool = Field(description="Whether the same wish under a new event id may succeed as things are.")
    cause: Cause | None = Field(
        None,
        description="Of `dead_lettered`: no look at it was finished (throttled functions, time or memory used up), our "
        "own code failed on it again and again, or its message could not be read (`faults` says why).",
    )


class Evidence(Frozen):
    """What the verdict rests on: both planes before and after, and the calls that tell."""

    before: State | None = Field(None, description="What was found at the first look.")
    after: State | None = Field(None, description="What was found at the last look.")
    deletes_sent: int = Field(0, description="DELETEs on record for this request.")
    polls: int = Field(
        0, description="How often the cloud was looked at; while a detach is under way, at the volume alone."
    )
    calls: tuple[Call, ...] = Field((), description="The calls to the cloud that tell, the latest last.")
    last_error: str | None = None


class Timing(Frozen):
    """When it was asked, first seen, accepted by the cloud, and concluded; `seconds` from first seen to concluded."""

    requested_at: AwareDatetime
    first_seen_at: AwareDatetime
    accepted_at: AwareDatetime | None = None
    concluded_at: AwareDatetime
    seconds: float


class VerdictData(Frozen):
    """The `data` of every event this service emits (public contract)."""

    verdict: Outcome
    detail: Detail | Reason = Field(description="How it came to this verdict; when failed, the reason's code.")
    explanation: str | None = Field(None, description="What was found in this case, for people.")
    reason: ReasonData | None = None
    server_id: str | None
    volume_id: str | None
    project_id: str | None = None
    attachment_id: str | None = Field(None, description="The attachment that was followed.")
    request: RequestRef
    requester: Requester | None = Field(None, description="Who asked, as far as it was proven; senders cannot set it.")
    context: dict[str, JsonValue] | None = Field(None, description="The request's `context`, as it came.")
    evidence: Evidence
    timing: Timing
    faults: tuple[Fault, ...] | None = Field(None, description="All that is wrong with an invalid request.")
    original: str | None = Field(None, description="The message that could not be carried out, cut at 8 KB.")
