"""When a case gets its next look and when its time is up: after a look, after a DELETE, and when the cloud cannot be
read."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate
from math import ceil
from random import Random

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue, failed
from shared.model import AnswerClass, Classified, DetachRequest, Detail, Outcome, Reason
from shared.policy import AT_ONCE, JUST_CHANGED, LONGEST_DELAY, POLL, RETRY, WATCH, Backoff, Policy, Steps


def requeue(
    case: Case, policy: Policy, now: datetime, why: str, least: float = 0, schedule: Backoff | Steps = RETRY
) -> Requeue | Conclude:
    """Look again later, unless the time is up.

    If no detach is under way, the time is the request's time to live. If one is, it counts as unconfirmed after a
    while, which is announced once; then looks are rare until the watch ends. `least` is in seconds.
    """
    request, progress, since = case.request, case.progress, case.watching_since
    seed = f"{request.source} {request.id} {request.volume_id}"
    announce = False
    if since is None:
        ends = max(request.requested_at, progress.first_seen_at) + time_to_live(request, policy)
        if now >= ends:
            return _given_up(case, now, f"last: {progress.last_error or why}")
        if request.expires_at and now < request.expires_at:
            ends = min(ends, request.expires_at)
    else:
        ends, schedule = since + policy.watch_timeout, WATCH
        if now >= ends:
            return failed(Reason.STUCK_DETACHING, f"{why}; watched for {policy.watch_timeout}")
        confirm_by = since + policy.confirm_timeout
        announce = not progress.unconfirmed_id and now >= confirm_by
        if now < confirm_by:
            soon = about_to_end(case, now)
            ends, schedule = confirm_by, AT_ONCE if soon else (until_next_look((now - since).total_seconds()),)
    seconds = max(pause(schedule, 0 if announce else progress.attempt, seed), least)
    # The next look is not later than `ends`, so that it can report the end.
    return Requeue(queue_delay(min(seconds, (ends - now).total_seconds())), why, announce)


def _given_up(case: Case, now: datetime, last: str) -> Conclude:
    """The verdict when the time is up: `expired` for the request's own expiry, `gave_up` for its time to live.

    `expired` says that nothing was begun. That is known only after a look, since another delivery may have sent a
    DELETE.
    """
    expires_at = case.request.expires_at
    if case.seen and expires_at and now >= expires_at:
        return failed(Reason.EXPIRED, f"expired at {expires_at.isoformat()}; {last}")
    return failed(Reason.GAVE_UP, last)


def time_to_live(request: DetachRequest, policy: Policy) -> timedelta:
    """How long this request may be tried: what it asks for, up to the operator's limit."""
    asked = request.request_ttl
    return min(policy.request_ttl if asked is None else timedelta(seconds=asked), policy.request_ttl_limit)


def about_to_end(case: Case, now: datetime) -> bool:
    """Whether the detach seems about to end: the volume is idle for the first time, or was released a moment ago."""
    volume = case.volume
    if volume is None or volume.status == "detaching" or not case.progress.accepted_at:
        return False
    changed = volume.updated_at
    freed = case.ours is None and changed is not None and now - changed < timedelta(seconds=JUST_CHANGED)
    return freed or (case.progress.idle_reads == 1 and case.progress.detaching_seen)


LOOKS = tuple(accumulate(POLL))
"""Seconds after the acceptance at which looks are due; later looks keep the last interval."""


def until_next_look(elapsed: float) -> int:
    """Seconds until the next look at a detach that has been under way for `elapsed` seconds. A look that is due now is
    the current one."""
    due = next((at for at in LOOKS if at > elapsed + 0.5), elapsed + POLL[-1])
    return max(1, round(due - elapsed))


def pause(schedule: Backoff | Steps, attempt: int, seed: str) -> int:
    """Seconds until the next attempt; the same for the same seed, so that a redelivery waits as long as the first
    delivery."""
    if isinstance(schedule, tuple):
        return schedule[min(attempt, len(schedule) - 1)]
    grown = min(schedule.cap, schedule.first * schedule.factor ** min(attempt, 64))
    return max(1, round(grown * (1 - Random(f"{seed}/{attempt}").random() / 3)))  # noqa: S311 - no secret


def queue_delay(seconds: float) -> int:
    """A delay that the queue supports: whole seconds, rounded up, from 1 to 900."""
    return max(1, min(LONGEST_DELAY, ceil(seconds)))


def after_delete(case: Case, answer: Classified, policy: Policy, now: datetime) -> Requeue | Conclude:
    """What follows a DELETE: another look, even after a clear refusal, since a gateway may refuse after the DELETE had
    its effect."""
    least = answer.retry_after or 0
    why = f"DELETE: {answer.code} {answer.message}".strip()
    match answer.kind:
        case AnswerClass.PERMANENT if case.progress.denied:
            return Requeue(POLL[0], why)
        case AnswerClass.ACCEPTED:
            return Requeue(POLL[0], "accepted")
        case AnswerClass.RETRY:
            return requeue(case, policy, now, why, least)
        case AnswerClass.WAIT:
            # Look soon: the next look finds out what the cloud waits for, and chooses the pace.
            return requeue(case, policy, now, why, least, schedule=POLL)
    decision = requeue(case, policy, now, why, least, schedule=AT_ONCE)
    # An unknown outcome gets a look before a verdict, even if the time is up.
    return decision if isinstance(decision, Requeue) else Requeue(queue_delay(0), why)


def when_unreadable(case: Case, answer: Classified, policy: Policy, now: datetime) -> Requeue | Conclude:
    """What follows a failed read. A clear refusal is a verdict unless a detach may be under way; then only a look can
    give one.

    An earlier delivery of the message may have sent a DELETE and died.
    """
    request, progress = case.request, case.progress
    why = f"{answer.code}: {answer.message}".rstrip(": ")
    permanent = answer.kind in (AnswerClass.PERMANENT, AnswerClass.REAUTHENTICATE)
    reason = answer.reason or Reason.UNAUTHORIZED
    begun = progress.deletes_sent or progress.detaching_since or progress.redelivered_since
    if permanent and (request.dry_run or not begun):
        decision: Requeue | Conclude = failed(reason, why)
    else:
        # A half-finished look is not enough for a verdict.
        decision = requeue(replace(case, seen=None), policy, now, why, answer.retry_after or 0)
        if isinstance(decision, Conclude) and begun:
            blind = f"the cloud could no longer be read: {why}"
            decision = failed(reason if permanent else Reason.GAVE_UP, blind)
    if request.dry_run and isinstance(decision, Conclude):
        return as_check(decision)
    return decision


def as_check(decision: Decision) -> Conclude:
    """The result of a dry run, which ends before its first effect: what a real request would do."""
    match decision:
        case Delete():
            return Conclude(Outcome.CHECKED, Detail.WOULD_DETACH, explanation="all checks passed")
        case Requeue(why=why):
            return Conclude(Outcome.CHECKED, Detail.WOULD_WAIT, explanation=why)
        case Conclude(Outcome.DETACHED, detail, _, explanation):
            return Conclude(Outcome.CHECKED, Detail(f"would_report_{detail}"), explanation=explanation)
        case Conclude(_, _, reason, explanation, cause):
            return Conclude(Outcome.CHECKED, Detail.WOULD_FAIL, reason, explanation, cause)
