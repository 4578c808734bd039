"""Retry-After, as clouds and webhooks send it (RFC 9110 §10.2.3)."""

from datetime import datetime
from email.utils import parsedate_to_datetime


def seconds(value: object, now: datetime | None) -> float | None:
    """Seconds from a number, delta-seconds or an HTTP date; None for anything else, and a date where now is unknown."""
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit():
            return float(text[:12])
        try:
            then = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # no date, or one that no calendar has
            return None
        return max(0.0, (then - now).total_seconds()) if now and then.tzinfo else None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and value >= 0 else None  # type: ignore[arg-type, operator]
