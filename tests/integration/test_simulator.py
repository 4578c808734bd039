"""The simulated cloud answers like a real Keystone, Nova and Cinder."""

import json
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import requests

from shared.model import Answer
from simulator import (
    ORDINARY,
    PAUSED,
    RESCUED,
    RUNNING,
    SHELVED,
    SHELVED_OFFLOADED,
    SOFT_DELETED,
    STOPPED,
    SUSPENDED,
    Behaviour,
    CloudApi,
    CloudServer,
    Deployment,
    Fault,
    InProcessAdapter,
    Kind,
    ListShape,
    Project,
    RootDetach,
    What,
    World,
    bodies,
    faults,
)
from simulator.identity import PASSWORD, USERNAME

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
NOWHERE = "00000000-0000-4000-8000-000000000000"


MEMBERS = {name: set(text.split()) for name, text in tomllib.loads(
    Path(__file__).with_name("members.toml").read_text()).items()}  # fmt: skip
"""The member names of real services' answers."""


@dataclass
class Cloud:
    """A cloud with one server and one data disk, and a client that has already logged in."""

    deployment: Deployment = field(default_factory=Deployment)
    roles: tuple[str, ...] = ("member", "reader")
    time: datetime = START

    def __post_init__(self) -> None:
        self.world = World(lambda: self.time)
        self.project: Project = self.world.project
        self.api = CloudApi(self.world, deployment=self.deployment)
        self.image = self.world.add_image({"__os_type": "Linux"}).id
        self.server = self.world.add_server(image_id=self.image).id
        self.volume = self.world.add_volume().id
        self.attachment_id = self.world.attach(self.server, self.volume)
        self.api.identity.add_user("worker", "secret", roles=self.roles)
        self.token = self.log_in("worker", "secret").headers["x-subject-token"]

    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def log_in(self, name: str, password: str, scope: dict[str, Any] | None = None) -> Answer:
        user = {"name": name, "domain": {"name": "Default"}, "password": password}
        project = {"name": self.project.name, "domain": {"name": "Default"}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project} if scope is None else scope}}  # fmt: skip
        return self.api.handle("POST", "/v3/auth/tokens", {}, json.dumps(body).encode())

    def call(self, method: str, path: str, version: str | None = None, **headers: str) -> Answer:
        """A call with the token and, if given, an OpenStack-API-Version."""
        sent = {"X-Auth-Token": self.token, "Accept": "*/*"} | headers
        if version:
            sent["OpenStack-API-Version"] = version
        return self.api.handle(method, path, sent)

    def nova(self, path: str = "", method: str = "GET", version: str | None = None) -> Answer:
        asked = f"compute {version}" if version else None
        return self.call(method, f"/v2.1/{self.project.id}/servers/{self.server}{path}", asked)

    def cinder(self, version: str | None = None) -> Answer:
        return self.call("GET", f"/v3/{self.project.id}/volumes/{self.volume}", version)

    def attachment(self, method: str = "GET", volume_id: str | None = None) -> Answer:
        return self.nova(f"/os-volume_attachments/{volume_id or self.volume}", method)

    def delete(self) -> Answer:
        return self.attachment("DELETE")

    @property
    def shown(self) -> Any:
        """The volume as Cinder shows it."""
        return body_of(self.cinder())["volume"]

    @property
    def listed(self) -> Any:
        """The attachment as Nova lists it with its identity."""
        (listed,) = body_of(self.nova("/os-volume_attachments", version="2.89"))["volumeAttachments"]
        return listed

    @property
    def history(self) -> list[What]:
        return [entry.what for entry in self.world.history if entry.what is not What.SERVER_CREATED]


def body_of(answer: Answer) -> Any:
    return json.loads(answer.body)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


# --------------------------------------------------------------------------------------------------- identity


def test_token(cloud: Cloud) -> None:
    """A token has its project, its roles, and the addresses of the services."""
    answer = cloud.log_in(USERNAME, PASSWORD)
    token = body_of(answer)["token"]
    assert answer.status == 201
    assert set(token) == MEMBERS["token"]
    assert token["project"]["id"] == cloud.project.id
    urls = {entry["type"]: {e["url"] for e in entry["endpoints"]} for entry in token["catalog"]}
    assert urls == {"identity": {"http://cloud.test/v3"}, "image": {"http://cloud.test"},
        "compute": {"http://cloud.test/v2.1"}, "volumev3": {f"http://cloud.test/v3/{cloud.project.id}"},
        "volumev2": {f"http://cloud.test/v2/{cloud.project.id}"},
        "block-storage": {"http://cloud.test/v3"}}  # fmt: skip


@pytest.mark.parametrize("path", ["/v2.1/{project}", "/v2/{project}"])
def test_compute_url_of_the_catalog_is_an_option(path: str) -> None:
    """The catalog's address of compute can be set, because clouds differ in it."""
    cloud = Cloud(Deployment(compute_path=path))
    catalog = body_of(cloud.log_in(USERNAME, PASSWORD))["token"]["catalog"]
    (compute,) = (entry for entry in catalog if entry["type"] == "compute")
    expected = "http://cloud.test" + path.format(project=cloud.project.id)
    assert {endpoint["url"] for endpoint in compute["endpoints"]} == {expected}


@pytest.mark.parametrize(
    ("password", "scope"),
    [("wrong", None), (PASSWORD, {"project": {"name": "no-such", "domain": {"name": "Default"}}})],
)
def test_login_refused(cloud: Cloud, password: str, scope: dict[str, Any] | None) -> None:
    """A wrong password and an unknown project get the same answer."""
    answer = cloud.log_in(USERNAME, password, scope)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Keystone uri="http://cloud.test/v3"'
    assert answer.body == (
        b'{"error":{"code":401,"message":"The request you have made requires authentication.",'
        b'"title":"Unauthorized"}}\n'
    )


