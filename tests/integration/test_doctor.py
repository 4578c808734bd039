"""`make doctor`: every problem has a line with a cure, and nothing changes in the cloud."""

import io
import ipaddress
import json
import os
import pty
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.console import is_rich
from local.demo import demo_cloud
from local.stack import simulator_credentials
from shared.ports import Clock, utc_now
from shared.settings import DetachApi
from simulator import CloudApi, CloudServer, Fault, World, bodies, faults
from tests.contract.documented import ROOT
from tools.clouds import Found, find
from tools.doctor import examined, text
from tools.examination import Line, State


@pytest.fixture
def api() -> Iterator[CloudApi]:
    api = demo_cloud(utc_now)
    with CloudServer(api, hold=0.05):
        yield api


def variables(api: CloudApi, **changes: str) -> dict[str, str]:
    known = {f"OS_{name.upper()}": value for name, value in simulator_credentials(api).items()}
    return {name: value for name, value in {**known, **changes}.items() if value}


def found(api: CloudApi, **changes: str) -> Found:
    nowhere = Path("/nonexistent")
    return find(variables(api, **changes), nowhere, nowhere, nowhere)


def lines_of(api: CloudApi, clock: Clock = utc_now, **changes: str) -> list[Line]:
    return list(examined(found(api, **changes), clock))


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.doctor", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# ------------------------------------------------------------------------------------------- working clouds


def test_a_working_cloud(api: CloudApi) -> None:
    """Every check has a line, and all pass; the permission to detach is not tried."""
    lines = lines_of(api)
    assert {line.check: line.state for line in lines if line.state is not State.OK} == {"detach": State.NOT_TRIED}
    checks = ["cloud", "login", "region", "catalogue", "catalogue", "tls", "clock", "compute", "read servers",
              "block storage", "read attachments", "read actions", "read volumes", "detach"]  # fmt: skip
    assert [line.check for line in lines] == checks
    assert "2.1 to 2.96" in next(line.found for line in lines if line.check == "compute")


def test_a_cloud_by_its_job_api(api: CloudApi) -> None:
    """If compute is closed, the bare metal service is checked instead."""
    api.deployment.close_compute()
    lines = list(examined(found(api), api=DetachApi.BMS_V1))
    assert {line.check for line in lines if line.state is not State.OK} == {"detach"}
    assert next(line.found for line in lines if line.check == "catalogue").startswith("bare metal is at http")
    assert not [call.path for call in api.calls if call.path.startswith("/v2")]


def test_a_cloud_without_a_job_api(api: CloudApi) -> None:
    """The cure names the setting for its address."""
    api.deployment.bare_metal = False
    lines = list(examined(found(api), api=DetachApi.BMS_V1))
    (line,) = [line for line in lines if line.state is State.FAIL]
    assert "there is no bare metal" in line.found
    assert "set BMS_ENDPOINT" in line.cure


def test_nothing_is_changed(api: CloudApi) -> None:
    """The examination makes one login, and otherwise only GETs."""
    lines_of(api)
    assert {(call.method, call.operation) for call in api.calls if call.method != "GET"} == {("POST", "get_token")}
    assert [call.operation for call in api.calls].count("get_token") == 1


def by_key(api: CloudApi, **changes: str) -> dict[str, str]:
    key, base = api.identity.access_key, api.deployment.base_url
    own = {"OS_USERNAME": "", "OS_PASSWORD": "", "OS_USER_DOMAIN_NAME": "", "OS_ACCESS_KEY": key.access}
    return own | {"OS_SECRET_KEY": key.secret, "COMPUTE_ENDPOINT": base, "VOLUME_ENDPOINT": base} | changes


def test_a_cloud_by_an_access_key(api: CloudApi) -> None:
    """The same checks pass with signed GETs, without a token and without the identity service's address."""
    for changes in ({}, {"OS_AUTH_URL": "", "OS_REGION_NAME": ""}):
        lines = lines_of(api, utc_now, **by_key(api, **changes))
        assert {line.check for line in lines if line.state is not State.OK} == {"detach"}
        assert "the access key signs requests" in next(line.found for line in lines if line.check == "login")
    assert {call.method for call in api.calls} == {"GET"}


