"""Secrets from AWS Secrets Manager, kept for a while and read again after."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared import strict_json
from shared.aws.client import SECRETS, AwsClient, AwsError
from shared.policy import SECRET_KEPT
from shared.ports import AwsTrouble
from shared.settings import CloudCredentials, SettingsError, load


class NotJsonSecret(AwsTrouble):
    """A secret that is there, and holds something else."""


ABSENT = ("ResourceNotFoundException", "AccessDeniedException")
"""IAM answers first: a policy that names secrets does not know the name of one that is not there."""


@dataclass
class Secrets:
    """Values by secret id; a rotated secret is picked up within five minutes, or at once after `forget`."""

    client: AwsClient
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[float, Any]] = field(default_factory=dict)

    def read(self, secret_id: str, kept_seconds: float = SECRET_KEPT) -> Any:
        """The secret's JSON value, at most that old. Raises AwsTrouble, also for a secret that is not JSON."""
        kept = self._kept.get(secret_id)
        if kept and self.clock() < kept[0] + kept_seconds:
            return kept[1]
        answer: Mapping[str, Any] = self.client.call(SECRETS, "GetSecretValue", {"SecretId": secret_id})
        try:
            value = strict_json.loads(str(answer.get("SecretString", "")))
        except ValueError as error:
            raise NotJsonSecret(f"the secret {secret_id} is not JSON") from error
        self._kept[secret_id] = (self.clock(), value)
        return value

    def forget(self, secret_id: str) -> None:
        self._kept.pop(secret_id, None)


@dataclass(frozen=True, slots=True)
class CloudSecret:
    """Credentials in a secret, under OpenStack's own names; where it names no project, `project_id` is logged in to."""

    secrets: Secrets
    secret_id: str
    project_id: str | None = None

    def __call__(self, kept_seconds: float) -> CloudCredentials:
        """Credentials at most that many seconds old. Raises SettingsError, or AwsTrouble if AWS does not answer."""
        try:
            values = self.secrets.read(self.secret_id, kept_seconds)
            if not isinstance(values, dict):
                raise SettingsError("must hold a JSON object of credentials")
            return load(CloudCredentials, {"project_id": self.project_id or "", **values})
        except (SettingsError, NotJsonSecret) as error:
            self.secrets.forget(self.secret_id)  # once it is corrected, requests need not wait for it
            raise SettingsError(f"the secret {self.secret_id}: {error}") from None
        except AwsError as error:
            if error.code in ABSENT:
                why = f"the secret {self.secret_id} does not exist, or may not be read: {error}"
                raise SettingsError(why) from None
            raise
