"""Codes of the ECS service, whose host serves compute calls, including codes shared by several services."""

from shared.cloud.answers.row import Meaning, Row, rows
from shared.model import AnswerClass, Reason

ECS = "ECS error codes"

OWN: dict[str, Meaning] = {
    "0000": Reason.API_REJECTED,  # request error
    "0002": AnswerClass.RECONCILE,  # system error, whatever it had done by then
    "0003": Reason.FORBIDDEN,  # no permission or balance
    "0004": AnswerClass.REAUTHENTICATE,  # authentication failed, as a 400
    "0005": Reason.API_REJECTED,  # parameter error
    "0023": Reason.WRONG_PROJECT,  # project of URL and token differ
    "0066 0067 0068 0069 0070 0071": Reason.FORBIDDEN,  # balance, real name, suspension
    "0073": AnswerClass.WAIT,  # the system disk is being backed up
    "0100": AnswerClass.WAIT,  # the server's status does not meet the requirements
    "0101 0102": AnswerClass.RECONCILE,  # the status of the system disk, or of the disk, does not allow it
    "0105": AnswerClass.RETRY,  # failed to query the system disk
    "0110": Reason.FORBIDDEN,
    "0111": AnswerClass.DONE_VERIFY,  # the disk is not in the attachment list
    "0114": Reason.SERVER_NOT_FOUND,
    "0301 0503": AnswerClass.RETRY,  # failed to query the server, or the system disk
    "0605": Reason.SERVER_LOCKED,
    "0614": Reason.SERVER_NOT_FOUND,
    "1000 1001": AnswerClass.RECONCILE,  # the call of Nova failed, OpenStack access error
    "1002 1300": AnswerClass.RECONCILE,  # OpenStack or EVS timed out, as a 400
    "1100": AnswerClass.RETRY,  # failed to access IAM, so nothing was begun
}

COMMON: dict[str, Meaning] = {
    "Common.0001": AnswerClass.RECONCILE,  # system error
    "Common.0002": Reason.API_REJECTED,  # the request body is empty
    "Common.0011": AnswerClass.RECONCILE,  # 0011-0999: a job could not be queried
    "Common.0013": AnswerClass.REAUTHENTICATE,  # invalid token; 400 in EVS, 401 in ECS
    "Common.0021 Common.0022": AnswerClass.RECONCILE,
    "Common.0024": AnswerClass.RETRY,  # "Flow limit exceeded.", as a 202
    "Common.0025 Common.0999": AnswerClass.RECONCILE,
    "Common.1503": AnswerClass.RETRY,  # flow control
    "Pdp.0001": Reason.FORBIDDEN,  # a policy does not allow it
}

# Other commands run: "1 minute later", a 501.
BUSY = Row("Ecs.0603", AnswerClass.WAIT, ECS, retry_after=60)

ROWS: tuple[Row, ...] = (*sorted([*rows(ECS, OWN, "Ecs."), BUSY]), *rows("ECS error codes, shared part", COMMON))
