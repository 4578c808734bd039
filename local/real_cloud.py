"""The cloud of CLOUD=env, from `OS_…` variables or a clouds.yaml, and a check of it before anything is sent."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from shared.cloud.keystone import Access
from shared.cloud.openstack import OpenStackCloud, connector
from shared.model import Call, Reason
from shared.ports import CloudTrouble
from shared.settings import BY_CREDENTIAL, BY_KEYS, CloudCredentials, DetachApi, Settings, SettingsError, load
from tools.cloud_faults import completed, credentials
from tools.cloud_files import CloudsError
from tools.clouds import Found, auth_type_of, find


def found_in(environment: Mapping[str, str]) -> Found:
    """The cloud that the environment or the user's files describe. Raises CloudsError."""
    home = environment.get("SNAP_REAL_HOME") or environment.get("HOME")
    return find(environment, Path(home) if home else Path.home(), Path.cwd())


def cloud_values(environment: Mapping[str, str]) -> dict[str, str]:
    """The contents of the cloud secret for the cloud of an environment. Raises CloudsError."""
    return dict(found_in(environment).values)


def api_of(environment: Mapping[str, str]) -> DetachApi:
    """The API that an environment chooses with DETACH_API. Raises SettingsError."""
    given = {"DETACH_API": environment.get("DETACH_API", "")}
    return load(Settings, {"REQUEST_QUEUE_URL": "unused", **given}).detach_api


def connect(values: Mapping[str, str], api: DetachApi = DetachApi.COMPUTE) -> OpenStackCloud:
    """The cloud of a secret with these values. Raises SettingsError."""
    credentials = load(CloudCredentials, values)
    return connector(api)(lambda _: credentials)


def check_cloud(environment: Mapping[str, str]) -> str | None:
    """Log in and print the address. Returns None, or one line that says what is wrong and what to do."""
    try:
        found = found_in(environment)
        warn(found)
        known = credentials(found)
        found = completed(found, known)
        cloud = connector(api_of(environment))(lambda _: known)
    except (CloudsError, SettingsError) as error:
        return str(error)
    try:
        cloud.check()
        try_key(cloud)
    except CloudTrouble as trouble:
        return sentence(trouble, found)
    place = found.place[0].lower() + found.place[1:]
    print(f"The cloud is {address(found)}, by {place}.", file=sys.stderr)
    if cloud.login.held and (other := contradiction(cloud.login.held, found)):
        print(f"The project is {other.used}, but {other.name} says otherwise: {other.cure}.", file=sys.stderr)
    return None


PROJECT_ID = "project_id", "tenant_id"
PROJECT_NAME = "project_name", "tenant_name"


class Contradiction(NamedTuple):
    """The project of a login, and the name of a value that says another one."""

    used: str
    name: str

    @property
    def cure(self) -> str:
        return f"correct or unset {self.name}, which is not used"


def contradiction(access: Access, found: Found) -> Contradiction | None:
    """The project's id or name that is not that of the project; the cloud only uses one of them.

    None if they agree, or if the cloud did not tell the name. The scope of an application credential is its own.
    """
    if auth_type_of(found.values) == BY_CREDENTIAL:
        return None
    told = {PROJECT_ID: access.project_id.replace("-", ""), PROJECT_NAME: access.granted.project_name}
    used = f"{access.granted.project_name} ({access.project_id})".lstrip()
    for names, value in told.items():
        given = next((found.values[name] for name in names if found.values.get(name)), "")
        given = given.replace("-", "") if names is PROJECT_ID else given
        if value and given and given.casefold() != value.casefold():
            return Contradiction(used, found.first(*names))
    return None


def try_key(cloud: OpenStackCloud) -> None:
    """Check an access key, which has no login, with one signed request. Raises CloudTrouble if the key is refused.

    Other refusals are ignored here; they appear where the access is needed.
    """
    if cloud.login.held is None or cloud.login.held.keys is None:
        return
    try:
        cloud.detaching()
    except CloudTrouble as trouble:
        if trouble.classified.reason is Reason.UNAUTHORIZED:
            raise


def shown(url: str) -> str:
    """An address without user and password."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def warn(found: Found) -> None:
    """Print one line on stderr if variables are set that are not used."""
    if found.unused:
        print(f"{found.place}: not used are {', '.join(found.unused)}.", file=sys.stderr)


def address(found: Found) -> str:
    """Where the cloud is: its identity service, or with an access key its endpoint, which may be all that is known."""
    names = ("auth_url", "compute_endpoint", "bms_endpoint", "volume_endpoint")
    return shown(next((found.values[name] for name in names if found.values.get(name)), ""))


def sentence(trouble: CloudTrouble, found: Found) -> str:
    """One sentence about a failed login of a `completed` cloud, with what to check."""
    told, url, by_keys = trouble.classified, address(found), auth_type_of(found.values) == BY_KEYS
    if told.reason is Reason.UNAUTHORIZED and by_keys:
        return f"The cloud refused the access key ({told.message.rstrip('.')}): {cure(found)}."
    if told.reason is Reason.UNAUTHORIZED:
        return f"Keystone at {url} refused the login ({told.message.rstrip('.')}): {cure(found)}."
    if told.code in ("connection_failure", "timeout", "tls_failure"):
        return f"Keystone at {url} cannot be reached ({told.code}): {reach(found)}."
    return f"The cloud at {url} cannot be used: {told.code} {told.message}".rstrip(" .") + "."


SILENT = ("connection_failure", "timeout", "tls_failure", "no_answer")
"""The codes of calls without an answer."""

OF_COMPUTE = ("list_servers", "get_server", "list_attachments")
CLOSED = (403, 404, 405)
"""What a compute API answers that is closed to tenants."""

OTHER_API = "set DETACH_API=bms_v1 if the cloud closes compute to its tenants"


def unread(trouble: CloudTrouble, api: DetachApi) -> str:
    """What is wrong with a cloud that could not be read, and what to do, in sentences."""
    why, call = str(trouble).rstrip(" .:"), trouble.calls[-1] if trouble.calls else None
    if call and call.status:
        said = f"The cloud answered {call.status}: {why}."
        return f"{said} Check the rights of this user, or {OTHER_API}." if is_closed(call, api) else said
    silent = trouble.classified.code in SILENT
    return f"The cloud {'did not answer' if silent else 'cannot be used'}: {why}."


def is_closed(call: Call, api: DetachApi) -> bool:
    """Whether this may be the answer of a compute API that is closed to tenants."""
    return api is DetachApi.COMPUTE and call.operation in OF_COMPUTE and call.status in CLOSED


def reach(found: Found) -> str:
    """What to check if no answer comes."""
    return f"check {found.spelt('auth_url')}, the network and {found.spelt('cacert')}"


def cure(found: Found) -> str:
    """What to check when a login is refused."""
    spelt, values = found.spelt, found.values
    if "application_credential_secret" in values:
        return f"check {spelt('application_credential_id')} and {spelt('application_credential_secret')}"
    project = f"that {spelt('project_id')} or {spelt('project_name')} names a project of this user"
    if auth_type_of(values) == BY_KEYS:
        pair = f"{spelt('access_key')}, {spelt('secret_key')} and, of a temporary key, {spelt('security_token')}"
        return f"check {pair}, {spelt('signing')} (credential or access), this machine's clock, and {project}"
    if "password" in values:
        return f"check {spelt('username')}, {spelt('password')} and the domain names, and {project}"
    return f"get a new token for {spelt('token')}, since tokens expire within hours, and check {project}"
