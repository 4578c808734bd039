"""CLOUD=env with a clouds.yaml, a token and a proxy, and the local stack in a shell with unrelated settings."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from local.demo import PROJECT, SERVER, VOLUME, demo_cloud
from local.stack import simulator_credentials
from shared.ports import utc_now
from simulator import CloudApi, CloudServer
from tests.integration.test_local_stack import lines_of, local, sentence_of
from tests.messages import bare

NOWHERE = "http://127.0.0.1:9"
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), NOWHERE)
OTHERS = PROXIES | {
    "AWS_PROFILE": "nobody",
    "AWS_DEFAULT_PROFILE": "nobody",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_ENDPOINT_URL": NOWHERE,
    "AWS_ENDPOINT_URL_SQS": NOWHERE,
    "AWS_CA_BUNDLE": "/nonexistent",
    "AWS_REGION": "nowhere-1",
    "AWS_SESSION_TOKEN": "of somebody",
    "BOTO_CONFIG": "/nonexistent",
}
"""The environment of a shell with an AWS account, and a proxy that is down."""


@pytest.fixture
def api() -> Iterator[CloudApi]:
    api = demo_cloud(utc_now)
    with CloudServer(api):
        yield api


def written(home: Path, api: CloudApi, **changes: object) -> Path:
    """Write a clouds.yaml with the simulator as `here` and another cloud into a home directory."""
    known = {name: value for name, value in simulator_credentials(api).items() if name != "region_name"}
    folder = home / ".config/openstack"
    folder.mkdir(parents=True)
    path = folder / "clouds.yaml"
    entry = {"auth": known | changes, "region_name": api.deployment.region, "identity_api_version": 3}
    path.write_text(yaml.safe_dump({"clouds": {"here": entry, "elsewhere": {"auth": {"auth_url": NOWHERE}}}}))
    return path


def servers_in(done: Any) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [row["server_id"] for row in lines_of(done)]


def test_a_cloud_of_a_file(api: CloudApi, tmp_path: Path) -> None:
    """OS_CLOUD selects the file's cloud; other variables are ignored and listed in one line."""
    path = written(tmp_path, api)
    chosen = {"HOME": str(tmp_path), "OS_CLOUD": "here"}
    done = local("servers", "--cloud", "env", "--json", **chosen)
    place = f"The cloud is {api.deployment.auth_url}, by the cloud here of {path}.\n"
    assert (SERVER in servers_in(done), done.stderr) == (True, place)
    done = local("servers", "--cloud", "env", "--json", **chosen, OS_USERNAME="x", OS_VOLUME_API_VERSION="3")
    assert SERVER in servers_in(done)
    assert done.stderr == f"The cloud here of {path}: not used are OS_USERNAME, OS_VOLUME_API_VERSION.\n{place}"


def test_a_request_to_a_cloud_of_a_file(api: CloudApi, tmp_path: Path) -> None:
    """The function gets the cloud's values as its secret, and detaches the disk."""
    written(tmp_path, api)
    own = tmp_path / "own.json"
    own.write_text(json.dumps(bare(SERVER, VOLUME)))
    chosen = {"HOME": str(tmp_path), "OS_CLOUD": "here"}
    done = local("run", "--cloud", "env", "--event", str(own), "--json", **chosen, **OTHERS)
    (*_, event) = lines_of(done)
    assert (done.returncode, event["data"]["detail"]) == (0, "detached_now")
    assert api.world.volumes[VOLUME].status == "available"


def test_a_token(api: CloudApi) -> None:
    """A token of `openstack token issue` and a project are enough."""
    known = simulator_credentials(api)
    with_password = {f"OS_{name.upper()}": value for name, value in known.items()}
    assert SERVER in servers_in(local("servers", "--cloud", "env", "--json", **with_password))
    (token,) = set(api.identity.issued[-1:])
    variables = {"OS_AUTH_URL": known["auth_url"], "OS_PROJECT_ID": PROJECT, "OS_AUTH_TYPE": "token"}
    assert SERVER in servers_in(local("servers", "--cloud", "env", "--json", **variables, OS_TOKEN=token))
    api.revoke_tokens()
    sentence = sentence_of(local("servers", "--cloud", "env", **variables, OS_TOKEN=token))
    assert "get a new token" in sentence
    assert token not in sentence


