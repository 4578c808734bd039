"""Parses JSON from untrusted senders strictly, with a clear error, and writes canonical JSON with a MAC."""

import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NoReturn

from pydantic import JsonValue

DEEPEST = 40
"""The deepest nesting of any text. What senders can nest freely is limited further (`policy.CONTEXT_LEVELS`), since our
messages wrap it."""

WIDEST_INTEGER = 2**63 - 1
"""The largest integer that EventBridge accepts (PutEventsRequestEntry, Detail)."""

MAC = "mac"
"""The member of an object that holds its MAC."""


class NotJson(ValueError):
    """The text is not JSON, or is ambiguous."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for name, value in pairs:
        if name in unique:
            raise NotJson(f"the name {name[:64]!r} stands twice in one object")
        unique[name] = value
    return unique


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is not JSON")


def loads(text: str | bytes) -> JsonValue:
    """Parse; reject duplicate names, NaN, broken Unicode and unreasonable depth (RFC 8259 §4, §8). Raises NotJson."""
    try:
        if isinstance(text, bytes):
            text = text.decode()
        text = text.removeprefix("\ufeff")  # a byte order mark may be ignored (RFC 8259 §8.1)
        value: JsonValue = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except NotJson:
        raise
    except RecursionError as error:
        raise NotJson("nested too deeply") from error
    except UnicodeEncodeError as error:
        raise NotJson("a string holds half of a character (an unpaired surrogate)") from error
    except UnicodeDecodeError as error:
        wide = b"\x00" in error.object[:4] or error.object[:2] in (BOM_UTF16_LE, BOM_UTF16_BE)
        raise NotJson(f"not UTF-8 at byte {error.start}{', but UTF-16 or UTF-32' if wide else ''}") from error
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except ValueError as error:  # an integer of more digits than Python converts, or 1e400, which is no float
        raise NotJson("a number is too large") from error
    if depth(value) > DEEPEST:
        raise NotJson(f"nested more than {DEEPEST} deep")
    return value


def depth(value: JsonValue) -> int:
    """The number of levels of a value; a scalar has one. Counting stops above DEEPEST."""
    level: list[JsonValue] = [value]
    for number in range(DEEPEST + 1):
        if not level:
            return number
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return DEEPEST + 1


def integers(value: JsonValue) -> Iterator[int]:
    """Every integer in a value, at any depth."""
    rest = [value]
    while rest:
        match rest.pop():
            case bool():
                pass
            case int() as number:
                yield number
            case dict() as members:
                rest += members.values()
            case list() as items:
                rest += items


canonical = partial(json.dumps, sort_keys=True, separators=(",", ":"), allow_nan=False)
"""The canonical text of an object, independent of the order, blanks and escapes of its source.

It is ASCII: a queue does not accept every character of JSON, but accepts every escape (SQS, SendMessage, MessageBody).
"""


def signed(value: Mapping[str, Any], mac: Callable[[str], str]) -> str:
    """The canonical text of an object with its MAC as an additional member."""
    text = canonical(value)
    return f'{text[:-1]},"{MAC}":"{mac(text)}"}}'
