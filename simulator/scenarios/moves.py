"""Scenarios of moves: the same disk on the same server under a new attachment, and what only looks like that.

A move keeps the binding of the disk to its server (`bdm_uuid`); somebody who attaches the disk again makes a new one.
Where the cloud tells no binding, or the request is older than the first look, its action records tell the two apart.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from simulator import SHELVED, Behaviour, bodies, faults
from simulator.compute_views import attachment_view
from simulator.scenarios.stage import Stage, scenario

AT_ONCE = Behaviour(seconds=0, nova_lag=0)
BEFORE = timedelta(seconds=20)
"""A request older than the move by more than clocks may differ (FENCE_SKEW), and younger than its time to live."""


def _while_followed(stage: Stage, disk: str, happens: Callable[[], object]) -> None:
    """The first look comes while the disk is being backed up, so that nothing is sent; after that something happens.

    After seven seconds: an attachment of that time is newer than the request, however the clocks differ.
    """
    stage.world.set_volume(disk, status="backing-up")
    stage.later(7, partial(stage.world.set_volume, disk, status="in-use"))
    stage.later(7, happens)


def _attach_again(stage: Stage, server: str, disk: str) -> None:
    """Somebody detaches the disk and attaches it again, both at once."""
    stage.world.begin_detach(server, disk)
    stage.world.attach(server, disk)


def _tells_no_more_than_an_old_cloud(stage: Stage, server: str) -> None:
    """No action records, and from now on the list that stands, at the microversion that every cloud speaks."""
    listed = [attachment_view(a, (2, 1)) for a in stage.world.nova.values() if a.server_id == server]
    as_of_old = bodies.json_answer(200, {"volumeAttachments": listed})
    stage.fault(faults.answer(as_of_old), "list_attachments", server_id=server, times=None)
    stage.fault(faults.answer(404), "list_actions", server_id=server, times=None)
    stage.keeps_records = False


# ---------------------------------------------------------------------------------------------- moved: it is ours


@scenario("detached_now", by_jobs=("superseded",))
def resized(stage: Stage) -> None:
    """The server is resized while the request waits: the disk's new attachment is the same binding, and is detached."""
    server, disk = stage.attached()
    _while_followed(stage, disk, partial(stage.world.move, server, "resize", seconds=3))
    stage.request(server, disk)


@scenario("detached_now", by_jobs=("superseded",))
def resized_before_the_first_look(stage: Stage) -> None:
    """The request is older than the resize: the action records show that move, and no attach since the request."""
    server, disk = stage.attached()
    stage.world.move(server, "resize", seconds=0)
    stage.request(server, disk, ago=BEFORE)


@scenario("detached_now", by_jobs=("superseded",))
def migrated_live(stage: Stage) -> None:
    """During a live migration the disk has two attachments to its server: the request waits until one is left."""
    server, disk = stage.attached()
    stage.world.move(server, "live-migration", seconds=11)
    stage.request(server, disk)


@scenario("detached_now", by_jobs=("superseded",))
def evacuated(stage: Stage) -> None:
    """The server's host is dead and the DELETE is refused; it is tried again, and works after the evacuation."""
    server, disk = stage.attached(stage.server(host_up=False))
    stage.request(server, disk)
    stage.later(5, partial(stage.world.move, server, "evacuate", seconds=3))


@scenario("gave_up")
def host_down(stage: Stage) -> None:
    """The server's host is dead and nobody evacuates it: the request is tried again until its time to live is over."""
    stage.request(*stage.attached(stage.server(host_up=False)), request_ttl=15)


@scenario("detached_now")
def shelved(stage: Stage) -> None:
    """A shelved server that is still on its host lets go of a disk, if the DELETE names a microversion from 2.20 on."""
    stage.request(*stage.attached(stage.server(state=SHELVED)))


@scenario("detached_now")
def shelved_offloaded(stage: Stage) -> None:
    """Off its host: block storage shows the disk reserved and on no server, which is no proof until the list agrees."""
    server, disk = stage.attached()
    stage.world.shelve(server, seconds=0)
    stage.request(server, disk)


@scenario("detached_now", by_jobs=("superseded",))
def unshelved_meanwhile(stage: Stage) -> None:
    """The server is being unshelved: the request waits, and the attachment that this makes is the one it meant."""
    server, disk = stage.attached()
    stage.world.shelve(server, seconds=0)
    stage.world.unshelve(server, seconds=6)
    stage.request(server, disk, ago=BEFORE)


@scenario("detached_now", by_jobs=("superseded",))
def volume_migrated(stage: Stage) -> None:
    """The volume is migrated to other storage while the request waits: a new attachment, the same binding."""
    server, disk = stage.attached()
    _while_followed(stage, disk, partial(stage.world.swap_volume, server, disk))
    stage.request(server, disk)


@scenario("detached_now", by_jobs=("superseded",))
def moved_and_named(stage: Stage) -> None:
    """The request names the attachment of before a migration: the records show that today's is the same one, moved."""
    server, disk = stage.attached()
    named = stage.world.is_attached(server, disk)
    stage.world.move(server, "migrate", seconds=0)
    stage.request(server, disk, ago=BEFORE, attachment_id=named)


@scenario("would_detach", by_jobs=("would_fail",))
def dry_run_after_a_move(stage: Stage) -> None:
    """A dry run that is older than a resize says what a request of the same time would come to."""
    server, disk = stage.attached()
    stage.world.move(server, "resize", seconds=0)
    stage.request(server, disk, ago=BEFORE, dry_run=True)


# ------------------------------------------------------------------------------- attached again, or nobody can tell


@scenario("superseded")
def reattached_before_delete(stage: Stage) -> None:
    """The action records show that somebody attached the disk again after the request: that one is not touched."""
    server, disk = stage.attached(behaviour=AT_ONCE)
    _attach_again(stage, server, disk)
    stage.request(server, disk, ago=BEFORE)


@scenario("superseded")
def another_attachment_named(stage: Stage) -> None:
    """The request names an attachment that is gone: today's was made by somebody who attached the disk again."""
    server, disk = stage.attached(behaviour=AT_ONCE)
    named = stage.world.is_attached(server, disk)
    _attach_again(stage, server, disk)
    stage.request(server, disk, attachment_id=named)


@scenario("replaced_by_newer", by_jobs=("superseded",))
def reattached_while_followed(stage: Stage) -> None:
    """Somebody detaches the disk and attaches it again while the request waits: another binding, and not touched."""
    server, disk = stage.attached(behaviour=AT_ONCE)
    _while_followed(stage, disk, partial(_attach_again, stage, server, disk))
    stage.request(server, disk)


@scenario("superseded")
def attached_while_offloaded(stage: Stage) -> None:
    """By its time the disk looks moved, but it was attached again while its server was shelved: the records tell."""
    server, disk = stage.attached(behaviour=AT_ONCE)
    stage.world.shelve(server, seconds=0)
    _attach_again(stage, server, disk)
    stage.world.unshelve(server, seconds=0)
    stage.request(server, disk, ago=BEFORE)


@scenario("superseded")
def moved_on_an_old_cloud(stage: Stage) -> None:
    """No bindings, no action records: moved or attached again is not known, so the new attachment is left alone."""
    server, disk = stage.attached()
    _tells_no_more_than_an_old_cloud(stage, server)
    _while_followed(stage, disk, partial(stage.world.move, server, "resize", seconds=3))
    stage.request(server, disk)
