"""The workflow with the guest script: Systems Manager runs it in the server before the detach."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from moto.ssm.models import SimpleSystemManagerBackend

from local.aws_stand_in import REQUESTS
from local.demo import SERVER, VOLUME, WINDOWS_SERVER, WINDOWS_VOLUME
from local.stack import Stack
from shared.inbox.request import RequestData
from tests.contract.consumer import faults
from tests.contract.documented import aws_faults
from tests.guest import SCRIPT, Guest
from tests.state_machines import Workflows, state_machine
from tools.documents import ROOT

GUEST = ROOT / "events/workflows/guest"
DEFINITION = (ROOT / "events/workflows/release_then_detach.asl.json").read_text()
INSTANCE = "mi-0123456789abcdef0"
DOCUMENT = "bms-release-volume-linux"
INSTALLED = "/usr/local/sbin/release-volume.sh"
STATUS = {0: "Success"}
SAID = (
    f'{{"volume_id":"{VOLUME}","mode":"release","result":"released","message":"it may be detached",'
    '"devices":["/dev/vdb"],"found_by":[],"held_by":[],"did":["umount /data"],"warnings":[]}'
)
"""The output of the Linux script for a released volume."""

OTHER = WINDOWS_VOLUME
CUT = 24_000
"""Systems Manager returns at most this many characters of a command's output (GetCommandInvocation)."""


def of(**changes: str) -> str:
    """The same output with other values."""
    return json.dumps(json.loads(SAID) | changes, separators=(",", ":"))


NOT_RELEASED: dict[str, str] = {
    "nothing": "",
    "a line break": "\n",
    "another volume": of(volume_id=OTHER),
    "no volume": of(volume_id=""),
    "another volume after this one": f"{of(mode='check', result='free')}\n{of(volume_id=OTHER)}",
    "this volume after another": f"{of(volume_id=OTHER)}\n{SAID}",
    "a check before it": f"{of(mode='check')}\n{SAID}",
    "another result before it": f"{of(result='held')}\n{SAID}",
    "a check": of(mode="check", result="free"),
    "a disk that is held": of(result="held", message='not "mode":"release","result":"released","message":"x"'),
    "a disk that is released, it says": of(result="held", message=SAID),
    "a result that is like it": of(result="released?"),
    "an answer that was cut": of(message="x" * CUT)[:CUT],
    "an answer that was cut, and says so": of(message="x" * CUT)[:CUT] + "\n---Output truncated---",
    "an answer cut at its first value": SAID[: SAID.index('"mode"')],
    "an answer without its end": SAID[:-1],
    "lines for people": "result   released: nothing holds the disk any more; it may be detached\n",
    "lines before it": f"Welcome\n{SAID}\n",
    "lines after it": f"{SAID}\nSegmentation fault\n",
    "garbage": '}"{[*?\\\0\ufffd' * 20,
    "quotation marks": '"' * 40,
    "JSON of another kind": "[]",
}
"""Outputs of a command that succeeds without a release of this volume."""


def command(name: str, parameters: dict[str, list[str]]) -> list[str]:
    """The lines that an agent runs for a document; parameters must match the document's patterns."""
    document = json.loads((GUEST / name).read_text())
    for parameter, rule in document["parameters"].items():
        (value,) = parameters.get(parameter, [rule.get("default", "")])
        assert re.search(rule["allowedPattern"], value), (parameter, value)
    (step,) = document["mainSteps"]
    fill = {f"{{{{ {parameter} }}}}": values[0] for parameter, values in parameters.items()}
    return [re.sub(r"\{\{ \w+ \}\}", lambda found: fill[found[0]], line) for line in step["inputs"]["runCommand"]]


@pytest.fixture
def server(tmp_path: Path) -> Guest:
    """A guest with the volume of these workflows."""
    guest = Guest(tmp_path / "server")
    guest.disk("vdb", [f"virtio-{VOLUME[:20]}"], parts=1)
    guest.mount("vdb1", "/data")
    return guest


