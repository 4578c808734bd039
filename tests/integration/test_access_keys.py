"""Login by access key, with signatures that the cloud verifies, over a socket and in process; and login by agency."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests

from shared.cloud.http import limit
from shared.cloud.keystone import Login
from shared.cloud.no_answer import NoAnswer
from shared.cloud.openstack import OpenStackCloud, connect
from shared.cloud.parse import Service
from shared.model import AnswerClass, Call, Classified, Reason
from shared.policy import SECRET_NEWEST
from shared.ports import CloudTrouble
from shared.redact import redact
from shared.settings import CloudCredentials
from simulator import CloudApi, Fault, InProcessAdapter, bodies, faults
from simulator.access_keys import AccessKey
from tests.stack import Site, credentials_of, in_process

SIGNED: dict[str, object] = {"username": None, "password": None}
WRONG = "w" * 40
OTHER = AccessKey("OTHERACCESSKEY000002", "another-secret-key-another-secret-key-00", "")


def keys_of(api: CloudApi, key: AccessKey | None = None, **changes: Any) -> CloudCredentials:
    """Credentials with an access key of the simulator's user, and the addresses, which come from no catalog."""
    key = key or api.identity.access_key
    base = api.deployment.base_url
    given = {"access_key": key.access, "secret_key": key.secret, "security_token": key.token or None}
    places = {"compute_endpoint": base, "volume_endpoint": base}
    return credentials_of(api, **{**SIGNED, **given, **places, **changes})


def cloud_of(site: Site, **changes: Any) -> OpenStackCloud:
    credentials = keys_of(site.api, **changes)
    return connect(lambda _: credentials, site.http(site.api), site.clock)


def trouble_of(read: Callable[[], object]) -> CloudTrouble:
    with pytest.raises(CloudTrouble) as trouble:
        read()
    return trouble.value


def statuses(site: Site) -> list[int]:
    return [call.status for call in site.api.calls]


@pytest.mark.parametrize("dialect", ["credential", "access"])
def test_a_detach_by_key(site: Site, dialect: str) -> None:
    """Reads and the DELETE are signed in the chosen dialect, which the cloud verifies; no token is requested."""
    site.deployment.dialects = (dialect,)
    cloud = cloud_of(site, signing=dialect)
    assert cloud.project_id() == site.world.project.id
    assert cloud.server(site.server).value is not None
    assert cloud.listing(site.server).value
    assert cloud.detach(site.server, site.volume).value.answer.kind is AnswerClass.ACCEPTED
    assert (site.count("get_token"), set(statuses(site))) == (0, {200, 202})


def test_the_other_dialect_is_refused(site: Site) -> None:
    """A cloud that accepts one dialect refuses the other, which is reported like a wrong key."""
    site.deployment.dialects = ("access",)
    trouble = trouble_of(lambda: cloud_of(site).volume(site.volume))
    assert (trouble.classified.kind, trouble.classified.reason) == (AnswerClass.PERMANENT, Reason.UNAUTHORIZED)


def test_a_project_by_name(site: Site) -> None:
    """One signed GET finds the project's id, also for later calls; the query is signed as it is sent."""
    other = site.world.add_project("eu-de_my project")
    key = site.api.identity.access_keys.add(
        AccessKey(OTHER.access, OTHER.secret, site.api.identity.add_user("second", "pw", project=other).id)
    )
    cloud = cloud_of(site, key=key, project_id=None, project_name=other.name)
    assert cloud.project_id() == other.id
    assert cloud.listing(site.server).value is None  # that project has no such server
    assert site.count("list_projects") == 1


@pytest.mark.parametrize("namesakes", [0, 2])
def test_an_unknown_or_ambiguous_project(site: Site, namesakes: int) -> None:
    """If no project or several have the name, the error names the setting to use."""
    identity = site.api.identity
    projects = [site.world.add_project("twin") for _ in range(namesakes)]
    roles = {project.id: ("member",) for project in projects}
    identity.users = [type(user)(user.id, user.name, user.password, user.domain_name, {**user.roles, **roles})
                      for user in identity.users]  # fmt: skip
    classified = trouble_of(cloud_of(site, project_id=None, project_name="twin").project_id).classified
    assert classified.reason is Reason.UNAUTHORIZED
    assert "OS_PROJECT_ID" in classified.message


# ------------------------------------------------------------------------------------------------ refused signatures


