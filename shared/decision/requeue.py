"""When to look again, and when time is up (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from shared.decision.backoff import POLL, RETRY, WATCH, Backoff
from shared.decision.gates import RunningServerPolicy
from shared.model import Conclude, DetachRequest, Outcome, Progress, Reason, Wait

LONGEST_DELAY = 900
LONGEST_GLANCES = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator sets; all of it is handed to the core, none of it is read there."""

    confirm_timeout: timedelta = timedelta(seconds=600)
    watch_timeout: timedelta = timedelta(hours=6)
    request_ttl: timedelta = timedelta(hours=1)
    fence_skew: timedelta = timedelta(seconds=5)
    running_server_policy: RunningServerPolicy = RunningServerPolicy.PLATFORM

    @property
    def glances(self) -> timedelta:
        """For so long the server's list alone is asked while it has the volume: a refusal is not noticed meanwhile."""
        return min(LONGEST_GLANCES, self.confirm_timeout / 20)


def failed(reason: Reason, explanation: str = "") -> Conclude:
    return Conclude(Outcome.FAILED, reason.value, reason, explanation)


def watching_since(progress: Progress) -> datetime | None:
    """Since when a detach is under way: our accepted one, or somebody else's that we joined."""
    return progress.accepted_at or progress.detaching_since


def wait(
    request: DetachRequest,
    progress: Progress,
    policy: Policy,
    now: datetime,
    why: str,
    least: float = 0,
    schedule: Backoff = RETRY,
) -> Wait | Conclude:
    """Look again later, unless time is up; which clock runs depends on whether a detach is under way.

    Nothing under way: until the request's time to live. Under way: until it counts as unconfirmed, which is said
    once, and then at a low rate until the watch ends.
    """
    seed = f"{request.source} {request.id} {request.volume_id}"
    # Disks that leave one server are looked at together: they share the reads of it.
    polling = request.server_id
    since = watching_since(progress)
    if since is None:
        ends = max(request.requested_at, progress.first_seen_at) + policy.request_ttl
        if now >= ends:
            return failed(Reason.GAVE_UP, f"last: {progress.last_error or why}")
        return Wait(_until(ends, now, max(schedule.seconds(progress.attempt, seed), least)), why)
    confirm_by, watch_until = since + policy.confirm_timeout, since + policy.watch_timeout
    if now >= watch_until:
        return failed(Reason.STUCK_DETACHING, f"{why}; watched for {policy.watch_timeout}")
    if progress.unconfirmed_id:
        return Wait(_until(watch_until, now, max(WATCH.seconds(progress.attempt, seed), least)), why)
    if now >= confirm_by:
        return Wait(_until(watch_until, now, WATCH.seconds(0, seed)), why, announce_unconfirmed=True)
    return Wait(_until(confirm_by, now, max(POLL.seconds(progress.attempt, polling), least)), why)


def _until(deadline: datetime, now: datetime, seconds: float) -> int:
    """Never sleep past a deadline: the look that meets it is the one that says so."""
    return delay(min(seconds, (deadline - now).total_seconds()))


def delay(seconds: float) -> int:
    """What a queue can do: whole seconds, never less than asked for, and at most fifteen minutes."""
    return max(1, min(LONGEST_DELAY, ceil(seconds)))
