"""What a plain HTTP status means when the body names nothing that is known.

Only a status that says that the request was not let in is a verdict; anything else is an unknown outcome.
"""

from __future__ import annotations

from shared.cloud.answers.row import Row
from shared.model import AnswerClass, Reason

STATUS = "BMS, ECS and EVS status pages"

ROWS: tuple[Row, ...] = (
    # Somebody answered in the service's own form and we do not know what it said: not a wrong URL.
    Row("any_code", AnswerClass.RECONCILE, None, "unknown code", status=frozenset({404, 412, 413, 501})),
    Row("http_300", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_400", AnswerClass.RECONCILE, None, STATUS),  # here timeouts and throttles wear a 400
    Row("http_401", AnswerClass.REAUTHENTICATE, None, STATUS),
    Row("http_403", AnswerClass.PERMANENT, Reason.FORBIDDEN, STATUS),
    Row("http_404", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),  # a path that nobody serves
    Row("http_405", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_406", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_407", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_408", AnswerClass.RECONCILE, None, STATUS),
    Row("http_409", AnswerClass.RECONCILE, None, STATUS),
    Row("http_410", AnswerClass.RECONCILE, None, STATUS),
    Row("http_412", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_413", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_414", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_415", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_429", AnswerClass.RETRY, None, "ECS and IAM status pages"),
    Row("http_494", AnswerClass.PERMANENT, Reason.API_REJECTED, "API gateway: headers too large"),
    Row("http_500", AnswerClass.RECONCILE, None, STATUS),
    Row("http_501", AnswerClass.PERMANENT, Reason.API_REJECTED, STATUS),
    Row("http_502", AnswerClass.RECONCILE, None, STATUS),
    # Nobody looked at the request yet when the token could not be checked.
    Row(
        "http_503",
        AnswerClass.RETRY,
        None,
        "Nova DELETE os-volume_attachments, check 1b: Keystone unreachable",
        message=r"The Keystone service is temporarily unavailable",
    ),
    Row("http_503", AnswerClass.RECONCILE, None, STATUS),
    Row("http_504", AnswerClass.RECONCILE, None, STATUS),
)