def test_a_wrong_key_is_final(site: Site) -> None:
    """Only one request is sent; later ones are refused locally, with the cloud's reason."""
    cloud = cloud_of(site, secret_key=WRONG)
    reads: list[Callable[[], object]] = [
        lambda: cloud.volume(site.volume), lambda: cloud.listing(site.server), cloud.check,
    ]  # fmt: skip
    for read in reads:
        trouble = trouble_of(read)
        assert (trouble.classified.kind, trouble.classified.reason) == (AnswerClass.PERMANENT, Reason.UNAUTHORIZED)
        assert trouble.classified.code == "APIGW.0301"
    assert statuses(site) == [401]


def test_a_wrong_key_finds_no_project(site: Site) -> None:
    """The lookup of a project by its name is not repeated either."""
    cloud = cloud_of(site, secret_key=WRONG, project_id=None, project_name="eu-de")
    for _ in range(3):
        assert trouble_of(cloud.check).classified.reason is Reason.UNAUTHORIZED
    assert statuses(site) == [401]


@pytest.mark.parametrize("by", ["read", "delete", "login"])
def test_echoes_in_a_refusal_are_not_shown(site: Site, by: str) -> None:
    """The gateway repeats the request with the access key; neither appears in a verdict."""
    known = site.api.identity.access_keys.add(AccessKey("A" * 3 + "lower-case-key", OTHER.secret, "", "temp-token-1"))
    named: dict[str, Any] = {"project_id": None, "project_name": "eu-de"} if by == "login" else {}
    cloud = cloud_of(site, key=known, secret_key=WRONG, **named)
    if by == "delete":
        access = cloud.login.access()
        assert access.keys
        sent = cloud.detach(site.server, site.volume)
        result: tuple[Classified, tuple[Call, ...]] = sent.value.answer, sent.calls
    else:
        trouble = trouble_of(lambda: cloud.volume(site.volume))
        result = trouble.classified, trouble.calls
    assert known.access in site.api.calls[-1].answer.body.decode()  # type: ignore[union-attr]
    assert "verify aksk" in str(result)
    shown = f"{result} {cloud.login} {cloud.login.held}"
    assert [secret for secret in (known.access, WRONG, known.token) if secret in shown] == []


def test_a_refusal_ends_in_one_redaction(site: Site) -> None:
    """The message ends after the redacted key, with whole brackets, and no second redaction damages them."""
    message = trouble_of(lambda: cloud_of(site, secret_key=WRONG).volume(site.volume)).classified.message
    assert message.endswith("verify aksk signature fail, AK: [redacted]")
    assert redact(message) == message


@pytest.mark.parametrize("separated", [", canonicalRequest: GET", ' "CanonicalRequest": "GET',
                                       "; canonical request GET", " (canonical request: GET)"])  # fmt: skip
@pytest.mark.parametrize("told", ["AK: [redacted]", "(wrong key)"])
def test_the_quoted_request_is_left_out(site: Site, told: str, separated: str) -> None:
    """With what separates it from the message, whose own brackets stay closed."""
    body = bodies.gateway_error("APIGW.0301", f"Incorrect IAM authentication information: {told}{separated} /v3", 401)
    site.api.faults.add(Fault(faults.answer(body), operation="get_volume"))
    message = trouble_of(lambda: cloud_of(site).volume(site.volume)).classified.message
    assert message.endswith(f"Incorrect IAM authentication information: {told}")


def test_a_refused_delete_leaves_the_outcome_open(site: Site) -> None:
    """As with a token: the next look, not another DELETE, finds that the key is refused."""
    cloud = cloud_of(site)
    cloud.volume(site.volume)
    refusal = faults.answer(bodies.gateway_error("APIGW.0301", "Incorrect IAM authentication information", 401))
    site.api.faults.add(Fault(refusal, operation="delete_attachment"))
    assert cloud.detach(site.server, site.volume).value.answer.kind is AnswerClass.RECONCILE
    assert trouble_of(lambda: cloud.volume(site.volume)).classified.reason is Reason.UNAUTHORIZED
    site.clock.sleep(30)
    assert cloud.volume(site.volume).value is not None
    assert (site.count("delete_attachment"), site.count("get_volume")) == (1, 2)


