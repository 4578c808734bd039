"""Evaluates the conditions and rules of a template as CloudFormation does, as far as the values are known.

Rule functions: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-rules.html
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tools.validation.template import Json, Values

UNKNOWN = object()


def holds(condition: Any, values: Values, template: Json) -> bool | None:
    """Whether a condition is true; None if it depends on a parameter without a value.

    Raises ValueError for an unknown function.
    """
    match condition:
        case bool():
            return condition
        case "true" | "false":
            return bool(condition == "true")
        case {"Condition": str(name)}:
            return holds(template["Conditions"][name], values, template)
        case {"Fn::Not": [inner]}:
            found = holds(inner, values, template)
            return None if found is None else not found
        case {"Fn::And": list(inner)}:
            return _all(holds(one, values, template) for one in inner)
        case {"Fn::Or": list(inner)}:
            found = _all(holds({"Fn::Not": [one]}, values, template) for one in inner)
            return None if found is None else not found
        case {"Fn::Equals": [left, right]}:
            return _compared(lambda a, b: bool(a == b), value(left, values, template), value(right, values, template))
        case {"Fn::Contains": [list(listed), sought]}:
            return _compared(lambda a, b: b in a, *(value(one, values, template) for one in (listed, sought)))
    raise ValueError(f"this condition cannot be evaluated: {condition}")


def _all(found: Iterable[bool | None]) -> bool | None:
    listed = list(found)
    if False in listed:
        return False
    return None if None in listed else True


def _compared(how: Callable[[Any, Any], bool], left: Any, right: Any) -> bool | None:
    return None if UNKNOWN in (left, right) or (isinstance(left, list) and UNKNOWN in left) else how(left, right)


def value(item: Any, values: Values, template: Json) -> Any:
    """An operand: text, or a list of them; UNKNOWN without the value of its parameter."""
    match item:
        case {"Ref": str(name)}:
            return values.get(name, UNKNOWN)
        case {"Fn::Join": [str(separator), list(parts)]}:
            found = [value(part, values, template) for part in parts]
            return UNKNOWN if UNKNOWN in found else separator.join(found)
        case {"Fn::Join": [str(separator), {"Ref": str(name)}]}:
            return values.get(name, UNKNOWN)
        case {"Fn::FindInMap": [name, first, second]}:
            keys = [value(one, values, template) for one in (name, first, second)]
            return UNKNOWN if UNKNOWN in keys else text(template["Mappings"][keys[0]][keys[1]][keys[2]])
        case list():
            return [value(one, values, template) for one in item]
        case dict():
            raise ValueError(f"this operand cannot be evaluated: {item}")
    return text(item)


def text(item: object) -> str:
    """A scalar as CloudFormation compares it: as text."""
    return str(item).lower() if isinstance(item, bool) else str(item)


def permitted(values: Values, template: Json) -> bool | None:
    """Whether the template's rules allow these values; None if that depends on others."""
    return _all(_kept(rule, values, template) for rule in template.get("Rules", {}).values())


def _kept(rule: Mapping[str, Any], values: Values, template: Json) -> bool | None:
    applies = holds(rule.get("RuleCondition", True), values, template)
    kept = _all(holds(one["Assert"], values, template) for one in rule["Assertions"])
    if applies is False or kept is True:
        return True
    return None if applies is None or kept is None else False


def compared(template: Json) -> dict[str, frozenset[str]]:
    """The literals that conditions and rules compare each parameter with."""
    found: dict[str, set[str]] = {}

    def walk(item: Any) -> None:
        match item:
            case {"Fn::Equals": [{"Ref": str(name)}, str() | int() | bool() as literal]}:
                found.setdefault(name, set()).add(text(literal))
            case {"Fn::Equals": [str() | int() | bool() as literal, {"Ref": str(name)}]}:
                found.setdefault(name, set()).add(text(literal))
            case {"Fn::Contains": [list(literals), {"Ref": str(name)}]}:
                found.setdefault(name, set()).update(text(one) for one in literals if not isinstance(one, dict))
            case {"Fn::Equals": [{"Fn::Join": [str(), {"Ref": str(name)}]}, str(literal)]}:
                found.setdefault(name, set()).add(literal)
            case dict():
                for inner in item.values():
                    walk(inner)
            case list():
                for inner in item:
                    walk(inner)

    walk([template.get("Conditions", {}), template.get("Rules", {})])
    return {name: frozenset(literals) for name, literals in found.items()}
