"""Several projects and clouds in one deployment: the credentials of each request, and their rotation."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from shared.aws.client import AwsClient, Protocol
from shared.aws.errors import AwsError
from shared.aws.secrets import Secrets
from shared.bootstrap.detach import projects
from shared.cloud.bms_v1 import BareMetalCloud
from shared.cloud.keystone import ReadCredentials
from shared.cloud.openstack import OpenStackCloud, Projects, connect
from shared.model import AnswerClass, Reason
from shared.policy import SECRET_KEPT, SECRET_NEWEST
from shared.ports import Cloud, CloudTrouble, utc_now
from shared.settings import Settings, SettingsError, load
from simulator import CloudApi, Fault, InProcessAdapter, World, bodies, faults
from simulator.inventory import Project
from tests.messages import bare
from tests.stack import LINES, LONG_AGO, Bench, Clock, in_process, long_lived

DEFAULT = "volume-detach/cloud"
PROJECTS = "volume-detach/projects"
OTHER, LISTED_ONLY, UNLISTED = "1" * 32, "2" * 32, "3" * 32


@dataclass
class SecretStore:
    """A Secrets Manager with the test's secrets that records reads."""

    values: dict[str, str] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    def call(self, service: Protocol, operation: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        self.reads.append(payload["SecretId"])
        if payload["SecretId"] not in self.values:
            raise AwsError(operation, 400, "ResourceNotFoundException", "can't find the specified secret")
        return {"SecretString": self.values[payload["SecretId"]]}


@dataclass
class Estate:
    """Two clouds with a project each, their secrets, and the adapter that selects a cloud."""

    clock: Clock = field(default_factory=Clock)
    store: SecretStore = field(default_factory=SecretStore)
    allowed: str = f"{OTHER},{LISTED_ONLY}"
    list_in_secret: bool = False

    def __post_init__(self) -> None:
        self.first, self.second = self._cloud("first.example", None), self._cloud("second.example", OTHER)
        self.store.values = {
            DEFAULT: json.dumps(self.login(self.first)),
            f"{DEFAULT}/{OTHER}": json.dumps(self.login(self.second)),
        }
        listed = {"ALLOWED_PROJECTS": self.allowed}
        if self.list_in_secret:
            self.store.values[PROJECTS] = json.dumps(self.allowed.split(","))
            listed = {"ALLOWED_PROJECTS_SECRET_ID": PROJECTS}
        values = {"REQUEST_QUEUE_URL": "q", "CLOUD_SECRET_ID": DEFAULT, **listed}
        secrets = Secrets(cast("AwsClient", self.store), clock=lambda: self.clock().timestamp())
        wired = projects(load(Settings, values), {}, secrets, self.clock)
        self.clouds = Projects(self.connect, wired.default, wired.projects, wired.listed)

    def _cloud(self, host: str, project: str | None) -> CloudApi:
        world = World(self.clock, project=Project(project, "other") if project else None)
        return CloudApi(world, f"http://{host}", long_lived())

    def connect(self, read: ReadCredentials) -> OpenStackCloud:
        http = in_process(self.first)
        http.mount("http://second.example", InProcessAdapter(self.second))
        return connect(read, http, self.clock)

    def wired(self, **values: str) -> Projects:
        """The function's configuration from settings, without calls."""
        secrets = Secrets(cast("AwsClient", self.store), clock=lambda: self.clock().timestamp())
        given = {"REQUEST_QUEUE_URL": "q", "CLOUD_SECRET_ID": DEFAULT, **values}
        return projects(load(Settings, given), {}, secrets, self.clock)

    def select(self, project_id: str | None) -> Cloud:
        return self.clouds.select(project_id, None)

    @staticmethod
    def login(api: CloudApi, **changes: str) -> dict[str, str]:
        user = api.identity.user
        known = {"auth_url": api.deployment.auth_url, "username": user.name, "password": user.password}
        return known | {"project_id": api.world.project.id} | changes

    @property
    def read(self) -> list[str]:
        """The names of the read secrets with credentials, in order."""
        return [name for name in self.store.reads if name != PROJECTS]

    def rotate(self, api: CloudApi, secret: str, password: str = "second") -> None:
        """Change the user's password, which ends the tokens, and update the secret."""
        old = api.identity.users.pop(0)
        api.identity.user = api.identity.add_user(old.name, password)
        api.revoke_tokens()
        self.store.values[secret] = json.dumps(self.login(api))


@pytest.fixture(params=(False, True), ids=("list in a setting", "list in a secret"))
def estate(request: pytest.FixtureRequest) -> Estate:
    return Estate(list_in_secret=request.param)


def calls(api: CloudApi) -> list[str]:
    return [call.operation for call in api.calls]


def refusal(estate: Estate, project_id: str | None) -> CloudTrouble:
    with pytest.raises(CloudTrouble) as trouble:
        estate.select(project_id)
    assert calls(estate.first) == calls(estate.second) == []
    return trouble.value


def test_each_request_gets_the_credentials_of_its_project(estate: Estate) -> None:
    """A listed project has its own secret; the default one is for its own project and for requests without one."""
    for project_id, used, unused in (
        (OTHER, estate.second, estate.first),
        (estate.first.world.project.id, estate.first, estate.second),
        (None, estate.first, estate.second),
    ):
        used.calls.clear()
        unused.calls.clear()
        estate.select(project_id).volume(used.world.add_volume().id)
        assert ("get_volume" in calls(used), calls(unused)) == (True, [])


def test_clouds_stay_connected(estate: Estate) -> None:
    """Alternating requests for several projects log in once to each."""
    for _ in range(3):
        for project_id, api in ((None, estate.first), (OTHER, estate.second)):
            estate.select(project_id).volume(api.world.add_volume().id)
    assert [calls(api).count("get_token") for api in (estate.first, estate.second)] == [1, 1]


def test_an_unlisted_project_is_forbidden_without_a_call(estate: Estate) -> None:
    """A project that is neither the default nor listed is refused before any call."""
    classified = refusal(estate, UNLISTED).classified
    assert (classified.kind, classified.reason) == (AnswerClass.PERMANENT, Reason.FORBIDDEN)
    assert UNLISTED in classified.message


@pytest.mark.parametrize("wrong", [{}, {"password": "wrong"}], ids=["good password", "wrong password"])
def test_default_credentials_are_not_tried_for_an_unlisted_project(wrong: dict[str, str], estate: Estate) -> None:
    """If the default secret has only its project's name, no login is made to compare the project's id."""
    login = Estate.login(estate.first, project_name=estate.first.world.project.name, **wrong)
    estate.store.values[DEFAULT] = json.dumps({name: value for name, value in login.items() if name != "project_id"})
    assert refusal(estate, UNLISTED).classified.reason is Reason.FORBIDDEN


def test_a_project_is_added_and_removed_without_a_restart() -> None:
    """An added project is served after half a minute at most; a removed one is refused after five minutes."""
    estate = Estate(allowed=LISTED_ONLY, list_in_secret=True)
    assert refusal(estate, OTHER).classified.reason is Reason.FORBIDDEN
    estate.store.values[PROJECTS] = json.dumps([LISTED_ONLY, OTHER])
    estate.clock.sleep(SECRET_NEWEST)
    estate.select(OTHER).server("x")
    assert calls(estate.second)
    estate.store.values[PROJECTS] = json.dumps([LISTED_ONLY])
    estate.clock.sleep(SECRET_KEPT)
    with pytest.raises(CloudTrouble, match="is not served here"):
        estate.select(OTHER)


@pytest.mark.parametrize("held", [None, "not json", '{"a": 1}', '["eu-de"]', '"1"'])
def test_an_invalid_list_is_reported(held: str | None) -> None:
    """With an invalid list, requests wait until it is corrected, which takes effect at once."""
    estate = Estate(list_in_secret=True)
    del estate.store.values[PROJECTS]
    if held is not None:
        estate.store.values[PROJECTS] = held
    with pytest.raises(SettingsError, match=f"the secret {PROJECTS} "):
        estate.select(OTHER)
    estate.store.values[PROJECTS] = json.dumps([OTHER])
    estate.select(OTHER).server("x")


def test_a_thousand_projects_fit_in_a_secret() -> None:
    """Each of a thousand projects has its own credentials, which are read only when they are needed."""
    many = [f"{number:032x}" for number in range(1000)]
    estate = Estate(allowed=",".join([*many, OTHER]), list_in_secret=True)
    estate.select(OTHER).server("x")
    assert set(estate.store.reads) == {PROJECTS, f"{DEFAULT}/{OTHER}"}
    assert len({estate.clouds.key(project) for project in many}) == len(many)


def test_two_lists_are_refused() -> None:
    values = {"REQUEST_QUEUE_URL": "q", "ALLOWED_PROJECTS": OTHER, "ALLOWED_PROJECTS_SECRET_ID": PROJECTS}
    with pytest.raises(SettingsError, match="ALLOWED_PROJECTS and ALLOWED_PROJECTS_SECRET_ID are both set"):
        load(Settings, values)


def test_without_a_list_another_project_is_wrong() -> None:
    """With a single project, a request for another one fails with wrong_project."""
    assert refusal(Estate(allowed=""), UNLISTED).classified.reason is Reason.WRONG_PROJECT


def test_a_secret_for_another_project_is_not_used(estate: Estate) -> None:
    """If a listed project's secret is for another project, this is found before any call."""
    estate.store.values[f"{DEFAULT}/{LISTED_ONLY}"] = json.dumps(Estate.login(estate.second))
    assert refusal(estate, LISTED_ONLY).classified.reason is Reason.WRONG_PROJECT


def test_a_secret_without_a_project_uses_the_one_in_its_name(estate: Estate) -> None:
    """One user for several projects needs only the same contents in several secrets."""
    words = Estate.login(estate.second)
    del words["project_id"]
    estate.store.values[f"{DEFAULT}/{OTHER}"] = json.dumps(words)
    assert estate.select(OTHER).volume(estate.second.world.add_volume().id).value is not None


def test_the_project_of_an_application_credential_comes_from_its_token(estate: Estate) -> None:
    """The token decides about the project, not the secret."""
    known = estate.first.identity.application_credential
    words = {"auth_url": estate.first.deployment.auth_url, "application_credential_id": known.id,
             "application_credential_secret": known.secret, "project_id": OTHER}  # fmt: skip
    estate.store.values[f"{DEFAULT}/{OTHER}"] = json.dumps(words)
    with pytest.raises(CloudTrouble) as trouble:
        estate.select(OTHER)
    assert trouble.value.classified.reason is Reason.WRONG_PROJECT
    assert set(calls(estate.first)) == {"get_token"}


def test_without_a_default_each_request_needs_a_project() -> None:
    """Without default credentials, a request without a project is refused, not retried."""
    secrets = Secrets(cast("AwsClient", SecretStore()))
    settings = load(Settings, {"REQUEST_QUEUE_URL": "q", "ALLOWED_PROJECTS": OTHER})
    clouds = projects(settings, {}, secrets, utc_now)
    with pytest.raises(CloudTrouble, match="names no project") as trouble:
        clouds.select(None, None)
    assert trouble.value.classified.reason is Reason.FORBIDDEN


@pytest.mark.parametrize(
    ("held", "why"),
    [("[1]", "must hold a JSON object"), ('"text"', "must hold a JSON object"), ("not json", "is not JSON"),
     ('{"username": "u"}', "OS_AUTH_URL"), (None, "does not exist")],
)  # fmt: skip
def test_an_invalid_secret_is_reported(held: str | None, why: str, estate: Estate) -> None:
    """If a secret contains anything but credentials, the error names it without its value."""
    name = f"{DEFAULT}/{OTHER}"
    del estate.store.values[name]
    if held:
        estate.store.values[name] = held
    with pytest.raises(SettingsError, match=f"the secret {name}.*{why}"):
        estate.select(OTHER)


@pytest.mark.parametrize("secret", ["[]", "oops"])
def test_requests_wait_for_a_corrected_secret(secret: str) -> None:
    """With a broken secret a request is requeued, and it gets its verdict after the correction."""
    bench = Bench()
    estate = Estate(bench.clock)
    bench.serve(estate.clouds)
    server = estate.second.world.add_server(metadata={"os_type": "Linux"}).id
    body = json.dumps(bare(server, estate.second.world.add_volume().id, project_id=OTHER))
    good = estate.store.values[f"{DEFAULT}/{OTHER}"]
    estate.store.values[f"{DEFAULT}/{OTHER}"] = secret
    bench.queue.put(body)
    for _ in range(10):
        bench.step()
    assert (bench.bus.data, bench.errors) == ([], [])
    estate.store.values[f"{DEFAULT}/{OTHER}"] = good
    bench.run()
    assert [data["detail"] for data in bench.bus.data] == ["already_detached"]


@pytest.mark.parametrize("secret", ["[]", "oops", None])
def test_a_secret_that_is_never_corrected_is_named_in_the_verdict(secret: str | None) -> None:
    """The request gives up at the end of its time to live, and its verdict names the secret."""
    bench = Bench()
    estate = Estate(bench.clock)
    bench.serve(estate.clouds)
    name = f"{DEFAULT}/{OTHER}"
    del estate.store.values[name]
    if secret:
        estate.store.values[name] = secret
    bench.queue.put(json.dumps(bare(bench.server, bench.disk(), project_id=OTHER)))
    bench.run()
    (data,) = bench.bus.data
    assert (data["reason"]["code"], data["timing"]["seconds"] >= 3600) == ("gave_up", True)
    assert f"credentials_unread: the credentials cannot be read: the secret {name}" in data["reason"]["message"]
    assert bench.queue.dead_letters == []


def test_unknown_variables_are_reported_once() -> None:
    """The log has their names only, since one may be a misspelt secret; the login continues."""
    api = CloudApi(World(Clock()), deployment=long_lived())
    login = {f"OS_{name.upper()}": value for name, value in Estate.login(api).items()}
    environment = login | {"OS_PASWORD": "hunter2", "OS_VOLUME_API_VERSION": "3", "OTHER": "x"}
    before = len(LINES)
    wired = projects(load(Settings, {"REQUEST_QUEUE_URL": "q"}), environment, Secrets(cast("AwsClient", None)), utc_now)
    assert wired.default is not None
    wired.default(0)
    wired.default(0)
    (line,) = LINES[before:]
    assert json.loads(line)["level"] == "WARNING"
    assert json.loads(line)["names"] == ["OS_PASWORD", "OS_VOLUME_API_VERSION"]
    assert "hunter2" not in line


# ---------------------------------------------------------------------------------------------- rotation


def test_rotated_credentials_are_used_at_once(estate: Estate) -> None:
    """A refused read gets the new password and succeeds, without a failure or a wasted login."""
    cloud = estate.select(OTHER)
    volume = estate.second.world.add_volume().id
    cloud.volume(volume)
    estate.clock.sleep(31)
    estate.rotate(estate.second, f"{DEFAULT}/{OTHER}")
    estate.second.calls.clear()
    assert cloud.volume(volume).value is not None
    assert calls(estate.second).count("get_token") == 2  # the old password once, then the new one
    cloud.volume(volume)
    assert calls(estate.second).count("get_token") == 2
    assert estate.store.reads.count(f"{DEFAULT}/{OTHER}") == 2


def test_a_wrong_password_is_tried_once_for_all_requests(estate: Estate) -> None:
    """A hundred requests with a wrong password cause two logins and one read of the secret, and later one of each."""
    name = f"{DEFAULT}/{OTHER}"
    estate.store.values[name] = json.dumps(Estate.login(estate.second, password="wrong"))

    def ask(_: int) -> Reason | None:
        with pytest.raises(CloudTrouble) as trouble:
            estate.select(OTHER).volume("0" * 32)
        return trouble.value.classified.reason

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(ask, range(100))) == {Reason.UNAUTHORIZED}
    assert (calls(estate.second), estate.read) == (["get_token"] * 2, [name])
    estate.clock.sleep(31)
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(ask, range(100))) == {Reason.UNAUTHORIZED}
    assert (calls(estate.second), estate.read) == (["get_token"] * 3, [name] * 2)


