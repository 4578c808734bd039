"""The composition root: settings and concrete adapters, wired on first use and kept for the next invocation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from shared.aws.client import AwsClient
from shared.aws.event_bus import EventBus
from shared.aws.secrets import Secrets
from shared.aws.sqs import SqsQueue
from shared.aws.task_tokens import TaskTokens
from shared.outbox.consumers import Deliveries
from shared.outbox.dead_letters import DeadLetters
from shared.outbox.events import EventFactory
from shared.ports import Consumer
from shared.service import Service
from shared.settings import CloudCredentials, Settings, load
from shared.telemetry.logs import log_dead_letter, log_delivery, log_rejected, log_step
from shared.telemetry.metrics import measure_dead_letter, measure_delivery, measure_rejected, measure_step
from shared.visit import Clock, Reconciler

if TYPE_CHECKING:
    from shared.cloud.projects import ConfiguredClouds


def utc_now() -> datetime:
    return datetime.now(UTC)


def both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    """An observer of two: what is logged is measured too."""

    def observe(*seen: object) -> None:
        first(*seen)
        second(*seen)

    return observe


def build(environment: Mapping[str, str], clock: Clock = utc_now) -> Service:
    """Wire everything from an environment. Raises SettingsError that names each faulty setting."""
    settings = load(Settings, environment)
    client = AwsClient(environment)
    secrets = Secrets(client)
    sink = deliveries(settings, client, secrets, clock)
    events = EventFactory(settings.event_source, settings.event_type_prefix)
    reconciler = Reconciler(
        clouds=clouds(settings, environment, secrets),
        queue=sink.queue,
        sink=sink,
        events=events,
        policy=settings.policy,
        clock=clock,
        observe=both(log_step, measure_step),
    )
    return Service(settings.event_type_prefix, reconciler, sink, events, clock, both(log_rejected, measure_rejected))


def clouds(settings: Settings, environment: Mapping[str, str], secrets: Secrets) -> ConfiguredClouds:
    """The default cloud and those of ALLOWED_PROJECTS; with the latter alone every request has to name its project."""
    # Who answers dead letters asks no cloud, and does not load what can; who asks one has loaded it by now.
    from shared.cloud.projects import ConfiguredClouds, from_environment, from_secret

    projects = {project: from_secret(secrets, name, project) for project, name in settings.project_secrets.items()}
    if settings.cloud_secret_id:
        return ConfiguredClouds(from_secret(secrets, settings.cloud_secret_id), projects)
    if projects and not environment.get("OS_AUTH_URL"):
        return ConfiguredClouds(None, projects)
    load(CloudCredentials, environment)  # a missing OS_ setting is said now, not at the first request
    return ConfiguredClouds(from_environment(environment), projects)


def build_dead_letters(environment: Mapping[str, str], clock: Clock = utc_now) -> DeadLetters:
    """Wire what answers dead letters: it needs no cloud. Raises SettingsError that names each faulty setting."""
    settings = load(Settings, environment)
    client = AwsClient(environment)
    sink = deliveries(settings, client, Secrets(client), clock)
    events = EventFactory(settings.event_source, settings.event_type_prefix)
    return DeadLetters(settings.event_type_prefix, sink, events, clock, both(log_dead_letter, measure_dead_letter))


def deliveries(settings: Settings, client: AwsClient, secrets: Secrets, clock: Clock) -> Deliveries:
    """Whom verdicts go to: the bus, the sink where there is one, and workflows that wait."""
    consumers: dict[str, Consumer] = {"task": TaskTokens(client)}
    if settings.sink_url:
        # Only who has a sink pays for its imports at a cold start.
        from shared.aws.webhook_keys import WebhookKeys
        from shared.outbox.http_sink import HttpSink

        keys = WebhookKeys(secrets, settings.sink_secret_id).keys
        consumers = {"sink": HttpSink(settings.sink_url, keys, clock, mode=settings.sink_mode), **consumers}
    return Deliveries(
        bus=EventBus(client, settings.event_bus_name),
        queue=SqsQueue(client, settings.request_queue_url),
        clock=clock,
        consumers=consumers,
        ttl=timedelta(seconds=settings.delivery_ttl),
        observe=both(log_delivery, measure_delivery),
    )


@lru_cache(maxsize=1)
def service() -> Service:
    """The service of this process, from its environment."""
    return build(os.environ)


@lru_cache(maxsize=1)
def dead_letters() -> DeadLetters:
    """What answers dead letters in this process, from its environment."""
    return build_dead_letters(os.environ)
