"""The possible next steps of a world: by the service, the cloud, other people, the queue and time."""

from collections.abc import Iterator, Set

from tests.model.rules import decide, take_in
from tests.model.states import MEANT, Cloud, Decision, Held, Left, Look, Pending, Progress, Worker, World

FINAL = ("detached", "failed")
Step = tuple[str, World]


class Violation(Exception):
    """A step that must not be possible."""


def steps(world: World, broken: Set[str] = frozenset()) -> Iterator[Step]:
    """Every possible next step. Raises Violation if one of them breaks an invariant."""
    yield from _service(world, broken)
    for name, cloud in _cloud(world.cloud):
        yield f"cloud: {name}", world._replace(cloud=cloud)
    if world.left.acts:
        left = world.left._replace(acts=world.left.acts - 1)
        for name, cloud in _others(world.cloud):
            yield f"others: {name}", world._replace(cloud=cloud, left=left)
    marked = world.cloud.pending is None or world.cloud.pending.marked  # marking takes less than a minute
    if world.time < 2 and not world.worker and marked:
        yield f"time: {world.time + 1}", world._replace(time=world.time + 1)


# -------------------------------------------------------------------------------------------------- the service


def _service(world: World, broken: Set[str]) -> Iterator[Step]:
    worker = world.worker
    if worker is None:
        for number, message in enumerate(world.queue):
            if number and message == world.queue[number - 1]:
                continue
            yield from _delivered(world, number, message)
        return
    if world.left.deaths:
        # The message is delivered again, with the progress that it holds.
        left, queue = world.left._replace(deaths=world.left.deaths - 1), world.queue
        if worker.message != GONE:
            queue = _with(queue, worker.message, queue[worker.message]._replace(redelivered=True))
        yield "dies", world._replace(queue=queue, worker=None, left=left)
    match worker.step:
        case "list":
            read = worker._replace(step="volume", listed=world.cloud.listed, server=world.cloud.server)
            yield "reads the list", world._replace(worker=read)
        case "volume":
            yield from _looked(world, worker, broken)
        case "say":
            yield from _wrote(world, worker)
        case "ack":
            yield "acknowledges", world._replace(queue=_without(world.queue, worker.message), worker=None)


def _delivered(world: World, number: int, message: Progress) -> Iterator[Step]:
    """The cloud marks a volume before a message is redelivered, and before the pause after a lost answer ends."""
    pending = world.cloud.pending
    if pending and not pending.marked and not message.accepted:
        return
    yield "is delivered", world._replace(worker=Worker(number, "list", message))
    if world.left.copies:
        left = world.left._replace(copies=world.left.copies - 1)
        yield "is copied", world._replace(queue=tuple(sorted((*world.queue, message), key=str)), left=left)


def _looked(world: World, worker: Worker, broken: Set[str]) -> Iterator[Step]:
    """Read the volume, decide, and send the DELETE: one step, because nothing is read between them."""
    cloud = world.cloud
    failed = cloud.failed if worker.progress.accepted else ""
    look = Look(worker.server, worker.listed, cloud.volume, cloud.shown, failed)
    progress = take_in(look, worker.progress, broken)
    decision = decide(look, worker.progress, world.time, broken)
    _check_decision(cloud, look, decision, len(world.queue) == 1 and worker.progress.accepted)
    if decision.kind != "delete":
        announced = progress._replace(announced=progress.announced or decision.kind == "announce")
        yield f"decides {decision.kind} {decision.detail}", _saying(world, worker, decision, announced, broken)
        return
    for heard, effect in (("accepted", True), ("lost", True), ("lost", False), ("refused", True), ("refused", False)):
        if heard == "refused" and effect and not world.left.lies:
            continue
        yield from _deleted(world, worker, progress, heard, effect, broken)


def _deleted(
    world: World, worker: Worker, progress: Progress, heard: str, effect: bool, broken: Set[str]
) -> Iterator[Step]:
    cloud, left = world.cloud, world.left
    takes = cloud.server and cloud.volume == "in-use" and cloud.listed == cloud.shown and cloud.shown is not None
    if heard == "accepted" and not takes:
        heard, effect = "lost", False  # Nova refuses clearly; the model treats this like a lost answer
    if heard == "refused" and effect:
        left = left._replace(lies=left.lies - 1)
    after = progress._replace(sent=True, idle=0)
    if heard == "accepted":
        after = after._replace(accepted=True, detaching=False)
    else:
        after = after._replace(unsettled=min(progress.unsettled + 1, 3), denied=heard == "refused")
    output = Decision("requeue")
    if heard == "accepted" and "believe a 202" in broken:
        output = Decision("detached", "detached_now")
    if heard == "lost" and "lost means failed" in broken:
        output = Decision("failed", "gave_up")
    if heard == "refused" and "refused means failed" in broken:
        output = Decision("failed", "forbidden")
    if not (effect and takes):
        yield f"DELETE, {heard}", _saying(world._replace(left=left), worker, output, after, broken)
        return
    assert cloud.shown is not None
    if cloud.shown.binding != MEANT:
        raise Violation("a newer attachment is cut")
    if cloud.pending and cloud.pending.of.binding == cloud.shown.binding:
        raise Violation("a second effective DELETE")
    for marked in (True, False):
        taken = cloud._replace(
            volume="detaching" if marked else cloud.volume, pending=Pending(True, cloud.shown, marked), failed=""
        )
        if marked and output.kind == "failed":
            raise Violation(f"{output.detail} is said while a detach of ours is under way")
        name = f"DELETE, {heard} and {'marked' if marked else 'not marked yet'}"
        yield name, _saying(world._replace(cloud=taken, left=left), worker, output, after, broken)


