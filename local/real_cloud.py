"""A look at the cloud of the `OS_…` variables before anything is sent to it."""

from __future__ import annotations

from collections.abc import Mapping

from local.stack import cloud_values
from shared.cloud.openstack import OpenStackCloud
from shared.cloud.openstack import connect as cloud_of
from shared.model import Reason
from shared.ports import CloudTrouble
from shared.settings import CloudCredentials, SettingsError, load


def connect(environment: Mapping[str, str]) -> OpenStackCloud:
    """The real cloud. Raises SettingsError or CloudTrouble."""
    credentials = load(CloudCredentials, cloud_values(environment))
    return cloud_of(lambda _: credentials)


def check_cloud(environment: Mapping[str, str]) -> str | None:
    """Log in; None, or one sentence that says what is wrong and what to do."""
    try:
        connect(environment).check()
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
