"""The words of the pages: how many there are, the terms of the glossary, and private words that no text may use."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.contract.documented import ROOT

README = ROOT / "README.md"
GLOSSARY = ROOT / "docs/glossary.md"
MOST_WORDS = {
    "README.md": 700,
    "docs/using.md": 900,
    "docs/workflows.md": 1000,
    "docs/operations.md": 2000,
    "docs/costs.md": 150,
    "docs/glossary.md": 350,
}
"""Words as `wc -w` counts them."""

MOST_WORDS_IN_ALL = 9_500
MOST_README_LINES = 120
MOST_TERMS = 25

PRIVATE = {
    "aftermath": "name the step: after the DELETE",
    "agenda": "the simulator has a scheduler",
    "arenas?": "benchmarks have a setup",
    "doors?": "HTTP requests come to the webhook endpoint",
    "ears?": "name what receives: consumer, listener, queue",
    "(every|each|other) rooms?": "code is in packages",
    "glanc(e|es|ed|ing)": "a case gets a look",
    "knock(s|ed|ing)?": "callers call, and authenticate",
    "mend(s|ed|ing)?": "a fault has a remedy; people correct a setting",
    "skins?": "the simulator has transports",
    "turned away": "requests are refused or rejected",
    "unharmed": "say unchanged",
    "whoever": "name the person, the requester or the consumer",
}
"""Words that only insiders of an earlier version understand, or that make a reader stop; what to write instead.

Also private once, but ordinary words as well, and so not listed: way, hand, room, judge.
"""

OF_OPENSTACK = re.compile(r"\bGlance\b")
"""The name of its image service, in prose."""

ALLOWED = {
    ("simulator/catalog.py", "glance"): "the image service's name in a catalog",
    ("tests/recordings/01-tokens.txt", "glance"): "the same, as a real Keystone answered",
}

OWN_PATH = str(Path(__file__).relative_to(ROOT))


@cache
def pages() -> tuple[Path, ...]:
    """Every page for people."""
    return (README, *sorted(ROOT.glob("docs/**/*.md")))


def words(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").split())


def terms() -> list[str]:
    return re.findall(r"^- \*\*(.+?)\*\*:", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)


@cache
def texts() -> dict[str, str]:
    """Each text file of the repository that git knows or would add, by its path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = {}
    for name in sorted(set(listed.stdout.split("\0")) - {"", OWN_PATH}):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in content:
            found[name] = content.decode(errors="replace")
    return found


def private_words(text: str) -> list[tuple[int, str]]:
    """Each private word in a text with its line. An underscore ends a word, as in a name of code."""
    pattern = re.compile(rf"(?<![a-z])(?:{'|'.join(PRIVATE)})(?![a-z])", re.IGNORECASE)
    lines = enumerate(OF_OPENSTACK.sub("", text).splitlines(), 1)
    return [(number, match[0].lower()) for number, line in lines for match in pattern.finditer(line)]


@pytest.mark.parametrize(("page", "most"), MOST_WORDS.items())
def test_a_page_is_short(page: str, most: int) -> None:
    """No page for users exceeds its budget."""
    assert words(ROOT / page) <= most


def test_the_pages_together_are_short() -> None:
    """All pages can be read in an hour."""
    counted = {str(page.relative_to(ROOT)): words(page) for page in pages()}

    assert sum(counted.values()) <= MOST_WORDS_IN_ALL, counted


def test_the_readme_fits_on_two_screens() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


def test_the_glossary_is_short_and_sorted() -> None:
    """Each term is defined once, where a reader looks for it."""
    found = terms()

    assert 0 < len(found) <= MOST_TERMS
    assert found == sorted(set(found), key=str.lower)


@pytest.mark.parametrize("term", terms())
def test_a_term_is_used(term: str) -> None:
    """The glossary defines what another page or the product says."""
    elsewhere = [text for name, text in texts().items() if re.match(r"(docs|shared)/", name)]
    elsewhere.remove(GLOSSARY.read_text(encoding="utf-8"))

    assert any(re.search(rf"\b{term}s?\b", text, re.IGNORECASE) for text in elsewhere)


def test_no_text_uses_a_private_word() -> None:
    """Code, messages, template and pages use the words that the glossary and the field have."""
    found = [
        f"{name}:{line}: {word}"
        for name, text in texts().items()
        for line, word in private_words(text)
        if (name, word) not in ALLOWED
    ]

    assert found == []


def test_what_is_allowed_is_there() -> None:
    """No exception outlives its reason."""
    assert [
        (name, word) for name, word in ALLOWED if word not in {found for _, found in private_words(texts()[name])}
    ] == []


@pytest.mark.parametrize("text", ["class Ear:", "a knock at the door", "is_mended = 1", "Mends it.", "Turned away"])
def test_a_private_word_is_found(text: str) -> None:
    """In prose, in names of code, in any case."""
    assert private_words(text)


@pytest.mark.parametrize("text", ["recommended", "indoors", "the year", "amend", "clear"])
def test_a_word_that_holds_one_is_not(text: str) -> None:
    """A part of a longer word is none."""
    assert private_words(text) == []
