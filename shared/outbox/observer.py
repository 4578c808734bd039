"""The interface of observers, such as logs and metrics."""

from shared.decision.case import Step
from shared.inbox.read import Found, Ignored, Rejected
from shared.model import Message
from shared.ports import Event, NotTaken
from shared.quick import dataclass

BUS = "bus"


@dataclass(frozen=True)
class Attempt:
    """One event offered to one consumer: `refusal` says why it was not taken, `again_in` after how many seconds it is
    offered again.

    `waited` is for how many seconds the bus has not taken it.
    """

    to: str
    event: Event
    number: int = 1
    refusal: NotTaken | None = None
    again_in: int | None = None
    waited: float = 0


class Observer:
    """Is told about everything; each method does nothing by default."""

    def step(self, step: Step) -> None:
        """A case was visited."""

    def unanswerable(self, message: Message, found: Rejected | Ignored) -> None:
        """A message holds no request."""

    def attempt(self, attempt: Attempt) -> None:
        """An event was offered to the bus or a consumer."""

    def dead_letter(self, message: Message, found: Found | Exception) -> None:
        """A dead letter was answered."""

    def returned(self, message_id: str, why: str, error: BaseException | None) -> None:
        """A message goes back to its queue."""
