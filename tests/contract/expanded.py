"""The template as CloudFormation gets it: expanded by the translator that AWS itself runs."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TRANSLATOR = Path(sys.prefix) / "translator"
"""It pins an older pydantic than ours, and therefore lives apart; its version is the one of `sam`."""

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
    """The expanded template, with the artifact where `sam deploy` would have put it."""
    _install()
    environment = {"AWS_DEFAULT_REGION": "eu-central-1", "PYTHONPATH": str(TRANSLATOR)}
    template = _output([sys.executable, "-c", EXPAND], (ROOT / "template.yaml").read_text(), environment)
    return dict(json.loads(template))


def _install() -> None:
    """At the first call; later ones see in 30 ms, and without a network, that it is there."""
    uv = Path(sys.executable).parent / "uv"
    target = ["--python", sys.executable, "--target", str(TRANSLATOR)]
    locked = ["--constraint", str(ROOT / "benchmarks" / "sam.lock"), "aws-sam-translator"]
    _output([str(uv), "pip", "install", "--quiet", *target, *locked])


def _output(command: list[str], given: str = "", environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
