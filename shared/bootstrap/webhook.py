"""The composition root of the webhook endpoint. It imports no cloud adapter."""

import os
from collections.abc import Mapping
from functools import lru_cache

from shared.aws.client import AwsClient
from shared.aws.secrets import MessageKey, Secrets
from shared.aws.sqs import SqsQueue
from shared.aws.webhook_keys import WebhookKeys
from shared.ports import Clock, VerdictStore, utc_now
from shared.settings import Settings, load
from shared.telemetry.logs import log_answer
from shared.webhook.endpoint import WebhookEndpoint
from shared.webhook.receive import Rules


def build_webhook(environment: Mapping[str, str], clock: Clock = utc_now) -> WebhookEndpoint:
    """Wire everything from an environment. Raises SettingsError that names each faulty setting."""
    settings = load(Settings, environment)
    client = AwsClient(environment, clock=clock)
    secrets = Secrets(client)
    rules = Rules(
        # The source of requests in bare JSON is the same for the whole deployment.
        source=f"{settings.event_source.rstrip('/')}/webhook",
        prefix=settings.event_type_prefix,
        allowed_origins=settings.webhook_allowed_origins,
        iam_auth=settings.webhook_iam_auth,
        allowed_requesters=settings.allowed_requesters,
    )
    return WebhookEndpoint(
        rules=rules,
        key_ring=WebhookKeys(secrets, settings.webhook_secret_id),
        queue=SqsQueue(client, settings.request_queue_url, settings.fair_queue),
        macs=MessageKey(secrets, settings.message_key_secret_id),
        clock=clock,
        store=store_of(settings, environment, clock),
        observe=log_answer,
    )


def store_of(settings: Settings, environment: Mapping[str, str], clock: Clock) -> VerdictStore | None:
    """The store of verdicts, if one is configured."""
    if not settings.verdict_bucket:
        return None
    # Imported only if verdicts are stored, to keep cold starts short.
    from shared.aws.verdict_store import S3VerdictStore

    # It has its own client: an outage of S3 must not use up the threads and connections of the queue's.
    return S3VerdictStore(AwsClient(environment, clock=clock), settings.verdict_bucket)


@lru_cache(maxsize=1)
def webhook_endpoint() -> WebhookEndpoint:
    """The webhook endpoint of this process, from its environment."""
    return build_webhook(os.environ)
