"""Scenarios of the proof: what the cloud answers, how it lets go, and who else is at work."""

from functools import partial

from simulator import Behaviour, JobTells, faults
from simulator.scenarios.stage import Stage, scenario

UNDER_WAY = 8
"""Seconds after which the DELETE has been sent, however many scenarios are played at once."""


@scenario("detached_now")
def accepted_200(stage: Stage) -> None:
    """The DELETE is answered with 200, as the BMS document says."""
    stage.request(*stage.attached(behaviour=Behaviour(success_status=200)))


@scenario("detached_now")
def accepted_202(stage: Stage) -> None:
    """The DELETE is answered with 202, as Nova does."""
    stage.request(*stage.attached())


@scenario("detached_now")
def accepted_204(stage: Stage) -> None:
    """The DELETE is answered with 204."""
    stage.request(*stage.attached(behaviour=Behaviour(success_status=204)))


@scenario("already_detached")
def already_detached(stage: Stage) -> None:
    """The disk is attached to nothing: there is nothing left to do."""
    stage.request(stage.server(), stage.disk())


@scenario("detached_now")
def host_attachment(stage: Stage) -> None:
    """A shared disk that a host has attached too, beside the server: the host's attachment is left alone."""
    stage.request(*stage.attached(multiattach=True, on_a_host=True))


@scenario("already_detached")
def host_attachment_alone(stage: Stage) -> None:
    """A disk that a host has attached, by block storage alone, and no server: the server has not got it."""
    stage.request(stage.server(), stage.disk(on_a_host=True, status="in-use"))


@scenario("detached_by_other")
def joined(stage: Stage) -> None:
    """Somebody else is detaching the disk already: their detach is followed, no DELETE is sent."""
    server, disk = stage.attached(behaviour=Behaviour(seconds=8))
    stage.world.begin_detach(server, disk)
    stage.request(server, disk)


@scenario("refused_by_server")
def silent_refusal(stage: Stage) -> None:
    """Accepted, detaching, then in-use again: the server would not let go of the disk."""
    server, disk = stage.attached(behaviour=Behaviour(seconds=4, refuse=True, job_tells=JobTells.UNREADABLE))
    stage.fault(faults.answer(404), "get_action", server_id=server, times=None)
    stage.request(server, disk)


@scenario("refused_by_server")
def refusal_on_record(stage: Stage) -> None:
    """The same, with the server's action record saying so: one look settles it."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=4, refuse=True)))


@scenario("detached_now")
def marked_late(stage: Stage) -> None:
    """Accepted, but the volume shows detaching only after 30 seconds: no refusal may be read into that."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=32, mark_lag=30)))


@scenario("detached_now")
def slow(stage: Stage) -> None:
    """A detach that takes 20 seconds: its end is seen within two."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=20)))


@scenario("detached_now")
def error_that_passes(stage: Stage) -> None:
    """The volume's status is error for a while, and the detach goes on: the action record says that it still runs."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=8, error_status="error", error_seconds=5)))


@scenario("stuck_detaching")
def storage_failed(stage: Stage) -> None:
    """The storage back end fails, and the volume says detaching for good: the action record tells, within a minute."""
    stage.request(*stage.attached(behaviour=Behaviour(error_after=4)))


@scenario("still_watching then detached_now")
def stuck_then_late_success(stage: Stage) -> None:
    """Stuck in detaching past the confirm timeout: unconfirmed first, detached in the end."""
    stage.request(*stage.attached(behaviour=Behaviour(stuck=True, stuck_seconds=44)))


@scenario("still_watching then stuck_detaching")
def stuck_for_ever(stage: Stage) -> None:
    """Stuck in detaching until the watch ends."""
    stage.request(*stage.attached(behaviour=Behaviour(stuck=True)))


@scenario("detached_now")
def nova_lags(stage: Stage) -> None:
    """Block storage lets go three seconds before compute: detached only when both have."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=1, nova_lag=3)))


@scenario("detached_now")
def cinder_lags(stage: Stage) -> None:
    """Compute lets go three seconds before block storage: detached only when both have."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=4, nova_lag=-3)))


