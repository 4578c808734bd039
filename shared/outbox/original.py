"""Removes secrets from a message that an event shows: no reader may act in the requester's name, or in ours."""

import json
import re
import sys
from base64 import b64decode, b64encode
from typing import Any

from pydantic import JsonValue

from shared.redact import REDACTED, SEARCHED, redact, without

SECRET_NAME = re.compile(
    r"(?i)token|passw|passphrase|passcode|pwd|secret|credential|authori[sz]ation|cookie|signature|bearer"
    r"|(api|private|access|signing)[-_ ]?key"
)
"""Names with one of these anywhere in them have secret values."""

SECRET_WORDS = {"pass", "pgpass", "pw", "ak", "sk", "auth", "jwt", "otp", "pin", "sig", "hmac", "mac", "bearer"}
"""So have names with one of these as a whole word."""


LABELS = {"name", "key", "header", "field", "parameter"}
"""Members that name what another member holds: `{"name": "X-Auth-Token", "value": …}`."""

SHOWN = 16 * 1024
"""How many characters of a message longer than `SEARCHED` are searched; an event shows 8 KB of them."""

LONGEST_SECRET = 3000
"""Characters. Keystone's tokens and those of Step Functions are shorter."""

DEEPEST = 12
"""How many nested levels of JSON text or base64 are decoded."""

WHOLE = sys.maxsize
"""Characters: no limit here, since redacting a secret may lengthen a text."""

_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n_-]{8,}={0,2}")


class _Members(list[tuple[str, Any]]):
    """The members of an object in order, including duplicates."""


def shown(text: str, token: str | None = None) -> str:
    """The text without secrets; unchanged if it has none. `token` is a known secret."""
    if len(text) > SEARCHED:
        # The end is cut off, so it is not JSON, and a part of a secret may be at the cut.
        return _of_no_json(text[:SHOWN], token)[:-LONGEST_SECRET]
    return _of_text(text, 0, token)


def echoed(context: JsonValue, token: str | None) -> Any:
    """A request's context without its task token, found by name and by value; otherwise unchanged."""
    if isinstance(context, dict):
        return {
            _without(token, name): REDACTED if _is_task_token(name) and item is not None else echoed(item, token)
            for name, item in context.items()
        }
    if isinstance(context, list):
        return [echoed(item, token) for item in context]
    return _without(token, context) if isinstance(context, str) else context


def _without(token: str | None, text: str) -> str:
    return without(token, text) if token else text


def _is_secret(name: str) -> bool:
    """Whether a name is that of a secret, in any spelling: `adminPass`, `OS-PASSWORD`, `pass-word`."""
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+", name)
    return bool(SECRET_NAME.search(name) or SECRET_NAME.search("".join(words))) or any(
        word.lower() in SECRET_WORDS for word in words
    )


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
            named = any(
                name.lower() in LABELS and isinstance(item, str) and _is_secret(item[:64]) for name, item in value
            )
            return _Members(
                (
                    _of_plain(name, token),
                    _of_other(item) if named and name.lower() not in LABELS else _of_member(name, item, depth, token),
                )
                for name, item in value
            )
        case list():
            names = [number for number, item in enumerate(value) if isinstance(item, str) and _is_secret(item[:64])]
            known = names[0] if names else len(value)
            return [_of_value(item, depth, token) if at <= known else _of_other(item) for at, item in enumerate(value)]
        case str():
            return _of_text(value, depth + 1, token)
    return value


def _of_plain(text: str, token: str | None) -> str:
    return redact(text, WHOLE, [token] if token else ())


def _of_member(name: str, item: Any, depth: int, token: str | None) -> Any:
    return _of_other(item) if _is_secret(name) else _of_value(item, depth, token)


def _of_other(item: Any) -> Any:
    """Redact a value whose name says that it is a secret."""
    return item if item is None or isinstance(item, bool) else REDACTED


def _of_no_json(text: str, token: str | None) -> str:
    """Text that is not JSON is shown up to the first name of a secret, since the end of its value is unknown."""
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
    """JSON of a value with its members in order."""
    match value:
        case _Members():
            members = (f"{json.dumps(name, ensure_ascii=False)}: {_written(item)}" for name, item in value)
            return "{" + ", ".join(members) + "}"
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
