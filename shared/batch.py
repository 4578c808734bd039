"""The cloud as one batch sees it: what several requests ask of one server is asked once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.model import Classified, Listed, Server, Volume
from shared.ports import Cloud, Clouds, CloudTrouble, Reading

FRESH = timedelta(seconds=2)
"""A gate is asked of what was read at most this long ago."""

LONGEST_CALL = timedelta(seconds=36)
"""Five seconds to connect and thirty to wait, and one to spare."""

Turn = AbstractContextManager[Any]


@dataclass
class SharedReads:
    """A cloud whose reads of a server, and of its attachment list, are shared while they are fresh.

    The volume is read for each request: it fences the DELETE, and nobody else's read will do for that. A bare metal
    server takes one change at a time, so there are turns.
    """

    cloud: Cloud
    clock: Callable[[], datetime]
    deadline: datetime | None = None
    one_at_a_time: Callable[[], Turn] = threading.Lock
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reads: dict[tuple[str, str], tuple[datetime, Future[Any]]] = field(default_factory=dict)
    _turns: dict[str, Turn] = field(default_factory=dict)

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        return self.cloud.volume(volume_id)

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]:
        return self._once(("listing", server_id), lambda: self.cloud.listing(server_id))

    def server(self, server_id: str) -> Reading[Server | None]:
        return self._once(("server", server_id), lambda: self.cloud.server(server_id))

    def action_failed(self, server_id: str, request_id: str) -> Reading[bool | None]:
        return self.cloud.action_failed(server_id, request_id)

    def detach(self, server_id: str, volume_id: str) -> Reading[Classified]:
        return self.cloud.detach(server_id, volume_id)

    @contextmanager
    def turn(self, server_id: str) -> Iterator[timedelta]:
        """The right to send the server a DELETE, one at a time, and how long it took to get it."""
        asked = self.clock()
        with self._lock:
            turn = self._turns.setdefault(server_id, self.one_at_a_time())
        with turn:
            yield self.clock() - asked

    @property
    def has_time(self) -> bool:
        """Whether a DELETE would be over before the invocation is: a frozen one must not thaw in the next."""
        return self.deadline is None or self.clock() + LONGEST_CALL <= self.deadline

    def _once(self, key: tuple[str, str], read: Callable[[], Reading[Any]]) -> Reading[Any]:
        """Whoever comes first reads, the others wait for that; a failed read is everybody's, and kept no longer."""
        now = self.clock()
        with self._lock:
            begun, future = self._reads.get(key, (now, None))
            mine = future is None or now - begun > FRESH
            if future is None or mine:
                future = Future()
                self._reads[key] = (now, future)
        if mine:
            try:
                future.set_result(read())
            except CloudTrouble as trouble:
                future.set_exception(trouble)
            except BaseException as error:
                # Nobody may wait for ever for a read that a bug of ours ended.
                future.set_exception(error)
                raise
        reading: Reading[Any] = future.result()
        return reading


@dataclass
class BatchClouds:
    """The clouds of one batch, each shared by the requests for its project."""

    clouds: Clouds
    clock: Callable[[], datetime]
    deadline: datetime | None = None
    one_at_a_time: Callable[[], Turn] = threading.Lock
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shared: dict[int, SharedReads] = field(default_factory=dict)

    def select(self, project_id: str | None) -> SharedReads:
        cloud = self.clouds.select(project_id)
        with self._lock:
            return self._shared.setdefault(id(cloud), SharedReads(cloud, self.clock, self.deadline, self.one_at_a_time))
