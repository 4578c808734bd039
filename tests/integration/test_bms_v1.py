"""The job API of bare metal servers, with the documented bodies, over a real socket."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from shared.cloud.bms_v1 import BareMetalCloud, connect, server
from shared.cloud.openstack import connector
from shared.decision.disks import data_disks
from shared.decision.gates import Refuse, gate
from shared.model import AnswerClass, Ended, Listed, Reason
from shared.policy import Policy
from shared.ports import CloudTrouble
from shared.settings import CloudCredentials, DetachApi, load
from simulator import Behaviour, Fault, bodies, faults
from tests.builders import request, volume
from tests.scripted import Reply, Script, reply, scripted_server
from tests.stack import Site, credentials_of, in_process

PROJECT = "bbf1946d374b44a0a2a95533562ba954"
SERVER = "53206ed0-56de-4d6b-b7ee-ffc62ca26f43"
VOLUME = "6b604cef-9bd8-4f5a-ae56-45839e6e1f0a"
JOB = "70a599e0-31e7-49b7-b260-868f441e862b"
ROOT = f"/v1/{PROJECT}"


def cloud_at(script: Script, **values: str) -> BareMetalCloud:
    """The adapter of a scripted server; an access key needs no login."""
    key = {"access_key": "key", "secret_key": "secret", "project_id": PROJECT}
    places = {"bms_endpoint": script.url, "volume_endpoint": script.url}
    credentials = load(CloudCredentials, {**key, **places, **values})
    return connect(lambda _: credentials)


def after_login(ask: Callable[[BareMetalCloud], Any], *replies: Reply) -> tuple[Any, Script]:
    """The result of one call after a login, and the script."""
    with scripted_server() as script:
        script.then(reply({"volumeAttachments": []}), *replies)
        cloud = cloud_at(script)
        cloud.listing(SERVER)
        return ask(cloud), script


# ------------------------------------------------------------------------------------------------------------ reads

DOCUMENTED: dict[str, Any] = {
    "id": SERVER,
    "name": "bms-test",
    "flavor": {"disk": "9309", "vcpus": "32", "ram": "193047", "id": "physical.o2.medium"},
    "status": "ACTIVE",
    "metadata": {"metering.resourcetype": "__type_baremetal", "os_type": "Linux", "os_bit": "64"},
    "tags": ["__type_baremetal"],
    "locked": False,
    "image": {"id": "8589958c-6bc7-40c6-b81b-3fe4cd2e3d85"},
    "OS-EXT-STS:power_state": 1,
    "OS-EXT-STS:vm_state": "active",
    "OS-EXT-SRV-ATTR:root_device_name": "/dev/sda",
    "host_status": "UP",
    "sys_tags": [{"key": "_sys_enterprise_project_id", "value": "0"}],
}
DISKS = [
    {"id": VOLUME, "delete_on_termination": "false", "bootIndex": None, "device": "/dev/sdb"},
    {"id": JOB, "delete_on_termination": "true", "bootIndex": "0", "device": "/dev/sdc"},
]


@pytest.mark.parametrize(
    ("changes", "locked", "root"),
    [
        ({}, False, "/dev/sda"),
        ({"locked": "true"}, True, "/dev/sda"),
        ({"locked": "False"}, False, "/dev/sda"),
        ({"locked": None}, None, "/dev/sda"),
        ({"OS-EXT-SRV-ATTR:root_device_name": None, "os-extended-volumes:volumes_attached": DISKS}, False, "/dev/sdc"),
        ({"OS-EXT-SRV-ATTR:root_device_name": "", "os-extended-volumes:volumes_attached": DISKS[:1]}, False, None),
        ({"OS-EXT-SRV-ATTR:root_device_name": "", "os-extended-volumes:volumes_attached": "none"}, False, None),
    ],
)
def test_a_documented_server(changes: dict[str, Any], locked: bool | None, root: str | None) -> None:
    """The fields for the gates are read; a lock may be a string, and the boot index replaces a missing root device."""
    reading, script = after_login(lambda cloud: cloud.server(SERVER), reply({"server": DOCUMENTED | changes}))
    found = reading.value
    assert (found.status, found.vm_state, found.power_state) == ("ACTIVE", "active", 1)
    assert (found.locked, found.root_device, found.metadata["os_type"]) == (locked, root, "Linux")
    assert [call.operation for call in reading.calls] == ["get_server"]
    assert script.asked[-1].path == f"{ROOT}/baremetalservers/{SERVER}"


@pytest.mark.parametrize("root", [None, "/dev/sda", "/dev/sdx"])
@pytest.mark.parametrize("boot", [{"bootIndex": "0"}, {"bootIndex": 0, "device": "/dev/vda"}], ids=str)
def test_the_boot_disk_of_a_server_is_its_system_disk(boot: dict[str, Any], root: str | None) -> None:
    """The boot index decides, whatever the device names; a request for all data disks leaves it out."""
    details = {"id": "s", "status": "ACTIVE", "metadata": {"os_type": "Linux"}}
    boots = {"OS-EXT-SRV-ATTR:root_device_name": root, "os-extended-volumes:volumes_attached": [boot | {"id": VOLUME}]}
    found = server({"server": details | boots})
    answer = gate(request(), replace(volume(), id=VOLUME), {"/dev/sdc"}, found, Policy())
    assert isinstance(answer, Refuse)
    assert answer.reason is Reason.SYSTEM_DISK
    assert data_disks(found, (Listed(VOLUME, "/dev/sdc"), Listed(JOB, "/dev/sdd")), {}) == (JOB,)


@pytest.mark.parametrize("key", ["volumeAttachments", "volumeAttachment"])
@pytest.mark.parametrize("several", [True, False])
def test_a_documented_list(key: str, several: bool) -> None:
    """The list is an array, or a single object as in the documentation, under either key."""
    entry = {"device": "/dev/sdd", "id": VOLUME, "serverId": SERVER, "volumeId": VOLUME}
    reading, script = after_login(lambda cloud: cloud.listing(SERVER), reply({key: [entry] if several else entry}))
    assert [(one.volume_id, one.device, one.bdm_uuid) for one in reading.value] == [(VOLUME, "/dev/sdd", None)]
    assert script.asked[-1].path == f"{ROOT}/baremetalservers/{SERVER}/os-volume_attachments"


@pytest.mark.parametrize("read", ["server", "listing"])
def test_a_server_that_does_not_exist(read: str) -> None:
    """BMS.0040 is a 400, and means that the server does not exist."""
    missing = {"error": {"message": "The server does not exist.", "code": "BMS.0040"}}
    reading, _ = after_login(lambda cloud: getattr(cloud, read)(SERVER), reply(missing, 400))
    assert reading.value is None
    assert reading.calls[0].code == "BMS.0040"


def test_no_call_names_a_microversion() -> None:
    """The service has no microversions, and a gateway might refuse an unknown header."""
    _, script = after_login(lambda cloud: cloud.detach(SERVER, VOLUME), reply({"job_id": JOB}, 202))
    assert not [name for one in script.asked for name in one.headers if "version" in name]


def test_there_are_no_action_records() -> None:
    """Action records are not read, because the API has none."""
    reading, script = after_login(lambda cloud: cloud.actions(SERVER), reply({}))
    assert reading.value == ()
    assert len(script.asked) == 1


@pytest.mark.parametrize("counted", [True, False])
def test_servers_are_read_page_by_page(counted: bool) -> None:
    """Pages count from 1, and end after the last server, or at a page without new ones."""
    pages: list[dict[str, Any]] = [
        {"servers": [DOCUMENTED | {"id": f"{SERVER[:-1]}{n}"}]} | ({"count": 2} if counted else {}) for n in (1, 2, 2)
    ]
    reading, script = after_login(lambda cloud: cloud.servers(), *map(reply, pages))
    assert [one.id[-1] for one in reading.value] == ["1", "2"]
    asked = [one.path.partition("?")[2] for one in script.asked[1:]]
    assert asked == [f"limit=100&offset={page}" for page in range(1, 3 if counted else 4)]


# ------------------------------------------------------------------------------------------------------- the DELETE


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "receipt"),
    [
        (202, {"job_id": JOB}, AnswerClass.ACCEPTED, "http_202", JOB),
        (200, {"job_id": JOB.replace("-", "")}, AnswerClass.ACCEPTED, "http_200", JOB.replace("-", "")),
        (202, {}, AnswerClass.RECONCILE, "no_job_id", None),
        (202, {"job_id": ""}, AnswerClass.RECONCILE, "no_job_id", None),
        (202, {"job_id": "../servers"}, AnswerClass.RECONCILE, "no_job_id", None),
        (202, {"job_id": 7}, AnswerClass.RECONCILE, "no_job_id", None),
        (202, "text", AnswerClass.RECONCILE, "no_job_id", None),
        (204, None, AnswerClass.RECONCILE, "no_job_id", None),
        (202, {"error": {"code": "Common.0024", "message": "Flow limit exceeded."}}, AnswerClass.RETRY,
         "Common.0024", None),
        (400, {"error": {"code": "BMS.0114", "message": "Volume is not in server attach volume list."}},
         AnswerClass.DONE_VERIFY, "BMS.0114", None),
        (400, {"error": {"code": "BMS.0035", "message": "Server is powering on"}}, AnswerClass.WAIT, "BMS.0035", None),
        (400, {"error": {"code": "BMS.0212", "message": "System is overloaded"}}, AnswerClass.RETRY, "BMS.0212", None),
        (400, {"error": {"code": "BMS.1007", "message": "Calling interface failed"}}, AnswerClass.RECONCILE,
         "BMS.1007", None),
        (400, {"error": {"code": "BMS.0360", "message": "EVS Disk is frozen."}}, AnswerClass.PERMANENT,
         "BMS.0360", None),
        (403, {"error": {"code": "BMS.0288", "message": "Policy doesn't allow"}}, AnswerClass.PERMANENT,
         "BMS.0288", None),
        (429, {"error_code": "APIGW.0308", "error_msg": "throttled"}, AnswerClass.RETRY, "APIGW.0308", None),
        (404, {"error_code": "APIGW.0101", "error_msg": "The API does not exist"}, AnswerClass.PERMANENT,
         "APIGW.0101", None),
        (406, {"computeFault": {"code": 406, "message": "No"}}, AnswerClass.PERMANENT, "computeFault", None),
        (401, {"error": {"code": 401, "title": "Unauthorized", "message": "no"}}, AnswerClass.RECONCILE,
         "http_401", None),
        (500, {"error": {"code": "Common.0001", "message": "System error."}}, AnswerClass.RECONCILE,
         "Common.0001", None),
    ],
)  # fmt: skip
def test_answers_to_a_delete(status: int, body: object, kind: AnswerClass, code: str, receipt: str | None) -> None:
    """An answer with a job id is an acceptance; others are classified by their code, or are unknown outcomes."""
    answer = Reply(status, b"" if body is None else json.dumps(body).encode())
    reading, script = after_login(lambda cloud: cloud.detach(SERVER, VOLUME), answer)
    sent = reading.value
    assert (sent.answer.kind, sent.answer.code, sent.receipt) == (kind, code, receipt)
    asked = script.asked[-1]
    assert (asked.method, asked.path) == ("DELETE", f"{ROOT}/baremetalservers/{SERVER}/detachvolume/{VOLUME}")
    assert asked.body == b""
    assert [(call.operation, call.status) for call in reading.calls] == [("delete_attachment", status)]


def test_half_a_body_is_an_unknown_outcome() -> None:
    """A 202 with half a body does not show whether the job has begun."""
    reading, _ = after_login(lambda cloud: cloud.detach(SERVER, VOLUME), Reply(202, b'{"job_id": "70a5'))
    assert (reading.value.answer.kind, reading.value.receipt) == (AnswerClass.RECONCILE, None)


# ----------------------------------------------------------------------------------------------------------- the job

FROZEN = {"error_code": "BMS.0360", "fail_reason": "EVS Disk is frozen."}
SILENT = {"error_code": None, "fail_reason": None}


def job(status: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    entities = {"sub_jobs_total": len(parts), "sub_jobs": list(parts)}
    return {
        "status": status,
        "entities": entities,
        "job_id": JOB,
        "job_type": "baremetalDetachVolume",
        **SILENT,
        **more,
    }


def part(status: str, **more: Any) -> dict[str, Any]:
    return {"status": status, "entities": {"server_id": SERVER}, "job_type": "baremetalSingleOperate", **SILENT, **more}


WHY = "the job says that the detach failed: BMS.0360 EVS Disk is frozen"
JOBS: dict[str, tuple[object, Ended, str, str | None]] = {
    "init": (job("INIT"), Ended.RUNNING, "", None),
    "running": (job("RUNNING", part("INIT")), Ended.RUNNING, "", None),
    "running, a part has failed": (job("RUNNING", part("FAIL", **FROZEN)), Ended.RUNNING, "", "BMS.0360"),
    "success": (job("SUCCESS", part("SUCCESS")), Ended.SUCCEEDED, "", None),
    "success without parts": ({"status": "SUCCESS", "entities": {}}, Ended.SUCCEEDED, "", None),
    "success, a part has failed": (job("SUCCESS", part("FAIL", **FROZEN)), Ended.UNKNOWN, "", "BMS.0360"),
    "success, a part still runs": (job("SUCCESS", part("RUNNING")), Ended.UNKNOWN, "", None),
    "failed": (job("FAIL", part("FAIL"), **FROZEN), Ended.FAILED, WHY, "BMS.0360"),
    "failed, the part says why": (job("FAIL", part("SUCCESS"), part("FAIL", **FROZEN)), Ended.FAILED, WHY, "BMS.0360"),
    "failed, nobody says why": (job("FAIL", part("FAIL")), Ended.FAILED,
                                "the job says that the detach failed, and not why", None),
    "failed, a code alone": (job("FAIL", error_code="BMS.1007"), Ended.FAILED,
                             "the job says that the detach failed: BMS.1007", "BMS.1007"),
    "the query failed": ({"code": "Common.0011", "message": "no such job"}, Ended.UNKNOWN, "", "unreadable_answer"),
    "the query failed, with a status": (job("FAIL", code="Common.0011", message="?"), Ended.UNKNOWN, "",
                                        "unreadable_answer"),
    "an unknown state": (job("PAUSED"), Ended.UNKNOWN, "", "unreadable_answer"),
    "another job": (job("FAIL", job_type="baremetalAttachVolume", **FROZEN), Ended.UNKNOWN, "", "unreadable_answer"),
    "no object": ([], Ended.UNKNOWN, "", "unreadable_answer"),
    "no state": ({"job_id": JOB}, Ended.UNKNOWN, "", "unreadable_answer"),
}  # fmt: skip


@pytest.mark.parametrize("name", JOBS)
def test_the_outcome_of_a_job(name: str) -> None:
    """The job's state is read, with code and reason from the job or a sub job; unknown values are ignored."""
    body, ended, text, code = JOBS[name]
    reading, script = after_login(lambda cloud: cloud.ended(SERVER, JOB), reply(body))
    assert (reading.value, reading.said) == (ended, text)
    assert [(call.operation, call.status, call.code) for call in reading.calls] == [("get_job", 200, code)]
    assert script.asked[-1].path == f"{ROOT}/jobs/{JOB}"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_an_unreadable_job_has_an_unknown_outcome(status: int) -> None:
    """An error answer to the query is only recorded as evidence."""
    reading, _ = after_login(lambda cloud: cloud.ended(SERVER, JOB), reply({"error": {"code": "BMS.1006"}}, status))
    assert reading.value is Ended.UNKNOWN
    assert reading.calls[-1].status == status