def test_malformed_login(cloud: Cloud) -> None:
    """A login without an identity is a bad request."""
    answer = cloud.api.handle("POST", "/v3/auth/tokens", {}, b'{"auth": {}}')
    assert answer.status == 400
    assert set(body_of(answer)["error"]) == {"code", "message", "title"}


def test_unscoped_token_is_useless(cloud: Cloud) -> None:
    """A token without a scope has no project, so Nova refuses it."""
    answer = cloud.log_in(USERNAME, PASSWORD, {})
    assert set(body_of(answer)["token"]) == MEMBERS["unscoped_token"]
    cloud.token = answer.headers["x-subject-token"]
    assert "doesn't match Context's project_id 'None'" in body_of(cloud.nova())["badRequest"]["message"]


def test_identity_versions(cloud: Cloud) -> None:
    """The root lists the versions, of which v3 is the only one."""
    assert cloud.api.handle("GET", "/", {}).status == 300
    assert body_of(cloud.api.handle("GET", "/v3", {}))["version"]["id"] == "v3.14"


@pytest.mark.parametrize("end", ["revoked", "expired", "missing"])
def test_invalid_token(cloud: Cloud, end: str) -> None:
    """Revoked, expired and missing tokens get the same answer of the middleware."""
    if end == "revoked":
        cloud.api.revoke_tokens()
    elif end == "expired":
        cloud.pass_time(3600)
    else:
        cloud.token = ""
    for answer in (cloud.nova(), cloud.delete(), cloud.cinder()):
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Keystone uri=")
        assert body_of(answer)["error"]["title"] == "Unauthorized"


# ---------------------------------------------------------------------------------------------------- compute


def test_server_at_the_lowest_microversion(cloud: Cloud) -> None:
    """Without a microversion, a server has neither `locked` nor `tags`, and its flavor has an id."""
    answer = cloud.nova()
    server = body_of(answer)["server"]
    assert set(answer.headers) == MEMBERS["nova_headers"]
    assert answer.headers["openstack-api-version"] == "compute 2.1"
    assert set(server) == MEMBERS["server"]
    assert set(server["flavor"]) == {"id", "links"}
    assert server["os-extended-volumes:volumes_attached"] == [{"id": cloud.volume}]
    assert server["OS-SRV-USG:launched_at"] == "2026-11-23T08:00:00.000000"


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ("2.8", set(), {"locked", "tags"}),
        ("2.9", {"locked"}, {"tags"}),
        ("2.26", {"locked", "tags"}, {"locked_reason"}),
        ("2.46", {"locked", "tags", "description"}, {"locked_reason"}),
    ],
)
def test_server_fields_by_microversion(cloud: Cloud, version: str, present: set[str], absent: set[str]) -> None:
    """Each field appears from its microversion on."""
    shown = set(body_of(cloud.nova(version=version))["server"])
    assert present <= shown
    assert not absent & shown


def test_flavor_loses_its_id(cloud: Cloud) -> None:
    """From 2.47 on, the flavor is embedded, without an id."""
    assert "id" in body_of(cloud.nova(version="2.46"))["server"]["flavor"]
    flavor = body_of(cloud.nova(version="2.47"))["server"]["flavor"]
    assert set(flavor) == {"vcpus", "ram", "disk", "ephemeral", "swap", "original_name", "extra_specs"}


@pytest.mark.parametrize(
    ("version", "attributes", "shown"),
    [
        (None, {}, {"flavor id": "physical.o2.medium"}),
        ("2.26", {}, {"flavor id": "physical.o2.medium", "tags": ["__type_baremetal"]}),
        ("2.47", {}, {"flavor name": "physical.o2.medium", "specs": "ironic", "tags": ["__type_baremetal"]}),
        (None, ORDINARY, {"flavor id": "s3.large.2"}),
        ("2.47", ORDINARY, {"flavor name": "s3.large.2", "specs": "IOoptimizedS3_2", "tags": []}),
        ("2.26", {"flavor_id": "", "tags": ()}, {"tags": []}),
    ],
)
def test_signs_of_bare_metal_by_microversion(
    cloud: Cloud, version: str | None, attributes: dict[str, Any], shown: dict[str, Any]
) -> None:
    """The signs of a server's kind depend on the microversion: the tag, and the flavor's id or its name and specs."""
    cloud.world.set_server(cloud.server, **attributes)
    found = body_of(cloud.nova(version=version))["server"]
    flavor = found["flavor"]
    identified_by = {
        "flavor id": flavor.get("id"),
        "flavor name": flavor.get("original_name"),
        "specs": flavor.get("extra_specs", {}).get("resource_type"),
        "tags": found.get("tags"),
    }
    assert {name: value for name, value in identified_by.items() if value is not None} == shown


def test_server_at_the_newest_microversion(cloud: Cloud) -> None:
    """With the newest microversion, a server has the members of the recorded one."""
    cloud.deployment.max_compute_version = (2, 103)
    answer = cloud.nova(version="latest")
    assert answer.headers["openstack-api-version"] == "compute 2.103"
    assert set(body_of(answer)["server"]) == MEMBERS["server_2_103"]


def test_root_device_name_only_if_there_is_one(cloud: Cloud) -> None:
    """Tenants see the root device only if the cloud shows it."""
    name = "OS-EXT-SRV-ATTR:root_device_name"
    assert name not in body_of(cloud.nova(version="2.26"))["server"]
    cloud.world.set_server(cloud.server, root_device="/dev/vda")
    assert body_of(cloud.nova(version="2.26"))["server"][name] == "/dev/vda"


