"""What every kind of test may use."""

from collections.abc import Callable
from pathlib import Path

import pytest

EVENTS = Path(__file__).parent.parent / "events"


@pytest.fixture
def event_file() -> Callable[[str], str]:
    """The text of a sample event by its file name."""
    return lambda name: (EVENTS / name).read_text()
