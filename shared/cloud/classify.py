"""Classifies answers of the cloud by their shape and content with one table, never by status alone."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.model import Answer, AnswerClass, Classified, Reason
from shared.policy import LONGEST_RETRY_AFTER
from shared.redact import redact
from shared.retry_after import seconds

if TYPE_CHECKING:
    from shared.cloud.answers import Row

EMPTY_MEANS_ACCEPTED = frozenset({200, 201, 202, 204})

_SERVICE_CODE = r"(?a)[A-Za-z][A-Za-z0-9]{0,15}\.[0-9]{1,8}"
_FAULT_NAME = r"(?a)[A-Za-z]{1,40}"
_MARKUP = r"<[^<>]*>"
_MATCHED = 2000  # characters of a message that patterns are matched against


class _Fault(NamedTuple):
    """What a body says, in any envelope; `codes` in order of trust."""

    codes: tuple[str, ...] = ()
    message: str = ""
    retry_after: object = None


def classify(answer: Answer, *, now: datetime | None = None) -> Classified:
    """Classify an answer to a DELETE or a read; an answer that is not in the table needs a look.

    `now` is needed only if Retry-After is a date; without it a date is ignored.
    """
    plain = f"http_{answer.status}"
    if answer.status in EMPTY_MEANS_ACCEPTED and not answer.body.strip():
        return Classified(AnswerClass.ACCEPTED, plain)
    fault = _read(answer.body.decode("utf-8-sig", "replace"))
    keys = (*fault.codes, *(("any_code",) if fault.codes else ()), plain)
    row = next(_rows(keys, answer.status, fault.message[:_MATCHED]), None)
    told = [seconds(value, now) for value in (answer.headers.get("retry-after"), fault.retry_after)]
    wait = next((min(asked, LONGEST_RETRY_AFTER) for asked in told if asked is not None), None)
    return Classified(
        kind=row.kind if row else AnswerClass.RECONCILE,
        code=_shown_code(row, fault.codes, plain),
        message=redact(fault.message),
        reason=row.reason if row else None,
        retry_after=row.retry_after if wait is None and row else wait,
    )


def reason_of(code: str, message: str) -> Reason | None:
    """The reason that a service's code means wherever it stands, such as in a job; None if it means no failure."""
    row = next(_rows((code,), 400, message[:_MATCHED]), None)
    return row.reason if row else None


# -------------------------------------------------------------------------------------------------- the table


def _canonical(code: str) -> str:
    """One spelling per code: case is ignored, and the gateway's APIG and APIGW are the same."""
    service, dot, number = code.lower().partition(".")
    return f"{'apigw' if service == 'apig' else service}{dot}{number}"


@cache
def _index() -> "Mapping[str, list[Row]]":
    """The table by key. It is built for the first answer that is not plainly accepted: it takes 2 ms."""
    from shared.cloud.answers import TABLE

    index: dict[str, list[Row]] = {}
    for row in TABLE:
        index.setdefault(_canonical(row.key), []).append(row)
    return index


def _rows(keys: tuple[str, ...], status: int, message: str) -> "Iterator[Row]":
    index = _index()
    for key in keys:
        for row in index.get(_canonical(key), ()):
            if (not row.status or status in row.status) and (
                row.message is None or re.search(row.message, message, re.IGNORECASE)
            ):
                yield row


def _shown_code(row: "Row | None", codes: tuple[str, ...], plain: str) -> str:
    """The code of the matching row as the service spelled it; otherwise the first one in the answer."""
    decided = (code for code in codes if row and _canonical(code) == _canonical(row.key))
    return redact(next(decided, codes[0] if codes else plain))


# -------------------------------------------------------------------------------------------------- the body


def _read(text: str) -> _Fault:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, a number of too many digits, or nested too deeply
        document = None
    fault = _fault(document) if isinstance(document, dict) else None
    # Redact before removing markup, since a tag may name a secret.
    return fault or _Fault(message=" ".join(re.sub(_MARKUP, " ", redact(text, len(text))).split()))


def _fault(document: Mapping[str, Any]) -> _Fault | None:
    """Find the envelope: flat (gateway, IAM), or under `error` or the name of a fault."""
    if document.keys() & {"error_code", "error_msg"} or isinstance(document.get("code"), str):
        return _Fault(tuple(_codes([document])), _message([document]))
    for name, inner in document.items():
        if isinstance(inner, dict) and inner.keys() & {"message", "code"}:
            details = inner.get("details")
            layers = [inner, *(d for d in (details if isinstance(details, list) else ()) if isinstance(d, dict))]
            named = (name,) if name.lower() != "error" and re.fullmatch(_FAULT_NAME, name) else ()
            return _Fault((*_codes(layers), *named), _message(layers), inner.get("retryAfter"))
    return None


def _codes(layers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The service's own codes; numbers, also as text, only repeat the status."""
    for layer in layers:
        for code in (layer.get("error_code"), layer.get("code")):
            if isinstance(code, str) and re.fullmatch(_SERVICE_CODE, code):
                yield code


def _message(layers: Sequence[Mapping[str, Any]]) -> str:
    texts = (layer.get(name) for layer in layers for name in ("message", "error_msg"))
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")
