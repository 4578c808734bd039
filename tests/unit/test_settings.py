"""Settings: sensible defaults, complete errors, and no values in messages."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.policy import Policy, RunningServerPolicy, ServerKind
from shared.settings import CloudCredentials, Settings, SettingsError, cloud_variables, load, unread

QUEUE = {"REQUEST_QUEUE_URL": "https://sqs/queue"}
SECRET = "hunter2-do-not-show"
PASSWORD = {
    "OS_AUTH_URL": "https://iam.example.com/v3",
    "OS_USERNAME": "robot",
    "OS_PASSWORD": SECRET,
    "OS_PROJECT_ID": "c685484a8cc2416b97260938705deb65",
}
APPLICATION = {
    "OS_AUTH_URL": "https://iam.example.com/v3",
    "OS_APPLICATION_CREDENTIAL_ID": "a1",
    "OS_APPLICATION_CREDENTIAL_SECRET": SECRET,
}
ACCESS_KEY = {
    "OS_ACCESS_KEY": SECRET,
    "OS_SECRET_KEY": SECRET,
    "OS_REGION_NAME": "eu-de",
    "OS_PROJECT_ID": "c685484a8cc2416b97260938705deb65",
}
AGENCY = {**PASSWORD, "OS_USER_DOMAIN_NAME": "Ours", "OS_AGENCY_NAME": "detacher", "OS_AGENCY_DOMAIN_NAME": "Theirs"}
TOKEN = {
    "OS_AUTH_URL": "https://iam.example.com/v3",
    "OS_TOKEN": SECRET,
    "OS_PROJECT_ID": "c685484a8cc2416b97260938705deb65",
}


def without(values: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in names}


def refusal_of(model: type[Settings] | type[CloudCredentials], values: Mapping[str, object]) -> str:
    with pytest.raises(SettingsError) as refused:
        load(model, values)
    assert refused.value.__cause__ is None
    return str(refused.value)


def test_defaults() -> None:
    """With only the queue set, the settings are the documented defaults, which are also the core's."""
    settings = load(Settings, QUEUE)
    assert settings.policy == Policy()
    assert (settings.event_bus_name, settings.event_source) == ("default", "/bms-volume-detach")
    assert (settings.event_type_prefix, settings.cloud_secret_id) == ("bms", None)


def test_everything_can_be_set() -> None:
    """Each variable reaches its policy; other variables are ignored."""
    values = QUEUE | {"CONFIRM_TIMEOUT": "60", "WATCH_TIMEOUT": "120.5", "REQUEST_TTL": "30", "FENCE_SKEW": "0",
                      "REQUEST_TTL_LIMIT": "40", "RUNNING_SERVER_POLICY": "stopped_only", "PATH": "/bin",
                      "SERVER_KIND": "bare_metal"}  # fmt: skip
    expected = Policy(timedelta(seconds=60), timedelta(seconds=120.5), timedelta(seconds=30), timedelta(0),
                      RunningServerPolicy.STOPPED_ONLY, timedelta(seconds=40),
                      server_kind=ServerKind.BARE_METAL)  # fmt: skip
    assert expected == load(Settings, values).policy


def test_all_faults_are_said_at_once() -> None:
    """One error lists all faults, each with the name to correct."""
    values = {"CONFIRM_TIMEOUT": "-1", "WATCH_TIMEOUT": "soon", "REQUEST_TTL": "0", "FENCE_SKEW": "301",
              "REQUEST_TTL_LIMIT": "604801",
              "RUNNING_SERVER_POLICY": "yolo", "SERVER_KIND": "virtual", "EVENT_TYPE_PREFIX": "Bad Prefix"}  # fmt: skip
    message = refusal_of(Settings, values)
    assert [name for name in ("REQUEST_QUEUE_URL", *values) if name not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize(
    "name", ["CONFIRM_TIMEOUT", "EVENT_BUS_NAME", "CLOUD_SECRET_ID", "RUNNING_SERVER_POLICY", "SERVER_KIND"]
)
def test_empty_means_unset(name: str) -> None:
    """An empty variable has its default, because templates and shells leave such variables."""
    assert load(Settings, QUEUE | {name: ""}) == load(Settings, QUEUE)


def test_empty_is_missing_where_something_is_needed() -> None:
    """An empty queue URL or password counts as missing."""
    assert "REQUEST_QUEUE_URL" in refusal_of(Settings, {"REQUEST_QUEUE_URL": ""})
    assert "OS_PASSWORD" in refusal_of(CloudCredentials, PASSWORD | {"OS_PASSWORD": ""})


@pytest.mark.parametrize("values", [PASSWORD, APPLICATION, ACCESS_KEY, AGENCY])
def test_secret_and_environment_say_the_same(values: dict[str, str]) -> None:
    """The names of a secret (lower case, no OS_) and OpenStack's own give equal credentials."""
    lower = {name.removeprefix("OS_").lower(): value for name, value in values.items()}
    assert load(CloudCredentials, lower) == load(CloudCredentials, values)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("OS_USER_DOMAIN_NAME", "user_domain_name"),
        ("OS_PROJECT_NAME", "project_name"),
        ("OS_PROJECT_DOMAIN_NAME", "project_domain_name"),
        ("OS_REGION_NAME", "region"),
        ("OS_INTERFACE", "interface"),
        ("OS_CACERT", "cacert"),
        ("COMPUTE_ENDPOINT", "compute_endpoint"),
        ("VOLUME_ENDPOINT", "volume_endpoint"),
    ],
)
def test_both_spellings_of_every_name(name: str, field: str) -> None:
    """Each optional value is read by its variable and by its name in the secret."""
    value = "https://value" if name.endswith("_ENDPOINT") else "value"
    for spelling in (name, name.removeprefix("OS_").lower()):
        assert getattr(load(CloudCredentials, PASSWORD | {spelling: value}), field) == value


