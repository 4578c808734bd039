"""The generated documents are up to date."""

from shared.decision.rules import RULES
from shared.model import Detail, Reason
from tools.decision_picture import answers
from tools.documents import ROOT, differing


def test_generated_documents_are_up_to_date() -> None:
    """`make docs` would change nothing."""
    assert differing() == []


def test_every_reason_stands_in_the_catalogue_page() -> None:
    """A consumer finds each code of the enum in docs/failure-reasons.md."""
    page = (ROOT / "docs/failure-reasons.md").read_text(encoding="utf-8")

    assert [reason for reason in Reason if f"\n**`{reason.value}`**: " not in page] == []


def test_every_detail_stands_in_its_page() -> None:
    """A consumer finds each detail of the enum in docs/details.md; `would_report_…` refers to the others."""
    page = (ROOT / "docs/details.md").read_text(encoding="utf-8")

    assert "\n**`would_report_<detail>`**: " in page
    names = {detail.value.removeprefix("would_report_") for detail in Detail}
    assert [name for name in names if f"\n**`{name}`**: " not in page] == []


def test_the_picture_of_the_decision_shows_every_detail() -> None:
    """What the rules are found to answer is every way to be detached."""
    found = {detail for rule in RULES for detail in answers(rule.__name__).detached}

    watched = {Detail.STILL_WATCHING.value}
    assert found == {detail.value for detail in Detail if not detail.value.startswith("would_")} - watched
