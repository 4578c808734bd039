"""Times by RFC 3339, read completely and identically on every Python."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.inbox.times import FIRST, LAST, parse_time

EIGHT = datetime(2026, 11, 23, 8, tzinfo=UTC)
NEW_YEAR = datetime(2017, 1, 1, tzinfo=UTC)
LEAP = NEW_YEAR - timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-23T08:00:00Z", EIGHT),
        ("2026-11-23t08:00:00z", EIGHT),
        ("2026-11-23 08:00:00Z", EIGHT),
        ("2026-11-23T08:00:00+00:00", EIGHT),
        ("2026-11-23T08:00:00-00:00", EIGHT),
        ("2026-11-23T09:30:00+01:30", EIGHT),
        ("2026-11-22T08:01:00-23:59", EIGHT),
        ("2026-11-23T08:00:00.0Z", EIGHT),
        ("2026-11-23T08:00:00." + "0" * 300 + "Z", EIGHT),
        ("2026-11-23T08:00:00.5Z", EIGHT + timedelta(milliseconds=500)),
        ("2026-11-23T08:00:00.123456Z", EIGHT + timedelta(microseconds=123_456)),
        ("2026-11-23T08:00:00.1234567Z", EIGHT + timedelta(microseconds=123_456)),
        ("2026-11-23T08:00:00.123456789+00:00", EIGHT + timedelta(microseconds=123_456)),
        ("2016-12-31T23:59:60Z", LEAP),
        ("2016-12-31T23:59:60.999Z", LEAP),
        ("2017-01-01T00:59:60+01:00", LEAP),
        ("2016-12-31T15:59:60-08:00", LEAP),
        ("0000-02-29T00:00:00Z", FIRST),
        ("0001-01-01T00:00:00+23:59", FIRST),
        ("0001-01-01T00:00:00Z", FIRST),
        ("9999-12-31T23:59:59.999999Z", LAST),
        ("9999-12-31T23:59:59-23:59", LAST),
    ],
)
def test_every_form_is_read(text: str, time: datetime) -> None:
    """§5.6 and its appendix on leap seconds."""
    assert parse_time(text) == time


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T08:00:00", "2026-11-23T08:00Z", "2026-11-23", "2026-W48-1T08:00:00Z", "20261123T080000Z",
        "2026-327T08:00:00Z", "2026-11-23T08:00:00+0100", "2026-11-23T08:00:00+01", "2026-11-23T08:00:00,5Z",
        "2026-11-23T08:00:00.Z", "2026-11-23T24:00:00Z", "2026-11-23T08:60:00Z", "2026-11-23T08:00:61Z",
        "2026-11-23T08:00:60Z", "2026-02-29T08:00:00Z", "2026-13-01T08:00:00Z", "2026-00-01T08:00:00Z",
        "0000-02-30T00:00:00Z", "2026-11-23T08:00:00+24:00", "2026-11-23T08:00:00+01:60",
        "2026-11-23T08:00:00+01:00:00",
        "2026-11-23T08:00:00Zulu", "2026-11-23T08:00:00Z\n", " 2026-11-23T08:00:00Z", "2026-11-23  08:00:00Z",
        "\u0662\u0660\u0662\u0666-11-23T08:00:00Z", "+2026-11-23T08:00:00Z", "12026-11-23T08:00:00Z",
        "Mon, 23 Nov 2026 08:00:00 GMT", "1795420800", "", 1795420800, None, True, ["2026-11-23T08:00:00Z"],
    ],
)  # fmt: skip
def test_nothing_else_is(text: object) -> None:
    """What is not RFC 3339 is not guessed at."""
    assert parse_time(text) is None


@given(st.datetimes(timezones=st.timezones().map(lambda _: UTC)))
def test_times_of_python_are_read(time: datetime) -> None:
    """To the microsecond."""
    assert parse_time(time.isoformat()) == time


@given(st.text(st.sampled_from("0123456789-:.TZtz+ "), max_size=40) | st.text(max_size=40))
def test_whatever_is_written_raises_nothing(text: str) -> None:
    """A time in UTC, or none."""
    time = parse_time(text)
    assert time is None or time.tzinfo is UTC
