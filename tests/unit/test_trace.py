"""W3C Trace Context: passed on if it can be read, and never a reason to refuse."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.inbox.read import read
from shared.inbox.trace import trace_of
from shared.model import Message
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, SERVER, START, TRACE, VOLUME, bare, cloudevent

REST = TRACE[2:]


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        (TRACE, TRACE),
        (f" \t{TRACE}\t ", TRACE),
        (TRACE[:-2] + "00", TRACE[:-2] + "00"),
        (TRACE[:-2] + "ff", TRACE[:-2] + "ff"),
        (f"01{REST}", TRACE),
        (f"cc{REST}-what-the-future-will-be", TRACE),
        (f"fe{REST[:-2]}fe", TRACE[:-2] + "00"),
        (f"ff{REST}", None),
        (f"{TRACE}-more", None),
        (f"01{REST}more", None),
        (TRACE.upper(), None),
        (TRACE[:3] + "0" * 32 + TRACE[35:], None),
        (TRACE[:36] + "0" * 16 + TRACE[52:], None),
        (TRACE[:-1], None),
        (TRACE.replace("-", "_"), None),
        (TRACE.replace("a", "\uff41"), None),
        (f"{TRACE}\n", None),
        (f"X{TRACE}X", None),
        (f"{TRACE},{TRACE}", None),
        ("", None),
        (" ", None),
        (None, None),
        (5, None),
        ([TRACE], None),
    ],
)
def test_traceparent(sent: Any, passed_on: str | None) -> None:
    """§3.2: an unreadable value is dropped, and a later version is passed on as the known one."""
    assert trace_of(sent, "a=1") == (passed_on, "a=1" if passed_on else None)


LONG = "b=" + "x" * 200
NOT_LONG = "c=" + "x" * 126
THREE = ",".join(f"k{number}={'v' * 100}" for number in range(3))
FOUR = f"{THREE},k4={'v' * 100}"
SIZED = ",".join(f"{letter * 100}=1" for letter in "cdef")
MANY = [f"k{number}={number}" for number in range(32)]


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("a=1", "a=1"),
        ("a=1,b=2", "a=1,b=2"),
        (" a=1 \t,\t b=2 ", "a=1,b=2"),
        ("a=1,,b=2,", "a=1,b=2"),
        ("0a@system=x y", "0a@system=x y"),
        ("a-_*/=!~ x", "a-_*/=!~ x"),
        ("a=1,a=2", "a=1,a=2"),
        (",".join(MANY), ",".join(MANY)),
        (",".join([*MANY, "z=1"]), None),
        ("", None),
        (" ", None),
        (",", None),
        ("a", None),
        ("a=", None),
        ("=1", None),
        ("A=1", None),
        ("a=1,b=ü", None),
        ("a=b=c", None),
        ("a=1;b=2,c", None),
        ("a=\x00", None),
        ("a@=1", "a@=1"),
        ("a@0=1", "a@0=1"),
        ("x" * 257 + "=1", None),
        ("x" * 256 + "=1", "x" * 256 + "=1"),
        (f"a=1,{LONG},{LONG},{LONG}", f"a=1,{LONG},{LONG}"),
        (f"{LONG},{LONG},{LONG},a=1", f"{LONG},{LONG},a=1"),
        (f"{NOT_LONG},{FOUR}", f"{NOT_LONG},{THREE}"),
        (f"{SIZED},{'b' * 98}=1", f"{SIZED},{'b' * 98}=1"),
        (f"{SIZED},{'b' * 99}=1", SIZED),
        ("a=1X,b=2", "a=1X,b=2"),
        ("a=1\n,b=2", None),
        (",".join(f"k{n}={'v' * 100}" for n in range(6)), ",".join(f"k{n}={'v' * 100}" for n in range(4))),
        (None, None),
        (5, None),
    ],
)
def test_tracestate(sent: Any, passed_on: str | None) -> None:
    """§3.3: passed on completely, or without the members that make it too long, or not at all."""
    assert trace_of(TRACE, sent) == (TRACE, passed_on)


@given(parent=st.text() | st.just(TRACE), state=st.text(max_size=900) | st.none())
def test_a_passed_on_trace_fits_into_a_header(parent: str, state: str | None) -> None:
    """And is read back unchanged."""
    parent_out, state_out = trace_of(parent, state)
    assert parent_out is None or (parent_out.isascii() and len(parent_out) == 55)
    assert state_out is None or (state_out.isascii() and state_out.isprintable() and len(state_out) <= 512)
    assert trace_of(parent_out, state_out) == (parent_out, state_out)


@pytest.mark.parametrize("name", ["traceparent", "tracestate"])
@pytest.mark.parametrize("value", ["", " ", "a\nb", "ü", 5, True, {"a": 1}, ["a"], "x" * 5000])
def test_no_trace_makes_a_request_invalid(name: str, value: Any) -> None:
    """Some sidecars send an empty tracestate, which must not fail the request."""
    event = cloudevent(bare(SERVER, VOLUME), **{"traceparent": TRACE, "tracestate": "a=1", name: value})
    found = read(Message(json.dumps(event), "m-1", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, list)
    assert found[0].request.tracestate is None
