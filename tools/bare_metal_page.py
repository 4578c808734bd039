"""docs/bare-metal.md: how a bare metal server is recognised and what is special about it, from the product's tables."""

import textwrap

from shared.decision.bare_metal import SIGNALS, SPECIAL

TEXT = """\
# Bare metal servers

Made by `make docs` from `shared/decision/bare_metal.py`.

With `SERVER_KIND=bare_metal` (parameter `ServerKind`) a server that shows none of these signals is refused:
`not_bare_metal`. `make servers` shows each server's kind.

{signals}

Users can edit metadata and tags, so this is a filter and no security boundary.

## What is special

{special}
"""


def page() -> str:
    """The whole page."""
    signals = (f"- {one.name}: `{one.wanted}{'…' if one.begins else ''}` ({one.source})" for one in SIGNALS)
    special = (_item(f"- **{one.about}**: {one.text}; {one.here} ({one.source})") for one in SPECIAL)
    return TEXT.format(signals="\n".join(signals), special="\n".join(special))


def _item(text: str) -> str:
    return textwrap.fill(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
