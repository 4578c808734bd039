"""The original of a message in verdicts: without secrets in any encoding, and otherwise unchanged."""

import base64
import html
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.outbox.original import echoed, shown
from shared.redact import REDACTED, spellings
from tests.messages import SERVER, VOLUME, bare, cloudevent
from tests.unit.test_envelope_entries import ENTRIES

TOKEN = "AQCEAAAAKgAAAAMAAAAAAAAAAfBHSY0/O2+aRMv9mHGTBTN1iM8h/E5kC1dWGZzAbp6qfEj=="
"""As Step Functions write them, with characters that encodings change."""

NAMES = ["task_token", "taskToken", "TaskToken", "task-token", "token", "access_token", "password", "OS_PASSWORD",
         "secret", "client_secret", "api_key", "apiKey", "aws_secret_access_key", "Authorization", "X-Auth-Token",
         "mac", "cookie", "credentials", "adminPass", "pass-word", "OS_PASSCODE", "sk", "jwt"]  # fmt: skip


def php(value: Any) -> str:
    return json.dumps(value).replace("/", "\\/")


def dotnet(value: Any) -> str:
    return json.dumps(value).replace("+", "\\u002B").replace("/", "\\u002F")


def all_escaped(value: Any) -> str:
    """Every character of every string as an escape."""
    return json.dumps(value).replace(TOKEN, "".join(f"\\u{ord(one):04x}" for one in TOKEN))


WRITTEN: dict[str, Callable[[Any], str]] = {
    "plain": json.dumps,
    "indented": lambda value: json.dumps(value, indent=2),
    "PHP": php,
    ".NET": dotnet,
    "escapes": all_escaped,
    "byte order mark": lambda value: "\ufeff" + json.dumps(value),
    "JSON in JSON": lambda value: json.dumps(json.dumps(value)),
    "JSON in JSON in JSON": lambda value: json.dumps({"a": json.dumps({"b": json.dumps(value)})}),
    "SNS in EventBridge in SNS": lambda value: json.dumps(ENTRIES["sns"](ENTRIES["rule"](ENTRIES["sns"](value)))),
    "base64": lambda value: json.dumps({"data_base64": base64.b64encode(json.dumps(value).encode()).decode()}),
    "base64 in lines": lambda value: json.dumps({"d": base64.encodebytes(json.dumps(value).encode()).decode()}),
    "base64 for URLs": lambda value: json.dumps({"d": base64.urlsafe_b64encode(php(value).encode()).decode()}),
    "base64 in base64": lambda value: json.dumps(
        {"d": base64.b64encode(base64.b64encode(json.dumps(value).encode())).decode()}
    ),
    "percent": lambda value: json.dumps({"d": quote(json.dumps(value))}),
    "entities": lambda value: json.dumps({"d": html.escape(json.dumps(value))}),
    "cut off": lambda value: json.dumps(value)[:-1],
    "cut off in JSON in JSON": lambda value: json.dumps({"Message": json.dumps(value)})[:-2],
    "cut off in base64": lambda value: json.dumps({"d": base64.b64encode(json.dumps(value).encode()).decode()})[:-1],
    "not JSON": lambda value: f"please: {json.dumps(value)}",
    "too deep": lambda value: "[" * 2000 + json.dumps(value) + "]" * 2000,
    "no quotes": lambda value: json.dumps(value).replace('"', ""),
    "single quotes": lambda value: json.dumps(value).replace('"', "'"),
}

PLACES: dict[str, Callable[[str], Any]] = {
    "request": lambda name: bare(SERVER, VOLUME, **{name: TOKEN}),
    "cloudevent": lambda name: cloudevent(bare(SERVER, VOLUME, **{name: TOKEN})),
    "extension": lambda name: cloudevent(bare(SERVER, VOLUME), **{name: TOKEN}),
    "list": lambda name: bare(SERVER, VOLUME, **{name: ["x", TOKEN]}),
    "object": lambda name: bare(SERVER, VOLUME, **{name: {"value": {"value": TOKEN}}}),
    "context": lambda name: bare(SERVER, VOLUME, context={"a": [{name: TOKEN}]}),
    "text": lambda name: bare(SERVER, VOLUME, note=f"the {name}: {TOKEN}"),
    "URL": lambda name: bare(SERVER, VOLUME, callback=f"https://example.com/?{name}={quote(TOKEN, safe='')}"),
}


