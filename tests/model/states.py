"""The model's immutable states: the cloud, the messages in the queue, the worker, and the emitted verdicts."""

from typing import NamedTuple


class Held(NamedTuple):
    """An attachment on a plane: the number of its binding, and how often it was moved."""

    binding: int
    moves: int = 0


MEANT = 1
"""The binding that the request means: the one that existed when it was made. Others are newer."""


class Pending(NamedTuple):
    """A detach that the cloud has accepted.

    `ours` says whether the service asked for it, `marked` whether the volume shows it already.
    """

    ours: bool
    of: Held
    marked: bool = True


class Cloud(NamedTuple):
    """The cloud. `volume` is in-use, detaching, reserved, available or gone.

    `listed` is compute's attachment, `shown` that of block storage. `fresh` is the number of the next binding. `failed`
    is the record of our detach: `refused`, or `stuck` after a failure of the storage.
    """

    volume: str = "in-use"
    listed: Held | None = Held(MEANT)
    shown: Held | None = Held(MEANT)
    server: bool = True
    pending: Pending | None = None
    failed: str = ""
    fresh: int = MEANT + 1


class Progress(NamedTuple):
    """The progress in a continuation. Counters stop at the value from which on more makes no difference."""

    followed: Held | None = None
    accepted: bool = False
    unsettled: int = 0
    sent: bool = False
    idle: int = 0
    detaching: bool = False
    denied: bool = False
    announced: bool = False
    redelivered: bool = False


class Look(NamedTuple):
    """The result of one look: it reads the list, then the volume. `server` is False if there is no server."""

    server: bool
    listed: Held | None
    volume: str
    shown: Held | None
    failed: str = ""


class Decision(NamedTuple):
    """`delete`, `requeue`, `announce`, or a final verdict with its detail."""

    kind: str
    detail: str = ""


class Worker(NamedTuple):
    """The service at work on one delivery: the number of its message and the next step."""

    message: int
    step: str
    progress: Progress
    listed: Held | None = None
    server: bool = True
    output: Decision | None = None


class Left(NamedTuple):
    """How many disturbances may still happen: acts of others, deaths, copied messages, false refusals of a gateway."""

    acts: int
    deaths: int
    copies: int
    lies: int


class World(NamedTuple):
    """The whole state; `said` has the emitted final verdicts.

    `time` is 0 at first, 1 after the time to live and the confirm timeout, and 2 after the watch timeout.
    """

    cloud: Cloud
    queue: tuple[Progress, ...]
    left: Left
    worker: Worker | None = None
    said: frozenset[tuple[str, str]] = frozenset()
    time: int = 0
