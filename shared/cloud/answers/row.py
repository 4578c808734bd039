"""A row of the answer tables."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from shared.model import AnswerClass, Reason

Meaning = AnswerClass | Reason
"""A reason means a permanent failure; the other classes have no reason."""


class Row(NamedTuple):
    """One documented answer; of several rows with one key the first match counts.

    `key` is a service's own code (`BMS.0114`), the name of a fault (`itemNotFound`), `http_502` for an answer without a
    known code or name, or `any_code` for one whose code or name has no matching row. `status` (empty: any) and
    `message` (a pattern, compiled on first use) narrow the match.
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
