"""The secrets of the webhook endpoint in the local AWS."""

import json

from local.aws_stand_in import WEBHOOK_SECRET, AwsStandIn
from shared.aws.client import SECRETS
from shared.ports import AwsTrouble


def keep(aws: AwsStandIn, value: object, name: str = WEBHOOK_SECRET) -> None:
    """Create the secret with a value, or put a new version."""
    try:
        aws.client.call(SECRETS, "PutSecretValue", {"SecretId": name, "SecretString": json.dumps(value)})
    except AwsTrouble:
        aws.put_secret(name, value)


def forget(aws: AwsStandIn) -> None:
    """Delete the secret."""
    aws.client.call(SECRETS, "DeleteSecret", {"SecretId": WEBHOOK_SECRET, "ForceDeleteWithoutRecovery": True})