@pytest.mark.parametrize(
    ("version", "status", "message"),
    [
        ("2.99", 406, "Version 2.99 is not supported by the API. Minimum is 2.1 and maximum is 2.96."),
        ("x", 400, "API Version String x is of invalid format. Must be of format MajorNum.MinorNum."),
    ],
)
def test_microversion_refused(cloud: Cloud, version: str, status: int, message: str) -> None:
    """A version out of range gets a 406 with its headers, a malformed one a 400 without them."""
    answer = cloud.nova(version=version)
    (fault,) = body_of(answer).values()
    assert (answer.status, fault) == (status, {"code": status, "message": message})
    assert answer.headers.get("openstack-api-version") == ("compute 2.99" if status == 406 else None)


def test_legacy_path_ignores_microversions(cloud: Cloud) -> None:
    """At /v2, a microversion is ignored."""
    path = f"/v2/{cloud.project.id}/servers/{cloud.server}"
    answer = cloud.call("GET", path, "compute 2.26")
    assert set(body_of(answer)["server"]) == MEMBERS["server"]
    assert "openstack-api-version" not in answer.headers


def test_path_without_project(cloud: Cloud) -> None:
    """Nova uses the token's project if the path has none."""
    assert cloud.call("GET", f"/v2.1/servers/{cloud.server}").status == 200


def test_server_list(cloud: Cloud) -> None:
    """The list has pages, short and full entries, and a filter by tags from 2.26 on."""
    cloud.world.add_server(tags=())
    path = f"/v2.1/{cloud.project.id}/servers"
    assert set(body_of(cloud.call("GET", path))["servers"][0]) == {"id", "links", "name"}
    assert set(body_of(cloud.call("GET", f"{path}/detail"))["servers"][0]) == MEMBERS["server"]
    tagged = f"{path}?tags=__type_baremetal"
    assert len(body_of(cloud.call("GET", tagged))["servers"]) == 2
    assert len(body_of(cloud.call("GET", tagged, "compute 2.26"))["servers"]) == 1
    first = body_of(cloud.call("GET", f"{path}?limit=1"))
    second = body_of(cloud.call("GET", first["servers_links"][0]["href"].removeprefix("http://cloud.test")))
    assert first["servers"][0]["id"] != second["servers"][0]["id"]
    assert "servers_links" not in second


@pytest.mark.parametrize(
    ("version", "more", "kind"),
    [(None, set(), "attachment"), ("2.70", {"tag"}, "attachment"), ("2.89", set(), "attachment_2_89")],
)
def test_attachment_fields(cloud: Cloud, version: str | None, more: set[str], kind: str) -> None:
    """A single attachment equals its entry in the list, and has no id from 2.89 on."""
    cloud.deployment.max_compute_version = (2, 103)
    single = body_of(cloud.nova(f"/os-volume_attachments/{cloud.volume}", version=version))
    listed = body_of(cloud.nova("/os-volume_attachments", version=version))
    assert listed == {"volumeAttachments": [single["volumeAttachment"]]}
    assert set(single["volumeAttachment"]) == MEMBERS[kind] | more


@pytest.mark.parametrize(
    ("shape", "name", "kind"),
    [
        (ListShape.ARRAY, "volumeAttachments", list),
        (ListShape.OBJECT, "volumeAttachments", dict),
        (ListShape.SINGULAR, "volumeAttachment", dict),
    ],
)
def test_list_shapes(cloud: Cloud, shape: ListShape, name: str, kind: type) -> None:
    """The list has the real shape, or one of the documented ones."""
    cloud.deployment.list_shape = shape
    assert isinstance(body_of(cloud.nova("/os-volume_attachments"))[name], kind)


def test_limit_counts_the_local_disk(cloud: Cloud) -> None:
    """The first block device of an image-booted server is not a volume, so a page of one is empty."""
    assert body_of(cloud.nova("/os-volume_attachments?limit=1")) == {"volumeAttachments": []}
    assert len(body_of(cloud.nova("/os-volume_attachments?limit=2"))["volumeAttachments"]) == 1


def test_reads_of_missing_objects(cloud: Cloud) -> None:
    """Nova distinguishes a missing server from a missing attachment."""
    absent = cloud.attachment(volume_id=NOWHERE)
    assert absent.headers["content-type"] == "application/json; charset=UTF-8"
    assert body_of(absent) == {
        "itemNotFound": {"code": 404, "message": f"Instance {cloud.server} is not attached to volume {NOWHERE}"}
    }
    cloud.server = NOWHERE
    message = f"Instance {NOWHERE} could not be found."
    for path in ("", "/os-volume_attachments", "/os-instance-actions"):
        assert body_of(cloud.nova(path)) == {"itemNotFound": {"code": 404, "message": message}}


def test_detach_from_acceptance_to_end(cloud: Cloud) -> None:
    """After a 202, Cinder removes the attachment and then Nova; the history has every step."""
    answer = cloud.delete()
    assert (answer.status, answer.body) == (202, b"")
    assert set(answer.headers) == MEMBERS["nova_headers"]
    assert body_of(cloud.cinder())["volume"]["status"] == "detaching"
    assert cloud.attachment().status == 200
    cloud.pass_time(2)
    assert body_of(cloud.cinder())["volume"]["status"] == "available"
    assert cloud.attachment().status == 200
    cloud.pass_time(0.5)
    assert cloud.attachment().status == 404
    assert cloud.delete().status == 404
    assert cloud.history == [What.ATTACHED, What.DELETE_RECEIVED, What.DELETE_ACCEPTED, What.DETACHING,
        What.CINDER_DETACHED, What.NOVA_DETACHED, What.DELETE_RECEIVED, What.DELETE_REJECTED]  # fmt: skip
    accepted = cloud.world.history[3]
    assert accepted.attachment_id == cloud.attachment_id
    assert accepted.detail == answer.headers["x-openstack-request-id"]
    assert cloud.world.history[-1].attachment_id is None


