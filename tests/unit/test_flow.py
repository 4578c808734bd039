"""`make pause`, `make resume`, `make drain`: what they say, do and wait for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from tools.exit_status import Exit
from tools.flow import CHANGING, FlowControl, Waiting

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
KEPT = timedelta(days=14)


@dataclass
class FakeFlow:
    """Changes its state after that many reads of it; its counts follow a script, of which the last repeats."""

    now: str = "Enabled"
    after: int = 2
    counts: Sequence[int] = (0,)
    asked: list[bool] = field(default_factory=list)
    age: timedelta | None = None
    _left: int = 0
    _script: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self._script = iter(self.counts)

    def state(self) -> str:
        if self.asked:
            self._left -= 1
            if self._left < 0:
                self.now = "Enabled" if self.asked[-1] else "Disabled"
        return self.now

    def enable(self, enabled: bool) -> None:
        self.asked.append(enabled)
        self.now, self._left = ("Enabling" if enabled else "Disabling"), self.after

    def waiting(self) -> Waiting:
        return Waiting(next(self._script, self.counts[-1]), 2, 1, KEPT) if self.counts != (0,) else NONE

    def oldest(self) -> timedelta | None:
        return self.age


NONE = Waiting(0, 0, 0, KEPT)


@dataclass
class Person:
    """A user who answers yes or no, reads, and waits."""

    says: bool = True
    read: list[str] = field(default_factory=list)
    now: datetime = NOW

    def control(self, flow: FakeFlow) -> FlowControl:
        return FlowControl(flow, lambda question: self.says, self.read.append, self.wait, lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def test_pausing_says_how_long_requests_can_wait_and_waits_until_it_is_done() -> None:
    flow, person = FakeFlow(counts=(7,)), Person()
    assert person.control(flow).pause() is Exit.DETACHED
    assert (flow.asked, flow.now) == ([False], "Disabled")
    assert person.read[0] == "Requests: 7 waiting, 2 for a later look, 1 being worked on."
    assert "keeps a message for 14 days" in person.read[1]
    assert "2026-12-07 08:00 UTC" in person.read[1]
    assert person.read[-1] == "Paused: the function does not receive requests."


def test_the_age_of_the_oldest_message_is_shown_if_it_is_known() -> None:
    """The user sees how long requests have waited before the command does anything."""
    for state, what in (("Enabled", "pause"), ("Disabled", "resume")):
        person = Person(says=False)
        getattr(person.control(FakeFlow(state, counts=(7,), age=timedelta(hours=3))), what)()
        assert person.read[0].endswith("1 being worked on; the oldest message is 3 h old.")
        if what == "pause":
            assert "UTC, and the oldest message in 13 days. Requests whose" in person.read[1]
    person = Person()
    person.control(FakeFlow(counts=(7,), age=timedelta(minutes=4))).drain(60)
    assert person.read[0].startswith("Waiting up to 60 s until no request is left; the oldest message is 4 min old.")


def test_resuming_delivers_requests_again() -> None:
    flow, person = FakeFlow("Disabled"), Person()
    assert person.control(flow).resume() is Exit.DETACHED
    assert (flow.asked, flow.now) == ([True], "Enabled")
    assert person.read[-1] == "Resumed: the function receives requests."


@pytest.mark.parametrize(("state", "what"), [("Disabled", "pause"), ("Enabled", "resume")])
def test_a_stack_in_that_state_already_is_not_changed(state: str, what: str) -> None:
    flow, person = FakeFlow(state), Person()
    assert getattr(person.control(flow), what)() is Exit.DETACHED
    assert flow.asked == []
    assert "already" in person.read[0]


def test_the_answer_no_changes_nothing() -> None:
    flow, person = FakeFlow(), Person(says=False)
    assert person.control(flow).pause() is Exit.USAGE
    assert (flow.asked, person.read[-1]) == ([], "Nothing was changed.")


def test_a_change_that_takes_too_long_continues() -> None:
    flow, person = FakeFlow(after=10 * CHANGING), Person()
    assert person.control(flow).pause() is Exit.OPEN
    assert person.read[-1].startswith("Lambda reports Disabling after 180 s and continues")


def test_a_queue_is_drained_when_it_is_empty_several_times_in_a_row() -> None:
    """SQS counts approximately: one count of zero proves nothing."""

    class Counted(FakeFlow):
        def waiting(self) -> Waiting:
            return Waiting(next(self._script, 0), 0, 0, KEPT)

    flow, person = Counted(counts=(3, 0, 0, 1, 0, 0, 0)), Person()
    assert person.control(flow).drain(3600) is Exit.DETACHED
    assert person.now - NOW == timedelta(seconds=60)
    assert person.read[-1] == "No request is left."
    assert sum("waiting" in line for line in person.read[1:]) == 4


def test_a_queue_that_is_not_drained_in_time_is_open() -> None:
    person = Person()
    assert person.control(FakeFlow(counts=(7,))).drain(60) is Exit.OPEN
    assert person.read[-1] == "10 messages are left after 60 s."


def test_a_paused_stack_is_not_drained() -> None:
    person = Person()
    assert person.control(FakeFlow("Disabled")).drain(60) is Exit.USAGE
    assert "`make resume` first" in person.read[0]
