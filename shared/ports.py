"""The interfaces that the core needs: cloud, queue, bus, verdict store and consumers. Adapters implement them."""

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
"""Returns the current time with a time zone."""

utc_now: Clock = partial(datetime.now, UTC)


# ---------------------------------------------------------------------------------------------------- the cloud


@dataclass(frozen=True)
class Reading(Generic[T_co]):
    """The value that a call returned, and the call as evidence.

    `said` is the explanation in the record of a failed detach, as a clause for people, and `reason` what its code
    means; both only if the record gives them.
    """

    value: T_co
    calls: tuple[Call, ...] = ()
    said: str = ""
    reason: Reason | None = None


@dataclass(frozen=True)
class Sent:
    """The result of a DELETE. `receipt` is what `Cloud.ended` needs to find out how it ended."""

    answer: Classified
    receipt: str | None = None


class CloudTrouble(Exception):
    """A read of the cloud failed; `classified` says how."""

    def __init__(self, classified: Classified, calls: tuple[Call, ...] = ()) -> None:
        super().__init__(f"{classified.code}: {classified.message}")
        self.classified = classified
        self.calls = calls


class Cloud(Protocol):
    """Reads of both planes, and the DELETE. None means that the service itself answered that the thing does not exist.

    Reads raise CloudTrouble. `detach` never raises: its value is the result of the DELETE, whatever it was.
    """

    def volume(self, volume_id: str) -> Reading[Volume | None]: ...

    def detaching(self) -> Reading[Mapping[str, Volume] | None]:
        """All volumes of the project with status `detaching`, by id; None where the cloud does not support the
        filter."""

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]: ...

    def server(self, server_id: str) -> Reading[Server | None]: ...

    def ended(self, server_id: str, receipt: str) -> Reading[Ended]:
        """How our DELETE ended, by the cloud's own record; `Ended.UNKNOWN` if that cannot be read. Never raises."""

    def actions(self, server_id: str) -> Reading[tuple[Action, ...]]:
        """The server's action records; empty if the cloud keeps none or does not show them to us."""

    def place(self) -> str | None:
        """The project and the endpoints that were read. A 404 from different endpoints proves nothing."""

    def detach(self, server_id: str, volume_id: str) -> Reading[Sent]: ...


class Clouds(Protocol):
    """Finds the cloud for a request by its project."""

    def key(self, project_id: str | None) -> Hashable:
        """A key that is equal for projects with the same credentials. Makes no call."""

    def select(self, project_id: str | None, deadline: datetime | None) -> Cloud:
        """The cloud of a project, for calls that end by `deadline`.

        Raises CloudTrouble if the project has no credentials, AwsTrouble or SettingsError if its credentials cannot be
        read.
        """


# ------------------------------------------------------------------------------------------------ AWS, consumers


class AwsTrouble(Exception):
    """A call to AWS failed."""


@dataclass(frozen=True)
class Unsent:
    """Why something was not accepted; `throttled` means that too much came at once, so that a retry may succeed."""

    why: str
    throttled: bool = False
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True)
class QueueMessage:
    """A message for the request queue, with a delay in seconds (0 to 900).

    `project` is the message group where the queue supports fair queues: messages of one project do not delay those of
    others.
    """

    body: str
    delay: int = 0
    project: str | None = None


@dataclass(frozen=True)
class Event:
    """A CloudEvent ready to be sent: `body` is the whole event as structured JSON.

    `outcome` and `reason` repeat what the body says. `task_token` names the workflow that waits for it and is not part
    of the event.
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
        """Whether the event is a summary, and not a verdict."""
        return self.type.endswith(f".volume.{SUMMARY}.v1")


class Queue(Protocol):
    """Sends messages, keyed by the caller, before a deadline; returns those that were not accepted."""

    def send(self, messages: Mapping[K, QueueMessage], deadline: datetime | None = None, /) -> Mapping[K, Unsent]: ...


class Macs(Protocol):
    """Makes and checks the MACs of our own messages, each over a text. Every method raises AwsTrouble if no key can be
    read."""

    def mac(self, text: str) -> str:
        """The MAC of a text with the newest key, in ASCII."""

    def is_mac(self, text: str, mac: str) -> bool:
        """Whether the MAC fits the text, with any key that is still valid."""

    def since(self) -> datetime:
        """When the first key was created: all our messages since then have a MAC."""


class Bus(Protocol):
    """Emits events, keyed by the caller, before a deadline; returns those that were not accepted."""

    def emit(self, events: Mapping[K, Event], deadline: datetime | None = None, /) -> Mapping[K, Unsent]: ...


@dataclass(frozen=True)
class NotTaken:
    """A consumer did not take an event. `again` means that a retry may succeed, after `retry_after` seconds if
    given."""

    why: str
    again: bool
    retry_after: float | None = None


@dataclass(frozen=True)
class Kept:
    """The stored texts of one request: its final verdict, its `unconfirmed` event and its mark.

    If there is a final verdict, the others are left out.
    """

    verdict: str | None = None
    unconfirmed: str | None = None
    mark: str | None = None


class VerdictStore(Protocol):
    """Stores what became of requests, under the id of the final verdict."""

    def mark(self, marks: Mapping[str, str], /) -> str | None:
        """Store a text under each id that has none; return why some were not stored, or None. Never raises; takes about
        a second at most.

        Existing texts are not overwritten.
        """

    def find(self, verdict_id: str, /) -> Kept:
        """What is stored of a request. Raises AwsTrouble."""


class Consumer(Protocol):
    """Receives events in addition to the bus. Every failure is a return value, never an exception."""

    def wants(self, event: Event, /) -> bool: ...

    def deliver(self, event: Event, deadline: datetime | None = None, /) -> NotTaken | None:
        """Offer the event once, and be done by the deadline."""
