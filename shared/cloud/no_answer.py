"""Classifies calls that brought no usable answer."""

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
    """A call without a usable answer: the connection, the login or the catalog failed."""

    def __init__(self, classified: Classified) -> None:
        super().__init__(f"{classified.code}: {classified.message}")
        self.classified = classified

    @classmethod
    def for_good(cls, reason: Reason, message: str, code: str | None = None) -> NoAnswer:
        return cls(Classified(AnswerClass.PERMANENT, code or reason.value, message, reason))


class LoginRefused(NoAnswer):
    """Keystone gave no token for these credentials."""


class KeyRefused(NoAnswer):
    """Nothing was sent: the access key was refused recently, and is not used for a while."""


CODES: Mapping[str, tuple[type[Exception], ...]] = {
    "timeout": (requests.Timeout, TimeoutError),
    "tls_failure": (requests.exceptions.SSLError,),
    "connection_failure": (requests.ConnectionError,),
}
"""Codes in evidence for calls without an answer; the first that fits the error or one of its causes counts."""


NO_ADDRESS = (InvalidURL, MissingSchema, InvalidSchema, LocationValueError)
"""Raised before anything is sent, or for the target of a redirect, which `requests` parses although it does not
follow."""


READERS = ("X509", "PEM")
"""OpenSSL's names for its readers of certificate files."""


def unanswered(error: Exception, setting: str | None = None) -> Classified:
    """Classify a call without an answer: its outcome is unknown, unless the error shows that nothing was sent.

    A read with an invalid address, or a failed certificate check, is for the operator to correct; `setting` names the
    setting. For a DELETE no setting is given, and the outcome stays unknown. `requests` raises a plain OSError if the
    file of OS_CACERT is missing. The text of an error about a header is not shown, since it quotes the header, which
    may hold a secret.
    """
    no_name = isinstance(error, UnicodeError) and "latin-1" not in str(error)  # headers are Latin-1
    if setting is not None and (no_name or isinstance(error, NO_ADDRESS)):
        remedy = f"; set {setting} to a valid address" if setting else ""
        message = redact(f"the address is not valid ({error}){remedy}")
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
    """The failure for a redirect, which credentials must not follow: its scheme and host, and the setting to
    correct."""
    try:
        target = urlsplit(answer.headers.get("location", ""))
        host = f"{target.hostname}:{target.port}" if target.port else target.hostname
        where = f", a redirect to {target.scheme}://{host}" if target.scheme and host else ""
    except ValueError:
        where = ", a redirect"
    remedy = f"; set {setting} to the address itself" if setting else ""
    message = redact(f"{who.lower().replace('_', ' ')} answered {answer.status}{where}{remedy}")
    return NoAnswer.for_good(Reason.API_REJECTED, message, "redirect")
