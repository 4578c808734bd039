"""The schemas for the registry: valid OpenAPI, true of every event, and as strict as the JSON Schemas."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from jsonschema import FormatChecker
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import OpenAPIV30SpecValidator

from tests.contract.consumer import faults
from tests.contract.test_schemas import REQUESTS
from tests.contract.test_template import TEMPLATE
from tests.messages import cloudevent
from tools.contract.event_schemas import (
    LONGEST_CONTENT,
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    OURS,
    EventSchema,
    event_schemas,
    name_of,
)
from tools.contract.openapi3 import Unconvertible, converted
from tools.contract.samples import SAMPLES, sample

SOURCE = "/bms-volume-detach"
SCHEMAS = {schema.name.partition("@")[2]: schema for schema in event_schemas("bms", SOURCE)}
"""By the type of the event."""

LONGEST = event_schemas("p" * 80, "/" + "s" * 255)
"""Of a deployment with the longest prefix and source that the template takes."""


def validator(schema: EventSchema) -> OAS30Validator:
    document = json.loads(schema.content)
    whole = {"$ref": "#/components/schemas/AWSEvent", "components": document["components"]}
    return OAS30Validator(whole, format_checker=FormatChecker())


VALIDATORS = {type_: validator(schema) for type_, schema in SCHEMAS.items()}


def on_the_bus(event: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """An event as EventBridge hands it on."""
    envelope = {
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": event["type"],
        "source": event["source"],
        "account": "123456789012",
        "time": "2026-11-23T08:00:03Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": event,
    }
    return {name: value for name, value in {**envelope, **changes}.items() if value is not ...}


@pytest.mark.parametrize("schema", [*SCHEMAS.values(), *LONGEST], ids=lambda schema: schema.name[-60:])
def test_each_is_a_document_that_the_registry_takes(schema: EventSchema) -> None:
    """Valid OpenAPI 3.0, within the registry's limits, under a name of the characters that it allows."""
    assert list(OpenAPIV30SpecValidator(json.loads(schema.content)).iter_errors()) == []
    for component in json.loads(schema.content)["components"]["schemas"].values():
        OAS30Validator.check_schema(component)
    assert 1 <= len(schema.content) <= LONGEST_CONTENT
    assert 1 <= len(schema.description) <= LONGEST_DESCRIPTION
    assert len(schema.name) <= LONGEST_NAME
    assert re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._-]*@[A-Za-z0-9._-]+", schema.name)
    assert OURS.fullmatch(schema.name)


def test_the_longest_names_are_the_template_s() -> None:
    """A prefix and a source that the template takes lead to a name that the registry takes."""
    parameters = TEMPLATE["Parameters"]
    assert re.fullmatch(parameters["EventTypePrefix"]["AllowedPattern"], "p" * 80)
    assert not re.fullmatch(parameters["EventTypePrefix"]["AllowedPattern"], "p" * 81)
    assert not re.fullmatch(parameters["EventSource"]["AllowedPattern"], "/" + "s" * 256)


def test_they_are_called_as_eventbridge_calls_its_own() -> None:
    """The source, an @ and the detail type; what no name may have becomes a dash, and none begins with one."""
    assert list(SCHEMAS) == [
        f"bms.volume.{name}.v1"
        for name in (
            *("detach_requested", "detached", "detach_failed", "detach_unconfirmed", "detach_checked"),
            "detach_summary",
        )
    ]
    assert SCHEMAS["bms.volume.detached.v1"].name == "bms-volume-detach@bms.volume.detached.v1"
    assert name_of("com.example:x/y@z", "a b.v1") == "com.example-x-y-z@a-b.v1"
    assert name_of("/", "a.v1") == "-@a.v1"


def test_tools_find_what_they_look_for() -> None:
    """`AWSEvent` comes first and names the schema of `detail`; a verdict's says whose it is, a request's cannot."""
    for type_, schema in SCHEMAS.items():
        components = json.loads(schema.content)["components"]["schemas"]
        first = next(iter(components))
        envelope = components[first]
        assert (first, envelope["x-amazon-events-detail-type"]) == ("AWSEvent", type_)
        assert envelope["properties"]["detail"]["$ref"].rpartition("/")[2] in components
        requested = type_.endswith("requested.v1")
        assert envelope.get("x-amazon-events-source") == (None if requested else SOURCE)