def test_a_wrong_access_key_is_tried_once(api: CloudApi) -> None:
    """A wrong key is used once, and the line says what to check."""
    lines = lines_of(api, utc_now, **by_key(api, OS_SECRET_KEY="w" * 40))
    (failed,) = [line for line in lines if line.state is State.FAIL]
    assert failed.check == "login"
    assert [name for name in ("OS_ACCESS_KEY", "OS_SECRET_KEY", "OS_SIGNING", "clock") if name not in failed.cure] == []
    assert [call.status for call in api.calls if call.operation != "list_versions"] == [401]


NO_ADDRESS = {"OS_AUTH_URL": "", "OS_REGION_NAME": ""}
BY_NAME = {"OS_PROJECT_ID": "", "OS_PROJECT_NAME": "eu-de"}


@pytest.mark.parametrize("changes", [{}, NO_ADDRESS, BY_NAME])
@pytest.mark.parametrize(("ahead", "said"), [(1200, "ahead of"), (-1200, "behind")])
def test_a_clock_for_which_a_key_is_refused(api: CloudApi, ahead: int, said: str, changes: dict[str, str]) -> None:
    """Both lines tell the difference, whatever addresses are known."""
    lines = lines_of(api, lambda: utc_now() + timedelta(seconds=ahead), **by_key(api, **changes))
    failed = {line.check: line.found for line in lines if line.state is State.FAIL}
    assert [*failed] == ["login", "clock"]
    assert f"this clock is 20 minutes {said} the cloud's" in failed["login"]
    assert re.fullmatch(rf"this machine is (1199|120[01]) s {said} the cloud", failed["clock"])


def test_a_clock_by_the_refusal_alone(api: CloudApi) -> None:
    """The date of the refusal counts if no other answer has one."""
    api.faults.add(Fault(faults.RESET_BEFORE, operation="get_version", times=None))
    api.faults.add(Fault(faults.RESET_BEFORE, operation="list_versions", times=None))
    lines = lines_of(api, lambda: utc_now() + timedelta(seconds=-1200), **by_key(api))
    (clock,) = [line for line in lines if line.check == "clock"]
    assert (clock.state, "s behind the cloud" in clock.found) == (State.FAIL, True)


@pytest.mark.parametrize(
    ("set_", "cause"),
    [({"OS_PROJECT_NAME": "another"}, "OS_PROJECT_NAME"), ({"OS_TENANT_NAME": "another"}, "OS_TENANT_NAME"),
     ({"OS_PROJECT_NAME": "EU-DE"}, ""), ({"OS_PROJECT_NAME": "eu-de"}, "")],
)  # fmt: skip
def test_a_project_name_that_contradicts_the_id(api: CloudApi, set_: dict[str, str], cause: str) -> None:
    """The cloud uses the id; its answer has the name, so the contradiction is reported by name."""
    project = api.world.project
    login = next(line for line in lines_of(api, utc_now, **set_) if line.check == "login")
    assert (login.state is State.WARN) == bool(cause)
    if cause:
        assert login.found.endswith(f"for project {project.name} ({project.id}), {cause} says another")
        assert login.cure == f"correct or unset {cause}, which is not used"


def test_a_project_by_a_key_is_the_one_of_its_id(api: CloudApi) -> None:
    """No answer tells its name, so the line says which of both values is used."""
    (login,) = [line for line in lines_of(api, utc_now, **by_key(api, OS_TENANT_NAME="x")) if line.check == "login"]
    assert login.found.endswith(f"for project {api.world.project.id} (OS_PROJECT_ID; OS_TENANT_NAME is not used)")


def test_a_key_has_no_catalogue(api: CloudApi) -> None:
    """A service without an address is one of the region, and only its own setting helps."""
    cloud = found(api, **by_key(api, OS_REGION_NAME="eu-nl", COMPUTE_ENDPOINT="", OS_AUTH_URL=""))
    lines = examined(cloud, api=DetachApi.BMS_V1)
    line = next(line for line in lines if line.check == "catalogue" and line.state is State.FAIL)
    assert (line.found, line.cure) == ("no bare metal endpoint is known for the region eu-nl", "set BMS_ENDPOINT")


