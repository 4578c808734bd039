"""Scenarios of an operator who serves bare metal servers only."""

from typing import Any

from simulator import ORDINARY
from simulator.scenarios.stage import Stage, scenario

ONLY = {"SERVER_KIND": "bare_metal"}
NO_SIGN: dict[str, Any] = {"flavor_id": "", "tags": ()}
"""A cloud that tells neither flavor nor tags."""


@scenario("detached_now", operator=ONLY)
def bare_metal_by_flavor(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and only the flavor says that the server is one."""
    stage.request(*stage.attached(stage.server(tags=())))


@scenario("detached_now", operator=ONLY)
def bare_metal_by_tag(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and only the tag says that the server is one."""
    stage.request(*stage.attached(stage.server(flavor_id="")))


@scenario("not_bare_metal", operator=ONLY)
def virtual_server(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and the server is a virtual one."""
    server, disk = stage.attached(stage.server(**ORDINARY))
    stage.untouchable.add(disk)
    stage.request(server, disk)


@scenario("not_bare_metal", operator=ONLY)
def kind_unknown(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and the cloud tells nothing of the server's kind: unknown is refused."""
    server, disk = stage.attached(stage.server(**NO_SIGN))
    stage.untouchable.add(disk)
    stage.request(server, disk)


@scenario("detached_now", operator=ONLY)
def kind_claimed(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and a user has written the metadata of one to a virtual server: it is no boundary."""
    metadata = {"os_type": "Linux", "metering.resourcetype": "__type_baremetal"}
    stage.request(*stage.attached(stage.server(metadata=metadata, **ORDINARY)))


@scenario("already_detached", operator=ONLY)
def virtual_and_already_detached(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and the disk is not on the virtual server any more: that is reported all the same."""
    stage.request(stage.server(**ORDINARY), stage.disk())


@scenario("would_fail", operator=ONLY)
def dry_run_virtual(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and a dry run for a virtual server says that it would be refused."""
    server, disk = stage.attached(stage.server(**ORDINARY))
    stage.untouchable.add(disk)
    stage.request(server, disk, dry_run=True)


@scenario("detached_now")
def virtual_served(stage: Stage) -> None:
    """A virtual server where the operator serves any."""
    stage.request(*stage.attached(stage.server(**ORDINARY)))
