"""Finds the switches of a template, so that the matrix includes new parameters automatically."""

from dataclasses import dataclass

from tools.validation.conditions import compared, holds, text
from tools.validation.samples import sample
from tools.validation.template import PLACES, Json, Values


@dataclass(frozen=True, slots=True)
class Switch:
    """A parameter, and the values to validate."""

    name: str
    values: tuple[str, ...]
    default: str
    off: str
    """The value with which the fewest conditions hold; with `on` the most hold."""
    on: str
    decides: bool
    """Whether a condition or a rule depends on it. Other switches only appear in properties."""


def defaults_of(template: Json) -> Values:
    """Every parameter's default. Raises ValueError for a parameter without one."""
    parameters = template.get("Parameters", {})
    if missing := [name for name, parameter in parameters.items() if "Default" not in parameter]:
        raise ValueError(f"a deployment needs these parameters, which have no Default: {', '.join(missing)}")
    return {name: text(parameter["Default"]) for name, parameter in parameters.items()}


def switches_of(template: Json) -> tuple[Switch, ...]:
    """The parameters with AllowedValues, and those that a condition or rule compares with a literal."""
    literals, defaults = compared(template), defaults_of(template)
    switches = []
    for name, parameter in template.get("Parameters", {}).items():
        if "AllowedValues" in parameter:
            values = [text(one) for one in parameter["AllowedValues"]]
        elif name in literals:
            values = [*sorted(literals[name]), sample(name, parameter, literals[name])]
        else:
            continue
        values = list(dict.fromkeys([defaults[name], *values]))
        true = {value: _true(template, defaults | {name: value}) for value in values}
        off, on = min(values, key=lambda value: true[value]), max(values, key=lambda value: true[value])
        if on == off:
            on = values[-1]
        switches.append(Switch(name, tuple(values), defaults[name], off, on, decides=name in literals))
    return tuple(switches)


def _true(template: Json, values: Values) -> int:
    known = PLACES[0].pseudo | values
    return sum(bool(holds(condition, known, template)) for condition in template.get("Conditions", {}).values())