@scenario("replaced_by_newer", by_jobs=("superseded",))
def reattached_after_delete(stage: Stage) -> None:
    """Detached and at once attached anew by somebody: the one asked for is gone, the new one stays."""
    server, disk = stage.attached(behaviour=Behaviour(seconds=1.4, nova_lag=0))
    stage.request(server, disk)

    def again() -> None:
        if stage.world.is_attached(server, disk) is None:
            stage.world.attach(server, disk)

    for tick in range(1, 80):
        stage.later(tick / 10, again)


@scenario("detached_now")
def shared_disk(stage: Stage) -> None:
    """A disk shared with another server: it goes back to in-use, and this server's share is gone."""
    server, other = stage.server(), stage.server()
    stage.request(server, stage.disk(server, other, multiattach=True))


@scenario("detached_now", "detached_now")
def shared_disk_collision(stage: Stage) -> None:
    """Two servers give up one shared disk at once: the second waits for the first."""
    server, other = stage.server(), stage.server()
    disk = stage.disk(server, other, multiattach=True)
    stage.request(server, disk)
    stage.request(other, disk)


@scenario("attached_elsewhere")
def attached_elsewhere(stage: Stage) -> None:
    """The disk has been on another server all along."""
    stage.request(stage.server(), stage.disk(stage.server()))


@scenario("server_gone")
def server_gone(stage: Stage) -> None:
    """The server is deleted while the detach is under way."""
    server, disk = stage.attached(behaviour=Behaviour(stuck=True))
    stage.request(server, disk)
    stage.later(UNDER_WAY, partial(stage.world.delete_server, server))


@scenario("server_gone")
def server_gone_before(stage: Stage) -> None:
    """The server was deleted before anybody looked, and its volume is free: nothing is left of what was asked for."""
    server, disk = stage.attached()
    stage.world.delete_server(server)
    stage.request(server, disk)


@scenario("volume_gone")
def volume_gone(stage: Stage) -> None:
    """The volume is deleted while the detach is under way."""
    server, disk = stage.attached(behaviour=Behaviour(stuck=True))
    stage.request(server, disk)
    stage.later(UNDER_WAY, partial(stage.world.delete_volume, disk))


@scenario("server_gone")
def both_gone(stage: Stage) -> None:
    """Server and volume are deleted while the detach is under way."""
    server, disk = stage.attached(behaviour=Behaviour(stuck=True))
    stage.request(server, disk)
    stage.later(UNDER_WAY, partial(stage.world.delete_server, server))
    stage.later(UNDER_WAY, partial(stage.world.delete_volume, disk))


@scenario("server_gone")
def server_unknown(stage: Stage) -> None:
    """There is no such server, and the disk is free: whatever there was, nothing is attached any more."""
    stage.request(stage.world.new_id(), stage.disk())


@scenario("server_not_found")
def wrong_server(stage: Stage) -> None:
    """There is no such server, and the disk is on another one: most likely the request names the wrong server."""
    stage.request(stage.world.new_id(), stage.disk(stage.server()))


@scenario("volume_not_found")
def volume_unknown(stage: Stage) -> None:
    """There has never been such a volume, as far as this request can tell."""
    stage.request(stage.server(), stage.world.new_id())


@scenario("server_not_found")
def both_unknown(stage: Stage) -> None:
    """Neither server nor volume are to be found: the project may be the wrong one."""
    stage.request(stage.world.new_id(), stage.world.new_id())


@scenario("inconsistent_state")
def planes_never_agree(stage: Stage) -> None:
    """Block storage has let go long ago, compute never does."""
    server, disk = stage.attached()
    stage.request(server, disk)
    stage.world.cinder.pop(next(a.id for a in stage.world.cinder.values() if a.volume_id == disk))
    stage.world.set_volume(disk, status="available")
