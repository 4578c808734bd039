"""A cold start loads everything the handlers need, but neither boto3 nor the local stack."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANDLERS = sorted(f"functions.{path.parent.name}.handler" for path in (ROOT / "functions").glob("*/handler.py"))
UNWANTED = ("boto3", "botocore.session", "botocore.client", "moto", "pytest", "local", "tests")


def test_there_are_handlers() -> None:
    """The function of the design is among them."""
    assert "functions.detach_volume.handler" in HANDLERS


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_cold_start_loads_no_boto3(handler: str) -> None:
    """Importing a handler needs no setting, prints nothing, warns of nothing, and loads no AWS library.

    The bare `botocore` package may be there: the logging library looks whether it is installed.
    """
    code = f"""
import sys, warnings
warnings.simplefilter("error")
import {handler}
print([name for name in {UNWANTED} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