def decodings(text: str) -> set[str]:
    """The text and its decodings, in every order, several levels deep."""
    found, new = {text}, {text}
    for _ in range(4):
        new = {
            plain for one in new for plain in (html.unescape(one), unpercent(one), unescaped(one), *runs(one))
        } - found
        found |= new
    return found


def unpercent(text: str) -> str:
    return unquote(text)


def unescaped(text: str) -> str:
    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", lambda m: m[2] or chr(int(m[1], 16)), text)


def runs(text: str) -> list[str]:
    found = []
    for run in re.findall(r"[A-Za-z0-9+/_-]{16,}", re.sub(r"\\[rn]|[\r\n]", "", text)):
        data = run.replace("-", "+").replace("_", "/")
        for start in range(4):
            part = data[start:]
            decoded = base64.b64decode(part[: len(part) // 4 * 4]).decode("utf-8", "ignore")
            found += [decoded] if sum(map(str.isprintable, decoded)) > 8 else []
    return found


def leaks(text: str) -> bool:
    """Whether the text contains a large part of the token in any encoding."""
    parts = (TOKEN[8:32], TOKEN[24:48], TOKEN[44:68])
    return any(part in plain for plain in decodings(text) for part in parts)


def test_the_search_finds_every_encoding() -> None:
    """A search that finds nothing would prove nothing."""
    for write in WRITTEN.values():
        assert leaks(write(bare(SERVER, VOLUME, task_token=TOKEN)))
    assert not leaks(json.dumps(bare(SERVER, VOLUME)))


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_no_secret_is_shown(place: Callable[[str], Any], write: Callable[[Any], str]) -> None:
    """A secret under each of its names is hidden, without knowing the value."""
    for name in NAMES:
        assert not leaks(shown(write(place(name)))), (name, shown(write(place(name))))


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_a_token_is_recognised_by_its_form(write: Callable[[Any], str]) -> None:
    """Under any name, or as a name itself."""
    for value in (bare(SERVER, TOKEN), {TOKEN: 1}, [TOKEN], {"server_id": [TOKEN]}):
        assert not leaks(shown(write(value)))


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_a_token_that_is_known_is_not_shown(write: Callable[[Any], str]) -> None:
    """Even if it is short and plain, anywhere."""
    token = "hunter-2/+"
    for value in (bare(SERVER, token), {"task_token": token, "note": f"see {token}"}, {token: token}):
        text = shown(write(value), token)
        assert all(token not in plain for plain in decodings(text)), text


@pytest.mark.parametrize("write", [json.dumps, php, dotnet, WRITTEN["indented"], WRITTEN["JSON in JSON"]])
@pytest.mark.parametrize("wrap", ENTRIES.values(), ids=ENTRIES)
def test_text_without_secrets_is_shown_unchanged(write: Callable[[Any], str], wrap: Callable[[Any], Any]) -> None:
    """The sender can recognise the message."""
    event = cloudevent(bare(SERVER, "x", dry_rum=True, context={"note": "äöü / +", "n": [1.50, None, True]}))
    wrapped = wrap(event)
    if isinstance(wrapped, dict):
        wrapped.pop("Signature", None)
    text = write(wrapped)
    assert shown(text) == text or "Signature" in text


def test_members_that_stand_twice_are_shown_twice() -> None:
    """They are the fault of the message."""
    assert shown('{"a": 1, "task_token": "x", "a": 2}') == f'{{"a": 1, "task_token": "{REDACTED}", "a": 2}}'


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: base64.b64encode(data).decode()))
def test_any_text_can_be_shown(text: str) -> None:
    """Any input gives a text that can be written."""
    json.dumps(shown(text))


