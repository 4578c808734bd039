"""The template as CloudFormation receives it, expanded by AWS's own translator."""

from functools import cache
from typing import Any

from tools.validation.template import ROOT, read
from tools.validation.translator import NotTransformed, packaged, transformed


@cache
def expanded() -> dict[str, Any]:
    """The expanded template, with unresolved parameters and the location of the artifact as after `sam deploy`."""
    (template,) = transformed(packaged(read((ROOT / "template.yaml").read_text())), [("eu-central-1", {})])
    assert not isinstance(template, NotTransformed), template
    return template