def test_second_delete_while_detaching(cloud: Cloud) -> None:
    """A second DELETE is refused with the message of Cinder's check."""
    cloud.delete()
    answer = cloud.delete()
    message = body_of(answer)["badRequest"]["message"]
    assert answer.status == 400
    assert message.startswith(
        "Invalid volume: Invalid input received: Invalid volume: Unable to detach volume. Volume status must "
        "be 'in-use' and attach_status must be 'attached' to detach. (HTTP 400) (Request-ID: req-"
    )


CONFLICT = "Cannot 'detach_volume' instance {server} while it is in "


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"locked": True}, 409, "Instance {server} is locked"),
        ({"vm_state": "error"}, 409, CONFLICT + "vm_state error"),
        (SUSPENDED, 409, CONFLICT + "vm_state suspended"),
        (RESCUED, 409, CONFLICT + "vm_state rescued"),
        (SHELVED, 409, CONFLICT + "vm_state shelved"),
        (SHELVED_OFFLOADED, 409, CONFLICT + "vm_state shelved_offloaded"),
        ({"host_up": False}, 409, "Service is unavailable at this time."),
        ({"host_up": False, "task_state": "rebooting"}, 409, CONFLICT + "task_state rebooting"),
        ({"task_state": "rebooting_hard"}, 409, CONFLICT + "task_state rebooting_hard"),
        ({"launched_at": None}, 409, "Instance {server} is in an invalid state for 'detach_volume'"),
        ({"locked": True, "task_state": "rebooting"}, 409, "Instance {server} is locked"),
        ({"project_id": "f" * 32}, 404, "Instance {server} could not be found."),
        ({"root_device": "/dev/sdb", "locked": True}, 400, "Cannot detach a root device volume"),
        (STOPPED, 202, ""),
        (PAUSED, 202, ""),
        (SOFT_DELETED, 202, ""),
    ],
)
def test_delete_by_state_of_the_server(cloud: Cloud, changes: dict[str, Any], status: int, message: str) -> None:
    """The first failing check in Nova's order decides the answer."""
    cloud.world.set_server(cloud.server, **changes)
    answer = cloud.delete()
    assert answer.status == status
    if message:
        (fault,) = body_of(answer).values()
        assert fault == {"code": status, "message": message.format(server=cloud.server)}
        assert cloud.history[-1] is What.DELETE_REJECTED
        assert cloud.world.is_attached(cloud.server, cloud.volume) == cloud.attachment_id


def test_delete_of_missing_objects(cloud: Cloud) -> None:
    """Nova distinguishes an unknown volume from an unattached one."""
    spare = cloud.world.add_volume().id
    unknown, idle = cloud.attachment("DELETE", NOWHERE), cloud.attachment("DELETE", spare)
    assert body_of(unknown)["itemNotFound"]["message"] == f"Volume {NOWHERE} could not be found."
    expected = f"Instance {cloud.server} is not attached to volume {spare}"
    assert body_of(idle)["itemNotFound"]["message"] == expected


def test_project_mismatch(cloud: Cloud) -> None:
    """Nova and Cinder refuse a URL with another project than the token's as malformed."""
    other = "e45987b58d774f9f8f13542de0369603"
    nova = cloud.call("GET", f"/v2.1/{other}/servers/{cloud.server}")
    cinder = cloud.call("GET", f"/v3/{other}/volumes/{cloud.volume}")
    assert body_of(nova)["badRequest"]["message"] == (
        f"Malformed request URL: URL's project_id '{other}' doesn't match Context's project_id '{cloud.project.id}'"
    )
    assert cinder.status == 400


def test_reader_may_not_delete() -> None:
    """A DELETE with a reader's token is refused with Nova's policy message."""
    cloud = Cloud(roles=("reader",))
    answer = cloud.delete()
    assert answer.status == 403
    assert body_of(answer)["forbidden"]["message"] == (
        "Policy doesn't allow os_compute_api:os-volumes-attachments:delete to be performed."
    )


@pytest.mark.parametrize(
    ("rule", "running", "stopped"),
    [(RootDetach.BAD_REQUEST, 400, 400), (RootDetach.FORBIDDEN, 403, 403), (RootDetach.WHEN_STOPPED, 403, 202)],
)
def test_system_disk(cloud: Cloud, rule: RootDetach, running: int, stopped: int) -> None:
    """The deployment option decides whether and how a system disk is refused."""
    cloud.deployment.root_detach = rule
    cloud.world.set_server(cloud.server, root_device="/dev/sdb")
    assert cloud.delete().status == running
    cloud.world.set_server(cloud.server, **STOPPED)
    assert cloud.delete().status == stopped


@pytest.mark.parametrize(("version", "status"), [("2.19", 409), ("2.20", 202), ("2.89", 202)])
@pytest.mark.parametrize("offload", [True, False])
def test_shelved_server_needs_a_microversion(cloud: Cloud, offload: bool, version: str, status: int) -> None:
    """From 2.20 on, volumes of a shelved server can be detached."""
    cloud.world.shelve(cloud.server, offload=offload)
    cloud.pass_time(2)
    assert cloud.nova(f"/os-volume_attachments/{cloud.volume}", "DELETE", version).status == status