@pytest.mark.parametrize("name", ["OS_AUTH_URL", "COMPUTE_ENDPOINT", "VOLUME_ENDPOINT", "BMS_ENDPOINT"])
@pytest.mark.parametrize(
    "address", ["evs.example.com", "ftp://evs", "https://", "https://evs?a=b", "https://evs/v3#c", "https://e vs"]
)
def test_unusable_addresses(name: str, address: str) -> None:
    """A path is appended to each address: one without a scheme or a host, or with a query, is refused by its name."""
    assert name in refusal_of(CloudCredentials, PASSWORD | {name: address})


@pytest.mark.parametrize("name", ["OS_TOKEN", "OS_ACCESS_KEY", "OS_SECURITY_TOKEN"])
@pytest.mark.parametrize("value", ["0123456789\n", " 0123456789", "0123456789…"])
def test_a_secret_that_no_header_can_hold(name: str, value: str) -> None:
    """It is refused by its name, and not shown."""
    key = {"OS_ACCESS_KEY": "key", "OS_SECRET_KEY": "secret"} if name != "OS_TOKEN" else {}
    values = {**without(PASSWORD, "OS_PASSWORD"), "OS_REGION_NAME": "eu-de", **key, name: value}
    message = refusal_of(CloudCredentials, values)
    assert name in message
    assert "0123456789" not in message


@pytest.mark.parametrize("name", ["OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_ID"])
def test_a_password_login_is_complete(name: str) -> None:
    """A missing user, password or project is named, with the alternative login."""
    message = refusal_of(CloudCredentials, without(PASSWORD, name))
    assert name in message
    assert "application credential" in message


def test_all_that_is_missing_is_named() -> None:
    """With only an address, everything else is listed."""
    message = refusal_of(CloudCredentials, {"OS_AUTH_URL": "https://iam.example.com"})
    assert [
        name for name in ("OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_ID", "OS_PROJECT_NAME") if name not in message
    ] == []


def test_a_project_may_go_by_name() -> None:
    """A project's name can replace its id."""
    assert load(CloudCredentials, without(PASSWORD, "OS_PROJECT_ID") | {"OS_PROJECT_NAME": "eu-de"}).project_id is None


def test_an_application_credential_is_complete() -> None:
    """An id needs its secret, and then nothing else."""
    assert load(CloudCredentials, APPLICATION).username is None
    message = refusal_of(CloudCredentials, without(APPLICATION, "OS_APPLICATION_CREDENTIAL_SECRET"))
    assert "OS_APPLICATION_CREDENTIAL_SECRET" in message


@pytest.mark.parametrize("url", ["", "iam.example.com", "ftp://iam.example.com", "file:///etc/passwd"])
def test_auth_url_is_a_url(url: str) -> None:
    """An invalid address is reported before anything is sent."""
    assert "OS_AUTH_URL" in refusal_of(CloudCredentials, PASSWORD | {"OS_AUTH_URL": url})


@pytest.mark.parametrize(
    "name", ["OS_TRUST_ID", "OS_SYSTEM_SCOPE", "OS_DOMAIN_ID", "OS_DOMAIN_NAME", "OS_CERT", "OS_KEY", "OS_PASSCODE"]
)
def test_unsupported_values_that_change_the_login_are_refused(name: str) -> None:
    """By name, also in a secret; an empty value counts as unset."""
    for spelling in (name, name.removeprefix("OS_").lower()):
        assert name in refusal_of(CloudCredentials, PASSWORD | {spelling: SECRET})
        load(CloudCredentials, PASSWORD | {spelling: ""})


