"""The code path of one request stays short, so that a newcomer can follow it."""

import json
import subprocess
import sys

from tests.contract.walk import ROOT

MOST = {"calls": 200, "files": 24, "changes": 80}


def walked() -> dict[str, int]:
    command = [sys.executable, "-m", "tests.contract.walk"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    told: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_one_delivery_passes_through_little() -> None:
    """The first delivery of a bare request makes at most so many calls, in so many files, with so many changes.

    Pollers of the local stack, which call AWS meanwhile, can only add to it: of three walks the shortest counts.
    """
    shortest = walked()
    for _ in range(2):
        if any(shortest[name] > MOST[name] for name in MOST):
            shortest = {name: min(count, shortest[name]) for name, count in walked().items()}
    assert shortest["calls"] > 0
    assert {name: shortest[name] for name in MOST if shortest[name] > MOST[name]} == {}, shortest
