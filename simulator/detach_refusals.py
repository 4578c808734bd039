"""Why Nova refuses a detach at once: its checks, in its order."""

from collections.abc import Callable
from dataclasses import dataclass

from shared.model import Answer
from simulator import bodies
from simulator.exchange import RootDetach, Version
from simulator.inventory import Attachment, Server, Volume

# Open Telekom Cloud's older documents say `shutoff` where Nova says `stopped`.
DETACHABLE = frozenset({"active", "paused", "stopped", "shutoff", "resized", "soft-delete"})
SHELVED = frozenset({"shelved", "shelved_offloaded"})
WRITERS = frozenset({"member", "admin"})


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the decision needs; what the project does not own is not there."""

    server_id: str
    volume_id: str
    roles: tuple[str, ...]
    version: Version
    server: Server | None
    volume: Volume | None
    attachment: Attachment | None
    in_use: bool
    root_detach: RootDetach
    cinder_request_id: str

    @property
    def vm_state(self) -> str:
        return self.server.vm_state if self.server else ""

    @property
    def task_state(self) -> str | None:
        return self.server.task_state if self.server else None

    @property
    def locked(self) -> bool:
        return bool(self.server and self.server.locked and "admin" not in self.roles)

    @property
    def root_is_kept(self) -> bool:
        """Whether this is a system disk which this cloud does not let go now."""
        if self.server is None or self.attachment is None:
            return False
        allowed = self.root_detach is RootDetach.WHEN_STOPPED and self.server.stopped
        return self.server.boots_from(self.attachment.device) and not allowed


def _conflict(facts: Facts, what: str) -> Answer:
    return bodies.fault(409, f"Cannot 'detach_volume' instance {facts.server_id} while it is in {what}")


def _root_status(facts: Facts) -> int:
    return 400 if facts.root_detach is RootDetach.BAD_REQUEST else 403


def _not_in_use(facts: Facts) -> str:
    return (
        "Invalid volume: Invalid input received: Invalid volume: Unable to detach volume. "
        "Volume status must be 'in-use' and attach_status must be 'attached' to detach. "
        f"(HTTP 400) (Request-ID: {facts.cinder_request_id})"
    )


POLICY = "Policy doesn't allow os_compute_api:os-volumes-attachments:delete to be performed."

REFUSALS: tuple[tuple[Callable[[Facts], bool], Callable[[Facts], Answer]], ...] = (
    (lambda f: f.server is None, lambda f: bodies.fault(404, f"Instance {f.server_id} could not be found.")),
    (lambda f: WRITERS.isdisjoint(f.roles), lambda _: bodies.fault(403, POLICY)),
    (lambda f: f.vm_state in SHELVED and f.version < (2, 20), lambda f: _conflict(f, f"vm_state {f.vm_state}")),
    (lambda f: f.volume is None, lambda f: bodies.fault(404, f"Volume {f.volume_id} could not be found.")),
    (
        lambda f: f.attachment is None,
        lambda f: bodies.fault(404, f"Instance {f.server_id} is not attached to volume {f.volume_id}"),
    ),
    (lambda f: f.root_is_kept, lambda f: bodies.fault(_root_status(f), "Cannot detach a root device volume")),
    (lambda f: f.locked, lambda f: bodies.fault(409, f"Instance {f.server_id} is locked")),
    (lambda f: f.vm_state not in DETACHABLE | SHELVED, lambda f: _conflict(f, f"vm_state {f.vm_state}")),
    (lambda f: f.task_state is not None, lambda f: _conflict(f, f"task_state {f.task_state}")),
    (
        lambda f: f.server is not None and f.server.launched_at is None,
        lambda f: bodies.fault(409, f"Instance {f.server_id} is in an invalid state for 'detach_volume'"),
    ),
    (lambda f: not f.in_use, lambda f: bodies.fault(400, _not_in_use(f))),
)


def refusal(facts: Facts) -> Answer | None:
    """The answer of the first check that fails; None if Nova accepts."""
    return next((answer(facts) for applies, answer in REFUSALS if applies(facts)), None)