@pytest.mark.parametrize("version", ["2.1", "2.89"])
def test_states_that_refuse_a_detach_at_every_microversion(cloud: Cloud, version: str) -> None:
    """No disk is detached from a suspended or rescued server, or from one whose host is down."""
    for state in (SUSPENDED, RESCUED, {**RUNNING, "host_up": False}):
        cloud.world.set_server(cloud.server, **state)
        assert cloud.nova(f"/os-volume_attachments/{cloud.volume}", "DELETE", version).status == 409


def test_detach_from_an_offloaded_server(cloud: Cloud) -> None:
    """Cinder shows `reserved` without an attachment, and `available` as soon as Nova has accepted."""
    cloud.world.shelve(cloud.server)
    cloud.pass_time(2)
    server = body_of(cloud.nova())["server"]
    assert (server["status"], server["hostId"]) == ("SHELVED_OFFLOADED", "")
    assert "progress" not in server
    assert (cloud.shown["status"], cloud.shown["attachments"]) == ("reserved", [])
    assert cloud.attachment().status == 200
    answer = cloud.nova(f"/os-volume_attachments/{cloud.volume}", "DELETE", "2.20")
    assert (answer.status, cloud.attachment().status) == (202, 404)
    assert (cloud.shown["status"], cloud.shown["attachments"]) == ("available", [])
    record = f"/os-instance-actions/{answer.headers['x-openstack-request-id']}"
    assert body_of(cloud.nova(record, version="2.58"))["instanceAction"]["events"][0]["result"] == "Success"


@pytest.mark.parametrize("version", ["2.1", "2.89"])
def test_attach_to_an_offloaded_server(cloud: Cloud, version: str) -> None:
    """Until the unshelve, Cinder shows neither device nor time, and Nova shows no device."""
    cloud.world.shelve(cloud.server)
    cloud.pass_time(2)
    cloud.world.begin_detach(cloud.server, cloud.volume)
    cloud.world.attach(cloud.server, cloud.volume)
    path = f"/os-volume_attachments/{cloud.volume}"
    (attachment,) = cloud.shown["attachments"]
    assert (cloud.shown["status"], attachment["server_id"]) == ("in-use", cloud.server)
    assert (attachment["device"], attachment["attached_at"]) == (None, None)
    assert "device" not in body_of(cloud.nova(path, version=version))["volumeAttachment"]
    assert cloud.nova(path, "DELETE").status == 409
    cloud.world.unshelve(cloud.server)
    cloud.pass_time(2)
    (attachment,) = cloud.shown["attachments"]
    assert (attachment["device"], attachment["attached_at"]) == ("/dev/sdb", "2026-11-23T08:00:02.000000")
    assert body_of(cloud.nova(path, version=version))["volumeAttachment"]["device"] == "/dev/sdb"


# ------------------------------------------------------------------------------------------------------- moves


def test_a_resize_on_both_planes(cloud: Cloud) -> None:
    """Nova always lists the disk, from 2.89 on with the new attachment and the same binding."""
    listed = cloud.listed
    cloud.world.move(cloud.server, "resize", seconds=20, reserved_after=5)
    assert body_of(cloud.nova())["server"]["OS-EXT-STS:task_state"] == "resize_prep"
    assert body_of(cloud.delete())["conflictingRequest"]["message"].endswith("while it is in task_state resize_prep")
    cloud.pass_time(6)
    assert (cloud.shown["status"], cloud.shown["attachments"]) == ("reserved", [])
    renewed = cloud.listed
    assert renewed["attachment_id"] != listed["attachment_id"]
    assert renewed | {"attachment_id": listed["attachment_id"]} == listed
    cloud.pass_time(14)
    (attachment,) = cloud.shown["attachments"]
    assert attachment["attachment_id"] == renewed["attachment_id"]
    server = body_of(cloud.nova())["server"]
    assert (server["status"], server["OS-EXT-STS:vm_state"]) == ("VERIFY_RESIZE", "resized")
    action = body_of(cloud.nova("/os-instance-actions", version="2.58"))["instanceActions"][0]
    assert action["action"] == "resize"
    assert action["start_time"] <= attachment["attached_at"] <= action["updated_at"]
    assert cloud.delete().status == 202


def test_an_open_action_looks_finished(cloud: Cloud) -> None:
    """The evacuated server is ACTIVE, but its open record ends before the new attachment."""
    cloud.world.set_server(cloud.server, host_up=False)
    host = body_of(cloud.nova())["server"]["hostId"]
    cloud.world.move(cloud.server, "evacuate")
    cloud.pass_time(6)
    server = body_of(cloud.nova())["server"]
    assert (server["status"], server["OS-EXT-STS:task_state"]) == ("ACTIVE", None)
    assert server["hostId"] != host
    (attachment,) = cloud.shown["attachments"]
    action = body_of(cloud.nova("/os-instance-actions", version="2.58"))["instanceActions"][0]
    assert action["start_time"] == action["updated_at"] < attachment["attached_at"]
    cloud.pass_time(2)
    action = body_of(cloud.nova("/os-instance-actions", version="2.58"))["instanceActions"][0]
    assert action["updated_at"] > attachment["attached_at"]


def test_two_attachments_during_a_live_migration(cloud: Cloud) -> None:
    """Both attachments are to the same server, and Nova lists the newer one."""
    cloud.world.move(cloud.server, "live-migration")
    cloud.pass_time(3)
    newer, older = cloud.shown["attachments"]
    assert {newer["server_id"], older["server_id"]} == {cloud.server}
    assert (older["attachment_id"], newer["attachment_id"]) == (cloud.attachment_id, cloud.listed["attachment_id"])
    assert newer["attached_at"] > older["attached_at"]
    assert cloud.delete().status == 409


