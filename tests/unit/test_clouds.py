"""The cloud of CLOUD=env: variables and files, and the messages about wrong ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from local.surroundings import past_proxies, without_aws
from shared.settings import CloudCredentials
from tools.cloud_faults import credentials
from tools.cloud_files import CloudsError
from tools.clouds import Found, find

URL = "https://iam.example.com/v3"
SECRET = "hunter2-do-not-show"
PROJECT_ID = "c685484a8cc2416b97260938705deb65"
VARIABLES = {"OS_AUTH_URL": URL, "OS_USERNAME": "robot", "OS_PASSWORD": SECRET, "OS_PROJECT_ID": PROJECT_ID}
AUTH = {"auth_url": URL, "username": "robot", "password": SECRET, "project_id": PROJECT_ID}
OTC = {"auth": AUTH, "region_name": "eu-de"}


class Machine:
    """A user's home, the current directory, and /etc/openstack, all empty."""

    def __init__(self, root: Path) -> None:
        self.home, self.cwd, self.site = root / "home", root / "here", root / "etc/openstack"
        self.config = self.home / ".config/openstack"
        for folder in (self.config, self.cwd, self.site):
            folder.mkdir(parents=True)

    def find(self, **environment: str) -> Found:
        return find(environment, self.home, self.cwd, self.site)

    def login(self, **environment: str) -> CloudCredentials:
        return credentials(self.find(**environment))

    def write(self, path: Path | str, **clouds: Mapping[str, Any]) -> Path:
        at = self.config / path
        at.write_text(json.dumps({"clouds": clouds}) if at.suffix == ".json" else yaml.safe_dump({"clouds": clouds}))
        return at


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def named(name: str) -> Mapping[str, Any]:
    """A cloud that the tests recognise by its user."""
    return {"auth": {**AUTH, "username": name}}


# ------------------------------------------------------------------------------------------------ what is found


def test_a_file_of_the_current_directory_gets_no_secret_from_elsewhere(machine: Machine) -> None:
    """It may be part of somebody's clone, and send the password to their address."""
    machine.write(machine.cwd / "clouds.yaml", otc={"auth": {**AUTH, "auth_url": "http://evil.example/v3"}})
    machine.write("secure.yaml", otc={"auth": {"password": SECRET}})
    with pytest.raises(CloudsError, match="is in the current directory and may be somebody else's") as told:
        machine.find(OS_CLOUD="otc")
    assert SECRET not in str(told.value)
    machine.find(OS_CLOUD="otc", OS_CLIENT_CONFIG_FILE=str(machine.cwd / "clouds.yaml"))


def test_variables_alone(machine: Machine) -> None:
    """The OS_… variables are a cloud, with our own names of the endpoints beside them."""
    found = machine.find(**VARIABLES, OS_REGION_NAME="eu-de", COMPUTE_ENDPOINT="https://nova", HOME="/x")
    assert found.unused == ()
    known = credentials(found)
    assert (known.username, known.region, known.compute_endpoint) == ("robot", "eu-de", "https://nova")


def test_a_file_alone(machine: Machine) -> None:
    """With a single cloud no name is needed."""
    path = machine.write("clouds.yaml", otc=OTC)
    found = machine.find()
    assert (found.place, found.unused) == (f"The cloud otc of {path}", ())
    assert (credentials(found).username, credentials(found).region) == ("robot", "eu-de")


def test_the_first_file_counts(machine: Machine) -> None:
    """First OS_CLIENT_CONFIG_FILE, then the current, the user's and the machine's directory; .yaml, .yml, .json."""
    places = [machine.home / "own.yaml", machine.cwd / "clouds.yaml", machine.cwd / "clouds.yml",
              machine.cwd / "clouds.json", machine.config / "clouds.yaml", machine.site / "clouds.json"]  # fmt: skip
    for place in places:
        machine.write(place, otc=named(str(place)))
    for number, place in enumerate(places):
        choice = {"OS_CLIENT_CONFIG_FILE": str(place)} if number == 0 else {}
        assert machine.login(**choice).username == str(place)
        place.unlink()


