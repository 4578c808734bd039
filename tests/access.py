"""The kinds of login to the simulated cloud, as contents of a secret. Each stack uses one; tests can choose another."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from local.stack import simulator_credentials
from shared.settings import CloudCredentials, load
from simulator import CloudApi
from simulator.access_keys import AccessKey

Values = dict[str, str]
Read = Callable[[], Values]

TEMPORARY = 900
"""Lifetime of a temporary key in seconds: the shortest that Open Telekom Cloud offers."""

SOON = 60
"""Seconds before its expiry at which a temporary key is replaced in the secret."""


def _password(api: CloudApi) -> Read:
    return lambda: simulator_credentials(api)


def _application_credential(api: CloudApi) -> Read:
    def read() -> Values:
        known = api.identity.application_credential
        given = {"application_credential_id": known.id, "application_credential_secret": known.secret}
        return {"auth_url": api.deployment.auth_url, "region_name": api.deployment.region, **given}

    return read


def _token(api: CloudApi) -> Read:
    """A token, replaced when it expires, as long as the user exists."""
    held: list[str] = []

    def read() -> Values:
        if not held or (api.identity.user_exists and not api.identity.knows(held[-1])):
            held.append(api.identity.new_token())
        return _without_user(api) | {"auth_url": api.deployment.auth_url, "token": held[-1]}

    return read


def _key(dialect: str) -> Callable[[CloudApi], Read]:
    def login(api: CloudApi) -> Read:
        api.deployment.dialects = (dialect,)
        return lambda: _signed(api, api.identity.access_key, signing=dialect)

    return login


def _temporary_key(api: CloudApi) -> Read:
    """The project by name, and a key that is replaced a minute before its expiry, as long as the user exists."""
    held: list[AccessKey] = []

    def read() -> Values:
        keys, now = api.identity.access_keys.keys, api.world.now
        left = (held[-1].expires_at - now).total_seconds() if held and held[-1].expires_at else 0
        if not held or (api.identity.user_exists and (left < SOON or held[-1].access not in keys)):
            held.append(api.identity.new_key(TEMPORARY))
        values = _signed(api, held[-1], security_token=held[-1].token, project_name=api.world.project.name)
        return {name: value for name, value in values.items() if name != "project_id"}

    return read


def _agency(api: CloudApi) -> Read:
    """An agency of our own account; its project is the one with the servers."""
    project = api.world.project
    api.identity.add_agency("detacher", project, "Default")
    agency = {"agency_name": "detacher", "agency_domain_name": project.domain_name}
    return lambda: {**simulator_credentials(api), **agency}


def _signed(api: CloudApi, key: AccessKey, **more: str) -> Values:
    """A key without addresses: the region implies them."""
    return _without_user(api) | {"access_key": key.access, "secret_key": key.secret, **more}


def _without_user(api: CloudApi) -> Values:
    return {"project_id": api.world.project.id, "region_name": api.deployment.region}


LOGINS: Mapping[str, Callable[[CloudApi], Read]] = {
    "password": _password,
    "application-credential": _application_credential,
    "token": _token,
    "key": _key("credential"),
    "key-access": _key("access"),
    "temporary-key": _temporary_key,
    "agency": _agency,
}
"""The kinds of login by the name for `make prove ACCESS=`."""

OTHERS = tuple(name for name in LOGINS if name != "password")
_chosen = [os.environ.get("ACCESS") or "password"]


def chosen() -> str:
    """The default login of stacks, from ACCESS or `by`."""
    return _chosen[-1]


@contextmanager
def by(name: str) -> Iterator[None]:
    """Let stacks that are created in the block use this login."""
    _chosen.append(name)
    try:
        yield
    finally:
        _chosen.pop()


@dataclass
class Access:
    """The credentials of one stack, read like a secret for each use; `secrets` are all values that no text may show."""

    cloud: CloudApi
    name: str
    secrets: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._read = LOGINS[self.name](self.cloud)

    def read(self) -> CloudCredentials:
        """The contents of the secret now."""
        known = load(CloudCredentials, self._read())
        self.secrets.update(known.secrets)
        return known
