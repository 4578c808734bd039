"""The API of the bare metal service, BMS v1: Nova's servers and disks, with jobs.

The operations have the same names as Nova's, so a scripted fault applies to both APIs.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.model import Answer
from simulator import bodies
from simulator.compute_views import attachment_view, server_view, shaped
from simulator.deletes import begin, recorded
from simulator.detach_refusals import refusal
from simulator.exchange import Deployment, Handler, Rejected, Request, Route, route, with_headers
from simulator.identity import Identity
from simulator.inventory import Action, JobReport, Server
from simulator.versioned import Call
from simulator.world import World

NOVA_VERSION = (2, 26)
"""The microversion of Nova on which this service's description of a server is based."""

INIT_SECONDS = 0.5
"""Seconds that a job stays INIT before it is RUNNING."""

STEADY = "Volume can only be attached when server {server} stopped or active."
REFUSALS = (
    (r"is not attached to volume", "BMS.0114", "Volume {volume} is not in server {server} attach volume list."),
    (r"^Instance \S+ could not be found", "BMS.0040", "The server does not exist."),
    (r"^Volume \S+ could not be found", "BMS.0103", "Attach volume {volume} fail, volume info is null."),
    (r"^Policy doesn't allow", "BMS.0288", "Policy doesn't allow bms:servers:detachVolume to be performed."),
    (r"root device", "BMS.0104", "Attach volume {volume} fail, data volume can not attach in root volume device."),
    (r" is locked", "BMS.0006", "Fail to operate baremetal server."),
    (r"in (task|vm)_state", "BMS.1001", STEADY),
    (r"in an invalid state", "BMS.1006", "Server {server} info is null or its status or its metadata is null."),
    (r"^Service is unavailable", "BMS.1007", "Calling interface failed"),
    (
        r"must be 'in-use'",
        "BMS.1003",
        "Attach shareable volume {volume} fail, volume status is not available or inuse.",
    ),
)
"""Nova's refusals, and the code and message of this service for each.

The documentation does not list the errors of a detach. These are the documented codes that fit best.
"""

CHANGING = {
    "powering-on": ("BMS.0035", "Server is powering on, not allow to detach volume."),
    "powering-off": ("BMS.0036", "Server is powering off, not allow to detach volume."),
    "rebooting": ("BMS.0037", "Server is rebooting, not allow to detach volume."),
    "rebooting_hard": ("BMS.0037", "Server is rebooting, not allow to detach volume."),
}
"""The server tasks that have their own error codes."""


@dataclass(frozen=True, slots=True)
class _Job:
    """The job of one DELETE: the request id of Nova's action record, the project and the volume."""

    request_id: str
    project_id: str | None
    volume_id: str


