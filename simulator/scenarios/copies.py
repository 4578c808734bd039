"""Scenarios: copies of a request, old requests, and two requests for the same disk."""

from datetime import timedelta

from simulator import Behaviour
from simulator.scenarios.stage import Stage, scenario

LATER = 6
"""Seconds until the second message: the detach that the first one began is under way then."""
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
    """The queue delivers one event twice: one DELETE is sent, and both copies end in the same verdict and event id."""
    server, disk = stage.attached(behaviour=SLOW)
    copies = {"id": f"{stage.name}-1"}
    stage.request(server, disk, envelope=copies)
    stage.request(server, disk, envelope=copies, delay=LATER)


@scenario("expired")
def old_copy(stage: Stage) -> None:
    """A two hours old request is replayed from an archive, and the disk is attached: the request is refused."""
    stage.request(*stage.attached(), ago=TWO_HOURS)


@scenario("already_detached")
def old_copy_of_done_request(stage: Stage) -> None:
    """A two hours old request is replayed, and the disk is already detached: that is reported."""
    stage.request(stage.server(), stage.disk(), ago=TWO_HOURS)
