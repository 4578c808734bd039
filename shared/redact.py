"""Removes secrets from text that somebody else wrote, and cuts it."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from functools import cache, lru_cache, partial
from urllib.parse import quote, quote_plus, unquote

REDACTED = "[redacted]"
LONGEST = 500

# The gateway answers a bad signature with the canonical request, including signed headers and the access key. So a
# value is found by the name before it, in any notation (header, JSON, query, markup, canonical request). Every
# alternative starts with a literal and repeats one class only, which keeps the time linear in the text.
_NAMED = r"""(?ixs)(?P<name>
            (?: (?:token|pass(?:word|wd|phrase|code)?|pwd|secret|signature|credentials?|cookie
                  |(?:api|private|secret|access)[-_]?key|(?<![a-z])(?:access(?=\\*["']?\s*=)|ak|sk))
                (?! [\w-]{0,24}:\w{1,40}\ to\ be\ performed )   # "ecs:serverPasswords:manage" is an action
                [\w-]{0,24} (?: [\\"']* \s* [:=>]{1,2} | ["'] \s* , )
              | bearer(?=\s) )
            (?: [^\S\r\n] | (?!\[redacted) [\[(]   # the bracket of an earlier redaction stays a part of the value
              | [\r\n](?![^\r\n:=,]{0,60}[:=,]) )*   # a line with a name of its own is no value
        )
        (?: \[redacted\] (?= []})>,;.:|&]* (?: [\s"'<] | \Z ) )   # what follows it is no part of a value
          | \{ .* | (?<=\[) \s* \\*" .*   # an object or a list may hold several
          | \\*"(?:[^"\\]|\\.)*"? | \\*'(?:[^'\\]|\\.)*'? | [^\s"'<]+ )"""
# These values contain blanks and commas, so the rest of the line is removed.
_WHOLE_LINE = r"""(?ix)
        ( authorization [\\"']* \s* [:=,]+ (?: [^\S\r\n] | (?!\[redacted) [\[(\\"'] | [\r\n](?![^\r\n:=,]{0,60}[:=,]) )*
        | HMAC-SHA256 \s )
        [^\r\n"']*"""
# Secrets that are recognised by their form, without a name before them.
_SHAPED = r"""(?x)
        gAAAA[\w=%-]*                                           # Fernet token
      | MII[\w+/=-]{16,} | PKIZ_[\w+/=-]+                       # PKI token
      | eyJ[\w-]{8,}(?:\.[\w-]*)*                               # JSON web token
      | whsec_[\w+/=-]*                                         # webhook secret
      | (?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])                   # MAC, or a key of 256 bits in hex
      | (?<=://)[^\s/@:"'<]*:[^\s/@"'<]+(?=@)                   # user and password in a URL
      | (?<![A-Za-z0-9])[A-Z0-9]{20}(?![A-Za-z0-9])             # access key
      | (?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/])    # secret key"""


@cache
def _substitutions() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Compiled on first use, not at each cold start."""
    return (
        (re.compile(_WHOLE_LINE), rf"\1{REDACTED}"),
        (re.compile(_NAMED), rf"\g<name>{REDACTED}"),
        (re.compile(_SHAPED), REDACTED),
    )


def redact(text: str, longest: int = LONGEST, known: Iterable[str] = ()) -> str:
    """Redact every secret, and then cut, so that no partial secret is left at the end.

    A secret may be escaped or encoded, also several times. `known` secrets are found by their value.
    """
    text = _everywhere(text[:SEARCHED], partial(_blanked, known=_spelled(known)))
    # JSON may contain unpaired surrogates, which cannot be encoded.
    return text.encode("utf-8", "replace").decode()[:longest]


SEARCHED = 64 * 1024
"""How many characters are searched: more than anybody is shown, and limited because the text comes from strangers."""


def hidden(body: bytes, known: Iterable[str]) -> bytes:
    """A body without the known secrets; bytes that are not UTF-8 are replaced."""
    return _everywhere(body.decode("utf-8", "replace"), partial(_replaced, known=_spelled(known))).encode()


def without(secret: str, text: str) -> str:
    """The text without a known secret, in any spelling or encoding."""
    return _everywhere(text, partial(_replaced, known=_spelled([secret])))


def _spelled(known: Iterable[str]) -> tuple[str, ...]:
    return tuple(form for secret in known if len(secret) >= SHORTEST_KNOWN for form in spellings(secret))


def _replaced(text: str, known: tuple[str, ...]) -> str:
    for form in known:
        text = text.replace(form, REDACTED)
    return text


SHORTEST_KNOWN = 6
"""Characters. A shorter secret would redact half of any text."""


@lru_cache(maxsize=4)
def spellings(secret: str) -> tuple[str, ...]:
    """The spellings of a secret: plain, escaped for JSON, markup and URLs, and in base64 at every alignment.

    Cached, since a message may have hundreds of texts to search.
    """
    escaped = json.dumps(secret)[1:-1]
    forms = [secret, escaped, escaped.replace("/", "\\/"), quote(secret), quote(secret, safe=""), quote_plus(secret)]
    forms += [form.lower() for form in forms[3:] if "%" in form]
    forms.append(secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;"))
    data = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        encoded = b64encode(bytes(before) + data).decode().rstrip("=")
        # The characters at both ends also encode what is next to the secret.
        core = encoded[(0, 2, 3)[before] : len(encoded) - 1]
        forms += [core, core.replace("+", "-").replace("/", "_")] if len(core) >= SHORTEST_KNOWN else []
    return tuple(dict.fromkeys(sorted(forms, key=len, reverse=True)))


ROUNDS = 4
"""How many nested encodings are decoded."""

_ESCAPED = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|([/\\\"']))")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")


def _everywhere(text: str, blank: Callable[[str], str], rounds: int = ROUNDS) -> str:
    """Redact secrets in the text and in its decoded forms; text without secrets stays unchanged."""
    text = blank(text)
    if not rounds:
        return text
    plain = _unescaped(unquote(_without_entities(text)))
    if plain != text and (shown := _everywhere(plain, blank, rounds - 1)) != plain:
        text = shown
    return _BASE64.sub(lambda found: _run(found[0], blank, rounds - 1), text)


def _blanked(text: str, known: tuple[str, ...]) -> str:
    text = _LONG.sub(_long, _replaced(text, known))  # first, since a long secret may contain a shorter one
    for secret, shown in _substitutions():
        text = secret.sub(shown, text)
    return text


_LONG = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*)+|[A-Za-z0-9+/=_-]{60,}")


def _long(found: re.Match[str]) -> str:
    """Text as long and as mixed as a task token counts as one; a JSON web token is redacted as a whole."""
    run = found[0]
    if "." in run:
        return REDACTED
    mixed = any(map(str.islower, run)) and any(map(str.isupper, run)) and any(map(str.isdigit, run))
    return REDACTED if mixed else run


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: found[2] or chr(int(found[1], 16)), text)


def _without_entities(text: str) -> str:
    if "&" not in text:
        return text
    from html import unescape

    return unescape(text)


def _run(run: str, blank: Callable[[str], str], rounds: int) -> str:
    """A run of base64 characters, redacted if it holds a secret once decoded."""
    data = run.rstrip("=").translate(_STANDARD)
    try:
        plain = b64decode(data[: len(data) - (len(data) % 4 == 1)] + "==").decode()
    except ValueError:
        return run
    return run if _everywhere(plain, blank, max(rounds, 0)) == plain else REDACTED


_STANDARD = str.maketrans("-_", "+/")
