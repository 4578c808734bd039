"""What a line of the answer table says."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from shared.model import AnswerClass, Reason


class Row(NamedTuple):
    """One documented answer; of several rows with one key the first that fits counts.

    `key` is a service's own code (`BMS.0114`), the name of a fault (`itemNotFound`), `http_502` for an answer
    that names neither or nothing known, or `any_code` for one whose own code or name has no row that fits.
    `status` and `message` (a pattern, compiled when first needed) narrow the row down.
    """

    key: str
    kind: AnswerClass
    reason: Reason | None
    source: str
    status: frozenset[int] | None = None
    message: str | None = None
    retry_after: float | None = None


Meaning = AnswerClass | Reason
"""A reason stands for a permanent failure; every other class has no reason."""


def row(
    key: str,
    meaning: Meaning,
    source: str,
    status: Collection[int] = (),
    message: str | None = None,
    retry_after: float | None = None,
) -> Row:
    """Make one row; without a status it fits every status."""
    kind, reason = (AnswerClass.PERMANENT, meaning) if isinstance(meaning, Reason) else (meaning, None)
    return Row(key, kind, reason, source, frozenset(status) or None, message, retry_after)


def rows(source: str, meanings: Mapping[str, Meaning], prefix: str = "") -> list[Row]:
    """Make one row for each code; codes with the same meaning may share one line of the table."""
    return [row(prefix + code, meaning, source) for codes, meaning in meanings.items() for code in codes.split()]