def test_a_wrong_key_is_not_tried_often_enough_to_be_locked() -> None:
    """With a look every ten seconds for three hours, at most four requests are sent in any fifteen minutes."""
    site = Site(http=in_process)
    cloud, start = cloud_of(site, secret_key=WRONG), site.clock()
    while site.clock() < start + timedelta(hours=3):
        trouble_of(lambda: cloud.volume(site.volume))
        site.clock.sleep(10)
    tries = [(call.at - start).total_seconds() for call in site.api.calls]
    assert tries[:5] == [0, 30, 630, 1530, 2430]
    assert max(sum(at <= other <= at + 900 for other in tries) for at in tries) <= 4


class Concurrency(InProcessAdapter):
    """Holds back each request for a moment, until more than `allowed` have arrived; `most` is the maximum."""

    def __init__(self, api: CloudApi, allowed: int) -> None:
        super().__init__(api)
        self.allowed, self.most, self._here = allowed, 0, 0
        self._came = threading.Condition()

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        with self._came:
            self._here += 1
            self.most = max(self.most, self._here)
            self._came.notify_all()
            self._came.wait_for(lambda: self.most > self.allowed, 0.05)
        try:
            return super().send(request, *arguments, **options)
        finally:
            with self._came:
                self._here -= 1


def burst(site: Site, adapter: InProcessAdapter, read: Callable[[float], CloudCredentials], proven: bool) -> list[Any]:
    """The results of a hundred concurrent reads. `proven` keys work once before they are deleted."""
    http = requests.Session()
    http.mount("http://", adapter)
    cloud = connect(read, http, site.clock)
    if proven:
        cloud.volume(site.volume)
        site.api.identity.access_keys.keys.clear()

    def ask(_: int) -> object:
        try:
            return cloud.volume(site.volume).value
        except CloudTrouble as trouble:
            return trouble.classified.reason

    with ThreadPoolExecutor(100) as pool:
        return list(pool.map(ask, range(100)))


@pytest.mark.parametrize(("proven", "most"), [(False, 1), (True, 3)])
def test_a_burst_cannot_lock_a_key(proven: bool, most: int) -> None:
    """A hundred concurrent requests send only a few wrong signatures, whether or not the key was valid before."""
    site = Site(http=in_process)
    adapter = Concurrency(site.api, most)
    wrong = keys_of(site.api) if proven else keys_of(site.api, secret_key=WRONG)
    assert set(burst(site, adapter, lambda _: wrong, proven)) == {Reason.UNAUTHORIZED}
    assert statuses(site).count(401) <= most
    assert adapter.most <= most
    assert site.api.identity.access_keys.locked == []


def test_the_simulated_cloud_locks_a_key(site: Site) -> None:
    """Without our limits, five wrong signatures in a row lock the key, and a right one is refused too."""
    for _ in range(5):
        trouble_of(lambda: cloud_of(site, secret_key=WRONG).volume(site.volume))
    assert site.api.identity.access_keys.locked == [site.api.identity.access_key.access]
    assert trouble_of(lambda: cloud_of(site).volume(site.volume)).classified.reason is Reason.UNAUTHORIZED
    site.clock.sleep(301)
    assert cloud_of(site).volume(site.volume).value is not None


# --------------------------------------------------------------------------------------------------- other keys


def test_rotated_keys_are_tried_at_once(site: Site) -> None:
    """A read whose signature was refused is repeated with the keys that the secret has now."""
    secrets = [keys_of(site.api)]
    cloud = connect(lambda _: secrets[-1], site.http(site.api), site.clock)
    cloud.volume(site.volume)
    identity = site.api.identity
    identity.access_keys.keys.clear()
    new = identity.access_keys.add(AccessKey(OTHER.access, OTHER.secret, identity.user.id))
    secrets.append(keys_of(site.api, new))
    assert cloud.volume(site.volume).value is not None
    assert statuses(site) == [200, 401, 200]


def test_every_read_of_a_burst_gets_the_rotated_keys() -> None:
    """Reads that waited for the refused one are sent with the new keys, and none of them fails."""
    site = Site(http=in_process)
    new = site.api.identity.access_keys.add(AccessKey(OTHER.access, OTHER.secret, site.api.identity.user.id))
    old = keys_of(site.api, secret_key=WRONG)
    found = burst(
        site, Concurrency(site.api, 3), lambda kept: keys_of(site.api, new) if kept <= SECRET_NEWEST else old, False
    )
    assert (len(found), Reason.UNAUTHORIZED in found) == (100, False)
    assert statuses(site).count(401) == 1