class BareMetal:
    """Serves `/v1/{project}/baremetalservers` and `/v1/{project}/jobs`."""

    def __init__(self, world: World, deployment: Deployment, identity: Identity) -> None:
        self._world = world
        self._deployment = deployment
        self._identity = identity
        self._jobs: dict[str, _Job] = {}

    @property
    def routes(self) -> tuple[Route, ...]:
        return tuple(route(operation, method, path, handler) for operation, method, path, handler in self._operations())

    def _operations(self) -> Iterator[tuple[str, str, str, Handler]]:
        servers = "/v1/{project}/baremetalservers"
        yield "delete_attachment", "DELETE", f"{servers}/{{server}}/detachvolume/{{volume}}", self._delete
        for operation, path, handler in (
            ("list_servers", f"{servers}/detail", self._list_servers),
            ("get_server", f"{servers}/{{server}}", self._get_server),
            ("list_attachments", f"{servers}/{{server}}/os-volume_attachments", self._list_attachments),
            ("get_job", "/v1/{project}/jobs/{job}", self._get_job),
        ):
            yield operation, "GET", path, self._checked(handler)

    def _checked(self, handler: Callable[[Call], Answer]) -> Handler:
        """Check the token, then the project."""

        def checked(request: Request) -> Answer:
            try:
                token = self._identity.authenticate(request)
                if request.ids.get("project") != token.project_id:
                    why = "tenantId in token is not the same with in URL."
                    raise Rejected(bodies.service_error("Common.0018", why))
                answer = handler(Call(request, token, NOVA_VERSION, self._deployment.base_url, self._identity.user.id))
            except Rejected as rejected:
                answer = rejected.answer
            return with_headers(answer, {"x-request-id": request.id})

        return checked

    # ------------------------------------------------------------------------------------------------- reads

    def _list_servers(self, call: Call) -> Answer:
        """Pages are numbered from 1; `offset` defaults to the first."""
        query = call.request.query
        servers = [one for one in self._world.servers.values() if one.project_id == call.token.project_id]
        size = int(query.get("limit", "1000" if "offset" in query else "25"))
        first = (int(query.get("offset", "1")) - 1) * size
        shown = [self._described(one, call) for one in servers[first : first + size]]
        return bodies.json_answer(200, {"count": len(servers), "servers": shown})

    def _get_server(self, call: Call) -> Answer:
        return bodies.json_answer(200, {"server": self._described(self._server(call), call)})

    def _list_attachments(self, call: Call) -> Answer:
        server = self._server(call)
        views = [attachment_view(one, NOVA_VERSION) for one in self._world.nova.values() if one.server_id == server.id]
        return bodies.json_answer(200, shaped(views, self._deployment.list_shape))

    def _server(self, call: Call) -> Server:
        server = call.own(self._world.servers, call.server_id)
        if server is None:
            raise Rejected(bodies.service_error("BMS.0040", "The server does not exist."))
        return server

    def _described(self, server: Server, call: Call) -> dict[str, Any]:
        """Nova's description, plus each disk's device and boot index; flags and numbers of disks are strings."""
        attached = [one for one in self._world.nova.values() if one.server_id == server.id]
        image = self._world.images.get(server.image_id or "")
        disks = [
            {
                "id": one.volume_id,
                "delete_on_termination": "false",
                "bootIndex": "0" if server.boots_from(one.device) else None,
                "device": one.device,
            }
            for one in attached
        ]
        own = {"os-extended-volumes:volumes_attached": disks, "sys_tags": [], "host_status": "UP"}
        return server_view(server, attached, image, call) | own

    # ---------------------------------------------------------------------------------------- the DELETE, its job

    def _delete(self, request: Request) -> Answer:
        return recorded(self._world, request, self._checked(self._detach))

    def _detach(self, call: Call) -> Answer:
        if refused := refusal(call, self._world, self._deployment.root_detach):
            server = self._world.servers.get(call.server_id)
            return _translated(refused, server.task_state if server else None, call)
        status = begin(call, self._world)
        job_id = self._world.new_id()
        self._jobs[job_id] = _Job(call.request.id, call.token.project_id, call.volume_id)
        return Answer(204) if status == 204 else bodies.json_answer(status, {"job_id": job_id})

    def _get_job(self, call: Call) -> Answer:
        job_id = call.request.ids["job"]
        job = self._jobs.get(job_id)
        record = self._world.actions.get(job.request_id) if job else None
        if job is None or record is None or job.project_id != call.token.project_id:
            raise Rejected(bodies.service_error("Common.0011", f"Job {job_id} could not be queried."))
        return bodies.json_answer(200, self._job_view(job_id, job, record))

    def _job_view(self, job_id: str, job: _Job, record: Action) -> dict[str, Any]:
        """A parent job with one sub job. The volume's `job_report` says which of them reports a failure."""
        volume = self._world.volumes.get(job.volume_id)
        report = volume.behaviour.job_report if volume else JobReport.NOTHING
        if report is JobReport.UNREADABLE:
            return {"code": "Common.0011", "message": "The job could not be queried."}
        error = dict(zip(("error_code", "fail_reason"), volume.behaviour.job_error, strict=True)) if volume else {}
        state, no_error = self._state(record), {"error_code": None, "fail_reason": None}
        state = "SUCCESS" if state == "FAIL" and report is JobReport.SUCCESS else state
        failed = state == "FAIL"
        sub_job_reports = failed and report in (JobReport.SUB_JOB, JobReport.SUB_JOB_ALONE)
        times = {"begin_time": _stamp(record.started_at), "end_time": _stamp(record.finished_at)}
        sub_job = {
            "status": state,
            "entities": {"server_id": record.server_id},
            "job_id": f"{job_id[:-4]}{int(job_id[-4:], 16) ^ 1:04x}",
            "job_type": "baremetalSingleOperate",
            **times,
            **(error if sub_job_reports else no_error),
        }
        return {
            "status": "SUCCESS" if failed and report is JobReport.SUB_JOB_ALONE else state,
            "entities": {"sub_jobs_total": 1, "sub_jobs": [sub_job]},
            "job_id": job_id,
            "job_type": "baremetalDetachVolume",
            **times,
            **(error if failed and report is JobReport.PARENT else no_error),
        }

    def _state(self, record: Action) -> str:
        if record.finished_at is not None:
            return "FAIL" if record.failed else "SUCCESS"
        waits = not record.taken_up or (self._world.now - record.started_at).total_seconds() < INIT_SECONDS
        return "INIT" if waits else "RUNNING"


def _stamp(time: datetime | None) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z" if time else None


def _translated(refused: Answer, task: str | None, call: Call) -> Answer:
    """Nova's refusal, translated into a code of this service (BMS API, "Error Codes")."""
    (fault,) = json.loads(refused.body).values()
    code, text = next((code, text) for pattern, code, text in REFUSALS if re.search(pattern, fault["message"]))
    code, text = CHANGING.get(task or "", (code, text)) if "task_state" in fault["message"] else (code, text)
    message = text.format(server=call.server_id, volume=call.volume_id)
    return bodies.service_error(code, message, 403 if code == "BMS.0288" else 400)
