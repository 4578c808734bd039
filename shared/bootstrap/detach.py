"""The composition root of the detach function: settings and adapters, wired on first use and kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache, partial

from shared.aws.client import AwsClient
from shared.aws.secrets import CloudSecret, Secrets
from shared.bootstrap.outlets import outlets, utc_now
from shared.cloud.keystone import ReadCredentials
from shared.cloud.openstack import connect
from shared.cloud.projects import Projects
from shared.ports import Clock
from shared.service import Service
from shared.settings import CloudCredentials, Settings, load
from shared.visit import Visits


def build(environment: Mapping[str, str], clock: Clock = utc_now) -> Service:
    """Wire everything from an environment. Raises SettingsError that names each faulty setting."""
    settings = load(Settings, environment)
    client = AwsClient(environment)
    secrets = Secrets(client)
    visits = Visits(projects(settings, environment, secrets, clock), settings.policy, clock)
    return Service(settings.event_type_prefix, visits, outlets(settings, client, secrets, clock))


def projects(settings: Settings, environment: Mapping[str, str], secrets: Secrets, clock: Clock) -> Projects:
    """The default cloud and those of ALLOWED_PROJECTS; with the latter alone every request has to name its project."""
    cloud = partial(connect, clock=clock)
    listed = {project: CloudSecret(secrets, name, project) for project, name in settings.project_secrets.items()}
    if settings.cloud_secret_id:
        return Projects(cloud, CloudSecret(secrets, settings.cloud_secret_id), listed)
    if listed and not environment.get("OS_AUTH_URL"):
        return Projects(cloud, None, listed)
    return Projects(cloud, from_environment(environment), listed)


def from_environment(environment: Mapping[str, str]) -> ReadCredentials:
    """The `OS_…` variables, which do not change while a process lives. Raises SettingsError."""
    credentials = load(CloudCredentials, environment)
    return lambda _: credentials


@lru_cache(maxsize=1)
def service() -> Service:
    """The service of this process, from its environment."""
    return build(os.environ)