@pytest.mark.parametrize("dialect", ["credential", "access"])
def test_an_access_key(api: CloudApi, tmp_path: Path, dialect: str) -> None:
    """Servers are listed and a disk is detached with signed requests alone; a wrong key is tried once."""
    key, base = api.identity.access_key, api.deployment.base_url
    api.deployment.dialects = (dialect,)
    place = {"OS_AUTH_URL": api.deployment.auth_url, "COMPUTE_ENDPOINT": base, "VOLUME_ENDPOINT": base}
    pair = {"OS_ACCESS_KEY": key.access, "OS_SECRET_KEY": key.secret, "OS_SIGNING": dialect}
    project = {"OS_PROJECT_NAME": api.world.project.name}
    assert SERVER in servers_in(local("servers", "--cloud", "env", "--json", **place, **pair, **project))
    own = tmp_path / "own.json"
    own.write_text(json.dumps(bare(SERVER, VOLUME)))
    done = local("run", "--cloud", "env", "--event", str(own), "--json", **place, **pair, **project)
    (*_, event) = lines_of(done)
    assert (done.returncode, event["data"]["detail"]) == (0, "detached_now")
    assert api.world.volumes[VOLUME].status == "available"
    assert [call.operation for call in api.calls].count("get_token") == 0
    api.calls.clear()
    wrong = local("servers", "--cloud", "env", **place, **project, **pair | {"OS_SECRET_KEY": "w" * 40})
    sentence = sentence_of(wrong)
    assert sentence.startswith("The cloud refused the access key")
    assert "OS_SIGNING" in sentence
    assert key.access not in sentence
    assert [call.status for call in api.calls] == [401]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"username": None}, "auth.username is missing"),
        ({"password": "hunter2"}, "check auth.username, auth.password"),
        ({"auth_url": NOWHERE}, "check auth.auth_url, the network and cacert"),
    ],
)
def test_an_error_in_a_file_is_one_line(
    api: CloudApi, tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    """An error names the fields of the file in one line."""
    written(tmp_path, api, **changes)
    sentence = sentence_of(local("servers", "--cloud", "env", HOME=str(tmp_path), OS_CLOUD="here"))
    assert expected in sentence
    assert "hunter2" not in sentence


# ---------------------------------------------------------------------------------------------------- proxies


class _Proxy(BaseHTTPRequestHandler):
    """Forwards requests for any host to the simulated cloud."""

    def do_GET(self) -> None:
        server: Any = self.server
        target, body = urlsplit(self.path), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.hosts.add(target.hostname)
        path = f"{target.path}?{target.query}" if target.query else target.path
        answer = server.api.handle(self.command, path, dict(self.headers.items()), body)
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_DELETE = do_GET

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


@contextmanager
def proxy(api: CloudApi) -> Iterator[tuple[str, set[str]]]:
    """A proxy, without which the cloud is unreachable; yields its address and the requested hosts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        known: Any = server
        known.api, known.hosts = api, set()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", known.hosts
        finally:
            server.shutdown()


def test_the_cloud_is_reached_through_the_proxy(tmp_path: Path) -> None:
    """Only calls to the cloud use the proxy, not those to the local stack."""
    api = demo_cloud(utc_now)
    own = tmp_path / "own.json"
    own.write_text(json.dumps(bare(SERVER, VOLUME, dry_run=True)))
    variables = {f"OS_{name.upper()}": value for name, value in simulator_credentials(api).items()}
    with proxy(api) as (address, hosts):
        environment = {**OTHERS, **dict.fromkeys(PROXIES, address), **variables}
        done = local("run", "--cloud", "env", "--event", str(own), "--json", **environment)
    (event,) = lines_of(done)
    assert (done.returncode, event["data"]["detail"]) == (0, "would_detach")
    assert hosts == {"cloud.test"}


@pytest.mark.parametrize("command", ["run", "servers"])
def test_a_shell_full_of_other_settings(command: str) -> None:
    """The commands work with any AWS profile, endpoint and proxy in the caller's environment."""
    done = local(command, **OTHERS)
    notice = "" if command == "run" else "A simulated cloud, new for each command; CLOUD=env lists yours.\n"
    assert (done.returncode, done.stderr) == (0, notice)
    assert ("DETACHED" if command == "run" else SERVER) in done.stdout
