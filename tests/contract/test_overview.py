"""The picture at the top of the README: one drawing in two palettes, with the names that the code has."""

import re
from xml.etree import ElementTree

from tests.contract.documented import ROOT

LIGHT, DARK = ((ROOT / f"docs/overview{suffix}.svg").read_text(encoding="utf-8") for suffix in ("", "-dark"))
SVG = "{http://www.w3.org/2000/svg}"
COLOUR = re.compile(r"#[0-9a-f]{6}\b")


def test_light_and_dark_differ_in_colours_alone() -> None:
    """A change of one drawing is a change of both."""
    assert COLOUR.sub("#", LIGHT) == COLOUR.sub("#", DARK)
    assert set(COLOUR.findall(LIGHT)).isdisjoint(COLOUR.findall(DARK))


def test_the_drawing_names_the_functions() -> None:
    """Every function that works on requests is in the picture, and no other."""
    found = {text.text for text in ElementTree.fromstring(LIGHT).iter(f"{SVG}text") if text.get("class") == "code"}
    deployed = {path.parent.name for path in ROOT.glob("functions/*/handler.py")}

    assert found == deployed - {"run_canary"}


def test_the_readme_shows_both() -> None:
    """A forge chooses by the reader's colour scheme."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert re.search(r'prefers-color-scheme: dark\)" srcset="docs/overview-dark\.svg"', readme)
    assert '<img src="docs/overview.svg"' in readme
