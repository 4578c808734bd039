"""What a line of the answer table says."""

from __future__ import annotations

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