@pytest.mark.parametrize("status", ["maintenance", "reserved", "attaching", "error", "error_extending", "available"])
def test_a_status_does_not_change_the_attachment(cloud: Cloud, status: str) -> None:
    """An operator may set any status; the attachment stays on both planes, and a DELETE is refused."""
    cloud.world.set_volume(cloud.volume, status=status)
    assert cloud.delete().status == 400
    assert (cloud.shown["status"], len(cloud.shown["attachments"])) == (status, 1)
    assert cloud.attachment().status == 200


def test_a_failed_storage_back_end(cloud: Cloud) -> None:
    """The record has an Error, while Cinder stays `detaching`."""
    cloud.world.set_volume(cloud.volume, behaviour=Behaviour(error_after=4.0))
    request_id = cloud.delete().headers["x-openstack-request-id"]
    cloud.pass_time(600)
    record = body_of(cloud.nova(f"/os-instance-actions/{request_id}", version="2.58"))["instanceAction"]
    assert (record["message"], record["updated_at"]) == ("Error", "2026-11-23T08:00:04.000000")
    assert record["events"][0]["result"] == "Error"
    assert (cloud.shown["status"], len(cloud.shown["attachments"])) == ("detaching", 1)


@pytest.mark.parametrize(("refuse", "message"), [(True, "Error"), (False, None)])
def test_action_record(cloud: Cloud, refuse: bool, message: str | None) -> None:
    """The action record with the DELETE's request id has its outcome."""
    cloud.world.set_volume(cloud.volume, behaviour=Behaviour(refuse=refuse))
    request_id = cloud.delete().headers["x-openstack-request-id"]
    cloud.pass_time(10)
    listed = body_of(cloud.nova("/os-instance-actions"))["instanceActions"]
    single = body_of(cloud.nova(f"/os-instance-actions/{request_id}"))["instanceAction"]
    assert listed[0] == single
    assert [action["action"] for action in listed] == ["detach_volume", "attach_volume", "create"]
    assert set(single) == MEMBERS["action"]
    assert (single["action"], single["message"]) == ("detach_volume", message)
    newer = body_of(cloud.nova(f"/os-instance-actions/{request_id}", version="2.60"))["instanceAction"]
    assert set(newer) == MEMBERS["action"] | {"updated_at", "events"}
    assert newer["events"][0]["result"] == (message or "Success")


def test_action_still_open(cloud: Cloud) -> None:
    """While an operation runs, `updated_at` is its start, and its event has neither an end nor a result."""
    request_id = cloud.delete().headers["x-openstack-request-id"]
    cloud.pass_time(1.25)
    record = body_of(cloud.nova(f"/os-instance-actions/{request_id}", version="2.58"))["instanceAction"]
    assert record["updated_at"] == record["start_time"] == "2026-11-23T08:00:00.000000"
    assert record["events"] == [{"event": "compute_detach_volume", "start_time": "2026-11-23T08:00:00.000000",
        "finish_time": None, "result": None}]  # fmt: skip


def test_record_of_an_attach_is_as_old_as_the_attachment(cloud: Cloud) -> None:
    """Records are listed with the newest first, and that of an attach has the attachment's time."""
    cloud.world.attach(cloud.server, cloud.world.add_volume().id, attached_at=START - timedelta(days=3))
    actions = body_of(cloud.nova("/os-instance-actions", version="2.58"))["instanceActions"]
    assert [(action["action"], action["start_time"], action["updated_at"]) for action in actions] == [
        ("attach_volume", "2026-11-23T08:00:00.000000", "2026-11-23T08:00:00.000000"),
        ("create", "2026-11-23T08:00:00.000000", "2026-11-23T08:00:00.000000"),
        ("attach_volume", "2026-11-20T08:00:00.000000", "2026-11-20T08:00:00.000000"),
    ]


def test_unknown_action(cloud: Cloud) -> None:
    """An unknown request id gets Nova's 404."""
    message = f"Action req-{NOWHERE} not found"
    assert body_of(cloud.nova(f"/os-instance-actions/req-{NOWHERE}")) == {
        "itemNotFound": {"code": 404, "message": message}
    }


def test_action_that_no_host_takes_up(cloud: Cloud) -> None:
    """If the compute host never acts, the record has no events and no message."""
    cloud.world.set_volume(cloud.volume, behaviour=Behaviour(stuck=True))
    request_id = cloud.delete().headers["x-openstack-request-id"]
    record = body_of(cloud.nova(f"/os-instance-actions/{request_id}", version="2.60"))["instanceAction"]
    assert (record["message"], record["events"]) == (None, [])


def test_action_records_may_be_missing(cloud: Cloud) -> None:
    """A cloud without action records answers 404."""
    assert cloud.nova(f"/os-instance-actions/req-{NOWHERE}").status == 404
    request_id = cloud.delete().headers["x-openstack-request-id"]
    cloud.deployment.instance_actions = False
    assert cloud.nova(f"/os-instance-actions/{request_id}").status == 404


@pytest.mark.parametrize(
    ("accept", "start"), [("*/*", b"<html>"), ("application/json", b"{"), ("text/plain", b"404 Not Found")]
)
def test_unknown_path(cloud: Cloud, accept: str, start: bytes) -> None:
    """An unknown path gets a 404 without Nova's fault format, in the format of the Accept header."""
    path = f"/v2.1/{cloud.project.id}/servers/{cloud.server}/os-volume_attachments"
    answer = cloud.call("DELETE", path, Accept=accept)
    assert answer.status == 404
    assert answer.body.startswith(start)
    assert b"itemNotFound" not in answer.body


