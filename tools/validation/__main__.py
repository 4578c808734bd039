"""`make validate`: lint what would be deployed, for every switch and in every partition."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from tools.exit_status import Exit
from tools.validation.accepted import left
from tools.validation.linters import checkov
from tools.validation.run import validated
from tools.validation.switches import defaults_of
from tools.validation.template import ROOT, read


def main(arguments: Sequence[str] | None = None) -> Exit:
    parser = argparse.ArgumentParser(prog="python -m tools.validation", description=__doc__)
    parser.add_argument("--template", type=Path, default=ROOT / "template.yaml")
    parser.add_argument(
        "--full", action="store_true", help="every combination in every region, and all pairs (minutes)"
    )
    options = parser.parse_args(arguments)
    began = monotonic()
    try:
        template = read(options.template.read_text())
        report = validated(template, checkov, options.full, lambda line: print(line, file=sys.stderr, flush=True))
    except (ValueError, RuntimeError, OSError) as error:
        print(f"The template cannot be validated: {error}", file=sys.stderr)
        return Exit.USAGE
    findings, unused = left(report.findings)
    for finding in findings:
        print(finding.line(defaults_of(template)))
    for entry in unused:
        print(f"accepted {entry.where}: {entry.rule} is no longer found; remove it from tools/validation/accepted.py")
    print(
        f"{report.combinations} combinations of {report.switches} switches and {report.regions} regions, "
        f"{report.templates} distinct templates: {len(findings) + len(unused)} findings "
        f"({len(report.findings) - len(findings)} accepted) in {monotonic() - began:.0f} s"
    )
    return Exit.FAILED if findings or unused else Exit.DETACHED


if __name__ == "__main__":
    raise SystemExit(main())
