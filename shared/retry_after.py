"""Parses Retry-After, as clouds and webhooks send it (RFC 9110 §10.2.3)."""

from datetime import datetime
from email.utils import parsedate_to_datetime

LONGEST = 10**12
"""Seconds; longer values are reduced to this, since JSON may hold an integer that no float can represent."""


def seconds(value: object, now: datetime | None) -> float | None:
    """Seconds from a number, delta-seconds or an HTTP date; None for anything else, and for a date without `now`."""
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit():
            return float(text[:12])
        try:
            then = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # no date, or one that no calendar has
            return None
        return max(0.0, (then - now).total_seconds()) if now and then.tzinfo else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return float(min(value, LONGEST))
