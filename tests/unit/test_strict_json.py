"""Strict JSON: ambiguous texts are refused."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.strict_json import DEEPEST, NotJson, loads

SCALAR = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUE = st.recursive(
    SCALAR | TEXT, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5), max_leaves=20
)


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@given(value=VALUE)
def test_written_json_is_read_back(value: Any) -> None:
    """Every value is read back unchanged, from text and from UTF-8 bytes."""
    text = json.dumps(value, ensure_ascii=False)
    assert value == loads(text)
    assert value == loads(text.encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ("[1] [2]", "not JSON"),
        ("\ufeff\ufeff{}", "not JSON"),
        ("{}\ufeff", "not JSON"),
        ('"a\x00b"', "not JSON"),
        ('"a\nb"', "not JSON"),
        ("NaN", "NaN is not JSON"),
        ('{"a": Infinity}', "Infinity is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ('{"a": 1, "a": 1}', "'a' stands twice"),
        ('[{"b": {"a": 1, "b": 2, "a": 3}}]', "'a' stands twice"),
        (r'{"a": 1, "\u0061": 2}', "'a' stands twice"),
        (r'"\ud800"', "unpaired surrogate"),
        (r'{"\udfff": 1}', "unpaired surrogate"),
        ("9" * 5000, "too large"),
        ('{"a": 1e400}', "too large"),
        (nested(100_000), "nested"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        ("{}".encode("utf-16"), "UTF-16"),
        ("{}".encode("utf-32"), "UTF-32"),
    ],
)
def test_ambiguous_json_is_refused(text: str | bytes, why: str) -> None:
    """A text that two parsers could read differently is refused, with the reason."""
    with pytest.raises(NotJson, match=why):
        loads(text)


@pytest.mark.parametrize("text", ["\ufeff{}", "\ufeff{}".encode(), '\ufeff {"a": "\ufeff"}'])
def test_a_byte_order_mark_is_passed_over(text: str | bytes) -> None:
    """One of them, before the text; inside of a string it is a character."""
    assert loads(text) in ({}, {"a": "\ufeff"})


def test_depth_has_a_limit() -> None:
    """The deepest nesting allowed is read; one more is refused."""
    assert loads(nested(DEEPEST)) != []
    with pytest.raises(NotJson, match=f"more than {DEEPEST} deep"):
        loads(nested(DEEPEST + 1))


def test_depth_counts_the_deepest_branch() -> None:
    """A wide and shallow value is read, and one deep branch among many is found."""
    assert len(str(loads(json.dumps([[]] * 1250)))) == 5000
    with pytest.raises(NotJson, match="deep"):
        loads(f'{{"a": [1, 2], "b": [{nested(DEEPEST)}]}}')


def test_escaped_nul_is_a_character() -> None:
    """An escaped NUL is legal JSON. The reader of the field decides whether it is allowed."""
    assert loads(r'"a\u0000b"') == "a\x00b"


def test_the_name_in_the_message_is_cut() -> None:
    """A long name does not make the message long."""
    name = "x" * 100_000
    with pytest.raises(NotJson) as refused:
        loads(f'{{"{name}": 1, "{name}": 2}}')
    assert len(str(refused.value)) < 200


def test_many_names_are_read_quickly() -> None:
    """A name that stands twice among tens of thousands is found at once, not in seconds."""
    names = ",".join(f'"{number}": 1' for number in range(40_000))
    started = time.perf_counter()
    with pytest.raises(NotJson, match="'7' stands twice"):
        loads(f'{{{names}, "7": 2}}')
    assert time.perf_counter() - started < 2


@given(text=st.binary(max_size=200) | st.text(max_size=200))
def test_anything_is_read_or_refused(text: str | bytes) -> None:
    """No input raises anything but NotJson, and what is read can be written as UTF-8."""
    try:
        value = loads(text)
    except NotJson:
        return
    assert value == loads(json.dumps(value, ensure_ascii=False).encode())
