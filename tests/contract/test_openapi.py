"""The OpenAPI document of the webhook endpoint: valid, true to the code, and readable."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from shared.inbox.request import RequestData, context_faults
from shared.inbox.times import parse_time
from shared.ports import Kept, Unsent
from shared.webhook.http_binding import STRUCTURED
from shared.webhook.responses import EVENT_TYPE, TITLES, HttpAnswer
from tests.http_requests import (
    DATA,
    RULES,
    FakeKeyRing,
    FakeQueue,
    FakeStore,
    batched,
    body_of,
    cloudevent,
    endpoint,
    http_request,
    signed,
    status_request,
    unsigned,
)
from tools.documents import ROOT, text_of
from tools.openapi import ANSWERS, STATUS_ANSWERS, document

POST = document()["paths"]["/"]["post"]
STATUS = document()["paths"]["/requests/{verdict_id}"]["get"]
BODIES = POST["requestBody"]["content"]


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Checks values against a schema of the document."""
    resource = DRAFT202012.create_resource(document())
    registry: Registry[Any] = Registry().with_resource("urn:endpoint", resource)
    absolute = json.loads(json.dumps(schema).replace('"#/components', '"urn:endpoint#/components'))
    return Draft202012Validator(absolute, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_the_document_is_openapi() -> None:
    """The document is valid OpenAPI 3.1."""
    assert list(OpenAPIV31SpecValidator(cast(Any, document())).iter_errors()) == []


def test_the_document_in_the_repository_is_the_generated_one() -> None:
    """`make docs` would change nothing."""
    assert (ROOT / "docs/openapi.json").read_text(encoding="utf-8") == text_of("docs/openapi.json")


def test_every_answer_is_documented() -> None:
    """The problems the endpoint can give are those of the document, beside 202."""
    assert {*ANSWERS, *STATUS_ANSWERS} == {200, 202, *TITLES}


def test_the_fields_are_those_of_the_model() -> None:
    """Nothing the endpoint validates is missing in the document."""
    schema = document()["components"]["schemas"]["RequestData"]
    assert set(schema["properties"]) == set(RequestData.model_fields)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("kind", ["application/json", STRUCTURED])
def test_the_examples_are_accepted(kind: str) -> None:
    """The examples fit the document's own schema, and the endpoint accepts them."""
    example = BODIES[kind]["example"]
    validator(BODIES[kind]["schema"]).validate(example)
    assert endpoint().answer(signed(example, kind)).status == 202


# ----------------------------------------------------------------------- the endpoint against its document


def values(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema of the document, of the kinds of schema that stand in it."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return st.just({"ticket": 1}) if name == "JsonValue" else values(document()["components"]["schemas"][name])
    if "const" in schema:
        return st.just(schema["const"])
    if "anyOf" in schema:
        return st.one_of(*(values(choice) for choice in schema["anyOf"]))
    if "pattern" in schema:
        return st.just("bms.volume.detach_requested.v1") | st.from_regex(schema["pattern"])
    if schema.get("format") == "uuid":
        return st.uuids().map(str)
    if schema.get("format") == "date-time":
        return st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat())
    if schema.get("type") == "array":
        return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
    if schema.get("type") == "object" and "properties" in schema:
        return objects(schema)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(schema.get("minimum"), schema.get("maximum")),
        "object": st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
        "string": st.text(min_size=schema.get("minLength", 0), max_size=20),
    }
    return kinds[schema["type"]]


