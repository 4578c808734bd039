"""All answers of the webhook endpoint: statuses, headers and bodies.

No answer holds a key, a token or an error of AWS. From the sender's text it repeats only the identity of the request,
the names of faulty fields and short pieces of their values. The OpenAPI document is generated from these models.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from shared.model import DetachRequest, Fault, Frozen, Outcome, summary_id, verdict_id
from shared.policy import FAULTS, STATUS_AGAIN
from shared.quick import dataclass
from shared.redact import redact

PROBLEM_TYPE, EVENT_TYPE = "application/problem+json", "application/cloudevents+json"

TITLES: Mapping[int, str] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    503: "Service Unavailable",
}
"""Titles by RFC 9110 and RFC 6585; Python's own table differs between versions."""

RETRY_AFTER = {429: "10", 503: "30"}
"""Seconds, by status."""

CHALLENGE = 'StandardWebhooks realm="detach requests", Bearer realm="detach requests"'

ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""No answer may be cached (RFC 9111 §5.2.2.5), or interpreted as another type (Fetch, X-Content-Type-Options)."""

FIELD_LENGTH, DETAIL_LENGTH = 128, 512
"""The longest field name and sentence in characters. Both may contain the sender's text."""


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
    status_url: str | None = Field(
        default=None,
        description="Where to ask what became of it, relative to the URL of the POST (RFC 3986 §5); "
        "only if this deployment keeps verdicts.",
        json_schema_extra={"format": "uri-reference"},
    )


class EnqueuedSummary(Frozen):
    """One request for several volumes, and the id of the event that will sum up their verdicts."""

    id: str = Field(description="The id of the event that asked, as verdicts repeat it in `data.request`.")
    source: str = Field(description="The source of that event.")
    server_id: str = Field(json_schema_extra={"format": "uuid"})
    requested_at: AwareDatetime = Field(
        description="The time that counts: a volume attached later than this is not touched."
    )
    summary_id: str = Field(
        description="The `id` of the summary's event. The same request leads to the same id.",
        json_schema_extra={"format": "uuid"},
    )
    status_url: str | None = Field(
        default=None,
        description="Where to ask for it, relative to the URL of the POST (RFC 3986 §5); "
        "only if this deployment keeps verdicts.",
        json_schema_extra={"format": "uri-reference"},
    )


class Accepted(Frozen):
    """Everything asked for is in the queue."""

    requests: tuple[EnqueuedRequest, ...] = Field(
        description="One for each volume; none for all data disks of a server, which are listed later."
    )
    summary: EnqueuedSummary | None = Field(default=None, description="If a summary was asked for.")


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
    summary: EnqueuedSummary | None = Field(default=None, description="If a summary was asked for.")


class UnderWay(Frozen):
    """What is known of a request that has no final verdict yet."""

    status: Literal["accepted", "unconfirmed"] = Field(
        description="`accepted`: in the queue, or being worked on. `unconfirmed`: the cloud accepted the detach, and "
        "it is not proven yet; nothing has failed, so do not send the request again."
    )
    verdict_id: str = Field(
        description="The `id` of the final verdict's event, or of the summary's.", json_schema_extra={"format": "uuid"}
    )
    id: str = Field(description="The id of the event that asked.")
    source: str = Field(description="The source of that event.")
    server_id: str = Field(json_schema_extra={"format": "uuid"})
    volume_id: str | None = Field(
        default=None, description="None where a summary is asked about.", json_schema_extra={"format": "uuid"}
    )
    requested_at: AwareDatetime
    accepted_at: AwareDatetime | None = Field(
        default=None, description="When this endpoint put it on the queue; none if it came in another way."
    )
    unconfirmed_since: AwareDatetime | None = Field(default=None, description="The time of the `unconfirmed` event.")
    explanation: str | None = Field(default=None, description="What was found last, for people.")


@dataclass(frozen=True)
class KeptEvent:
    """A verdict's CloudEvent, as on the bus."""

    text: str

    def model_dump_json(self, **_: Any) -> str:
        return self.text


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


