"""`make deploy-rehearsal`: rehearse a deployment with `sam`, up to its change set, in a simulated AWS account.

`sam` builds, packages, uploads and creates a change set as with a real account, but talks to moto. moto's
CloudFormation supports neither SAM templates nor conditions, so AWS's own transform runs in front of it. Nothing
leaves this machine.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import boto3

from tools.exit_status import Exit
from tools.validation.resolve import resolved
from tools.validation.switches import defaults_of
from tools.validation.template import PLACES, ROOT, Json, read
from tools.validation.translator import NotTransformed, transformed

SAM = ROOT / ".venv" / "sam" / "bin" / "sam"
HOME = PLACES[0]
REGION = HOME.region
STACK = "rehearsal"
BUCKET = "rehearsal-artifacts"
"""Replaces the bucket that sam creates with a stack: moto has no outputs for a stack made by a change set."""

PATIENCE = 900
"""Seconds for one command of sam."""

Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


@dataclass
class Account:
    """A simulated AWS account; `expanded` is the template of the last change set after the transform."""

    url: str = ""
    expanded: Json = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        login = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
        return {"AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": self.url, **login}

    def client(self, service: str) -> Any:
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="local", aws_secret_access_key="local"
        )


class Refused(Exception):
    """`sam` failed; the text is its output."""


@contextmanager
def account() -> Iterator[Account]:
    """Run a simulated account for the length of the block, on a free loopback port."""
    # Imported here because moto is slow to import.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            """Log nothing."""

    made = Account()
    app = _transforming(made, DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    made.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    try:
        yield made
    finally:
        server.shutdown()
        serving.join(10)
        server.server_close()


def _transforming(made: Account, app: App) -> App:
    """Middleware in front of moto that replaces a change set's template by its expansion for the parameters."""

    def serve(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", ""):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
            form = dict(parse_qsl(body, keep_blank_values=True))
            if form.get("Action") == "CreateChangeSet":
                form["TemplateBody"] = json.dumps(_created(made, form))
                form.pop("TemplateURL", None)
                body = urlencode(form)
            environ |= {"wsgi.input": BytesIO(body.encode()), "CONTENT_LENGTH": str(len(body.encode()))}
        return app(environ, start)

    return serve


def _created(made: Account, form: dict[str, str]) -> Json:
    """The resources that CloudFormation would create. Raises NotTransformed for a template that SAM refuses."""
    text = form.get("TemplateBody") or _uploaded(made, form["TemplateURL"])
    keys = [name for name in form if name.startswith("Parameters.member.") and name.endswith(".ParameterKey")]
    values = {form[key]: form.get(key.replace("ParameterKey", "ParameterValue"), "") for key in keys}
    (found,) = transformed(read(text), [(REGION, values)])
    if isinstance(found, NotTransformed):
        raise found
    made.expanded = found
    return resolved(found, defaults_of(found) | values, HOME)


def _uploaded(made: Account, url: str) -> str:
    bucket, _, key = urlsplit(url).path.lstrip("/").partition("/")
    return str(made.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode())


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The result, from the account: objects in S3 with their sizes, and the changes (action, type, name)."""

    built: tuple[str, ...]
    uploads: tuple[tuple[str, int], ...]
    changes: tuple[tuple[str, str, str], ...]
    expanded: Json


def rehearse(
    made: Account,
    directory: Path,
    config: Path = ROOT / "samconfig.toml",
    parameters: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Rehearsed:
    """Build, package, upload, and create a change set without executing it. Raises Refused."""
    built = directory / "built"
    say("sam build ...")
    _sam(made, directory, "build", "--build-dir", str(built), "--cache-dir", str(directory / "cache"))
    functions = tuple(sorted(path.name for path in built.iterdir() if path.is_dir()))
    say(f"  built {len(functions)} functions: {', '.join(functions)}")
    made.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    say("parameters and revision ...")
    release(made, directory, config, parameters)
    say("sam deploy, up to the change set ...")
    deploy(made, built, config, parameters, directory)
    return Rehearsed(functions, tuple(_uploads(made)), tuple(_changes(made)), made.expanded)


def release(made: Account, directory: Path, config: Path, parameters: Sequence[str]) -> None:
    """Check the parameters and set the revision, as `make deploy` does. Raises Refused."""
    asked = ["--config", str(config), "--template", str(directory / "built" / "template.yaml"), "--", *parameters]
    _run([sys.executable, "-m", "tools.release", *asked], made, directory)


def deploy(made: Account, built: Path, config: Path, parameters: Sequence[str], home: Path) -> None:
    """Deploy up to the change set. Raises Refused."""
    overrides = ["--parameter-overrides", *parameters] if parameters else []
    _sam(made, home, "deploy", "--template-file", str(built / "template.yaml"), "--config-file", str(config),
         "--stack-name", STACK, "--region", REGION, "--no-execute-changeset", "--no-confirm-changeset",
         "--no-progressbar", "--no-resolve-s3", "--s3-bucket", BUCKET, *overrides)  # fmt: skip


def _sam(made: Account, home: Path, *arguments: str) -> None:
    _run([str(SAM), *arguments], made, home)


KEPT = ("PATH", "BYTECODE", "LAMBDA_PYTHON", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR")
PYTHONS = {"PYENV_ROOT": ".pyenv", "UV_PYTHON_INSTALL_DIR": ".local/share/uv/python"}
"""Where the build looks for Lambda's Python below the user's home; sam runs with another home."""


def _run(command: Sequence[str], made: Account, home: Path) -> None:
    """Run a command in the account's environment. Raises Refused."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    at_home = {name: str(Path.home() / place) for name, place in PYTHONS.items()}
    kept = at_home | kept
    environment = {**kept, **made.environment, "SAM_CLI_TELEMETRY": "0", "HOME": str(home)}
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode != 0:
        named = shlex.join([Path(command[0]).name, *command[1:3]])
        raise Refused(f"{named} ended with {done.returncode}:\n{(done.stderr or done.stdout).strip()}")


def _uploads(made: Account) -> Iterator[tuple[str, int]]:
    client = made.client("s3")
    for bucket in client.list_buckets()["Buckets"]:
        for found in client.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
            yield f"{bucket['Name']}/{found['Key']}", int(found["Size"])


def _changes(made: Account) -> Iterator[tuple[str, str, str]]:
    client = made.client("cloudformation")
    (summary,) = [one for one in client.list_change_sets(StackName=STACK)["Summaries"] if one["StackName"] == STACK]
    asked = {"ChangeSetName": summary["ChangeSetId"], "StackName": STACK}
    for change in client.describe_change_set(**asked)["Changes"]:
        one = change["ResourceChange"]
        yield one["Action"], one["ResourceType"], one["LogicalResourceId"]


def main(arguments: Sequence[str] | None = None) -> Exit:
    parser = argparse.ArgumentParser(prog="make deploy-rehearsal", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "samconfig.toml", help="settings of sam")
    parser.add_argument(
        "--parameters", default="", help='template parameters, such as "SinkUrl=https://... SinkMode=binary"'
    )
    options = parser.parse_args(arguments)
    if not SAM.exists():
        print("sam is not installed here: run `make deploy-rehearsal`, which installs it", file=sys.stderr)
        return Exit.USAGE
    say = partial(print, flush=True)
    with tempfile.TemporaryDirectory() as directory, account() as made:
        try:
            given = [options.parameters] if options.parameters else []
            done = rehearse(made, Path(directory), options.config.resolve(), given, say)
        except Refused as refused:
            print(f"A deployment would fail: {refused}", file=sys.stderr)
            return Exit.FAILED
    for name, size in done.uploads:
        say(f"  uploaded {name} ({size:,} bytes)")
    say(f"  transformed to {len(done.expanded['Resources'])} resources")
    for action, type_, name in done.changes:
        say(f"  {action} {type_} {name}")
    say(f"The change set of stack {STACK} has {len(done.changes)} changes. It was not executed.")
    return Exit.DETACHED


if __name__ == "__main__":
    raise SystemExit(main())
