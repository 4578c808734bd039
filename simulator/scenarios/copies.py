"""Scenarios of requests: copies of one, old ones, and two that want the same."""

from datetime import timedelta

from simulator import Behaviour
from simulator.scenarios.stage import Stage, scenario

LATER = 6
"""Seconds: the second one comes while the detach that the first one began is under way."""
SLOW = Behaviour(seconds=12)
TWO_HOURS = timedelta(hours=2)


@scenario("detached_now", "detached_by_other")
def two_requests(stage: Stage) -> None:
    """Two people ask for the same disk: one DELETE is sent, and the second request joins that detach."""
    server, disk = stage.attached(behaviour=SLOW)
    stage.request(server, disk)
    stage.request(server, disk, delay=LATER)


@scenario("detached_now", "detached_now")
def same_event_twice(stage: Stage) -> None:
    """The queue delivers one event twice: one DELETE is sent, and both copies have one verdict with one id."""
    server, disk = stage.attached(behaviour=SLOW)
    copies = {"id": f"{stage.name}-1"}
    stage.request(server, disk, envelope=copies)
    stage.request(server, disk, envelope=copies, delay=LATER)


@scenario("expired")
def old_copy(stage: Stage) -> None:
    """A copy of a two hours old request comes out of an archive, and the disk is in use: it is not carried out."""
    stage.request(*stage.attached(), ago=TWO_HOURS)


@scenario("already_detached")
def old_copy_of_what_is_done(stage: Stage) -> None:
    """The same, with a disk that was detached long ago: what it asked for is so, and that is reported."""
    stage.request(stage.server(), stage.disk(), ago=TWO_HOURS)