def test_where_xdg_says(machine: Machine) -> None:
    """XDG_CONFIG_HOME precedes ~/.config."""
    (machine.home / "xdg/openstack").mkdir(parents=True)
    machine.write("clouds.yaml", otc=named("config"))
    machine.write(machine.home / "xdg/openstack/clouds.yaml", otc=named("xdg"))
    assert machine.login(XDG_CONFIG_HOME=str(machine.home / "xdg")).username == "xdg"
    assert machine.login().username == "config"


def test_os_cloud_chooses(machine: Machine) -> None:
    """OS_CLOUD chooses among several clouds."""
    machine.write("clouds.yaml", one=named("first"), two=named("second"))
    assert machine.login(OS_CLOUD="two").username == "second"


def test_variables_are_a_cloud_of_their_own(machine: Machine) -> None:
    """They count if OS_CLOUD is not set or names them, and are not mixed into a cloud of a file."""
    machine.write("clouds.yaml", otc=named("of the file"))
    for choice in ({}, {"OS_CLOUD": "envvars"}, {"OS_CLOUD": "mine", "OS_CLOUD_NAME": "mine"}):
        assert machine.login(**VARIABLES, **choice).username == "robot"
    found = machine.find(**VARIABLES, OS_CLOUD="otc")
    assert credentials(found).username == "of the file"
    assert found.unused == ("OS_AUTH_URL", "OS_PASSWORD", "OS_PROJECT_ID", "OS_USERNAME")


def test_secrets_in_a_file_of_their_own(machine: Machine) -> None:
    """secure.yaml, found in the same way or by OS_CLIENT_SECURE_FILE, is merged over clouds.yaml."""
    machine.write("clouds.yaml", otc={"auth": {**AUTH, "password": "of clouds.yaml"}})
    assert machine.login().secrets == ("of clouds.yaml",)
    machine.write(machine.site / "secure.json", otc={"auth": {"password": "site"}})
    assert machine.login().secrets == ("site",)
    own = machine.write(machine.home / "own.yml", otc={"auth": {"password": SECRET}})
    known = machine.login(OS_CLIENT_SECURE_FILE=str(own))
    assert (known.secrets, known.username) == ((SECRET,), "robot")


def test_regions(machine: Machine) -> None:
    """OS_REGION_NAME chooses among those of an entry; else it is the first of them, with its own values."""
    own = {"name": "eu-nl", "values": {"auth": {"auth_url": "https://nl/v3"}}}
    machine.write("clouds.yaml", otc={"auth": AUTH, "regions": ["eu-de", own]})
    assert machine.login().region == "eu-de"
    assert (machine.login(OS_REGION_NAME="eu-nl").region, machine.login(OS_REGION_NAME="eu-nl").auth_url) == (
        "eu-nl", "https://nl/v3")  # fmt: skip
    machine.write("clouds.yaml", otc={"auth": AUTH, "region_name": "one, two"})
    assert (machine.login().region, machine.login(OS_REGION_NAME="two").region) == ("one", "two")
    machine.write("clouds.yaml", otc={"auth": AUTH})
    assert machine.login(OS_REGION_NAME="any").region == "any"


