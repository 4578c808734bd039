"""What a release consists of: its notes, its list of packages, and when it is refused."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.telemetry.logs import VERSION
from tools.artifact import ROOT
from tools.package import NotReady, check, notes, version
from tools.sbom import packages, sbom

LOCK = """\
certifi==2026.10.18 \\
    --hash=sha256:00
    # via requests
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:01
tomli==2.3.0 ; python_full_version < '3.12' \\
    --hash=sha256:02
charset-normalizer==3.5.2 \\
    --hash=sha256:03
"""
CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

- Something.

## [1.0.0] - 2026-11-28

- The first.
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK)
    return path


def test_only_what_is_deployed_is_listed(lock: Path) -> None:
    """Packages for other systems or Pythons, and what the artifact leaves out, are not part of it."""
    assert list(packages(lock, "3.13", "aarch64", ("charset_normalizer",))) == [("certifi", "2026.10.18")]
    assert ("tomli", "2.3.0") in packages(lock, "3.11", "aarch64")


def test_sbom_of_the_product_is_valid() -> None:
    """CycloneDX's own schema takes it, and it names what the handlers import."""
    made = datetime(2026, 11, 28, tzinfo=UTC)
    bom = json.loads(sbom(version(), packages(ROOT / "requirements.lock", "3.13", "aarch64"), made))
    product = bom["metadata"]["component"]
    assert (product["name"], product["version"], product["licenses"]) == (
        "bms-volume-detach", version(), [{"expression": "Apache-2.0"}])  # fmt: skip
    found = {one["name"]: one["purl"] for one in bom["components"]}
    assert {"requests", "pydantic", "cloudevents", "aws-lambda-powertools"} <= set(found)
    assert found["requests"].startswith("pkg:pypi/requests@2.")
    (depends,) = [one["dependsOn"] for one in bom["dependencies"] if one["ref"] == product["bom-ref"]]
    assert len(depends) == len(found)


def test_notes_are_the_section_of_the_version() -> None:
    """The text of the changelog's section, without those of other versions."""
    assert notes("1.1.0", CHANGELOG) == ("Unreleased", "### Added\n\n- Something.\n")
    assert notes("1.0.0", CHANGELOG) == ("2026-11-28", "- The first.\n")
    with pytest.raises(NotReady, match="has neither"):
        notes("1.1.0", CHANGELOG.replace("[Unreleased]", "[0.9.0]"))


def test_the_version_is_the_same_everywhere() -> None:
    """pyproject.toml, each line of the log and the changelog name one version."""
    assert version() == VERSION
    assert notes(version(), (ROOT / "CHANGELOG.md").read_text())[1]


@pytest.mark.parametrize(
    ("tag", "released", "why"),
    [
        ("v1.0.1", "2026-11-28", "the tag is v1.0.1, and pyproject.toml says 1.0.0"),
        ("1.0.0", "2026-11-28", "tag v1.0.0"),
        ("v1.0.0", "Unreleased", "write .*1.0.0\\] - "),
        ("v1.0.0", "soon", "write .*1.0.0\\] - "),
    ],
)
def test_a_release_that_contradicts_itself_is_refused(tag: str, released: str, why: str) -> None:
    """Tag, version and changelog agree before anything is published."""
    check("v1.0.0", "1.0.0", "2026-11-28")
    with pytest.raises(NotReady, match=why):
        check(tag, "1.0.0", released)
