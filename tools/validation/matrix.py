"""Combinations of the switches: none, each one alone, all, and every pair of values, in a small number of rows.

The pairs are a covering array of strength two, by a greedy search. The template's rules forbid some combinations: a
value that requires another one is combined with it, and a pair that no permitted combination has is left out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from tools.validation.switches import Switch
from tools.validation.template import Values

Chosen = dict[str, str]
Permitted = Callable[[Chosen], bool | None]
"""Whether the rules allow it; None if that depends on switches that are not chosen."""

Pair = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Row:
    """One combination, and the kind of row that it is."""

    kind: str
    chosen: tuple[tuple[str, str], ...]

    @property
    def values(self) -> Values:
        return dict(self.chosen)


EVERYWHERE = ("defaults", "all off", "all on")
"""The kinds of rows that are linted in the regions of every partition."""


def rows_of(switches: Sequence[Switch], permitted: Permitted, full: bool) -> list[Row]:
    """All rows. A switch that decides nothing is not paired: its values are spread over the rows, each at least once.

    With `full` these switches are paired too.
    """
    paired = [switch for switch in switches if full or switch.decides]
    unpaired = [switch for switch in switches if switch not in paired]
    defaults = {switch.name: switch.default for switch in unpaired}
    rows = [Row(kind, tuple((defaults | chosen).items())) for kind, chosen in _single(paired, permitted)]
    pairs = list(_pairs(paired, [row.values for row in rows], permitted))
    rows += [Row("pairs", tuple(chosen.items())) for chosen in _spread(pairs, unpaired, dict(rows[0].chosen))]
    distinct: dict[frozenset[tuple[str, str]], Row] = {}
    for row in rows:
        distinct.setdefault(frozenset(row.chosen), row)
    return list(distinct.values())


def _single(switches: Sequence[Switch], permitted: Permitted) -> Iterator[tuple[str, Chosen]]:
    """The defaults, none, all, and each value alone, with the values that the rules require."""
    defaults = {switch.name: switch.default for switch in switches}
    wanted = [("defaults", {}, defaults), ("all off", {}, {s.name: s.off for s in switches}),
              ("all on", {}, {s.name: s.on for s in switches}),
              *(("alone", {s.name: v}, defaults) for s in switches for v in s.values if v != s.default)]  # fmt: skip
    for kind, fixed, otherwise in wanted:
        found = _completed(fixed, switches, permitted, partial(_as_in, otherwise))
        if found is not None:
            yield kind, found


def _as_in(otherwise: Chosen, switch: Switch, _: Chosen) -> str:
    return otherwise[switch.name]


def _pairs(switches: Sequence[Switch], present: Iterable[Chosen], permitted: Permitted) -> Iterator[Chosen]:
    """Rows that, with those `present`, contain every pair of values that the rules allow."""
    missing = dict.fromkeys(
        frozenset({(a.name, x), (b.name, y)}) for a, b in combinations(switches, 2) for x in a.values for y in b.values
    )
    for one in present:
        _strike(one, missing)
    while missing:
        first = next(iter(missing))

        def most_new(switch: Switch, chosen: Chosen) -> str:
            def new(value: str) -> int:
                return sum(frozenset({(switch.name, value), other}) in missing for other in chosen.items())

            return max(switch.values, key=new)

        row = _completed(dict(first), switches, permitted, most_new)
        if row is None:
            del missing[first]
            continue
        _strike(row, missing)
        yield row


def _strike(row: Chosen, missing: dict[Pair, None]) -> None:
    for pair in combinations(row.items(), 2):
        missing.pop(frozenset(pair), None)


def _completed(
    fixed: Chosen, switches: Sequence[Switch], permitted: Permitted, best: Callable[[Switch, Chosen], str]
) -> Chosen | None:
    """The fixed values and, for each other switch, the best one that the rules allow; None if they allow nothing."""

    def search(chosen: Chosen, left: Sequence[Switch]) -> Chosen | None:
        if permitted(chosen) is False:
            return None
        if not left:
            return chosen
        switch, *others = left
        first = best(switch, chosen)
        for value in dict.fromkeys([first, *switch.values]):
            if found := search({**chosen, switch.name: value}, others):
                return found
        return None

    found = search(dict(fixed), [switch for switch in switches if switch.name not in fixed])
    return {switch.name: found[switch.name] for switch in switches} if found is not None else None


def _spread(pairs: Sequence[Chosen], unpaired: Sequence[Switch], defaults: Chosen) -> Iterator[Chosen]:
    """The rows of pairs, each with a value of every unpaired switch; more rows if a switch has more values."""
    longest = max((len(switch.values) for switch in unpaired), default=0)
    for number in range(max(len(pairs), longest)):
        spread = {switch.name: switch.values[number % len(switch.values)] for switch in unpaired}
        yield {**defaults, **spread, **(pairs[number] if number < len(pairs) else {})}
