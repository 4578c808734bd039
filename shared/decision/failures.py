"""What follows a failure of our own code: the look is repeated a few times, and then the request gets a verdict."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from traceback import extract_tb

from shared.decision.case import Case, Conclude, Requeue, kept_calls
from shared.decision.requeue import as_check, pause, queue_delay
from shared.model import Call, Cause, Outcome, Reason
from shared.policy import AFTER_FAILURE, FAILURES

CODE = Path(__file__).parents[1]
"""The package `shared`."""


def after_failure(
    case: Case, error: BaseException, sent: bool, calls: tuple[Call, ...], now: datetime
) -> tuple[Case, Requeue | Conclude]:
    """Record the failure; return the case and what follows.

    `case` is the case before its DELETE if that was `sent`, or else before the look. The outcome of a sent DELETE is
    unknown. Only the class and the place of the error are kept, since its message may contain anything.
    """
    was = case.progress
    failures, last_error = was.failures + 1, f"our own code failed: {place_of(error)}"
    progress = replace(
        was,
        failures=failures,
        last_error=last_error,
        calls=kept_calls(was.calls, calls),
        # As after a redelivery: the look may have had effects that it could not record.
        redelivered_since=None if was.followed else was.redelivered_since or case.message.first_received_at or now,
    )
    if sent:
        progress = replace(
            progress, deletes_sent=was.deletes_sent + 1, unsettled=was.unsettled + 1, last_delete_at=now, receipt=None
        )
    case = replace(case, progress=progress)
    if failures >= FAILURES:
        return case, dead_lettered(case, f"our own code failed on it {failures} times in a row", Cause.CODE_FAILED)
    request = case.request
    seconds = pause(AFTER_FAILURE, failures - 1, f"{request.source} {request.id} {request.volume_id}")
    return case, Requeue(queue_delay(seconds), last_error)


def place_of(error: BaseException) -> str:
    """The class of an error and the innermost line of our code that it came from; nothing that a sender or the cloud
    wrote."""
    kind = type(error).__name__
    for frame in reversed(extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(CODE):
            return f"{kind} in {path.relative_to(CODE.parent).as_posix()}, line {frame.lineno}, {frame.name}"
    return kind


# -------------------------------------------------------------------------------------------------- dead letters


def dead_lettered(case: Case, why: str, cause: Cause) -> Conclude:
    """The verdict on a case that no look could finish; for a dry run, as a `checked` event."""
    explanation = f"{why}; {what_is_known(case)}"
    conclusion = Conclude(Outcome.FAILED, Reason.DEAD_LETTERED, Reason.DEAD_LETTERED, explanation, cause)
    return as_check(conclusion) if case.request.dry_run else conclusion


def died(case: Case) -> Conclude:
    """The verdict on a case in the dead-letter queue: no delivery of its message was acknowledged."""
    progress = case.progress
    if progress.failures:
        why = f"our own code failed on it {progress.failures} times in a row, and no later look was finished"
        return dead_lettered(case, why, Cause.CODE_FAILED)
    why = "no finished look is on record"
    if not case.fresh and progress.polls:
        why = f"{progress.polls} looks are on record, and no later one was finished"
    causes = "the function was throttled, or ran out of time or memory, or AWS did not accept the result of the look"
    return dead_lettered(case, f"{why}: {causes}", Cause.NO_LOOK_FINISHED)


def what_is_known(case: Case) -> str:
    """The recorded progress. A look that was interrupted may have done more than it recorded."""
    request, progress = case.request, case.progress
    if request.dry_run:
        return "it was a dry run, which never sends a DELETE"
    if not request.volume_id:
        error = f"; last error: {progress.last_error}" if progress.last_error else ""
        return f"the server's data disks were not listed, and no DELETE was sent{error}"
    if progress.accepted_at:
        known = f"the cloud accepted the detach at {progress.accepted_at:%Y-%m-%dT%H:%M:%SZ}"
    elif progress.deletes_sent:
        known = f"{progress.deletes_sent} DELETE(s) were sent, the last at {progress.last_delete_at:%Y-%m-%dT%H:%M:%SZ}"
    else:
        known = "no DELETE is on record, but the interrupted look may have sent one"
    error = f"; last error: {progress.last_error}" if progress.last_error else ""
    return (
        f"{known}; whether the volume is detached is not known{error}: compare "
        f"`openstack volume show {request.volume_id} -c status -c attachments` with "
        f"`openstack server volume list {request.server_id}`"
    )
