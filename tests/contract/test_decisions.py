"""docs/decisions: one file for each decision, numbered, with its status, and an index of them all."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.contract.documented import ROOT

FOLDER = ROOT / "docs/decisions"
FILES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
STATUS = re.compile(r"Status: (accepted, 2026-\d\d-\d\d\. (Easy|Hard) to undo|superseded by (?P<by>\d{4}))\.")


def parts(path: Path) -> tuple[str, str, str]:
    """Title line, status line and body of a decision."""
    title, status, body = path.read_text(encoding="utf-8").split("\n\n")
    return title, status, body


def superseded() -> Mapping[str, str]:
    """By number, the number of the decision that took its place."""
    found = {path.name[:4]: STATUS.fullmatch(parts(path)[1]) for path in FILES}
    return {number: match["by"] for number, match in found.items() if match and match["by"]}


def test_numbers_have_no_gaps() -> None:
    """Files are called NNNN-short-name.md, from 0001 on, and nothing else is in the folder."""
    assert all(re.fullmatch(r"\d{4}(-[a-z0-9]+)+\.md", path.name) for path in FILES)
    assert [path.name[:4] for path in FILES] == [f"{number:04}" for number in range(1, len(FILES) + 1)]
    assert sorted(FOLDER.iterdir()) == sorted([*FILES, FOLDER / "README.md"])


def test_each_has_a_title_a_status_and_a_few_sentences() -> None:
    """The title has the file's number; the status says when it was accepted and how hard it is to undo."""
    for path in FILES:
        title, status, body = parts(path)
        assert re.fullmatch(rf"# {path.name[:4]}\. \S.*", title), path.name
        assert STATUS.fullmatch(status), path.name
        assert 2 <= len(re.findall(r"[.](?=\s)", body)) <= 4, path.name


def test_a_superseded_one_names_a_later_one_that_stands() -> None:
    """Its successor exists, has a higher number, and is not superseded itself."""
    numbers = {path.name[:4] for path in FILES}

    assert superseded()
    assert all(by in numbers - superseded().keys() and by > number for number, by in superseded().items())


def test_the_index_is_complete() -> None:
    """It lists every decision in order, by its title."""
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. \[(.+)\]\((.+)\)$", index, re.MULTILINE)

    assert listed == [(str(int(path.name[:4])), parts(path)[0].partition(". ")[2], path.name) for path in FILES]
