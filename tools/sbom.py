"""Writes the artifact's SBOM as a CycloneDX document: each package with its version and origin."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement

NAME = "bms-volume-detach"
PINNED = re.compile(r"^([A-Za-z0-9._-]+==[^\\\n]+?) *\\?$", re.MULTILINE)
LAMBDA = {"sys_platform": "linux", "platform_system": "Linux", "platform_python_implementation": "CPython",
          "implementation_name": "cpython", "os_name": "posix"}  # fmt: skip
"""Lambda's values of environment markers; the Python version and the machine are arguments."""


class NotValid(Exception):
    """The document does not match CycloneDX's schema."""


def packages(lock: Path, python: str, machine: str, without: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Names and versions of the packages that a lock file installs in Lambda."""
    there = {**LAMBDA, "python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine}
    for line in PINNED.findall(lock.read_text()):
        asked = Requirement(line)
        if asked.name.replace("-", "_") not in without and (asked.marker is None or asked.marker.evaluate(there)):
            (pin,) = asked.specifier
            yield asked.name, pin.version


def sbom(version: str, found: Iterator[tuple[str, str]], made: datetime) -> str:
    """The document as JSON, validated by CycloneDX's own schema. Raises NotValid."""
    product = _component(NAME, version, ComponentType.APPLICATION)
    product.licenses.add(LicenseExpression("Apache-2.0"))
    bom = Bom(components=[_component(name, pin) for name, pin in found])
    bom.metadata.component, bom.metadata.timestamp = product, made
    bom.register_dependency(product, list(bom.components))
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    if fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise NotValid(str(fault))
    return text + "\n"


def _component(name: str, version: str, kind: ComponentType = ComponentType.LIBRARY) -> Component:
    purl = PackageURL("pypi", None, name, version) if kind is ComponentType.LIBRARY else None
    return Component(name=name, version=version, type=kind, purl=purl, bom_ref=f"{name}@{version}")
