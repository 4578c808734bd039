"""Validates the body of a request and reports all its faults at once."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field, JsonValue, ValidationError, WithJsonSchema

from shared.inbox.envelopes import Refused
from shared.inbox.times import parse_time
from shared.model import LONGEST_TTL, DetachRequest, Fault, Frozen, Origin, ProjectId, RequestTtl
from shared.policy import CONTEXT_BYTES, CONTEXT_LEVELS, FAULTS, VOLUMES
from shared.redact import without
from shared.strict_json import WIDEST_INTEGER, depth, integers


def _canonical_uuid(value: Any) -> Any:
    """Convert an id to the cloud's spelling; only a UUID with or without hyphens is accepted."""
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


def _request_time(value: Any) -> datetime:
    time = parse_time(value)
    if time is None:
        raise ValueError("must be an RFC 3339 time with a zone, such as 2026-11-23T08:00:00Z")
    return time


RequestTime = Annotated[datetime, BeforeValidator(_request_time)]


LONGEST_TOKEN = 2048
"""Characters of a task token (Step Functions, SendTaskSuccess)."""


class RequestData(Frozen):
    """The `data` of a `detach_requested` event, and a bare JSON request (public contract)."""

    server_id: CloudId = Field(description="The server (BMS) to detach from.")
    volume_id: CloudId | None = Field(default=None, description="The volume to detach.")
    volume_ids: list[CloudId] | None = Field(
        default=None,
        min_length=1,
        max_length=VOLUMES,
        description="Several volumes of the one server, instead of volume_id: one verdict each.",
    )
    all_data_disks: bool = Field(
        default=False,
        description="All data disks that the server has when the request is first looked at, instead of volume ids: "
        "one verdict each, and a summary. Its system disk is none of them.",
    )
    summary: bool = Field(
        default=False, description="With volume_ids: a summary, too, when the last of them has its verdict."
    )
    project_id: ProjectId | None = Field(default=None, description="The project both belong to.")
    attachment_id: CloudId | None = Field(
        default=None, description="Detach only this attachment of the volume, not a later one."
    )
    unmounted: bool = Field(default=False, description="The requester attests that the disk is unmounted.")
    allow_system_disk: bool = Field(default=False, description="Allow the system disk, of a stopped server only.")
    dry_run: bool = Field(default=False, description="Check everything, send no DELETE.")
    request_ttl: RequestTtl | None = Field(
        default=None,
        description="For how many seconds the request may be tried while the cloud cannot carry it out, instead of "
        "the operator's REQUEST_TTL; at most the operator's REQUEST_TTL_LIMIT counts.",
    )
    requested_at: RequestTime | None = Field(
        default=None,
        description="When the request was made, for senders whose envelope does not say it: what was attached "
        "later is not touched. Of this and the envelope's time the earlier one counts.",
    )
    task_token: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_TOKEN,
        description="A Step Functions task token to answer: with one volume_id, or by the summary, since it takes one "
        "answer.",
    )
    context: dict[str, JsonValue] | None = Field(
        default=None, description="Echoed in every verdict; at most 4 KB as JSON."
    )


ORIGIN_LIMITS = {"id": 512, "source": 2048}
"""In bytes of UTF-8. Both become part of events, which limits their length."""


SHOWN = ("id", "source", "correlation_id", "traceparent", "tracestate")
"""The fields of a request's origin that every event shows."""


def without_token(origin: Origin, token: JsonValue) -> Origin:
    """The origin without the task token."""
    safe: dict[str, Any] = {name: without(str(token), getattr(origin, name)) for name in _holding(origin, token)}
    return replace(origin, **safe)


def _holding(origin: Origin, token: JsonValue) -> list[str]:
    """The names of `SHOWN` whose texts contain the token, in any encoding."""
    told = {name: getattr(origin, name) for name in SHOWN if isinstance(token, str)}
    return [name for name, text in told.items() if text and without(str(token), text) != text]


def requests_of(data: dict[str, JsonValue], origin: Origin) -> list[DetachRequest]:
    """One request for each volume; for all data disks, one without a volume. Raises Refused with every fault."""
    asked, faults = _validated(data)
    for name, limit in ORIGIN_LIMITS.items():
        if len(getattr(origin, name).encode()) > limit:
            faults.append(Fault(name, f"must have at most {limit} bytes"))
    faults += [
        Fault(name.replace("_", ""), "must not hold the task token, since every event shows it")
        for name in _holding(origin, data.get("task_token"))
    ]
    if faults or asked is None:
        raise Refused(faults, origin, data)
    fields = vars(origin) | asked.model_dump(exclude={"volume_id", "volume_ids", "all_data_disks", "requested_at"})
    fields["summary"] = asked.summary or asked.all_data_disks
    time = fields.pop("time")
    requested_at = min(time, asked.requested_at or time)
    volumes = asked.volume_ids or [asked.volume_id or ""]
    return [DetachRequest(**fields, requested_at=requested_at, volume_id=volume_id) for volume_id in volumes]