@pytest.mark.parametrize("piece", ['{"', "[", '\\"', "eyJ", "AQC1", "%7B", "&quot;", '"a":', "\\u0022", "token", "=="])
def test_time_grows_with_the_text_only(piece: str) -> None:
    """The largest message of a queue is searched in seconds."""
    assert shown(piece * (300_000 // len(piece))) is not None


@given(st.text(min_size=6, max_size=40), st.integers(0, 2))
def test_a_secret_is_found_in_base64_wherever_it_begins(secret: str, before: int) -> None:
    """At each of the three offsets of base64."""
    if not secret.isprintable():
        return
    encoded = base64.b64encode(b"x" * before + secret.encode() + b"y" * 4).decode()
    assert any(spelling in encoded for spelling in spellings(secret))


CONTEXTS = [
    ({"task_token": TOKEN}, {"task_token": REDACTED}),
    ({"a": [{"TaskToken": "x"}]}, {"a": [{"TaskToken": REDACTED}]}),
    ({"a": f"see {TOKEN}!"}, {"a": f"see {REDACTED}!"}),
    ({"password": "theirs to send", "n": [1, None]}, {"password": "theirs to send", "n": [1, None]}),
    ({"task_token": ["x", 5]}, {"task_token": REDACTED}),
    ({"task_token": None}, {"task_token": None}),
    ({TOKEN: 1, "a": json.dumps({"b": TOKEN}).replace("/", "\\/")}, {REDACTED: 1, "a": json.dumps({"b": REDACTED})}),
]


@pytest.mark.parametrize(("context", "echo"), CONTEXTS)
def test_a_context_is_echoed_without_the_task_token(context: Any, echo: Any) -> None:
    """Everything else is echoed unchanged."""
    assert echoed(context, TOKEN) == echo


@pytest.mark.parametrize(
    "value", [{"name": "X-Auth-Token", "value": TOKEN}, ["X-Auth-Token", TOKEN], {"a": [["--password", "hunter2"]]}]
)
def test_a_value_beside_its_name_is_not_shown(value: Any) -> None:
    """As in headers and arguments."""
    assert REDACTED in shown(json.dumps(value))
    assert "hunter2" not in shown(json.dumps(value))
    assert not leaks(shown(json.dumps(value)))


@pytest.mark.parametrize(
    "text", ["AAAAAAAA" + "\n" * 300_000 + "!", "%25252525\\u005cu005cu0026&amp;amp;amp;amp; " * 20_000]
)
def test_a_large_message_is_shown_quickly(text: str) -> None:
    """An event shows only its beginning, so the rest is not searched."""
    began = time.perf_counter()
    assert len(shown(text)) <= 16 * 1024
    assert time.perf_counter() - began < 2


def test_nothing_is_shown_up_to_the_cut_of_a_large_message() -> None:
    """A part of a secret may be there."""
    text = "x" * 15_000 + " " + "hunter2 " * 20_000
    assert "hunter2" not in shown(text)


@pytest.mark.parametrize("name", [*NAMES, "to-ken", "API.KEY", "X_JWT", "userPin", "SK", "HMAC"])
def test_a_plain_secret_is_recognised_by_its_name(name: str) -> None:
    """Even if it is short, with any spelling of the name; nothing of it is kept."""
    assert json.loads(shown(json.dumps({name: "hunter2", "a": 1}))) == {name: REDACTED, "a": 1}


@pytest.mark.parametrize("name", ["volume_id", "pinned", "compass", "machine", "keyboard", "ticket", "authored"])
def test_other_names_hide_nothing(name: str) -> None:
    """Values under similar names are shown."""
    text = json.dumps({name: "hunter2"})
    assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('{"token": null, "pin": true, "sig": 5, "mac": [1], "jwt": "x"}',
            '{"token": null, "pin": true, "sig": "[redacted]", "mac": "[redacted]", "jwt": "[redacted]"}',
            id="values and nulls"),
        pytest.param('{"a":[1,"ä",{"pin":"x","b":[1.5,[],{}]}],"c":null}',
            '{"a": [1, "ä", {"pin": "[redacted]", "b": [1.5, [], {}]}], "c": null}', id="all around it"),
        pytest.param('{"name": "X-Auth-Token", "value": "hunter2", "more": [null, "x"]}',
            '{"name": "X-Auth-Token", "value": "[redacted]", "more": "[redacted]"}', id="a label"),
        pytest.param('{"Key": "password", "Value": "hunter2", "shown": false}',
            '{"Key": "password", "Value": "[redacted]", "shown": false}', id="a label in capitals"),
        pytest.param('{"name": "volume", "value": "hunter2"}', '{"name": "volume", "value": "hunter2"}',
            id="a label of something else"),
        pytest.param('{"value": "password", "other": "hunter2"}', '{"value": "password", "other": "hunter2"}',
            id="no label"),
        pytest.param('{"name": 5, "value": "hunter2"}', '{"name": 5, "value": "hunter2"}', id="an odd label"),
        pytest.param('["a", "--password", "hunter2", null, true]', '["a", "--password", "[redacted]", null, true]',
            id="arguments"),
        pytest.param('["--volume", "hunter2"]', '["--volume", "hunter2"]', id="other arguments"),
        pytest.param("{the volume please, my password is hunter2",
            "{the volume please, my [redacted] (no JSON: what follows is not shown)", id="no JSON"),
        pytest.param("{the volume please", "{the volume please", id="no JSON, and no secret"),
    ],
)  # fmt: skip
def test_all_else_is_shown(text: str, expected: str) -> None:
    """Unchanged, so that the sender finds the mistake."""
    assert shown(text) == expected


