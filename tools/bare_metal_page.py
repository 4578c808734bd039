"""docs/bare-metal.md: how a bare metal server is recognised and what is special about it, from the product's tables."""

from collections.abc import Iterable, Sequence

from shared.decision.bare_metal import SIGNALS, SPECIAL

TEXT = """\
# Bare metal servers

The two tables are made from the code (`make docs`), from `shared/decision/bare_metal.py`.

## Which servers are served

By default a disk is detached from any server. With `SERVER_KIND=bare_metal` (template parameter `ServerKind`) a
server that is not known to be bare metal is refused: `not_bare_metal`, before anything is sent. `make servers` shows
the kind of each server, and which disks would be refused: `SERVER_KIND=bare_metal make servers CLOUD=env`. The gate
is asked anew before each DELETE, also in a dry run. A disk that is gone already is still reported as such.

One of these signals is enough. The strongest stands first:

{signals}

Without a signal a server is virtual if its flavor was told, and unknown if not. `bare_metal` refuses both. The
product reads servers with microversion 2.26, where the first three show. An operator of upstream Ironic names flavors
as they like, so there the kind is told by none of them, unless the operator does.

**It is a filter, and no security boundary.** Who may edit a server may write its metadata and its tags, so they can
make a virtual server pass for a bare metal one. They gain nothing but the filter: every other gate is asked as
before, and who may write metadata may detach disks of that server by the cloud's own API in most clouds. Nobody can
make a bare metal server look virtual while its flavor is told. Who may ask at all is for
[`ALLOWED_REQUESTERS`](operations.md#who-may-ask) to say.

## What is special

| | what the documents say | what the product does | source |
|---|---|---|---|
{special}
"""


def page() -> str:
    """The whole page."""
    signals = [(one.name, f"`{one.wanted}{'…' if one.begins else ''}`", one.source) for one in SIGNALS]
    special = [(one.about, _sentence(one.text), _sentence(one.here), one.source) for one in SPECIAL]
    head = "| what | its value | source |\n|---|---|---|\n"
    return TEXT.format(signals=head + _rows(signals), special=_rows(special))


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _sentence(text: str) -> str:
    return text if text.startswith("`") else text[0].upper() + text[1:]
