"""The cloud as one batch sees it: what several requests ask of one server is asked once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.model import Classified, Listed, Server, Volume
from shared.ports import Cloud, Clouds, CloudTrouble, Reading

FRESH = timedelta(seconds=2)
"""A gate is asked of what was read at most this long ago."""

LONGEST_CALL = timedelta(seconds=36)
"""Five seconds to connect and thirty to wait, and one to spare."""


class NotSent(Exception):
    """The DELETE was held back: when its turn had come it was too late for it."""


@dataclass
class SharedReads:
    """A cloud whose reads of a server, and of its attachment list, are shared while they are fresh.

    The volume is read for each request: it fences the DELETE, and nobody else's read will do for that. The DELETEs
    of one server go out one after the other, since a bare metal server takes one change at a time; one whose turn
    comes when its look is old, or when it might outlast `deadline`, is not sent.
    """

    cloud: Cloud
    clock: Callable[[], datetime]
    deadline: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reads: dict[tuple[str, str], tuple[datetime, Future[Any]]] = field(default_factory=dict)
    _turns: dict[str, threading.Lock] = field(default_factory=dict)
    _looked: dict[str, datetime] = field(default_factory=dict)

    def volume(self, volume_id: str) -> Reading[Volume | None]:
        self._looked[volume_id] = self.clock()
        return self.cloud.volume(volume_id)

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]:
        return self._once(("listing", server_id), lambda: self.cloud.listing(server_id))

    def server(self, server_id: str) -> Reading[Server | None]:
        return self._once(("server", server_id), lambda: self.cloud.server(server_id))

    def action_failed(self, server_id: str, request_id: str) -> Reading[bool | None]:
        return self.cloud.action_failed(server_id, request_id)

    def detach(self, server_id: str, volume_id: str) -> Reading[Classified]:
        """Raises NotSent."""
        with self._lock:
            turn = self._turns.setdefault(server_id, threading.Lock())
        with turn:
            now = self.clock()
            if self.deadline and now + LONGEST_CALL > self.deadline:
                # An invocation that ends is frozen: a DELETE must not thaw in the next one.
                raise NotSent("no time left for a DELETE in this invocation")
            if now - self._looked.get(volume_id, now) > FRESH:
                raise NotSent("other disks of the server came first, and the look is old by now")
            return self.cloud.detach(server_id, volume_id)

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
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _shared: dict[int, SharedReads] = field(default_factory=dict)

    def select(self, project_id: str | None) -> Cloud:
        cloud = self.clouds.select(project_id)
        with self._lock:
            return self._shared.setdefault(id(cloud), SharedReads(cloud, self.clock, self.deadline))
