"""Reads of both planes: existing objects, missing objects, and unknown outcomes."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests

from shared.cloud.openstack import OpenStackCloud, connect
from shared.model import Answer, AnswerClass, Ended, Reason
from shared.ports import CloudTrouble, Reading
from simulator import Behaviour, CloudApi, CloudServer, Fault, ListShape, bodies, faults
from tests.stack import LONG_AGO, Site, credentials_of

NOWHERE = "00000000-0000-4000-8000-000000000000"

Read = Callable[[OpenStackCloud, Site], Reading[Any]]
READS: dict[str, Read] = {
    "get_volume": lambda cloud, site: cloud.volume(site.volume),
    "list_attachments": lambda cloud, site: cloud.listing(site.server),
    "get_server": lambda cloud, site: cloud.server(site.server),
}


def trouble_of(operation: str, site: Site) -> CloudTrouble:
    cloud = site.connect()
    with pytest.raises(CloudTrouble) as trouble:
        READS[operation](cloud, site)
    return trouble.value


def test_a_volume_is_read(site: Site) -> None:
    """A volume is read with status, metadata and attachment; times without a zone are UTC."""
    site.world.set_volume(site.volume, metadata={"detach_protection": "true"}, bootable=True, multiattach=True)
    volume = site.connect().volume(site.volume).value
    assert volume is not None
    ((server, attachment),) = volume.attachments
    assert (volume.id, volume.status, volume.bootable, volume.multiattach) == (site.volume, "in-use", True, True)
    assert volume.metadata == {"detach_protection": "true"}
    assert (server, attachment.attachment_id) == (site.server, site.attachment)
    assert (attachment.attached_at, attachment.device) == (LONG_AGO, "/dev/sdb")


def test_an_attachment_to_a_host_belongs_to_no_server(site: Site) -> None:
    """An attachment without a server id, as recorded from a real Cinder, is ignored."""
    site.world.set_volume(site.volume, multiattach=True, on_a_host=True)
    cloud = site.connect()
    volume = cloud.volume(site.volume).value
    assert volume is not None
    assert [server for server, _ in volume.attachments] == [site.server]
    cloud.detach(site.server, site.volume)
    site.clock.sleep(60)
    volume = cloud.volume(site.volume).value
    assert volume is not None
    assert (volume.status, volume.attachments) == ("in-use", ())


def test_a_server_is_read(site: Site) -> None:
    """A server is read with all fields for the gates: states, lock, root device, metadata."""
    site.world.set_server(site.server, locked=True, task_state="powering-off", name="db-01")
    server = site.connect().server(site.server).value
    assert server is not None
    assert (server.id, server.name, server.status) == (site.server, "db-01", "ACTIVE")
    assert (server.locked, server.task_state, server.vm_state) == (True, "powering-off", "active")
    assert (server.power_state, server.root_device, server.metadata) == (1, "/dev/sda", {"os_type": "Linux"})


@pytest.mark.parametrize("shape", ListShape)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_list_in_every_shape(site: Site, shape: ListShape, count: int) -> None:
    """An array or a single object, under either key, gives the same attachments."""
    site.deployment.list_shape = shape
    server = site.world.add_server().id
    volumes = [site.world.add_volume().id for _ in range(count)]
    for number, volume in enumerate(volumes):
        site.world.attach(server, volume, device=f"/dev/vd{number}")
    listing = site.connect().listing(server).value or ()
    expected = [(volume, f"/dev/vd{number}") for number, volume in enumerate(volumes)]
    assert [(listed.volume_id, listed.device) for listed in listing] == expected


@pytest.mark.parametrize("body", ['{"volumeAttachments": {}}', '{"volumeAttachments": []}', '{"volumeAttachment": {}}'])
def test_an_empty_list_in_every_shape(site: Site, body: str) -> None:
    """An empty list is read in every shape."""
    site.api.faults.add(Fault(faults.answer(200, body=body.encode()), operation="list_attachments"))
    assert site.connect().listing(site.server).value == ()


def test_objects_that_do_not_exist_are_none(site: Site) -> None:
    """A "not found" of Nova or Cinder means that the object does not exist in this project."""
    cloud = site.connect()
    readings = [cloud.volume(NOWHERE), cloud.listing(NOWHERE), cloud.server(NOWHERE)]
    assert [reading.value for reading in readings] == [None, None, None]
    assert [call.status for reading in readings for call in reading.calls] == [404, 404, 404]
    assert all(call.openstack_request_id for reading in readings for call in reading.calls)


NOT_FROM_THE_SERVICE: dict[str, Answer] = {
    "gateway": bodies.gateway_error("APIG.0101", "The API does not exist or has not been published."),
    "proxy": bodies.html_error(404),
    "route": bodies.no_such_route("application/json"),
    "route in HTML": bodies.no_such_route(),
    "empty": Answer(404),
    "other thing": bodies.fault(404, "Flavor x could not be found."),
}


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize("name", NOT_FROM_THE_SERVICE)
def test_a_404_of_another_component_is_not_absence(site: Site, operation: str, name: str) -> None:
    """A 404 of a gateway or proxy, or for a wrong URL, never means that a volume or server is gone."""
    site.api.faults.add(Fault(faults.answer(NOT_FROM_THE_SERVICE[name]), operation=operation, times=None))
    classified = trouble_of(operation, site).classified
    assert classified.kind is not AnswerClass.DONE_VERIFY
    assert classified.reason not in (Reason.SERVER_NOT_FOUND, Reason.VOLUME_NOT_FOUND)


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize(
    "body",
    [b"", b"<html></html>", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"a": 1, "a": 2}', b"[" * 10_000,
     b'{"volume": 5, "volumeAttachments": 5, "server": 5}',
     b'{"volume": {"status": "in-use"}, "server": {}, "volumeAttachments": [{}]}',
     b'{"volume": {"status": "in-use", "attachments": [{}]}, "server": {"status": 5}, "volumeAttachments": [5]}',
     b'{"volume": {"status": "in-use", "attachments": null}, "server": [], "volumeAttachments": null}'],
)  # fmt: skip
def test_an_unreadable_answer_is_an_error(site: Site, operation: str, body: bytes) -> None:
    """A 200 without the requested object proves nothing, in particular no detach."""
    site.api.faults.add(Fault(faults.answer(200, body=body), operation=operation, times=None))
    trouble = trouble_of(operation, site)
    assert (trouble.classified.kind, trouble.classified.code) == (AnswerClass.RECONCILE, "unreadable_answer")
    assert [(call.operation, call.status) for call in trouble.calls] == [(operation, 200)]


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize("status", [202, 204, 301, 302, 304, 400, 409, 429, 500, 502, 503, 504])
def test_no_other_status_is_an_answer(site: Site, operation: str, status: int) -> None:
    """An answer with any other status is an error, and the read is not repeated."""
    headers = {"location": f"{site.deployment.base_url}/v3"}
    site.api.faults.add(Fault(faults.answer(status, headers), operation=operation, times=None))
    trouble = trouble_of(operation, site)
    assert trouble.classified.kind not in (AnswerClass.ACCEPTED, AnswerClass.DONE_VERIFY)
    assert site.count(operation) == 1


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize("kind", ["RESET_BEFORE", "READ_TIMEOUT_BEFORE", "TRUNCATED"])
def test_a_broken_connection_is_an_error(site: Site, operation: str, kind: str) -> None:
    """A missing or partial answer is an error, with status 0 in the evidence."""
    site.api.faults.add(Fault(getattr(faults, kind), operation=operation))
    trouble = trouble_of(operation, site)
    assert trouble.classified.kind is AnswerClass.RECONCILE
    assert [(call.operation, call.status) for call in trouble.calls] == [(operation, 0)]


def test_a_slow_answer_is_an_answer(site: Site) -> None:
    """An answer that arrives in pieces is read completely."""
    site.api.faults.add(Fault(faults.slow(0.02), operation="get_volume"))
    assert site.connect().volume(site.volume).value is not None


def test_an_old_cloud_is_read_without_microversion(site: Site) -> None:
    """After a 406 the read is repeated without the microversion; missing fields are unknown, not false."""
    site.deployment.max_compute_version = (2, 1)
    server = site.connect().server(site.server).value
    assert server is not None
    assert (server.locked, server.root_device, server.status) == (None, None, "ACTIVE")
    assert [call.status for call in site.api.calls if call.operation == "get_server"] == [406, 200]


def test_the_image_identifies_the_operating_system(site: Site) -> None:
    """If the server's metadata has no operating system, its image is read, once for all servers."""
    image = site.world.add_image({"__os_type": "Windows"}).id
    servers = [site.world.add_server(image_id=image).id for _ in range(2)]
    cloud = site.connect()
    found = [cloud.server(server).value for server in servers]
    assert [server.image_properties.get("__os_type") for server in found if server] == ["Windows", "Windows"]
    assert site.count("get_image") == 1