@pytest.mark.parametrize(
    ("name", "values"),
    [("OS_AUTH_TYPE", ("v2token", "v2password", "v3oidcpassword")), ("OS_IDENTITY_API_VERSION", ("2", "2.0", "v4"))],
)
def test_unsupported_values_are_refused(name: str, values: tuple[str, ...]) -> None:
    """Another kind of login, or another version of the API, is reported before anything is sent."""
    for value in values:
        assert name in refusal_of(CloudCredentials, PASSWORD | {name: value})


@pytest.mark.parametrize("version", ["3", "v3", "3.0", 3])
def test_version_3_in_every_spelling(version: object) -> None:
    """A number in a secret counts as its text."""
    load(CloudCredentials, PASSWORD | {"identity_api_version": version})


@pytest.mark.parametrize("name", ["OS_TOKEN", "OS_AUTH_TOKEN", "token", "auth_token"])
def test_a_token_needs_its_project(name: str) -> None:
    """It replaces user and password, under either name; both names have to agree."""
    values = without(TOKEN, "OS_TOKEN") | {name: SECRET}
    assert load(CloudCredentials, values).auth_type == "token"
    assert "OS_PROJECT_ID" in refusal_of(CloudCredentials, without(values, "OS_PROJECT_ID"))
    assert "OS_TOKEN" in refusal_of(CloudCredentials, without(values, name) | {"OS_AUTH_TYPE": "token"})
    assert "OS_AUTH_TOKEN" in refusal_of(CloudCredentials, TOKEN | {"auth_token": "another"})


def test_two_ways_to_log_in_are_one_too_many() -> None:
    """Unless the type says which one counts; both are named."""
    both = PASSWORD | APPLICATION
    message = refusal_of(CloudCredentials, both)
    assert "OS_APPLICATION_CREDENTIAL_ID" in message
    assert "OS_PASSWORD" in message
    assert load(CloudCredentials, both | {"OS_AUTH_TYPE": "v3applicationcredential"}).named_project is None
    assert load(CloudCredentials, both | {"OS_AUTH_TYPE": "password"}).named_project == PASSWORD["OS_PROJECT_ID"]
    for other, name in ((PASSWORD, "OS_PASSWORD"), (APPLICATION, "OS_APPLICATION_CREDENTIAL_")):
        message = refusal_of(CloudCredentials, TOKEN | other)
        assert "OS_TOKEN" in message
        assert name in message


@pytest.mark.parametrize("name", ["OS_ACCESS_KEY", "OS_SECRET_KEY", "OS_PROJECT_ID", "OS_REGION_NAME"])
def test_an_access_key_is_complete(name: str) -> None:
    """The key, its secret, a project and a region: what is missing is named. Only a temporary key has a token."""
    assert load(CloudCredentials, ACCESS_KEY).auth_type == "aksk"
    assert name in refusal_of(CloudCredentials, without(ACCESS_KEY, name))
    assert load(CloudCredentials, ACCESS_KEY | {"OS_SECURITY_TOKEN": SECRET, "OS_SIGNING": "access"}).security_token
    assert "OS_SIGNING" in refusal_of(CloudCredentials, ACCESS_KEY | {"OS_SIGNING": "v4"})


def test_the_place_of_an_access_key() -> None:
    """A region of Open Telekom Cloud, by its name or by the address of its identity service; or both endpoints."""
    bare = without(ACCESS_KEY, "OS_REGION_NAME")
    both = {"COMPUTE_ENDPOINT": "https://nova", "VOLUME_ENDPOINT": "https://cinder"}
    swiss = load(CloudCredentials, bare | {"OS_AUTH_URL": "https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3"})
    assert swiss.place
    assert swiss.place.name == "eu-ch2"
    assert load(CloudCredentials, bare | both).auth_url == ""
    for elsewhere in ({"OS_REGION_NAME": "eu-xx"}, {"OS_AUTH_URL": "https://iam.example.com/v3"}, {},
                      {"OS_AUTH_URL": "https://iam.example.com/v3", "OS_REGION_NAME": "eu-de"}):  # fmt: skip
        assert "COMPUTE_ENDPOINT" in refusal_of(CloudCredentials, bare | elsewhere)
    by_name = without(bare, "OS_PROJECT_ID") | {"OS_PROJECT_NAME": "eu-de"} | both
    assert "OS_AUTH_URL" in refusal_of(CloudCredentials, by_name)


