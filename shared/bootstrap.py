"""The composition root: settings and concrete adapters, wired on first use and kept for the next invocation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from shared.adapters.aws import AwsClient
from shared.adapters.clouds import ConfiguredCloud
from shared.adapters.event_bus import EventBus
from shared.adapters.secrets import Secrets
from shared.adapters.sqs import SqsQueue
from shared.events import EventFactory
from shared.observability import log_rejected, log_step
from shared.reconcile import Clock, Reconciler
from shared.service import Service
from shared.settings import CloudCredentials, Settings, load


def utc_now() -> datetime:
    return datetime.now(UTC)


def build(environment: Mapping[str, str], clock: Clock = utc_now) -> Service:
    """Wire everything from an environment. Raises SettingsError that names each faulty setting."""
    settings = load(Settings, environment)
    if not settings.cloud_secret_id:
        load(CloudCredentials, environment)  # a missing OS_ setting is said now, not at the first request
    client = AwsClient(environment)
    sink = EventBus(client, settings.event_bus_name)
    events = EventFactory(settings.event_source, settings.event_type_prefix)
    reconciler = Reconciler(
        clouds=ConfiguredCloud(settings.cloud_secret_id, environment, Secrets(client)),
        queue=SqsQueue(client, settings.request_queue_url),
        sink=sink,
        events=events,
        policy=settings.policy,
        clock=clock,
        observe=log_step,
    )
    return Service(settings.event_type_prefix, reconciler, sink, events, clock, log_rejected)


@lru_cache(maxsize=1)
def service() -> Service:
    """The service of this process, from its environment."""
    return build(os.environ)
