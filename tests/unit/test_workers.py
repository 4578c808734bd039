"""Threads that outlast an invocation: reused, limited in number, and replaced when one hangs."""

import threading
from collections.abc import Iterator

import pytest

from shared.visit import Workers


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Ends the tasks that hang, at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def test_threads_are_reused() -> None:
    """Runs one after another need one thread."""
    workers, names = Workers(4), set[str]()
    for _ in range(5):
        workers.run([lambda: names.add(threading.current_thread().name)], 5)
    assert len(names) == 1


def test_a_late_task_delays_no_later_run(released: threading.Event) -> None:
    """The run ends in time, what had not begun never begins, and the next run has a thread."""
    workers, done = Workers(1), list[str]()
    workers.run([lambda: released.wait(5), lambda: done.append("queued")], 0.05)
    workers.run([lambda: done.append("next")], 5)
    released.set()
    assert done == ["next"]


def test_an_error_of_a_task_is_raised() -> None:
    """Each run raises the errors of its own tasks."""

    def fail() -> None:
        raise ValueError("of a task")

    workers = Workers(1)
    with pytest.raises(ValueError, match="of a task"):
        workers.run([fail], 5)
    workers.run([lambda: None], 5)
