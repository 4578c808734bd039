"""What it means that a call brought no answer that could be used."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import LocationValueError

from shared.model import Answer, AnswerClass, Classified, Reason
from shared.redact import redact


class NoAnswer(Exception):
    """A call that brought no answer to read: the connection, the login or the catalog failed."""

    def __init__(self, classified: Classified) -> None:
        super().__init__(f"{classified.code}: {classified.message}")
        self.classified = classified

    @classmethod
    def for_good(cls, reason: Reason, message: str, code: str | None = None) -> NoAnswer:
        return cls(Classified(AnswerClass.PERMANENT, code or reason.value, message, reason))


class LoginRefused(NoAnswer):
    """Keystone gave no token for these credentials."""


class KeyRefused(NoAnswer):
    """Nothing was sent: the access key has been refused lately, and is not tried again so soon."""


CODES: Mapping[str, tuple[type[Exception], ...]] = {
    "timeout": (requests.Timeout, TimeoutError),
    "tls_failure": (requests.exceptions.SSLError,),
    "connection_failure": (requests.ConnectionError,),
}
"""What a call without an answer is called in evidence; the first that fits the error, or one behind it, counts."""


NO_ADDRESS = (InvalidURL, MissingSchema, InvalidSchema, LocationValueError)
"""Raised before anything is sent, or by a redirect to one, which `requests` reads although it is not followed."""


READERS = ("X509", "PEM")
"""What OpenSSL calls the parts of it that read a file of certificates."""


def unanswered(error: Exception, setting: str | None = None) -> Classified:
    """No answer came, so nothing is known of the outcome; but of one whose certificate fails, nothing was asked.

    A read of an address that is none is for the operator to mend, by the `setting`; of a DELETE, for which none is
    given, nothing is known. A plain OSError is what `requests` raises where the file of OS_CACERT is not there. The
    text of an error about a header shows the header, which may hold a secret.
    """
    no_name = isinstance(error, UnicodeError) and "latin-1" not in str(error)  # headers are Latin-1
    if setting is not None and (no_name or isinstance(error, NO_ADDRESS)):
        remedy = f"; set {setting} to an address that can be" if setting else ""
        message = redact(f"the address cannot be asked ({error}){remedy}")
        return Classified(AnswerClass.PERMANENT, "bad_address", message, Reason.API_REJECTED)
    if isinstance(error, ValueError):
        message = (
            "a header of the request or of the answer is none that HTTP allows: look for blanks, line breaks and "
            "letters beyond ASCII in the credentials, and for a redirect"
        )
        return Classified(AnswerClass.RECONCILE, "bad_header", message)
    behind = list(_causes(error))
    no_file = type(error) is OSError or any(getattr(one, "library", None) in READERS for one in behind)
    if no_file or any(isinstance(one, ssl.SSLCertVerificationError) for one in behind):
        message = redact(f"{error}; set OS_CACERT to a file with the certificates of its authority")
        return Classified(AnswerClass.PERMANENT, "tls_failure", message, Reason.API_REJECTED)
    code = next((code for code, types in CODES.items() if any(isinstance(one, types) for one in behind)), "no_answer")
    return Classified(AnswerClass.RECONCILE, code, redact(str(error)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


REDIRECTS = range(300, 400)


def redirected(answer: Answer, who: str, setting: str) -> NoAnswer:
    """Credentials follow no redirect: where it leads, by scheme and host only, and the setting to mend."""
    try:
        target = urlsplit(answer.headers.get("location", ""))
        host = f"{target.hostname}:{target.port}" if target.port else target.hostname
        where = f", a redirect to {target.scheme}://{host}" if target.scheme and host else ""
    except ValueError:
        where = ", a redirect"
    remedy = f"; set {setting} to the address itself" if setting else ""
    message = redact(f"{who.lower().replace('_', ' ')} answered {answer.status}{where}{remedy}")
    return NoAnswer.for_good(Reason.API_REJECTED, message, "redirect")
