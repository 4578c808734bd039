"""Event files: the events that are read, and the messages about files without events."""

import io
from pathlib import Path

import pytest

from tools.event_files import NoEvents, read_events

ONE = '{"server_id": "a"}'
TWO = '{"server_id": "b"}'


@pytest.mark.parametrize(
    ("text", "events"),
    [
        pytest.param(ONE, [ONE], id="one event"),
        pytest.param(f"\ufeff{ONE}\n", [f"{ONE}\n"], id="with a byte order mark"),
        pytest.param('{\n  "server_id":\n  "a"}', ['{\n  "server_id":\n  "a"}'], id="one on several lines"),
        pytest.param(f"[{ONE}, {TWO}]", [ONE, TWO], id="an array"),
        pytest.param(f"{ONE}\n\n{TWO}\n", [ONE, TWO], id="JSON lines"),
        pytest.param(f"{ONE}\r\n{TWO}\r\n", [ONE, TWO], id="JSON lines of Windows"),
    ],
)
def test_events_are_read(text: str, events: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file and standard input hold the same."""
    file = tmp_path / "events.json"
    file.write_text(text, encoding="utf-8", newline="")
    assert read_events(str(file)) == events
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert read_events("-") == events


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: write an event as JSON"),
        (b" \n", "is empty: write an event as JSON"),
        (b"\xff\xfe\x00", "is not UTF-8 (byte 0): save it as JSON in UTF-8."),
        (
            b"hello",
            "is not JSON (expecting value, column 1): write one event, an array of events, or one event a line.",
        ),
        (b"{\n 'a': 1}", "(expecting property name enclosed in double quotes, line 2 column 2)"),
        (b'{"a": 1}\nhello\n', "Line 2 of the event file"),
        (b'{"a": 1}\n7\n', "Line 2 of the event file"),
        (b"[]", "is an empty array: there is nothing to send."),
        (b'[{"a": 1}, "b"]', "Entry 2 of the event file"),
        (b'"text"', "is not a JSON object: write an event"),
        (b"[" * 100_000, "is nested too deeply, or a number in it is too long"),
        (b"9" * 5_000, "is nested too deeply, or a number in it is too long"),
        (b'{"Records": []}', "is a batch for Lambda; a message on the queue is the `body` of a record."),
    ],
)
def test_a_file_without_events_gives_one_sentence(content: bytes, said: str, tmp_path: Path) -> None:
    """If a part of a file is not valid, nothing of it is sent."""
    file = tmp_path / "events.json"
    file.write_bytes(content)
    with pytest.raises(NoEvents) as told:
        read_events(str(file))
    sentence = str(told.value)
    assert said in sentence
    assert str(file) in sentence
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoEvents, match="There is no event file"):
        read_events(str(tmp_path / "missing.json"))
    with pytest.raises(NoEvents, match=r"cannot be read \(Is a directory\)"):
        read_events(str(tmp_path))
