"""The way of one request stays short: a newcomer can follow it."""

import json
import subprocess
import sys

from tests.contract.walk import ROOT

MOST = {"calls": 200, "files": 24, "changes": 80}


def test_one_delivery_passes_through_little() -> None:
    """The first delivery of a bare request makes at most so many calls, in so many files, with so many changes."""
    command = [sys.executable, "-m", "tests.contract.walk"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    walked = json.loads(done.stdout.splitlines()[-1])
    assert walked["calls"] > 0
    assert {name: walked[name] for name in MOST if walked[name] > MOST[name]} == {}, walked
