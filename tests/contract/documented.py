"""Extracts commands, samples, names and links from the pages, so that tests can check them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session  # type: ignore[import-untyped]
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name
from botocore.validate import ParamValidator  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
)
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(" ".join(re.findall(r"^([\w .-]+):(?!=)", MAKEFILE, re.MULTILINE)).split())
VARIABLES = set(re.findall(r"\$\((?:\w+ |call (?:on|typed|said|given),)?([A-Z_]+)\b", MAKEFILE))

EXECUTED = {
    "help",
    "run",
    "run EVENT=events/detach_bare.json",
    "run SCENARIO=list",
    "run SCENARIO=windows-running",
    "servers",
}
"""What make really does in the tests; of all else it only says what it would do (`make -n`)."""

OPENSTACK = {"server show", "server stop", "server unlock", "server volume list", "volume show", "volume unset"}
"""Commands of OpenStack's own client, which nothing here installs: known by its documents."""

UNKNOWN = "00000000-0000-4000-8000-000000000000"
"""The answer of AWS here to any call."""

NOT_RUN = {
    "git": "would change the tree that the tests are in",
    "openstack": "asks a cloud",
    "sleep": "takes the minutes that a reader has to wait",
}
"""Recorded and answered, not run."""

TOOLS = ("cp", "date", "openssl")
"""Commands of the reader's machine, run unchanged."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


@cache
def blocks(language: str) -> tuple[Block, ...]:
    """The fenced blocks of that language, page by page."""
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, fence.start()) + 1
            found.append(Block(page, line, fence[1], fence[2]))
    return tuple(block for block in found if block.language == language)


def prose(page: Path, section: str = "") -> str:
    """A page without its fenced blocks, from the section of that name on."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return text[text.index(f"\n## {section}") :] if section else text