def test_profiles(machine: Machine) -> None:
    """What clouds of a vendor have in common comes from clouds-public.yaml, or is known for Open Telekom Cloud."""
    own = {name: value for name, value in AUTH.items() if name != "auth_url"}
    machine.write("clouds.yaml", otc={"profile": "otc", "auth": own})
    found = machine.find(OS_REGION_NAME="eu-nl")
    assert (found.values["auth_url"], found.unused) == ("https://iam.eu-nl.otc.t-systems.com/v3", ())
    machine.write("clouds.yaml", acme={"profile": "acme", "auth": own})
    body = {"public-clouds": {"acme": {"auth": {"auth_url": "https://acme"}, "image_format": "raw"}}}
    (machine.site / "clouds-public.yaml").write_text(yaml.safe_dump(body))
    assert (machine.login().auth_url, machine.find().unused) == ("https://acme", ())


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": {"auth-url": URL, "user-name": "u", "password": "p", "project-name": "x", "user-domain-id": "d"}},
         {"username": "u", "project_name": "x", "user_domain_id": "d"}),
        ({"auth": {**AUTH, "domain_name": "Default"}}, {"default_domain_name": "Default"}),
        ({"auth": AUTH, "username": "beside", "project_id": "beside"}, {"username": "robot", "project_id": "beside"}),
        ({"auth": {"auth_url": URL, "token": SECRET, "project_id": "p"}, "auth_type": "v3token"}, {"project_id": "p"}),
        ({"auth": {"auth_url": URL, "application_credential_id": "a", "application_credential_secret": SECRET}},
         {"auth_type": "v3applicationcredential"}),
        ({"auth": {"ak": "a", "sk": SECRET, "project_id": "p"}, "region_name": "eu-nl"},
         {"auth_type": "aksk", "auth_url": "https://iam.eu-nl.otc.t-systems.com/v3", "project_id": "p"}),
        ({"auth": {**AUTH, "target_agency_name": "a", "agency_domain_name": "d", "user_domain_name": "e",
                   "target_project_name": "x"}},
         {"auth_type": "agency", "delegated_project": "x", "named_project": None}),
        ({"auth": AUTH, "verify": False}, {"insecure": True}),
        ({"auth": AUTH, "verify": "false", "insecure": False}, {"insecure": True}),
        ({"auth": AUTH, "verify": True, "insecure": True}, {"insecure": True}),
        ({"auth": AUTH, "verify": True}, {"insecure": False}),
        ({"auth": AUTH, "identity_api_version": 3, "endpoint_type": "internalURL"}, {"interface": "internal"}),
        ({"auth": AUTH, "compute_endpoint_override": "https://nova", "volumev3_endpoint_override": "https://cinder"},
         {"compute_endpoint": "https://nova", "volume_endpoint": "https://cinder"}),
    ],
)  # fmt: skip
def test_names_of_an_entry(machine: Machine, entry: Mapping[str, Any], expected: Mapping[str, object]) -> None:
    """The names that a clouds.yaml may hold, with dashes, in `auth` or beside it, lead to the values of a login."""
    machine.write("clouds.yaml", otc=entry)
    found = machine.find()
    known = credentials(found)
    assert {name: getattr(known, name) for name in expected} == expected
    assert found.unused == (("auth.project_id", "username") if "username" in entry else ())


def test_certificates_from_where_a_file_says(machine: Machine) -> None:
    """A path may be relative to the home or to the current directory."""
    for text, path in (("~/ca.pem", machine.home / "ca.pem"), ("ca.pem", machine.cwd / "ca.pem")):
        path.touch()
        machine.write("clouds.yaml", otc={"auth": AUTH, "cacert": text})
        assert machine.login().cacert == str(path)


