"""The checks with which Nova refuses a detach immediately, in Nova's order."""

from shared.model import Answer
from simulator import bodies
from simulator.exchange import RootDetach
from simulator.planes import held
from simulator.versioned import Call
from simulator.world import OFFLOADED_USE, World

# Older documents of Open Telekom Cloud say `shutoff` for Nova's `stopped`.
DETACHABLE = frozenset({"active", "paused", "stopped", "shutoff", "resized", "soft-delete"})
SHELVED = frozenset({"shelved", "shelved_offloaded"})
WRITERS = frozenset({"member", "admin"})
POLICY = "Policy doesn't allow os_compute_api:os-volumes-attachments:delete to be performed."
NOT_IN_USE = (
    "Invalid volume: Invalid input received: Invalid volume: Unable to detach volume. "
    "Volume status must be 'in-use' and attach_status must be 'attached' to detach. "
    "(HTTP 400) (Request-ID: {})"
)


def no_server(call: Call) -> Answer:
    return bodies.fault(404, f"Instance {call.server_id} could not be found.")


def not_attached(call: Call) -> Answer:
    return bodies.fault(404, f"Instance {call.server_id} is not attached to volume {call.volume_id}")


def refusal(call: Call, world: World, root_detach: RootDetach) -> Answer | None:
    """The answer of the first check that fails; None if Nova accepts the detach."""
    where, roles = (call.server_id, call.volume_id), call.token.roles
    cinder_request_id = world.new_request_id()
    server, volume = call.own(world.servers, call.server_id), call.own(world.volumes, call.volume_id)
    if server is None:
        return no_server(call)
    if WRITERS.isdisjoint(roles):
        return bodies.fault(403, POLICY)
    in_vm_state = f"Cannot 'detach_volume' instance {server.id} while it is in vm_state {server.vm_state}"
    if server.vm_state in SHELVED and call.version < (2, 20):
        return bodies.fault(409, in_vm_state)
    if volume is None:
        return bodies.fault(404, f"Volume {call.volume_id} could not be found.")
    attachment = held(world.nova, *where)
    if attachment is None:
        return not_attached(call)
    root_may_go = root_detach is RootDetach.WHEN_STOPPED and server.stopped
    if server.boots_from(attachment.device) and not root_may_go:
        status = 400 if root_detach is RootDetach.BAD_REQUEST else 403
        return bodies.fault(status, "Cannot detach a root device volume")
    if server.locked and "admin" not in roles:
        return bodies.fault(409, f"Instance {server.id} is locked")
    if server.vm_state not in DETACHABLE | SHELVED:
        return bodies.fault(409, in_vm_state)
    if server.task_state is not None:
        busy = f"task_state {server.task_state}"
        return bodies.fault(409, f"Cannot 'detach_volume' instance {server.id} while it is in {busy}")
    if server.launched_at is None:
        return bodies.fault(409, f"Instance {server.id} is in an invalid state for 'detach_volume'")
    if not server.host_up and not server.offloaded:
        return bodies.fault(409, "Service is unavailable at this time.")
    if server.offloaded and volume.status in OFFLOADED_USE:
        return None  # Nova's API detaches from an offloaded server itself, without Cinder's check
    if volume.status != "in-use" or held(world.cinder, *where) is None:
        return bodies.fault(400, NOT_IN_USE.format(cinder_request_id))
    return None
