"""Scenarios: the safety gates, which refuse a detach that would lose data before a DELETE is sent."""

from datetime import timedelta
from functools import partial

from simulator import PAUSED, RESCUED, RUNNING, SOFT_DELETED, STOPPED, SUSPENDED
from simulator.scenarios.stage import Stage, scenario


@scenario("detached_now")
def linux_running(stage: Stage) -> None:
    """A data disk of a running Linux server: the platform itself refuses a mounted one."""
    stage.request(*stage.attached(stage.server("linux")))


@scenario("attestation_required")
def windows_running(stage: Stage) -> None:
    """A data disk of a running Windows server: the platform would lose data silently."""
    stage.request(*stage.attached(stage.server("windows")))


@scenario("detached_now")
def windows_attested(stage: Stage) -> None:
    """A data disk of a running Windows server, and the requester attests that it is not in use."""
    stage.request(*stage.attached(stage.server("windows")), unmounted=True)


@scenario("detached_now")
def windows_stopped(stage: Stage) -> None:
    """A data disk of a stopped Windows server."""
    stage.request(*stage.attached(stage.server("windows", state=STOPPED)))


@scenario("attestation_required")
def unknown_system(stage: Stage) -> None:
    """The server's operating system is unknown: the stricter rule applies."""
    stage.request(*stage.attached(stage.server(None)))


@scenario("detached_now")
def system_known_by_image(stage: Stage) -> None:
    """Only the image shows that the server runs Linux."""
    image = stage.world.add_image({"__os_type": "Linux"})
    stage.request(*stage.attached(stage.server(None, image_id=image.id)))


@scenario("system_disk")
def system_disk_running(stage: Stage) -> None:
    """The system disk of a running server: refused, even if the request allows it."""
    server = stage.server()
    stage.request(server, stage.system_disk(server), allow_system_disk=True, unmounted=True)


@scenario("system_disk")
def system_disk_stopped(stage: Stage) -> None:
    """The system disk of a stopped server, and the request does not allow it: refused."""
    server = stage.server(state=STOPPED)
    stage.request(server, stage.system_disk(server))


@scenario("detached_now")
def system_disk_allowed(stage: Stage) -> None:
    """The system disk of a stopped server, and the request allows it."""
    server = stage.server(state=STOPPED)
    stage.request(server, stage.system_disk(server), allow_system_disk=True)


@scenario("detached_now")
def root_device_elsewhere(stage: Stage) -> None:
    """A data disk at /dev/sda of a server whose root device is /dev/vda: it is not the system disk."""
    server = stage.server(root_device="/dev/vda")
    stage.request(server, stage.disk(server, device="/dev/sda"))


@scenario("detached_now")
def bootable_data_disk(stage: Stage) -> None:
    """A bootable disk that is not at the root device: it counts as a data disk."""
    stage.request(*stage.attached(bootable=True))


@scenario("detached_now")
def paused(stage: Stage) -> None:
    """A paused Linux server: the rules of a running server apply, and they allow the detach."""
    stage.request(*stage.attached(stage.server(state=PAUSED)))


@scenario("attestation_required")
def paused_windows(stage: Stage) -> None:
    """A paused Windows server: its disks are still mounted, so the detach is refused as for a running server."""
    stage.request(*stage.attached(stage.server("windows", state=PAUSED)))


@scenario("api_rejected", by_jobs=("gave_up",))
def suspended(stage: Stage) -> None:
    """A suspended server: the cloud refuses the DELETE in this state, with 409 vm_state."""
    stage.request(*stage.attached(stage.server(state=SUSPENDED)))


@scenario("api_rejected", by_jobs=("gave_up",))
def rescued(stage: Stage) -> None:
    """A server in rescue mode: the cloud refuses the DELETE in this state, with 409 vm_state."""
    stage.request(*stage.attached(stage.server(state=RESCUED)))


@scenario("detached_now")
def soft_deleted(stage: Stage) -> None:
    """A soft-deleted server can be restored, and its disks are still attached: the disk is detached."""
    stage.request(*stage.attached(stage.server(state=SOFT_DELETED)))


@scenario("server_locked")
def locked(stage: Stage) -> None:
    """A locked server: refused."""
    stage.request(*stage.attached(stage.server(locked=True)))


@scenario("volume_protected")
def protected(stage: Stage) -> None:
    """A volume with the metadata detach_protection=true: refused."""
    stage.request(*stage.attached(metadata={"detach_protection": "true"}))


@scenario("volume_error")
def broken_volume(stage: Stage) -> None:
    """A volume in status error: refused."""
    server, disk = stage.attached()
    stage.world.set_volume(disk, status="error")
    stage.request(server, disk)


@scenario("detached_now")
def server_starting(stage: Stage) -> None:
    """The server is starting: the request waits until it runs."""
    server, disk = stage.attached(stage.server(state=STOPPED, task_state="powering-on"))
    stage.request(server, disk)
    stage.later(3, partial(stage.world.set_server, server, task_state=None, **RUNNING))


@scenario("detached_now")
def volume_busy(stage: Stage) -> None:
    """The volume is being backed up: the request waits for the end of the backup."""
    server, disk = stage.attached()
    stage.world.set_volume(disk, status="backing-up")
    stage.request(server, disk)
    stage.later(3, partial(stage.world.set_volume, disk, status="in-use"))


@scenario("expired")
def expired(stage: Stage) -> None:
    """The request's expiry time has passed before the first look."""
    over = (stage.world.now - timedelta(minutes=1)).isoformat()
    stage.request(*stage.attached(), envelope={"expirytime": over})


@scenario("would_detach")
def dry_run(stage: Stage) -> None:
    """A dry run of a detach that would work: all checks are made, and no DELETE is sent."""
    stage.request(*stage.attached(), dry_run=True)


@scenario("would_fail")
def dry_run_refused(stage: Stage) -> None:
    """A dry run of a detach that would be refused: the verdict says so, with the reason."""
    stage.request(*stage.attached(stage.server("windows")), dry_run=True)
