"""`python -m tests.model` explores the model within larger bounds than the tests and compares the product with it."""

import sys
import time

from tests.model.conformance import compare
from tests.model.explore import explore
from tests.model.states import Left

LARGE = (Left(0, 0, 0, 1), Left(2, 0, 0, 1), Left(0, 1, 0, 1), Left(0, 0, 1, 1), Left(1, 1, 0, 0), Left(1, 0, 1, 0))


def main() -> int:
    good = True
    print(f"{'acts':>5} {'deaths':>6} {'copies':>6} {'lies':>5} {'worlds':>11} {'steps':>11} {'ends':>7} {'s':>5}")
    for left in LARGE:
        began = time.monotonic()
        found = explore(left)
        good &= found.wrong is None
        numbers = f"{found.worlds:>11,} {found.steps:>11,} {found.ends:>7,} {time.monotonic() - began:>5.0f}"
        print(f"{left.acts:>5} {left.deaths:>6} {left.copies:>6} {left.lies:>5} {numbers}", flush=True)
        if found.wrong:
            print(found.report)
    compared = compare()
    differ = sum(map(len, compared.differ.values()))
    print(f"{compared.looks:,} looks: {differ} decisions differ, {compared.accepted.total()} accepted differences")
    return 0 if good and not differ else 1


if __name__ == "__main__":
    sys.exit(main())
