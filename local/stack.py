"""The local stack: the functions, AWS by moto, and a simulated or real cloud."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from local.aws_stand_in import (
    BUS,
    CLOUD_SECRET,
    DEAD_LETTERS,
    MESSAGE_KEY,
    REQUESTS,
    VERDICT_BUCKET,
    WEBHOOK_SECRET,
    AwsStandIn,
    queue_arn,
)
from local.demo import PROJECT, demo_cloud
from local.function_url import FunctionUrl, Own, Page, nothing_own
from local.poller import OnError, Poller, ignore
from local.real_cloud import cloud_values
from local.surroundings import past_proxies, without_aws
from shared.bootstrap.dead_letters import dead_letters
from shared.bootstrap.detach import service
from shared.bootstrap.webhook import webhook_endpoint
from shared.ports import utc_now
from shared.settings import Settings, load
from simulator import CloudApi, CloudServer
from tools.sender import LOCAL_SECRET, new_secret

TAKEN_OVER = ("CONFIRM_TIMEOUT", "WATCH_TIMEOUT", "REQUEST_TTL", "REQUEST_TTL_LIMIT", "FENCE_SKEW",
              "RUNNING_SERVER_POLICY", "SERVER_KIND", "EVENT_SOURCE", "EVENT_TYPE_PREFIX", "WEBHOOK_ALLOWED_ORIGINS",
              "ALLOWED_REQUESTERS",
              "SINK_URL", "SINK_MODE", "DELIVERY_TTL", "DETACH_API", "BMS_ENDPOINT")  # fmt: skip
"""Settings that the local stack takes from the caller's environment."""

SINK_SECRET = "volume-detach/sink"


@dataclass(frozen=True)
class Stack:
    """A running stack; `cloud` is the simulator's world, or None with a real cloud."""

    aws: AwsStandIn
    cloud: CloudApi | None
    environment: Mapping[str, str]
    webhook_url: str
    webhook_secret: str

    def request(self, body: str, delay: int = 0) -> str:
        """Put a request on the queue, visible after `delay` seconds; returns the message id."""
        return self.aws.send(REQUESTS, body, delay)


@contextmanager
def running(
    caller: Mapping[str, str],
    cloud: CloudApi | None = None,
    real_cloud: bool = False,
    on_error: OnError = ignore,
    webhook_port: int = 0,
    pages: Mapping[str, Page] | None = None,
    own: Own = nothing_own,
    under_load: bool = False,
    keeps_verdicts: bool = False,
) -> Iterator[Stack]:
    """Start the stack, yield it, and stop it again. It listens on loopback only.

    `keeps_verdicts` adds the bucket with which the webhook reports the state of a request; deployments have none by
    default. The webhook secret is the caller's WEBHOOK_SECRET. Without it, a simulated cloud takes the public secret
    of the samples, and a real cloud takes a new one for this run, because its requests detach real disks. With a real
    cloud, requests from foreign web pages are refused. Requests to the caller's SINK_URL are signed with SINK_SECRET.
    The AWS variables of this process are removed while the stack runs, and loopback addresses bypass proxies.
    Raises SettingsError and PortTaken.
    """
    with ExitStack() as stack:
        before = dict(os.environ)
        surroundings = without_aws(before) | past_proxies(before)
        stack.callback(_put_functions_in, before)
        # This comes first, because moto and botocore read the environment when they are imported.
        _put_functions_in(surroundings)
        # Hide moto's request log.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        aws = stack.enter_context(AwsStandIn(own_process=under_load, private=real_cloud))
        if real_cloud:
            aws.put_secret(CLOUD_SECRET, cloud_values(caller))
        else:
            cloud = cloud or demo_cloud(utc_now)
            stack.enter_context(CloudServer(cloud))
            aws.put_secret(CLOUD_SECRET, simulator_credentials(cloud))
        webhook_secret = caller.get("WEBHOOK_SECRET") or (new_secret() if real_cloud else LOCAL_SECRET)
        aws.put_secret(WEBHOOK_SECRET, {"secrets": [webhook_secret]})
        environment = {
            **aws.environment,
            "POWERTOOLS_METRICS_DISABLED": "true",  # standard output is for the user here
            "REQUEST_QUEUE_URL": aws.queue_urls[REQUESTS],
            "EVENT_BUS_NAME": BUS,
            "CLOUD_SECRET_ID": CLOUD_SECRET,
            "WEBHOOK_SECRET_ID": WEBHOOK_SECRET,
            "MESSAGE_KEY_SECRET_ID": MESSAGE_KEY,
            "VERDICT_BUCKET": VERDICT_BUCKET if keeps_verdicts else "",
            **{name: caller[name] for name in TAKEN_OVER if caller.get(name)},
        }
        if caller.get("SINK_SECRET"):
            aws.put_secret(SINK_SECRET, [caller["SINK_SECRET"]])
            environment["SINK_SECRET_ID"] = SINK_SECRET
        load(Settings, environment)
        _put_functions_in({**surroundings, **environment})
        from functions.detach_volume.handler import lambda_handler as detach_volume
        from functions.receive_webhook.handler import lambda_handler as receive_webhook
        from functions.report_dead_letter.handler import lambda_handler as report_dead_letter

        url = stack.enter_context(
            FunctionUrl(receive_webhook, webhook_port, pages, on_error, own=own, private=real_cloud)
        )
        poller = partial(Poller, aws.client, on_error=on_error)
        requests = aws.queue_urls[REQUESTS], queue_arn(REQUESTS)
        dead = aws.queue_urls[DEAD_LETTERS], queue_arn(DEAD_LETTERS)
        # Under load, fewer pollers get fuller batches.
        stack.enter_context(poller(*requests, detach_volume, concurrency=3 if under_load else 4))
        stack.enter_context(
            poller(*dead, report_dead_letter, "report-dead-letter", concurrency=1, died_in=queue_arn(REQUESTS))
        )
        yield Stack(aws, cloud, environment, url.address, webhook_secret)


def simulator_credentials(cloud: CloudApi) -> dict[str, str]:
    """The contents of the cloud secret for the simulator."""
    place, user = cloud.deployment, cloud.identity.user
    login = {"username": user.name, "password": user.password, "user_domain_name": "Default"}
    return {"auth_url": place.auth_url, **login, "project_id": PROJECT, "region_name": place.region}


def _put_functions_in(environment: Mapping[str, str]) -> None:
    """Set the environment of the functions, and let them read it anew."""
    os.environ.clear()
    os.environ.update(environment)
    for cached in (service, webhook_endpoint, dead_letters):
        cached.cache_clear()