def spans(page: Path, section: str = "") -> list[str]:
    """The code spans of the prose, one line each."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page, section))]


def script_of(block: Block) -> str:
    """A block with the functions that earlier blocks of the page define."""
    earlier = [other.text for other in blocks("sh") if other.page == block.page and other.line < block.line]
    return "\n".join([*(text for text in earlier if re.search(r"^\w+\(\) \{", text, re.MULTILINE)), block.text])


# ------------------------------------------------------------------------------------------ a reader's shell


@dataclass
class Shell:
    """A shell on a machine with only the tools that the pages require; `calls` are the recorded calls."""

    home: Path
    calls: list[list[str]] = field(default_factory=list)

    def run(self, script: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a script; an unknown or failing command ends it."""
        tools, record = self.home / "bin", self.home / "calls"
        tools.mkdir()
        record.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (tools / tool).symlink_to(found)
        for name in NOT_RUN:
            self._stand_in(name, "")
        # A sum counts messages, of which there are none; any other query returns a name.
        self._stand_in("aws", f'case "$*" in *sum\\(*) echo 0;; *) echo {UNKNOWN};; esac')
        really = "|".join(shlex.quote(arguments) for arguments in sorted(EXECUTED))
        make = f"PATH={shlex.quote(os.environ['PATH'])} exec make --no-print-directory"
        self._stand_in("make", f'case "$*" in {really}) {make} "$@";; *) {make} -n "$@";; esac')
        done = subprocess.run(
            [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env={**plain_environment(), "HOME": str(self.home), "PATH": str(tools), "EDITOR": "test -f", **READERS_OWN},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        for path in sorted(record.iterdir()):
            self.calls.append(path.read_text().split("\0")[:-1])
        return done

    def _stand_in(self, name: str, does: str) -> None:
        path = self.home / "bin" / name
        path.write_text(f"#!/bin/sh\nprintf '%s\\0' {name} \"$@\" > '{self.home}/calls/'$$\n{does}\n")
        path.chmod(0o755)


READERS_OWN = {
    "SERVER": "95bf2490-5428-432c-ad9b-5e3406f869dd",
    "VOLUME": "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6",
    "BUS": "bus",
    "QUEUE_ARN": "arn:aws:sqs:eu-central-1:123456789012:queue",
    "RULE_ARN": "arn:aws:events:eu-central-1:123456789012:rule/bus/rule",
    "TAG": "v0.1.0",
    "PROJECT": "c685484a8cc2416b97260938705deb65",
}
"""Variables that the reader has to set."""


def plain_environment() -> dict[str, str]:
    """The environment without the caller's settings and the variables of make."""
    known = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    return {**known, "PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"}


# ---------------------------------------------------------------------------------------------- what is wrong


def faults(call: Sequence[str]) -> list[str]:
    """The faults of a command that can be found without running it."""
    tool, *arguments = call
    match tool:
        case "make":
            return make_faults(arguments)
        case "aws":
            return aws_faults(arguments)
        case "openstack":
            return [] if any(" ".join(arguments).startswith(known) for known in OPENSTACK) else ["no such command"]
    return [] if tool in NOT_RUN else [f"{tool} is not known here"]


def make_faults(arguments: Sequence[str]) -> list[str]:
    """Targets that the Makefile does not have, and variables that it does not read."""
    named = {argument.partition("=")[0]: "=" in argument for argument in arguments}
    return [name for name, variable in named.items() if name not in (VARIABLES if variable else TARGETS)]


CALLED = {"s3api": "s3"}
"""Names of services in the command line that differ from the service's name."""

GLOBAL_OPTIONS = {"query", "output", "region", "profile", "cli-read-timeout"}


@cache
def aws_service(name: str) -> Any:
    return botocore.session.get_session().get_service_model(CALLED.get(name, name))


def aws_faults(arguments: Sequence[str]) -> list[str]:
    """The faults of a call of AWS's command line, by botocore's models."""
    service, operation, *rest = arguments
    names = {xform_name(name, "-"): name for name in aws_service(service).operation_names}
    if operation not in names:
        return [f"{service} has no {operation}"]
    model = aws_service(service).operation_model(names[operation])
    members = {xform_name(name, "-"): (name, shape) for name, shape in model.input_shape.members.items()}
    given: dict[str, Any] = {}
    wrong: list[str] = []
    for option, values in options(rest):
        if option in members:
            name, shape = members[option]
            given[name] = value_of(shape, values)
        elif option.removeprefix("no-") in members and not values:
            given[members[option.removeprefix("no-")][0]] = False
        elif option == "query":
            jmespath.compile(*values)
            wrong += [] if any(name in values[0] for name in model.output_shape.members) else [f"--query {values[0]}"]
        elif option not in GLOBAL_OPTIONS:
            wrong.append(f"{service} {operation} has no --{option}")
    report = ParamValidator().validate(given, model.input_shape)
    return wrong + ([report.generate_report()] if report.has_errors() else [])


def options(arguments: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option with the values that follow it."""
    at = [index for index, argument in enumerate(arguments) if argument.startswith("--")]
    for start, end in zip(at, [*at[1:], len(arguments)], strict=True):
        yield arguments[start].removeprefix("--"), list(arguments[start + 1 : end])


def value_of(shape: Any, values: list[str]) -> Any:
    """The value of an option as the command line parses it: by its shape, JSON for structures."""
    match shape.type_name:
        case "boolean":
            return True
        case "integer" | "long":
            return int(*values)
        case "list" if not values[0].startswith("["):
            return [value_of(shape.member, [value]) for value in values]
        case "list" | "structure" | "map":
            return json.loads(contents(*values))
    return contents(*values)


def contents(value: str) -> str:
    """A value, or the contents of the file that it names; cloud.json is the reader's."""
    path = value.removeprefix("file://")
    return value if path == value else "{}" if path == "cloud.json" else (ROOT / path).read_text()


# ------------------------------------------------------------------------------------------------------ links


def anchors(page: Path) -> set[str]:
    """The anchor of a heading."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Links of a page to missing files, pictures or sections. Links to other sites are not followed."""
    broken = []
    text = prose(page)
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"\b(?:src|srcset)=\"([^\"]+)\"", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" not in link and not (target.exists() and (not anchor or anchor in anchors(target))):
            broken.append(link)
    return broken