@pytest.mark.parametrize("region", ["eu-nl", "eu-ch2", "eu-xx"])
def test_an_access_key_is_not_for_two_regions(region: str) -> None:
    """The identity service of one region beside another region's name is refused; with both endpoints neither counts.

    For other logins the catalog says which regions there are.
    """
    two = {"OS_AUTH_URL": "https://iam.eu-de.otc.t-systems.com:443/v3", "OS_REGION_NAME": region}
    one = {"COMPUTE_ENDPOINT": "https://nova"}
    for some in ({}, one, {"VOLUME_ENDPOINT": "https://cinder"}):
        message = refusal_of(CloudCredentials, ACCESS_KEY | two | some)
        assert "OS_AUTH_URL belongs to the region eu-de, and OS_REGION_NAME names another" in message
    for servers in (one, {"BMS_ENDPOINT": "https://bms"}):
        both = servers | {"VOLUME_ENDPOINT": "https://cinder"}
        assert load(CloudCredentials, ACCESS_KEY | two | both).region == region
    assert load(CloudCredentials, PASSWORD | two).region == region
    assert load(CloudCredentials, ACCESS_KEY | two | {"OS_REGION_NAME": "eu-de"}).place


def test_each_fault_of_an_access_key_is_said_at_once() -> None:
    """A wrong region, and what is missing."""
    message = refusal_of(CloudCredentials, without(ACCESS_KEY, "OS_PROJECT_ID") | {"OS_REGION_NAME": "eu-xx"})
    assert "OS_REGION_NAME is no region with known endpoints (eu-de, eu-nl, eu-ch2)" in message
    assert "OS_PROJECT_ID or OS_PROJECT_NAME must be set" in message
    assert "eu-xx" not in message


def test_an_access_key_beside_another_way_is_refused() -> None:
    """Both are named, an agency too; the type chooses one, but an agency is never ignored silently."""
    place = {"OS_AUTH_URL": PASSWORD["OS_AUTH_URL"], "OS_REGION_NAME": "eu-de"}
    for name in ("OS_PASSWORD", "OS_TOKEN", "OS_APPLICATION_CREDENTIAL_ID", "OS_AGENCY_NAME"):
        message = refusal_of(CloudCredentials, ACCESS_KEY | place | {name: SECRET})
        assert name in message
        assert "OS_ACCESS_KEY" in message
    assert load(CloudCredentials, ACCESS_KEY | PASSWORD | {"OS_AUTH_TYPE": "password"}).auth_type == "password"
    assert "OS_AGENCY_NAME" in refusal_of(CloudCredentials, AGENCY | {"OS_AUTH_TYPE": "password"})
    assert "OS_SECURITY_TOKEN" in refusal_of(CloudCredentials, PASSWORD | {"OS_SECURITY_TOKEN": SECRET})


@pytest.mark.parametrize("name", ["OS_AGENCY_NAME", "OS_AGENCY_DOMAIN_NAME", "OS_USER_DOMAIN_NAME", "OS_PASSWORD"])
def test_an_agency_is_complete(name: str) -> None:
    """It needs its name, its owner, and its own login with a domain, or a token."""
    assert load(CloudCredentials, AGENCY).auth_type == "agency"
    assert name in refusal_of(CloudCredentials, without(AGENCY, name))
    by_token = without(AGENCY, "OS_PASSWORD", "OS_USERNAME", "OS_USER_DOMAIN_NAME") | {"OS_TOKEN": SECRET}
    assert load(CloudCredentials, by_token).named_project == PASSWORD["OS_PROJECT_ID"]
    assert load(CloudCredentials, AGENCY | {"OS_DELEGATED_PROJECT": "eu-de_theirs"}).named_project is None


def test_two_names_of_one_value_agree() -> None:
    """The older name of a project beside the newer one must not name another project."""
    same = PASSWORD | {"OS_TENANT_ID": PASSWORD["OS_PROJECT_ID"]}
    assert load(CloudCredentials, same) == load(CloudCredentials, PASSWORD)
    message = refusal_of(CloudCredentials, PASSWORD | {"tenant_id": "0" * 32})
    assert "OS_PROJECT_ID" in message
    assert "OS_TENANT_ID" in message