CREDENTIAL = {"OS_APPLICATION_CREDENTIAL_ID": "a", "OS_APPLICATION_CREDENTIAL_SECRET": SECRET}
KEYS = {"OS_ACCESS_KEY": "a", "OS_SECRET_KEY": SECRET, "COMPUTE_ENDPOINT": "https://nova",
        "VOLUME_ENDPOINT": "https://cinder"}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "unused"),
    [
        ({"OS_VOLUME_API_VERSION": "3", "OS_TYPO": "x", "OS_NOTHING": "", "OS_LOG_PATH": "x"},
         ["OS_TYPO", "OS_VOLUME_API_VERSION"]),
        ({"OS_CLIENT_CONFIG_FILE": "/x", "OS_CLIENT_SECURE_FILE": "/x"},
         ["OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"]),
        ({**CREDENTIAL, "OS_AUTH_TYPE": "password"}, [*CREDENTIAL]),
        ({**CREDENTIAL, "OS_AUTH_TYPE": "v3applicationcredential"}, ["OS_PASSWORD", "OS_PROJECT_ID", "OS_USERNAME"]),
        ({"OS_TOKEN": SECRET, "OS_AUTH_TYPE": "token", "OS_USER_DOMAIN_NAME": "d"}, ["OS_PASSWORD", "OS_USERNAME"]),
        ({**KEYS, "OS_AUTH_TYPE": "aksk"}, ["OS_PASSWORD", "OS_USERNAME"]),
        ({**KEYS, "OS_AUTH_TYPE": "password"}, ["OS_ACCESS_KEY", "OS_SECRET_KEY"]),
        ({"OS_AGENCY_NAME": "a", "OS_AGENCY_DOMAIN_NAME": "d", "OS_USER_DOMAIN_NAME": "e", "OS_SIGNING": "access"},
         ["OS_SIGNING"]),
    ],
)  # fmt: skip
def test_unused_variables_are_named(machine: Machine, more: Mapping[str, str], unused: list[str]) -> None:
    """Unknown variables, and those that the kind of login does not use, are listed by name without values."""
    found = machine.find(**VARIABLES, **more)
    credentials(found)
    assert found.unused == tuple(sorted(unused))


def test_nothing_is_unused_while_it_is_open_which_login_counts(machine: Machine) -> None:
    """Only the message about the several logins speaks of their values."""
    found = machine.find(**VARIABLES, **KEYS, OS_TYPO="x")
    assert found.unused == ("OS_TYPO",)
    with pytest.raises(CloudsError, match="OS_PASSWORD and OS_ACCESS_KEY are both set"):
        credentials(found)


def test_unused_values_of_an_entry_are_named(machine: Machine) -> None:
    """Unused values of an entry are listed by their names in the file."""
    machine.write("clouds.yaml", otc={**OTC, "volume_api_version": 3, "auth": {**AUTH, "usrname": "x", "token": SECRET},
                                      "auth_type": "password", "profile": "nowhere"})  # fmt: skip
    found = machine.find()
    credentials(found)
    assert found.unused == ("auth.token", "auth.usrname", "profile", "volume_api_version")


# ------------------------------------------------------------------------------------------------ what is said


class Wrong(NamedTuple):
    """A cause, and the whole message; {config}, {cwd} and {home} stand for the directories."""

    said: str
    environment: Mapping[str, str] = {}
    entry: Mapping[str, Any] | None = None
    text: str | bytes | None = None


def auth(**changes: object) -> dict[str, Any]:
    return {"auth": {name: value for name, value in {**AUTH, **changes}.items() if value is not None}}


def variables(*without: str, **more: str) -> dict[str, str]:
    return {name: value for name, value in VARIABLES.items() if name not in without} | more


OF_FILE = "The cloud otc of {config}/clouds.yaml"
IN_FILE = "Correct it there, or in a secure.yaml."
SET = "Set or correct them, or name a cloud of a clouds.yaml with OS_CLOUD."
KEY = {"OS_ACCESS_KEY": "a", "OS_SECRET_KEY": SECRET, "OS_PROJECT_ID": "p"}
ENDPOINTS = "COMPUTE_ENDPOINT (or BMS_ENDPOINT) and VOLUME_ENDPOINT"
MISSING = "is missing: the address of Keystone, such as https://iam.example.com/v3"

