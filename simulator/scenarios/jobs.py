"""Scenarios of the job API: a cloud whose compute API is closed to tenants, and what its jobs say."""

from simulator import Behaviour, JobTells, Kind, bodies, faults
from simulator.scenarios.stage import BMS_V1, Stage, scenario

FROZEN = ("BMS.0360", "This operation cannot be performed because EVS Disk is frozen.")


def _refuses(stage: Stage, tells: JobTells = JobTells.PARENT) -> None:
    """One disk that its server does not let go of."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=4, refuse=True, job_tells=tells, job_error=FROZEN)))


def _delete_meets(stage: Stage, kind: Kind) -> None:
    """One disk whose DELETE meets this fault, once."""
    server, disk = stage.attached()
    stage.fault(kind, "delete_attachment", volume_id=disk)
    stage.request(server, disk)


@scenario("detached_now", api=BMS_V1)
def job(stage: Stage) -> None:
    """The compute API is closed: the bare metal service tells of the server, and begins a job for the DELETE."""
    stage.request(*stage.attached())


@scenario("refused_by_server", api=BMS_V1)
def job_failed(stage: Stage) -> None:
    """The job fails, and says why: one look settles it, and the verdict repeats the code and the reason."""
    _refuses(stage)


@scenario("refused_by_server", api=BMS_V1)
def job_failed_in_its_part(stage: Stage) -> None:
    """The job fails without a reason; its part has the code and the reason."""
    _refuses(stage, JobTells.SUB_JOB)


@scenario("refused_by_server", api=BMS_V1)
def job_failed_without_a_word(stage: Stage) -> None:
    """The job fails, and nothing in it says why."""
    _refuses(stage, JobTells.NOTHING)


@scenario("refused_by_server", api=BMS_V1)
def job_contradicts_itself(stage: Stage) -> None:
    """The job claims success, and its part has failed: that says nothing, and two looks at the volume settle it."""
    _refuses(stage, JobTells.SUB_JOB_ALONE)


@scenario("refused_by_server", api=BMS_V1)
def job_lies(stage: Stage) -> None:
    """The job claims success, and the server keeps the disk: it is waited for until the confirm timeout."""
    _refuses(stage, JobTells.SUCCESS)


@scenario("stuck_detaching", api=BMS_V1)
def job_failed_still_detaching(stage: Stage) -> None:
    """The storage back end fails, and the volume says detaching for good: the job tells, within a minute."""
    stage.request(*stage.attached(behaviour=Behaviour(error_after=4)))


@scenario("detached_now", api=BMS_V1)
def job_over_before_the_planes(stage: Stage) -> None:
    """The job has succeeded while the server still lists the disk for three seconds: detached only when it does not."""
    stage.request(*stage.attached(behaviour=Behaviour(seconds=1, nova_lag=3)))


@scenario("detached_now", api=BMS_V1)
def accepted_without_a_job(stage: Stage) -> None:
    """202 without the id of a job, behind which the detach runs: an unknown outcome, which a look settles."""
    _delete_meets(stage, faults.answer_after_effect(bodies.json_answer(202, {})))


@scenario("detached_now", api=BMS_V1)
def accepted_in_vain(stage: Stage) -> None:
    """202 with half a body, and nothing begins: a look and a pause, then one more DELETE."""
    _delete_meets(stage, faults.answer(202, body=b'{"job_id": "70a5'))


@scenario("detached_now", api=BMS_V1)
def bms_powering_off(stage: Stage) -> None:
    """400 BMS.0036 to the DELETE: the server began to power off after the look, and that is waited for."""
    _delete_meets(
        stage, faults.answer(bodies.service_error("BMS.0036", "Server is powering off, not allow to detach."))
    )


@scenario("detached_now", api=BMS_V1)
def bms_not_in_the_list(stage: Stage) -> None:
    """400 BMS.0114 to the DELETE, though the server lists the disk: a look and a pause, then another one."""
    _delete_meets(stage, faults.answer(bodies.service_error("BMS.0114", "Volume is not in server attach list.")))


@scenario("refused_by_server", api=BMS_V1)
def job_not_readable(stage: Stage) -> None:
    """The query for the job fails each time: that says nothing of the detach, and two looks at the volume settle it."""
    _refuses(stage, JobTells.UNREADABLE)
