"""`make mutants`: what has survived a run of mutmut, held against the survivors that are argued for."""

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
ARGUED = Path(__file__).with_name("survivors.toml")

KILLED = ("killed", "timeout", "segfault")
"""What mutmut calls a mutant that was found: a test failed, did not come to an end, or took Python down."""

TEXT = re.compile(r"""[rf]*("[^"]*"|'[^']*')""")


class Mutant(NamedTuple):
    """One change: in which function, the lines before and after, and mutmut's own name for it."""

    where: str
    before: str
    after: str
    name: str

    @property
    def in_words_only(self) -> bool:
        """Only a text with blanks differs, which nobody but a person reads."""
        texts = zip(TEXT.finditer(self.before), TEXT.finditer(self.after), strict=False)
        changed = [(one.group(), other.group()) for one, other in texts if one.group() != other.group()]
        same_code = TEXT.sub("", self.before) == TEXT.sub("", self.after)
        return same_code and bool(changed) and all(" " in one.strip("\"' ") for one, _ in changed)


@dataclass(frozen=True)
class Argument:
    """Why survivors of a kind are let live: those in functions of that name, whose change has that form."""

    where: re.Pattern[str]
    change: re.Pattern[str]
    why: str

    def covers(self, mutant: Mutant) -> bool:
        changed = f"{mutant.before} → {mutant.after}"
        return bool(self.where.fullmatch(mutant.where) and self.change.search(changed))


def arguments() -> list[Argument]:
    rows = tomllib.loads(ARGUED.read_text())["argument"]
    return [Argument(re.compile(row["where"]), re.compile(row["change"]), row["why"]) for row in rows]


def results() -> Iterator[tuple[str, int | None, Path]]:
    """Every mutant of the latest run, with its exit code, None if it was not run, and the file that was mutated."""
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
    argued, used = arguments(), set[Argument]()
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
            argument = next((one for one in argued if one.covers(mutant)), None)
            if argument:
                used.add(argument)
            kind = "in words only" if mutant.in_words_only else "argued" if argument else "survived"
            counts[kind] += 1
            left += [mutant] if kind == "survived" else []
    kinds = ("mutants", "killed", "in words only", "argued", "survived", "not run")
    print(f"{'':<24}" + "".join(f"{kind:>15}" for kind in kinds))
    for package, counts in table.items():
        print(f"{package:<24}" + "".join(f"{counts[kind]:>15,}" for kind in kinds))
    for mutant in left:
        print(f"\n{mutant.where}  ({mutant.name})\n  - {mutant.before}\n  + {mutant.after}")
    stale = [one for one in argued if one not in used]
    for one in stale:
        print(f"argued for, and not seen: {one.where.pattern}: {one.change.pattern}")
    return 1 if left or stale or any(counts["not run"] for counts in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
