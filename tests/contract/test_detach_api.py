"""docs/detach-api.md, which goes through the API document of the cloud, says what the code does."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from local.demo import PROJECT, SERVER, VOLUME
from shared.cloud.answers import TABLE, bms
from shared.cloud.answers.row import Meaning
from shared.cloud.classify import classify
from shared.model import Answer, AnswerClass, Reason
from tests.contract.documented import ROOT

PAGE = ROOT / "docs/detach-api.md"
TEXT = PAGE.read_text(encoding="utf-8")
STATUSES = {200, 201, 202, 204, 400, 401, 403, 404, 405, 406, 407, 408, 409, 500, 501, 502, 503, 504}
"""All of the cloud's page of status codes."""

MEANINGS: dict[str, Meaning] = {**{kind.value: kind for kind in AnswerClass}, **{one.value: one for one in Reason}}


def section(name: str) -> str:
    return TEXT[TEXT.index(f"\n## {name}\n") :].partition("\n## ")[2].partition("\n## ")[0]


def items(name: str) -> list[tuple[str, str]]:
    """A section's list: what each item is about, and what is said of it."""
    text = re.sub(r"\n  +", " ", section(name))
    return re.findall(r"^- (?:\*\*|`)(.+?)(?:\*\*|`): (.+)$", text, re.MULTILINE)


def references() -> list[tuple[str, list[str]]]:
    """Files of tests that the page names, each with the tests that follow it."""
    spans = re.findall(r"`([^`]+)`", TEXT.replace("\n", " "))
    found: list[tuple[str, list[str]]] = []
    for span in spans:
        if span.startswith("tests/"):
            found.append((span, []))
        elif span.startswith("test_"):
            found[-1][1].append(span)
    return found


@pytest.mark.parametrize(("path", "names"), references())
def test_each_test_that_is_named_is_there(path: str, names: list[str]) -> None:
    """A file that is named exists, and so does each function in it."""
    module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    assert set(names) <= functions


@pytest.mark.parametrize(("name", "lines"), [("Request", 5), ("Links and ids", 4), ("Constraints", 4)])
def test_each_line_names_its_code_and_its_test(name: str, lines: int) -> None:
    """Each line names code and a test, not only a claim."""
    assert len(items(name)) == lines
    for document, said in items(name):
        code, test = re.findall(r"`((?:shared|local|events)/\S+)`", said), re.findall(r"`(tests/\S+)`: `test_", said)
        assert code, document
        assert test, document
        assert all((ROOT / path).is_file() for path in (*code, *test)), document


def test_each_status_means_what_the_page_says() -> None:
    """Every status of the cloud's page has a line, and a bare answer of it has the class of that line."""
    said = {int(status): MEANINGS[kind] for kind, statuses in items("Returned values") for status in statuses.split()}
    answers = {status: classify(Answer(status, {}, b"")) for status in STATUSES}
    assert said == {status: answer.reason or answer.kind for status, answer in answers.items()}
    assert {f"http_{status}" for status in STATUSES if status >= 300} <= {row.key for row in TABLE}


def test_each_code_means_what_the_page_says() -> None:
    """Each code on the page has the meaning of its line, and the page counts the codes that it does not list."""
    said = {code: MEANINGS[kind] for kind, codes in items("Error codes") for code in codes.split()}
    text = " ".join(section("Error codes").split())
    counted = {MEANINGS[kind]: int(number) for number, kind in re.findall(r"(\d+) (?:mean )?`(\w+)`", text)}
    assert said == {row.key: row.meaning for row in bms.ROWS if row.meaning not in counted}
    assert counted == Counter(row.meaning for row in bms.ROWS if row.meaning in counted)


def test_the_example_is_the_request_that_is_sent() -> None:
    """The ids of the document's example are those that the samples and the simulated cloud use."""
    assert "c685484a8cc2416b97260938705deb65" == PROJECT
    assert "95bf2490-5428-432c-ad9b-5e3406f869dd" == SERVER
    assert "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6" == VOLUME
    assert SERVER in Path(ROOT / "events/detach_bare.json").read_text()
