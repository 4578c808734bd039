"""The promise, watched: by when each request has its verdict, and how late one is that still waits for it.

The bound is worked out here anew, and not taken from the rules that keep it (`requeue`): a mistake in those is what
has to show.
"""

from datetime import datetime

from shared.decision.case import Case
from shared.decision.meant import OURS
from shared.decision.requeue import time_to_live
from shared.policy import LATE_LOOK, LATE_VERDICT, Policy


def bound(case: Case, policy: Policy) -> datetime:
    """The moment at which the rules end the request, by what is known of it.

    While a detach is under way: the end of its watch. Else the end of the request's time to live, or its own expiry if
    that is earlier and the rules ask for it.
    """
    request, since = case.request, case.watching_since
    if since is not None:
        return since + policy.watch_timeout
    begun = max(request.requested_at, case.progress.first_seen_at)
    ends = begun + time_to_live(request, policy)
    return min(ends, max(request.expires_at, begun)) if request.expires_at and _ends_at_expiry(case) else ends


def _ends_at_expiry(case: Case) -> bool:
    """A DELETE that may have had its effect is followed past the expiry, and so is a disk that may be moving."""
    progress, seen = case.progress, case.seen
    clear = seen is None or (case.standing in OURS and not case.apart and seen.server is not None)
    return clear and not progress.unsettled and progress.detaching_since is None


def seconds_overdue(case: Case, policy: Policy, now: datetime) -> float:
    """By how many seconds a request that waits is past its bound and the time its last look may take; 0 in time."""
    return max(0.0, (now - bound(case, policy)).total_seconds() - LATE_LOOK)


def seconds_undelivered(waited: float) -> float:
    """By how many seconds a verdict is late that the bus has not taken for `waited` seconds; 0 in time."""
    return max(0.0, waited - LATE_VERDICT)
