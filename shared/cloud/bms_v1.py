"""The job API of the bare metal service, for clouds whose compute API is closed to tenants.

Servers, their lists of attachments and the DELETE use BMS v1 (Open Telekom Cloud, "API Reference, BMS APIs"). Volumes
are read from block storage, and the login is the same. The answer to a DELETE holds the id of a job, which is the
receipt: the job tells how the detach ended and why it failed. It never proves a detach; both planes do.

There are no microversions, no action records and no `bdm_uuid`, so a disk of a moved server cannot be told from one
that was attached again.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

import requests

from shared.cloud import parse as wire
from shared.cloud.classify import reason_of
from shared.cloud.http import Calls, sessions
from shared.cloud.keystone import Login, ReadCredentials
from shared.cloud.openstack import OpenStackCloud, Read
from shared.decision.case import DELETE_CALL
from shared.model import Action, Answer, AnswerClass, Call, Classified, Ended, Reason, Server
from shared.ports import Clock, CloudTrouble, Reading, Sent, utc_now
from shared.redact import redact
from shared.settings import CloudCredentials

BARE_METAL = wire.Service.BARE_METAL
SERVER = "baremetalservers/{}"
PAGE = 100
"""Servers on a page; the service allows 1000 (BMS API, "Querying Details About BMSs")."""

DETACH = "baremetalDetachVolume"
STATES: Mapping[str, Ended] = {
    "INIT": Ended.RUNNING,
    "RUNNING": Ended.RUNNING,
    "SUCCESS": Ended.SUCCEEDED,
    "FAIL": Ended.FAILED,
}
"""The meaning of a job's states (BMS API, "Querying Task Statuses")."""

TOLD_BY_JOBS = (Reason.VOLUME_LOCKED, Reason.VOLUME_FROZEN, Reason.FORBIDDEN)
"""Reasons that the code of a failed job may give. Otherwise the server is said to have kept the disk."""

JOB_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
"""The documentation shows 32 hex digits or a UUID. The pattern excludes characters that would change a path."""


# ----------------------------------------------------------------------------------------------------- the answers


class Job(NamedTuple):
    """What a job says: how the detach ended, and the code and reason of a failure if it gives them."""

    ended: Ended
    code: str = ""
    why: str = ""

    @property
    def reason(self) -> Reason | None:
        """What the code says about the disk or the rights. Whether something exists, the planes tell."""
        told = reason_of(self.code, self.why) if self.ended is Ended.FAILED else None
        return told if told in TOLD_BY_JOBS else None

    @property
    def said(self) -> str:
        """The failure as a clause; empty without a failure."""
        if self.ended is not Ended.FAILED:
            return ""
        told = " ".join(filter(None, (self.code, self.why))).rstrip(".")
        return "the job says that the detach failed" + (f": {told}" if told else ", and not why")


def job(body: Any) -> Job:
    """Read the job of a detach. Raises Unreadable if the query failed, or if it is another job.

    A job that succeeded with a part that did not counts as unknown.
    """
    if not isinstance(body, dict):
        raise wire.Unreadable("the answer holds no job")
    if body.get("code"):
        query = redact(" ".join(_texts(body, "code", "message")))
        raise wire.Unreadable(f"the job could not be queried: {query}")
    ended = _state(body)
    if ended is None:
        raise wire.Unreadable("the answer holds no status of a job that is known")
    if body.get("job_type") not in (None, "", DETACH):
        raise wire.Unreadable("the job is not that of a detach")
    parts = _parts(body)
    if ended is Ended.SUCCEEDED and any(_state(part) is not ended for part in parts):
        ended = Ended.UNKNOWN
    failures = [one for one in (body, *parts) if _state(one) is Ended.FAILED]
    told = next((one for one in failures if _texts(one, "error_code", "fail_reason")), {})
    return Job(ended, *(redact(" ".join(_texts(told, name))) for name in ("error_code", "fail_reason")))


def _state(found: Mapping[str, Any]) -> Ended | None:
    return STATES.get(str(found.get("status")).upper())


