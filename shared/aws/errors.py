"""Failures of calls to AWS: no answer, or an error."""

import re

from shared.ports import AwsTrouble


class NoAnswer(AwsTrouble):
    """No answer came in time, or none that can be read: the operation may have been done."""

    passing = True


class AwsError(AwsTrouble):
    """An error that AWS answered with; `code` is the service's own."""

    def __init__(self, operation: str, status: int, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code} ({status}) {message}".strip())
        self.status = status
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether a retry may succeed soon: server errors and throttling, under its several names."""
        return self.status >= 500 or self.throttled or self.code in PASSING

    @property
    def throttled(self) -> bool:
        return self.status == 429 or throttles(self.code)

    @property
    def stale(self) -> bool:
        """Whether credentials or a clock were wrong: both are read again at each attempt."""
        return self.code in STALE

    @property
    def of_entries(self) -> bool:
        """Whether the error is about an entry of the call, so that other entries may be accepted."""
        return self.status in (400, 413) and not self.passing and not re.match(OF_CALLER_OR_ADDRESSEE, self.code)


def throttles(code: str) -> bool:
    """Whether an error code of AWS means throttling: `ThrottlingException`, `RequestThrottled`, and so on."""
    return "Throttl" in code or code in THROTTLES


THROTTLES = {"TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "SlowDown",
             "LimitExceededException"}  # fmt: skip
PASSING = {"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete", "InternalFailure"}

STALE = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed", "InvalidSignatureException",
         "SignatureDoesNotMatch"}  # fmt: skip

OF_CALLER_OR_ADDRESSEE = (
    r"(AWS\.SimpleQueueService\.)?(NonExistentQueue|Queue|Kms|KMS|Access|Unrecognized|Unknown(Operation|Error)|Invalid"
    r"(Signature|ClientTokenId|Security|Address|Action)|IncompleteSignature|Signature|Missing|OptIn|Expired|Request(Exp"
    r"|Time)|ResourceNotFound|Unsupported|NotAuthorized)"
)
"""Matches the errors of a whole call, which concern every entry of it; compiled when needed."""