def test_a_look_follows_a_refused_delete() -> None:
    """If the password is rotated before the DELETE, a look precedes the next DELETE."""
    bench = Bench()
    estate = Estate(bench.clock)
    world = estate.second.world
    server, volume = world.add_server(metadata={"os_type": "Linux"}).id, world.add_volume().id
    world.attach(server, volume, attached_at=LONG_AGO)
    bench.serve(estate.clouds)
    estate.select(OTHER).volume(volume)
    estate.clock.sleep(31)

    refusal = faults.answer(bodies.unauthorized(estate.second.deployment.auth_url))
    estate.second.faults.add(Fault(refusal, operation="delete_attachment", times=2))
    estate.store.values[f"{DEFAULT}/{OTHER}"] = json.dumps(Estate.login(estate.second) | {"interface": "public "})
    bench.queue.put(json.dumps(bare(server, volume, project_id=OTHER)))
    estate.store.values[f"{DEFAULT}/{OTHER}"] = json.dumps(Estate.login(estate.second, region_name="eu-de"))
    bench.run()

    assert [data["detail"] for data in bench.bus.data] == ["detached_now"]
    after_refusal = calls(estate.second)[calls(estate.second).index("delete_attachment") + 1 :]
    last = len(after_refusal) - 1 - after_refusal[::-1].index("delete_attachment")
    assert "get_volume" in after_refusal[:last]


def test_the_settings_choose_the_api_and_its_address() -> None:
    """DETACH_API applies to all clouds; BMS_ENDPOINT applies where a cloud's secret has no address."""
    estate = Estate()
    by_compute = estate.wired().select(None, None)
    by_jobs = estate.wired(DETACH_API="bms_v1", BMS_ENDPOINT="http://bms.example").select(None, None)
    assert not isinstance(by_compute, BareMetalCloud)
    assert isinstance(by_jobs, BareMetalCloud)
    assert by_jobs.login.read(0).bms_endpoint == "http://bms.example"
    estate.store.values[DEFAULT] = json.dumps({**estate.login(estate.first), "bms_endpoint": "http://own.example"})
    assert by_jobs.login.read(0).bms_endpoint == "http://own.example"
