"""Scenarios: requests for several volumes, or for all data disks of a server, which end with a summary."""

from simulator import STOPPED, Behaviour
from simulator.scenarios.stage import Stage, scenario


@scenario("detached: detached_now, detached_now, detached_now")
def all_data_disks(stage: Stage) -> None:
    """All data disks of a running server: each gets a verdict, the system disk stays, and a summary comes last."""
    server = stage.server()
    for seconds in (1.5, 4, 8):
        stage.disk(server, behaviour=Behaviour(seconds=seconds))
    stage.untouchable.add(stage.system_disk(server))
    stage.request(server, all_data_disks=True)


@scenario("failed: detached_now, refused_by_server, detached_now")
def all_data_disks_one_refused(stage: Stage) -> None:
    """The server refuses to release one of three disks: the others are detached, and the summary says failed."""
    server = stage.server()
    for refuse in (False, True, False):
        stage.disk(server, behaviour=Behaviour(seconds=2, refuse=refuse))
    stage.request(server, all_data_disks=True)


@scenario("detached: detached_now, detached_now")
def all_data_disks_of_a_stopped_server(stage: Stage) -> None:
    """All data disks of a stopped server: the system disk is not one of them and stays attached."""
    server = stage.server("windows", state=STOPPED)
    for _ in range(2):
        stage.disk(server)
    stage.untouchable.add(stage.system_disk(server))
    stage.request(server, all_data_disks=True)


@scenario("detached: no volumes")
def no_data_disks(stage: Stage) -> None:
    """The server has only a system disk: there is no verdict, and the summary says that there were no volumes."""
    stage.request(stage.server(), all_data_disks=True)


@scenario("failed: server_not_found")
def all_data_disks_of_nothing(stage: Stage) -> None:
    """The server does not exist: one verdict without a volume, and a summary."""
    stage.request(stage.world.new_id(), all_data_disks=True)


@scenario("checked: would_detach, would_fail")
def all_data_disks_checked(stage: Stage) -> None:
    """A dry run for all data disks: the verdicts say what would happen to each, and no DELETE is sent."""
    server = stage.server()
    stage.untouchable |= {stage.disk(server), stage.disk(server, metadata={"detach_protection": "true"})}
    stage.request(server, all_data_disks=True, dry_run=True)


@scenario("failed: detached_now, attached_elsewhere, already_detached")
def several_with_a_summary(stage: Stage) -> None:
    """Three volumes by id: one is attached to the server, one to another server, one to none."""
    server = stage.server()
    disks = [stage.disk(server), stage.disk(stage.server()), stage.disk()]
    stage.request(server, volume_ids=disks, summary=True)