def test_the_text_of_a_job_shows_no_secret() -> None:
    """A job's reason may quote a token, which is removed."""
    failed = job("FAIL", error_code="BMS.1007", fail_reason='{"X-Auth-Token": "gAAAAABsecretsecretsecret"}')
    reading, _ = after_login(lambda cloud: cloud.ended(SERVER, JOB), reply(failed))
    assert "gAAAAAB" not in reading.said + (reading.calls[0].message or "")


# ------------------------------------------------------------------------------------------------------- the address


def of(site: Site, endpoint: str | None = None, **changes: object) -> BareMetalCloud:
    credentials = credentials_of(site.api, **changes)
    return connect(lambda _: credentials, site.http(site.api), site.clock, endpoint)


def given(credentials: CloudCredentials, _: float) -> CloudCredentials:
    return credentials


def refusal(cloud: BareMetalCloud) -> str:
    with pytest.raises(CloudTrouble) as raised:
        cloud.check()
    assert raised.value.classified.reason is Reason.API_REJECTED
    return raised.value.classified.message


def test_the_address_comes_from_the_catalog(site: Site) -> None:
    """The catalog's type `bms` is used, compute is not called, and a look's place has both addresses."""
    site.deployment.close_compute()
    cloud = of(site)
    cloud.check()
    base, project = site.deployment.base_url, site.world.project.id
    assert cloud.place() == f"{base}/v1/{project} {base}/v3/{project}"
    assert cloud.server(site.server).value is not None
    assert {call.path.split("/")[1] for call in site.api.calls} == {"v1", "v3"}


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/{project}", "/v1/{project}/"])
def test_a_setting_overrides_the_catalog(site: Site, ending: str) -> None:
    """BMS_ENDPOINT of the credentials is used, with any ending, or else that of the function."""
    address = site.deployment.base_url + ending.format(project=site.world.project.id)
    for cloud in (
        of(site, bms_endpoint=address),
        of(site, "http://else.test", bms_endpoint=address),
        of(site, address),
    ):
        assert [one.volume_id for one in cloud.listing(site.server).value or ()] == [site.volume]


