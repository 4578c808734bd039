"""`python -m tools` and `python -m local` as users run them: texts, exit statuses, terminals, pipes."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from local.demo import SERVER, VOLUME, demo_cloud
from local.stack import simulator_credentials
from shared.ports import utc_now
from simulator import Behaviour, CloudServer, What
from tests.contract.documented import plain_environment
from tests.integration.test_local_stack import ROOT
from tests.messages import bare

BARE = {"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1"}
DRY = json.dumps(bare(SERVER, VOLUME, dry_run=True))
ON_THE_DEMO = ("--server", "db-01", "--volume", "db-01-data")


def command(
    *arguments: str, stdin: str = "", package: str = "tools", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", package, *arguments],
        cwd=ROOT, env=BARE | environment, input=stdin, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


UNREACHABLE = {
    "OS_AUTH_URL": "http://127.0.0.1:9/v3", "OS_USERNAME": "u", "OS_PASSWORD": "hunter2", "OS_PROJECT_ID": "p"
}  # fmt: skip
NOWHERE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1",
}  # fmt: skip

REFUSED = {
    "nobody to ask": (
        ON_THE_DEMO, {},
        "There is no terminal to ask on: add --yes (make: YES=1) to detach, or --dry (DRY=1) to check.",
    ),
    "two clouds": (
        (*ON_THE_DEMO, "--yes", "--stack", "x", "--cloud", "simulator"), {},
        "A deployed stack has its own cloud: leave out CLOUD, or set CLOUD=env to look up names.",
    ),
    "a policy that there is not": (
        (*ON_THE_DEMO, "--yes"), {"RUNNING_SERVER_POLICY": "relaxed"}, "RUNNING_SERVER_POLICY",
    ),
    "a cloud that is away": ((*ON_THE_DEMO, "--yes", "--cloud", "env"), UNREACHABLE, "cannot be reached"),
    "AWS that is away": ((*ON_THE_DEMO, "--yes", "--stack", "x"), NOWHERE, "AWS cannot be reached"),
    "no server": (("--server", "db-1", "--volume", "x", "--dry"), {}, "No server is called db-1; there are ad-01, "),
    "no disk": (
        ("--server", "db-01", "--volume", "x", "--dry"), {}, "No disk called x is attached to db-01; there are db-01-"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "environment", "expected"), REFUSED.values(), ids=REFUSED)
def test_an_impossible_request_gives_one_sentence_and_status_2(
    arguments: tuple[str, ...], environment: dict[str, str], expected: str
) -> None:
    """The sentence has no traceback, no text of a library, and no secret."""
    done = command("detach", *arguments, **environment)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert expected in sentence
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert not any(word in sentence for word in ("Traceback", "hunter2", "validation error", "pydantic"))


def test_a_real_cloud_whose_compute_is_closed() -> None:
    """It did answer, and the other API may help."""
    api = demo_cloud(utc_now)
    api.deployment.close_compute()
    with CloudServer(api):
        known = {f"OS_{name.upper()}": value for name, value in simulator_credentials(api).items()}
        by_name = "detach", "--server", "x", "--volume", "y", "--dry"
        for package, arguments in (("local", ("servers",)), ("tools", by_name)):
            done = command(*arguments, "--cloud", "env", package=package, **known)
            assert done.returncode == 2
            assert done.stderr.splitlines()[-1] == (
                "The cloud answered 403: Pdp.0001: Policy does not allow ecs:servers:get to be performed. Check the "
                "rights of this user, or set DETACH_API=bms_v1 if the cloud closes compute to its tenants."
            )
        assert command("servers", "--cloud", "env", package="local", DETACH_API="bms_v1", **known).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("detach",), ("detach", "--server", "x"), ("nothing",), (), (*ON_THE_DEMO, "--wait", "soon"),
        ("detach", *ON_THE_DEMO, "--wait", "0"), ("detach", "--server", "db-01", "--volume", "", "--yes"),
        ("detach", *ON_THE_DEMO, "--yes", "--stack", ""),
    ],
)  # fmt: skip
def test_usage_is_shown_with_status_2(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m tools")


def test_a_detach_by_name_with_events_alone_on_stdout() -> None:
    done = command("detach", *ON_THE_DEMO, "--yes", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    details = [json.loads(line)["data"]["detail"] for line in done.stdout.splitlines()]
    assert details == ["would_detach", "detached_now"]


def test_a_refusal_is_status_1() -> None:
    done = command("detach", "--server", "ad-01", "--volume", "/dev/sdb", "--yes")
    assert done.returncode == 1
    assert "NOT DETACHED · attestation_required" in done.stdout
    assert "UNMOUNTED=1" in done.stdout


def test_a_closed_pipe_does_not_stop_a_detach() -> None:
    """When its pipe closes, the command still follows the detach and exits with the verdict's status."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools", "detach", *ON_THE_DEMO, "--yes"],
        cwd=ROOT, env=BARE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(90), process.stderr.read()) == (0, "")
    process.stderr.close()


@pytest.mark.parametrize(
    ("stdin", "status", "details"),
    [
        (json.dumps(bare(SERVER, VOLUME, dry_run=True)), 0, ["would_detach"]),
        (
            '{"server_id": "x"}\n' + json.dumps(bare(SERVER, VOLUME, dry_run=True)),
            1,
            ["invalid_request", "would_detach"],
        ),
        ("", 2, []),
        ("hello", 2, []),
    ],
)
def test_run_takes_events_from_standard_input(stdin: str, status: int, details: list[str]) -> None:
    done = command("run", "--event", "-", "--json", stdin=stdin, package="local")
    assert done.returncode == status
    assert sorted(json.loads(line)["data"]["detail"] for line in done.stdout.splitlines()) == details
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------- on a terminal


