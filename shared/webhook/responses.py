"""Answers of the webhook endpoint: models, from which the OpenAPI document is made, and RFC 9457 problems."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import AwareDatetime, Field

from shared.model import Frozen

PROBLEM_TYPE = "application/problem+json"

TITLES: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    503: "Service Unavailable",
}
"""As RFC 9110 and RFC 6585 have them; Python's own table differs from version to version."""


class EnqueuedRequest(Frozen):
    """One request for one volume, and the ids of the events which will answer it."""

    id: str = Field(description="The id of the event that asked, as verdicts repeat it in `data.request`.")
    source: str = Field(description="The source of that event.")
    server_id: str = Field(json_schema_extra={"format": "uuid"})
    volume_id: str = Field(json_schema_extra={"format": "uuid"})
    requested_at: AwareDatetime = Field(
        description="The time that counts: a volume attached later than this is not touched."
    )
    verdict_id: str = Field(
        description="The `id` of the final verdict's event, whatever it says. The same request leads to the same id.",
        json_schema_extra={"format": "uuid"},
    )
    unconfirmed_id: str | None = Field(
        default=None,
        description="The `id` of the event that comes before it if the outcome takes long to be known; "
        "a dry run has none.",
    )


class Accepted(Frozen):
    """Everything asked for is in the queue."""

    requests: tuple[EnqueuedRequest, ...]


class FieldFault(Frozen):
    """One thing wrong with an event."""

    field: str = Field(description="A field of the request's data, an attribute of the event, or empty: the whole.")
    detail: str


class EventResult(Frozen):
    """What became of one event of a batch."""

    status: int = Field(description="202, 422, 429 or 503: the status it would have had alone.")
    requests: tuple[EnqueuedRequest, ...] | None = Field(default=None, description="What is in the queue.")
    missing: tuple[EnqueuedRequest, ...] | None = Field(default=None, description="What the queue did not take.")
    errors: tuple[FieldFault, ...] | None = Field(default=None, description="Every fault of the event at once.")


class AcceptedBatch(Frozen):
    """What became of each event of a batch, in its order; at least one is in the queue, and none has to be resent."""

    events: tuple[EventResult, ...]


class Problem(Frozen):
    """An RFC 9457 problem."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: tuple[FieldFault, ...] | None = Field(default=None, description="Every fault of the event at once.")
    enqueued: tuple[EnqueuedRequest, ...] | None = Field(
        default=None, description="What is in the queue already; sent again it changes nothing."
    )
    missing: tuple[EnqueuedRequest, ...] | None = Field(default=None, description="What the queue did not take.")
    events: tuple[EventResult, ...] | None = Field(default=None, description="For a batch, in its order.")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer that has no bytes yet; `note` is for the log, not for the sender."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Accepted | AcceptedBatch | Problem | None = None
    note: str = ""

    @property
    def body(self) -> str:
        return self.content.model_dump_json(exclude_none=True) if self.content else ""

    @property
    def log_fields(self) -> dict[str, object]:
        """What may be logged beside the status; never the body or the headers, which may hold secrets."""
        content = self.content
        requests = content.requests if isinstance(content, Accepted) else ()
        fields = {
            "requests": [f"{request.source} {request.id} {request.volume_id}" for request in requests],
            "why": content.detail if isinstance(content, Problem) else None,
            "note": self.note,
        }
        return {name: value for name, value in fields.items() if value}

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers with the content type of the body."""
        if self.content is None:
            return dict(self.headers)
        kind = PROBLEM_TYPE if isinstance(self.content, Problem) else "application/json"
        return {**self.headers, "Content-Type": kind}
