"""One validation: makes the combinations, resolves what each deploys, and lints it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.validation.conditions import permitted
from tools.validation.findings import Combination, Finding, of, together
from tools.validation.linters import Checkov, cfn_lint, covering, variants
from tools.validation.matrix import EVERYWHERE, rows_of
from tools.validation.resolve import resolved
from tools.validation.rules import RULES
from tools.validation.samples import at
from tools.validation.switches import defaults_of, switches_of
from tools.validation.template import PLACES, Json, Values
from tools.validation.translator import NotTransformed, packaged, transformed

Progress = Callable[[str], None]

HOME = PLACES[0]
FOREIGN = next(place for place in PLACES if place.partition != HOME.partition)
"""A region in another partition, in which our own rules check every combination too."""


@dataclass(frozen=True, slots=True)
class Report:
    switches: int
    combinations: int
    regions: int
    templates: int
    """The number of distinct resolved templates."""
    findings: tuple[Finding, ...]


def combinations_of(template: Json, full: bool) -> list[Combination]:
    """Every row in HOME, the rows EVERYWHERE in every region; with `full` every row in every region."""
    switches, defaults = switches_of(template), defaults_of(template)
    rows = rows_of(switches, lambda chosen: permitted(HOME.pseudo | chosen, template), full)
    found = []
    for row in rows:
        for place in PLACES:
            linted = full or place == HOME or row.kind in EVERYWHERE
            values: Values = {name: at(place, value) for name, value in (defaults | row.values).items()}
            refused = permitted(place.pseudo | values, template) is False
            if not refused and (linted or place == FOREIGN):
                found.append(Combination(row, place, values, linted))
    return found


def validated(template: Json, checkov: Checkov, full: bool = False, progress: Progress = lambda _: None) -> Report:
    """The findings of all combinations. Raises ValueError, RuntimeError or OSError if it cannot validate."""
    combinations = combinations_of(template, full)
    progress(f"Transforming the template for {len(combinations)} combinations of parameters and region ...")
    results = transformed(packaged(template), [(one.place.region, one.values) for one in combinations])
    found: list[Finding] = []
    of_text: dict[str, list[Combination]] = {}
    deployed: dict[str, Json] = {}
    for one, result in zip(combinations, results, strict=True):
        if isinstance(result, NotTransformed):
            found.append(Finding("transform", "template.yaml", str(result), (one,)))
            continue
        made = resolved(result, one.values, one.place)
        found += of((finding for rule in RULES for finding in rule(made, one.place)), [one])
        if one.linted:
            text = json.dumps(made, sort_keys=True)
            deployed[text] = made
            of_text.setdefault(text, []).append(one)
    progress(f"Linting the {len(of_text)} distinct templates that these deploy ...")
    for text, same in of_text.items():
        found += of(cfn_lint(text, tuple(dict.fromkeys(one.place.region for one in same))), same)
    found += _by_checkov(deployed, of_text, checkov, full)
    regions = len({one.place.region for one in combinations})
    return Report(len(switches_of(template)), len(combinations), regions, len(of_text), tuple(together(found)))


def _by_checkov(
    deployed: dict[str, Json], of_text: dict[str, list[Combination]], checkov: Checkov, full: bool
) -> list[Finding]:
    """checkov's findings. Each applies to every template with the same variant of the resource."""
    has = variants(deployed)
    texts: Sequence[str] = list(deployed) if full else covering(has)
    found = []
    for text, said in zip(texts, checkov(texts), strict=True):
        for one in said:
            name = one.where.removeprefix("Resources/")
            variant = json.dumps([name, deployed[text]["Resources"].get(name)], sort_keys=True)
            same = [of_text[other] for other in deployed if variant in has[other]] or [of_text[text]]
            found += of([one], [combination for group in same for combination in group])
    unique = {(one.rule, one.where, one.message, one.combinations[0].row): one for one in found}
    return list(unique.values())
