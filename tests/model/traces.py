"""Checks steps of the product in a simulation against the model: the model must allow each step, unless it is a wait.

A look of the product is translated into looks of the model. The model is coarser than the product (its time has three
values; a list that was not read may have either content), so each translation is tried, and one must allow the step.
The model has no gates, expiry times, shared disks or shelved disks; looks at these are counted as outside of it.
"""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue
from shared.decision.meant import OURS, Standing
from shared.model import Ended, Reason
from shared.policy import Policy
from tests.model.rules import settle
from tests.model.states import MEANT, Held, Look, Progress
from tests.model.states import Decision as Step

NOT_MODELLED = {
    Reason.EXPIRED: "expired",
    Reason.ATTACHED_ELSEWHERE: "attached elsewhere",
    Reason.VOLUME_ERROR: "volume in error",
    **dict.fromkeys(
        (
            Reason.SYSTEM_DISK, Reason.ATTESTATION_REQUIRED, Reason.SERVER_RUNNING, Reason.SERVER_LOCKED,
            Reason.VOLUME_LOCKED, Reason.VOLUME_FROZEN, Reason.VOLUME_PROTECTED,
            Reason.NOT_BARE_METAL,
        ),
        "gates",
    ),
}  # fmt: skip
"""Reasons that the model does not have."""

STATUSES = ("in-use", "detaching", "reserved", "available")
UNMARKED = timedelta(minutes=1)
"""The time within which the volume shows an accepted detach. After it, the model's time may be 1."""


def check(case: Case, decision: Decision, policy: Policy, now: datetime) -> tuple[str, str]:
    """The result of the check (`allowed`, `waits`, `outside` or `differs`) and its subject, for a case after a look."""
    if why := _outside(case, decision):
        return "outside", why
    step = _step(decision)
    if step.kind == "requeue":
        return "waits", "for a later look"
    looks = list(_looks(case))
    for look, time in itertools.product(looks, _times(case, policy, now)):
        if _same(settle(look, _progress(case), time), step, case):
            return "allowed", step.kind
    return "differs", f"{' '.join(step).strip()}: {looks[0]} after {_progress(case)}"


def _outside(case: Case, decision: Decision) -> str | None:
    volume, seen = case.volume, case.seen
    if seen is None:
        return "no look"
    if case.request.dry_run:
        return "dry run"
    if (volume and volume.multiattach) or case.offloaded or case.several:
        return "shared, shelved or migrated disk"
    if case.standing in (Standing.ASK, Standing.UNKNOWN):
        return "attachment of unknown origin"
    if volume and volume.status not in STATUSES and case.ours:
        return "other volume status"
    if isinstance(decision, Conclude) and decision.reason in NOT_MODELLED:
        return NOT_MODELLED[decision.reason]
    return None


def _step(decision: Decision) -> Step:
    match decision:
        case Delete():
            return Step("delete")
        case Requeue(announce_unconfirmed=announces):
            return Step("announce" if announces else "requeue")
        case Conclude(outcome, detail):
            return Step(str(outcome), str(detail))


def _same(model: Step, product: Step, case: Case) -> bool:
    """Whether two decisions are the same. The product's reason for a denial varies; the model calls it `forbidden`."""
    denial = case.progress.denied
    if denial and model == Step("failed", "forbidden"):
        return product == Step("failed", str(denial.reason))
    return model == product


def _looks(case: Case) -> Iterator[Look]:
    seen, volume = case.seen, case.volume
    assert seen is not None
    shown = Held(MEANT if case.standing in OURS else MEANT + 1) if case.ours else None
    listed: list[Held | None] = [(shown or Held(MEANT)) if case.listed else None]
    if case.apart and shown:
        listed = [shown._replace(moves=1)]
    if not seen.listing_read:
        listed = [shown or Held(MEANT), None]
    status = "gone" if volume is None else volume.status
    there = seen.listing is not None or not seen.listing_read
    if there and not shown and status not in ("detaching", "reserved", "gone"):
        status = "available"  # also if the disk is on another server, or busy
    failed = ("", "refused", "stuck") if seen.ended is Ended.FAILED else ("",)
    yield from (Look(there, one, status, shown, how) for one, how in itertools.product(listed, failed))


def _progress(case: Case) -> Progress:
    """The model's progress. An earlier delivery counts only if a newer attachment was made after it."""
    was, ours = case.progress, case.ours
    newer = was.redelivered_since and ours and ours.attached_at and ours.attached_at > was.redelivered_since
    return Progress(
        followed=Held(MEANT) if was.followed else None,
        accepted=was.accepted_at is not None,
        unsettled=min(was.unsettled, 3),
        sent=was.deletes_sent > 0,
        idle=min(was.idle_reads, 2),
        detaching=was.detaching_since is not None,
        denied=was.denied is not None,
        announced=was.unconfirmed_id is not None,
        redelivered=bool(newer),
    )


def _times(case: Case, policy: Policy, now: datetime) -> set[int]:
    progress = case.progress
    under_way = progress.accepted_at or progress.detaching_since
    if not under_way:
        begun = max(case.request.requested_at, progress.first_seen_at)
        own = case.request.request_ttl
        ttl = policy.request_ttl if own is None else timedelta(seconds=own)
        return {int(now >= begun + ttl)}
    past = now - under_way
    times = {sum(past >= bound for bound in (policy.confirm_timeout, policy.watch_timeout))}
    return times | {1} if past >= UNMARKED and times == {0} and progress.idle_reads else times
