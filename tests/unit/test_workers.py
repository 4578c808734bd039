"""Threads that outlast an invocation: reused, limited in number, and replaced when one hangs."""

import threading
from collections.abc import Iterator

import pytest

from shared.workers import Task, Workers


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Ends the tasks that hang, at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def run(workers: Workers, *tasks: Task, seconds: float | None = 5) -> None:
    workers.run(tasks, seconds, then=lambda: None)


def test_threads_are_reused() -> None:
    """Runs one after another need one thread."""
    workers, names = Workers(4), set[str]()
    for _ in range(5):
        run(workers, lambda: names.add(threading.current_thread().name))
    assert len(names) == 1


def test_a_late_task_delays_no_later_run(released: threading.Event) -> None:
    """The run ends in time, what had not begun never begins, and the next run has a thread."""
    workers, done = Workers(1), list[str]()
    run(workers, lambda: released.wait(5), lambda: done.append("queued"), seconds=0.05)
    run(workers, lambda: done.append("next"))
    released.set()
    assert done == ["next"]


def test_tasks_are_told_before_late_ones_are_left(released: threading.Event) -> None:
    """`then` is called in every run, whether a task is late, fails, or ends in time."""

    def fail() -> None:
        raise ValueError("of a task")

    told: list[str] = []
    Workers(1).run([lambda: released.wait(5)], 0.05, then=lambda: told.append("late"))
    Workers(1).run([lambda: None], 5, then=lambda: told.append("in time"))
    with pytest.raises(ValueError, match="of a task"):
        Workers(1).run([fail], 5, then=lambda: told.append("failed"))
    assert told == ["late", "in time", "failed"]