# ----------------------------------------------------------------------------------- block storage and images


def test_volume(cloud: Cloud) -> None:
    """A volume has its attachments, each with its id and its time without a zone."""
    answer = cloud.cinder()
    volume = body_of(answer)["volume"]
    assert answer.headers["openstack-api-version"] == "volume 3.0"
    assert set(volume) == MEMBERS["volume"]
    (attachment,) = volume["attachments"]
    assert set(attachment) == MEMBERS["volume_attachment"]
    assert attachment["attachment_id"] == cloud.attachment_id
    assert attachment["attached_at"] == "2026-11-23T08:00:00.000000"


def test_volume_by_the_older_path(cloud: Cloud) -> None:
    """Version 2 of the API serves the same volume, without microversions."""
    answer = cloud.call("GET", f"/v2/{cloud.project.id}/volumes/{cloud.volume}", "compute 2.1")
    assert set(body_of(answer)["volume"]) == MEMBERS["volume"]
    assert "openstack-api-version" not in answer.headers


@pytest.mark.parametrize(("version", "status"), [("compute 2.53", 400), ("volume 3.999", 406)])
def test_volume_microversion_refused(cloud: Cloud, version: str, status: int) -> None:
    """Cinder refuses a header that names only compute, and a version out of range."""
    assert cloud.cinder(version).status == status


def test_volume_microversion(cloud: Cloud) -> None:
    """Cinder finds its own version in a header with several services."""
    volume = body_of(cloud.cinder("compute 2.1, volume 3.50"))["volume"]
    assert set(volume) == MEMBERS["volume"] | {"group_id", "shared_targets", "service_uuid"}


def test_volume_list(cloud: Cloud) -> None:
    """The list has the volumes of the token's project, with pages and a filter by status."""
    cloud.world.add_volume()
    cloud.world.add_volume(project_id="f" * 32)
    path = f"/v3/{cloud.project.id}/volumes/detail"
    assert [set(volume) for volume in body_of(cloud.call("GET", path))["volumes"]] == [
        MEMBERS["volume"],
        MEMBERS["volume"],
    ]
    assert len(body_of(cloud.call("GET", f"{path}?status=in-use"))["volumes"]) == 1
    assert "volumes_links" in body_of(cloud.call("GET", f"{path}?limit=1"))
    assert cloud.call("GET", f"{path}?limit=x").status == 400


def test_missing_volume(cloud: Cloud) -> None:
    """Cinder's 404 has the format of Nova's."""
    cloud.volume = NOWHERE
    message = f"Volume {NOWHERE} could not be found."
    assert body_of(cloud.cinder()) == {"itemNotFound": {"code": 404, "message": message}}


def test_image(cloud: Cloud) -> None:
    """An image has its custom properties on the same level as the others."""
    assert body_of(cloud.call("GET", f"/v2/images/{cloud.image}"))["__os_type"] == "Linux"
    assert cloud.call("GET", f"/v2/images/{NOWHERE}").status == 404


# ----------------------------------------------------------------------------------------------------- faults


def test_fault_without_effect(cloud: Cloud) -> None:
    """A fault without effect replaces one call; the next one reaches Nova."""
    throttled = bodies.gateway_error("APIGW.0308", "The throttling threshold has been client")
    cloud.api.faults.add(Fault(faults.answer(throttled), operation="delete_attachment"))
    assert cloud.delete() == throttled
    assert throttled.status == 429
    assert What.DELETE_RECEIVED not in cloud.history
    assert cloud.delete().status == 202


def test_fault_after_effect(cloud: Cloud) -> None:
    """A fault after the effect returns an error, although the call took effect."""
    cloud.api.faults.add(Fault(faults.answer_after_effect(bodies.html_error(504)), method="DELETE"))
    assert cloud.delete().status == 504
    assert cloud.history[-2:] == [What.DELETE_ACCEPTED, What.DETACHING]


def test_fault_counts(cloud: Cloud) -> None:
    """A fault skips some calls, and then hits a limited number of calls."""
    bad = faults.answer(bodies.html_error(502))
    cloud.api.faults.add(Fault(bad, "get_volume", volume_id=cloud.volume, skip=1, times=2))
    assert [cloud.cinder().status for _ in range(4)] == [200, 502, 502, 200]


def test_fault_elsewhere_does_not_count(cloud: Cloud) -> None:
    """A fault for another volume or operation does not hit a call."""
    bad = faults.answer(bodies.html_error(502))
    cloud.api.faults.add(Fault(bad, volume_id=NOWHERE), Fault(bad, "get_image"), Fault(bad, method="PUT"))
    assert cloud.cinder().status == 200


def test_faults_are_played_in_turn(cloud: Cloud) -> None:
    """A call that one fault hits is not counted by the next."""
    for status in (502, 503):
        cloud.api.faults.add(Fault(faults.answer(bodies.html_error(status)), "get_volume"))
    assert [cloud.cinder().status for _ in range(3)] == [502, 503, 200]
    cloud.api.faults.add(Fault(faults.answer(500), times=None))
    assert [cloud.cinder().status for _ in range(3)] == [500, 500, 500]
    cloud.api.faults.clear()
    assert cloud.cinder().status == 200


