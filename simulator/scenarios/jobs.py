"""Scenarios: the bare metal API with its jobs, in a cloud whose compute API is closed to tenants."""

from simulator import Behaviour, JobReport, Kind, bodies, faults
from simulator.scenarios.stage import BMS_V1, Stage, scenario

FROZEN = ("BMS.0360", "This operation cannot be performed because EVS Disk is frozen.")


def _refuses(stage: Stage, report: JobReport = JobReport.PARENT, error: tuple[str, str] = FROZEN) -> None:
    """Request the detach of one disk that the server refuses to release; `report` is where the job reports this."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=4, refuse=True, job_report=report, job_error=error)))


def _delete_meets(stage: Stage, kind: Kind) -> None:
    """Request the detach of one disk; its first DELETE meets this fault."""
    server, disk = stage.attached()
    stage.fault(kind, "delete_attachment", volume_id=disk)
    stage.request(server, disk)


@scenario("detached_now", api=BMS_V1)
def job(stage: Stage) -> None:
    """The compute API is closed: the bare metal service shows the server, and starts a job for the DELETE."""
    stage.request(*stage.attached())


@scenario("refused_by_server", api=BMS_V1)
def job_failed(stage: Stage) -> None:
    """The job fails with a reason: one look is enough, and the verdict repeats the code and the reason."""
    _refuses(stage, error=("BMS.1007", "Calling interface failed."))


@scenario("volume_frozen", api=BMS_V1)
def job_failed_in_sub_job(stage: Stage) -> None:
    """The job fails without a reason; its sub job says that the disk is frozen, and so does the verdict."""
    _refuses(stage, JobReport.SUB_JOB)


@scenario("refused_by_server", api=BMS_V1)
def job_failed_without_a_reason(stage: Stage) -> None:
    """The job and its sub job fail without a reason."""
    _refuses(stage, JobReport.NOTHING)


@scenario("refused_by_server", api=BMS_V1)
def job_contradicts_itself(stage: Stage) -> None:
    """The job claims success, but its sub job failed: the job is ignored, and two looks at the volume decide."""
    _refuses(stage, JobReport.SUB_JOB_ALONE)


@scenario("refused_by_server", api=BMS_V1)
def job_claims_success(stage: Stage) -> None:
    """The job claims success, but the server keeps the disk: the verdict comes at the confirm timeout."""
    _refuses(stage, JobReport.SUCCESS)


@scenario("stuck_detaching", api=BMS_V1)
def job_failed_still_detaching(stage: Stage) -> None:
    """The storage back end fails, and the volume stays detaching: the job reports the failure within a minute."""
    stage.request(*stage.attached(behaviour=Behaviour(error_after=4)))


@scenario("detached_now", api=BMS_V1)
def job_done_before_the_planes(stage: Stage) -> None:
    """The job succeeds three seconds before the server stops listing the disk: detached only after that."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=1, nova_lag=3)))


@scenario("detached_now", api=BMS_V1)
def accepted_without_a_job(stage: Stage) -> None:
    """202 without a job id, while the detach runs: the outcome is unknown until the next look."""
    _delete_meets(stage, faults.answer_after_effect(bodies.json_answer(202, {})))


@scenario("detached_now", api=BMS_V1)
def accepted_without_effect(stage: Stage) -> None:
    """202 with half a body, and no detach begins: after a look and a pause, one more DELETE is sent."""
    _delete_meets(stage, faults.answer(202, body=b'{"job_id": "70a5'))


@scenario("detached_now", api=BMS_V1)
def bms_powering_off(stage: Stage) -> None:
    """400 BMS.0036 to the DELETE: the server began to power off after the look; the request waits until it is off."""
    _delete_meets(
        stage, faults.answer(bodies.service_error("BMS.0036", "Server is powering off, not allow to detach."))
    )


@scenario("detached_now", api=BMS_V1)
def bms_not_in_the_list(stage: Stage) -> None:
    """400 BMS.0114 to the DELETE, although the server lists the disk: a look and a pause, then another DELETE."""
    _delete_meets(stage, faults.answer(bodies.service_error("BMS.0114", "Volume is not in server attach list.")))


@scenario("refused_by_server", api=BMS_V1)
def job_not_readable(stage: Stage) -> None:
    """Every query for the job fails: two looks at the volume decide instead."""
    _refuses(stage, JobReport.UNREADABLE)
