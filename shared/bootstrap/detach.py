"""The composition root of the detach function."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from shared.aws.client import AwsClient
from shared.aws.event_bus import EventBus
from shared.aws.secrets import CloudSecret, MessageKey, ProjectList, Secrets
from shared.aws.sqs import SqsQueue
from shared.aws.task_tokens import TaskTokens
from shared.outbox.consumers import Consumers
from shared.outbox.events import EventFactory
from shared.outbox.outbox import Outlets
from shared.policy import Policy
from shared.ports import Clock, Consumer, utc_now
from shared.service import Service
from shared.settings import CloudCredentials, Settings, cloud_variables, load, unread
from shared.telemetry.logs import Logs, logger
from shared.telemetry.metrics import Metrics, meters
from shared.visit import Visits

if TYPE_CHECKING:
    from shared.cloud.keystone import ReadCredentials
    from shared.cloud.openstack import Projects


@lru_cache(maxsize=1)
def service() -> Service:
    """The service of this process, from its environment."""
    return build(os.environ)


def build(environment: Mapping[str, str], clock: Clock = utc_now) -> Service:
    """Wire everything from an environment. Raises SettingsError that names each faulty setting."""
    settings = load(Settings, environment)
    policy = settings.policy
    client = AwsClient(environment, clock=clock)
    secrets = Secrets(client)
    visits = Visits(projects(settings, environment, secrets, clock), policy, clock)
    wired = outlets(settings, policy, client, secrets, clock)
    return Service(settings.event_type_prefix, visits, wired, SqsQueue(client, settings.request_queue_url).delete)


def projects(settings: Settings, environment: Mapping[str, str], secrets: Secrets, clock: Clock) -> Projects:
    """The default cloud and those of listed projects; without a default every request must name its project."""
    # Imported here, since the function for dead letters needs no cloud.
    from shared.cloud.openstack import Projects, connector

    listed = {project: CloudSecret(secrets, name, project) for project, name in settings.project_secrets.items()}
    in_secret = settings.allowed_projects_secret_id
    find = ProjectList(secrets, in_secret, settings.cloud_secret_pattern) if in_secret else None
    default: ReadCredentials | None = None
    if settings.cloud_secret_id:
        default = CloudSecret(secrets, settings.cloud_secret_id)
    elif not (listed or find) or environment.get("OS_AUTH_URL"):
        # Variables do not change in a process, so a missing one is reported now, not at the first request.
        variables = cloud_variables(environment)
        credentials = load(CloudCredentials, variables)
        if names := unread(variables):
            logger.warning("settings not read", names=names)
        default = lambda _: credentials  # noqa: E731
    connect = connector(settings.detach_api, settings.bms_endpoint)
    return Projects(partial(connect, clock=clock), default, listed, find)


def outlets(settings: Settings, policy: Policy, client: AwsClient, secrets: Secrets, clock: Clock) -> Outlets:
    consumers: dict[str, Consumer] = {"task": TaskTokens(client)}
    if settings.sink_url:
        # Imported only if a sink is configured, to keep cold starts short.
        from shared.aws.webhook_keys import WebhookKeys
        from shared.outbox.http_sink import HttpSink

        keys = WebhookKeys(secrets, settings.sink_secret_id).of_sink
        consumers = {"sink": HttpSink(settings.sink_url, keys, clock, mode=settings.sink_mode), **consumers}
    if settings.verdict_bucket:
        from shared.aws.verdict_store import S3VerdictStore

        # It has its own client: an outage of S3 must not use up the threads and connections of the others.
        apart = AwsClient(client.environment, clock=clock)
        consumers = {"bucket": S3VerdictStore(apart, settings.verdict_bucket), **consumers}
    return Outlets(
        bus=EventBus(client, settings.event_bus_name),
        queue=SqsQueue(client, settings.request_queue_url, settings.fair_queue),
        macs=MessageKey(secrets, settings.message_key_secret_id),
        events=EventFactory(settings.event_source, settings.event_type_prefix),
        clock=clock,
        consumers=Consumers(consumers, timedelta(seconds=settings.delivery_ttl)),
        observers=(Logs(), Metrics(meters, policy, clock)),
    )