def test_the_region_replaces_a_missing_catalog_entry() -> None:
    """In Open Telekom Cloud's eu-de the address is known if the catalog lacks the service."""
    site = Site(http=in_process)
    services = of(site, auth_url="https://iam.eu-de.otc.t-systems.com/v3").login.access().services
    assert f"https://bms.eu-de.otc.t-systems.com/v1/{site.world.project.id}" in services.values()


def test_an_access_key_uses_the_address_of_the_region() -> None:
    """Without a catalog, only the table of regions has addresses."""
    key = {"access_key": "key", "secret_key": "secret", "project_id": PROJECT}
    for region, known in (("eu-de", True), ("eu-nl", False), ("eu-ch2", False)):
        credentials = load(CloudCredentials, {**key, "region_name": region})
        services = connect(partial(given, credentials)).login.access().services
        assert (f"https://bms.{region}.otc.t-systems.com/v1/{PROJECT}" in services.values()) is known


@pytest.mark.parametrize("auth_url", [None, "https://iam.eu-nl.otc.t-systems.com/v3"])
def test_an_unknown_address_is_reported_with_its_setting(auth_url: str | None) -> None:
    """If neither the catalog nor the region has an address, the error names BMS_ENDPOINT."""
    site = Site(http=in_process)
    changes: dict[str, Any] = {"auth_url": auth_url, "region": "eu-nl"} if auth_url else {}
    site.deployment.region = "eu-nl" if auth_url else site.deployment.region
    assert "no bare metal endpoint" in (message := refusal(of(site, **changes)))
    assert "BMS_ENDPOINT" in message


