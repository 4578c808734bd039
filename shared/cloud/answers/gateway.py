"""Codes of the API gateway; `APIG.` and `APIGW.` have the same numbers, and one row serves both.

A request that the gateway itself refused did not reach the service. The outcome is open only if the gateway called the
service, or may have. A 404 of the gateway means a wrong host, path, region or method, never a missing resource.
"""

from shared.cloud.answers.row import Meaning, Row, rows
from shared.model import AnswerClass, Reason

GATEWAY = "API gateway error codes"

BEFORE_0201: dict[str, Meaning] = {
    "0101 0103": Reason.API_REJECTED,  # no such API, or not this method; no such backend, as a 404 or 500
    "0104 0105 0106": Reason.API_REJECTED,
}
AFTER_0201: dict[str, Meaning] = {
    "0301": AnswerClass.REAUTHENTICATE,  # incorrect authentication information
    "0302": Reason.FORBIDDEN,  # the user is not allowed
    "0303": AnswerClass.REAUTHENTICATE,
    "0304": Reason.FORBIDDEN,
    "0305": AnswerClass.REAUTHENTICATE,
    "0306": Reason.FORBIDDEN,
    "0307": AnswerClass.REAUTHENTICATE,  # the token must be updated
    "0308": AnswerClass.RETRY,  # throttled
    "0310": Reason.FORBIDDEN,  # the project is unavailable
    "0401 0402 0404": Reason.FORBIDDEN,  # this address may not
    "0501 0502": Reason.API_REJECTED,
    "0601": AnswerClass.RECONCILE,  # internal error, before or after the backend
    "0602 0605": Reason.API_REJECTED,
    "0606": AnswerClass.RETRY,  # could not load the API's configuration
    "0607": Reason.API_REJECTED,
    "0608": AnswerClass.RETRY,  # could not get its own token
    "0609": Reason.API_REJECTED,
    "0610": AnswerClass.RECONCILE,  # no backend available, as a 502
    "0611 0612": Reason.API_REJECTED,
    "0613": AnswerClass.RETRY,  # IAM is unavailable, so nothing was passed on
    "0705": Reason.API_REJECTED,
    "0801": Reason.API_REJECTED,  # service unavailable in this region
    "0802": Reason.FORBIDDEN,  # user forbidden in this region
}

ROWS: tuple[Row, ...] = (
    *rows(GATEWAY, BEFORE_0201, "APIGW."),
    # One number, six meanings: a bad request; a body, URI or header too large; a backend broken or too slow.
    Row("APIGW.0201", Reason.API_REJECTED, GATEWAY, {400, 413, 414, 494}),
    Row("APIGW.0201", AnswerClass.RECONCILE, GATEWAY),
    *rows(GATEWAY, AFTER_0201, "APIGW."),
)
