"""The commands, samples, names and links in the pages work."""

import json
import os
import re
import shlex
import signal
import subprocess
import tomllib
from itertools import pairwise, takewhile
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from shared.group import Group
from shared.inbox.read import read
from shared.model import Message
from shared.own_messages import VERSION
from shared.settings import CloudCredentials, load
from shared.signatures import Keys
from shared.telemetry.metrics import NAMESPACE
from tests.contract import consumer
from tests.contract.documented import (
    EXECUTED,
    PAGES,
    ROOT,
    Block,
    Shell,
    blocks,
    broken_links,
    faults,
    plain_environment,
    script_of,
    spans,
)
from tests.contract.test_reference import deployed
from tests.contract.test_template import RESOURCES, TEMPLATE
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, START
from tools.package import notes
from tools.reference.telemetry import LOG_LINES, METRICS

OPERATIONS = ROOT / "docs/operations.md"
SOURCES = "\n".join(
    path.read_text()
    for folder in ("shared", "functions", "local", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if path.name != "test_commands.py"
)
PATIENCE = 90


def found_in(body: str) -> object:
    return read(Message(body, "m-1", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.name)
def test_a_block_of_commands_works(block: Block, tmp_path: Path) -> None:
    """It runs to its end as written, with every command known, and prints what the page says it prints."""
    shell = Shell(tmp_path)
    done = shell.run(script_of(block), PATIENCE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [(call, wrong) for call in shell.calls if (wrong := faults(call))] == []
    for call in shell.calls:
        check_what_is_sent(call)
    if ["make", "run"] in shell.calls:
        (shown,) = [other.text for other in blocks("") if re.search(r"^ .*DETACHED", other.text, re.MULTILINE)]
        printed = {shape(line) for line in done.stdout.splitlines()}
        # On a busy machine the cloud may finish before the first look.
        sure = [line for line in shown.splitlines() if "still lists" not in line]
        assert [line for line in sure if shape(line) not in printed] == []


def shape(line: str) -> str:
    """A line of output without the numbers and ids in it."""
    return " ".join(re.sub(r"req-[^;]+|\b[0-9a-f]{8}(-[0-9a-f]{4,12}){0,4}\b|\d+(\.\d+)?", "#", line).split())


def check_what_is_sent(call: list[str]) -> None:
    """A message is a request, a secret has the values that are read, and an output is the stack's."""
    given = dict(pairwise(call))
    if body := given.get("--message-body"):
        assert isinstance(found_in(body), list), body
    if "volume-detach/webhook" in call:
        Keys.parse(json.loads(given["--secret-string"]))
    asked = re.findall(r"OutputKey=='(\w*)'", given.get("--query", ""))
    assert set(asked) <= set(TEMPLATE["Outputs"])
    if resource := given.get("--logical-resource-id"):
        assert resource in RESOURCES


@pytest.mark.parametrize(
    "command",
    [
        "aws sqs sent-message",
        "aws sqs send-message --queue-url x",
        "aws sqs send-message --queue-url x --message-body y --delay 5",
        "aws events start-replay --destination {}",
        "aws sqs get-queue-attributes --queue-url x --query Nothing",
        "make everything",
        "make run EVENTS=x.json",
        "openstack volume delete 0",
        "jq .",
    ],
)
def test_faulty_commands_are_found(command: str) -> None:
    """Operations, options, targets, variables and tools that do not exist, and options that are missing."""
    assert faults(command.split())


@pytest.mark.parametrize("script", ["jq .", "make everything", "$EDITOR samconfig.yaml", "echo $NOBODY_SETS_IT"])
def test_a_block_that_does_not_work_is_found(script: str, tmp_path: Path) -> None:
    """A tool that the page does not require, a failing command, a missing file, an unset variable."""
    assert Shell(tmp_path).run(script).returncode != 0


def test_executed_commands_are_documented() -> None:
    """Every executed command is still in a page."""
    lines = {line.partition(" #")[0].strip() for block in blocks("sh") for line in block.text.splitlines()}

    assert {f"make {arguments}" for arguments in EXECUTED} <= lines | {span for page in PAGES for span in spans(page)}


def test_a_deployment_takes_settings_of_ones_own() -> None:
    """sam reads the named file; by default its own; an empty name is an error."""

    def said(*arguments: str) -> str:
        command = ["make", "-n", "deploy", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=plain_environment(), capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    given = ["CONFIG=../own.toml", "PARAMETERS=AllowedProjects=x"]
    sets = "--parameter-overrides 'AllowedProjects=x'"
    assert f"sam deploy --config-file '{ROOT.parent}/own.toml' {sets}" in said(*given)
    assert "--config-file" not in said()
    assert "CONFIG names no file" in said("CONFIG=")


def test_the_webhook_accepts_what_is_sent() -> None:
    """`make serve` in one shell and `make send` in another, as docs/using.md has them, but for the port."""
    (block,) = [block for block in blocks("sh") if block.text.startswith("make serve ")]
    serve, send = (shlex.split(line, comments=True) for line in block.text.splitlines())
    anywhere = {**plain_environment(), "PORT": "0"}
    stack = subprocess.Popen(serve, cwd=ROOT, env=anywhere, stdout=subprocess.PIPE, text=True, start_new_session=True)
    guard = Timer(PATIENCE, os.killpg, (stack.pid, signal.SIGKILL))
    guard.start()
    try:
        assert stack.stdout
        greeting = "".join(takewhile(lambda line: not line.startswith("Verdicts appear"), stack.stdout))
        (url,) = re.findall(r"endpoint and page +(\S+)", greeting)
        there = {**plain_environment(), "URL": url}
        sent = subprocess.run(send, cwd=ROOT, env=there, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (sent.returncode, sent.stdout.split()[0]) == (0, "202")
        assert any("DETACHED · detached_now" in line for line in stack.stdout)
    finally:
        os.killpg(stack.pid, signal.SIGTERM)
        stack.communicate()
        guard.cancel()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_in_a_sentence_is_known(page: Path) -> None:
    """Commands in backticks exist and have their options."""
    said = [span for span in spans(page) if re.match(r"(make|aws|openstack|git) \w", span)]
    calls = [shlex.split(re.sub(r"<\w+>", "0", part)) for span in said for part in span.split(" && ")]

    assert [(call, wrong) for call in calls if (wrong := faults(call))] == []


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.name)
def test_a_sample_is_what_it_seems(block: Block) -> None:
    """A request is taken in, a verdict keeps to its schema, and credentials are enough to log in."""
    sample: dict[str, Any] = json.loads(block.text)
    match sample:
        case {"auth_url": _}:
            load(CloudCredentials, sample)
        case {"data": {"verdict": _}}:
            assert consumer.faults(sample, strict=True) == []
        case _:
            assert isinstance(found_in(block.text), list | Group)


def test_every_block_says_what_it_is() -> None:
    """A block is commands, JSON, or output, a drawing or a query that is not run."""
    commands = re.compile(r"^\s*(make|aws|git|openstack|curl|python3?|pip|sam|export) \w", re.MULTILINE)

    assert [block.name for block in blocks("") if commands.search(block.text)] == []
    fences = {
        fence for page in PAGES for fence in re.findall(r"^```(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert fences == {"sh", "json"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to our own files and sections is valid."""
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_a_page_exist(page: Path) -> None:
    """Paths exist, and settings in capitals are read by the sources or the Makefile."""
    known = SOURCES + (ROOT / "Makefile").read_text()
    named = spans(page)
    paths = [span for span in named if re.fullmatch(r"(shared|functions|local|tests|docs|events|benchmarks)/\S*", span)]
    settings = [span for span in named if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", span)]

    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []
    assert [name for name in settings if not re.search(rf"\b{name}\b", known)] == []


# ----------------------------------------------------------------------------------------- the operator's page

OF_AWS = {
    "AccessDeniedException",
    "DeploymentPreference",
    "Errors",
    "InvalidToken",
    "MessageGroupId",
    "TaskDoesNotExist",
    "TaskTimedOut",
    "Throttles",
    "ThrottlingException",
    "Timeout",
}
"""Words of AWS's that the page uses as AWS does."""


def test_the_operators_names_exist() -> None:
    """Parameters, outputs, resources, metrics and errors are called as they are in the template and the code."""
    classes = set(re.findall(r"^class (\w+)", deployed(), re.MULTILINE))
    known = {*TEMPLATE["Parameters"], *TEMPLATE["Outputs"], *RESOURCES, *METRICS, NAMESPACE, *classes, *OF_AWS}

    assert {span for span in spans(OPERATIONS) if re.fullmatch(r"([A-Z][a-z]+)+", span)} - known == set()


def test_log_messages_in_the_page_are_logged() -> None:
    """What the page tells the operator to look for in a log is a message of the code's."""
    named = {span for span in spans(OPERATIONS) if re.fullmatch(r"[a-z]+( [a-z]+)+", span)}
    looked_for = {span for span in named if not span.startswith(("make ", "openstack "))}

    assert looked_for & set(LOG_LINES)
    assert [text for text in looked_for - set(LOG_LINES) if text not in deployed()] == []


def test_the_query_asks_for_what_is_logged() -> None:
    """Each field of the sample queries is one of the log line's, or one that every line has."""
    queries = [block.text for block in blocks("") if "filter message" in block.text]
    assert queries
    source = (ROOT / "shared/telemetry/logs.py").read_text()
    of_language = {"filter", "sort", "display", "and", "stats", "latest", "min", "as", "by", "asc"}
    for query in queries:
        own = set(re.findall(r"\bas ([a-z]+)", query))
        words = set(re.findall(r"[a-z_]+", re.sub(r"\"[^\"]*\"", "", query))) - of_language - own
        assert {word for word in words if f'"{word}"' not in source} == {"message", "timestamp"}


# ----------------------------------------------------------------------------------------------------- changes


def test_the_changelog_is_of_this_version() -> None:
    """It has a section for the version in pyproject.toml, or an unreleased one, with the format of continuations."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    _, section = notes(version, changes)
    assert f"continuation format: {VERSION}" in section.lower()
