"""Which attachment is meant: what follows from times, names, bindings and records, and from nothing else.

The request was made at REQUESTED, half an hour ago. FOLLOWED was there; OTHER is what the look shows.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from shared.decision.meant import Standing, standing
from shared.decision.progress import Progress
from shared.model import Action, Attachment, DetachRequest
from shared.policy import RECORD_SLACK, Policy
from tests.builders import (
    ATTACHMENT,
    CREATED,
    FRESH,
    NOW,
    OTHER_ATTACHMENT,
    REQUESTED,
    ago,
    attachment,
    progress,
    record,
    request,
)

OTHER = attachment(attachment_id=OTHER_ATTACHMENT, attached_at=ago(minutes=10))
UNDATED = replace(OTHER, attached_at=None)
FOLLOWED = attachment()
FOLLOWING = progress(followed=FOLLOWED)
AGAIN = progress(redelivered_since=ago(minutes=29))
ASKED = request()
NAMED, NAMED_OTHER = request(attachment_id=ATTACHMENT), request(attachment_id=OTHER_ATTACHMENT)
JUST_NOW = request(requested_at=ago(seconds=2))

MOVED = record("resize", ago(minutes=11), ago(minutes=9))
ATTACHED = record("attach_volume", ago(minutes=10.1), ago(minutes=9.9))
DETACHED_BEFORE = record("detach_volume", ago(days=1), ago(days=1))
LONG_OVER = record("resize", ago(minutes=20), ago(minutes=19))
STILL_OPEN = record("evacuate", ago(minutes=10.5), ago(minutes=10.5), open=True)
BEGUN = record("unshelve", ago(minutes=11))
BEGUN_LATER = record("attach_volume", ago(minutes=10.5))
SKEW, SLACK = Policy().fence_skew, timedelta(seconds=RECORD_SLACK)
UNNAMED, ALIKE = Attachment(attached_at=ago(days=30)), Attachment()
BEFORE_IT = record("attach_volume", ago(days=30.01), ago(days=30))
ANOTHER_DISK = record("attach_volume", ago(minutes=5), ago(minutes=5))

NO_RECORDS: tuple[Action, ...] = ()


def records(*those: Action) -> tuple[Action, ...]:
    return CREATED, BEFORE_IT, *those


@dataclass(frozen=True)
class Row:
    name: str
    expected: str
    ours: Attachment = OTHER
    so_far: Progress = FRESH
    asked: DetachRequest = ASKED
    actions: tuple[Action, ...] | None = None


def bound(one: Attachment, binding: str) -> Attachment:
    return replace(one, bdm_uuid=binding)


@pytest.mark.parametrize("row", [
    # Nothing but the look is needed.
    Row("the one that is followed", "meant", FOLLOWED, FOLLOWING),
    Row("there before the request", "meant", FOLLOWED),
    Row("there before the request, and named", "meant", FOLLOWED, asked=NAMED),
    Row("made within the skew", "meant", replace(OTHER, attached_at=REQUESTED + Policy().fence_skew)),
    Row("without a time, named", "meant", UNDATED, asked=NAMED_OTHER),
    Row("without a time, at once", "meant", UNDATED, asked=JUST_NOW),
    # The binding tells, whatever the records say.
    Row("another id, the same binding", "moved", bound(OTHER, "b"), progress(followed=bound(FOLLOWED, "b"))),
    Row("another id and binding", "reattached", bound(OTHER, "b"), progress(followed=bound(FOLLOWED, "a"))),
    Row("the same id and binding", "meant", bound(FOLLOWED, "b"), progress(followed=bound(FOLLOWED, "b"))),
    # One id, or one time, is the same attachment.
    Row("the same id, no times", "meant", UNDATED, progress(followed=UNDATED)),
    Row("the same time, no ids", "meant", UNNAMED, progress(followed=UNNAMED)),
    # Neither id nor time: they look alike, and it is the one followed unless an attach has begun since the request.
    Row("alike, records not read yet", "ask", ALIKE, progress(followed=ALIKE)),
    Row("alike, no records", "unknown", ALIKE, progress(followed=ALIKE), actions=NO_RECORDS),
    Row("alike, no attach since", "meant", ALIKE, progress(followed=ALIKE), actions=records()),
    Row("alike, an attach since", "unknown", ALIKE, progress(followed=ALIKE), actions=records(ANOTHER_DISK)),
    Row("alike, an attach just before the request", "unknown", ALIKE, progress(followed=ALIKE),
        actions=records(record("attach_volume", REQUESTED - SKEW / 2))),
    # Else the records are asked.
    Row("newer than the request", "ask"),
    Row("another than the one followed", "ask", so_far=FOLLOWING),
    Row("another than the one named", "ask", asked=NAMED),
    Row("a binding that was not known before", "ask", bound(OTHER, "b"), FOLLOWING),
    Row("without a time, a while later", "ask", UNDATED),
    Row("redelivered, made within the skew", "ask", replace(OTHER, attached_at=ago(minutes=29.95)), AGAIN),
    # A cloud that keeps none.
    Row("newer, no records", "unknown", actions=NO_RECORDS),
    Row("followed, no records", "unknown", so_far=FOLLOWING, actions=NO_RECORDS),
    Row("named, no records", "unknown", asked=NAMED, actions=NO_RECORDS),
    Row("without a time, no records", "unknown", UNDATED, actions=NO_RECORDS),
    # A move accounts for it, and no attach has begun since.
    Row("newer, moved", "moved", actions=records(MOVED)),
    Row("followed, moved", "moved", so_far=FOLLOWING, actions=records(MOVED)),
    Row("followed, moved twice", "moved", so_far=FOLLOWING, actions=records(LONG_OVER, MOVED)),
    Row("a move that is not over", "moved", so_far=FOLLOWING, actions=records(STILL_OPEN)),
    Row("a move whose end is not told", "moved", so_far=FOLLOWING, actions=records(BEGUN)),
    Row("followed, moved, another disk attached before", "moved", so_far=FOLLOWING,
        actions=records(record("attach_volume", ago(days=1), ago(days=1)), MOVED)),
    Row("without a time, followed, moved", "moved", UNDATED, FOLLOWING, actions=records(MOVED)),
    Row("followed since lately, moved, attached before that", "moved",
        so_far=progress(followed=attachment(attached_at=ago(minutes=15))),
        actions=records(record("attach_volume", ago(minutes=20)), MOVED)),
    Row("without a time, a move that has begun since", "moved", UNDATED, FOLLOWING, actions=records(BEGUN)),
    Row("without a time, a move from before that is not over", "moved", UNDATED, FOLLOWING,
        actions=records(replace(STILL_OPEN, started_at=ago(minutes=40), updated_at=None))),
    Row("without a time, a move from before, over since", "moved", UNDATED, FOLLOWING,
        actions=records(record("resize", ago(minutes=40), ago(minutes=9)))),
    Row("without a time, a move that was over before", "unknown", UNDATED, FOLLOWING,
        actions=records(record("resize", ago(minutes=40), ago(minutes=39)))),
    Row("without a time, a move from before whose end is not told", "unknown", UNDATED, FOLLOWING,
        actions=records(record("resize", ago(minutes=40)))),
    # An attach accounts for it, and no move does.
    Row("without a time, attached again", "reattached", UNDATED, FOLLOWING, actions=records(ATTACHED)),
    Row("newer, attached again", "reattached", actions=records(ATTACHED)),
    Row("followed, attached again", "reattached", so_far=FOLLOWING, actions=records(ATTACHED)),
    Row("attached again, long after a move", "reattached", so_far=FOLLOWING, actions=records(LONG_OVER, ATTACHED)),
    Row("an attach whose end is not told", "reattached", so_far=FOLLOWING, actions=records(BEGUN, BEGUN_LATER)),
    # Two readings, or none.
    Row("moved, and an attach", "unknown", so_far=FOLLOWING, actions=records(MOVED, ATTACHED)),
    Row("moved, and an attach of whichever disk", "unknown", so_far=FOLLOWING, actions=records(MOVED, ANOTHER_DISK)),
    Row("a move that was over long before", "unknown", so_far=FOLLOWING, actions=records(LONG_OVER)),
    Row("no action accounts for it", "unknown", so_far=FOLLOWING, actions=records()),
    Row("an attach of another time", "unknown", so_far=FOLLOWING, actions=records(ANOTHER_DISK)),
    # The request names another one, which may have been attached at any time.
    Row("named, moved", "moved", asked=NAMED, actions=records(MOVED)),
    Row("named, moved, something detached before", "unknown", asked=NAMED, actions=records(DETACHED_BEFORE, MOVED)),
    Row("named, moved, something detached since", "moved", asked=NAMED,
        actions=records(MOVED, record("detach_volume", ago(minutes=1)))),
    Row("named, attached again", "reattached", asked=NAMED, actions=records(DETACHED_BEFORE, ATTACHED)),
    Row("named, which may never have been", "unknown", FOLLOWED, asked=NAMED_OTHER, actions=records()),
    Row("named, moved, and an attach of whichever disk", "unknown", asked=NAMED,
        actions=records(MOVED, ANOTHER_DISK)),
    Row("named, moved, something detached at the very beginning", "unknown", asked=NAMED,
        actions=(DETACHED_BEFORE, MOVED)),
    Row("named, no action accounts for it", "unknown", asked=NAMED, actions=records()),
    Row("named, an attach whose end is not told", "reattached", asked=NAMED, actions=records(BEGUN, BEGUN_LATER)),
    Row("named, without a time, moved", "moved", UNDATED, asked=NAMED, actions=records(MOVED)),
    Row("named, without a time, attached again", "unknown", UNDATED, asked=NAMED, actions=records(ATTACHED)),
    # No time: what was there before the request has no attach since.
    Row("without a time, no attach since", "meant", UNDATED, actions=records()),
    Row("without a time, an attach since", "unknown", UNDATED, actions=records(ANOTHER_DISK)),
    # Within the skew, after an earlier delivery that may have done anything.
    Row("redelivered, no attach since", "meant", replace(OTHER, attached_at=ago(minutes=29.95)), AGAIN,
        actions=records()),
    Row("redelivered, no records", "meant", replace(OTHER, attached_at=ago(minutes=29.95)), AGAIN, actions=NO_RECORDS),
    Row("redelivered, an attach since", "meant", replace(OTHER, attached_at=ago(minutes=29.95)), AGAIN,
        actions=records(record("attach_volume", ago(minutes=29.96)))),
    Row("redelivered, detached and attached since", "unknown", replace(OTHER, attached_at=ago(minutes=29.95)), AGAIN,
        actions=records(record("detach_volume", ago(minutes=29.99)), record("attach_volume", ago(minutes=29.96)))),
], ids=lambda row: row.name)  # fmt: skip
def test_how_an_attachment_stands_to_the_one_that_is_meant(row: Row) -> None:
    """Adopted only if it is proven to be the same, called newer only if that is proven; else it is not known."""
    found = standing(row.ours, row.asked, row.so_far, row.actions, Policy(), NOW)
    assert Standing(row.expected) is found


MADE = OTHER.attached_at or NOW


def attached_at(moment: datetime) -> tuple[Action, ...]:
    return records(record("attach_volume", moment, moment + SLACK))


def resized(began: datetime, ended: datetime | None = None) -> tuple[Action, ...]:
    return records(record("resize", began, ended))


@pytest.mark.parametrize("row", [
    Row("an attach as the skew begins", "moved", actions=(*attached_at(REQUESTED - SKEW), MOVED)),
    Row("named, an attach as the skew begins", "moved", asked=NAMED, actions=(*attached_at(REQUESTED - SKEW), MOVED)),
    Row("named, made as the skew begins", "unknown", replace(OTHER, attached_at=REQUESTED - SKEW), asked=NAMED,
        actions=attached_at(REQUESTED - SKEW)),
    Row("without a time, an attach as it was asked", "meant", UNDATED, actions=attached_at(REQUESTED)),
    Row("redelivered, made as it was asked", "meant", replace(OTHER, attached_at=REQUESTED), AGAIN),
    Row("without a time, the skew just over", "meant", UNDATED, asked=request(requested_at=NOW - SKEW)),
    Row("named, moved, something detached a slack later", "unknown", asked=NAMED,
        actions=(*resized(ago(minutes=11), ago(minutes=9)), record("detach_volume", MADE + SLACK))),
    Row("moved, begun a slack later", "moved", actions=resized(MADE + SLACK, MADE + 2 * SLACK)),
    Row("moved, ended a slack earlier", "moved", actions=resized(MADE - 2 * SLACK, MADE - SLACK)),
    Row("a move whose end is not told, an attach as it was made", "reattached",
        actions=(*resized(ago(minutes=11)), record("attach_volume", MADE))),
    Row("without a time, a move as the skew begins", "unknown", UNDATED, FOLLOWING, actions=resized(REQUESTED - SKEW)),
    Row("without a time, a move that ends as the skew begins", "unknown", UNDATED, FOLLOWING,
        actions=resized(ago(days=1), REQUESTED - SKEW)),
], ids=lambda row: row.name)  # fmt: skip
def test_clouds_tell_whole_seconds(row: Row) -> None:
    """Two things at one and the same second: neither came before the other."""
    assert Standing(row.expected) is standing(row.ours, row.asked, row.so_far, row.actions, Policy(), NOW)
