"""Codes of the API gateway; `APIG.` and `APIGW.` carry the same numbers, and one row serves both.

What the gateway refuses itself never reached the service. Only where it had called on, or may have, the
outcome is open. A 404 of the gateway means a wrong host, path, region or method, never a thing that is gone.
"""

from __future__ import annotations

from shared.cloud.answers.row import Row
from shared.model import AnswerClass, Reason

GATEWAY = "API gateway error codes"

ROWS: tuple[Row, ...] = (
    Row("APIGW.0101", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),  # no such API, or not this method
    Row("APIGW.0103", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),  # no such backend; 404 or 500
    Row("APIGW.0104", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0105", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0106", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    # One number, six meanings: a bad request; a body, URI or header too large; a backend broken or too slow.
    Row("APIGW.0201", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY, status=frozenset({400, 413, 414, 494})),
    Row("APIGW.0201", AnswerClass.RECONCILE, None, GATEWAY),
    Row("APIGW.0301", AnswerClass.REAUTHENTICATE, None, GATEWAY),  # incorrect authentication information
    Row("APIGW.0302", AnswerClass.PERMANENT, Reason.FORBIDDEN, GATEWAY),  # the user is not allowed
    Row("APIGW.0303", AnswerClass.REAUTHENTICATE, None, GATEWAY),
    Row("APIGW.0304", AnswerClass.PERMANENT, Reason.FORBIDDEN, GATEWAY),
    Row("APIGW.0305", AnswerClass.REAUTHENTICATE, None, GATEWAY),
    Row("APIGW.0306", AnswerClass.PERMANENT, Reason.FORBIDDEN, GATEWAY),
    Row("APIGW.0307", AnswerClass.REAUTHENTICATE, None, GATEWAY),  # the token must be updated
    Row("APIGW.0308", AnswerClass.RETRY, None, GATEWAY),  # throttled
    Row("APIGW.0310", AnswerClass.PERMANENT, Reason.FORBIDDEN, GATEWAY),  # the project is unavailable
    Row("APIGW.0401", AnswerClass.PERMANENT, Reason.FORBIDDEN, GATEWAY),  # 0401-0404: this address may not
    Row("APIGW.0402", AnswerClass.PERMANENT, Reason.FORBIDDEN, GATEWAY),
    Row("APIGW.0404", AnswerClass.PERMANENT, Reason.FORBIDDEN, GATEWAY),
    Row("APIGW.0501", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0502", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0601", AnswerClass.RECONCILE, None, GATEWAY),  # internal error, before or after the backend
    Row("APIGW.0602", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0605", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0606", AnswerClass.RETRY, None, GATEWAY),  # could not load the API's configuration
    Row("APIGW.0607", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0608", AnswerClass.RETRY, None, GATEWAY),  # could not get its own token
    Row("APIGW.0609", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0610", AnswerClass.RECONCILE, None, GATEWAY),  # no backend available, as a 502
    Row("APIGW.0611", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0612", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0613", AnswerClass.RETRY, None, GATEWAY),  # IAM is unavailable, so nothing was passed on
    Row("APIGW.0705", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),
    Row("APIGW.0801", AnswerClass.PERMANENT, Reason.API_REJECTED, GATEWAY),  # service unavailable in this region
    Row("APIGW.0802", AnswerClass.PERMANENT, Reason.FORBIDDEN, GATEWAY),  # user forbidden in this region
)
