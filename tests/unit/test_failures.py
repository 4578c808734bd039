"""The handling of looks that our own code fails on, or that never finish."""

import re
from dataclasses import replace
from typing import Any, cast

import pytest

from shared import strict_json
from shared.decision.case import Case, Conclude, Requeue
from shared.decision.failures import after_failure, died
from shared.decision.progress import Progress
from shared.decision.requeue import pause
from shared.model import Cause, Detail, Message, Outcome, Reason
from shared.policy import AFTER_FAILURE, FAILURES
from tests.builders import FOLLOWING, FRESH, NOW, SERVER, VOLUME, accepted, ago, call, case, lost, progress, request

SEED = f"/changes 4711 {VOLUME}"
BUG = KeyError("a name that nobody may read")
SAID = "our own code failed: KeyError"
LOOK = (call("get_server"), call("get_volume", 503))
FIRST = ago(seconds=40)


def received(so_far: Progress, **changes: Any) -> Case:
    return replace(case(so_far), message=Message("{}", "m-1", "queue", NOW, **changes))


# ------------------------------------------------------------------------------------------ after one failure


@pytest.mark.parametrize(
    ("before", "sent", "booked"),
    [
        pytest.param(FOLLOWING, False, replace(FOLLOWING, failures=1, last_error=SAID, calls=LOOK), id="followed"),
        pytest.param(FRESH, False, progress(failures=1, last_error=SAID, calls=LOOK, redelivered_since=FIRST),
            id="nothing followed: an earlier delivery may have done anything"),
        pytest.param(progress(redelivered_since=ago(hours=1)), False, progress(failures=1, last_error=SAID, calls=LOOK,
            redelivered_since=ago(hours=1)), id="redelivered before"),
        pytest.param(lost(1, 60, receipt="req-1", failures=2, calls=LOOK), True, lost(2, 0, failures=3, last_error=SAID,
            calls=(LOOK[1], *LOOK)), id="a DELETE was sent, whose outcome is not known"),
    ],
)  # fmt: skip
def test_failure_is_booked(before: Progress, sent: bool, booked: Progress) -> None:
    """It is counted; its calls, its kind and a sent DELETE are kept."""
    after, _ = after_failure(received(before, first_received_at=FIRST), BUG, sent, LOOK, NOW)
    assert after == received(booked, first_received_at=FIRST)


def test_queue_that_does_not_tell_when_it_first_delivered() -> None:
    """Then an earlier delivery counts as having just happened."""
    after, _ = after_failure(received(FRESH), BUG, False, (), NOW)
    assert after.progress.redelivered_since == NOW


@pytest.mark.parametrize("failures", range(FAILURES - 1))
def test_look_is_repeated_ever_later(failures: int) -> None:
    """A failure may end with a change in the cloud or a new release."""
    _, then = after_failure(case(progress(failures=failures)), BUG, False, (), NOW)
    assert then == Requeue(pause(AFTER_FAILURE, failures, SEED), SAID)


KNOWN = (
    "no DELETE is on record, but the interrupted look may have sent one; whether the volume is detached is not "
    f"known; last error: {SAID}: compare `openstack volume show {VOLUME} -c status -c attachments` with `openstack "
    f"server volume list {SERVER}`"
)


def test_last_of_many_failures_in_a_row_is_answered() -> None:
    """The verdict says what failed, what is known, and where to look."""
    _, then = after_failure(case(progress(failures=FAILURES - 1)), BUG, False, (), NOW)
    why = f"our own code failed on it 6 times in a row; {KNOWN}"
    assert then == Conclude(Outcome.FAILED, Reason.DEAD_LETTERED, Reason.DEAD_LETTERED, why, Cause.CODE_FAILED)


def test_an_error_is_recorded_by_its_kind_and_our_line() -> None:
    """The place in our code is recorded, but not the message, which may contain anything."""
    with pytest.raises(AttributeError) as found:
        strict_json.loads(cast(Any, 5))
    _, then = after_failure(case(), found.value, False, (), NOW)
    assert isinstance(then, Requeue)
    assert re.fullmatch(r"our own code failed: AttributeError in shared/strict_json\.py, line \d+, \w+", then.why)


# ------------------------------------------------------------------------------------------- in the dead letters

CAUSES = "the function was throttled, or ran out of time or memory, or AWS did not accept the result of the look"
NO_DELETE = (
    "no DELETE is on record, but the interrupted look may have sent one; whether the volume is detached is not known"
)
COMPARE = (
    f"compare `openstack volume show {VOLUME} -c status -c attachments` with `openstack server volume list {SERVER}`"
)
LOOKED = replace(case(progress(polls=3)), fresh=False)


@pytest.mark.parametrize(
    ("dead", "cause", "why"),
    [
        (case(), Cause.NO_LOOK_FINISHED, f"no finished look is on record: {CAUSES}; {NO_DELETE}: {COMPARE}"),
        (LOOKED, Cause.NO_LOOK_FINISHED,
            f"3 looks are on record, and no later one was finished: {CAUSES}; {NO_DELETE}: {COMPARE}"),
        (replace(LOOKED, fresh=True), Cause.NO_LOOK_FINISHED,
            f"no finished look is on record: {CAUSES}; {NO_DELETE}: {COMPARE}"),
        (replace(case(), fresh=False), Cause.NO_LOOK_FINISHED,
            f"no finished look is on record: {CAUSES}; {NO_DELETE}: {COMPARE}"),
        (case(lost(2, 60, last_error="http_502: bad")), Cause.NO_LOOK_FINISHED,
            f"no finished look is on record: {CAUSES}; 2 DELETE(s) were sent, the last at 2026-11-23T08:59:00Z; "
            f"whether the volume is detached is not known; last error: http_502: bad: {COMPARE}"),
        (case(accepted(60, failures=2)), Cause.CODE_FAILED,
            "our own code failed on it 2 times in a row, and no later look was finished; the cloud accepted the "
            f"detach at 2026-11-23T08:59:00Z; whether the volume is detached is not known: {COMPARE}"),
    ],
)  # fmt: skip
def test_dead_letter_is_answered_with_all_that_is_known(dead: Case, cause: Cause, why: str) -> None:
    """The progress, that the outcome is unknown, and how to find out."""
    assert died(dead) == Conclude(Outcome.FAILED, Reason.DEAD_LETTERED, Reason.DEAD_LETTERED, why, cause)


def test_dead_dry_run_promises_nothing_about_a_delete() -> None:
    """It ends with the event of a dry run, and has sent nothing."""
    asked = request(dry_run=True)
    why = f"no finished look is on record: {CAUSES}; it was a dry run, which never sends a DELETE"
    expected = Conclude(Outcome.CHECKED, Detail.WOULD_FAIL, Reason.DEAD_LETTERED, why, Cause.NO_LOOK_FINISHED)
    assert died(case(FRESH, asked)) == expected
