"""Parses times in every form of RFC 3339 §5.6, and in no other."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def parse_time(value: Any) -> datetime | None:
    """A time with a zone, in UTC, to the microsecond; None for anything else.

    A leap second becomes the last moment before the next minute. Times outside Python's calendar (year 0, or an offset
    across its ends) become its first or last moment.
    """
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction, sign, hours, minutes = found.groups()[6:]
    if hours and (int(hours) > 23 or int(minutes) > 59):
        return None
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    leap = second == 60
    microsecond = 999_999 if leap else int((fraction or "0")[:6].ljust(6, "0"))
    try:
        # Year 0 has the days of year 4: both are leap years.
        time = datetime(year or 4, month, day, hour, minute, 59 if leap else second, microsecond, UTC)
        if leap and (time - _signed(offset, sign)).time().replace(microsecond=0).isoformat() != "23:59:59":
            return None
    except (ValueError, OverflowError):
        return None
    if year == 0:
        return FIRST
    try:
        return time - _signed(offset, sign)
    except OverflowError:
        return FIRST if year == 1 else LAST


def _signed(offset: timedelta, sign: str | None) -> timedelta:
    return -offset if sign == "-" else offset
