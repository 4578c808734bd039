"""`make package`: write the files of a release to build/package: the artifact, its SBOM, checksums and notes."""

import argparse
import hashlib
import re
import shutil
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from tools.artifact import BUILD, LAMBDA_PLATFORM, LAMBDA_PYTHON, ROOT, UNUSED, build, product
from tools.exit_status import Exit
from tools.sbom import NAME, packages, sbom

PACKAGE = BUILD / "package"
UNRELEASED = "Unreleased"


class NotReady(Exception):
    """Why the version cannot be released as it is."""


def version() -> str:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return str(told["project"]["version"])


def notes(version: str, changelog: str) -> tuple[str, str]:
    """The date of a version in the changelog, or "Unreleased", and the text of its section. Raises NotReady."""
    sections = re.findall(r"^## \[(.+?)\](?: - (.+))?\n((?:(?!## ).*\n?)*)", changelog, re.MULTILINE)
    found = {name: (date, text.strip() + "\n") for name, date, text in sections}
    if version in found:
        return found[version]
    if UNRELEASED in found:
        return UNRELEASED, found[UNRELEASED][1]
    raise NotReady(f'CHANGELOG.md has neither "## [{version}] - <date>" nor "## [{UNRELEASED}]": add one')


def check(tag: str, version: str, released: str) -> None:
    """Raise NotReady unless the tag matches the version and the changelog has its release date."""
    if tag != f"v{version}":
        raise NotReady(f"the tag is {tag}, and pyproject.toml says {version}: tag v{version}, or set the version")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", released):
        raise NotReady(
            f'CHANGELOG.md says "{released}" for {version}: write "## [{version}] - <date>", such as 2026-11-28'
        )


def package(tag: str | None) -> list[Path]:
    """Build the files of a release, and return their paths. Raises NotReady."""
    number = version()
    released, text = notes(number, (ROOT / "CHANGELOG.md").read_text())
    if tag:
        check(tag, number, released)
    recipe = product()
    build(recipe)
    shutil.rmtree(PACKAGE, ignore_errors=True)
    PACKAGE.mkdir(parents=True)
    artifact, bom = PACKAGE / f"{NAME}-{number}.zip", PACKAGE / f"{NAME}-{number}.cdx.json"
    shutil.copyfile(recipe.archive, artifact)
    found = packages(recipe.lock, LAMBDA_PYTHON, LAMBDA_PLATFORM.split("-")[0], UNUSED)
    bom.write_text(sbom(number, found, datetime.now(UTC)))
    sums = PACKAGE / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in (artifact, bom)))
    (PACKAGE / "NOTES.md").write_text(text)
    return [artifact, bom, sums]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.package", description=__doc__)
    parser.add_argument("--tag", help="fail unless this is the version's tag and the changelog has the release date")
    try:
        made = package(parser.parse_args().tag)
    except NotReady as why:
        print(why, file=sys.stderr)
        return Exit.USAGE
    for path in made:
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
