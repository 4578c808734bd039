"""A DELETE of an attachment, whichever API it comes by: what is written down of it, and what it begins."""

from shared.model import Answer
from simulator.exchange import Handler, Request
from simulator.inventory import What
from simulator.versioned import Call
from simulator.world import World


def noted(world: World, request: Request, handler: Handler) -> Answer:
    """Write down what was asked and whether it was refused, with the attachment that was there."""
    where = request.ids["server"], request.ids["volume"]
    attachment = world.is_attached(*where)
    world.note(What.DELETE_RECEIVED, *where, attachment, request.id)
    answer = handler(request)
    if answer.status >= 300:
        world.note(What.DELETE_REJECTED, *where, attachment, f"{answer.status} {answer.body.decode()}")
    return answer


def begin(call: Call, world: World) -> int:
    """Accept it; the status to answer with."""
    where, request_id = (call.server_id, call.volume_id), call.request.id
    status = world.volumes[call.volume_id].behaviour.success_status
    world.note(What.DELETE_ACCEPTED, *where, world.is_attached(*where), request_id)
    world.begin_detach(*where, request_id)
    return status
