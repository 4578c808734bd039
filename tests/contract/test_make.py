"""Each command of the Makefile takes its own variables and refuses any other."""

import re
import subprocess

import pytest

from local.stack import TAKEN_OVER
from tests.contract.documented import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
VARIABLES = {
    command: set(names.split()) for command, names in re.findall(r"^TAKES_([a-z-]+) := (.*)$", MAKEFILE, re.MULTILINE)
}


def recipe(command: str) -> str:
    """The lines of a Makefile rule."""
    rule = re.search(rf"^(?:[a-z -]+ )?{command}(?: [a-z -]+)?:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return rule[1] if rule else ""


@pytest.mark.parametrize("command", VARIABLES)
def test_each_variable_of_a_command_is_declared(command: str) -> None:
    """A variable that the recipe uses is one that the command takes."""
    assert recipe(command)
    used = set(re.findall(r"\$\(call (?:said|given|on|typed),([A-Z_]+)", recipe(command)))
    assert used <= VARIABLES[command] | {"SETTINGS", "BYTECODE", "ARTIFACTS_DIR"}


def test_the_settings_of_the_local_stack_may_be_typed() -> None:
    """`make run CONFIRM_TIMEOUT=5` works as the environment variable does."""
    settings = re.search(r"^SETTINGS := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert settings
    assert {*TAKEN_OVER, "SINK_SECRET"} <= set(settings[1].replace("\\", " ").split())


@pytest.mark.parametrize("typed", ["DRY_RUN=1", "DRYRUN=1", "Dry=1", "EVENTS=x"])
def test_a_misspelt_variable_runs_nothing(typed: str) -> None:
    """It may be the DRY=1 that keeps a disk attached."""
    told = subprocess.run(
        ["make", "detach", "SERVER=db-01", "VOLUME=db-01-data", "YES=1", typed],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (2, "")
    assert f"make detach does not take {typed.partition('=')[0]}. It takes SERVER VOLUME" in told.stderr
