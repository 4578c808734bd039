"""Measures how late a request is: when it must have a verdict, and how long it has been waiting beyond that.

The bound is computed here independently of the rules that enforce it (`requeue`), so that a mistake in those shows.
"""

from datetime import datetime

from shared.decision.case import Case
from shared.decision.meant import OURS
from shared.decision.requeue import time_to_live
from shared.policy import LATE_LOOK, LATE_VERDICT, Policy


def bound(case: Case, policy: Policy) -> datetime:
    """The time at which the rules end the request, as far as known.

    While a detach is under way: the end of its watch. Otherwise: the end of the time to live, or the request's own
    expiry if that is earlier and applies.
    """
    request, since = case.request, case.watching_since
    if since is not None:
        return since + policy.watch_timeout
    begun = max(request.requested_at, case.progress.first_seen_at)
    ends = begun + time_to_live(request, policy)
    return min(ends, max(request.expires_at, begun)) if request.expires_at and _ends_at_expiry(case) else ends


def _ends_at_expiry(case: Case) -> bool:
    """Whether the expiry applies: a DELETE that may have had an effect, or a disk that may be moving, is followed past
    it."""
    progress, seen = case.progress, case.seen
    clear = seen is None or (case.standing in OURS and not case.apart and seen.server is not None)
    return clear and not progress.unsettled and progress.detaching_since is None


def seconds_overdue(case: Case, policy: Policy, now: datetime) -> float:
    """Seconds by which a waiting request is past its bound and LATE_LOOK; 0 if in time."""
    return max(0.0, (now - bound(case, policy)).total_seconds() - LATE_LOOK)


def seconds_undelivered(waited: float) -> float:
    """Seconds by which a verdict that the bus has not taken for `waited` seconds is late; 0 if in time."""
    return max(0.0, waited - LATE_VERDICT)
