"""Runs cfn-lint and checkov on resolved templates."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tools.validation.findings import Finding
from tools.validation.template import ROOT, Json

CHECKOV = ROOT / ".venv" / "checkov" / "bin" / "checkov"
PATIENCE = 900
"""Seconds for all templates together."""

Checkov = Callable[[Sequence[str]], Sequence[Sequence[Finding]]]
"""Takes templates, returns the findings of each."""


def cfn_lint(text: str, regions: tuple[str, ...]) -> list[Finding]:
    """The errors and warnings of cfn-lint for a template, with the schemas of these regions."""
    from cfnlint.decode.decode import decode_str

    template, errors = decode_str(text)
    matches = errors or _runner(regions).validate_template(template)
    return [Finding(match.rule.id, "/".join(map(str, match.path or ())), match.message) for match in matches]


@cache
def _runner(regions: tuple[str, ...]) -> Any:
    """A runner, which reads its rules once."""
    from cfnlint.config import ConfigMixIn
    from cfnlint.runner import Runner

    return Runner(ConfigMixIn(regions=list(regions)))


def checkov(texts: Sequence[str]) -> list[list[Finding]]:
    """The findings of checkov for each template, without those that .checkov.yaml skips. Raises RuntimeError."""
    if not texts:
        return []
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{number}.json" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(json.dumps(json.loads(text), indent=1))
        command = [str(CHECKOV), "--config-file", str(ROOT / ".checkov.yaml"), "--output", "json", "--file"]
        done = subprocess.run(  # noqa: S603
            [*command, *map(str, paths)], capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=ROOT
        )
        if done.returncode not in (0, 1) or not done.stdout.strip():
            raise RuntimeError(done.stderr.strip() or f"checkov ended with {done.returncode} and no output")
        return _by_file(json.loads(done.stdout), [path.name for path in paths])


def _by_file(said: Any, names: Sequence[str]) -> list[list[Finding]]:
    found: dict[str, list[Finding]] = {name: [] for name in names}
    for report in said if isinstance(said, list) else [said]:
        results = report.get("results", {})
        if broken := results.get("parsing_errors"):
            raise RuntimeError(f"checkov cannot read {', '.join(broken)}")
        for check in results.get("failed_checks", []):
            resource = str(check["resource"]).rpartition(".")[2]
            said_of = found[Path(str(check["file_path"])).name]
            said_of.append(Finding(str(check["check_id"]), f"Resources/{resource}", str(check["check_name"])))
    return [found[name] for name in names]


def variants(templates: Mapping[str, Json]) -> dict[str, frozenset[str]]:
    """The variants of resources in each template. checkov checks each resource alone."""
    return {
        text: frozenset(json.dumps([name, resource], sort_keys=True) for name, resource in found["Resources"].items())
        for text, found in templates.items()
    }


def covering(of: Mapping[str, frozenset[str]]) -> list[str]:
    """A small set of templates that contains every variant, by a greedy choice."""
    left, chosen = set[str]().union(*of.values()), []
    while left:
        best = max(of, key=lambda text: len(of[text] & left))
        chosen.append(best)
        left -= of[best]
    return chosen
