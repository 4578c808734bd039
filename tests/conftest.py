"""Fixtures and options for all kinds of tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

EVENTS = Path(__file__).parent.parent / "events"


TESTS = Path(__file__).parent
SLICES = (
    "simulation", "model", "integration/test_aws_outages.py", "integration/test_alarms.py",
    "integration/test_schemathesis.py", "integration/test_secrets_stay_in.py", "integration/test_aws_deadlines.py",
    "integration/test_commands_for_people.py", "integration/test_clouds_of_people.py",
    "integration/test_local_page.py", "integration/test_local_page_browser.py", "contract/test_commands.py",
    "contract/test_template_expands.py", "contract/test_stack_by_name.py", "contract/test_validation.py",
    "integration/test_permissions.py", "integration/test_canary.py", "contract/test_event_schemas.py",
    "integration/test_guest_script.py",
    "unit/test_what_is_accepted_can_be_finished.py",
)  # fmt: skip
"""Tests of `make slices`, which CI runs too: slices of the long proofs, long enumerations, and whole commands."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slices = tuple(TESTS / name for name in SLICES)
    for item in items:
        if any(item.path == path or path in item.path.parents for path in slices):
            item.add_marker(pytest.mark.slice)


@pytest.fixture
def event_file() -> Callable[[str], str]:
    """The text of a sample event by its file name."""
    return lambda name: (EVENTS / name).read_text()