def test_the_image_is_read_only_if_needed(site: Site) -> None:
    """A server with a known operating system, or without an image, needs one call."""
    image = site.world.add_image({"__os_type": "Windows"}).id
    known = site.world.add_server(image_id=image, metadata={"metering.resourcespeccode": "physical.o2.linux"}).id
    cloud = site.connect()
    assert [len(cloud.server(id_).calls) for id_ in (known, site.server)] == [1, 1]
    assert site.count("get_image") == 0


@pytest.mark.parametrize("status", [403, 404, 500])
def test_the_image_is_never_required(site: Site, status: int) -> None:
    """Without the image, the operating system is unknown, and the next look reads the image again."""
    image = site.world.add_image({"__os_type": "Linux"}).id
    server = site.world.add_server(image_id=image).id
    site.api.faults.add(Fault(faults.answer(bodies.html_error(status)), operation="get_image"))
    cloud = site.connect()
    first, second = cloud.server(server), cloud.server(server)
    assert first.value is not None
    assert second.value is not None
    assert [first.value.image_properties, second.value.image_properties.get("__os_type")] == [{}, "Linux"]
    assert [call.status for call in first.calls] == [200, status]


@pytest.mark.parametrize(
    ("behaviour", "newest", "expected"),
    [
        (Behaviour(seconds=2, refuse=True), (2, 96), [Ended.RUNNING, Ended.FAILED]),
        (Behaviour(seconds=1), (2, 96), [Ended.RUNNING, Ended.SUCCEEDED]),
        (Behaviour(seconds=2, refuse=True), (2, 50), [Ended.UNKNOWN, Ended.FAILED]),
        (Behaviour(seconds=1), (2, 50), [Ended.UNKNOWN, Ended.UNKNOWN]),
    ],
)
def test_the_action_record_shows_the_end_of_a_detach(
    site: Site, behaviour: Behaviour, newest: tuple[int, int], expected: list[Ended]
) -> None:
    """The record has the DELETE's request id; without events in it, it shows failures only."""
    site.deployment.max_compute_version = newest
    site.world.set_volume(site.volume, behaviour=behaviour)
    cloud = site.connect()
    cloud.check()
    receipt = cloud.detach(site.server, site.volume).value.receipt
    assert receipt is not None
    before = cloud.ended(site.server, receipt).value
    site.clock.sleep(2)
    assert expected == [before, cloud.ended(site.server, receipt).value]


