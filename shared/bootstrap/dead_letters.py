"""The composition root of the function for dead letters. It makes no call to the cloud, and imports no cloud
adapter."""

import os
from collections.abc import Mapping
from functools import lru_cache

from shared.aws.client import AwsClient
from shared.aws.secrets import Secrets
from shared.bootstrap.detach import outlets
from shared.outbox.dead_letters import DeadLetters
from shared.ports import Clock, utc_now
from shared.settings import Settings, load


def build(environment: Mapping[str, str], clock: Clock = utc_now) -> DeadLetters:
    """Wire everything from an environment. Raises SettingsError that names each faulty setting."""
    settings = load(Settings, environment)
    client = AwsClient(environment, clock=clock)
    return DeadLetters(settings.event_type_prefix, outlets(settings, settings.policy, client, Secrets(client), clock))


@lru_cache(maxsize=1)
def dead_letters() -> DeadLetters:
    """The handler of dead letters in this process, from its environment."""
    return build(os.environ)
