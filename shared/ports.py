"""What the core needs of the world, in the core's words; adapters implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from shared.model import Call, Classified, Listed, Outcome, Reason, Server, Volume

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T_co]):
    """What a call told, and the call as evidence."""

    value: T_co
    calls: tuple[Call, ...] = ()


class CloudTrouble(Exception):
    """The cloud did not answer a question; `classified` says what kind of no it was."""

    def __init__(self, classified: Classified, calls: tuple[Call, ...] = ()) -> None:
        super().__init__(f"{classified.code}: {classified.message}")
        self.classified = classified
        self.calls = calls


class AwsTrouble(Exception):
    """AWS did not do what was asked; the record goes back to the queue."""


class Cloud(Protocol):
    """Reads of both planes and the one write; None means that the service itself denies the thing exists.

    Reads raise CloudTrouble. `detach` never does: whatever came back of the DELETE is its value.
    """

    def volume(self, volume_id: str) -> Reading[Volume | None]: ...

    def listing(self, server_id: str) -> Reading[tuple[Listed, ...] | None]: ...

    def server(self, server_id: str) -> Reading[Server | None]: ...

    def action_failed(self, server_id: str, request_id: str) -> Reading[bool | None]: ...

    def detach(self, server_id: str, volume_id: str) -> Reading[Classified]: ...


class Clouds(Protocol):
    """Picks the cloud a request is for; raises CloudTrouble for a project it has no credentials for."""

    def select(self, project_id: str | None) -> Cloud: ...


@dataclass(frozen=True, slots=True)
class Message:
    """A message for the request queue, to be delivered after `delay` seconds (0 to 900)."""

    body: str
    delay: int = 0


@dataclass(frozen=True, slots=True)
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


class Throttled(str):
    """The error of a message that was not taken because too much comes at once: later it may be."""

    __slots__ = ()


class Queue(Protocol):
    """Sends messages; the result names the positions that were not taken, with the error (perhaps Throttled)."""

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]: ...


class EventSink(Protocol):
    """Emits events; the result names the positions that were not taken, with the error."""

    def emit(self, events: Sequence[Event]) -> Mapping[int, str]: ...


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A consumer's no: `again` says that it may take the event later, after `retry_after` seconds if it says so."""

    why: str
    again: bool
    retry_after: float | None = None


class Consumer(Protocol):
    """Somebody who is handed events beside the bus; whatever goes wrong on the way is its answer, never raised."""

    def wants(self, event: Event, /) -> bool: ...

    def deliver(self, event: Event) -> NotTaken | None: ...
