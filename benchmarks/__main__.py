"""`make bench`: measure, print each row, and write the results."""

import argparse

from benchmarks import flame, schedule
from benchmarks.harness import PRODUCT, packages, set_up
from benchmarks.measure import FULL, QUICK, measured
from benchmarks.report import HERE, as_json, machine, write_page
from tools.artifact import BUILD

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a slice of less than a minute, written to build/ only")
    quick = parser.parse_args().quick
    facts, figures = machine(), []
    with set_up() as up:
        for figure in measured(up, QUICK if quick else FULL):
            print("  ".join(cell.ljust(32) for cell in figure.cells), flush=True)
            figures.append(figure)
        flame.write(packages()[PRODUCT], up.backend.environment(), BUILD if quick else HERE)
    ((BUILD if quick else HERE) / "results.json").write_text(as_json(facts, figures))
    if not quick:
        schedule.write(HERE)
        write_page(schedule.page_lines())