def test_expired_temporary_keys_are_read_again(site: Site) -> None:
    """They are used until they are refused; then the secret is read again, not from the cache."""
    identity, reads = site.api.identity, []
    hour = timedelta(hours=1)

    def temporary(number: int) -> AccessKey:
        ends = site.clock() + hour
        key = AccessKey(f"TEMPORARYKEY{number:08}", f"{number:040}", identity.user.id, f"token-{number}", ends)
        return identity.access_keys.add(key)

    held = [temporary(1)]

    def read(kept_seconds: float) -> CloudCredentials:
        reads.append(kept_seconds)
        return keys_of(site.api, held[-1])

    cloud = connect(read, site.http(site.api), site.clock)
    assert cloud.volume(site.volume).value is not None
    site.clock.sleep(3600)
    held.append(temporary(2))
    assert cloud.volume(site.volume).value is not None
    assert (statuses(site), reads[1:]) == ([200, 401, 200], [SECRET_NEWEST])


def test_a_refused_key_can_be_replaced_by_a_password(site: Site) -> None:
    """When the secret is read again, it may contain another kind of login."""
    secrets = [keys_of(site.api, secret_key=WRONG)]
    cloud = connect(lambda _: secrets[-1], site.http(site.api), site.clock)
    trouble_of(lambda: cloud.volume(site.volume))
    secrets.append(credentials_of(site.api))
    assert cloud.volume(site.volume).value is not None
    assert site.count("get_token") == 1


@pytest.mark.parametrize(("minutes", "skew"), [(20, "20 minutes ahead of"), (-31, "31 minutes behind"), (-10, "")])
def test_a_skewed_clock_is_reported(site: Site, minutes: int, skew: str) -> None:
    """The refusal's Date header shows the skew; beyond 15 minutes no signature is valid."""
    credentials = keys_of(site.api)
    ours = lambda: site.clock() + timedelta(minutes=minutes)  # noqa: E731
    cloud = connect(lambda _: credentials, site.http(site.api), ours)
    if not skew:
        assert cloud.volume(site.volume).value is not None
        return
    classified = trouble_of(lambda: cloud.volume(site.volume)).classified
    assert f"this clock is {skew} the cloud's" in classified.message


# ---------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("region", "domain"), [("eu-de", "otc"), ("eu-nl", "otc"), ("eu-ch2", "sc.otc")]
)  # fmt: skip
def test_the_addresses_of_a_region(region: str, domain: str) -> None:
    """The name of a region of Open Telekom Cloud is enough; no Keystone address is needed."""
    site = Site(http=in_process)
    places: dict[str, Any] = {"auth_url": None, "compute_endpoint": None, "volume_endpoint": None}
    credentials = keys_of(site.api, region_name=region, **places)
    access = Login(lambda _: credentials, in_process(site.api), site.clock).access()
    project, host = site.world.project.id, f"{region}.{domain}.t-systems.com"
    assert access.services == {
        Service.COMPUTE: f"https://ecs.{host}/v2.1/{project}",
        Service.BLOCK_STORAGE: f"https://evs.{host}/v3/{project}",
        Service.IMAGE: f"https://ims.{host}/v2",
    }
    iam = "iam-pub" if region == "eu-ch2" else "iam"
    assert credentials.auth_url == f"https://{iam}.{host}/v3"
    assert site.api.calls == []


def test_the_project_is_looked_up_at_the_regions_identity_service() -> None:
    """The request is signed for that host; the simulated cloud serves it."""
    site = Site(http=in_process)
    places: dict[str, Any] = {"auth_url": None, "compute_endpoint": None, "volume_endpoint": None}
    credentials = keys_of(site.api, region_name="eu-ch2", project_id=None, project_name="eu-de", **places)
    cloud = connect(lambda _: credentials, in_process(site.api), site.clock)
    assert cloud.volume(site.volume).value is not None
    assert cloud.detach(site.server, site.volume).value.answer.kind is AnswerClass.ACCEPTED


def test_an_endpoint_setting_overrides_the_region() -> None:
    """A configured endpoint is used; the others stay those of the region."""
    site = Site(http=in_process)
    credentials = keys_of(site.api, auth_url=None, region_name="eu-de", volume_endpoint=None)
    services = Login(lambda _: credentials, in_process(site.api), site.clock).access().services
    assert services[Service.COMPUTE].startswith(site.deployment.base_url)
    assert services[Service.BLOCK_STORAGE].startswith("https://evs.eu-de.")