def test_compute_that_is_closed(api: CloudApi) -> None:
    """The cure names the other API, but not when that one is used."""
    api.deployment.close_compute()
    line = next(line for line in lines_of(api) if line.check == "read servers")
    assert "may read servers" in line.cure
    assert "set DETACH_API=bms_v1" in line.cure


def test_a_project_without_servers() -> None:
    """Checks that need a server or a disk are skipped, without a failure."""
    empty = CloudApi(World(utc_now))
    with CloudServer(empty):
        lines = lines_of(empty, OS_PROJECT_ID=empty.world.project.id)
    waiting = {line.check for line in lines if line.state is State.NOT_TRIED}
    assert waiting == {"read attachments", "read actions", "detach"}
    assert [line for line in lines if line.state in (State.WARN, State.FAIL)] == []


# ------------------------------------------------------------------------------------------------ problems


class Problem(NamedTuple):
    """A problem of the cloud or the variables, and the expected line with its cure."""

    check: str
    state: State
    found: str
    cure: str
    spoil: Callable[[CloudApi], object] = lambda api: None
    variables: Mapping[str, str] = {}
    ahead: float = 0.0


def deployed(**changes: Any) -> Callable[[CloudApi], object]:
    def change(api: CloudApi) -> None:
        for name, value in changes.items():
            setattr(api.deployment, name, value)

    return change


def refused(operation: str, status: int = 403) -> Callable[[CloudApi], object]:
    answer = bodies.fault(status, "Policy doesn't allow this to be performed.")
    return lambda api: api.faults.add(Fault(faults.answer(answer), operation=operation, times=None))


def broken(operation: str) -> Callable[[CloudApi], object]:
    return lambda api: api.faults.add(Fault(faults.READ_TIMEOUT_BEFORE, operation=operation, times=None))


PROBLEMS = {
    "wrong password": Problem(
        "login", State.FAIL, "http_401", "check OS_USERNAME, OS_PASSWORD and the domain names",
        variables={"OS_PASSWORD": "hunter2"}),
    "nobody listens": Problem(
        "login", State.FAIL, "no connection", "check OS_AUTH_URL, the network",
        variables={"OS_AUTH_URL": "http://127.0.0.1:9/v3"}),
    "no volume service": Problem(
        "catalogue", State.FAIL, "there is no block storage, only bms, compute, identity, image", "set VOLUME_ENDPOINT",
        deployed(volume_types=())),
    "no such region": Problem(
        "region", State.FAIL, "there is no region eu-xx, the catalogue has eu-de", "set OS_REGION_NAME to one of eu-de",
        variables={"OS_REGION_NAME": "eu-xx"}),
    "several regions": Problem(
        "region", State.FAIL, "has several", "set OS_REGION_NAME to one of eu-de, eu-nl",
        deployed(regions=("eu-nl",)), {"OS_REGION_NAME": ""}),
    "a clock that is slow": Problem("clock", State.WARN, "s behind the cloud", "FENCE_SKEW to 10", ahead=-100),
    "a clock that is fast": Problem("clock", State.WARN, "s ahead of the cloud", "set-ntp true", ahead=100),
    "a clock that is wrong": Problem("clock", State.FAIL, "s ahead of the cloud", "set-ntp true", ahead=4000),
    "no right to read a volume": Problem(
        "read volumes", State.FAIL, "Policy doesn't allow", "a role in the project that may read volumes",
        refused("get_volume")),
    "no right to read servers": Problem(
        "read servers", State.FAIL, "Policy doesn't allow", "a role in the project that may read servers",
        refused("list_servers")),
    "no right to read attachments": Problem(
        "read attachments", State.FAIL, "Policy doesn't allow", "a role in the project that may read attachments",
        refused("list_attachments")),
    "no right to read actions": Problem(
        "read actions", State.WARN, "answers 403", "os-instance-actions", refused("list_actions")),
    "no records": Problem(
        "read actions", State.WARN, "answers 404", "os-instance-actions", deployed(instance_actions=False)),
    "no 2.89": Problem(
        "compute", State.WARN, "2.1 to 2.60, without 2.89 (", "a newer Nova", deployed(max_compute_version=(2, 60))),
    "a very old Nova": Problem(
        "compute", State.WARN, "without 2.26 (locked", "detach_unconfirmed", deployed(max_compute_version=(2, 1))),
    "Nova down": Problem(
        "compute", State.FAIL, "answers 503", "COMPUTE_ENDPOINT", refused("get_version", 503)),
    "Nova silent about itself": Problem(
        "compute", State.WARN, "without its microversions", "nothing to do", refused("get_version", 404)),
    "Cinder down": Problem(
        "block storage", State.FAIL, "it answers 503", "VOLUME_ENDPOINT", refused("list_volumes", 503)),
    "Cinder gone": Problem("block storage", State.FAIL, "no ", "VOLUME_ENDPOINT", broken("list_volumes")),
    "what nothing reads": Problem(
        "cloud", State.WARN, "not used are OS_TYPO", "correct their names", variables={"OS_TYPO": "hunter2"}),
}  # fmt: skip


