"""The generated documents in the repository are those the code makes."""

from shared.model import Reason
from tools.documents import ROOT, differing


def test_generated_documents_are_up_to_date() -> None:
    """`make docs` would change nothing."""
    assert differing() == []


def test_every_reason_stands_in_the_catalogue_page() -> None:
    """A consumer finds each code of the enum in docs/failure-reasons.md."""
    page = (ROOT / "docs/failure-reasons.md").read_text(encoding="utf-8")

    assert [reason for reason in Reason if f"| `{reason.value}` |" not in page] == []
