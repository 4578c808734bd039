"""Scenarios: lost, misleading and refusing answers of the cloud."""

from simulator import Kind, bodies, faults
from simulator.scenarios.stage import Stage, scenario


def _delete_meets(stage: Stage, kind: Kind) -> None:
    """Request the detach of one disk; its first DELETE meets this fault."""
    server, disk = stage.attached()
    stage.fault(kind, "delete_attachment", volume_id=disk)
    stage.request(server, disk)


@scenario("detached_now")
def lost_answer_with_effect(stage: Stage) -> None:
    """The connection breaks after the DELETE took effect: the next look shows it, and no other DELETE is sent."""
    _delete_meets(stage, faults.RESET_AFTER)


@scenario("detached_now")
def lost_answer_without_effect(stage: Stage) -> None:
    """The connection breaks before the DELETE took effect: after a look and a pause, one more DELETE is sent."""
    _delete_meets(stage, faults.RESET_BEFORE)


@scenario("detached_now")
def gateway_timeout_with_effect(stage: Stage) -> None:
    """The gateway answers the DELETE with 504 in HTML, but the DELETE took effect."""
    _delete_meets(stage, faults.answer_after_effect(bodies.html_error(504)))


@scenario("detached_now")
def timeout_reported_as_400(stage: Stage) -> None:
    """The DELETE is answered with 400 Ecs.1002, which means a timeout; the DELETE took effect."""
    _delete_meets(stage, faults.answer_after_effect(bodies.service_error("Ecs.1002", "OpenStack timed out")))


@scenario("detached_now")
def html_502(stage: Stage) -> None:
    """The gateway answers two reads with 502 in HTML; the request continues when reads work again."""
    server, disk = stage.attached()
    stage.fault(faults.answer(bodies.html_error(502)), "get_volume", volume_id=disk, times=2)
    stage.request(server, disk)


@scenario("api_rejected")
def gateway_404(stage: Stage) -> None:
    """The gateway answers a read with its own 404: the API is not published, so this proves nothing about the disk."""
    server, disk = stage.attached()
    unpublished = "The API does not exist or has not been published in the environment"
    gateway = faults.answer(bodies.gateway_error("APIGW.0101", unpublished, 404))
    stage.fault(gateway, "list_attachments", server_id=server, times=None)
    stage.request(server, disk)


@scenario("api_rejected")
def gateway_404_on_delete(stage: Stage) -> None:
    """The gateway answers only the DELETE with its own 404."""
    _delete_meets(stage, faults.answer(bodies.gateway_error("APIGW.0101", "The API does not exist", 404)))


@scenario("detached_now")
def accepted_202_with_error_body(stage: Stage) -> None:
    """202 with `Common.0024 Flow limit exceeded` in its body: the DELETE was not accepted, and is repeated."""
    _delete_meets(stage, faults.answer(bodies.service_error("Common.0024", "Flow limit exceeded.", 202)))


@scenario("detached_now")
def throttled_429(stage: Stage) -> None:
    """The DELETE is answered with 429 and Retry-After, and is repeated."""
    _delete_meets(stage, faults.answer(bodies.nova_fault("overLimit", 429, "Too many requests", retry_after=3)))


@scenario("detached_now")
def throttled_by_the_gateway(stage: Stage) -> None:
    """The API gateway answers the DELETE with 429 APIGW.0308; it is repeated."""
    _delete_meets(stage, faults.answer(bodies.gateway_error("APIGW.0308", "The throttling threshold", 429)))


@scenario("detached_now")
def throttled_with_400(stage: Stage) -> None:
    """The DELETE is answered with 400 BMS.0212, "system is overloaded", which is a throttle; it is repeated."""
    _delete_meets(stage, faults.answer(bodies.service_error("BMS.0212", "System is overloaded, please try again")))


@scenario("detached_now")
def throttled_by_the_service(stage: Stage) -> None:
    """The service answers the DELETE with 429 Common.1503; it is repeated."""
    _delete_meets(stage, faults.answer(bodies.service_error("Common.1503", "Api flow control Error", 429)))


@scenario("detached_now")
def token_expired(stage: Stage) -> None:
    """The token is revoked during the detach: the function logs in again and continues."""
    stage.request(*stage.attached())
    stage.later(0.9, stage.cloud.revoke_tokens)


@scenario("detached_now")
def unauthorized_delete(stage: Stage) -> None:
    """401 to the DELETE: it is unknown whether it took effect, so a look precedes the next DELETE."""
    _delete_meets(stage, faults.answer(bodies.unauthorized(stage.cloud.deployment.auth_url)))


@scenario("gave_up")
def never_readable(stage: Stage) -> None:
    """Block storage answers every read with 503 until the request's time to live ends."""
    server, disk = stage.attached()
    stage.fault(faults.answer(bodies.html_error(503)), "get_volume", volume_id=disk, times=None)
    stage.request(server, disk)


@scenario("wrong_project")
def wrong_project(stage: Stage) -> None:
    """The request names a project that does not belong to the credentials."""
    stage.request(*stage.attached(), project_id="0" * 32)


@scenario("forbidden")
def forbidden(stage: Stage) -> None:
    """The user may read but not detach."""
    denied = "Policy doesn't allow ecs:serverVolumeAttachments:delete to be performed."
    _delete_meets(stage, faults.answer(bodies.nova_fault("forbidden", 403, denied)))


@scenario("volume_frozen")
def frozen(stage: Stage) -> None:
    """400 BMS.0360: the disk is frozen."""
    _delete_meets(stage, faults.answer(bodies.service_error("BMS.0360", "EVS Disk is frozen.")))


@scenario("volume_locked")
def unpaid(stage: Stage) -> None:
    """400 BMS.0297: the disk is locked because the order is unpaid; the message is about attaching."""
    _delete_meets(stage, faults.answer(bodies.service_error("BMS.0297", "Fail to attach volume: volume is locked.")))


@scenario("server_locked")
def locked_at_the_last_moment(stage: Stage) -> None:
    """409: the server was locked between the look and the DELETE."""
    locked = f"Instance {stage.world.new_id()} is locked"
    _delete_meets(stage, faults.answer(bodies.nova_fault("conflictingRequest", 409, locked)))


@scenario("detached_now")
def task_at_the_last_moment(stage: Stage) -> None:
    """409: a task began between the look and the DELETE; the request waits for its end."""
    busy = f"Cannot 'detach_volume' instance {stage.world.new_id()} while it is in task_state rebooting"
    _delete_meets(stage, faults.answer(bodies.nova_fault("conflictingRequest", 409, busy)))