@pytest.mark.parametrize("cause", PROBLEMS)
def test_each_problem_has_its_line(api: CloudApi, cause: str) -> None:
    """The line shows the finding and the cure, and no other check fails."""
    expected = PROBLEMS[cause]
    expected.spoil(api)
    lines = lines_of(api, lambda: utc_now() + timedelta(seconds=expected.ahead), **expected.variables)
    (line,) = [line for line in lines if line.check == expected.check and line.state is not State.OK]
    assert line.state is expected.state
    assert expected.found in line.found
    assert expected.cure in line.cure
    others = [other.check for other in lines if other.state in (State.WARN, State.FAIL) and other is not line]
    assert others == (["tls"] if cause == "nobody listens" else [])
    assert "hunter2" not in f"{lines}"


def test_every_problem_has_a_cure(api: CloudApi) -> None:
    """Every warning and failure has a cure, and the text contains it."""
    for line in (*lines_of(api, OS_PASSWORD="x"), *lines_of(api, OS_REGION_NAME="x")):
        if line.state in (State.WARN, State.FAIL):
            assert line.cure
            assert line.cure in text(line, colour=False)


SAMPLE = """\
ok    cloud             The OS_… variables
ok    login             http://127.0.0.1:33187/v3 gives a token for project c685484a8cc2416b97260938705deb65
ok    region            eu-de
ok    catalogue         compute is at http://127.0.0.1:33187/v2.1/c685484a8cc2416b97260938705deb65
ok    catalogue         block storage is at http://127.0.0.1:33187/v3/c685484a8cc2416b97260938705deb65
ok    tls               http://127.0.0.1:33187: plain http, but on this machine only
warn  clock             this machine is 42 s behind the cloud
                        → set this machine's clock (timedatectl set-ntp true), or FENCE_SKEW to 43 if the cloud's clock is wrong
warn  compute           microversions 2.1 to 2.60, without 2.89 (a disk that was moved is not told from one that was attached again, and is left alone)
                        → only a newer Nova helps; until then expect more refusals and `detach_unconfirmed`
ok    read servers      3 in this project
ok    block storage     it answers
ok    read attachments  3 of 95bf2490-5428-432c-ad9b-5e3406f869dd
ok    read actions      4 of 95bf2490-5428-432c-ad9b-5e3406f869dd
FAIL  read volumes      forbidden: Policy doesn't allow this to be performed
                        → give this user a role in the project that may read volumes, such as `reader` or `member`
-     detach            not tried: only a detach shows whether this user may detach
                        → send a request with "dry_run": true, which checks everything else, then detach a disk you can spare
"""  # noqa: E501 - as it is printed


