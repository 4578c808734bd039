"""Scenarios: SERVER_KIND=bare_metal, which limits the function to bare metal servers."""

from typing import Any

from simulator import ORDINARY
from simulator.scenarios.stage import Stage, scenario

ONLY = {"SERVER_KIND": "bare_metal"}
NO_SIGN: dict[str, Any] = {"flavor_id": "", "tags": ()}
"""A server for which the cloud shows neither flavor nor tags."""


@scenario("detached_now", operator=ONLY)
def bare_metal_by_flavor(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and only the flavor identifies the server as bare metal."""
    stage.request(*stage.attached(stage.server(tags=())))


@scenario("detached_now", operator=ONLY)
def bare_metal_by_tag(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and only the tag identifies the server as bare metal."""
    stage.request(*stage.attached(stage.server(flavor_id="")))


@scenario("not_bare_metal", operator=ONLY)
def virtual_server(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and the server is virtual: refused."""
    server, disk = stage.attached(stage.server(**ORDINARY))
    stage.untouchable.add(disk)
    stage.request(server, disk)


@scenario("not_bare_metal", operator=ONLY)
def kind_unknown(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and the cloud does not show the server's kind: refused."""
    server, disk = stage.attached(stage.server(**NO_SIGN))
    stage.untouchable.add(disk)
    stage.request(server, disk)


@scenario("detached_now", operator=ONLY)
def kind_claimed(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and a user gave a virtual server bare metal metadata: accepted, this is no boundary."""
    metadata = {"os_type": "Linux", "metering.resourcetype": "__type_baremetal"}
    stage.request(*stage.attached(stage.server(metadata=metadata, **ORDINARY)))


@scenario("already_detached", operator=ONLY)
def virtual_and_already_detached(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and the disk is already off the virtual server: reported as already detached."""
    stage.request(stage.server(**ORDINARY), stage.disk())


@scenario("would_fail", operator=ONLY)
def dry_run_virtual(stage: Stage) -> None:
    """SERVER_KIND=bare_metal, and a dry run for a virtual server says that it would be refused."""
    server, disk = stage.attached(stage.server(**ORDINARY))
    stage.untouchable.add(disk)
    stage.request(server, disk, dry_run=True)


@scenario("detached_now")
def virtual_served(stage: Stage) -> None:
    """A virtual server, with the default SERVER_KIND=any: detached."""
    stage.request(*stage.attached(stage.server(**ORDINARY)))
