"""`python -m tools` and `python -m local` as people and scripts run them: texts, exit statuses, terminals, pipes."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local.demo import SERVER, VOLUME
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
        "There is no terminal to ask on: say YES=1 to detach, or DRY=1 to see what would happen.",
    ),
    "no length of time": (
        (*ON_THE_DEMO, "--yes", "--wait", "soon"), {}, "soon is no length of time: write 90s, 10m or 2h."
    ),
    "two clouds": (
        (*ON_THE_DEMO, "--yes", "--stack", "x", "--cloud", "simulator"), {},
        "A deployed stack has a cloud of its own: leave out CLOUD, or say CLOUD=env to look names up.",
    ),
    "a policy that there is not": (
        (*ON_THE_DEMO, "--yes"), {"RUNNING_SERVER_POLICY": "relaxed"}, "RUNNING_SERVER_POLICY",
    ),
    "a cloud that is away": ((*ON_THE_DEMO, "--yes", "--cloud", "env"), UNREACHABLE, "cannot be reached"),
    "AWS that is away": ((*ON_THE_DEMO, "--yes", "--stack", "x"), NOWHERE, "AWS cannot be asked"),
    "no server": (("--server", "db-1", "--volume", "x", "--dry"), {}, "No server is called db-1; there are ad-01, "),
    "no disk": (
        ("--server", "db-01", "--volume", "x", "--dry"), {}, "No disk called x is attached to db-01; there are db-01-"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "environment", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked_for_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    """No traceback, no words of a library, and no secret."""
    done = command("detach", *arguments, **environment)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert said in sentence
    assert sentence[0].isupper() or sentence.startswith("soon")
    assert sentence.endswith(".")
    assert not any(word in sentence for word in ("Traceback", "hunter2", "validation error", "pydantic"))


@pytest.mark.parametrize("arguments", [("detach",), ("detach", "--server", "x"), ("nothing",), ()])
def test_usage_is_shown_with_status_2(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m tools")


def test_a_detach_by_name_with_events_alone_on_stdout() -> None:
    done = command("detach", *ON_THE_DEMO, "--yes", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = [json.loads(line)["data"]["detail"] for line in done.stdout.splitlines()]
    assert said == ["would_detach", "detached_now"]


def test_a_refusal_is_status_1() -> None:
    done = command("detach", "--server", "ad-01", "--volume", "/dev/sdb", "--yes")
    assert done.returncode == 1
    assert "CHECKED · would_fail" in done.stdout
    assert "UNMOUNTED=1" in done.stdout


def test_a_reader_that_goes_away_does_not_stop_a_detach() -> None:
    """With its pipe closed the command still follows the detach, and its status is the verdict's."""
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


def on_terminal(arguments: tuple[str, ...], answers: dict[bytes, bytes], **environment: str) -> tuple[int, str]:
    """Run with a terminal; what is typed once something is shown. The exit status, and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "tools", *arguments], BARE | {"TERM": "xterm"} | environment)
    shown, left, until = b"", dict(answers), time.monotonic() + 60
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # how Linux says that nobody holds the other end any more
                break
        for seen in [seen for seen in left if seen in shown]:
            os.write(terminal, left.pop(seen))
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_a_terminal_is_asked_and_shown_a_moving_line() -> None:
    status, shown = on_terminal(("detach", *ON_THE_DEMO), {b"[y/N]": b"y\n"})
    assert status == 0
    assert "Detach db-01-data from db-01? [y/N]" in shown
    assert "\r\x1b[2K" in shown
    assert "\x1b[32mDETACHED" in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_who_wants_no_colour_gets_plain_lines(environment: dict[str, str]) -> None:
    status, shown = on_terminal(("detach", *ON_THE_DEMO, "--dry"), {}, **environment)
    assert (status, "\x1b" in shown) == (0, False)


def test_an_interruption_says_what_is_under_way() -> None:
    """Once a DELETE has left, the detach goes on in the cloud; there is no final verdict yet."""
    status, shown = on_terminal(("detach", *ON_THE_DEMO, "--yes"), {b"DELETE answered 202": b"\x03"})
    assert status == 3
    assert "A DELETE was sent, and the detach goes on in the cloud" in shown
    assert "Traceback" not in shown


def test_an_interruption_at_the_question_has_sent_nothing(tmp_path: Path) -> None:
    status, shown = on_terminal(("detach", *ON_THE_DEMO), {b"[y/N]": b"\x03"})
    assert status == 2
    assert "Stopped; nothing was sent." in shown
    assert "Traceback" not in shown