def test_the_sample_output(api: CloudApi) -> None:
    """The output has every line of the sample, apart from addresses and numbers."""
    for cause in ("no right to read a volume", "no 2.89"):
        PROBLEMS[cause].spoil(api)
    lines = lines_of(api, lambda: utc_now() - timedelta(seconds=42))
    printed = {shape(row) for line in lines for row in text(line, colour=False).splitlines()}
    assert [row for row in SAMPLE.splitlines() if shape(row) not in printed] == []


def shape(row: str) -> str:
    return re.sub(r"\S*\d\S*", "#", row)


# ---------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture
def sealed(tmp_path: Path) -> Callable[[CloudServer, int], str]:
    """Enables TLS with a self-signed certificate for that many days; returns the certificate's path."""

    def seal(server: CloudServer, days: int) -> str:
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=days, hours=1))
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = builder.add_extension(host, critical=False).sign(key, hashes.SHA256())
        public, private = tmp_path / "ca.pem", tmp_path / "key.pem"
        public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(public, private)
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
        server.api.deployment.base_url = server.url.replace("http:", "https:")
        return str(public)

    return seal


@pytest.mark.parametrize(
    ("days", "trusted", "state", "finding", "cure"),
    [
        (90, "cacert", State.OK, "valid until", ""),
        (5, "cacert", State.WARN, "5 days", "renew"),
        (90, "bundle", State.OK, "valid until", ""),
        (90, "nothing", State.FAIL, "the certificate is not trusted", "OS_CACERT"),
        (90, "all", State.WARN, "is not checked", "remove OS_INSECURE"),
    ],
)
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_certificates(
    sealed: Callable[[CloudServer, int], str],
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    trusted: str,
    state: State,
    finding: str,
    cure: str,
) -> None:
    """The line shows the certificate's validity and trust; REQUESTS_CA_BUNDLE sets the machine's authorities."""
    api = demo_cloud(utc_now)
    with CloudServer(api) as server:
        path = sealed(server, days)
        if trusted == "bundle":
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", path)
        choice = {"cacert": {"OS_CACERT": path}, "all": {"OS_INSECURE": "true"}}.get(trusted, {})
        lines = lines_of(api, utc_now, **choice)
    (line,) = [line for line in lines if line.check == "tls"]
    assert line.state is state
    assert finding in line.found
    assert cure in line.cure


# -------------------------------------------------------------------------------------------------- the command


def test_without_a_cloud_the_simulated_one_is_examined() -> None:
    """The demonstration has status 0, no colour in a pipe, and the same lines as JSON."""
    done, as_json = doctor(), doctor("--json")
    assert (done.returncode, done.stderr, as_json.returncode) == (0, "", 0)
    assert "\x1b" not in done.stdout
    lines = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [line["check"] for line in lines][:2] == ["cloud", "login"]
    assert [line["check"] for line in lines] == [
        line[6:24].strip() for line in done.stdout.splitlines() if line[0] != " "
    ]


def test_exit_status(api: CloudApi) -> None:
    """The status is 0 if no check fails, 1 if one fails, and 2 without a cloud."""
    assert doctor("--cloud", "env", **variables(api, OS_TYPO="x")).returncode == 0
    failed = doctor("--cloud", "env", **variables(api, OS_PASSWORD="hunter2"))
    assert (failed.returncode, failed.stderr) == (1, "")
    nothing = doctor("--cloud", "env")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert nothing.stderr.startswith("The OS_… variables cannot be used: OS_AUTH_URL is missing")
    assert len(nothing.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("environment", "terminal", "colour"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colour(environment: Mapping[str, str], terminal: bool, colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output is coloured only on a terminal with colours and without NO_COLOR."""
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    assert is_rich(stream) is colour


def test_colour_on_a_terminal() -> None:
    """The command uses colours if its standard output is a terminal."""
    ours, theirs = pty.openpty()
    shell = {"PATH": os.environ.get("PATH", ""), "TERM": "xterm", "HOME": "/nonexistent"}
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        command = [sys.executable, "-m", "tools.doctor"]
        process = subprocess.Popen(command, cwd=ROOT, env=shell, stdout=theirs, stderr=theirs)
        os.close(theirs)
        assert b"\x1b[32mok" in terminal.read(64)
        process.terminate()
        process.wait(30)