def _saying(world: World, worker: Worker, output: Decision, progress: Progress, broken: Set[str]) -> World:
    after = worker._replace(step="say", output=output, progress=progress)
    if "ack first" in broken:
        return world._replace(queue=_without(world.queue, worker.message), worker=after._replace(message=GONE))
    return world._replace(worker=after)


GONE = -1
"""The message number of a worker that has already acknowledged its message, as the rule-breaking "ack first" does."""


def _wrote(world: World, worker: Worker) -> Iterator[Step]:
    """Emit the verdict or send the continuation. The message is acknowledged after that."""
    output, queue, said = worker.output, world.queue, world.said
    assert output is not None
    if output.kind in FINAL:
        _check_verdict(world, output)
        said = said | {(output.kind, output.detail)}
    else:
        again = worker.progress._replace(redelivered=worker.progress.redelivered and not worker.progress.followed)
        queue = (*queue, again)  # sorting waits until the message is removed, since the worker has its number
    done = None if worker.message == GONE else worker._replace(step="ack", output=None)
    yield "says it", world._replace(queue=queue, said=said, worker=done)


def _without(queue: tuple[Progress, ...], number: int) -> tuple[Progress, ...]:
    return tuple(sorted((one for at, one in enumerate(queue) if at != number), key=str))


def _with(queue: tuple[Progress, ...], number: int, message: Progress) -> tuple[Progress, ...]:
    return tuple(sorted((message if at == number else one for at, one in enumerate(queue)), key=str))


# ----------------------------------------------------------------------------------------- the cloud and others


def _cloud(cloud: Cloud) -> Iterator[tuple[str, Cloud]]:
    """Steps of the cloud: a detach is marked, refused, stuck, or ends on one plane after the other; a move ends."""
    if cloud.volume == "reserved" and cloud.listed:
        yield "the move ends", cloud._replace(volume="in-use", shown=cloud.listed)
    pending = cloud.pending
    if pending is None:
        return
    if not pending.marked:
        there = cloud.shown == pending.of
        yield (
            "marks it",
            cloud._replace(
                volume="detaching" if there else cloud.volume, pending=pending._replace(marked=True) if there else None
            ),
        )
        return
    if cloud.shown == pending.of and cloud.listed == pending.of:
        refused = "refused" if pending.ours else cloud.failed
        yield "refuses", cloud._replace(volume="in-use", pending=None, failed=refused)
        if pending.ours:
            yield "the storage fails", cloud._replace(pending=None, failed="stuck")
    if cloud.shown == pending.of:
        yield "block storage lets go", _ended(cloud._replace(shown=None, volume="available"))
    if cloud.listed == pending.of:
        yield "compute lets go", _ended(cloud._replace(listed=None))


def _ended(cloud: Cloud) -> Cloud:
    return cloud if cloud.shown or cloud.listed else cloud._replace(pending=None)


def _others(cloud: Cloud) -> Iterator[tuple[str, Cloud]]:
    """Steps of other people: they attach or detach the disk, move the server, or delete the server or the volume."""
    here, free = cloud.shown, cloud.volume == "available" and not cloud.listed and not cloud.shown
    if cloud.server and free and cloud.fresh <= MEANT + 1:
        new = Held(cloud.fresh)
        yield "attach it again", cloud._replace(volume="in-use", listed=new, shown=new, fresh=cloud.fresh + 1)
    if here and cloud.listed == here and cloud.volume == "in-use" and cloud.pending is None:
        yield "detach it", cloud._replace(volume="detaching", pending=Pending(False, here))
        if here.moves < 1:
            yield "move the server", cloud._replace(listed=here._replace(moves=1), shown=None, volume="reserved")
    if cloud.server and cloud.volume != "gone":
        kept = cloud.volume if cloud.volume == "available" else "available"
        yield "delete the server", cloud._replace(server=False, listed=None, shown=None, volume=kept, pending=None)
    if cloud.volume in ("in-use", "available") and cloud.pending is None:
        yield "delete the volume", cloud._replace(volume="gone", listed=None, shown=None)


# ---------------------------------------------------------------------------------------------------- invariants


def _check_decision(cloud: Cloud, look: Look, decision: Decision, heard: bool) -> None:
    """Check that a failure was true at the time of the look; `heard` says whether the acceptance is known."""
    attached = look.shown is not None and look.listed is not None
    if decision in (Decision("failed", "refused_by_server"), Decision("failed", "forbidden")) and not attached:
        raise Violation(f"{decision.detail} of what is gone")
    if decision == Decision("failed", "superseded") and cloud.shown and cloud.shown.binding == MEANT:
        raise Violation("superseded is said of what was meant")
    # A detach that the cloud does not show yet is known only to a delivery that knows of its acceptance.
    under_way = cloud.pending is not None and cloud.pending.ours and (cloud.pending.marked or heard)
    if decision.kind == "failed" and under_way and decision.detail not in ("stuck_detaching", "inconsistent_state"):
        raise Violation(f"{decision.detail} is said while a detach of ours is under way")


def _check_verdict(world: World, verdict: Decision) -> None:
    held = {one.binding for one in (world.cloud.listed, world.cloud.shown) if one}
    if verdict.kind == "detached" and MEANT in held:
        raise Violation(f"{verdict.detail} is said while it is attached")


def start(left: Left) -> World:
    """The first world: a request is in the queue, and its disk is attached."""
    return World(Cloud(), (Progress(),), left)