@pytest.mark.parametrize("name", SAMPLES)
def test_real_verdicts_are_accepted(name: str) -> None:
    """Real verdicts in EventBridge's envelope, with each optional part that the samples have."""
    event = sample(name)
    assert [error.message for error in VALIDATORS[event["type"]].iter_errors(on_the_bus(event))] == []


def test_a_verdict_of_another_deployment_is_refused() -> None:
    """Another prefix, another source, or another kind of verdict has another schema."""
    check, event = VALIDATORS["bms.volume.detached.v1"], sample("detached")
    assert check.is_valid(on_the_bus(event))
    for change in ({"type": "com.example.volume.detached.v1"}, {"source": "/elsewhere"}):
        assert not check.is_valid(on_the_bus({**event, **change}))
    assert not check.is_valid(on_the_bus(sample("detach_failed")))
    (own,) = [s for s in event_schemas("com.example", "/elsewhere") if s.name.endswith(".detached.v1")]
    renamed = {**event, "type": "com.example.volume.detached.v1", "source": "/elsewhere"}
    assert validator(own).is_valid(on_the_bus(renamed))


@pytest.mark.parametrize("lost", ["version", "id", "detail-type", "source", "account", "time", "region", "resources",
                                  "detail"])  # fmt: skip
def test_the_envelope_is_complete(lost: str) -> None:
    """EventBridge leaves out nothing of its envelope."""
    assert not VALIDATORS["bms.volume.detached.v1"].is_valid(on_the_bus(sample("detached"), **{lost: ...}))


# ------------------------------------------------------------------------------- as strict as the JSON Schemas


ANYTHING: tuple[Any, ...] = (5, "?", None, True, [], {})


def broken(value: Any) -> Iterator[Any]:
    """Variants of a value, each with one part removed or of another type."""
    match value:
        case dict():
            for name, item in value.items():
                yield {key: other for key, other in value.items() if key != name}
                for instead in ANYTHING:
                    yield {**value, name: instead}
                for changed in broken(item):
                    yield {**value, name: changed}
            yield {**value, "new": 1}
        case list():
            for number, item in enumerate(value):
                for changed in (5, None, *broken(item)):
                    yield [*value[:number], changed, *value[number + 1 :]]


EVENTS = {
    **{name: sample(name) for name in ("detached", "detach_unconfirmed", "detach_checked", "detach_failed",
                                       "detach_failed_invalid_request", "detach_failed_dead_lettered")},
    "request": cloudevent(REQUESTS["everything"][0]),
    "request for several": cloudevent(REQUESTS["several"][0]),
}  # fmt: skip


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_broken_events_are_refused_as_by_the_json_schema(event: dict[str, Any]) -> None:
    """Each event, broken in one place, is accepted by both or neither, so the conversion loses nothing."""
    check = VALIDATORS[event["type"]]
    told = {True: 0, False: 0}
    for other in broken(event):
        if (other.get("type"), other.get("source")) != (event["type"], event["source"]):
            continue  # the registry's schema is stricter there, because it knows the deployment
        expected = faults(other) == []
        assert check.is_valid(on_the_bus(other)) is expected, other
        told[expected] += 1
    assert all(told.values())


@pytest.mark.parametrize(("data", "good"), REQUESTS.values(), ids=REQUESTS)
def test_requests_are_accepted_as_by_the_json_schema(data: dict[str, Any], good: bool) -> None:
    """One volume or several, not both, with the fields of each, from any source."""
    event = {**cloudevent(data), "source": "/some/sender"}
    assert VALIDATORS["bms.volume.detach_requested.v1"].is_valid(on_the_bus(event)) is good


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"type": ["string", "null"]}, "several types: string, null"),
        ({"properties": {"a": {"prefixItems": []}}}, "prefixItems"),
        ({"enum": ["a", None]}, "of several types"),
        ({"additionalProperties": {"type": "string"}}, "additionalProperties"),
        ({"$ref": "#/$defs/x", "minLength": 1}, r"beside \$ref: minLength"),
    ],
)
def test_unconvertible_schemas_are_errors(schema: dict[str, Any], named: str) -> None:
    """A new keyword of the published schemas is not dropped silently."""
    with pytest.raises(Unconvertible, match=named):
        converted(schema, {"#/$defs/x": "x"})