def objects(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    properties = {name: values(found) for name, found in schema["properties"].items()}
    required = set(schema.get("required", ()))
    whole = st.fixed_dictionaries(
        {name: properties[name] for name in required},
        optional={name: found for name, found in properties.items() if name not in required},
    )
    if "oneOf" not in schema:
        return whole
    choices = [choice["required"][0] for choice in schema["oneOf"]]
    return st.tuples(whole, st.sampled_from(choices)).flatmap(
        lambda drawn: properties[drawn[1]].map(
            lambda value: {**{k: v for k, v in drawn[0].items() if k not in choices}, drawn[1]: value}
        )
    )


bodies = st.one_of(*(st.tuples(st.just(kind), values(content["schema"])) for kind, content in BODIES.items()))
of_answer = {
    status: validator(content["schema"])
    for status, answer in POST["responses"].items()
    for content in answer["content"].values()
}


TROUBLES = (None, Unsent("x"), Unsent("x", throttled=True))


@settings(max_examples=300, deadline=None)
@given(sent=bodies, proven=st.booleans(), trouble=st.sampled_from(TROUBLES), missing=st.booleans())
def test_every_answer_fits_the_document(
    sent: tuple[str, Any], proven: bool, trouble: Unsent | None, missing: bool
) -> None:
    """Any body that fits the schema is answered with a documented status and schema."""
    kind, value = sent
    key_ring = FakeKeyRing(trouble=missing)
    answer = endpoint(FakeQueue({0: trouble} if trouble else {}), key_ring).answer(
        signed(value, kind) if proven else unsigned(value, kind)
    )
    documented = POST["responses"][str(answer.status)]
    if missing:
        assert answer.status == 503
    elif not proven:
        assert answer.status == 401
    else:
        expected = 202 if trouble is None else 429 if trouble.throttled else 503
        assert answer.status in (expected, 422)
    assert set(documented.get("headers", {})) - {"Location"} == set(answer.headers)
    assert {answer.all_headers["Content-Type"]} == set(documented["content"])
    of_answer[str(answer.status)].validate(body_of(answer))


WISHES = ("volume_id", "volume_ids", "all_data_disks")
"""One of these is required."""


@settings(max_examples=300, deadline=None)
@given(value=values(BODIES["application/json"]["schema"]))
def test_bare_json_that_fits_is_accepted(value: dict[str, Any]) -> None:
    """A request that fits the document is accepted, apart from rules that a schema cannot express."""
    beyond = (
        [value.get(name) in (None, False) for name in WISHES].count(False) != 1
        or (value.get("volume_id") is None and value.get("attachment_id"))
        or (value.get("volume_ids") and value.get("task_token") and not value.get("summary"))
        or (value.get("volume_id") and value.get("summary"))
        or (value.get("all_data_disks") and value.get("allow_system_disk"))
        or len(set(value.get("volume_ids") or [])) < len(value.get("volume_ids") or [])
        or (value.get("requested_at") and parse_time(value["requested_at"]) is None)
        or not re.fullmatch("([0-9a-f]{32})?", value.get("project_id") or "")
        or context_faults(value.get("context") or {})
    )
    assert endpoint().answer(signed(value)).status == 202 or beyond


ANSWERS_OF_OTHER_KINDS = {
    400: signed(b"{"),
    405: http_request("GET", {}),
    413: batched([cloudevent()] * 101),
    415: signed(DATA, "text/plain"),
}


@pytest.mark.parametrize("status", ANSWERS_OF_OTHER_KINDS)
def test_the_remaining_answers_fit_too(status: int) -> None:
    """Faults outside of any schema are answered as documented."""
    answer = endpoint().answer(ANSWERS_OF_OTHER_KINDS[status])
    documented = POST["responses"][str(status)]
    assert answer.status == status
    assert set(documented.get("headers", {})) == set(answer.headers)
    of_answer[str(status)].validate(body_of(answer))


def test_the_handshake_fits() -> None:
    """Both answers to OPTIONS have the documented headers."""
    responses = document()["paths"]["/"]["options"]["responses"]
    for origin in ("events.example.com", "other.example.com"):
        answer = endpoint().answer(http_request("OPTIONS", {"webhook-request-origin": origin}))
        assert set(responses[str(answer.status)]["headers"]) == set(answer.headers)


# -------------------------------------------------------------------------------------------- the status resource

VERDICT = STATUS["responses"]["200"]["content"][EVENT_TYPE]["example"]
UNDER_WAY = STATUS["responses"]["202"]["content"]["application/json"]
MARK = UNDER_WAY["examples"]["accepted"]["value"]
LATE = (ROOT / "events/verdicts/detach_unconfirmed.json").read_text(encoding="utf-8")
STATUS_PATH = f"/requests/{VERDICT['id']}"
KEPT = {
    "a verdict": Kept(verdict=json.dumps(VERDICT)),
    "a mark": Kept(mark=json.dumps(MARK)),
    "unconfirmed": Kept(mark=json.dumps(MARK), unconfirmed=LATE),
    "nothing": Kept(),
}


def check_status(answer: HttpAnswer, status: int) -> None:
    documented = STATUS["responses"][str(status)]
    assert answer.status == status
    assert set(documented.get("headers", {})) == set(answer.headers)
    assert [answer.all_headers["Content-Type"]] == list(documented["content"])
    (content,) = documented["content"].values()
    validator(content["schema"]).validate(body_of(answer))


@pytest.mark.parametrize(("name", "status"), list(zip(KEPT, (200, 202, 202, 404), strict=True)))
def test_answers_to_requests_fit_the_document(name: str, status: int) -> None:
    """With any kept object, the answer has the documented status, headers, media type and schema."""
    check_status(endpoint(store=FakeStore({VERDICT["id"]: KEPT[name]})).answer(status_request(STATUS_PATH)), status)


def test_refusals_of_a_status_fit() -> None:
    """Refusals fit too, and so does the answer without a store."""
    nobody = replace(RULES, allowed_requesters=("user:nobody",))
    check_status(endpoint(store=FakeStore()).answer(http_request("GET", {}, path=STATUS_PATH)), 401)
    check_status(endpoint(store=FakeStore(), rules=nobody).answer(status_request(STATUS_PATH)), 403)
    check_status(endpoint(store=FakeStore(trouble="away")).answer(status_request(STATUS_PATH)), 503)
    check_status(endpoint().answer(status_request(STATUS_PATH)), 404)


def test_the_examples_of_a_status_fit() -> None:
    """What the document shows fits its own schema; HEAD is documented as GET without bodies."""
    for example in UNDER_WAY["examples"].values():
        validator(UNDER_WAY["schema"]).validate(example["value"])
    head = document()["paths"]["/requests/{verdict_id}"]["head"]["responses"]
    assert head == {status: {k: v for k, v in a.items() if k != "content"} for status, a in STATUS["responses"].items()}


@settings(max_examples=50, deadline=None)
@given(sent=bodies)
def test_answers_with_links_fit_the_document(sent: tuple[str, Any]) -> None:
    """Where verdicts are kept, the answers to a POST have links, and fit as well."""
    kind, value = sent
    answer = endpoint(store=FakeStore()).answer(signed(value, kind))
    assert set(answer.headers) <= set(POST["responses"][str(answer.status)].get("headers", {}))
    of_answer[str(answer.status)].validate(body_of(answer))