def test_call_log(cloud: Cloud) -> None:
    """Every call is logged as the client made it, with status 0 without an answer."""
    cloud.api.calls.clear()
    cloud.api.faults.add(Fault(faults.RESET_AFTER, "delete_attachment"))
    with pytest.raises(faults.TransportFault):
        cloud.delete()
    cloud.attachment()
    cloud.call("GET", "/nowhere")
    seen = [(call.operation, call.status, call.volume_id) for call in cloud.api.calls]
    assert seen == [("delete_attachment", 0, cloud.volume), ("get_attachment", 200, cloud.volume),
        ("unknown", 404, None)]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (bodies.nova_fault("badMethod", 405, "m"), 405, {"badMethod": {"code": 405, "message": "m"}}),
        (bodies.service_error("BMS.0114", "m"), 400, {"error": {"message": "m", "code": "BMS.0114"}}),
        (bodies.iam_error("IAM.0002", "m"), 403, {"error_msg": "m", "error_code": "IAM.0002"}),
        (bodies.keystone_error(401, "m"), 401, {"error": {"code": 401, "message": "m", "title": "Unauthorized"}}),
        (bodies.nova_fault("overLimit", 429, "m", retry_after=7), 429,
            {"overLimit": {"code": 429, "message": "m", "retryAfter": "7"}}),
    ],
)  # fmt: skip
def test_envelopes(answer: Answer, status: int, body: Any) -> None:
    """Each prepared body has its status and format."""
    assert (answer.status, body_of(answer)) == (status, body)


# ------------------------------------------------------------------------------------------------- transports


@dataclass
class Client:
    """A client of the cloud over one of the transports."""

    cloud: Cloud
    session: requests.Session
    url: str

    def delete(self, timeout: float = 5.0) -> requests.Response:
        path = f"/v2.1/{self.cloud.project.id}/servers/{self.cloud.server}/os-volume_attachments"
        headers = {"X-Auth-Token": self.cloud.token}
        return self.session.delete(f"{self.url}{path}/{self.cloud.volume}", headers=headers, timeout=timeout)

    def get_volume(self) -> requests.Response:
        headers = {"X-Auth-Token": self.cloud.token}
        path = f"/v3/{self.cloud.project.id}/volumes/{self.cloud.volume}"
        return self.session.get(self.url + path, headers=headers, timeout=5)


@pytest.fixture(params=["socket", "in process"])
def client(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[Client]:
    """The same cloud over each of the transports."""
    with ExitStack() as stack:
        session = stack.enter_context(requests.Session())
        session.trust_env = False
        if request.param == "socket":
            stack.enter_context(CloudServer(cloud.api, hold=0.3))
        else:
            session.mount("http://", InProcessAdapter(cloud.api))
        yield Client(cloud, session, cloud.deployment.base_url)


@pytest.mark.parametrize(
    ("kind", "error", "effect"),
    [
        (faults.CONNECTION_REFUSED, requests.exceptions.ConnectionError, False),
        (faults.RESET_BEFORE, requests.exceptions.ConnectionError, False),
        (faults.RESET_AFTER, requests.exceptions.ConnectionError, True),
        (faults.READ_TIMEOUT_BEFORE, requests.exceptions.ReadTimeout, False),
        (faults.READ_TIMEOUT_AFTER, requests.exceptions.ReadTimeout, True),
    ],
)
def test_broken_delete(client: Client, kind: Kind, error: type[requests.RequestException], effect: bool) -> None:
    """A broken connection does not show whether the detach began."""
    client.cloud.api.calls.clear()
    client.cloud.api.faults.add(Fault(kind, "delete_attachment"))
    with pytest.raises(error):
        client.delete(timeout=0.05 if error is requests.exceptions.ReadTimeout else 5)
    while not client.cloud.api.calls:  # the server may still be working after its client has given up
        sleep(0.001)
    assert (What.DETACHING in client.cloud.history) is effect
    assert client.delete().status_code == (400 if effect else 202)


def test_truncated_answer(client: Client) -> None:
    """An answer cut in the middle is an error, not half a volume."""
    client.cloud.api.faults.add(Fault(faults.TRUNCATED, "get_volume"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get_volume()
    assert client.get_volume().status_code == 200


def test_slow_answer(client: Client) -> None:
    """A slow answer is complete."""
    client.cloud.api.faults.add(Fault(faults.slow(0.02), "get_volume"))
    assert client.get_volume().json()["volume"]["id"] == client.cloud.volume


@pytest.mark.parametrize("status", [200, 202, 204])
def test_empty_answer_and_the_next(client: Client, status: int) -> None:
    """After an answer without a body the same connection serves the next request."""
    client.cloud.world.set_volume(client.cloud.volume, behaviour=Behaviour(success_status=status))
    answer = client.delete()
    assert (answer.status_code, answer.content) == (status, b"")
    assert client.get_volume().json()["volume"]["status"] == "detaching"


def test_waiting_takes_virtual_time(cloud: Cloud) -> None:
    """In process, slow answers and read timeouts advance the given clock."""
    with requests.Session() as session:
        session.mount("http://", InProcessAdapter(cloud.api, sleep=cloud.pass_time))
        client = Client(cloud, session, "http://cloud.test")
        cloud.api.faults.add(Fault(faults.slow(3.0)), Fault(faults.READ_TIMEOUT_BEFORE))
        client.get_volume()
        with pytest.raises(requests.exceptions.ReadTimeout):
            client.delete(timeout=20)
    assert cloud.time - START == timedelta(seconds=3 + 20)


def test_server_stops_at_once(cloud: Cloud) -> None:
    """The end of the block also closes kept-alive connections."""
    with requests.Session() as session:
        session.trust_env = False
        with CloudServer(cloud.api) as server:
            client = Client(cloud, session, server.url)
            assert client.get_volume().status_code == 200
        with pytest.raises(requests.exceptions.ConnectionError):
            client.get_volume()
