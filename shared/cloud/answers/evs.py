"""Codes of the block storage service in answers to reads of a volume."""

from shared.cloud.answers.row import Meaning, Row, rows
from shared.model import AnswerClass, Reason

MEANINGS: dict[str, Meaning] = {
    "0001": Reason.WRONG_PROJECT,  # invalid tenant id (the project) in the URI
    "0002": AnswerClass.REAUTHENTICATE,  # invalid token, as a 400
    "0003": Reason.FORBIDDEN,  # invalid token roles
    "1002": Reason.API_REJECTED,  # invalid volume id
    "1012": Reason.API_REJECTED,  # temporary volume
    "1027": Reason.FORBIDDEN,  # user role is not allowed for this action
    "2002 2005": AnswerClass.RECONCILE,
    "2021": Reason.VOLUME_ERROR,  # volume is error_detaching
    "2023": AnswerClass.RECONCILE,
    "2056": Reason.FORBIDDEN,  # denied by a policy
    "2068": Reason.VOLUME_LOCKED,  # "volume be locked"
    "2089": Reason.API_REJECTED,  # belongs to a disaster recovery (SDRS) pair
    "2131": AnswerClass.RETRY,  # could not ask ECS about the server
    "2144 2145": Reason.VOLUME_FROZEN,
    "5400": Reason.API_REJECTED,
    "5401": AnswerClass.REAUTHENTICATE,
    "5403": Reason.FORBIDDEN,
    "5404": Reason.VOLUME_NOT_FOUND,
    "5413": Reason.API_REJECTED,  # insufficient volume quota
    "5500 5503": AnswerClass.RECONCILE,  # internal server error, service unavailable
}

ROWS: tuple[Row, ...] = tuple(rows("EVS error codes", MEANINGS, "EVS."))
