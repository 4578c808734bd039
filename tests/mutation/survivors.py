"""`make mutants`: compares the survivors of a run of mutmut with those that survivors.toml accepts."""

import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

RUN = Path("mutants")
ACCEPTED = Path(__file__).with_name("survivors.toml")

KILLED = ("killed", "timeout", "segfault")
"""Mutmut's statuses of a detected mutant: a test failed, did not end, or crashed Python."""

TEXT = re.compile(r"""[rf]*("[^"]*"|'[^']*')""")


class Mutant(NamedTuple):
    """One change: the function, the lines before and after, and mutmut's name for it."""

    where: str
    before: str
    after: str
    name: str

    @property
    def in_text_only(self) -> bool:
        """Whether only texts with blanks differ, which only people read."""
        texts = zip(TEXT.finditer(self.before), TEXT.finditer(self.after), strict=False)
        changed = [(one.group(), other.group()) for one, other in texts if one.group() != other.group()]
        same_code = TEXT.sub("", self.before) == TEXT.sub("", self.after)
        return same_code and bool(changed) and all(" " in one.strip("\"' ") for one, _ in changed)


@dataclass(frozen=True)
class Acceptance:
    """Why survivors of a kind are accepted: those in functions of that name, with a change of that form."""

    where: re.Pattern[str]
    change: re.Pattern[str]
    why: str

    def covers(self, mutant: Mutant) -> bool:
        changed = f"{mutant.before} → {mutant.after}"
        return bool(self.where.fullmatch(mutant.where) and self.change.search(changed))


def acceptances() -> list[Acceptance]:
    rows = tomllib.loads(ACCEPTED.read_text())["accepted"]
    return [Acceptance(re.compile(row["where"]), re.compile(row["change"]), row["why"]) for row in rows]


def results() -> Iterator[tuple[str, int | None, Path]]:
    """Every mutant of the latest run with its exit code (None if it was not run) and the mutated file."""
    for meta in sorted(RUN.rglob("*.py.meta")):
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield name, code, meta.relative_to(RUN).with_suffix("")


def read(name: str, path: Path) -> Mutant:
    lines = get_diff_for_mutant(name, path=path).splitlines()
    before = " ".join(line[1:].strip() for line in lines if re.match("-(?!--)", line))
    after = " ".join(line[1:].strip() for line in lines if re.match(r"\+(?!\+\+)", line))
    where = re.sub(r"\.(xǁ|x_)", ".", name.rpartition("__mutmut")[0]).replace("ǁ", ".")
    return Mutant(where.removeprefix("shared."), before, after, name)


def main() -> int:
    accepted, used = acceptances(), set[Acceptance]()
    table: dict[str, Counter[str]] = {}
    left: list[Mutant] = []
    for name, code, path in results():
        package = ".".join(name.split(".x")[0].split(".")[:2])
        counts = table.setdefault(package, Counter())
        counts["mutants"] += 1
        if status_by_exit_code[code] in KILLED:
            counts["killed"] += 1
        elif code is None:
            counts["not run"] += 1
        else:
            mutant = read(name, path)
            acceptance = next((one for one in accepted if one.covers(mutant)), None)
            if acceptance:
                used.add(acceptance)
            kind = "text only" if mutant.in_text_only else "accepted" if acceptance else "survived"
            counts[kind] += 1
            left += [mutant] if kind == "survived" else []
    kinds = ("mutants", "killed", "text only", "accepted", "survived", "not run")
    print(f"{'':<24}" + "".join(f"{kind:>15}" for kind in kinds))
    for package, counts in table.items():
        print(f"{package:<24}" + "".join(f"{counts[kind]:>15,}" for kind in kinds))
    for mutant in left:
        print(f"\n{mutant.where}  ({mutant.name})\n  - {mutant.before}\n  + {mutant.after}")
    stale = [one for one in accepted if one not in used]
    for one in stale:
        print(f"accepted, but not found: {one.where.pattern}: {one.change.pattern}")
    return 1 if left or stale or any(counts["not run"] for counts in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