@pytest.mark.parametrize("missing", ["OS_APPLICATION_CREDENTIAL_SECRET", "OS_USERNAME"])
def test_an_application_credential_by_name_needs_its_user(missing: str) -> None:
    """A credential's name is one of its user's."""
    values = without(APPLICATION, "OS_APPLICATION_CREDENTIAL_ID") | {"OS_USERNAME": "robot"}
    values |= {"OS_APPLICATION_CREDENTIAL_NAME": "automation"}
    load(CloudCredentials, values)
    assert "OS_APPLICATION_CREDENTIAL" in refusal_of(CloudCredentials, without(values, missing))


@pytest.mark.parametrize("name", ["OS_INTERFACE", "OS_ENDPOINT_TYPE", "interface", "endpoint_type"])
@pytest.mark.parametrize("interface", ["public", "internal", "admin"])
def test_interfaces_in_the_old_spelling(name: str, interface: str) -> None:
    """`internalURL` is `internal`, under either name."""
    for spelling in (interface, f"{interface}URL"):
        assert load(CloudCredentials, PASSWORD | {name: spelling}).interface == interface


def test_unused_names_are_found() -> None:
    """In an environment the unused names of OpenStack's, in a secret every unused key."""
    environment = PASSWORD | {"OS_TYPO_NAME": "x", "OS_VOLUME_API_VERSION": "3", "OS_CLOUDNAME": "", "PATH": "/bin",
                              "key": "value", "COMPUTE_ENDPOINT": "https://nova", "VOLUME_ENDPOINT": ""}  # fmt: skip
    variables = cloud_variables(environment)
    load(CloudCredentials, variables)
    assert unread(variables) == ["OS_TYPO_NAME", "OS_VOLUME_API_VERSION"]
    assert unread({"auth_url": "x", "usrname": "x", "tenant_name": "x"}) == ["usrname"]


ALL = [*PASSWORD, *APPLICATION, *ACCESS_KEY, *AGENCY, "OS_SECURITY_TOKEN", "OS_SIGNING"]
NAMES = st.sampled_from([*ALL, *(name[3:].lower() for name in ALL)])


@given(
    values=st.dictionaries(NAMES, st.sampled_from(["", SECRET])),
    more=st.dictionaries(st.sampled_from(["CONFIRM_TIMEOUT", "EVENT_TYPE_PREFIX", "FENCE_SKEW"]), st.just(SECRET)),
)
def test_no_value_is_ever_shown(values: dict[str, str], more: dict[str, str]) -> None:
    """For any fault, and a secret in any wrong place, the message shows names only."""
    for model in (Settings, CloudCredentials):
        shown = ""
        try:
            load(model, values | more)
        except SettingsError as error:
            shown = f"{error} {error!r} {error.__cause__!r}"
        assert SECRET not in shown


def test_credentials_do_not_show_their_secrets() -> None:
    """Printed or logged, credentials show neither password, token nor secret."""
    for values in (PASSWORD, APPLICATION, TOKEN, ACCESS_KEY | {"OS_SECURITY_TOKEN": SECRET}):
        credentials = load(CloudCredentials, values)
        assert SECRET not in f"{credentials} {credentials!r} {credentials.model_dump()}"


def test_the_secrets_of_projects() -> None:
    """Each listed project has a secret by its id, however the id is spelt."""
    ids = "C685484A8CC2416B97260938705DEB65, 11111111-1111-1111-1111-111111111111,"
    settings = load(Settings, QUEUE | {"ALLOWED_PROJECTS": ids, "CLOUD_SECRET_PATTERN": "clouds/{project_id}/x"})
    names = {f"clouds/{project}/x" for project in ("c685484a8cc2416b97260938705deb65", "1" * 32)}
    assert set(settings.project_secrets.values()) == names
    assert load(Settings, QUEUE).project_secrets == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALLOWED_PROJECTS", "eu-de"), ("ALLOWED_PROJECTS", "1" * 31), ("CLOUD_SECRET_PATTERN", "the-same-for-all"),
     ("CLOUD_SECRET_PATTERN", "{project_id}/{project_id}")],
)  # fmt: skip
def test_projects_are_ids_with_a_secret_each(name: str, value: str) -> None:
    """A project's name is not its id, and no two projects share a secret by accident."""
    assert name in refusal_of(Settings, QUEUE | {name: value})


@pytest.mark.parametrize("source", ["aws.events", "aws.", "aws.x/y"])
def test_a_source_of_aws_is_refused(source: str) -> None:
    """EventBridge refuses such events from us, so no verdict would be emitted."""
    assert 'EVENT_SOURCE: must not begin with "aws."' in refusal_of(Settings, {**QUEUE, "EVENT_SOURCE": source})
    for fine in ("aws", "/aws.", "awsome.", "my.aws."):
        assert load(Settings, {**QUEUE, "EVENT_SOURCE": fine}).event_source == fine
