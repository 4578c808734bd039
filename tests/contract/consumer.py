"""A consumer that knows only the published schemas."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.protocols import Validator

SCHEMAS = Path(__file__).parent.parent.parent / "docs/schemas"


def load(path: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def closed(schema: Any) -> Any:
    """The same schema, but it refuses unlisted names; for our tests only."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    return {"additionalProperties": False, **inner} if isinstance(schema.get("properties"), dict) else inner


def validator(schema: Mapping[str, Any]) -> Validator:
    return Draft202012Validator(schema, format_checker=FormatChecker())


def _validators(strict: bool) -> dict[str, Validator]:
    """Schemas by `title`, the event's type without the deployment's prefix."""
    schemas = [load(path) for path in sorted(SCHEMAS.glob("*.v1.json"))]
    return {schema["title"]: validator(closed(schema) if strict else schema) for schema in schemas}


VALIDATORS = {strict: _validators(strict) for strict in (False, True)}


def faults(event: Mapping[str, Any], strict: bool = False) -> list[str]:
    """The faults of an event; `strict` also reports unlisted names."""
    _, _, name = event["type"].partition(".volume.")
    checker = VALIDATORS[strict].get(f"volume.{name}")
    if checker is None:
        return [f"no schema for {event['type']}"]
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(event)]