def test_the_action_record_is_never_required(site: Site) -> None:
    """Without such records, or without this one, the outcome is unknown."""
    cloud = site.connect()
    assert cloud.ended(site.server, f"req-{NOWHERE}").value is Ended.UNKNOWN
    site.deployment.instance_actions = False
    assert cloud.ended(site.server, f"req-{NOWHERE}").value is Ended.UNKNOWN


def test_the_record_of_another_operation_is_ignored(site: Site) -> None:
    """A failed reboot with that id is not a failed detach."""
    body = b'{"instanceAction": {"action": "reboot", "message": "Error"}}'
    site.api.faults.add(Fault(faults.answer(200, body=body), operation="get_action"))
    assert site.connect().ended(site.server, f"req-{NOWHERE}").value is Ended.UNKNOWN


class CountedConnections(CloudApi):
    """A cloud that records its connections by their server threads."""

    connections: frozenset[threading.Thread] = frozenset()

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        self.connections |= {threading.current_thread()}
        return super().handle(method, path, headers, body)


@pytest.mark.parametrize(("closes", "connections"), [(False, 2), (True, 20)], ids=["kept alive", "hung up"])
def test_calls_share_one_connection(closes: bool, connections: int) -> None:
    """Twenty calls use one connection, the login another; a server that closes after each call needs twenty."""
    site, http = Site(), requests.Session()
    api = CountedConnections(site.world, deployment=site.deployment)
    with http, CloudServer(api):
        cloud = connect(lambda _: credentials_of(api), http if closes else None, site.clock)
        for _ in range(20):
            assert cloud.volume(site.volume).value is not None
            if closes:
                http.close()
    assert [call.operation for call in api.calls].count("get_volume") == 20
    assert len(api.connections) == connections