def test_the_region_is_that_of_the_bare_metal_service(site: Site) -> None:
    """With several regions the setting decides; without it the error names OS_REGION_NAME."""
    site.deployment.bare_metal = True
    site.deployment.regions = ("eu-nl",)
    assert "OS_REGION_NAME" in refusal(of(site))
    assert of(site, region="eu-de").volume(site.volume).value is not None


# --------------------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(("api", "serves"), [(DetachApi.COMPUTE, False), (DetachApi.BMS_V1, True)])
def test_a_cloud_whose_compute_is_closed(site: Site, api: DetachApi, serves: bool) -> None:
    """With DETACH_API=compute everything is forbidden there; with bms_v1 a disk is detached."""
    site.deployment.close_compute()
    credentials = credentials_of(site.api)
    cloud = connector(api)(lambda _: credentials, site.http(site.api), site.clock)
    if not serves:
        with pytest.raises(CloudTrouble) as raised:
            cloud.server(site.server)
        assert raised.value.classified.reason is Reason.FORBIDDEN
        return
    assert cloud.server(site.server).value
    sent = cloud.detach(site.server, site.volume).value
    assert sent.answer.kind is AnswerClass.ACCEPTED
    assert cloud.ended(site.server, sent.receipt or "").value is Ended.RUNNING
    site.clock.sleep(10)
    assert cloud.ended(site.server, sent.receipt or "").value is Ended.SUCCEEDED
    assert cloud.listing(site.server).value == ()


