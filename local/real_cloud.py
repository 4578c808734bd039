"""The cloud of CLOUD=env, from `OS_…` variables or a clouds.yaml, and a check of it before anything is sent."""

import sys
from collections.abc import Mapping
from pathlib import Path

from shared.cloud.openstack import OpenStackCloud, connector
from shared.model import Reason
from shared.ports import CloudTrouble
from shared.settings import BY_KEYS, CloudCredentials, DetachApi, Settings, SettingsError, load
from tools.cloud_faults import credentials
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
        cloud = connector(api_of(environment))(lambda _: known)
    except (CloudsError, SettingsError) as error:
        return str(error)
    try:
        cloud.check()
        try_key(cloud)
    except CloudTrouble as trouble:
        return sentence(trouble, found)
    place = found.place[0].lower() + found.place[1:]
    at = shown(known.auth_url or str(known.compute_endpoint or known.bms_endpoint))
    print(f"The cloud is {at}, by {place}.", file=sys.stderr)
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


def sentence(trouble: CloudTrouble, found: Found) -> str:
    """One sentence about a failed login, with what to check."""
    told, url = trouble.classified, shown(found.values.get("auth_url", ""))
    if told.reason is Reason.UNAUTHORIZED and auth_type_of(found.values) == BY_KEYS:
        return f"The cloud refused the access key ({told.message.rstrip('.')}): {cure(found)}."
    if told.reason is Reason.UNAUTHORIZED:
        return f"Keystone at {url} refused the login ({told.message.rstrip('.')}): {cure(found)}."
    if told.code in ("connection_failure", "timeout", "tls_failure"):
        names = f"{found.spelt('auth_url')}, the network and {found.spelt('cacert')}"
        return f"Keystone at {url} cannot be reached ({told.code}): check {names}."
    return f"The cloud at {url} cannot be used: {told.code} {told.message}".rstrip(" .") + "."


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
