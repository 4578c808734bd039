"""Scripted faults: what goes wrong, with which calls, and how often."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.model import Answer
from simulator.exchange import Request


class Break(StrEnum):
    """A failure of the connection."""

    CONNECTION_REFUSED = "connection_refused"
    RESET = "reset"
    READ_TIMEOUT = "read_timeout"
    TRUNCATED = "truncated"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Kind:
    """What goes wrong with a call; `effect` says whether the request takes effect nevertheless."""

    effect: bool
    answer: Answer = field(default_factory=lambda: Answer(200))
    broken: Break | None = None
    seconds: float = 0.0


CONNECTION_REFUSED = Kind(effect=False, broken=Break.CONNECTION_REFUSED)
RESET_BEFORE = Kind(effect=False, broken=Break.RESET)
RESET_AFTER = Kind(effect=True, broken=Break.RESET)
READ_TIMEOUT_BEFORE = Kind(effect=False, broken=Break.READ_TIMEOUT)
READ_TIMEOUT_AFTER = Kind(effect=True, broken=Break.READ_TIMEOUT)
TRUNCATED = Kind(effect=True, broken=Break.TRUNCATED)


def answer(status: int | Answer, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Kind:
    """Send this answer, without any effect; `status` may be a complete `Answer`."""
    return Kind(effect=False, answer=_answer(status, headers, body))


def answer_after_effect(status: int | Answer, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Kind:
    """The request takes effect, but the client gets this answer."""
    return Kind(effect=True, answer=_answer(status, headers, body))


def slow(seconds: float) -> Kind:
    """The request takes effect, and its answer is sent in pieces over this many seconds."""
    return Kind(effect=True, broken=Break.SLOW, seconds=seconds)


def _answer(status: int | Answer, headers: Mapping[str, str] | None, body: bytes) -> Answer:
    return status if isinstance(status, Answer) else Answer(status, dict(headers or {}), body)


@dataclass(frozen=True, slots=True)
class Fault:
    """Hits matching calls: it skips the first `skip` of them, then hits `times` calls, or all of them if None."""

    kind: Kind
    operation: str | None = None
    method: str | None = None
    server_id: str | None = None
    volume_id: str | None = None
    times: int | None = 1
    skip: int = 0

    def matches(self, request: Request) -> bool:
        asked = (self.operation, self.method, self.server_id, self.volume_id)
        shown = (request.operation, request.method, request.server_id, request.volume_id)
        return all(want is None or want == got for want, got in zip(asked, shown, strict=True))

    def strikes(self, nth: int) -> bool:
        """Whether the fault hits the nth matching call, counted from 0."""
        return nth >= self.skip and (self.times is None or nth < self.skip + self.times)


class Faults:
    """The script of faults. The first fault that hits a call decides; the faults after it do not count that call."""

    def __init__(self) -> None:
        self._script: list[Fault] = []
        self._seen: list[int] = []

    def add(self, *faults: Fault) -> None:
        self._script.extend(faults)
        self._seen.extend(0 for _ in faults)

    def clear(self) -> None:
        self._script.clear()
        self._seen.clear()

    def strike(self, request: Request) -> Kind | None:
        """The fault that hits this call, or None."""
        for index, fault in enumerate(self._script):
            if fault.matches(request):
                nth = self._seen[index]
                self._seen[index] += 1
                if fault.strikes(nth):
                    return fault.kind
        return None


class TransportFault(Exception):
    """The client gets no proper answer; the transport carries this out.

    `answer` is the real answer if the request took effect. `seconds` applies only to a slow answer.
    """

    def __init__(self, kind: Break, answer: Answer, seconds: float = 0.0) -> None:
        super().__init__(kind)
        self.kind = kind
        self.answer = answer
        self.seconds = seconds
