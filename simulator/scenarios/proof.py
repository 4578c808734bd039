"""Scenarios: how a detach proceeds and how it is proven, and what others do in the meantime."""

from functools import partial

from simulator import Behaviour, JobReport, faults
from simulator.scenarios.stage import Stage, scenario

UNDER_WAY = 8
"""Seconds after which the DELETE has been sent, even if all scenarios are played at once."""


@scenario("detached_now")
def accepted_200(stage: Stage) -> None:
    """The DELETE is answered with 200, as the BMS documentation says."""
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
    """The disk is attached to no server: no DELETE is sent."""
    stage.request(stage.server(), stage.disk())


@scenario("detached_now")
def host_attachment(stage: Stage) -> None:
    """A shared disk is attached to the server and to a host: only the server's attachment is removed."""
    stage.request(*stage.attached(multiattach=True, on_a_host=True))


@scenario("already_detached")
def host_attachment_alone(stage: Stage) -> None:
    """The disk is attached to a host by block storage and to no server: already detached from the server."""
    stage.request(stage.server(), stage.disk(on_a_host=True, status="in-use"))


@scenario("detached_by_other")
def joined(stage: Stage) -> None:
    """Somebody else is already detaching the disk: the request follows that detach and sends no DELETE."""
    server, disk = stage.attached(behaviour=Behaviour(seconds=8))
    stage.world.begin_detach(server, disk)
    stage.request(server, disk)


@scenario("refused_by_server")
def silent_refusal(stage: Stage) -> None:
    """Accepted, detaching, then in-use again: the server refused to release the disk."""
    server, disk = stage.attached(behaviour=Behaviour(seconds=4, refuse=True, job_report=JobReport.UNREADABLE))
    stage.fault(faults.answer(404), "get_action", server_id=server, times=None)
    stage.request(server, disk)


@scenario("refused_by_server")
def refusal_on_record(stage: Stage) -> None:
    """The server refuses to release the disk, and its action record says so: one look is enough."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=4, refuse=True)))


@scenario("detached_now")
def marked_late(stage: Stage) -> None:
    """Accepted, but the volume shows detaching only after 30 seconds: this must not count as a refusal."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=32, mark_lag=30)))


@scenario("detached_now")
def slow(stage: Stage) -> None:
    """A detach takes 20 seconds: the verdict comes within two seconds after its end."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=20)))


@scenario("detached_now")
def error_that_passes(stage: Stage) -> None:
    """The volume's status is error for a while, but the action record says that the detach still runs."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=8, error_status="error", error_seconds=5)))


@scenario("stuck_detaching")
def storage_failed(stage: Stage) -> None:
    """The storage back end fails, and the volume stays detaching: the action record reports it within a minute."""
    stage.request(*stage.attached(behaviour=Behaviour(error_after=4)))


@scenario("still_watching then detached_now")
def stuck_then_late_success(stage: Stage) -> None:
    """The volume is detaching longer than the confirm timeout: unconfirmed first, detached in the end."""
    stage.request(*stage.attached(behaviour=Behaviour(stuck=True, stuck_seconds=44)))


@scenario("still_watching then stuck_detaching")
def stuck_for_ever(stage: Stage) -> None:
    """The volume is detaching until the watch timeout: unconfirmed first, failed in the end."""
    stage.request(*stage.attached(behaviour=Behaviour(stuck=True)))


@scenario("detached_now")
def nova_lags(stage: Stage) -> None:
    """Block storage removes the attachment three seconds before compute: detached only when both have removed it."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=1, nova_lag=3)))


@scenario("detached_now")
def cinder_lags(stage: Stage) -> None:
    """Compute removes the attachment three seconds before block storage: detached only when both have removed it."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=4, nova_lag=-3)))


@scenario("replaced_by_newer", by_jobs=("superseded",))
def reattached_after_delete(stage: Stage) -> None:
    """Somebody attaches the disk again right after the detach: the old attachment is gone, the new one stays."""
    server, disk = stage.attached(behaviour=Behaviour(seconds=1.4, nova_lag=0))
    stage.request(server, disk)

    def again() -> None:
        if stage.world.is_attached(server, disk) is None:
            stage.world.attach(server, disk)

    for tick in range(1, 80):
        stage.later(tick / 10, again)


@scenario("detached_now")
def shared_disk(stage: Stage) -> None:
    """A disk shared with another server: after the detach it is in-use again, by the other server only."""
    server, other = stage.server(), stage.server()
    stage.request(server, stage.disk(server, other, multiattach=True))


@scenario("detached_now", "detached_now")
def shared_disk_collision(stage: Stage) -> None:
    """A shared disk is detached from two servers at the same time: the second request waits for the first."""
    server, other = stage.server(), stage.server()
    disk = stage.disk(server, other, multiattach=True)
    stage.request(server, disk)
    stage.request(other, disk)


@scenario("attached_elsewhere")
def attached_elsewhere(stage: Stage) -> None:
    """The disk is attached to another server, and was never attached to this one."""
    stage.request(stage.server(), stage.disk(stage.server()))


@scenario("server_gone")
def server_gone(stage: Stage) -> None:
    """The server is deleted while the detach is under way."""
    server, disk = stage.attached(behaviour=Behaviour(stuck=True))
    stage.request(server, disk)
    stage.later(UNDER_WAY, partial(stage.world.delete_server, server))


@scenario("server_gone")
def server_gone_before(stage: Stage) -> None:
    """The server was deleted before the first look, and the volume is free: the attachment is gone."""
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
    """The server does not exist, and the volume is free: the attachment, if there was one, is gone."""
    stage.request(stage.world.new_id(), stage.disk())


@scenario("server_not_found")
def wrong_server(stage: Stage) -> None:
    """The server does not exist, and the disk is on another one: the request probably names the wrong server."""
    stage.request(stage.world.new_id(), stage.disk(stage.server()))


@scenario("volume_not_found")
def volume_unknown(stage: Stage) -> None:
    """The volume does not exist, and this request has never seen it."""
    stage.request(stage.server(), stage.world.new_id())


@scenario("server_not_found")
def both_unknown(stage: Stage) -> None:
    """Neither the server nor the volume exists: the project may be wrong."""
    stage.request(stage.world.new_id(), stage.world.new_id())


@scenario("inconsistent_state")
def planes_never_agree(stage: Stage) -> None:
    """Block storage has removed the attachment, but compute lists it for ever."""
    server, disk = stage.attached()
    stage.request(server, disk)
    stage.world.cinder.pop(next(a.id for a in stage.world.cinder.values() if a.volume_id == disk))
    stage.world.set_volume(disk, status="available")