@dataclass(frozen=True)
class HttpAnswer:
    """An answer before it is serialized; `note` is for the log, not for the sender.

    `about` is the id of the requested verdict.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Accepted | AcceptedBatch | UnderWay | KeptEvent | Problem | None = None
    note: str = ""
    about: str | None = None

    @property
    def body(self) -> str:
        return self.content.model_dump_json(exclude_none=True) if self.content else ""

    @property
    def log_fields(self) -> dict[str, object]:
        """Fields for the log; never the body or the headers, which may hold secrets."""
        content = self.content
        requests = content.requests if isinstance(content, Accepted) else ()
        summary = content.summary if isinstance(content, Accepted) else None
        fields = {
            "requests": [f"{request.source} {request.id} {request.volume_id}" for request in requests],
            "summary": f"{summary.source} {summary.id} {summary.server_id}" if summary else None,
            "verdict_id": self.about,
            "why": content.detail if isinstance(content, Problem) else None,
            "note": self.note,
        }
        return {name: value for name, value in fields.items() if value}

    @property
    def all_headers(self) -> dict[str, str]:
        """All headers, with the content type of the body; no value can start another header."""
        headers = {name: re.sub(r"[^ -~]", "", value) for name, value in {**ALWAYS, **self.headers}.items()}
        if self.content is None:
            return headers
        return {**headers, "Content-Type": CONTENT_TYPES.get(type(self.content), "application/json")}


def consent(origin: str) -> HttpAnswer:
    """The answer to a handshake (CloudEvents WebHook §4.2); `origin` is the operator's spelling."""
    return HttpAnswer(200, {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*", "Allow": "POST"})


CONTENT_TYPES: Mapping[type, str] = {Problem: PROBLEM_TYPE, KeptEvent: EVENT_TYPE}


def accepted(requests: Sequence[EnqueuedRequest], summary: EnqueuedSummary | None = None, note: str = "") -> HttpAnswer:
    """202 for a request; the `status_url` of its summary or its only volume is also in a header."""
    only = summary or (requests[0] if len(requests) == 1 else None)
    header = {"Location": only.status_url} if only and only.status_url else {}
    return HttpAnswer(202, header, Accepted(requests=tuple(requests), summary=summary), note)


def accepted_batch(results: Sequence[EventResult], note: str = "") -> HttpAnswer:
    return HttpAnswer(202, content=AcceptedBatch(events=tuple(results)), note=note)


def under_way(known: UnderWay) -> HttpAnswer:
    return HttpAnswer(202, {"Retry-After": str(STATUS_AGAIN[known.status])}, known)


def final(event: str) -> HttpAnswer:
    return HttpAnswer(200, content=KeptEvent(event))


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, note: str = "", **members: Any
) -> HttpAnswer:
    """An RFC 9457 problem; `about:blank` means that the title is that of the status (§4.2.1)."""
    own = {"Retry-After": RETRY_AFTER[status]} if status in RETRY_AFTER else {}
    own |= {"WWW-Authenticate": CHALLENGE} if status == 401 else {}
    content = Problem(title=TITLES[status], status=status, detail=_cut(detail, DETAIL_LENGTH), **members)
    return HttpAnswer(status, {**own, **(headers or {})}, content, note)


def entry_of(request: DetachRequest, linked: bool = False) -> EnqueuedRequest:
    """The request as shown to the sender; its verdict id is the same however often it is sent."""
    event = partial(verdict_id, request.source, request.id, request.volume_id)
    final_id = event(Outcome.CHECKED if request.dry_run else Outcome.DETACHED)
    return EnqueuedRequest(
        id=request.id,
        source=request.source,
        server_id=request.server_id,
        volume_id=request.volume_id,
        requested_at=request.requested_at,
        verdict_id=final_id,
        unconfirmed_id=None if request.dry_run else event(Outcome.UNCONFIRMED),
        status_url=f"requests/{final_id}" if linked else None,
    )


def summary_of(request: DetachRequest, linked: bool = False) -> EnqueuedSummary:
    """The summary as shown to the sender; its id is the same however often the request is sent."""
    id_ = summary_id(request.source, request.id, request.dry_run)
    return EnqueuedSummary(
        id=request.id,
        source=request.source,
        server_id=request.server_id,
        requested_at=request.requested_at,
        summary_id=id_,
        status_url=f"requests/{id_}" if linked else None,
    )


def shown(faults: Sequence[Fault]) -> tuple[FieldFault, ...]:
    """The faults as shown to the sender, without the prefix `data.`, which only some have.

    Their number and length are limited, since names come from the sender.
    """
    told = tuple(
        FieldFault(
            # A name or a fault may contain a secret of the sender's, and proxies log answers.
            field=_cut(redact(fault.field.removeprefix("data.")), FIELD_LENGTH),
            detail=_cut(redact(fault.message), DETAIL_LENGTH),
        )
        for fault in faults[:FAULTS]
    )
    more = len(faults) - len(told)
    return (*told, FieldFault(field="", detail=f"has {more} more faults")) if more else told


def _cut(text: str, limit: int) -> str:
    """The sender's text, cut, and valid as UTF-8."""
    return text[:limit].encode("utf-8", "replace").decode()
