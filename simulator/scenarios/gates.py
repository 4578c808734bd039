"""Scenarios of the safety gates: what would lose data is refused before anything is sent."""

from datetime import timedelta
from functools import partial

from simulator import STOPPED
from simulator.scenarios.stage import Stage, scenario


@scenario("detached_now")
def linux_running(stage: Stage) -> None:
    """A data disk of a running Linux server: the platform itself refuses a mounted one."""
    server = stage.server("linux")
    stage.request(server, stage.disk(server))


@scenario("attestation_required")
def windows_running(stage: Stage) -> None:
    """A data disk of a running Windows server: the platform would lose data silently."""
    server = stage.server("windows")
    stage.request(server, stage.disk(server))


@scenario("detached_now")
def windows_attested(stage: Stage) -> None:
    """The same, with the requester's word that the disk is not in use."""
    server = stage.server("windows")
    stage.request(server, stage.disk(server), unmounted=True)


@scenario("detached_now")
def windows_stopped(stage: Stage) -> None:
    """A data disk of a stopped Windows server."""
    server = stage.server("windows", state=STOPPED)
    stage.request(server, stage.disk(server))


@scenario("attestation_required")
def unknown_system(stage: Stage) -> None:
    """Nothing says what the server runs: the stricter rule counts."""
    server = stage.server(None)
    stage.request(server, stage.disk(server))


@scenario("detached_now")
def system_known_by_image(stage: Stage) -> None:
    """Only the image says that the server runs Linux."""
    image = stage.world.add_image({"__os_type": "Linux"})
    server = stage.server(None, image_id=image.id)
    stage.request(server, stage.disk(server))


@scenario("system_disk")
def system_disk_running(stage: Stage) -> None:
    """The disk a running server has booted from: never, whatever the request allows."""
    server = stage.server()
    stage.request(server, stage.system_disk(server), allow_system_disk=True, unmounted=True)


@scenario("system_disk")
def system_disk_stopped(stage: Stage) -> None:
    """The system disk of a stopped server, without leave."""
    server = stage.server(state=STOPPED)
    stage.request(server, stage.system_disk(server))


@scenario("detached_now")
def system_disk_allowed(stage: Stage) -> None:
    """The system disk of a stopped server, with leave."""
    server = stage.server(state=STOPPED)
    stage.request(server, stage.system_disk(server), allow_system_disk=True)


@scenario("server_locked")
def locked(stage: Stage) -> None:
    """A locked server."""
    server = stage.server(locked=True)
    stage.request(server, stage.disk(server))


@scenario("volume_protected")
def protected(stage: Stage) -> None:
    """A volume whose metadata say detach_protection=true."""
    server = stage.server()
    stage.request(server, stage.disk(server, metadata={"detach_protection": "true"}))


@scenario("volume_error")
def broken_volume(stage: Stage) -> None:
    """A volume in an error status."""
    server = stage.server()
    disk = stage.disk(server)
    stage.world.set_volume(disk, status="error")
    stage.request(server, disk)


@scenario("detached_now")
def server_starting(stage: Stage) -> None:
    """The server is being started: the request waits, and goes on when it runs."""
    server = stage.server(task_state="powering-on", status="SHUTOFF", vm_state="stopped", power_state=4)
    stage.request(server, stage.disk(server))
    running = {"task_state": None, "status": "ACTIVE", "vm_state": "active", "power_state": 1}
    stage.later(3, partial(stage.world.set_server, server, **running))


@scenario("detached_now")
def volume_busy(stage: Stage) -> None:
    """The volume is being backed up: the request waits for the end of it."""
    server = stage.server()
    disk = stage.disk(server)
    stage.world.set_volume(disk, status="backing-up")
    stage.request(server, disk)
    stage.later(3, partial(stage.world.set_volume, disk, status="in-use"))


@scenario("expired")
def expired(stage: Stage) -> None:
    """The request's own expiry time is over before it is looked at."""
    server = stage.server()
    over = (stage.world.now - timedelta(minutes=1)).isoformat()
    stage.request(server, stage.disk(server), envelope={"expirytime": over})


@scenario("would_detach")
def dry_run(stage: Stage) -> None:
    """A dry run of what would work: every check, no DELETE."""
    server = stage.server()
    stage.request(server, stage.disk(server), dry_run=True)


@scenario("would_fail")
def dry_run_refused(stage: Stage) -> None:
    """A dry run of what would be refused says so, with the reason."""
    server = stage.server("windows")
    stage.request(server, stage.disk(server), dry_run=True)