WRONG = {
    "nothing": Wrong(
        f"The OS_… variables cannot be used: OS_AUTH_URL {MISSING}; OS_USERNAME is missing: the user's name, or an "
        "application credential; OS_PASSWORD is missing: the user's password; OS_PROJECT_ID is missing: the project's "
        f"id or name. {SET}"),
    "no user name": Wrong(
        "The OS_… variables cannot be used: OS_USERNAME is missing: the user's name, or an application credential. "
        f"{SET}", variables("OS_USERNAME")),
    "no user name in the file": Wrong(
        f"{OF_FILE} cannot be used: auth.username is missing: the user's name, or an application credential. {IN_FILE}",
        entry=auth(username=None)),
    "no password in the file": Wrong(
        f"{OF_FILE} cannot be used: auth.password is missing: the user's password. {IN_FILE}", entry=auth(password="")),
    "no token": Wrong(
        f"The OS_… variables cannot be used: OS_TOKEN is missing: the token. {SET}", variables(OS_AUTH_TYPE="token")),
    "no secret key": Wrong(
        f"{OF_FILE} cannot be used: auth.secret_key is missing: its secret key; auth.project_id is missing: the "
        f"project's id or name. {IN_FILE}", entry={"auth": {"access_key": SECRET}}),
    "no region of an access key": Wrong(
        "The OS_… variables cannot be used: OS_REGION_NAME (eu-de, eu-nl, eu-ch2), or COMPUTE_ENDPOINT (or "
        f"BMS_ENDPOINT) and VOLUME_ENDPOINT must be set. {SET}", KEY),
    "an unknown region of an access key": Wrong(
        "The OS_… variables cannot be used: OS_REGION_NAME is no region with known endpoints (eu-de, eu-nl, eu-ch2): "
        f"correct it, or set {ENDPOINTS}. {SET}", {**KEY, "OS_REGION_NAME": "eu-xx"}),
    "an unknown region of an access key in the file": Wrong(
        f"{OF_FILE} cannot be used: region_name is no region with known endpoints (eu-de, eu-nl, eu-ch2): "
        f"correct it, or set {ENDPOINTS}. {IN_FILE}",
        entry={"auth": {"ak": "a", "sk": SECRET, "project_id": "p"}, "region_name": "eu-xx"}),
    "a region beside another cloud": Wrong(
        "The OS_… variables cannot be used: OS_AUTH_URL belongs to no region with known endpoints (eu-de, eu-nl, "
        f"eu-ch2): correct it, or set {ENDPOINTS}. {SET}", {**KEY, "OS_REGION_NAME": "eu-nl", "OS_AUTH_URL": URL}),
    "two regions": Wrong(
        "The OS_… variables cannot be used: OS_AUTH_URL belongs to the region eu-de, and OS_REGION_NAME names another: "
        f"correct one of them, or set {ENDPOINTS}. {SET}",
        {**KEY, "OS_REGION_NAME": "eu-nl", "OS_AUTH_URL": "https://iam.eu-de.otc.t-systems.com/v3"}),
    "a wrong dialect and a broken key": Wrong(
        "The OS_… variables cannot be used: OS_ACCESS_KEY: must be ASCII without blanks and line breaks; OS_SIGNING: "
        f"Input should be 'credential' or 'access'. {SET}",
        {**KEY, "OS_ACCESS_KEY": "a b", "OS_SIGNING": SECRET, "OS_REGION_NAME": "eu-de"}),
    "a wrong dialect in the file": Wrong(
        f"{OF_FILE} cannot be used: auth.signing: Input should be 'credential' or 'access'. {IN_FILE}",
        entry={"auth": {"ak": "a", "sk": SECRET, "project_id": "p", "signing": SECRET}, "region_name": "eu-de"}),
    "no domain of the agency": Wrong(
        "The OS_… variables cannot be used: OS_AGENCY_DOMAIN_NAME is missing: the name of the domain that owns it. "
        f"{SET}", variables(OS_AGENCY_NAME="a")),
    "no secret of the application credential": Wrong(
        f"{OF_FILE} cannot be used: auth.application_credential_secret is missing: its secret. {IN_FILE}",
        entry={"auth": {"auth_url": URL, "application_credential_id": "a"}}),
    "an application credential by name": Wrong(
        "The OS_… variables cannot be used: OS_USERNAME is missing: the owner of the application credential, which is "
        f"given by name. {SET}",
        {"OS_AUTH_URL": URL, "OS_APPLICATION_CREDENTIAL_NAME": "a", "OS_APPLICATION_CREDENTIAL_SECRET": SECRET}),
    "address without a scheme": Wrong(
        f"The OS_… variables cannot be used: OS_AUTH_URL is not an address that begins with https:// and a host. "
        f"{SET}", variables(OS_AUTH_URL=SECRET)),
    "address without a host": Wrong(
        f"{OF_FILE} cannot be used: auth.auth_url is not an address that begins with https:// and a host. {IN_FILE}",
        entry=auth(auth_url="https://[hunter2-do-not-show/v3")),
    "an unsupported auth_type": Wrong(
        f"{OF_FILE} cannot be used: auth_type is not supported; these are: password, v3password, token, "
        f"v3token, v3applicationcredential, aksk, agency. {IN_FILE}", entry={**OTC, "auth_type": "v3oidcpassword"}),
    "an old Keystone": Wrong(
        "The OS_… variables cannot be used: OS_IDENTITY_API_VERSION is not 3, the only supported version of Keystone's "
        f"API. {SET}", variables(OS_IDENTITY_API_VERSION="2.0")),
    "verify is a path": Wrong(
        f"{OF_FILE} cannot be used: verify is neither true nor false. {IN_FILE}", entry={**OTC, "verify": "/ca.pem"}),
    "no such certificates": Wrong(
        f"{OF_FILE} cannot be used: cacert names a file that cannot be read. {IN_FILE}",
        entry={**OTC, "cacert": "~/ca.pem"}),
    "a trust": Wrong(
        f"{OF_FILE} cannot be used: auth.trust_id: not supported here, and a login without would mean something else. "
        f"{IN_FILE}", entry=auth(trust_id=SECRET)),
    "two ways": Wrong(
        f"{OF_FILE} cannot be used: auth.token and auth.password are both set: unset one, or set auth_type to "
        "token or password.", entry=auth(token=SECRET)),
    "a password and an access key": Wrong(
        "The OS_… variables cannot be used: OS_PASSWORD and OS_ACCESS_KEY are both set: unset one, or set OS_AUTH_TYPE "
        "to password or aksk.", {**VARIABLES, "OS_ACCESS_KEY": SECRET}),
    "three ways": Wrong(
        "The OS_… variables cannot be used: OS_TOKEN, OS_PASSWORD and OS_ACCESS_KEY are all set: keep those of one "
        "login, or set OS_AUTH_TYPE to token, password or aksk.", variables(OS_ACCESS_KEY="a", OS_TOKEN=SECRET)),
    "an agency beside two ways": Wrong(
        "The OS_… variables cannot be used: OS_TOKEN, OS_PASSWORD and OS_AGENCY_NAME are all set: keep those of one "
        "login, or set OS_AUTH_TYPE to agency.", variables(OS_AGENCY_NAME="a", OS_TOKEN=SECRET)),
    "an agency beside an access key": Wrong(
        "The OS_… variables cannot be used: OS_ACCESS_KEY and OS_AGENCY_NAME are both set: unset one.",
        {**KEY, "OS_AGENCY_NAME": "a"}),
    "two projects": Wrong(
        "The OS_… variables cannot be used: OS_PROJECT_ID and OS_TENANT_ID are two names of one thing, and say "
        f"different ones. {SET}", variables(OS_TENANT_ID=SECRET)),
    "no such cloud": Wrong(
        "{config}/clouds.yaml has no cloud otx. Set OS_CLOUD to one of otc.", {"OS_CLOUD": "otx"}, entry=OTC),
    "several clouds": Wrong(
        "{config}/clouds.yaml has several clouds, and OS_CLOUD names none. Set OS_CLOUD to one of one, two.",
        text="{clouds: {one: {}, two: {}}}"),
    "a cloud and no file": Wrong(
        "OS_CLOUD is otc, but there is no clouds.yaml in {cwd}, {config}, {site}. Name one with OS_CLIENT_CONFIG_FILE, "
        "or unset OS_CLOUD and set the OS_… variables.", {"OS_CLOUD": "otc"}),
    "no such region": Wrong(
        f"{OF_FILE} has no region eu-nl (OS_REGION_NAME). Set it to one of eu-de.",
        {"OS_REGION_NAME": "eu-nl"}, entry=OTC),
    "no such profile": Wrong(
        f"{OF_FILE} has the unknown profile acme. Give it its own auth_url.",
        entry={**auth(auth_url=None), "profile": "acme"}),
    "a file that is not there": Wrong(
        "OS_CLIENT_CONFIG_FILE names /nonexistent, which does not exist. Correct it, or unset it.",
        {"OS_CLIENT_CONFIG_FILE": "/nonexistent"}, entry=OTC),
    "secrets that are not there": Wrong(
        "OS_CLIENT_SECURE_FILE names /nonexistent, which does not exist. Correct it, or unset it.",
        {"OS_CLIENT_SECURE_FILE": "/nonexistent"}, entry=OTC),
    "a file that cannot be read": Wrong(
        "{config} cannot be read (Is a directory). Give this user read access.", {"OS_CLIENT_CONFIG_FILE": "{config}"}),
    "no YAML": Wrong("{config}/clouds.yaml is not YAML (line 3). Correct it.", text=f"clouds:\n  otc:\n\t{SECRET}: ["),
    "a day that is none": Wrong("{config}/clouds.yaml is not YAML. Correct it.", text="clouds: {otc: 2026-13-41}"),
    "code in YAML": Wrong(
        "{config}/clouds.yaml is not YAML (line 1). Correct it.", text="clouds: !!python/object/apply:os.getcwd []"),
    "no text": Wrong("{config}/clouds.yaml is not UTF-8 text. Correct it.", text=b"\xff\xfe\x00"),
    "empty": Wrong(
        "{config}/clouds.yaml has no mapping `clouds` with an entry for each cloud. Add it.", text=""),
    "an entry that is none": Wrong(
        "{config}/clouds.yaml has no mapping `clouds` with an entry for each cloud. Add it.",
        text=f"clouds: {{otc: {SECRET}}}"),
    "auth that is none": Wrong(
        f"{OF_FILE} has an `auth` that is not a mapping. Write one line for each value.", entry={"auth": SECRET}),
    "a password of digits": Wrong(
        f"{OF_FILE} cannot be used: YAML does not read auth.password as text. Put it in quotes.",
        entry=auth(password=83)),
    "several users": Wrong(
        f"{OF_FILE} cannot be used: auth.username is not a single value. Write one value.", entry=auth(username=["a"])),
}  # fmt: skip


