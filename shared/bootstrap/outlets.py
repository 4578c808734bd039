"""Where verdicts go, for each function that has any: the bus, the sink where there is one, workflows that wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from shared.aws.client import AwsClient
from shared.aws.event_bus import EventBus
from shared.aws.secrets import Secrets
from shared.aws.sqs import SqsQueue
from shared.aws.task_tokens import TaskTokens
from shared.outbox.consumers import Consumers
from shared.outbox.events import EventFactory
from shared.outbox.outbox import Outlets
from shared.ports import Clock, Consumer
from shared.settings import Settings
from shared.telemetry.logs import Logs
from shared.telemetry.metrics import Metrics, meters

utc_now: Clock = partial(datetime.now, UTC)


def outlets(settings: Settings, client: AwsClient, secrets: Secrets, clock: Clock) -> Outlets:
    consumers: dict[str, Consumer] = {"task": TaskTokens(client)}
    if settings.sink_url:
        # Only who has a sink pays for its imports at a cold start.
        from shared.aws.webhook_keys import WebhookKeys
        from shared.outbox.http_sink import HttpSink

        keys = WebhookKeys(secrets, settings.sink_secret_id).keys
        consumers = {"sink": HttpSink(settings.sink_url, keys, clock, mode=settings.sink_mode), **consumers}
    return Outlets(
        bus=EventBus(client, settings.event_bus_name),
        queue=SqsQueue(client, settings.request_queue_url),
        events=EventFactory(settings.event_source, settings.event_type_prefix),
        clock=clock,
        consumers=Consumers(consumers, timedelta(seconds=settings.delivery_ttl)),
        observers=(Logs(), Metrics(meters)),
    )
