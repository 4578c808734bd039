"""A message as an event may show it: no reader of events can act in the requester's name, or in ours."""

import json
import re
from base64 import b64decode, b64encode
from typing import Any

from pydantic import JsonValue

from shared.redact import REDACTED, redact, without

SECRET_NAME = re.compile(
    r"(?i)token|passw|passphrase|pwd|secret|credential|authori[sz]ation|cookie|signature"
    r"|(api|private|access|signing)[-_ ]?key|^mac$"
)
"""Names whose values are not shown, in whatever spelling."""

DEEPEST = 12
"""So many texts of JSON, or in base64, are opened one within the other."""

_LONG = re.compile(r"[A-Za-z0-9+/=_-]{60,}")

_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n_-]{8,}={0,2}[\r\n]*")


class _Members(list[tuple[str, Any]]):
    """The members of an object in their order, those that stand twice as well."""


def shown(text: str, token: str | None = None) -> str:
    """The text without secrets; where nothing is secret, as it was written. `token` is known to be one."""
    return _of_text(text, 0, token)


def echoed(context: JsonValue, token: str | None) -> Any:
    """A request's context without its task token, by its name or by what it is; else as it came."""
    if isinstance(context, dict):
        return {
            name: REDACTED if _is_task_token(name) and isinstance(item, str) else echoed(item, token)
            for name, item in context.items()
        }
    if isinstance(context, list):
        return [echoed(item, token) for item in context]
    return without(token, context) if token and isinstance(context, str) else context


def _is_task_token(name: str) -> bool:
    return re.sub(r"[^a-z]", "", name.lower()) == "tasktoken"


def _of_text(text: str, depth: int, token: str | None) -> str:
    if depth > DEEPEST:
        return REDACTED
    plain = text.strip().removeprefix("\ufeff").strip()
    if plain[:1] in ("{", "[", '"'):
        try:
            value = json.loads(plain, object_pairs_hook=_Members)
            safe = _of_value(value, depth, token)
            return text if safe == value else _written(safe)
        except (ValueError, RecursionError):
            return _of_no_json(text, token)
    if _BASE64.fullmatch(plain) and (inner := _decoded(plain)) is not None:
        safe = _of_text(inner, depth + 1, token)
        return text if safe == inner else b64encode(safe.encode()).decode()
    return _of_plain(text, token)


def _of_value(value: Any, depth: int, token: str | None) -> Any:
    match value:
        case _Members():
            return _Members((_of_plain(name, token), _of_member(name, item, depth, token)) for name, item in value)
        case list():
            return [_of_value(item, depth, token) for item in value]
        case str():
            return _of_text(value, depth + 1, token)
    return value


def _of_plain(text: str, token: str | None) -> str:
    text = without(token, text) if token else text
    text = _LONG.sub(_long, text)  # first: what is known by its looks may be a part of it
    return _LONG.sub(_long, redact(text, len(text)))


def _long(found: re.Match[str]) -> str:
    """What is as long and as mixed as a task token is taken for one."""
    run = found[0]
    mixed = any(map(str.islower, run)) and any(map(str.isupper, run)) and any(map(str.isdigit, run))
    return REDACTED if mixed else run


def _of_member(name: str, item: Any, depth: int, token: str | None) -> Any:
    return REDACTED if SECRET_NAME.search(name) and item not in (None, True, False) else _of_value(item, depth, token)


def _of_no_json(text: str, token: str | None) -> str:
    """What cannot be parsed is shown up to the first name of a secret: nobody can say where its value ends."""
    safe = _of_plain(text, token)
    found = SECRET_NAME.search(safe)
    return f"{safe[: found.start()]}{REDACTED} (no JSON: what follows is not shown)" if found else safe


def _decoded(text: str) -> str | None:
    data = re.sub(r"[\r\n=]", "", text).replace("-", "+").replace("_", "/")
    try:
        return b64decode(data + "=" * (-len(data) % 4)).decode()
    except ValueError:
        return None


def _written(value: Any) -> str:
    """JSON of a value with its members in their order."""
    match value:
        case _Members():
            members = (f"{json.dumps(name, ensure_ascii=False)}: {_written(item)}" for name, item in value)
            return "{" + ", ".join(members) + "}"
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
