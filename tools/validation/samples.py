"""Makes up a value for a parameter that its constraints accept."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from tools.validation.template import ACCOUNT, Place

OF_TYPE = {
    "AWS::EC2::Subnet::Id": "subnet-0123456789abcdef0",
    "AWS::EC2::SecurityGroup::Id": "sg-0123456789abcdef0",
    "AWS::EC2::VPC::Id": "vpc-0123456789abcdef0",
}
"""Samples for types that CloudFormation checks itself, so that templates give no pattern."""

LENGTH = 17
"""Number of characters for an unlimited repetition in a pattern: as many as in EC2's ids."""

PREFERRED = "a0A"
"""Characters without a special meaning."""


def sample(name: str, parameter: Mapping[str, Any], unlike: frozenset[str]) -> str:
    """A value of a parameter that is not in `unlike`. Raises ValueError if none can be made up."""
    found = next((value for value in _candidates(parameter) if value not in unlike), None)
    if found is None:
        raise ValueError(f"{name}: no value can be made up; give the parameter an AllowedPattern or AllowedValues")
    return found


def _candidates(parameter: Mapping[str, Any]) -> Iterator[str]:
    type_ = str(parameter.get("Type", "String"))
    if type_ == "Number":
        lowest = int(parameter.get("MinValue", 0))
        highest = int(parameter.get("MaxValue", lowest + 2))
        yield from (str(number) for number in range(lowest, min(highest, lowest + 2) + 1))
    elif pattern := parameter.get("AllowedPattern"):
        value = matching(str(pattern))
        if not re.fullmatch(str(pattern), value):
            return
        yield value
    else:
        yield OF_TYPE.get(re.sub(r"^List<(.*)>$", r"\1", type_), "given")


def at(place: Place, value: str) -> str:
    """The value for a place: an ARN gets its partition, region and account."""
    return re.sub(
        r"\barn:[a-z-]*:([a-z0-9-]+):([a-z0-9-]*):([0-9]*):",
        lambda found: ":".join(["arn", place.partition, found[1], found[2] and place.region, found[3] and ACCOUNT, ""]),
        value,
    )


def matching(pattern: str) -> str:
    """A text that matches a pattern: it includes optional parts, and repeats repeated ones a few times."""
    parser: Any = import_module("re._parser")
    return _joined(parser.parse(pattern))


def _joined(parsed: Any) -> str:
    return "".join(_text(str(op), given) for op, given in parsed)


def _text(op: str, given: Any) -> str:
    match op:
        case "LITERAL":
            return chr(given)
        case "ANY":
            return PREFERRED[0]
        case "NOT_LITERAL":
            return next(char for char in PREFERRED if ord(char) != given)
        case "IN":
            return _one_of(given)
        case "SUBPATTERN":
            return _joined(given[-1])
        case "BRANCH":
            return max((_joined(branch) for branch in given[1]), key=len)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, repeated = given
            [*_, (kind, _)] = repeated
            wanted = LENGTH if str(kind) in ("IN", "ANY") else 1
            return _joined(repeated) * max(int(least), min(int(most), wanted))
        case "AT" | "ASSERT" | "ASSERT_NOT":
            return ""
    raise ValueError(f"a pattern with {op} cannot be made up for")


def _one_of(given: Any) -> str:
    taken = [(str(op), value) for op, value in given if str(op) in ("LITERAL", "RANGE")]
    ranges = [(value, value) if op == "LITERAL" else value for op, value in taken]
    wanted = [char for char in PREFERRED if any(low <= ord(char) <= high for low, high in ranges)]
    return (wanted or [chr(low) for low, _ in ranges] or [PREFERRED[0]])[0]