def test_a_refusal_of_the_simulated_service_has_its_codes(site: Site) -> None:
    """A busy or unknown disk, and an unknown server, are refused with documented BMS codes."""
    site.world.set_volume(site.volume, behaviour=Behaviour(seconds=20))
    site.deployment.close_compute()
    cloud = of(site)
    cloud.check()
    assert cloud.detach(site.server, site.volume).value.answer.kind is AnswerClass.ACCEPTED
    codes = [cloud.detach(site.server, one).value.answer.code for one in (site.volume, site.world.new_id())]
    codes.append(cloud.detach(site.world.new_id(), site.volume).value.answer.code)
    assert codes == ["BMS.1003", "BMS.0103", "BMS.0040"]


def test_a_refused_token_is_renewed_for_a_read(site: Site) -> None:
    """A read is repeated once with a new token, as with compute, but a DELETE is not."""
    site.deployment.close_compute()
    cloud = of(site)
    cloud.check()
    site.api.revoke_tokens()
    assert cloud.server(site.server).value is not None
    site.api.faults.add(Fault(faults.answer(bodies.unauthorized("x")), "delete_attachment"))
    assert cloud.detach(site.server, site.volume).value.answer.kind is AnswerClass.RECONCILE
    assert site.count("delete_attachment") == 1
