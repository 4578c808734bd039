"""Findings, with the combinations of parameters and region that they apply to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tools.validation.matrix import Row
from tools.validation.template import Place, Values


@dataclass(frozen=True, slots=True)
class Combination:
    """A row of the matrix in a region, with the values of all parameters there."""

    row: Row
    place: Place
    values: Values = field(hash=False)
    linted: bool
    """Whether cfn-lint and checkov check it. Our own rules check all combinations."""

    def changed(self, defaults: Values) -> list[str]:
        return [f"{name}={value}" for name, value in self.values.items() if value != defaults[name]]

    def named(self, defaults: Values) -> str:
        return f"{' '.join(self.changed(defaults)) or 'the defaults'} in {self.place.region}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule's message about a location in the template, such as `Resources/RequestQueue/Properties`."""

    rule: str
    where: str
    message: str
    combinations: tuple[Combination, ...] = ()

    def line(self, defaults: Values) -> str:
        simplest = min(self.combinations, key=lambda one: len(one.changed(defaults)))
        more = f" and {len(self.combinations) - 1} more" if len(self.combinations) > 1 else ""
        return f"{self.rule} {self.where}: {self.message}\n    with {simplest.named(defaults)}{more}"


def of(found: Iterable[Finding], combinations: Sequence[Combination]) -> list[Finding]:
    """The findings of one template with its combinations; only those of a region if the message names it."""
    return [Finding(one.rule, one.where, one.message, _concerned(one.message, combinations)) for one in found]


def _concerned(message: str, combinations: Sequence[Combination]) -> tuple[Combination, ...]:
    there = tuple(one for one in combinations if f"'{one.place.region}'" in message)
    return there or tuple(combinations)


def together(found: Iterable[Finding]) -> list[Finding]:
    """Merge equal findings, with all their combinations."""
    grouped: dict[tuple[str, str, str], list[Combination]] = {}
    for one in found:
        grouped.setdefault((one.rule, one.where, one.message), []).extend(one.combinations)
    return [Finding(*said, tuple(combinations)) for said, combinations in sorted(grouped.items())]
