"""`python -m tests.simulation.page` writes mutants.md beside it: what each proof says when its rule is broken."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.model.explore import explore
from tests.model.test_model import BROKEN
from tests.simulation.mutants import MUTANTS, Mutant, violations_of

PAGE = Path(__file__).with_name("mutants.md")

HEAD = """# What the proofs say when a rule is broken

Each row is a variant of the service or of the model with one rule broken on purpose. The last column is the first line
with which the proof of that rule fails. `tests/simulation/test_mutations.py` and `tests/model/test_model.py` run them,
and fail if one is not caught or if the line differs. `python -m tests.simulation.page` writes this page.

## The service, in simulated worlds

| broken rule | story | the proof's failing line |
|---|---|---|
"""

MODEL = """
## The model, explored exhaustively

| broken rule | the proof's failing line | steps |
|---|---|---|
"""


def line_of(mutant: Mutant) -> str:
    """The first line of the invariant that is meant for it, without the ids of one run."""
    found = next((line for line in violations_of(mutant) if line.startswith(f"{mutant.caught_by}:")), "not caught")
    plain = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "…", found)
    plain = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(\+00:00)?", "…", plain)
    return plain.replace("|", "\\|")[:300]


def rows() -> Iterator[str]:
    for mutant in MUTANTS:
        yield f"| {mutant.rule} | {mutant.story} | `{line_of(mutant)}` |\n"


def model_rows() -> Iterator[str]:
    for rule, (left, _) in BROKEN.items():
        found = explore(left, {rule})
        yield f"| {rule} | `{found.wrong}` | {len(found.path)} |\n"


def lines_on_page() -> Mapping[str, str]:
    """The failing line of each mutant, as the page has it."""
    found = re.findall(r"^\| ([^|]+) \| [^|]+ \| `(.*)` \|$", PAGE.read_text(), re.MULTILINE)
    return dict(found)


def main() -> int:
    PAGE.write_text("".join([HEAD, *rows(), MODEL, *model_rows()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
