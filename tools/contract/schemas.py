"""JSON Schemas (2020-12) of every event, generated from the models of requests and verdicts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from shared.inbox.request import RequestData
from shared.model import SUMMARY, AuthType, Detail, Outcome, Reason
from shared.outbox.summary import SummaryData
from shared.outbox.verdict import VerdictData
from tools.openapi import ATTRIBUTES as REQUEST_ATTRIBUTES
from tools.openapi import TEXT, TIME, Schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REQUEST = "volume.detach_requested"
PREFIX = r"^[a-z][a-z0-9.-]{0,79}\."
"""The prefix of event types, which operators choose."""

NULL = {"type": "null"}
ANY_JSON = {"$ref": "#/$defs/JsonValue"}
SERVER_SUBJECT, VOLUME_SUBJECT = "^servers/[^/]+", "/volumes/[^/]+"
"""The parts of a verdict's subject, as patterns."""

VERDICT_ATTRIBUTES: Schema = {
    "specversion": {"const": "1.0"},
    "id": {**TEXT, "format": "uuid", "description": "The same in each delivery of the same verdict."},
    "source": {**TEXT, "format": "uri-reference", "description": "The deployment that emitted the event."},
    "time": {**TIME, "description": "When the verdict was reached."},
    "subject": {**TEXT, "pattern": f"{SERVER_SUBJECT}{VOLUME_SUBJECT}$"},
    "datacontenttype": {"const": "application/json"},
    "correlationid": {**TEXT, "description": "The request's `correlationid`, or else its id: the same for the flow."},
    "causationid": {**TEXT, "description": "The id of the request, or of the `detach_unconfirmed` before."},
    "authtype": {
        "enum": [kind.value for kind in AuthType],
        "description": "The kind of principal that sent the request, as far as it was proven (Auth Context).",
    },
    "authid": {**TEXT, "description": "The principal that sent the request: see `data.requester`."},
    "traceparent": {**TEXT, "description": "The request's `traceparent` (W3C Trace Context)."},
    "tracestate": TEXT,
}


@dataclass(frozen=True, slots=True)
class Narrow:
    """How the data of one event type differs: additional required fields, absent fields, and its details."""

    description: str
    required: tuple[str, ...] = ("server_id", "volume_id")
    absent: tuple[str, ...] = ("reason", "faults", "original")
    details: tuple[Detail | Reason, ...] = ()


DETACHED = tuple(d for d in Detail if not d.value.startswith("would_") and d is not Detail.STILL_WATCHING)

VERDICTS: Mapping[Outcome, Narrow] = {
    Outcome.DETACHED: Narrow(
        "The volume is no longer attached to the server: neither compute nor block storage has the attachment.",
        details=DETACHED,
    ),
    Outcome.FAILED: Narrow(
        "The volume was not detached, or the outcome cannot be known; `reason` says why and what to do.",
        required=("reason",),
        absent=(),
        details=tuple(Reason),
    ),
    Outcome.UNCONFIRMED: Narrow(
        "The outcome is not known yet: the cloud is still detaching. A final verdict follows.",
        details=(Detail.STILL_WATCHING,),
    ),
    Outcome.CHECKED: Narrow(
        "The result of a dry run, which changed nothing in the cloud.",
        absent=("faults", "original"),
        details=tuple(detail for detail in Detail if detail.value.startswith("would_")),
    ),
}


NAMES: Mapping[Outcome, str] = {outcome: f"volume.{outcome.event_name}" for outcome in VERDICTS}


