"""What a line of the answer table says."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from shared.model import AnswerClass, Reason

Meaning = AnswerClass | Reason
"""A reason stands for a permanent failure; every other class has no reason."""


class Row(NamedTuple):
    """One documented answer; of several rows with one key the first that fits counts.

    `key` is a service's own code (`BMS.0114`), the name of a fault (`itemNotFound`), `http_502` for an answer
    that names neither or nothing known, or `any_code` for one whose own code or name has no row that fits.
    `status` (empty: every one) and `message` (a pattern, compiled when first needed) narrow the row down.
    """

    key: str
    meaning: Meaning
    source: str
    status: Collection[int] = ()
    message: str | None = None
    retry_after: float | None = None

    @property
    def kind(self) -> AnswerClass:
        return AnswerClass.PERMANENT if isinstance(self.meaning, Reason) else self.meaning

    @property
    def reason(self) -> Reason | None:
        return self.meaning if isinstance(self.meaning, Reason) else None


def rows(source: str, meanings: Mapping[str, Meaning], prefix: str = "") -> list[Row]:
    """Make one row for each code; codes with the same meaning may share one line of the table."""
    return [Row(prefix + code, meaning, source) for codes, meaning in meanings.items() for code in codes.split()]
