"""The composition root of the canary. It makes no call to the cloud, and imports no cloud adapter."""

import os
import time
from collections.abc import Callable, Mapping
from functools import lru_cache

from shared.aws.client import AwsClient
from shared.aws.deployment import Deployment
from shared.aws.sqs import SqsQueue
from shared.canary.run import Asked, Canary
from shared.ports import Clock, utc_now
from shared.settings import Settings, SettingsError, load


def build_canary(
    environment: Mapping[str, str], clock: Clock = utc_now, sleep: Callable[[float], None] = time.sleep
) -> Canary:
    """Wire everything from an environment. Raises SettingsError that names each faulty setting."""
    settings = load(Settings, environment)
    server_id, volume_id, queue_url = settings.canary_server_id, settings.canary_volume_id, settings.canary_queue_url
    if not (server_id and volume_id and queue_url):
        raise SettingsError("CANARY_SERVER_ID, CANARY_VOLUME_ID and CANARY_QUEUE_URL must be set for a canary")
    client = AwsClient(environment, clock=clock)
    requests = SqsQueue(client, settings.request_queue_url)
    asked = Asked(
        source=f"{settings.event_source}/canary",
        prefix=settings.event_type_prefix,
        server_id=server_id,
        volume_id=volume_id,
        project_id=settings.canary_project_id,
        bound=settings.canary_bound,
    )
    evidence = Deployment(
        client, requests, settings.canary_mapping_id, settings.canary_rule_arn, settings.canary_webhook_url
    )
    return Canary(asked, requests, SqsQueue(client, queue_url), evidence, clock, sleep)


@lru_cache(maxsize=1)
def canary() -> Canary:
    """The canary of this process, from its environment."""
    return build_canary(os.environ)
