"""Codes of the identity service, as the call for a token brings them.

A locked account and a wrong password are final at once: asking again with the same ones locks accounts.
"""

from __future__ import annotations

from shared.cloud.answers.row import Row
from shared.model import AnswerClass, Reason

IAM = "IAM error codes"

ROWS: tuple[Row, ...] = (
    Row("IAM.0001", AnswerClass.REAUTHENTICATE, None, IAM),
    Row("IAM.0002", AnswerClass.PERMANENT, Reason.FORBIDDEN, IAM),
    Row("IAM.0003", AnswerClass.PERMANENT, Reason.FORBIDDEN, IAM),
    Row("IAM.0004", AnswerClass.PERMANENT, Reason.API_REJECTED, IAM),
    Row("IAM.0005", AnswerClass.PERMANENT, Reason.API_REJECTED, IAM),
    Row("IAM.0012", AnswerClass.RETRY, None, IAM),  # throttled
    Row("IAM.0020", AnswerClass.RETRY, None, IAM),  # fails over to another region, as a 410
    Row("IAM.0061", AnswerClass.PERMANENT, Reason.UNAUTHORIZED, IAM),  # account locked
    Row("IAM.0062", AnswerClass.PERMANENT, Reason.UNAUTHORIZED, IAM),  # wrong password
    Row("IAM.0066", AnswerClass.REAUTHENTICATE, None, IAM),  # expired
    Row("IAM.0067", AnswerClass.REAUTHENTICATE, None, IAM),  # invalid
    Row("IAM.0080", AnswerClass.PERMANENT, Reason.FORBIDDEN, IAM),
    Row("IAM.0081", AnswerClass.PERMANENT, Reason.FORBIDDEN, IAM),  # console access only
    Row("IAM.0082", AnswerClass.PERMANENT, Reason.FORBIDDEN, IAM),
    Row("IAM.0083", AnswerClass.PERMANENT, Reason.FORBIDDEN, IAM),
    Row("IAM.1105", AnswerClass.REAUTHENTICATE, None, IAM),  # 1105-1108: access key or its token expired or inactive
    Row("IAM.1106", AnswerClass.REAUTHENTICATE, None, IAM),
    Row("IAM.1107", AnswerClass.REAUTHENTICATE, None, IAM),
    Row("IAM.1108", AnswerClass.REAUTHENTICATE, None, IAM),
)
