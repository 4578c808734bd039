"""The workflow with the guest script: Systems Manager runs it in the server before the detach."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
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


@pytest.fixture
def workflows(stack: Stack, server: Guest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflows]:
    """The state machine, with a fake agent of Systems Manager in the server, which moto lacks."""
    busy = iter(["InProgress"])

    def invocation(ssm: SimpleSystemManagerBackend, id: str, instance: str, plugin: str | None) -> dict[str, Any]:
        if status := next(busy, None):
            return {"CommandId": id, "Status": status, "ResponseCode": -1, "StandardOutputContent": ""}
        (sent,) = [one for one in ssm._commands if one.command_id == id]
        assert ([instance], DOCUMENT) == (sent.instance_ids, sent.document_name)
        (line,) = command("ssm_release_linux.json", sent.parameters)
        tool, *arguments = shlex.split(line)
        assert tool == INSTALLED
        done = server.run(*arguments)
        return {
            "CommandId": id,
            "Status": STATUS.get(done.returncode, "Failed"),
            "ResponseCode": done.returncode,
            "StandardOutputContent": done.stdout,
        }

    monkeypatch.setattr(SimpleSystemManagerBackend, "get_command_invocation", invocation)
    with state_machine(stack, DEFINITION.replace('"Seconds": 5', '"Seconds": 1'), monkeypatch) as machine:
        yield machine


def run(workflows: Workflows, server_id: str = SERVER, volume_id: str = VOLUME) -> dict[str, Any]:
    return workflows.run(document_name=DOCUMENT, instance_id=INSTANCE, server_id=server_id, volume_id=volume_id, wwn="")


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


@pytest.mark.parametrize("name", ["ssm_release_linux.json", "ssm_release_windows.json"])
@pytest.mark.parametrize("value", ["", "x", f"{VOLUME}'; reboot; '", f"{VOLUME}\nreboot"])
def test_a_document_accepts_only_an_id(name: str, value: str) -> None:
    """Other values than UUIDs are refused, so that they do not reach a shell."""
    with pytest.raises(AssertionError):
        command(name, {"VolumeId": [value], "Wwn": [""]})


def test_the_windows_document_uses_the_scripts_parameters() -> None:
    """The Windows document calls the script with its parameters, and passes on its status."""
    call, last = command("ssm_release_windows.json", {"VolumeId": [VOLUME], "Wwn": ["6888"]})
    script = (GUEST / "Release-Volume.ps1").read_text()
    known = set(
        re.findall(r"\[(?:string|switch)\]\$(\w+)", script[script.index("\nparam(") : script.index("\nSet-Strict")])
    )
    assert set(re.findall(r" -(\w+)", call.partition("Release-Volume.ps1")[2])) == known
    assert "exit $LASTEXITCODE" == last


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
    request = json.loads(templates.from_string(json.dumps(ask["vars"]["request"])).render(given))
    assert RequestData.model_validate(request).unmounted
    assert "{{ request | to_json }}" == ask["ansible.builtin.command"]["argv"][-1]


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
