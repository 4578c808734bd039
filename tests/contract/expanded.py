"""The template as CloudFormation gets it: expanded by AWS's own translator, which `sam` brings along."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SAM = ROOT / ".venv" / "sam" / "bin" / "python"

EXPAND = """
import json, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

class Policies:
    def load(self):
        names = ("service-role/AWSLambdaBasicExecutionRole", "service-role/AWSLambdaSQSQueueExecutionRole",
                 "AWSXrayWriteOnlyAccess", "AWSXRayDaemonWriteAccess")
        return {name.split("/")[-1]: "arn:aws:iam::aws:policy/" + name for name in names}

template = yaml_parse(sys.stdin.read())
template["Globals"]["Function"]["CodeUri"] = {"Bucket": "artifacts", "Key": "bms-volume-detach.zip"}
print(json.dumps(transform(template, {}, Policies())))
"""


@cache
def expanded() -> dict[str, Any]:
    """The expanded template, with the artifact where `sam deploy` would have put it; skips without sam."""
    if not SAM.exists():
        pytest.skip("sam is not installed: make .venv/sam/.ready")
    done = subprocess.run(
        [SAM, "-c", EXPAND],
        input=(ROOT / "template.yaml").read_text(),
        env={"AWS_DEFAULT_REGION": "eu-central-1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    template: dict[str, Any] = json.loads(done.stdout)
    return template