def run_document(lines: list[str], server: Guest, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    """Run a document's lines in the server, with this script as the installed one."""
    return server.executed("/bin/sh", "-c", "\n".join(lines).replace(INSTALLED, str(script)))


@dataclass
class Agent:
    """A fake agent of Systems Manager in the server: it runs the document, or returns this output with status 0."""

    output: str | None = None

    def run(self, lines: list[str], server: Guest) -> tuple[int, str]:
        if self.output is not None:
            return 0, self.output
        done = run_document(lines, server)
        return done.returncode, done.stdout


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def workflows(stack: Stack, server: Guest, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflows]:
    """The state machine, with a fake agent of Systems Manager in the server, which moto lacks."""
    busy = iter(["InProgress"])

    def invocation(ssm: SimpleSystemManagerBackend, id: str, instance: str, plugin: str | None) -> dict[str, Any]:
        if status := next(busy, None):
            return {"CommandId": id, "Status": status, "ResponseCode": -1, "StandardOutputContent": ""}
        (sent,) = [one for one in ssm._commands if one.command_id == id]
        assert ([instance], DOCUMENT) == (sent.instance_ids, sent.document_name)
        code, output = agent.run(command("ssm_release_linux.json", sent.parameters), server)
        return {
            "CommandId": id,
            "Status": STATUS.get(code, "Failed"),
            "ResponseCode": code,
            "StandardOutputContent": output,
        }

    monkeypatch.setattr(SimpleSystemManagerBackend, "get_command_invocation", invocation)
    with state_machine(stack, DEFINITION.replace('"Seconds": 5', '"Seconds": 1'), monkeypatch) as machine:
        yield machine


def run(workflows: Workflows, server_id: str = SERVER, volume_id: str = VOLUME, name: str = "chg-1") -> dict[str, Any]:
    return workflows.run(
        name, document_name=DOCUMENT, instance_id=INSTANCE, server_id=server_id, volume_id=volume_id, wwn=""
    )


def test_the_disk_is_released_and_then_detached(workflows: Workflows, server: Guest) -> None:
    """The workflow waits for the command, the disk is unmounted in the server, and the output is the verdict."""
    ended = run(workflows)
    assert "SUCCEEDED" == ended["status"], ended
    output = json.loads(ended["output"])
    assert ["umount /data", "blockdev --flushbufs /dev/vdb"] == server.changes
    assert ("Success", 0) == (output["server"]["status"], output["server"]["exit_status"])
    assert [] == faults(output["verdict"])
    assert "detached_now" == output["verdict"]["data"]["detail"]
    assert workflows.stack.cloud
    assert workflows.stack.cloud.world.is_attached(SERVER, VOLUME) is None
    assert [] == workflows.received("operations")


def test_no_request_is_sent_for_a_disk_in_use(workflows: Workflows, server: Guest) -> None:
    """The users of the disk are reported to people; no request is sent, and the disk stays attached."""
    server.process(88, "database", opens="/dev/vdb")
    ended = run(workflows)
    assert ("FAILED", "NotDetached") == (ended["status"], ended["error"])
    (message,) = workflows.received("operations")
    assert ("Failed", 1) == (message["server"]["status"], message["server"]["exit_status"])
    (process, mount) = sorted(json.loads(message["server"]["output"])["held_by"], key=lambda one: str(one["kind"]))[
        ::-1
    ]
    assert ("process", "mount") == (process["kind"], mount["kind"])
    assert 0 == workflows.stack.aws.waiting(REQUESTS)
    assert workflows.stack.cloud
    assert workflows.stack.cloud.world.is_attached(SERVER, VOLUME)


def test_no_request_without_the_scripts_statement(workflows: Workflows, agent: Agent) -> None:
    """If the command succeeds without the statement, no request is sent, and operations get the output."""
    assert workflows.stack.cloud
    for number, (what, agent.output) in enumerate(NOT_RELEASED.items()):
        ended = run(workflows, name=f"chg-{number}")
        assert ("FAILED", "NotDetached") == (ended["status"], ended["error"]), what
        (message,) = workflows.received("operations")
        assert "did not say that this volume is released" in message["task"], what
        assert message["server"] == {"status": "Success", "exit_status": 0, "output": agent.output}
        assert (SERVER, VOLUME) == (message["server_id"], message["volume_id"])
        assert 0 == workflows.stack.aws.waiting(REQUESTS), what
    assert workflows.stack.cloud.world.is_attached(SERVER, VOLUME)


@pytest.mark.parametrize("status", ["Failed", "TimedOut"])
def test_no_request_after_a_failed_command(
    workflows: Workflows, agent: Agent, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement alone is not enough: the command must succeed, too."""
    agent.output = SAID
    monkeypatch.setitem(STATUS, 0, status)
    assert "FAILED" == run(workflows)["status"]
    (message,) = workflows.received("operations")
    assert (status, SAID) == (message["server"]["status"], message["server"]["output"])
    assert 0 == workflows.stack.aws.waiting(REQUESTS)


WINDOWS_SAID = (
    f'{{"volume_id":"{VOLUME}","mode":"release","result":"released","message":"the disk is offline; it may be detached"'
    ',"devices":["disk 1"],"held_by":[],"did":["Set-Disk -Number 1 -IsOffline $true"]}'
)


@pytest.mark.parametrize("output", [SAID, f"{WINDOWS_SAID}\r\n"])
def test_the_statements_of_both_scripts_are_accepted(workflows: Workflows, agent: Agent, output: str) -> None:
    """With the line ends of each system."""
    agent.output = output
    ended = run(workflows)
    assert "SUCCEEDED" == ended["status"], ended
    assert {"volume_id": VOLUME, "mode": "release", "result": "released"} == json.loads(ended["output"])["said"]


def test_a_release_attests_for_windows(workflows: Workflows, server: Guest) -> None:
    """A disk of a running Windows server is detached only with the workflow's attestation."""
    server.disk("vdc", [f"virtio-{WINDOWS_VOLUME[:20]}"])
    ended = run(workflows, WINDOWS_SERVER, WINDOWS_VOLUME)
    assert "SUCCEEDED" == ended["status"], ended
    assert "detached_now" == json.loads(ended["output"])["verdict"]["data"]["detail"]


def test_a_failed_detach_after_the_release_is_reported(workflows: Workflows, server: Guest) -> None:
    """Operations get a message, because the disk is released but still attached."""
    elsewhere = "00000000-0000-4000-8000-000000000000"
    server.disk("vdc", [f"virtio-{elsewhere[:20]}"])
    assert "FAILED" == run(workflows, SERVER, elsewhere)["status"]
    (message,) = workflows.received("operations")
    assert ("look into it", "volume_not_found") == (message["task"], message["reason"])


# ------------------------------------------------------------------------------------------- other runners

LINUX = command("ssm_release_linux.json", {"VolumeId": [VOLUME], "Wwn": [""]})
WINDOWS = command("ssm_release_windows.json", {"VolumeId": [VOLUME], "Wwn": ["6888"]})


def test_the_linux_document_passes_on_output_and_status(server: Guest) -> None:
    """The document adds nothing to the script's output and exit status."""
    done = run_document(LINUX, server)
    assert (0, "") == (done.returncode, done.stderr)
    assert ("released", VOLUME) == (json.loads(done.stdout)["result"], json.loads(done.stdout)["volume_id"])
    server.process(88, "database", opens="/dev/vdb")
    done = run_document(LINUX, server)
    assert (1, "held") == (done.returncode, json.loads(done.stdout)["result"])


def test_the_linux_document_fails_without_the_script(server: Guest) -> None:
    """If the script is missing or not executable."""
    for script in (server.root / "missing", server.root / "dev"):
        done = run_document(LINUX, server, script / "release-volume.sh")
        assert (3, "") == (done.returncode, done.stdout)
        assert "release-volume.sh is missing, or not executable" in done.stderr
    (server.root / "release-volume.sh").write_text("echo no\n")
    done = run_document(LINUX, server, server.root / "release-volume.sh")
    assert (3, "") == (done.returncode, done.stdout)


@pytest.mark.parametrize("output", [one for one in NOT_RELEASED.values() if "\0" not in one])
def test_the_linux_document_fails_without_the_statement(server: Guest, output: str) -> None:
    """Also if the script, or another one in its place, exits with status 0."""
    script = server.root / "release-volume.sh"
    (server.root / "said").write_text(output)
    script.write_text('#!/bin/sh\ncat "$ROOT/said"\n')
    script.chmod(0o755)
    done = run_document(LINUX, server, script)
    assert (3, output.strip("\n")) == (done.returncode, done.stdout.strip("\n"))
    assert "did not say that it released this volume" in done.stderr


PWSH = shutil.which("pwsh")
with_pwsh = pytest.mark.skipif(not PWSH, reason="this machine has no PowerShell 7 (pwsh)")


def pwsh(tmp_path: Path, lines: str) -> subprocess.CompletedProcess[str]:
    """Run lines of PowerShell as a file, with the test's directory as Program Files."""
    (tmp_path / "run.ps1").write_text(lines)
    return subprocess.run(
        [str(PWSH), "-NoProfile", "-NonInteractive", "-File", str(tmp_path / "run.ps1")],
        env={**os.environ, "ProgramFiles": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


PARSE = """
$path = Join-Path $env:ProgramFiles 'it.ps1'
$tokens = $errors = $null
$null = [System.Management.Automation.Language.Parser]::ParseFile($path, [ref]$tokens, [ref]$errors)
$errors | ForEach-Object { "$_" }
exit @($errors).Count
"""


@with_pwsh
@pytest.mark.parametrize(
    "text", [(GUEST / "Release-Volume.ps1").read_text(), "\n".join(WINDOWS)], ids=["script", "ssm"]
)
def test_powershell_can_parse_it(tmp_path: Path, text: str) -> None:
    """PowerShell's own parser accepts it, and rejects it with an error added."""
    (tmp_path / "it.ps1").write_text(text)
    done = pwsh(tmp_path, PARSE)
    assert (0, "") == (done.returncode, done.stdout)
    (tmp_path / "it.ps1").write_text(text + "\nif (")
    assert pwsh(tmp_path, PARSE).returncode > 0


@with_pwsh
@pytest.mark.parametrize(
    ("script", "status"),
    [
        (None, 3), ("", 3), ("exit 0", 3), ("throw 'no'", 3), ("'garbage'; exit 0", 3), (f"'{SAID}'", 3),
        (f"'{of(volume_id=OTHER)}'; exit 0", 3), (f"'{of(result='free')}'; exit 0", 3), (f"'{SAID}'; exit 1", 1),
        (f"'{SAID}'; exit 0", 0),
    ],
)  # fmt: skip
def test_the_windows_document_fails_without_the_statement(tmp_path: Path, script: str | None, status: int) -> None:
    """Also if the script is missing."""
    if script is not None:
        (tmp_path / "bms-volume-detach").mkdir()
        (tmp_path / "bms-volume-detach/Release-Volume.ps1").write_text(
            f"param([string]$VolumeId, [string]$Wwn, [switch]$Release, [switch]$Json)\n{script}\n"
        )
    assert status == pwsh(tmp_path, "\n".join(WINDOWS)).returncode


@pytest.mark.parametrize("name", ["ssm_release_linux.json", "ssm_release_windows.json"])
@pytest.mark.parametrize("value", ["", "x", f"{VOLUME}'; reboot; '", f"{VOLUME}\nreboot"])
def test_a_document_accepts_only_an_id(name: str, value: str) -> None:
    """Other values than UUIDs are refused, so that they do not reach a shell."""
    with pytest.raises(AssertionError):
        command(name, {"VolumeId": [value], "Wwn": [""]})


def test_the_windows_document_uses_the_scripts_parameters() -> None:
    """The Windows document calls the script with its parameters."""
    assert "'bms-volume-detach\\Release-Volume.ps1'" in "\n".join(WINDOWS)
    (call,) = [line for line in WINDOWS if "& $script" in line]
    script = (GUEST / "Release-Volume.ps1").read_text()
    known = set(
        re.findall(r"\[(?:string|switch)\]\$(\w+)", script[script.index("\nparam(") : script.index("\nSet-Strict")])
    )
    assert set(re.findall(r" -(\w+)", call.partition("& $script")[2].partition(")")[0])) == known


def test_the_windows_document_exits_0_only_after_the_statement() -> None:
    """A check of its text, for machines without PowerShell: any error is status 3; `exit 0` stands once, last."""
    text = "\n".join(WINDOWS)
    assert "$ErrorActionPreference = 'Stop'" == WINDOWS[0]
    assert ['catch { Stop-With 3 "$_" }', "exit 0"] == WINDOWS[-2:]
    steps = [
        "try {", "Test-Path -LiteralPath $script", "$global:LASTEXITCODE = $null", "& $script",
        "if ($null -eq $status)", "if ($status -ne 0)", "ConvertFrom-Json",
        "-ceq 'released'", f"-cne '{VOLUME}'", "catch {", "exit 0",
    ]  # fmt: skip
    places = [text.index(step) for step in steps]
    assert sorted(places) == places
    assert ["$Status", "$status", "0"] == re.findall(r"(?:^|[;{] )exit (\S+)", text, re.MULTILINE)


def test_the_playbook_sends_a_valid_request() -> None:
    """Its first task calls the script with quoted arguments, and its second sends a request with the attestation."""
    (play,) = yaml.safe_load((GUEST / "release_volume.yml").read_text())
    release, ask = play["tasks"]
    templates = jinja2.Environment(autoescape=False)
    templates.filters |= {"quote": shlex.quote, "to_json": json.dumps}
    given = {"server_id": SERVER, "volume_id": VOLUME, "request_queue_url": "https://sqs/q"}
    words = shlex.split(templates.from_string(release["ansible.builtin.script"]["cmd"]).render(given))
    assert (GUEST / words[0]) == SCRIPT
    assert ["--volume-id", VOLUME, "--wwn", "", "--release", "--json"] == words[1:]
    assert not {"ignore_errors", "ignore_unreachable"} & {*release, *play}
    request = json.loads(templates.from_string(json.dumps(ask["vars"]["request"])).render(given))
    assert RequestData.model_validate(request).unmounted
    assert "{{ request | to_json }}" == ask["ansible.builtin.command"]["argv"][-1]


def playbook_fails(status: int, output: str) -> bool:
    """Whether the playbook's first task fails, by its condition or by an error in the condition."""
    (play,) = yaml.safe_load((GUEST / "release_volume.yml").read_text())
    release = play["tasks"][0]
    templates = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined)
    templates.filters["from_json"] = json.loads
    result = {"rc": status, "stdout": output}
    said = re.fullmatch(r"\{\{ (.+) \}\}", release["vars"]["said"])
    assert said
    try:
        answer = templates.compile_expression(said[1])(released=result)
        condition = templates.compile_expression(release["failed_when"], undefined_to_none=False)
        return bool(condition(released=result, said=answer, volume_id=VOLUME.upper()))
    except (jinja2.UndefinedError, ValueError):
        return True


@pytest.mark.parametrize("output", NOT_RELEASED.values(), ids=NOT_RELEASED.keys())
def test_the_playbook_fails_without_the_statement(output: str) -> None:
    """So its second task requests the detach only after a release of this volume."""
    assert playbook_fails(0, output)
    assert playbook_fails(1, SAID)
    assert not playbook_fails(0, SAID)


def test_the_script_may_be_read_from_standard_input(server: Guest) -> None:
    """Tools that copy no file can run `sh -s --` with the arguments."""
    done = subprocess.run(
        ["/bin/sh", "-s", "--", "--volume-id", VOLUME, "--json"],
        input=SCRIPT.read_text(), env={"PATH": server.path, "ROOT": str(server.root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (1, "held") == (done.returncode, json.loads(done.stdout)["result"])


@pytest.mark.parametrize("name", ["ssm_release_linux.json", "ssm_release_windows.json"])
def test_the_document_says_how_to_create_it(name: str) -> None:
    """The description has a valid AWS command for this file."""
    description = json.loads((GUEST / name).read_text())["description"]
    tool, *arguments = shlex.split(description.partition("Create it with: ")[2])

    assert (tool, aws_faults(arguments), arguments[-1]) == ("aws", [], f"file://events/workflows/guest/{name}")
