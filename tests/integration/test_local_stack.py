"""The local stack as users start it: its output, and its end."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from local.aws_stand_in import REQUESTS, VERDICTS
from local.demo import FREE_VOLUME, SERVER, VOLUME, WINDOWS_SERVER, demo_cloud
from local.run import EVENTS, SAMPLES
from local.stack import Stack, simulator_credentials
from shared.ports import utc_now
from simulator import CloudServer
from tests.messages import bare, cloudevent_faults
from tools.exit_status import is_summary

ROOT = Path(__file__).parents[2]


def local(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m local` in its own process, without the caller's settings."""
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def sentence_of(done: subprocess.CompletedProcess[str]) -> str:
    """The single line on stderr of a refused command."""
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith(".")
    return line


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_samples_run_to_their_verdicts() -> None:
    """`make run JSON=1`: every sample gets its verdict, and stdout contains only CloudEvents."""
    done = local("run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    events = lines_of(done)
    assert [fault for event in events for fault in cloudevent_faults(event)] == []
    (summary,) = filter(is_summary, events)
    assert summary["data"]["outcome"] == "detached"
    outcomes = sorted((event["data"]["verdict"], event["data"]["detail"]) for event in events if not is_summary(event))
    assert len(outcomes) == len(SAMPLES)
    for expected in set(SAMPLES.values()):
        times = sum(expected in pair for pair in outcomes)
        assert times >= list(SAMPLES.values()).count(expected), expected


def test_one_event_for_people(tmp_path: Path) -> None:
    """For the user's own event, the table shows the verdict."""
    own = tmp_path / "own.json"
    own.write_text(json.dumps(bare(SERVER, VOLUME, dry_run=True)))
    done = local("run", "--event", str(own))
    assert (done.returncode, done.stderr) == (0, "")
    assert "CHECKED · would_detach" in done.stdout
    assert "\x1b" not in done.stdout
    assert "own.json" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", ["missing.json", "directory", "binary.json"])
def test_an_event_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """A wrong path, or a file that is not text, gives one sentence."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert name in sentence_of(local("run", "--event", str(tmp_path / name)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--cloud", "env"], "EVENT=file.json"),
        (["--cloud", "env", "--scenario", "locked"], "leave out CLOUD=env"),
        (["--scenario", "locked", "--event", "events/detach_bare.json"], "not both"),
        (["--event", "events/sqs_event.json"], "`body`"),
    ],
)
def test_conflicting_arguments_are_refused(options: list[str], expected: str) -> None:
    """No argument is ignored silently, and samples are not sent to a real cloud."""
    assert expected in sentence_of(local("run", *options))


def test_a_real_cloud_without_variables() -> None:
    """CLOUD=env without OS_ variables gives an error that names them."""
    assert "OS_AUTH_URL" in sentence_of(local("run", "--cloud", "env", "--event", "events/detach_bare.json"))


def test_a_real_cloud_that_cannot_be_reached() -> None:
    """An unreachable address is distinguished from a refused login."""
    variables = {
        "OS_AUTH_URL": "http://127.0.0.1:9/v3",
        "OS_USERNAME": "u",
        "OS_PASSWORD": "hunter2",
        "OS_PROJECT_ID": "p",
    }
    sentence = sentence_of(local("servers", "--cloud", "env", **variables))
    assert "cannot be reached" in sentence
    assert "hunter2" not in sentence


KEYS = {"OS_ACCESS_KEY": "hunter2", "OS_SECRET_KEY": "hunter2"}
PROXY = {"HTTPS_PROXY": "http://127.0.0.1:9"}
"""A proxy at which nobody listens: no address outside of this machine can be reached."""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({**KEYS, **PROXY, "OS_REGION_NAME": "eu-de", "OS_PROJECT_NAME": "p"},
         "Keystone at https://iam.eu-de.otc.t-systems.com/v3 cannot be reached (connection_failure): check "
         "OS_REGION_NAME, the network and OS_CACERT."),
        ({**KEYS, "OS_REGION_NAME": "eu-nl", "OS_PROJECT_ID": "p", "DETACH_API": "bms_v1"},
         "The cloud at https://iam.eu-nl.otc.t-systems.com/v3 cannot be used: api_rejected no bare metal endpoint is "
         "known for the region eu-nl: set BMS_ENDPOINT."),
        ({**KEYS, "COMPUTE_ENDPOINT": "https://nova.test", "VOLUME_ENDPOINT": "https://cinder.test",
          "OS_PROJECT_ID": "p", "DETACH_API": "bms_v1"},
         "The cloud at https://nova.test cannot be used: api_rejected no bare metal endpoint is known: "
         "set BMS_ENDPOINT."),
        ({**KEYS, "OS_PASSWORD": "hunter2", "OS_USERNAME": "u", "OS_PROJECT_ID": "p", "OS_REGION_NAME": "eu-de"},
         "The OS_… variables cannot be used: OS_PASSWORD and OS_ACCESS_KEY are both set: unset one, or set "
         "OS_AUTH_TYPE to password or aksk."),
    ],
    ids=["no network", "no bare metal", "no address", "two logins"],
)  # fmt: skip
def test_a_real_cloud_by_an_access_key_that_cannot_be_used(variables: dict[str, str], said: str) -> None:
    """One sentence, with the address in use and the variables that were set; a key has no catalog."""
    assert sentence_of(local("servers", "--cloud", "env", **variables)) == said


def test_a_project_name_beside_the_id_of_another() -> None:
    """The id counts, and a line on stderr says so."""
    api = demo_cloud(utc_now)
    with CloudServer(api):
        known = {f"OS_{name.upper()}": value for name, value in simulator_credentials(api).items()}
        done = local("servers", "--cloud", "env", OS_PROJECT_NAME="another", **known)
    project = api.world.project
    line = f"The project is {project.name} ({project.id}), but OS_PROJECT_NAME says otherwise: "
    assert f"{line}correct or unset OS_PROJECT_NAME, which is not used." in done.stderr.splitlines()
    assert done.returncode == 0


def test_a_real_cloud_that_refuses_the_login() -> None:
    """A wrong password is reported, without the password."""
    api = demo_cloud(utc_now)
    with CloudServer(api):
        known = simulator_credentials(api) | {"password": "hunter2"}
        variables = {f"OS_{name.upper()}": value for name, value in known.items()}
        sentence = sentence_of(local("run", "--cloud", "env", "--event", "events/detach_bare.json", **variables))
    assert "refused the login" in sentence
    assert "hunter2" not in sentence


def test_servers_of_the_simulator() -> None:
    """The servers are listed with name, operating system and disks, and the system disk is marked."""
    rows = {row["server_id"]: row for row in lines_of(local("servers", "--json"))}
    assert [rows[id_]["os"] for id_ in (SERVER, WINDOWS_SERVER)] == ["linux", "windows"]
    disks = {disk["volume_id"]: disk for disk in rows[SERVER]["disks"]}
    assert (disks[VOLUME]["system_disk"], disks[VOLUME]["status"]) == (False, "in-use")
    assert [disk["device"] for disk in disks.values() if disk["system_disk"]] == ["/dev/sda"]


def test_servers_for_people() -> None:
    """Without JSON, the servers are a table."""
    done = local("servers")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "A simulated cloud" in done.stderr
    assert f"server {SERVER}" in done.stdout
    assert f"volume {VOLUME}" in done.stdout
    assert "system disk" in done.stdout


def test_the_stack_runs_in_this_process(stack: Stack) -> None:
    """A request on the queue leads to a verdict on the bus, and the queue is empty afterwards."""
    message_id = stack.request(json.dumps(bare(SERVER, FREE_VOLUME)))
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 10
    while not found and time.monotonic() < deadline:
        found = [envelope["detail"] for envelope in stack.aws.receive(VERDICTS, wait_seconds=1)]
    while stack.aws.waiting(REQUESTS) and time.monotonic() < deadline:  # deleted after its verdict is emitted
        pass
    (event,) = found
    assert (event["causationid"], event["data"]["detail"]) == (message_id, "already_detached")
    assert stack.aws.waiting(REQUESTS) == 0


def test_every_sample_has_an_expectation() -> None:
    """`make run` sends exactly the existing request samples."""
    present = {path.name for path in EVENTS.glob("*.json") if not path.name.startswith("sqs_")}
    assert present == set(SAMPLES)
