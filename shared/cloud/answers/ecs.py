"""Codes of the service that owns the host we call, with the ones it shares with its neighbours."""

from __future__ import annotations

from shared.cloud.answers.row import Row
from shared.model import AnswerClass, Reason

ECS = "ECS error codes"
COMMON = "ECS error codes, shared part"

ROWS: tuple[Row, ...] = (
    Row("Ecs.0000", AnswerClass.PERMANENT, Reason.API_REJECTED, ECS),  # request error
    Row("Ecs.0002", AnswerClass.RECONCILE, None, ECS),  # system error, whatever it had done by then
    Row("Ecs.0003", AnswerClass.PERMANENT, Reason.FORBIDDEN, ECS),  # no permission or balance
    Row("Ecs.0004", AnswerClass.REAUTHENTICATE, None, ECS),  # authentication failed, as a 400
    Row("Ecs.0005", AnswerClass.PERMANENT, Reason.API_REJECTED, ECS),  # parameter error
    Row("Ecs.0023", AnswerClass.PERMANENT, Reason.WRONG_PROJECT, ECS),  # project of URL and token differ
    Row("Ecs.0066", AnswerClass.PERMANENT, Reason.FORBIDDEN, ECS),  # 0066-0071: balance, real name, suspension
    Row("Ecs.0067", AnswerClass.PERMANENT, Reason.FORBIDDEN, ECS),
    Row("Ecs.0068", AnswerClass.PERMANENT, Reason.FORBIDDEN, ECS),
    Row("Ecs.0069", AnswerClass.PERMANENT, Reason.FORBIDDEN, ECS),
    Row("Ecs.0070", AnswerClass.PERMANENT, Reason.FORBIDDEN, ECS),
    Row("Ecs.0071", AnswerClass.PERMANENT, Reason.FORBIDDEN, ECS),
    Row("Ecs.0073", AnswerClass.WAIT, None, ECS),  # the system disk is being backed up
    Row("Ecs.0100", AnswerClass.WAIT, None, ECS),  # the server's status does not meet the requirements
    Row("Ecs.0101", AnswerClass.RECONCILE, None, ECS),  # the system disk's status does not allow it
    Row("Ecs.0102", AnswerClass.RECONCILE, None, ECS),  # the disk's status does not allow it
    Row("Ecs.0105", AnswerClass.RETRY, None, ECS),  # failed to query the system disk
    Row("Ecs.0110", AnswerClass.PERMANENT, Reason.FORBIDDEN, ECS),
    Row("Ecs.0111", AnswerClass.DONE_VERIFY, None, ECS),  # the disk is not in the attachment list
    Row("Ecs.0114", AnswerClass.PERMANENT, Reason.SERVER_NOT_FOUND, ECS),
    Row("Ecs.0301", AnswerClass.RETRY, None, ECS),  # failed to query the server
    Row("Ecs.0503", AnswerClass.RETRY, None, ECS),  # failed to query the system disk
    Row("Ecs.0603", AnswerClass.WAIT, None, ECS, retry_after=60),  # other commands run: "1 minute later", a 501
    Row("Ecs.0605", AnswerClass.PERMANENT, Reason.SERVER_LOCKED, ECS),
    Row("Ecs.0614", AnswerClass.PERMANENT, Reason.SERVER_NOT_FOUND, ECS),
    Row("Ecs.1000", AnswerClass.RECONCILE, None, ECS),  # the call of Nova failed
    Row("Ecs.1001", AnswerClass.RECONCILE, None, ECS),  # OpenStack access error
    Row("Ecs.1002", AnswerClass.RECONCILE, None, ECS),  # OpenStack timed out: a timeout that wears a 400
    Row("Ecs.1100", AnswerClass.RETRY, None, ECS),  # failed to access IAM, so nothing was begun
    Row("Ecs.1300", AnswerClass.RECONCILE, None, ECS),  # EVS timed out, as a 400 too
    Row("Common.0001", AnswerClass.RECONCILE, None, COMMON),  # system error
    Row("Common.0002", AnswerClass.PERMANENT, Reason.API_REJECTED, COMMON),  # the request body is empty
    Row("Common.0011", AnswerClass.RECONCILE, None, COMMON),  # 0011-0999: a job could not be queried
    Row("Common.0013", AnswerClass.REAUTHENTICATE, None, COMMON),  # invalid token; 400 in EVS, 401 in ECS
    Row("Common.0021", AnswerClass.RECONCILE, None, COMMON),
    Row("Common.0022", AnswerClass.RECONCILE, None, COMMON),
    Row("Common.0024", AnswerClass.RETRY, None, COMMON),  # "Flow limit exceeded.", as a 202
    Row("Common.0025", AnswerClass.RECONCILE, None, COMMON),
    Row("Common.0999", AnswerClass.RECONCILE, None, COMMON),
    Row("Common.1503", AnswerClass.RETRY, None, COMMON),  # flow control
    Row("Pdp.0001", AnswerClass.PERMANENT, Reason.FORBIDDEN, COMMON),  # a policy does not allow it
)