QUESTION = b"[y/N]"


def on_terminal(arguments: tuple[str, ...], answers: dict[bytes, bytes], **environment: str) -> tuple[int, str]:
    """Run with a terminal, type each answer when its prompt appears, and return the exit status and the output.

    A question without a reaction for three seconds is answered again, because C's `fgets` loses a Ctrl-C between the
    prompt and the read, and a person would press it again.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "tools", *arguments], BARE | {"TERM": "xterm"} | environment)
    shown, left, until = b"", dict(answers), time.monotonic() + 120
    while time.monotonic() < until:
        if select.select([terminal], [], [], 3)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # Linux reports the closed other end
                break
        elif shown.rstrip(b"^C ").endswith(QUESTION) and QUESTION not in left:
            os.write(terminal, answers[QUESTION])
        for seen in [seen for seen in left if seen in shown]:
            os.write(terminal, left.pop(seen))
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_a_terminal_is_asked_and_shown_a_moving_line() -> None:
    status, shown = on_terminal(("detach", *ON_THE_DEMO), {QUESTION: b"y\n"})
    assert status == 0
    assert "Detach db-01-data from db-01? [y/N]" in shown
    assert "\r\x1b[2K" in shown
    assert "\x1b[32mDETACHED" in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_color_gives_plain_lines(environment: dict[str, str]) -> None:
    status, shown = on_terminal(("detach", *ON_THE_DEMO, "--dry"), {}, **environment)
    assert (status, "\x1b" in shown) == (0, False)


def test_an_interruption_reports_the_state() -> None:
    """It says that there is no final verdict yet, and that the simulated cloud has ended."""
    status, shown = on_terminal(("detach", *ON_THE_DEMO, "--yes"), {b"DELETE answered 202": b"\x03"})
    assert status == 3
    assert "No final verdict after" in shown
    assert "The simulated cloud has ended with this command." in shown
    assert "Traceback" not in shown


def test_repeated_interruptions_change_nothing() -> None:
    """Several Ctrl-C in a row do not lose the request."""
    status, shown = on_terminal(("detach", *ON_THE_DEMO, "--yes"), {b"DELETE answered 202": b"\x03\x03\x03"})
    assert status == 3
    assert "nothing was" not in shown
    assert "No final verdict after" in shown


def test_an_interruption_at_the_question_requests_nothing() -> None:
    status, shown = on_terminal(("detach", *ON_THE_DEMO), {QUESTION: b"\x03"})
    assert status == 2
    assert "Stopped before a detach was requested." in shown
    assert "Traceback" not in shown


def on_a_real_cloud(**more: str) -> dict[str, str]:
    return {f"OS_{name.upper()}": value for name, value in more.items()}


def test_a_detach_in_a_real_cloud_continues_after_an_interruption() -> None:
    """The result is printed only after the local functions have stopped."""
    api = demo_cloud(utc_now)
    api.world.set_volume(VOLUME, behaviour=Behaviour(seconds=60))
    with CloudServer(api):
        real = on_a_real_cloud(**simulator_credentials(api))
        arguments = ("detach", *ON_THE_DEMO, "--yes", "--cloud", "env")
        status, shown = on_terminal(arguments, {b"DELETE answered 202": b"\x03\x03"}, **real)
        sent = [entry for entry in api.world.history if entry.what is What.DELETE_RECEIVED]
    assert status == 3
    assert "A DELETE was sent, and the detach continues in the cloud" in shown
    assert len(sent) == 1


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_a_closed_stream_is_no_error(name: str) -> None:
    """With a closed standard stream there is no traceback, and the exit status has the result."""
    closed = {"stdin": "0<&-", "stdout": ">&-"}[name]
    line = f"exec {sys.executable} -m tools detach {' '.join(ON_THE_DEMO)} {closed}" + (
        " --yes" if name == "stdout" else ""
    )
    done = subprocess.run(["/bin/sh", "-c", line], cwd=ROOT, env=BARE, capture_output=True, text=True, timeout=90,
                          check=False)  # fmt: skip
    assert done.returncode == (2 if name == "stdin" else 0)
    assert "Traceback" not in done.stderr


def test_a_limited_encoding_does_not_stop_a_detach() -> None:
    done = command("detach", *ON_THE_DEMO, "--yes", PYTHONIOENCODING="ascii")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "DETACHED" in done.stdout


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"UNMOUNTED": "no"}, "UNMOUNTED=no is neither 1 nor 0"),
        ({"YES": "yes"}, "YES=yes is neither 1 nor 0"),
        ({"DRY": "true"}, "DRY=true is neither 1 nor 0"),
    ],
)
def test_a_switch_is_1_or_0(given: dict[str, str], expected: str) -> None:
    """Any other value is refused with an explanation."""
    words = [f"{name}={value}" for name, value in given.items()]
    done = subprocess.run(["make", "-n", "detach", "SERVER=a", "VOLUME=b", *words], cwd=ROOT, env=plain_environment(),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert expected in done.stderr


def test_shell_variables_do_not_enable_dangerous_options() -> None:
    """Only make arguments count; they are passed on unchanged."""
    words = ["make", "-n", "detach", "SERVER=o'brien", "VOLUME=data$1"]
    environment = plain_environment() | {"YES": "1", "UNMOUNTED": "1", "SYSTEM_DISK": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert not any(word in done.stdout for word in ("--yes", "--unmounted", "--allow-system-disk"))
    assert "'o'\\''brien'" in done.stdout
    assert "'data$1'" in done.stdout