def request_data() -> Schema:
    """The data of a request. The schema is as strict about unknown names as the reader, and stricter about ids."""
    schema = published(RequestData.model_json_schema(mode="validation"), closed=True)
    no, yes = {"const": False}, {"const": True}
    one = {"required": ["volume_id"], "properties": {"volume_ids": False, "all_data_disks": no, "summary": no}}
    single = {"volume_id": False, "attachment_id": False}
    several = {"required": ["volume_ids"], "properties": {**single, "all_data_disks": no, "task_token": False}}
    summed_up = {"required": ["volume_ids", "summary"], "properties": {**single, "all_data_disks": no, "summary": yes}}
    every = {
        "required": ["all_data_disks"],
        "properties": {**single, "volume_ids": False, "allow_system_disk": no, "all_data_disks": yes},
    }
    description = "What to detach; sent as the `data` of an event, or alone."
    return {**_titled(REQUEST, REQUEST, description, schema), "anyOf": [one, several, summed_up, every]}


def request_event() -> Schema:
    attributes = {**REQUEST_ATTRIBUTES, "type": _type(REQUEST)}
    required = ["specversion", "id", "source", "type", "data"]
    return _event(REQUEST, "Asks for a detach.", attributes, required, request_data())


def verdict_data(outcome: Outcome) -> Schema:
    """The data of a verdict. Other names are allowed, so that later releases can add some; consumers ignore them."""
    narrow = VERDICTS[outcome]
    schema = published(_renamed(VerdictData.model_json_schema(mode="serialization")), closed=False)
    schema["required"] = sorted({*schema["required"], *narrow.required})
    properties = {name: value for name, value in schema["properties"].items() if name not in narrow.absent}
    described, choices = properties["detail"]["description"], [detail.value for detail in narrow.details]
    properties["verdict"] = {"const": outcome.value}
    properties["detail"] = {"description": described, "type": "string", "enum": choices}
    return _titled(NAMES[outcome], NAMES[outcome], narrow.description, {**schema, "properties": properties})


def verdict_event(outcome: Outcome) -> Schema:
    name, data = NAMES[outcome], verdict_data(outcome)
    attributes = {**VERDICT_ATTRIBUTES, "type": _type(name), "dataschema": {"const": data["$id"]}}
    optional = {"authtype", "authid", "traceparent", "tracestate"}
    if "volume_id" not in data["required"]:
        optional |= {"subject"}
        said = "Missing if the request names no server; without a volume if it is about no single one."
        attributes["subject"] = {**TEXT, "pattern": f"{SERVER_SUBJECT}({VOLUME_SUBJECT})?$", "description": said}
    required = [name for name in (*attributes, "data") if name not in optional]
    return _event(name, data["description"], attributes, required, data)


SUMMED_UP = f"volume.{SUMMARY}"
SUMMARY_DESCRIPTION = "The outcome for all volumes of one request; it follows the last of their verdicts."


def summary_data() -> Schema:
    """The data of a summary. Other names are allowed, as in the data of verdicts."""
    schema = published(_renamed(SummaryData.model_json_schema(mode="serialization")), closed=False)
    choices = [outcome.value for outcome in Outcome if outcome is not Outcome.UNCONFIRMED]
    schema["properties"]["outcome"] |= {"type": "string", "enum": choices}
    volume = schema["$defs"]["SummaryVolume"]["properties"]
    volume["verdict"] = {"type": "string", "enum": choices}
    details = [detail.value for detail in (*Detail, *Reason) if detail is not Detail.STILL_WATCHING]
    volume["detail"] = {"description": volume["detail"]["description"], "type": "string", "enum": details}
    return _titled(SUMMED_UP, SUMMED_UP, SUMMARY_DESCRIPTION, schema)


def summary_event() -> Schema:
    data = summary_data()
    subject = {**TEXT, "pattern": f"{SERVER_SUBJECT}$"}
    named = {**VERDICT_ATTRIBUTES, "subject": subject, "causationid": {**TEXT, "description": "The id of the request."}}
    attributes = {**named, "type": _type(SUMMED_UP), "dataschema": {"const": data["$id"]}}
    optional = {"authtype", "authid", "traceparent", "tracestate"}
    required = [name for name in (*attributes, "data") if name not in optional]
    return _event(SUMMED_UP, data["description"], attributes, required, data)