def test_no_time_is_spent_beyond_the_deadline() -> None:
    """A signed request that waits for others ends at its own limit, and is not sent."""
    site = Site(http=in_process)
    cloud = cloud_of(site)
    access = cloud.login.access()
    assert access.keys
    limit(0.05, None, site.clock)
    access.keys._unanswered = 1
    with pytest.raises(NoAnswer) as late:
        access.keys.request(cloud.calls.http, "GET", f"{site.deployment.base_url}/v2.1/")
    assert (late.value.classified.code, site.api.calls) == ("no_time", [])


# ----------------------------------------------------------------------------------------------------- agencies


def agency(site: Site, **changes: object) -> dict[str, object]:
    """An agency of another account with its own project, and credentials that use it."""
    theirs = site.world.add_project("eu-de_theirs", domain_name="Theirs")
    site.api.identity.add_agency("detacher", theirs, "Default")
    return {"agency_name": "detacher", "agency_domain_name": "Theirs", "user_domain_name": "Default",
            "project_id": None, "project_name": theirs.name, **changes}  # fmt: skip


@pytest.mark.parametrize("named", ["project_name", "delegated_project", "project_id"])
def test_an_agency_gives_a_token(site: Site, named: str) -> None:
    """The usual login comes first, then the agency's, in a project of the account that owns it."""
    taken = agency(site)
    theirs = next(one for one in site.world.projects.values() if one.name == "eu-de_theirs")
    project: dict[str, object] = {"project_name": None, named: theirs.id if named == "project_id" else theirs.name}
    server = site.world.add_server(project_id=theirs.id).id
    cloud = site.connect(**{**taken, **project})
    assert cloud.project_id() == theirs.id
    assert cloud.server(server).value is not None
    assert cloud.server(site.server).value is None
    assert site.count("get_token") == 2


def test_an_agency_by_a_token(site: Site) -> None:
    """A token in the credentials replaces the first login."""
    own = site.connect().login.access().token
    cloud = site.connect(**agency(site, token=own, username=None, password=None))
    cloud.check()
    assert site.count("get_token") == 2


def test_a_lost_token_of_an_agency_is_renewed(site: Site) -> None:
    """Both logins are repeated, since the first token is lost too."""
    cloud = site.connect(**agency(site))
    cloud.volume(site.volume)
    site.api.revoke_tokens()
    assert cloud.volume(site.volume).value is None
    assert site.count("get_token") == 4


@pytest.mark.parametrize("wrong", [{"agency_name": "other"}, {"agency_domain_name": "Else"}, {"password": "hunter2"}])
def test_an_unavailable_agency(site: Site, wrong: dict[str, object]) -> None:
    """An unknown agency or a wrong password is reported as unauthorized, without showing a secret."""
    trouble = trouble_of(site.connect(**agency(site, **wrong)).check)
    assert trouble.classified.reason is Reason.UNAUTHORIZED
    assert "hunter2" not in f"{trouble} {trouble.calls}"


def test_a_signature_is_valid_only_for_the_signed_request(site: Site) -> None:
    """The simulated cloud verifies signatures: it refuses them for another path, project or body."""
    cloud = cloud_of(site)
    cloud.volume(site.volume)
    headers = {"X-Project-Id": site.world.project.id}
    keys = cloud.login.access().keys
    assert keys
    prepared = requests.Session().prepare_request(
        requests.Request("GET", f"{site.deployment.base_url}/v3/projects?name=a", headers, auth=keys.signer)
    )
    sent = {name: str(value) for name, value in prepared.headers.items()}
    assert site.api.handle("GET", "/v3/projects?name=a", sent).status == 200
    for method, target, changed, body in (
        ("GET", "/v3/projects?name=b", {}, b""),
        ("GET", "/v3/projects", {}, b""),
        ("GET", "/v3/projects?name=a", {"X-Project-Id": "1" * 32}, b""),
        ("GET", "/v3/projects?name=a", {"Host": "elsewhere"}, b""),
        ("GET", "/v3/projects?name=a", {}, b"x"),
    ):
        answer = site.api.handle(method, target, sent | changed, body)
        assert answer.status == 401
        assert json.loads(answer.body)["error_code"] == "APIGW.0301"
        site.api.identity.access_keys._failures.clear()
