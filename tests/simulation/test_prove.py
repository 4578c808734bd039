"""The command line of `make prove`."""

import os
import subprocess
import sys

import pytest

from tests.contract.documented import ROOT


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("EVERY", "0", "whole number from 1"),
        ("EVERY", "abc", "whole number from 1"),
        ("EVERY", "-1", "whole number from 1"),
        ("PROOF_STEP", "0", "whole number from 1"),
        ("PROOF_MOST", "1.5", "whole number from 1"),
        ("ROUGH_RUNS", "many", "whole number from 1"),
        ("PROOF_API", "nix", "Use one of compute, bms_v1"),
        ("ACCESS", "nix", "Use one of password, application-credential, "),
        ("ONLY", "nix", "The proofs are senders, scenarios, "),
    ],
)
def test_a_value_that_is_not_allowed_is_one_sentence_and_status_2(name: str, value: str, allowed: str) -> None:
    """The variable, its value and what is allowed; no traceback, and no proof begins."""
    only = [value] if name == "ONLY" else []
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.prove", *only],
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1", **({} if only else {name: value})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert name in line
    assert value in line
    assert allowed in line
