"""Reduces a template to what CloudFormation would create: inserts parameters, and evaluates conditions.

The pseudo parameters of the stack and the account stay references, because the rules for names and ARNs need them.
"""

import re
from typing import Any

from tools.validation.conditions import UNKNOWN, holds, value
from tools.validation.template import Json, Place, Values

NOTHING = object()
KEPT = ("AWSTemplateFormatVersion", "Description", "Metadata")
LISTS = ("CommaDelimitedList", "List<")


def resolved(template: Json, values: Values, place: Place) -> Json:
    """The template without parameters and conditions. Raises ValueError for a condition that cannot be evaluated."""
    return _Resolver(template, values, place).template()


class _Resolver:
    def __init__(self, template: Json, values: Values, place: Place) -> None:
        self.source, self.place = template, place
        self.known = place.pseudo | values
        self.values = {
            name: _typed(str(parameter.get("Type", "String")), values[name])
            for name, parameter in template.get("Parameters", {}).items()
        }

    def template(self) -> Json:
        resources = self._present("Resources")
        for resource in resources.values():
            if depends := resource.pop("DependsOn", None):
                named = [name for name in ([depends] if isinstance(depends, str) else depends) if name in resources]
                resource |= {"DependsOn": named} if named else {}
        made = {name: self.source[name] for name in KEPT if name in self.source} | {"Resources": resources}
        outputs = self._present("Outputs")
        return made | ({"Outputs": outputs} if outputs else {})

    def _present(self, section: str) -> Json:
        """The entries of a section whose condition holds."""
        return {
            name: self.value({key: inner for key, inner in item.items() if key != "Condition"})
            for name, item in self.source.get(section, {}).items()
            if "Condition" not in item or self._holds(item["Condition"])
        }

    def _holds(self, name: str) -> bool:
        return bool(holds({"Condition": name}, self.known, self.source))

    def value(self, item: Any) -> Any:
        match item:
            case {"Ref": "AWS::NoValue"}:
                return NOTHING
            case {"Ref": str(name)} if name in self.values:
                return self.values[name]
            case {"Fn::If": [str(name), then, otherwise]}:
                return self.value(then if self._holds(name) else otherwise)
            case {"Fn::Sub": str() | [str(), dict()] as given}:
                return self._substituted(*([given, {}] if isinstance(given, str) else given))
            case {"Fn::FindInMap": [_, _, _]}:
                found = value(item, self.known, self.source)
                return item if found is UNKNOWN else found
            case dict():
                inner = {key: self.value(one) for key, one in item.items()}
                return _computed({key: one for key, one in inner.items() if one is not NOTHING})
            case list():
                return [one for one in map(self.value, item) if one is not NOTHING]
        return item

    def _substituted(self, text: str, own: Json) -> Any:
        inner = {name: self.value(one) for name, one in own.items()}
        literal = {name: one for name, one in {**self.values, **inner}.items() if isinstance(one, str | int)}
        text = re.sub(r"\$\{([^!}]+)\}", lambda found: str(literal.get(found[1].strip(), found[0])), text)
        left = {name: one for name, one in inner.items() if name not in literal}
        if "${" not in text:
            return text
        return {"Fn::Sub": [text, left] if left else text}


def _typed(type_: str, given: str) -> Any:
    if type_.startswith(LISTS):
        return [one.strip() for one in given.split(",") if one.strip()]
    return int(given) if type_ == "Number" and re.fullmatch(r"-?\d+", given) else given


def _computed(item: Json) -> Any:
    """The value of a function whose arguments have become literals."""
    match item:
        case {"Fn::Split": [str(separator), str(text)]}:
            return text.split(separator)
        case {"Fn::Join": [str(separator), list(parts)]} if all(isinstance(part, str) for part in parts):
            return separator.join(parts)
        case {"Fn::Select": [index, list(items)]} if int(index) < len(items):
            return items[int(index)]
    return item
