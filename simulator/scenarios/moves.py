"""Scenarios: moves, which give a disk a new attachment to the same server, and re-attachments, which look similar.

A move keeps the binding of the disk to its server (`bdm_uuid`). Attaching the disk again makes a new binding. The
action records tell the two apart if the cloud shows no binding, or if it happened before the first look.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from simulator import SHELVED, Behaviour, bodies, faults
from simulator.compute_views import attachment_view
from simulator.scenarios.stage import Stage, scenario

AT_ONCE = Behaviour(seconds=0, nova_lag=0)
BEFORE = timedelta(seconds=20)
"""The age of a request: older than the move by more than the clock skew (FENCE_SKEW), younger than the time to live."""


def _while_followed(stage: Stage, disk: str, happens: Callable[[], object]) -> None:
    """Make the disk busy with a backup during the first look, so that no DELETE is sent, and then run `happens`.

    It runs after seven seconds: an attachment of that time is newer than the request even with clock skew.
    """
    stage.world.set_volume(disk, status="backing-up")
    stage.later(7, partial(stage.world.set_volume, disk, status="in-use"))
    stage.later(7, happens)


def _attach_again(stage: Stage, server: str, disk: str) -> None:
    """Detach the disk and attach it again, both immediately."""
    stage.world.begin_detach(server, disk)
    stage.world.attach(server, disk)


def _limit_to_old_cloud(stage: Stage, server: str) -> None:
    """Limit the cloud to what an old one shows: no action records, and today's list at microversion 2.1 for ever."""
    listed = [attachment_view(a, (2, 1)) for a in stage.world.nova.values() if a.server_id == server]
    as_of_old = bodies.json_answer(200, {"volumeAttachments": listed})
    stage.fault(faults.answer(as_of_old), "list_attachments", server_id=server, times=None)
    stage.fault(faults.answer(404), "list_actions", server_id=server, times=None)
    stage.keeps_records = False


# ----------------------------------------------------------------------------------- moved: the same attachment


@scenario("detached_now", by_jobs=("superseded",))
def resized(stage: Stage) -> None:
    """The server is resized while the request waits: the new attachment has the same binding and is detached."""
    server, disk = stage.attached()
    _while_followed(stage, disk, partial(stage.world.move, server, "resize", seconds=3))
    stage.request(server, disk)


@scenario("detached_now", by_jobs=("superseded",))
def resized_before_the_first_look(stage: Stage) -> None:
    """The server is resized between the request and the first look: the action records show a move and no attach."""
    server, disk = stage.attached()
    stage.world.move(server, "resize", seconds=0)
    stage.request(server, disk, ago=BEFORE)


@scenario("detached_now", by_jobs=("superseded",))
def migrated_live(stage: Stage) -> None:
    """The disk has two attachments during a live migration: the request waits until one is left."""
    server, disk = stage.attached()
    stage.world.move(server, "live-migration", seconds=11)
    stage.request(server, disk)


@scenario("detached_now", by_jobs=("superseded",))
def evacuated(stage: Stage) -> None:
    """The server's host is down and the DELETE is refused; a later DELETE works after the evacuation."""
    server, disk = stage.attached(stage.server(host_up=False))
    stage.request(server, disk)
    stage.later(5, partial(stage.world.move, server, "evacuate", seconds=3))


@scenario("gave_up")
def host_down(stage: Stage) -> None:
    """The server's host stays down: the DELETE is repeated until the request's time to live ends."""
    stage.request(*stage.attached(stage.server(host_up=False)), request_ttl=15)


@scenario("detached_now")
def shelved(stage: Stage) -> None:
    """A shelved server that is still on its host: the cloud accepts a DELETE with microversion 2.20 or newer."""
    stage.request(*stage.attached(stage.server(state=SHELVED)))


@scenario("detached_now")
def shelved_offloaded(stage: Stage) -> None:
    """A server off its host: block storage shows no attachment, which proves nothing while compute still lists it."""
    server, disk = stage.attached()
    stage.world.shelve(server, seconds=0)
    stage.request(server, disk)


@scenario("detached_now", by_jobs=("superseded",))
def unshelved_meanwhile(stage: Stage) -> None:
    """The server is being unshelved: the request waits, and the new attachment has the same binding and is detached."""
    server, disk = stage.attached()
    stage.world.shelve(server, seconds=0)
    stage.world.unshelve(server, seconds=6)
    stage.request(server, disk, ago=BEFORE)


@scenario("detached_now", by_jobs=("superseded",))
def volume_migrated(stage: Stage) -> None:
    """The volume is migrated to other storage while the request waits: its new attachment has the same binding."""
    server, disk = stage.attached()
    _while_followed(stage, disk, partial(stage.world.swap_volume, server, disk))
    stage.request(server, disk)


@scenario("detached_now", by_jobs=("superseded",))
def moved_and_named(stage: Stage) -> None:
    """The request names the attachment from before a migration: the records show that the current one was moved."""
    server, disk = stage.attached()
    named = stage.world.is_attached(server, disk)
    stage.world.move(server, "migrate", seconds=0)
    stage.request(server, disk, ago=BEFORE, attachment_id=named)


@scenario("would_detach", by_jobs=("would_fail",))
def dry_run_after_a_move(stage: Stage) -> None:
    """A dry run that is older than a resize: it gives the result that a real request of that time would get."""
    server, disk = stage.attached()
    stage.world.move(server, "resize", seconds=0)
    stage.request(server, disk, ago=BEFORE, dry_run=True)


# ------------------------------------------------------------------------------------- attached again, or unknown


@scenario("superseded")
def reattached_before_delete(stage: Stage) -> None:
    """Somebody attached the disk again after the request, as the action records show: the disk is left alone."""
    server, disk = stage.attached(behaviour=AT_ONCE)
    _attach_again(stage, server, disk)
    stage.request(server, disk, ago=BEFORE)


@scenario("superseded")
def another_attachment_named(stage: Stage) -> None:
    """The request names an old attachment, and somebody attached the disk again since: the disk is left alone."""
    server, disk = stage.attached(behaviour=AT_ONCE)
    named = stage.world.is_attached(server, disk)
    _attach_again(stage, server, disk)
    stage.request(server, disk, attachment_id=named)


@scenario("replaced_by_newer", by_jobs=("superseded",))
def reattached_while_followed(stage: Stage) -> None:
    """Somebody detaches and re-attaches the disk while the request waits: the new binding is left alone."""
    server, disk = stage.attached(behaviour=AT_ONCE)
    _while_followed(stage, disk, partial(_attach_again, stage, server, disk))
    stage.request(server, disk)


@scenario("superseded")
def attached_while_offloaded(stage: Stage) -> None:
    """The disk was attached again while its server was shelved: it looks moved, but the records show the attach."""
    server, disk = stage.attached(behaviour=AT_ONCE)
    stage.world.shelve(server, seconds=0)
    _attach_again(stage, server, disk)
    stage.world.unshelve(server, seconds=0)
    stage.request(server, disk, ago=BEFORE)


@scenario("superseded")
def moved_on_an_old_cloud(stage: Stage) -> None:
    """The cloud shows no bindings and no action records: moved or re-attached is unknown, so the disk is left alone."""
    server, disk = stage.attached()
    _limit_to_old_cloud(stage, server)
    _while_followed(stage, disk, partial(stage.world.move, server, "resize", seconds=3))
    stage.request(server, disk)
