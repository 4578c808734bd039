"""The look schedule, its model in benchmarks/, and its measurements."""

import pytest

from benchmarks.flame import by_package, tree
from benchmarks.report import DETACHES, ROWS
from benchmarks.schedule import BEFORE, Conventional, Ours, at_lengths, expected
from shared.policy import POLL
from tools.costs.counted import DETACHES as COUNTED
from tools.costs.counted import Counted


@pytest.mark.parametrize("row", [row for row in COUNTED if row.seconds < 600], ids=lambda row: f"{row.seconds}s")
def test_the_model_makes_the_calls_that_were_counted(row: Counted) -> None:
    """The model that chose the schedule agrees with the service on the simulated cloud."""
    assert Ours(POLL, delay=0)(row.seconds).calls == row.calls


@pytest.mark.parametrize("seconds", DETACHES)
def test_the_schedule_is_sooner_than_the_conventional_handler_without_more_calls(seconds: int) -> None:
    """At each measured length a verdict takes at most 0.8 of the time, with no more calls."""
    ours, theirs = at_lengths(Ours(POLL))[seconds], at_lengths(Conventional(BEFORE))[seconds]

    assert ours.calls <= theirs.calls
    assert ours.late <= 0.8 * theirs.late


def test_the_schedule_makes_fewer_calls_than_the_previous_one() -> None:
    """Over all lengths a detach needs nearly one call less, for a tenth of a second on average."""
    ours, before = expected(Ours(POLL), "all"), expected(Ours(BEFORE, 25), "all")

    assert ours.calls <= before.calls - 0.8
    assert ours.late <= before.late + 0.1
    assert ours.late_95 <= before.late_95 + 0.3


def test_pauses_grow() -> None:
    """The longer a detach takes, the less often it is looked at."""
    assert list(POLL) == sorted(POLL)


def test_an_import_is_below_its_importer() -> None:
    """Python reports a module after those that it imports, which are indented by two more spaces."""
    report = "\n".join([
        "import time: self [us] | cumulative | imported package",
        "import time:       10 |         10 | abc",
        "import time:        1 |          1 |     b.one",
        "import time:        2 |          3 |   b",
        "import time:        4 |          7 | a",
    ])  # fmt: skip

    first, second = tree(report)

    assert (first.name, first.imports) == ("abc", [])
    assert (second.name, [one.name for one in second.imports], second.imports[0].imports[0].name) == (
        "a",
        ["b"],
        "b.one",
    )
    assert by_package([first, second]) == {"abc": 10, "b": 3, "a": 4}


def test_each_aim_can_be_read() -> None:
    """An aim is a sign and a ratio."""
    assert [row.aim for row in ROWS.values() if row.aim and not (row.aim[0] in "≤≥" and float(row.aim[2:-1]) > 0)] == []
