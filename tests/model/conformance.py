"""Compares the product's decisions with the model's, for every look that is possible in the model.

Each look is translated into the product's types. A difference must be listed in `ACCEPTED`, with its reason.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

from shared.decision.case import Conclude, Delete, Requeue
from shared.decision.case import Decision as ProductDecision
from shared.decision.progress import Denial
from shared.decision.progress import Progress as ProductProgress
from shared.decision.rules import decide as product_decides
from shared.model import Attachment, Ended, Listed, Reason, Seen
from shared.policy import Policy
from tests.builders import CREATED, NOW, VOLUME, ago, case, record, request, server, volume
from tests.model.rules import decide
from tests.model.states import Decision, Held, Look, Progress

ASKED_AT = {0: ago(minutes=5), 1: ago(hours=2), 2: ago(hours=9)}
BEGAN_AT = {0: ago(seconds=40), 1: ago(minutes=20), 2: ago(hours=8)}
"""The times of the request and of the start of a detach, by the model's time.

At 0 no timeout is over, at 1 all but the watch timeout are, at 2 all are.
"""

HELD = (Held(1), Held(1, 1), Held(2))
IDS = {held: f"{held.binding}{held.moves}" * 16 for held in HELD}


class Situation(NamedTuple):
    """A look, the progress before it, and the model's time."""

    look: Look
    was: Progress
    time: int


def situations() -> Iterator[Situation]:
    """Every situation that can occur in the model, including changes between the two reads of a look."""
    looks = [
        Look(present, listed, status, shown, failed)
        for present, listed, status, shown, failed in itertools.product(
            (True, False), (None, *HELD), ("in-use", "detaching", "reserved", "available", "gone"), (None, *HELD),
            ("", "refused", "stuck")
        )
        if _can_be(present, listed, status, shown) and not (failed == "stuck" and status != "detaching")
    ]  # fmt: skip
    stages = [
        Progress(followed, accepted, unsettled, accepted or unsettled > 0, idle, detaching, denied, False, again)
        for followed, accepted, unsettled, idle, detaching, denied, again in itertools.product(
            (None, Held(1), Held(1, 1)), (False, True), (0, 1, 3), (0, 1), (False, True), (False, True), (False, True)
        )
        if _can_have_been(followed, accepted, unsettled, idle, detaching, denied, again)
    ]
    for look, was, time in itertools.product(looks, stages, (0, 1, 2)):
        if not (look.failed and not was.accepted) and not (time == 2 and not (was.accepted or was.detaching)):
            yield Situation(look, was, time)


def _can_be(present: bool, listed: Held | None, status: str, shown: Held | None) -> bool:
    if not present and listed:
        return False
    if status in ("reserved", "available", "gone"):
        return shown is None
    return shown is not None or status == "detaching"


def _can_have_been(
    followed: Held | None, accepted: bool, unsettled: int, idle: int, detaching: bool, denied: bool, again: bool
) -> bool:
    if followed is None and (accepted or unsettled or idle or detaching or denied):
        return False
    if denied and not (unsettled == 1 and not accepted):
        return False
    if detaching and unsettled and not accepted:
        return False
    return not (again and followed) and not (accepted and unsettled)


# ------------------------------------------------------------------------------- translation to the product's types


def _attachment(held: Held) -> Attachment:
    """The product's attachment: 30 days old for the first binding, a minute old after a move or for the second."""
    since = ago(days=30) if held == Held(1) else ago(seconds=60)
    return Attachment(IDS[held], since, "/dev/sdb", bdm_uuid=f"binding {held.binding}")


def _seen(look: Look) -> Seen:
    status = look.volume
    shown = [_attachment(look.shown)] if look.shown else []
    changed = ago(hours=10) if look.failed == "stuck" else NOW
    disk = None if status == "gone" else replace(volume("available"), status=status, updated_at=changed)
    if disk and shown:
        disk = volume(status, *shown, updated_at=changed)
    listing = (Listed(VOLUME, "/dev/sdb", IDS[look.listed], f"binding {look.listed.binding}"),) if look.listed else ()
    newest = look.shown or look.listed
    kind = "attach_volume" if newest and newest.binding > 1 else "resize"
    actions = (CREATED, *((record(kind, ago(seconds=70), ago(seconds=55)),) if newest and newest != Held(1) else ()))
    present = look.server
    return Seen(disk, listing if present else None, server() if present else None, actions=actions,
                ended=Ended.FAILED if look.failed else None)  # fmt: skip


def _progress(was: Progress, time: int) -> ProductProgress:
    began = BEGAN_AT[time]
    return ProductProgress(
        first_seen_at=ASKED_AT[time],
        polls=3 if was.followed else 0,
        followed=_attachment(was.followed) if was.followed else None,
        accepted_at=began if was.accepted else None,
        deletes_sent=max(was.unsettled, int(was.accepted)),
        unsettled=was.unsettled,
        last_delete_at=began if was.unsettled else None,
        idle_reads=was.idle,
        detaching_seen=was.detaching,
        detaching_since=began if was.detaching else None,
        denied=Denial(reason=Reason.FORBIDDEN, why="DELETE: http_403") if was.denied else None,
        redelivered_since=ago(minutes=4) if was.redelivered else None,
    )


def _translated(decision: ProductDecision) -> Decision:
    match decision:
        case Delete():
            return Decision("delete")
        case Requeue(announce_unconfirmed=announces):
            return Decision("announce" if announces else "requeue")
        case Conclude(outcome, detail):
            return Decision(str(outcome), str(detail))


def both(situation: Situation) -> tuple[Decision, Decision]:
    """The model's decision and the product's."""
    look, was, time = situation
    asked = request(requested_at=ASKED_AT[time])
    policy = Policy(watch_timeout=timedelta(hours=6))
    seen = case(_progress(was, time), asked).saw(_seen(look), policy, NOW)
    return decide(look, was, time), _translated(product_decides(seen, policy, NOW))


# ---------------------------------------------------------------------------------------------------- comparison

ACCEPTED: dict[str, str] = {}
"""Accepted differences and their reasons, by "model's decision / product's decision"."""


@dataclass
class Compared:
    """The number of compared looks, of accepted differences, and the situations with other differences."""

    looks: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    differ: dict[str, list[Situation]] = field(default_factory=dict)


def compare() -> Compared:
    found = Compared()
    for situation in situations():
        found.looks += 1
        ours, theirs = both(situation)
        if ours == theirs:
            continue
        name = f"{' '.join(ours).strip()} / {' '.join(theirs).strip()}"
        if name in ACCEPTED:
            found.accepted[name] += 1
        else:
            found.differ.setdefault(name, []).append(situation)
    return found
