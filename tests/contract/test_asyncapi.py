"""docs/asyncapi.json against the official schema and the deployed channels."""

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator, FormatChecker

from tools.contract.asyncapi import CHANNELS, OPERATIONS
from tools.documents import ROOT

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs/asyncapi.json").read_text(encoding="utf-8"))
OFFICIAL = json.loads((ROOT / "tests/contract/specs/asyncapi-3.1.0.json").read_text(encoding="utf-8"))


def official_faults(document: Any) -> list[str]:
    checker = Draft7Validator(OFFICIAL, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(document)]


def test_it_is_an_asyncapi_document() -> None:
    """The official schema of AsyncAPI 3.1.0 finds no fault, offline."""
    assert [] == official_faults(DOCUMENT)


@pytest.mark.parametrize("change", [{"asyncapi": "2.6.0"}, {"channels": []}, {"operations": {"x": {"action": "do"}}}])
def test_the_official_schema_does_look(change: dict[str, Any]) -> None:
    """An invalid document is refused."""
    assert [] != official_faults({**DOCUMENT, **change})


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [found for value in part.values() for found in references(value)]
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


def test_every_reference_leads_somewhere() -> None:
    """Inside the document, and to the schema files beside it."""
    for reference in references(DOCUMENT):
        path, _, pointer = reference.partition("#")
        if path:
            assert (ROOT / "docs" / path).is_file(), reference
            continue
        found = DOCUMENT
        for name in pointer.strip("/").split("/"):
            found = found[name]


def test_every_schema_of_an_event_is_a_message() -> None:
    """Every published type is a message of a channel."""
    files = {f"schemas/{path.name}" for path in (ROOT / "docs/schemas").glob("*.json")}
    carried = {reference for reference in references(DOCUMENT) if reference.startswith("schemas/")}
    data_of_verdicts = {f for f in files if f.endswith(".data.json") and "detach_requested" not in f}
    assert files - data_of_verdicts == carried


def test_every_channel_has_an_operation() -> None:
    """Every described channel is used."""
    assert set(CHANNELS) == {channel for _, channel, _ in OPERATIONS.values()}
