"""What can be switched in a template: found in it, so that a new parameter is part of the matrix by itself."""

from dataclasses import dataclass

from tools.validation.conditions import compared, holds, text
from tools.validation.samples import sample
from tools.validation.template import PLACES, Json, Values


@dataclass(frozen=True, slots=True)
class Switch:
    """A parameter and the values that it is tried with."""

    name: str
    values: tuple[str, ...]
    default: str
    off: str
    """The value by which the fewest conditions hold, and `on` that by which the most do."""
    on: str
    decides: bool
    """Whether a condition or a rule depends on it. What does not decide is only written into properties."""


def defaults_of(template: Json) -> Values:
    """Every parameter's default. Raises ValueError for a parameter without one."""
    parameters = template.get("Parameters", {})
    if missing := [name for name, parameter in parameters.items() if "Default" not in parameter]:
        raise ValueError(f"a deployment needs these parameters, which have no Default: {', '.join(missing)}")
    return {name: text(parameter["Default"]) for name, parameter in parameters.items()}


def switches_of(template: Json) -> tuple[Switch, ...]:
    """Parameters with AllowedValues, and those that a condition or rule compares, which are given or not."""
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
