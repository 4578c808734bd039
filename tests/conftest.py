"""What every kind of test may use."""

from collections.abc import Callable
from pathlib import Path

import pytest

EVENTS = Path(__file__).parent.parent / "events"


TESTS = Path(__file__).parent
SLICES = (
    "simulation", "model", "integration/test_aws_outages.py", "integration/test_alarms.py",
    "integration/test_schemathesis.py", "integration/test_secrets_stay_in.py", "integration/test_aws_deadlines.py",
    "integration/test_commands_for_people.py", "contract/test_template_expands.py",
    "unit/test_what_is_accepted_can_be_finished.py",
)  # fmt: skip
"""Slices of the long proofs, and what enumerates much: `make slices`, which `make check` and CI run too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slices = tuple(TESTS / name for name in SLICES)
    for item in items:
        if any(item.path == path or path in item.path.parents for path in slices):
            item.add_marker(pytest.mark.slice)


@pytest.fixture
def event_file() -> Callable[[str], str]:
    """The text of a sample event by its file name."""
    return lambda name: (EVENTS / name).read_text()
