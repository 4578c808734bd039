"""What the core needs of the world, in the core's words; adapters implement it."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from functools import partial
from typing import Generic, Protocol, TypeVar

from shared.model import SUMMARY, Action, Call, Classified, Ended, Listed, Outcome, Reason, Server, Volume
from shared.quick import dataclass

T_co = TypeVar("T_co", covariant=True)
K = TypeVar("K", bound=Hashable)

Clock = Callable[[], datetime]
"""Tells the time, with a zone."""

utc_now: Clock = partial(datetime.now, UTC)


# ---------------------------------------------------------------------------------------------------- the cloud


@dataclass(frozen=True)
class Reading(Generic[T_co]):
    """What a call told, and the call as evidence.

    `said` is what the record of a failed detach says of it, in a clause for people, where it says why.
    """

    value: T_co
    calls: tuple[Call, ...] = ()
    said: str = ""


@dataclass(frozen=True)
class Sent:
    """What came back of a DELETE; `receipt` is what `Cloud.ended` needs to ask how it ended."""

    answer: Classified
    receipt: str | None = None


class CloudTrouble(Exception):
    """The cloud did not answer a question; `classified` says what kind of no it was."""

    def __init__(self, classified: Classified, calls: tuple[Call, ...] = ()) -> None:
        super().__init__(f"{classified.code}: {classified.message}")
        self.classified = classified
        self.calls = calls


class Cloud(Protocol):
    """Reads of both planes and the one write; None means that the service itself denies the thing exists.

    Reads raise CloudTrouble. `detach` never does: whatever came back of the DELETE is its value.
    """

    def volume(self, volume_id: str) -> Reading[Volume | None]: ...

    def detaching(self) -> Reading[Mapping[str, Volume] | None]:
        """All volumes of the project whose status is `detaching`, by id; None where the cloud does not filter."""

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]: ...

    def server(self, server_id: str) -> Reading[Server | None]: ...

    def ended(self, server_id: str, receipt: str) -> Reading[Ended]:
        """How our DELETE ended, by the cloud's own record of it; unknown where that cannot be read. Never raises."""

    def actions(self, server_id: str) -> Reading[tuple[Action, ...]]:
        """The server's action records; empty where the cloud keeps none, or does not show them to us."""

    def place(self) -> str | None:
        """The project and the endpoints that were read. A 404 from other endpoints proves nothing."""

    def detach(self, server_id: str, volume_id: str) -> Reading[Sent]: ...


class Clouds(Protocol):
    """The clouds that requests are for, by project."""

    def key(self, project_id: str | None) -> Hashable:
        """The same for projects that are served by the same credentials. No call is made."""

    def select(self, project_id: str | None, deadline: datetime | None) -> Cloud:
        """The cloud of a project, for calls that end by `deadline`.

        Raises CloudTrouble for a project that there are no credentials for, AwsTrouble or SettingsError if its
        credentials cannot be read.
        """


# ------------------------------------------------------------------------------------------------ AWS, consumers


class AwsTrouble(Exception):
    """AWS did not do what was asked."""


@dataclass(frozen=True)
class Unsent:
    """Why something was not taken; `throttled` says that too much came at once, so that later it may be."""

    why: str
    throttled: bool = False
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True)
class QueueMessage:
    """A message for the request queue, to be delivered after `delay` seconds (0 to 900).

    Those of one `project` do not hold up those of others, where the queue can see to that.
    """

    body: str
    delay: int = 0
    project: str | None = None


@dataclass(frozen=True)
class Event:
    """A CloudEvent ready to be sent: `body` is the whole event as structured JSON.

    What it says stands beside it (`outcome`, `reason`), and who waits for it: `task_token` is no part of the event.
    """

    id: str
    type: str
    source: str
    subject: str | None
    time: str
    body: str
    outcome: Outcome
    reason: Reason | None = None
    task_token: str | None = field(default=None, repr=False)

    @property
    def is_summary(self) -> bool:
        """Whether it sums up a request, and is no verdict itself."""
        return self.type.endswith(f".volume.{SUMMARY}.v1")


class Queue(Protocol):
    """Sends messages under keys of the caller's before a deadline; the result holds those that were not taken."""

    def send(self, messages: Mapping[K, QueueMessage], deadline: datetime | None = None, /) -> Mapping[K, Unsent]: ...


class Macs(Protocol):
    """The MACs of our own messages, each over a text. Whatever is asked raises AwsTrouble if no key can be read."""

    def mac(self, text: str) -> str:
        """With the newest key, in ASCII."""

    def is_mac(self, text: str, mac: str) -> bool:
        """Whether the MAC is of that text, with a key that is still good."""

    def since(self) -> datetime:
        """When there was a key for the first time: since then no message of ours is without a MAC."""


class Bus(Protocol):
    """Emits events under keys of the caller's before a deadline; the result holds those that were not taken."""

    def emit(self, events: Mapping[K, Event], deadline: datetime | None = None, /) -> Mapping[K, Unsent]: ...


@dataclass(frozen=True)
class NotTaken:
    """A consumer's no: `again` says that it may take the event later, after `retry_after` seconds if it says so."""

    why: str
    again: bool
    retry_after: float | None = None


@dataclass(frozen=True)
class Kept:
    """The texts that are kept of one request: the events of its final verdict and of `unconfirmed`, and its mark.

    Where there is a final verdict, the others are not told.
    """

    verdict: str | None = None
    unconfirmed: str | None = None
    mark: str | None = None


class VerdictStore(Protocol):
    """What became of requests, by the id of the final verdict."""

    def mark(self, marks: Mapping[str, str], /) -> str | None:
        """Keep a text under each id, where none is kept; why some are not, if so. Never raised, and over in a moment.

        Nothing that is kept is overwritten.
        """

    def find(self, verdict_id: str, /) -> Kept:
        """What is kept of a request. Raises AwsTrouble."""


class Consumer(Protocol):
    """Somebody who is handed events beside the bus; whatever goes wrong on the way is its answer, never raised."""

    def wants(self, event: Event, /) -> bool: ...

    def deliver(self, event: Event, deadline: datetime | None = None, /) -> NotTaken | None:
        """Offer the event once, and be done by the deadline."""
