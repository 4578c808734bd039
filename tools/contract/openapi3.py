"""Converts the published schemas (JSON Schema 2020-12) to Schema Objects of OpenAPI 3.0.

OpenAPI 3.0 uses an older JSON Schema (OpenAPI Specification 3.0.3, Schema Object): it has no `const`, no `$defs` and
no schemas `true` and `false`, and it ignores keywords beside a `$ref`.
"""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

SAME = {
    "type", "description", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems",
    "required",
}  # fmt: skip
"""Keywords with the same meaning in both, whose values contain no schemas."""

LEFT_OUT = {"$schema", "$id", "$defs", "title"}
"""Keywords that do not affect validation. Code generators would make class names of the titles."""

TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer"}


class Unconvertible(ValueError):
    """The schema has a keyword that this conversion does not know; the text names it."""


def converted(schema: Schema, references: Mapping[str, str]) -> dict[str, Any]:
    """Convert a schema, and replace each `$ref` by `references`. `$defs` are left out; convert them separately.

    Raises Unconvertible for an unknown keyword, so that no published schema is weaker than the original.
    """
    if "$ref" in schema:
        if others := schema.keys() - {"$ref", "description"}:
            raise Unconvertible(f"beside $ref: {', '.join(sorted(others))}")
        return {"$ref": references[schema["$ref"]]}
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        match keyword, value:
            case "const", _:
                made |= _choice([value])
            case "enum", list():
                made |= _choice(value)
            case "examples", [first, *_]:
                made["example"] = first
            case "properties", dict():
                made |= _properties(value, references)
            case "items", dict():
                made["items"] = converted(value, references)
            case "anyOf", list():
                made["anyOf"] = [converted(one, references) for one in value]
            case "additionalProperties", bool():
                made[keyword] = value
            case "type", list():
                raise Unconvertible(f"several types: {', '.join(value)}")
            case _ if keyword in SAME:
                made[keyword] = value
            case _ if keyword not in LEFT_OUT:
                raise Unconvertible(keyword)
    return made


def _choice(values: list[Any]) -> dict[str, Any]:
    """An enumeration with its type, which code generators need."""
    types = {TYPES.get(type(value)) for value in values}
    if len(types) != 1 or None in types:
        raise Unconvertible(f"values of several types, or of an unknown one: {values}")
    return {"type": types.pop(), "enum": values}


def _properties(properties: Mapping[str, Schema | bool], references: Mapping[str, str]) -> dict[str, Any]:
    """Convert properties. A property `false` must be absent, which `not` with `required` expresses too."""
    made: dict[str, Any] = {}
    present = {name: converted(one, references) for name, one in properties.items() if not isinstance(one, bool)}
    if present:
        made["properties"] = present
    never = [{"required": [name]} for name, one in properties.items() if one is False]
    if never:
        made["not"] = {"anyOf": never} if len(never) > 1 else never[0]
    return made
