"""Codes of the identity service in answers to token requests.

A locked account and a wrong password are final at once: repeated logins lock accounts.
"""

from shared.cloud.answers.row import Meaning, Row, rows
from shared.model import AnswerClass, Reason

MEANINGS: dict[str, Meaning] = {
    "0001": AnswerClass.REAUTHENTICATE,
    "0002 0003": Reason.FORBIDDEN,
    "0004 0005": Reason.API_REJECTED,
    "0012": AnswerClass.RETRY,  # throttled
    "0020": AnswerClass.RETRY,  # fails over to another region, as a 410
    "0061 0062": Reason.UNAUTHORIZED,  # account locked, wrong password
    "0066 0067": AnswerClass.REAUTHENTICATE,  # expired, invalid
    "0080 0081 0082 0083": Reason.FORBIDDEN,  # 0081: console access only
    "1105 1106 1107 1108": AnswerClass.REAUTHENTICATE,  # access key or its token expired or inactive
}

ROWS: tuple[Row, ...] = tuple(rows("IAM error codes", MEANINGS, "IAM."))
