"""The time bound of each request, and the metric for overdue ones."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from shared.decision.case import Case
from shared.decision.overdue import bound, seconds_overdue, seconds_undelivered
from shared.policy import LATE_LOOK, LATE_VERDICT, Policy
from tests.builders import (
    FOLLOWING,
    NOT_LISTED,
    NOW,
    accepted,
    ago,
    attachment,
    case,
    joined,
    lost,
    progress,
    request,
    seen,
    volume,
)

POLICY = Policy()
HOUR, WATCH = POLICY.request_ttl, POLICY.watch_timeout
SOON = NOW + timedelta(minutes=5)
EXPIRES = request(expires_at=SOON)
MOVING = seen(volume("in-use", attachment(), attachment(attachment_id="b" * 36)))


@pytest.mark.parametrize(
    ("waiting", "ends"),
    [
        pytest.param(case(progress(first_seen_at=ago(minutes=10))), ago(minutes=10) + HOUR, id="from its first look"),
        pytest.param(case(asked=request(requested_at=SOON)), SOON + HOUR, id="from its own time, if that is later"),
        pytest.param(case(asked=request(request_ttl=60)), NOW + timedelta(seconds=60), id="by a time of its own"),
        pytest.param(case(accepted(100)), ago(seconds=100) + WATCH, id="from its acceptance"),
        pytest.param(case(joined(100)), ago(seconds=100) + WATCH, id="from another's detach that it joined"),
        pytest.param(case(asked=EXPIRES), SOON, id="expires, not looked at yet"),
        pytest.param(case(asked=request(expires_at=ago(days=1))), NOW, id="expired before the first look"),
        pytest.param(case(asked=request(expires_at=NOW + 2 * HOUR)), NOW + HOUR, id="expires later than it is tried"),
        pytest.param(case(asked=EXPIRES).saw(seen(volume()), POLICY, NOW), SOON, id="expires, the disk is the one"),
        pytest.param(case(asked=EXPIRES).saw(MOVING, POLICY, NOW), NOW + HOUR, id="expires, the disk is moving"),
        pytest.param(case(asked=EXPIRES).saw(seen(volume("available"), NOT_LISTED), POLICY, NOW), NOW + HOUR,
            id="expires, the disk is not there"),
        pytest.param(replace(case(asked=EXPIRES).saw(seen(volume()), POLICY, NOW), apart=True), NOW + HOUR,
            id="expires, the planes name two"),
        pytest.param(case(FOLLOWING, EXPIRES).saw(replace(seen(volume()), server=None), POLICY, NOW), NOW + HOUR,
            id="expires, the server is not known"),
        pytest.param(case(lost(1, 10), EXPIRES), NOW + HOUR, id="expires, a DELETE may have had its effect"),
        pytest.param(case(accepted(0), EXPIRES), NOW + WATCH, id="expires, a detach is under way"),
        pytest.param(
            case(joined(0), EXPIRES).saw(seen(volume("detaching", multiattach=True)), POLICY, NOW), NOW + HOUR,
            id="expires, a shared disk is detaching"),
    ],
)  # fmt: skip
def test_a_request_has_a_bound(waiting: Case, ends: datetime) -> None:
    """It follows from its time to live, its expiry, or the watch of a detach."""
    assert bound(waiting, POLICY) == ends


def test_a_request_is_overdue_when_its_last_look_is() -> None:
    """Not before that look could be delivered, and then by each second."""
    waiting, late = case(), NOW + HOUR + timedelta(seconds=LATE_LOOK)
    at = [NOW, late, late + timedelta(seconds=1), late + timedelta(hours=1)]
    assert [seconds_overdue(waiting, POLICY, now) for now in at] == [0, 0, 1, 3600]


def test_a_verdict_is_late_that_the_bus_does_not_take() -> None:
    """From half an hour on."""
    assert LATE_VERDICT == 1800
    assert [seconds_undelivered(waited) for waited in (0, 1800, 1801)] == [0, 0, 1]
