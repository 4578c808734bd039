"""What may be shown of a text that somebody else wrote: no secrets, and not much of it."""

import re
from functools import cache

REDACTED = "[redacted]"
LONGEST = 500

# The gateway answers a bad signature with the canonical request, signed headers and access key included, so a
# value is taken by the name in front of it, in any notation (header, JSON, query, markup, canonical request).
# Every alternative starts with a literal and repeats one class only: the time stays linear in the text.
_NAMED = r"""(?ixs)(?P<name>
            (?: (?:token|pass(?:word|wd|phrase|code)?|pwd|secret|signature|credentials?|cookie
                  |(?:api|private|secret|access)[-_]?key|(?<![a-z])(?:access(?=\\*["']?\s*=)|ak|sk))
                (?! [\w-]{0,24}:\w{1,40}\ to\ be\ performed )   # "ecs:serverPasswords:manage" is an action
                [\w-]{0,24} (?: [\\"']* \s* [:=>]{1,2} | ["'] \s* , )
              | bearer(?=\s) )
            (?: [^\S\r\n] | [\[(] | [\r\n](?![^\r\n:=,]{0,60}[:=,]) )*   # a line with a name of its own is no value
        )
        (?: \\*"(?:[^"\\]|\\.)*"? | \\*'(?:[^'\\]|\\.)*'? | [^\s"'<]+ )"""
# These values contain blanks and commas, so the rest of the line goes.
_WHOLE_LINE = r"""(?ix)
        ( authorization [\\"']* \s* [:=,]+ (?: [^\S\r\n] | [\[(\\"'] | [\r\n](?![^\r\n:=,]{0,60}[:=,]) )*
        | HMAC-SHA256 \s )
        [^\r\n"']*"""
# What is recognised by its own looks, with no name in front of it.
_SHAPED = r"""(?x)
        gAAAA[\w=%-]*                                           # Fernet token
      | MII[\w+/=-]{16,} | PKIZ_[\w+/=-]+                       # PKI token
      | eyJ[\w-]{8,}(?:\.[\w-]*)*                               # JSON web token
      | whsec_[\w+/=-]*                                         # webhook secret
      | (?<=://)[^\s/@:"'<]*:[^\s/@"'<]+(?=@)                   # user and password in a URL
      | (?<![A-Za-z0-9])[A-Z0-9]{20}(?![A-Za-z0-9])             # access key
      | (?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/])    # secret key"""


@cache
def _substitutions() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Compiled when something has gone wrong for the first time, not at each cold start."""
    return (
        (re.compile(_WHOLE_LINE), rf"\1{REDACTED}"),
        (re.compile(_NAMED), rf"\g<name>{REDACTED}"),
        (re.compile(_SHAPED), REDACTED),
    )


def redact(text: str, longest: int = LONGEST) -> str:
    """Blank out every secret first and cut after, so that no half of one is left at the edge."""
    for secret, shown in _substitutions():
        text = secret.sub(shown, text)
    # JSON can smuggle in halves of surrogate pairs, which no one could encode again.
    return text.encode("utf-8", "replace").decode()[:longest]
