"""What an HTTP status means if the body contains no known code.

Only a status that says that the request was not accepted is a failure; any other leaves the outcome open.
"""

from shared.cloud.answers.row import Row, rows
from shared.model import AnswerClass, Reason

STATUS = "BMS, ECS and EVS status pages"
KEYSTONE_DOWN = "Nova DELETE os-volume_attachments, check 1b: Keystone unreachable"

ROWS: tuple[Row, ...] = (
    # The service itself answered, with an unknown code: so the URL is right.
    Row("any_code", AnswerClass.RECONCILE, "unknown code", {404, 412, 413, 501}),
    Row("http_300", Reason.API_REJECTED, STATUS),
    Row("http_400", AnswerClass.RECONCILE, STATUS),  # timeouts and throttling also come as a 400
    Row("http_401", AnswerClass.REAUTHENTICATE, STATUS),
    Row("http_403", Reason.FORBIDDEN, STATUS),
    *rows(STATUS, {"404 405 406 407": Reason.API_REJECTED}, "http_"),  # 404: a path that no service has
    *rows(STATUS, {"408 409 410": AnswerClass.RECONCILE}, "http_"),
    *rows(STATUS, {"412 413 414 415": Reason.API_REJECTED}, "http_"),
    Row("http_429", AnswerClass.RETRY, "ECS and IAM status pages"),
    Row("http_494", Reason.API_REJECTED, "API gateway: headers too large"),
    Row("http_500", AnswerClass.RECONCILE, STATUS),
    Row("http_501", Reason.API_REJECTED, STATUS),
    Row("http_502", AnswerClass.RECONCILE, STATUS),
    # The token could not be checked, so the request was not processed.
    Row("http_503", AnswerClass.RETRY, KEYSTONE_DOWN, message=r"The Keystone service is temporarily unavailable"),
    *rows(STATUS, {"503 504": AnswerClass.RECONCILE}, "http_"),
)
