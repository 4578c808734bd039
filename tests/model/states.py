"""The states of the model: the cloud, the messages, the worker, and the verdicts. Values only."""

from typing import NamedTuple


class Held(NamedTuple):
    """An attachment on a plane: which attach of the disk it comes of, and how often that was moved since."""

    binding: int
    moves: int = 0


MEANT = 1
"""The binding that there was when the request was made; others are newer."""


class Pending(NamedTuple):
    """A detach that the cloud has accepted: whose, of what, and whether the volume shows it."""

    ours: bool
    of: Held
    marked: bool = True


class Cloud(NamedTuple):
    """Both planes. `volume` is in-use, detaching, reserved, available or gone.

    `fresh` is the number of the next binding. `failed` is what the record says of our detach: that it was `refused`, or
    is `stuck` since the storage failed.
    """

    volume: str = "in-use"
    listed: Held | None = Held(MEANT)
    shown: Held | None = Held(MEANT)
    server: bool = True
    pending: Pending | None = None
    failed: str = ""
    fresh: int = MEANT + 1


class Progress(NamedTuple):
    """What travels in a continuation; counters stop where more makes no difference."""

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
    """What one look read: the list first, the volume after it; `server` is False where there is none."""

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
    """One delivery: which message, and what is still to be done for it."""

    message: int
    step: str
    progress: Progress
    listed: Held | None = None
    server: bool = True
    output: Decision | None = None


class Left(NamedTuple):
    """What may still happen to disturb: acts of others, deaths, copies, lies of a gateway."""

    acts: int
    deaths: int
    copies: int
    lies: int


class World(NamedTuple):
    """All of it. `time` is 0, then 1 once the time to live and the confirm timeout are over, then 2 after the watch."""

    cloud: Cloud
    queue: tuple[Progress, ...]
    left: Left
    worker: Worker | None = None
    said: frozenset[tuple[str, str]] = frozenset()
    time: int = 0