def _parts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entities = body.get("entities")
    found = entities.get("sub_jobs") if isinstance(entities, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _texts(found: Mapping[str, Any], *names: str) -> list[str]:
    """The members that are not empty, each as one line."""
    values = (found.get(name) for name in names)
    return [" ".join(str(value).split()) for value in values if isinstance(value, str | int) and str(value).strip()]


def job_id(body: bytes) -> str | None:
    """The id of the job of an accepted DELETE (BMS API, "Task ID Response")."""
    try:
        document = wire.document(body)
    except wire.Unreadable:
        return None
    told = document.get("job_id") if isinstance(document, dict) else None
    return told if isinstance(told, str) and JOB_ID.fullmatch(told) else None


def accepted(answer: Answer, classified: Classified) -> tuple[Classified, str | None]:
    """The classified answer to a DELETE and the id of its job. Success without a job is an unknown outcome."""
    if answer.status not in range(200, 300):
        return classified, None
    plain = f"http_{answer.status}"
    if classified.code == plain and (begun := job_id(answer.body)):
        return Classified(AnswerClass.ACCEPTED, plain), begun
    if classified.kind is AnswerClass.ACCEPTED or classified.code == plain:
        return Classified(AnswerClass.RECONCILE, "no_job_id", f"answered {answer.status} without the id of a job"), None
    return classified, None


def server(body: Any) -> Server:
    """Read a server as from Nova. Volumes with boot index 0 are system disks, and give the root device if none is
    named."""
    found = wire.server(body)
    volumes = body["server"].get("os-extended-volumes:volumes_attached")
    first = [
        one
        for one in (volumes if isinstance(volumes, list) else ())
        if isinstance(one, dict) and str(one.get("bootIndex")).strip() == "0"
    ]
    device = next((one["device"] for one in first if isinstance(one.get("device"), str) and one["device"]), None)
    ids = tuple(one["id"].lower() for one in first if isinstance(one.get("id"), str))
    return replace(found, root_device=found.root_device or device, boot_volumes=ids)


def servers(body: Any) -> tuple[list[Server], int | None]:
    """A page of servers, and the total number if it is given."""
    found, _ = wire.servers(body)
    count = body.get("count")
    return found, count if isinstance(count, int) else None


# -------------------------------------------------------------------------------------------------------- the cloud

JOB = Read("get_job", BARE_METAL, "jobs/{}", job)
SERVERS = Read("list_servers", BARE_METAL, "baremetalservers/detail?limit={}&offset={}", servers)


class BareMetalCloud(OpenStackCloud):
    """One project of a cloud whose servers are read from BMS v1."""

    __slots__ = ()

    servers_at: ClassVar[wire.Service] = BARE_METAL
    get_server: ClassVar[Read] = Read("get_server", BARE_METAL, SERVER, server, Reason.SERVER_NOT_FOUND)
    list_attachments: ClassVar[Read] = Read(
        "list_attachments", BARE_METAL, f"{SERVER}/os-volume_attachments", wire.listing, Reason.SERVER_NOT_FOUND
    )
    delete_path: ClassVar[str] = f"{SERVER}/detachvolume/{{}}"
    delete_version: ClassVar[str | None] = None

    def servers(self) -> Reading[list[Server]]:
        """All servers of the project; pages count from 1 (BMS API, "Querying Details About BMSs")."""
        found: dict[str, Server] = {}
        calls: tuple[Call, ...] = ()
        for page in range(1, 1001):
            reading: Reading[tuple[list[Server], int | None]] = self._read(SERVERS, str(PAGE), str(page))
            (more, count), before = reading.value, len(found)
            found, calls = found | {one.id: one for one in more}, (*calls, *reading.calls)
            # A service that ignores `offset` repeats the same servers.
            if len(found) == before or (count is not None and len(found) >= count):
                break
        return Reading(list(found.values()), calls)

    def ended(self, _server_id: str, receipt: str) -> Reading[Ended]:
        """How the job ended; unknown if it cannot be read."""
        try:
            reading: Reading[Job] = self._read(JOB, quote(receipt, safe=""))
        except CloudTrouble as trouble:
            return Reading(Ended.UNKNOWN, trouble.calls)
        told = reading.value
        if not (told.code or told.why):
            return Reading(told.ended, reading.calls, told.said)
        evidence = tuple(replace(call, code=told.code or None, message=told.why or None) for call in reading.calls)
        return Reading(told.ended, evidence, told.said, told.reason)

    def actions(self, _server_id: str) -> Reading[tuple[Action, ...]]:
        """Empty: the service keeps no records of actions."""
        return Reading(())

    def detach(self, server_id: str, volume_id: str) -> Reading[Sent]:
        """Send the DELETE. The value is its result, whatever it was; its receipt is the id of the job."""
        answer, classified = self._delete(server_id, volume_id)
        begun = None
        if answer is not None:
            classified, begun = accepted(answer, classified)
        evidence = self._evidence(DELETE_CALL, answer, classified)
        if begun:
            evidence = replace(evidence, message=f"job {begun}")
        return Reading(Sent(classified, begun), (evidence,))


def connect(
    read: ReadCredentials, http: requests.Session | None = None, clock: Clock = utc_now, endpoint: str | None = None
) -> BareMetalCloud:
    """The cloud of the credentials that `read` returns; `endpoint` is for credentials that give none."""
    for_login, for_calls = (http, http) if http else sessions()
    login = Login(_with(endpoint, read), for_login, clock, BARE_METAL)
    return BareMetalCloud(login, Calls(login, for_calls, clock), clock)


def _with(endpoint: str | None, read: ReadCredentials) -> ReadCredentials:
    def known(seconds: float) -> CloudCredentials:
        found = read(seconds)
        return found if found.bms_endpoint else found.model_copy(update={"bms_endpoint": endpoint})

    return known if endpoint else read
