"""The `data` of verdicts (public contract)."""

from pydantic import AwareDatetime, Field, JsonValue

from shared.decision.progress import State
from shared.model import Call, Cause, Detail, Fault, Frozen, Outcome, Reason, Requester


class RequestRef(Frozen):
    """The request a verdict answers, by the identity of its event."""

    id: str
    source: str


class ReasonData(Frozen):
    """Why there was no detach, from the catalogue; `message` ends with what was found in this case."""

    code: Reason = Field(description="From a closed list: see docs/failure-reasons.md.")
    message: str = Field(description="What happened, for people.")
    remedy: str = Field(description="What to do about it, for people.")
    retryable: bool = Field(
        description="Whether the same request with a new event id may succeed although nothing is changed."
    )
    cause: Cause | None = Field(
        None,
        description="For `dead_lettered`: no look at it was finished (throttled functions, time or memory used up), "
        "our own code failed on it repeatedly, or its message could not be read (`faults` says why).",
    )


class Evidence(Frozen):
    """The evidence for the verdict: both planes before and after, and the relevant calls."""

    before: State | None = Field(None, description="What the first look found.")
    after: State | None = Field(None, description="What the last look found.")
    deletes_sent: int = Field(0, description="DELETEs on record for this request.")
    polls: int = Field(
        0, description="The number of looks at the cloud; while a detach is under way, a look may read only the volume."
    )
    calls: tuple[Call, ...] = Field((), description="The relevant calls to the cloud, the latest last.")
    last_error: str | None = None


class Timing(Frozen):
    """When the request was made, first seen, accepted by the cloud, and concluded; `seconds` is from first seen to
    concluded."""

    requested_at: AwareDatetime
    first_seen_at: AwareDatetime
    accepted_at: AwareDatetime | None = None
    concluded_at: AwareDatetime
    seconds: float


class VerdictData(Frozen):
    """The `data` of every event this service emits (public contract)."""

    verdict: Outcome
    detail: Detail | Reason = Field(description="How this verdict came about; if failed, the reason's code.")
    explanation: str | None = Field(None, description="What was found in this case, for people.")
    reason: ReasonData | None = None
    server_id: str | None
    volume_id: str | None
    project_id: str | None = None
    attachment_id: str | None = Field(None, description="The attachment that was followed.")
    request: RequestRef
    requester: Requester | None = Field(None, description="Who asked, as far as proven; senders cannot set it.")
    context: dict[str, JsonValue] | None = Field(None, description="The request's `context`, without the task token.")
    evidence: Evidence
    timing: Timing
    faults: tuple[Fault, ...] | None = Field(None, description="Everything that is wrong with an invalid request.")
    original: str | None = Field(None, description="The message that could not be carried out, cut at 8 KB.")
