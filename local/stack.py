"""The whole product on this machine: AWS by moto, a cloud (simulated or real), and the functions in between."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from local.aws_stand_in import BUS, CLOUD_SECRET, REQUESTS, AwsStandIn, queue_arn
from local.cloud import CloudApi, CloudServer
from local.demo import PROJECT, demo_cloud
from local.poller import Poller
from shared.bootstrap import service, utc_now

TAKEN_OVER = ("CONFIRM_TIMEOUT", "WATCH_TIMEOUT", "REQUEST_TTL", "FENCE_SKEW", "RUNNING_SERVER_POLICY",
              "EVENT_SOURCE", "EVENT_TYPE_PREFIX")  # fmt: skip
"""Settings which the caller's environment may set for the local stack too."""

CLOUD_NAMES = ("COMPUTE_ENDPOINT", "VOLUME_ENDPOINT")


@dataclass(frozen=True)
class Stack:
    """A running stack; `cloud` is the simulator's world, or None with a real cloud."""

    aws: AwsStandIn
    cloud: CloudApi | None
    environment: Mapping[str, str]

    def request(self, body: str) -> str:
        """Put a request on the queue; its message id."""
        return self.aws.send(REQUESTS, body)


def cloud_values(environment: Mapping[str, str]) -> dict[str, str]:
    """The `OS_…` values of an environment, under the names they have in the secret."""
    values = {name.removeprefix("OS_").lower(): value for name, value in environment.items() if name.startswith("OS_")}
    return values | {name.lower(): environment[name] for name in CLOUD_NAMES if environment.get(name)}


@contextmanager
def running(
    caller: Mapping[str, str],
    cloud: CloudApi | None = None,
    real_cloud: bool = False,
    on_error: Callable[[BaseException], None] = lambda error: None,
    overrides: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """Start everything, hand it out, and stop everything again; listens on loopback only."""
    with ExitStack() as stack:
        # The stand-in's own request log says nothing about the product.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        aws = stack.enter_context(AwsStandIn())
        if real_cloud:
            aws.put_secret(CLOUD_SECRET, cloud_values(caller))
        else:
            cloud = cloud or demo_cloud(utc_now)
            stack.enter_context(CloudServer(cloud))
            aws.put_secret(CLOUD_SECRET, simulator_credentials(cloud))
        environment = {
            **aws.environment,
            "REQUEST_QUEUE_URL": aws.queue_urls[REQUESTS],
            "EVENT_BUS_NAME": BUS,
            "CLOUD_SECRET_ID": CLOUD_SECRET,
            **{name: caller[name] for name in TAKEN_OVER if caller.get(name)},
            **(overrides or {}),
        }
        stack.enter_context(_function_environment(environment))
        from functions.detach_volume.handler import lambda_handler

        stack.enter_context(
            Poller(aws.client, aws.queue_urls[REQUESTS], queue_arn(REQUESTS), lambda_handler, on_error=on_error)
        )
        yield Stack(aws, cloud, environment)


def simulator_credentials(cloud: CloudApi) -> dict[str, str]:
    """What the cloud secret holds for the simulator."""
    user = cloud.identity.user
    return {
        "auth_url": cloud.deployment.auth_url,
        "username": user.name,
        "password": user.password,
        "user_domain_name": "Default",
        "project_id": PROJECT,
        "region_name": cloud.deployment.region,
    }


@contextmanager
def _function_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Let the functions find their settings where Lambda puts them, and put the process back afterwards."""
    before = dict(os.environ)
    os.environ.update(values)
    service.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        service.cache_clear()