EMITTED: Mapping[str, tuple[str, Callable[[], Schema]]] = {
    **{name: (VERDICTS[outcome].description, partial(verdict_event, outcome)) for outcome, name in NAMES.items()},
    SUMMED_UP: (SUMMARY_DESCRIPTION, summary_event),
}
"""Every emitted event by name: its description and its schema."""


UNUSED = ("JsonValue", "Outcome", "Detail")
"""Definitions that are narrowed where they are used, or not used."""

PUBLISHED_NAMES = {"Attachment": "AttachmentRecord", "Fault": "FaultData"}
"""Published names of definitions that differ from the names of the classes."""


def published(schema: Schema, closed: bool) -> Schema:
    """The schema of what is sent: an event leaves out fields that are null, and has all others.

    For a request (`closed`) the model's required names stay, and other names are forbidden.
    """
    rest = {name: value for name, value in schema.items() if name not in ("title", "default")}
    if not closed or rest.get("additionalProperties") == ANY_JSON:
        rest.pop("additionalProperties", None)
    if "properties" in rest:
        nullable = {name for name, value in rest["properties"].items() if NULL in value.get("anyOf", ())}
        kept = {name: published(_without_null(value), closed) for name, value in rest["properties"].items()}
        always = [name for name in kept if name not in nullable]
        rest |= {"properties": kept} | ({} if closed else {"required": always})
    if "items" in rest:
        rest["items"] = published(rest["items"], closed)
    if "$defs" in rest:
        rest["$defs"] = dict(
            sorted((name, published(value, closed)) for name, value in rest["$defs"].items() if name not in UNUSED)
        )
    return {name: value for name, value in rest.items() if value not in ({}, [])}


def _renamed(schema: Schema) -> Schema:
    text = json.dumps(schema)
    for name, published_name in PUBLISHED_NAMES.items():
        text = text.replace(f'/{name}"', f'/{published_name}"').replace(f'"{name}": {{', f'"{published_name}": {{')
    renamed: Schema = json.loads(text)
    return renamed


def _without_null(schema: Schema) -> Schema:
    variants = [variant for variant in schema.get("anyOf", ()) if variant != NULL]
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **(variants[0] if variants else {})}


def _event(name: str, description: str, attributes: Schema, required: list[str], data: Schema) -> Schema:
    """The schema of an event in one file. It contains the schema of `data`, with the id that `dataschema` names."""
    schema = {
        "type": "object",
        "required": required,
        "properties": {**attributes, "data": {"$ref": data["$id"]}},
        "$defs": {"data": data},
    }
    return _titled(f"{name}.event", f"{name}.v1", f"A CloudEvent 1.0 in structured JSON. {description}", schema)


def _titled(name: str, title: str, description: str, schema: Schema) -> Schema:
    id_ = f"urn:bms-volume-detach:schema:{name}:v1"
    about = {"$schema": DIALECT, "$id": id_, "title": title, "description": description}
    return about | schema | about  # replaces the model's own description, which is for readers of the code


def _type(name: str) -> Schema:
    return {**TEXT, "pattern": PREFIX + name.replace(".", r"\.") + r"\.v1$"}


def documents() -> dict[str, Callable[[], object]]:
    """Two files for each event: the schema of its `data`, and of the whole event."""
    made: dict[str, Callable[[], object]] = {f"{REQUEST}.v1.data": request_data, f"{REQUEST}.v1": request_event}
    for outcome, name in NAMES.items():
        made[f"{name}.v1.data"] = partial(verdict_data, outcome)
        made[f"{name}.v1"] = partial(verdict_event, outcome)
    made |= {f"{SUMMED_UP}.v1.data": summary_data, f"{SUMMED_UP}.v1": summary_event}
    return {f"docs/schemas/{name}.json": make for name, make in made.items()}
