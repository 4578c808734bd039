"""Reads the trace of a request (W3C Trace Context, level 2) so that it can be passed on.

A trace never makes a request invalid: an unreadable one is dropped, and events start without a trace (§3.2.2.3).
"""

import re
from typing import Any

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = r"[a-z0-9][a-z0-9_*/@-]{0,255}"  # level 2 takes any number of @ anywhere but first (§3.3.1.3.1)
_MEMBER = re.compile(rf"({_KEY})=[ -+\--<>-~]{{1,256}}")  # a value is printable ASCII without comma and equals sign

MEMBERS = 32
"""A tracestate with more members is dropped (§3.3.1.1)."""

STATE_BYTES = 512
"""At least this many bytes are passed on; beyond that whole members are dropped, long ones first (§3.3.1.5)."""

LONG_MEMBER = 128


def trace_of(parent: Any, state: Any) -> tuple[str | None, str | None]:
    """`traceparent` and `tracestate` to pass on; without the first the second is dropped (§3.4)."""
    traceparent = _traceparent(parent)
    return traceparent, _tracestate(state) if traceparent else None


def _traceparent(value: Any) -> str | None:
    found = _PARENT.fullmatch(value.strip(" \t")) if isinstance(value, str) else None
    if not found:
        return None
    version, trace, span, flags, more = found.groups()
    if version == "ff" or not trace.strip("0") or not span.strip("0") or (version == "00" and more):
        return None
    if version != "00":  # a later version is passed on as version 00 (§3.2.4)
        flags = f"{int(flags, 16) & 1:02x}"
    return f"00-{trace}-{span}-{flags}"


def _tracestate(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    members = [member.strip(" \t") for member in value.split(",")]
    members = [member for member in members if member]  # empty members are legal (§3.3.1.1)
    if len(members) > MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return None
    while _size(members) > STATE_BYTES:
        long = [member for member in members if len(member) > LONG_MEMBER]
        members.remove((long or members)[-1])
    return ",".join(members) or None


def _size(members: list[str]) -> int:
    return sum(map(len, members)) + len(members) - 1
