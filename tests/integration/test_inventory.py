"""The inventory of a project over real HTTP: servers and disks by id or name, and refusals."""

from collections.abc import Iterator
from typing import Any

import pytest

from local.demo import MOUNTED_VOLUME, SERVER, VOLUME, WINDOWS_SERVER, WINDOWS_VOLUME, demo_cloud
from local.real_cloud import OTHER_API, connect, unread
from local.stack import simulator_credentials
from shared.cloud.openstack import OpenStackCloud
from shared.model import AnswerClass, Call, Classified, Reason
from shared.policy import Policy, RunningServerPolicy, ServerKind
from shared.ports import CloudTrouble, utc_now
from shared.settings import DetachApi
from simulator import ORDINARY, CloudApi, CloudServer, bodies, faults
from simulator.faults import Fault
from tests.messages import START
from tools.inventory import Machine, NotFound, disk_called, machine, machines, server_called
from tools.servers import as_data, as_text

PLATFORM = Policy()


@pytest.fixture
def api() -> Iterator[CloudApi]:
    api = demo_cloud(utc_now)
    with CloudServer(api):
        yield api


@pytest.fixture
def cloud(api: CloudApi) -> OpenStackCloud:
    return connect(simulator_credentials(api))


def read(cloud: OpenStackCloud, name: str, policy: Policy = PLATFORM) -> Machine:
    return machine(cloud, server_called(cloud, name), policy, utc_now())


@pytest.mark.parametrize("asked", [SERVER, SERVER.upper(), "db-01", "DB-01"])
def test_a_server_is_found_by_id_or_name(asked: str, cloud: OpenStackCloud) -> None:
    assert server_called(cloud, asked).id == SERVER


@pytest.mark.parametrize(
    ("attributes", "kind", "line"),
    [
        ({}, "bare metal", "db-01  ACTIVE, linux, bare metal"),
        (ORDINARY, "virtual", "db-01  ACTIVE, linux, virtual"),
        ({"flavor_id": "", "tags": ()}, "unknown", "db-01  ACTIVE, linux, kind unknown"),
    ],
)
def test_the_kind_of_a_server_is_shown(
    attributes: dict[str, Any], kind: str, line: str, api: CloudApi, cloud: OpenStackCloud
) -> None:
    """The inventory shows the kind, and what SERVER_KIND=bare_metal would refuse."""
    api.world.set_server(SERVER, **attributes)
    found = read(cloud, "db-01", Policy(server_kind=ServerKind.BARE_METAL))
    assert (found.kind, as_data(found)["kind"], next(as_text(found))) == (kind, kind, line)
    refused = {disk.refused[0] for disk in found.disks if disk.refused}
    assert refused == ({"system_disk"} if kind == "bare metal" else {"not_bare_metal"})


@pytest.mark.parametrize("asked", [VOLUME, VOLUME.upper(), "db-01-data", "DB-01-Data", "/dev/sdb"])
def test_a_disk_is_found_by_id_name_or_device(asked: str, cloud: OpenStackCloud) -> None:
    disk = disk_called(read(cloud, "db-01"), asked)
    assert disk
    assert (disk.volume_id, disk.name, disk.size, disk.device, disk.kind) == (
        VOLUME, "db-01-data", 10, "/dev/sdb", "data disk"
    )  # fmt: skip


def test_a_missing_name_is_answered_with_the_existing_ones(api: CloudApi, cloud: OpenStackCloud) -> None:
    api.world.add_server(name="db-01")
    twin = api.world.add_volume(name="db-01-data").id
    api.world.attach(SERVER, twin, device="/dev/sdz")
    with pytest.raises(NotFound, match=r"^No server is called db-1; there are ad-01, app-01, db-01, db-01.$"):
        server_called(cloud, "db-1")
    with pytest.raises(NotFound, match=rf"^2 servers are called db-01: give the id of one of them: {SERVER}, "):
        server_called(cloud, "db-01")
    with pytest.raises(NotFound, match=r"^There is no server 00000000-0000-4000-8000-000000000000 in this project"):
        server_called(cloud, "00000000-0000-4000-8000-000000000000")
    ambiguous = rf"^2 disks of db-01 are called db-01-data: give the id of one of them: {VOLUME}, "
    with pytest.raises(NotFound, match=ambiguous):
        disk_called(read(cloud, SERVER), "db-01-data")
    with pytest.raises(
        NotFound,
        match=r"^No disk called x is attached to ad-01; there are ad-01-data \(/dev/sdb\), ad-01-system \(/dev/sda\)\.",
    ):
        disk_called(read(cloud, "ad-01"), "x")
    assert disk_called(read(cloud, "ad-01"), VOLUME) is None