def request_faults(data: dict[str, JsonValue], at: str) -> list[Fault]:
    """Every fault of a request, with field names prefixed by `at`."""
    return [Fault(".".join(filter(None, (at, fault.field))), fault.message) for fault in _validated(data)[1]]


def _validated(data: dict[str, JsonValue]) -> tuple[RequestData | None, list[Fault]]:
    """The request, if its fields are valid, and every fault: of single fields and of combinations."""
    asked, faults = None, []
    try:
        asked = RequestData.model_validate(data)
    except ValidationError as error:
        faults = faults_of(error)
    one, many, every = data.get("volume_id"), data.get("volume_ids"), data.get("all_data_disks") is True
    if one is None and many is None and not every:
        faults.append(Fault("volume_id", "is required (or volume_ids, or all_data_disks)"))
    if one is not None and many is not None:
        faults.append(Fault("volume_ids", "must not stand beside volume_id"))
    if isinstance(many, list) and len({str(item).lower().replace("-", "") for item in many}) < len(many):
        faults.append(Fault("volume_ids", "names a volume twice"))
    if every or many is not None or data.get("summary"):
        faults += _faults_of_several(data, one, many, every)
    context = data.get("context")
    if isinstance(context, dict):
        faults += [Fault("context", fault) for fault in context_faults(context)]
    return asked, faults


def _faults_of_several(data: dict[str, JsonValue], one: JsonValue, many: JsonValue, every: bool) -> list[Fault]:
    """Contradictions between fields in a request for several volumes or with a summary."""
    summed_up = every or data.get("summary") is True
    rules = (
        ("all_data_disks", every and (one, many) != (None, None), "must not stand beside volume_id or volume_ids"),
        ("summary", data.get("summary") is True and one is not None, "goes with volume_ids or all_data_disks only"),
        ("allow_system_disk", every and data.get("allow_system_disk") is True, "does not go with all_data_disks: the "
            "system disk is none of them"),
        ("attachment_id", (every or many is not None) and data.get("attachment_id") is not None,
            "goes with a single volume_id only"),
        ("task_token", many is not None and not summed_up and data.get("task_token") is not None,
            "goes with a single volume_id only, or with summary, which answers it"),
    )  # fmt: skip
    return [Fault(name, message) for name, broken, message in rules if broken]


def faults_of(error: ValidationError) -> list[Fault]:
    """Every fault; the first ones, which are all that a verdict shows, suggest the field that was meant."""
    faults: list[Fault] = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        message = _message_of(item["type"], item["loc"], item["msg"])
        unknown = item["type"] == "extra_forbidden" and len(faults) < FAULTS
        if unknown and (meant := _similar(str(item["loc"][-1]))):
            message += f" (did you mean {meant}?)"
        faults.append(Fault(".".join(map(str, item["loc"])), message))
    return faults


def _message_of(type_: str, at: tuple[int | str, ...], said: str) -> str:
    """What is wrong, in our own words; for types that no request can have, in those of the library."""
    limit = LIMITS.get(str(at[-1])) if type_ in OUTSIDE and at else None
    return limit or MESSAGES.get(type_) or said.removeprefix("Value error, ")


MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of a request",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
}
"""Fault messages in terms of JSON, by pydantic's error types."""

OUTSIDE = frozenset({
    "greater_than_equal", "less_than_equal", "too_short", "too_long", "string_too_short", "string_too_long",
    "string_pattern_mismatch",
})  # fmt: skip
"""The types of values outside of a field's limits."""

LIMITS = {
    "project_id": "must be 32 hexadecimal digits",
    "request_ttl": f"must be from 1 to {LONGEST_TTL}",
    "task_token": f"must have from 1 to {LONGEST_TOKEN} characters",
    "volume_ids": f"must hold from 1 to {VOLUMES} volumes",
}
"""Fault messages for those, by field."""


def _similar(field: str) -> str | None:
    """The field of a request whose name is most like this one; None if none is."""
    from difflib import get_close_matches  # imported only for misspelt requests

    names = {name.replace("_", ""): name for name in RequestData.model_fields}
    written = field[:64].lower().replace("_", "").replace("-", "")
    return next((names[name] for name in get_close_matches(written, names, 1, 0.7)), None)


def valid_id(value: Any) -> str | None:
    try:
        return RequestData(server_id=value).server_id
    except ValidationError:
        return None


def valid_token(value: Any) -> str | None:
    """The task token of an invalid request: the workflow that waits for it must be told."""
    return value if isinstance(value, str) and 1 <= len(value) <= LONGEST_TOKEN else None


def context_faults(context: dict[str, JsonValue]) -> list[str]:
    """Why a context cannot be carried in continuations or echoed in the verdict."""
    size = len(json.dumps(context, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    small = all(-WIDEST_INTEGER - 1 <= number <= WIDEST_INTEGER for number in integers(context))
    rules = (
        (size > CONTEXT_BYTES, f"must be at most {CONTEXT_BYTES} bytes as JSON"),
        (depth(context) > CONTEXT_LEVELS, f"must be nested at most {CONTEXT_LEVELS} deep"),
        (not small, "must hold no integer of more than 64 bits"),
    )
    return [fault for broken, fault in rules if broken]
