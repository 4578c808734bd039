"""Handles the DELETE of an attachment for both APIs: records it in the history and begins the detach."""

from shared.model import Answer
from simulator.exchange import Handler, Request
from simulator.inventory import What
from simulator.versioned import Call
from simulator.world import World


def recorded(world: World, request: Request, handler: Handler) -> Answer:
    """Answer a DELETE, and record it in the history with the attachment that existed and a refusal, if any."""
    where = request.ids["server"], request.ids["volume"]
    attachment = world.is_attached(*where)
    world.note(What.DELETE_RECEIVED, *where, attachment, request.id)
    answer = handler(request)
    if answer.status >= 300:
        world.note(What.DELETE_REJECTED, *where, attachment, f"{answer.status} {answer.body.decode()}")
    return answer


def begin(call: Call, world: World) -> int:
    """Accept a DELETE and begin the detach; returns the status of the answer."""
    where, request_id = (call.server_id, call.volume_id), call.request.id
    status = world.volumes[call.volume_id].behaviour.success_status
    world.note(What.DELETE_ACCEPTED, *where, world.is_attached(*where), request_id)
    world.begin_detach(*where, request_id)
    return status
