"""The cloud of the `OS_…` variables, and a look at it before anything is sent to it."""

import sys
from collections.abc import Mapping

from shared.cloud.openstack import OpenStackCloud
from shared.cloud.openstack import connect as cloud_of
from shared.model import Reason
from shared.ports import CloudTrouble
from shared.settings import CloudCredentials, SettingsError, load, unread

ENDPOINTS = ("COMPUTE_ENDPOINT", "VOLUME_ENDPOINT")


def cloud_values(environment: Mapping[str, str]) -> dict[str, str]:
    """The `OS_…` values of an environment, under the names they have in the secret."""
    values = {name.removeprefix("OS_").lower(): value for name, value in environment.items() if name.startswith("OS_")}
    return values | {name.lower(): environment[name] for name in ENDPOINTS if environment.get(name)}


def connect(values: Mapping[str, str]) -> OpenStackCloud:
    """The cloud that a secret with these values leads to. Raises SettingsError."""
    credentials = load(CloudCredentials, values)
    return cloud_of(lambda _: credentials)


def check_cloud(environment: Mapping[str, str]) -> str | None:
    """Log in; None, or one sentence that says what is wrong and what to do."""
    try:
        values = cloud_values(environment)
        if names := unread(values):
            print(f"Nothing reads {', '.join(f'OS_{name.upper()}' for name in names)}.", file=sys.stderr)
        connect(values).check()
    except SettingsError as error:
        return f"The OS_… variables are not complete: {error}."
    except CloudTrouble as trouble:
        return sentence(trouble, environment.get("OS_AUTH_URL", ""))
    return None


def sentence(trouble: CloudTrouble, auth_url: str) -> str:
    """What a login that failed means to the person who typed the variables."""
    found = trouble.classified
    if found.reason is Reason.UNAUTHORIZED:
        return (
            f"Keystone at {auth_url} refused the login ({found.message.rstrip('.')}): check OS_USERNAME, "
            "OS_PASSWORD and the domain names, and that OS_PROJECT_ID or OS_PROJECT_NAME names a project of this user."
        )
    if found.code in ("connection_failure", "timeout", "tls_failure"):
        return f"Keystone at {auth_url} cannot be reached ({found.code}): check OS_AUTH_URL, the network and OS_CACERT."
    return f"The cloud at {auth_url} cannot be used: {found.code} {found.message}".rstrip(" .") + "."
