"""Threads that outlast an invocation: to start and end one takes a fortieth of the CPU time of a batch of one."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from shared.quick import dataclass

Task = Callable[[], object]


@dataclass
class Workers:
    """At most this many threads. They are started when needed, and replaced after one was late."""

    most: int
    _pool: ThreadPoolExecutor | None = None

    def run(self, tasks: Sequence[Task], seconds: float | None, then: Task) -> None:
        """Run the tasks in parallel, wait at most `seconds`, and call `then`. Raises what a task raised in that time.

        A task that is late goes on in its thread, and one that has not begun never begins.
        """
        pool = self._pool = self._pool or ThreadPoolExecutor(self.most)
        futures: list[Future[Any]] = [pool.submit(task) for task in tasks]
        done, late = wait(futures, seconds)
        then()
        if late:
            for future in late:
                future.cancel()
            self._pool = None  # the idle threads end, since nobody holds their pool
        for future in done:
            future.result()