@pytest.mark.parametrize("cause", WRONG)
def test_the_message_about_each_fault(machine: Machine, cause: str) -> None:
    """The message uses the reader's names, says what to do, and is one line without secrets."""
    said, environment, entry, text = WRONG[cause]
    places = {name: str(getattr(machine, name)) for name in ("config", "cwd", "home", "site")}
    if entry is not None:
        machine.write("clouds.yaml", otc=entry)
    if text is not None:
        (machine.config / "clouds.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CloudsError) as refused:
        machine.login(**{name: value.format(**places) for name, value in environment.items()})
    assert str(refused.value) == said.format(**places)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


# --------------------------------------------------------------------------------------------- the surroundings


def test_no_aws_of_the_callers() -> None:
    """All AWS variables are removed, and nothing else."""
    kept = {"PATH": "/bin", "OS_CLOUD": "otc", "HTTPS_PROXY": "http://proxy"}
    assert without_aws({**kept, "AWS_PROFILE": "x", "AWS_NEW": "x", "BOTO_CONFIG": "x"}) == kept


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.example, localhost"}, "a.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "lower", "NO_PROXY": "upper"}, "lower,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_no_proxy_for_this_machine(before: Mapping[str, str], after: str) -> None:
    """Existing exemptions stay; `*`, which means everything, only works alone."""
    assert past_proxies(before) == {"no_proxy": after, "NO_PROXY": after}