def urlsafe(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize("encode", [
    urlsafe, lambda text: urlsafe(text).rstrip("="), lambda text: base64.encodebytes(text.encode()).decode(),
    lambda text: base64.b64encode(text.encode()).decode(),
])  # fmt: skip
@pytest.mark.parametrize("filling", ["", "?", "??", "~~~???>>>" * 9])
def test_a_plain_secret_is_found_in_every_base64(encode: Callable[[str], str], filling: str) -> None:
    """The URL-safe alphabet, line breaks, with and without padding; the result is base64 again."""
    inner = json.dumps({"note": filling, "password": "hunter2"})
    told = json.loads(shown(json.dumps({"d": encode(inner)})))["d"]
    assert json.loads(base64.b64decode(told)) == {"note": filling, "password": REDACTED}


@pytest.mark.parametrize(("levels", "opened"), [(1, True), (12, True), (13, False)])
def test_texts_within_texts_are_opened_twelve_times(levels: int, opened: bool) -> None:
    """A text that is nested deeper is hidden without reading it."""
    text = "a"
    for _ in range(levels):
        text = json.dumps(text)
    assert (shown(text) == text, REDACTED in shown(text)) == (opened, not opened)


@pytest.mark.parametrize("value", [["see hunter-2/+"], {"a": [["hunter-2/+"]]}, {"hunter-2/+": [None, 1]}])
def test_a_known_plain_token_is_hidden(value: Any) -> None:
    """In lists and names, in the message and in the echoed context."""
    assert "hunter-2" not in shown(json.dumps(value), "hunter-2/+")
    assert "hunter-2" not in json.dumps(echoed({"c": value}, "hunter-2/+"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my password=x and all the rest", f"my password={REDACTED} and all the rest"),
        ('{"note": "password=x and all the rest"}', f'{{"note": "password={REDACTED} and all the rest"}}'),
        ("\ufeff[1]", "\ufeff[1]"),
        ("\ufeff" + '{"pin": 5}', f'{{"pin": "{REDACTED}"}}'),
    ],
)
def test_nothing_is_lost_behind_a_secret(text: str, expected: str) -> None:
    """The replacement may be longer than the secret."""
    assert shown(text) == expected


@pytest.mark.parametrize(("levels", "opened"), [(1, True), (12, True), (13, False)])
def test_base64_within_base64_is_opened_twelve_times(levels: int, opened: bool) -> None:
    """And shown unchanged, including line breaks."""
    text = "no secret"
    for _ in range(levels):
        text = base64.encodebytes(text.encode()).decode()
    assert (shown(text) == text) is opened


def test_a_large_message_is_shown_by_its_beginning() -> None:
    """Up to where no part of a secret can be at the cut, and without known secrets."""
    assert shown("ab " * 50_000) == ("ab " * 50_000)[: 16 * 1024 - 3000]
    assert shown("hunter-2/+ " + "ab " * 50_000, "hunter-2/+").startswith(f"{REDACTED} ab")
