"""The rules of the model: they decide the next action from one look and the progress so far."""

from collections.abc import Set

from tests.model.states import MEANT, Decision, Look, Progress

REQUEUE = Decision("requeue")
FEW = 3
"""The most DELETEs with unknown outcomes."""


def detached(detail: str) -> Decision:
    return Decision("detached", detail)


def failed(detail: str) -> Decision:
    return Decision("failed", detail)


def take_in(look: Look, was: Progress, broken: Set[str] = frozenset()) -> Progress:
    """The progress after a look."""
    here = look.shown
    if here and ("newer is moved" in broken or ("no attachment check" in broken and not was.followed)):
        was = was._replace(followed=here)
    mine = here is not None and (was.followed.binding == here.binding if was.followed else here.binding == MEANT)
    held = mine and look.listed is not None
    idle = min(was.idle + 1, 2) if held and look.volume == "in-use" else 0
    progress = was._replace(followed=here if mine else was.followed, idle=idle)
    if held and look.volume == "detaching":
        return progress._replace(detaching=True, accepted=was.accepted or was.unsettled > 0)
    return progress if was.accepted or not held else progress._replace(detaching=False)


def decide(look: Look, was: Progress, time: int, broken: Set[str] = frozenset()) -> Decision:
    """The next action, from one look and the progress before it; `broken` names the rules to break."""
    progress = take_in(look, was, broken)
    if (progress.accepted or progress.detaching) and not (was.accepted or was.detaching):
        time = 0  # the timeouts of a detach start when it becomes known
    return settle(look, progress, time, broken)


def settle(look: Look, progress: Progress, time: int, broken: Set[str] = frozenset()) -> Decision:
    """The next action, from a look and the progress after it."""
    here, mine = look.shown, look.shown is not None and progress.followed == look.shown
    if not look.server or look.volume == "gone":
        return _missing(look, progress, time)
    if here and look.listed and here != look.listed:
        return _wait(progress, time, "inconsistent_state")
    if here and not mine and "no attachment check" not in broken:
        return _newer(progress, broken)
    if not here and (not look.listed or "one plane" in broken) and (look.volume != "detaching" or time):
        return detached(_whose(progress))
    if (here is None) != (look.listed is None):
        return _wait(progress, time, "inconsistent_state")
    if not here:
        return _wait(progress, time, "gave_up")
    if look.volume == "detaching":
        stuck = progress.accepted and look.failed == "stuck"
        return failed("stuck_detaching") if stuck else _wait(progress, time, "gave_up")
    if progress.accepted and "repeat the DELETE" not in broken:
        settled = progress.idle >= 2 and (progress.detaching or time)
        if look.failed or settled or ("idle once" in broken and progress.idle):
            return failed("refused_by_server")
        return _wait(progress, time, "gave_up")
    if progress.denied:
        if progress.idle >= 2:
            return failed("forbidden")
        return _wait(progress, time, "forbidden" if progress.idle else "gave_up")
    if progress.unsettled >= FEW or time:
        return _wait(progress, time, "gave_up")
    return Decision("delete")


def _missing(look: Look, progress: Progress, time: int) -> Decision:
    """The decision if the server or the volume is missing. Both planes must agree on what is missing."""
    if (look.volume == "gone" and look.listed) or (not look.server and (look.shown or look.volume == "reserved")):
        return _wait(progress, time, "inconsistent_state")
    if not look.server:
        gone = progress.followed or look.volume == "available"
        return detached("server_gone") if gone else failed("server_not_found")
    return detached("volume_gone") if progress.followed else failed("volume_not_found")


def _newer(progress: Progress, broken: Set[str]) -> Decision:
    """The decision if another binding was made after the meant one."""
    since = progress.redelivered and "no memory" not in broken
    return detached("replaced_by_newer") if progress.followed or since else failed("superseded")


def _whose(progress: Progress) -> str:
    if progress.accepted:
        return "detached_now"
    if progress.sent:
        return "detached_meanwhile"
    return "detached_by_other" if progress.followed else "already_detached"


def _wait(progress: Progress, time: int, otherwise: str) -> Decision:
    """Wait, or end. A detach under way is announced once and then watched; otherwise the time to live ends the wait."""
    under_way = progress.accepted or progress.detaching
    if not under_way:
        return failed(otherwise) if time else REQUEUE
    if time >= 2:
        return failed(otherwise if otherwise != "gave_up" else "stuck_detaching")
    return Decision("announce") if time and not progress.announced else REQUEUE
