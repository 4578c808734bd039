"""Codes of the block storage service, as the reads of a volume bring them."""

from __future__ import annotations

from shared.cloud.answers.row import Row
from shared.model import AnswerClass, Reason

EVS = "EVS error codes"

ROWS: tuple[Row, ...] = (
    Row("EVS.0001", AnswerClass.PERMANENT, Reason.WRONG_PROJECT, EVS),  # invalid tenant id (the project) in the URI
    Row("EVS.0002", AnswerClass.REAUTHENTICATE, None, EVS),  # invalid token, as a 400
    Row("EVS.0003", AnswerClass.PERMANENT, Reason.FORBIDDEN, EVS),  # invalid token roles
    Row("EVS.1002", AnswerClass.PERMANENT, Reason.API_REJECTED, EVS),  # invalid volume id
    Row("EVS.1012", AnswerClass.PERMANENT, Reason.API_REJECTED, EVS),  # temporary volume
    Row("EVS.1027", AnswerClass.PERMANENT, Reason.FORBIDDEN, EVS),  # user role is not allowed for this action
    Row("EVS.2002", AnswerClass.RECONCILE, None, EVS),
    Row("EVS.2005", AnswerClass.RECONCILE, None, EVS),
    Row("EVS.2021", AnswerClass.PERMANENT, Reason.VOLUME_ERROR, EVS),  # volume is error_detaching
    Row("EVS.2023", AnswerClass.RECONCILE, None, EVS),
    Row("EVS.2056", AnswerClass.PERMANENT, Reason.FORBIDDEN, EVS),  # denied by a policy
    Row("EVS.2068", AnswerClass.PERMANENT, Reason.VOLUME_LOCKED, EVS),  # "volume be locked"
    Row("EVS.2089", AnswerClass.PERMANENT, Reason.API_REJECTED, EVS),  # belongs to a disaster recovery (SDRS) pair
    Row("EVS.2131", AnswerClass.RETRY, None, EVS),  # could not ask ECS about the server
    Row("EVS.2144", AnswerClass.PERMANENT, Reason.VOLUME_FROZEN, EVS),
    Row("EVS.2145", AnswerClass.PERMANENT, Reason.VOLUME_FROZEN, EVS),
    Row("EVS.5400", AnswerClass.PERMANENT, Reason.API_REJECTED, EVS),
    Row("EVS.5401", AnswerClass.REAUTHENTICATE, None, EVS),
    Row("EVS.5403", AnswerClass.PERMANENT, Reason.FORBIDDEN, EVS),
    Row("EVS.5404", AnswerClass.PERMANENT, Reason.VOLUME_NOT_FOUND, EVS),
    Row("EVS.5413", AnswerClass.PERMANENT, Reason.API_REJECTED, EVS),  # insufficient volume quota
    Row("EVS.5500", AnswerClass.RECONCILE, None, EVS),  # internal server error
    Row("EVS.5503", AnswerClass.RECONCILE, None, EVS),  # service unavailable
)
