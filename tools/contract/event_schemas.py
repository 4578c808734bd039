"""The schemas of a deployment's events for EventBridge's registry, including EventBridge's envelope.

They are OpenAPI 3.0 documents in the form of EventBridge's own: `AWSEvent` is the envelope and refers to the schema of
its `detail`. SAM, the toolkits and the code bindings expect that (EventBridge user guide, "Creating a schema from event
JSON"; SAM CLI, `sam init`). For validating events, use the JSON Schemas in docs/schemas.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.contract.openapi3 import Schema, converted
from tools.contract.schemas import EMITTED, REQUEST, request_event

TYPE = "OpenApi3"

LONGEST_CONTENT, LONGEST_DESCRIPTION, LONGEST_NAME = 100_000, 256, 385
"""The registry's limits, in characters (EventBridge Schemas, CreateSchema; for names, Terraform's provider)."""

TEXT = {"type": "string"}
ENVELOPE: Schema = {
    "version": TEXT,
    "id": TEXT,
    "detail-type": TEXT,
    "source": TEXT,
    "account": TEXT,
    "time": {**TEXT, "format": "date-time"},
    "region": TEXT,
    "resources": {"type": "array", "items": TEXT},
}
"""The fields that EventBridge adds (EventBridge, event structure reference), as its own schemas describe them."""


@dataclass(frozen=True)
class EventSchema:
    """A schema in the registry."""

    name: str
    description: str
    content: str


def event_schemas(prefix: str, source: str) -> tuple[EventSchema, ...]:
    """The schema of every event of a deployment with this prefix of event types and this source."""
    events = [(REQUEST, request_event()), *((name, make()) for name, (_, make) in EMITTED.items())]
    return tuple(_event_schema(name, event, f"{prefix}.{name}.v1", source) for name, event in events)


def name_of(source: str, detail_type: str) -> str:
    """`source@detail-type`, as EventBridge names its own schemas. Only letters, digits and `.-_@` are allowed.

    Leading dashes are left out, because command lines would read them as an option.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", source).lstrip("-") or "-"
    return f"{plain}@{re.sub(r'[^A-Za-z0-9._-]', '-', detail_type)}"


OURS = re.compile(r".+@.+\.(" + "|".join(map(re.escape, (REQUEST, *EMITTED))) + r")\.v1")
"""Names of this service's schemas, with any prefix and source."""


def _event_schema(name: str, event: dict[str, Any], detail_type: str, source: str) -> EventSchema:
    by = "" if name == REQUEST else source  # the source of a request is its sender's
    document = {
        "openapi": "3.0.0",
        "info": {"version": "1.0.0", "title": event["title"], "description": event["description"]},
        "paths": {},
        "components": {"schemas": dict(_components(event, detail_type, by))},
    }
    content = json.dumps(document, indent=2, ensure_ascii=False)
    return EventSchema(name_of(source, detail_type), event["$defs"]["data"]["description"], content)


def _components(event: dict[str, Any], detail_type: str, source: str) -> Iterator[tuple[str, Schema]]:
    """The components, the envelope first, with this deployment's event type and source."""
    data = event["$defs"]["data"]
    detail = "".join(word.capitalize() for word in re.split(r"[._]", data["title"]))
    components = {data["$id"]: f"{detail}Data"} | {f"#/$defs/{name}": name for name in data.get("$defs", ())}
    references = {ref: f"#/components/schemas/{component}" for ref, component in components.items()}
    narrow = {"type": {"const": detail_type}} | ({"source": {"const": source}} if source else {})
    properties = {
        name: _with_description(narrow[name], schema) if name in narrow else schema
        for name, schema in event["properties"].items()
    }
    yield (
        "AWSEvent",
        {
            "type": "object",
            "required": [*ENVELOPE, "detail"],
            "x-amazon-events-detail-type": detail_type,
            **({"x-amazon-events-source": source} if source else {}),
            "properties": {"detail": {"$ref": f"#/components/schemas/{detail}"}, **ENVELOPE},
        },
    )
    yield detail, converted({**event, "properties": properties}, references)
    yield f"{detail}Data", converted(data, references)
    for name, schema in data.get("$defs", {}).items():
        yield name, converted(schema, references)


def _with_description(schema: Schema, of: Schema) -> Schema:
    return {**schema, "description": of["description"]} if "description" in of else schema