def test_the_inventory_shows_what_would_be_refused(api: CloudApi, cloud: OpenStackCloud) -> None:
    """The function's own gates decide, with the operator's policy."""
    api.world.set_volume(MOUNTED_VOLUME, metadata={"detach_protection": "true"})
    refused = {disk.name: disk.refused[0] for disk in read(cloud, "db-01").disks if disk.refused}
    assert refused == {"db-01-system": "system_disk", "db-01-logs": "volume_protected"}
    assert [disk.refused[0] for disk in read(cloud, "ad-01").disks if disk.refused] == [
        "system_disk", "attestation_required"
    ]  # fmt: skip
    stopped_only = read(cloud, "db-01", Policy(running_server_policy=RunningServerPolicy.STOPPED_ONLY)).disks
    assert {disk.refused[0] for disk in stopped_only if disk.refused} >= {"server_running"}
    api.world.set_server(SERVER, task_state="rebooting")
    held = {disk.refused[0] for disk in read(cloud, "db-01").disks if disk.refused}
    assert held == {"not now", "volume_protected"}


def test_one_broken_server_does_not_hide_the_others(api: CloudApi, cloud: OpenStackCloud) -> None:
    """Failed reads are reported; an unreadable disk is still listed."""
    broken = faults.answer(bodies.nova_fault("computeFault", 500, "Unexpected API Error."))
    gateway = faults.answer(bodies.html_error(502))
    api.faults.add(
        Fault(broken, "list_attachments", server_id=SERVER, times=None),
        Fault(gateway, "get_volume", volume_id=WINDOWS_VOLUME, times=None),
    )
    found = {one.server_id: one for one in machines(cloud, PLATFORM, utc_now())}
    assert len(found) == 3
    assert found[SERVER].trouble
    assert found[SERVER].disks == ()
    windows = found[WINDOWS_SERVER]
    assert windows.trouble
    assert {disk.volume_id: disk.status for disk in windows.disks}[WINDOWS_VOLUME] == "not readable"
    assert "some of it cannot be read" in "\n".join(as_text(windows))
    with pytest.raises(NotFound, match="the name may be ambiguous"):
        disk_called(windows, "ad-01-system")
    assert disk_called(windows, WINDOWS_VOLUME)
    assert as_data(windows)["trouble"]


@pytest.mark.parametrize(("like", "names"), [("", 3), ("01", 3), ("DB", 1), (SERVER[:8], 1), ("nothing", 0)])
def test_servers_are_filtered_by_a_part_of_name_or_id(like: str, names: int, cloud: OpenStackCloud) -> None:
    assert len(list(machines(cloud, PLATFORM, utc_now(), like))) == names


def test_servers_beyond_the_first_page_are_found(api: CloudApi, cloud: OpenStackCloud) -> None:
    """A page has at most a thousand servers; a name that occurs on two pages is still ambiguous."""
    for number in range(1005):
        api.world.add_server(name=f"server-{number:04}")
    api.world.add_server(name="db-01")
    assert server_called(cloud, "server-1004").name == "server-1004"
    with pytest.raises(NotFound, match=r"^2 servers are called db-01"):
        server_called(cloud, "db-01")


def test_an_empty_name_matches_nothing(api: CloudApi, cloud: OpenStackCloud) -> None:
    """An empty variable matches neither a disk nor a server without a name."""
    api.world.attach(SERVER, api.world.add_volume(name="").id)
    with pytest.raises(NotFound):
        disk_called(read(cloud, "db-01"), "")
    with pytest.raises(NotFound):
        server_called(cloud, "")


REFUSED = Classified(AnswerClass.PERMANENT, "Pdp.0001", "Not to be performed..", Reason.FORBIDDEN)
AWAY = Classified(AnswerClass.RECONCILE, "timeout", "")
LOST = Classified(AnswerClass.PERMANENT, "api_rejected", "no endpoint: set VOLUME_ENDPOINT", Reason.API_REJECTED)
COMPUTE, BMS = DetachApi.COMPUTE, DetachApi.BMS_V1
HINT = f" Check the rights of this user, or {OTHER_API}."


@pytest.mark.parametrize(
    ("why", "operation", "status", "api", "said"),
    [
        (REFUSED, "list_servers", 403, COMPUTE, f"The cloud answered 403: Pdp.0001: Not to be performed.{HINT}"),
        (REFUSED, "get_server", 404, COMPUTE, f"The cloud answered 404: Pdp.0001: Not to be performed.{HINT}"),
        (REFUSED, "list_servers", 403, BMS, "The cloud answered 403: Pdp.0001: Not to be performed."),
        (REFUSED, "get_volume", 403, COMPUTE, "The cloud answered 403: Pdp.0001: Not to be performed."),
        (REFUSED, "list_servers", 503, COMPUTE, "The cloud answered 503: Pdp.0001: Not to be performed."),
        (AWAY, "list_servers", 0, COMPUTE, "The cloud did not answer: timeout."),
        (LOST, "get_token", 0, COMPUTE, "The cloud cannot be used: api_rejected: no endpoint: set VOLUME_ENDPOINT."),
    ],
)
def test_a_read_that_failed_is_told_in_sentences(
    why: Classified, operation: str, status: int, api: DetachApi, said: str
) -> None:
    """Whether the cloud answered, what it said with one full stop, and the other API if that may help."""
    told = unread(CloudTrouble(why, (Call(operation=operation, at=START, status=status, code=why.code),)), api)
    assert told == said
