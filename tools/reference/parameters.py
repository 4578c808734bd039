"""`make parameters`: each parameter of template.yaml with its default, its range, its description, and its variable."""

import textwrap
from collections.abc import Mapping
from typing import Any

from tools.costs.measured import parsed

WIDTH = 100
"""Characters of a line."""


def parameters(template: str) -> str:
    """All parameters of a template, in its order."""
    values = parsed(template)
    read = variables(values)
    return "\n\n".join(_parameter(name, one, read.get(name, "")) for name, one in values["Parameters"].items())


def variables(template: Mapping[str, Any]) -> dict[str, str]:
    """By parameter: the variable in which the functions read it as it is."""
    functions = (
        template["Globals"]["Function"],
        *(one.get("Properties", {}) for one in template["Resources"].values()),
    )
    return {
        value["Ref"]: name
        for function in functions
        for name, value in (function.get("Environment") or {}).get("Variables", {}).items()
        if isinstance(value, dict) and value.get("Ref") in template["Parameters"]
    }


def _parameter(name: str, one: Mapping[str, Any], variable: str) -> str:
    default = one["Default"] if one["Default"] != "" else '""'
    about = one["Description"] + (f" Variable: {variable}." if variable else "")
    return "\n".join(
        (f"{name} = {default}{_allowed(one)}", textwrap.fill(about, WIDTH, initial_indent="  ", subsequent_indent="  "))
    )


def _allowed(one: Mapping[str, Any]) -> str:
    if "AllowedValues" in one:
        return f"  ({', '.join(map(str, one['AllowedValues']))})"
    return f"  ({one['MinValue']} to {one['MaxValue']})" if "MinValue" in one else ""
