"""Paging by `limit`, `offset` and `marker`, as Nova and Cinder do it."""

from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlencode

from simulator import bodies
from simulator.exchange import Rejected, Request
from simulator.inventory import Server, Volume

MOST = 1000


Row = TypeVar("Row", Server, Volume)


def window(query: Mapping[str, str]) -> slice:
    """The part of a list that `offset` and `limit` select."""
    start = _number(query, "offset", 0)
    return slice(start, start + min(MOST, _number(query, "limit", MOST)))


def page(
    rows: Sequence[Row], request: Request, links: str, base_url: str
) -> tuple[Sequence[Row], dict[str, list[dict[str, str]]]]:
    """The rows of one page, and a link to the next page under the name `links` if there is one."""
    marker = request.query.get("marker")
    after = next((index + 1 for index, row in enumerate(rows) if row.id == marker), 0)
    shown = rows[after:][window(request.query)]
    if not shown or shown[-1] is rows[-1]:
        return shown, {}
    query = {**request.query, "marker": shown[-1].id}
    return shown, {links: [{"rel": "next", "href": f"{base_url}{request.path}?{urlencode(query)}"}]}


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    value = query.get(name, str(default))
    if not value.isdecimal():
        raise Rejected(bodies.fault(400, f"Invalid input for query parameters {name}. Value: {value}."))
    return int(value)
