"""What follows an answer rather than a look: after the DELETE, and when the cloud could not be read (pure)."""

from __future__ import annotations

from datetime import datetime

from shared.decision.backoff import POLL
from shared.decision.requeue import Policy, delay, failed, wait
from shared.decision.rules import as_check
from shared.model import AnswerClass, Classified, Conclude, Decision, DetachRequest, Progress, Reason, Wait

NOT_FOUND = (Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND)


def decide_after_delete(
    request: DetachRequest, progress: Progress, answer: Classified, policy: Policy, now: datetime
) -> Decision:
    """What follows a DELETE: only a clear no ends the request; not-found and the unknown are read, not counted."""
    least = answer.retry_after or 0
    why = f"DELETE: {answer.code} {answer.message}".strip()
    match answer.kind:
        case AnswerClass.PERMANENT if answer.reason and answer.reason not in NOT_FOUND:
            return failed(answer.reason, why)
        case AnswerClass.REAUTHENTICATE:
            return failed(Reason.UNAUTHORIZED, why)
        case AnswerClass.ACCEPTED:
            return wait(request, progress, policy, now, "accepted")
        case AnswerClass.RETRY:
            return wait(request, progress, policy, now, why, least)
        case AnswerClass.WAIT:
            # Soon: the next look tells what is being waited for, and has its own pace.
            return wait(request, progress, policy, now, why, least, schedule=POLL)
    return Wait(delay(least), why)


def decide_in_trouble(
    request: DetachRequest, progress: Progress, answer: Classified, policy: Policy, now: datetime
) -> Decision:
    """The world could not be read. Before a DELETE a clear no is an answer; after one only a look can be."""
    why = f"{answer.code}: {answer.message}".rstrip(": ")
    permanent = answer.kind in (AnswerClass.PERMANENT, AnswerClass.REAUTHENTICATE)
    reason = answer.reason or Reason.UNAUTHORIZED
    if permanent and not progress.deletes_sent:
        decision: Decision = failed(reason, why)
    elif request.expires_at and now >= request.expires_at and not progress.deletes_sent:
        decision = failed(Reason.EXPIRED, f"expired at {request.expires_at.isoformat()}; {why}")
    else:
        decision = wait(request, progress, policy, now, why, answer.retry_after or 0)
        if isinstance(decision, Conclude) and (progress.deletes_sent or progress.detaching_since):
            blind = f"the cloud could not be read any more: {why}"
            decision = failed(reason if permanent else Reason.GAVE_UP, blind)
    if request.dry_run and isinstance(decision, Conclude):
        return as_check(decision)
    return decision
