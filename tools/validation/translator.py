"""Runs AWS's own transform of SAM templates in a separate environment, because it pins an older pydantic."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tools.validation.template import ROOT, Json, Values

TRANSLATOR = Path(sys.prefix) / "translator"
"""Where the transform is installed, in the version of `sam`."""

PATIENCE = 600
"""Seconds for all templates together."""

TRANSFORM = """
import json, os, sys
from copy import deepcopy
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.arn_generator import ArnGenerator
from samtranslator.translator.transform import transform

class Policies:
    def load(self):
        names = ("service-role/AWSLambdaBasicExecutionRole", "service-role/AWSLambdaSQSQueueExecutionRole",
                 "service-role/AWSLambdaVPCAccessExecutionRole", "AWSXrayWriteOnlyAccess", "AWSXRayDaemonWriteAccess",
                 "service-role/AWSCodeDeployRoleForLambda")
        partition = ArnGenerator.get_partition_name()
        return {name.split("/")[-1]: f"arn:{partition}:iam::aws:policy/{name}" for name in names}

def transformed(region, values):
    os.environ["AWS_DEFAULT_REGION"] = ArnGenerator.BOTO_SESSION_REGION_NAME = region
    try:
        return transform(deepcopy(template), dict(values), Policies())
    except InvalidDocumentException as error:
        return {"": "; ".join(cause.message for cause in error.causes) or error.message}

template, jobs = json.load(sys.stdin)
json.dump([transformed(*job) for job in jobs], sys.stdout)
"""

ARTIFACT = {"Bucket": "artifacts", "Key": "bms-volume-detach.zip"}
"""The location of the code after `sam deploy`."""


class NotTransformed(ValueError):
    """The transform's message about a template that it refuses."""


def packaged(template: Json) -> Json:
    """The template with the location of the code, as after `sam deploy`."""
    defaults = template.get("Globals", {})
    function = {**defaults.get("Function", {}), "CodeUri": ARTIFACT}
    return {**template, "Globals": {**defaults, "Function": function}}


def transformed(template: Json, jobs: Iterable[tuple[str, Values]]) -> list[Json | NotTransformed]:
    """The transformed template for each region and its parameters. Raises RuntimeError, OSError."""
    install()
    environment = {"PYTHONPATH": str(TRANSLATOR), "AWS_DEFAULT_REGION": "eu-central-1"}
    given = json.dumps([template, list(jobs)])
    found = json.loads(_output([sys.executable, "-c", TRANSFORM], given, environment))
    return [NotTransformed(one[""]) if "" in one else one for one in found]


def install() -> None:
    """Install the transform. If it is installed already, this takes 30 ms and no network."""
    uv = Path(sys.executable).parent / "uv"
    target = ["--python", sys.executable, "--target", str(TRANSLATOR)]
    locked = ["--constraint", str(ROOT / "benchmarks" / "sam.lock"), "aws-sam-translator"]
    _output([str(uv), "pip", "install", "--quiet", *target, *locked], "", dict(os.environ))


def _output(command: list[str], given: str, environment: dict[str, str]) -> str:
    done = subprocess.run(  # noqa: S603
        command, input=given, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout
