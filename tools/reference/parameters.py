"""`make parameters`: each parameter of template.yaml with its default, what it may be, and its description."""

import textwrap
from collections.abc import Mapping
from typing import Any

from tools.costs.measured import parsed

WIDTH = 100
"""Characters of a line."""


def parameters(template: str) -> str:
    """All parameters of a template, in its order."""
    return "\n\n".join(_parameter(name, one) for name, one in parsed(template)["Parameters"].items())


def _parameter(name: str, one: Mapping[str, Any]) -> str:
    default = one["Default"] if one["Default"] != "" else '""'
    return "\n".join(
        (
            f"{name} = {default}{_allowed(one)}",
            textwrap.fill(one["Description"], WIDTH, initial_indent="  ", subsequent_indent="  "),
        )
    )


def _allowed(one: Mapping[str, Any]) -> str:
    if "AllowedValues" in one:
        return f"  ({', '.join(map(str, one['AllowedValues']))})"
    return f"  ({one['MinValue']} to {one['MaxValue']})" if "MinValue" in one else ""
