"""Reads the keys of the webhook endpoint and those of the sink, each from one secret."""

from typing import TypeVar

from pydantic import ValidationError

from shared.aws.errors import AwsError
from shared.aws.secrets import ABSENT, Secrets
from shared.policy import SECRET_KEPT, SECRET_NEWEST
from shared.ports import AwsTrouble
from shared.quick import dataclass
from shared.settings import faults_in
from shared.signatures import Keys, SinkKeys

K = TypeVar("K", bound=Keys)


@dataclass(frozen=True)
class WebhookKeys:
    """Reads keys from a secret. Without a readable secret there are no keys, and every request is rejected."""

    secrets: Secrets
    secret_id: str | None

    def keys(self, newest: bool = False) -> Keys:
        """The keys of the endpoint. Raises AwsTrouble, also for a secret that holds something else, whose message shows
        none of it."""
        return _read(Keys, self.secrets, self.secret_id, SECRET_NEWEST if newest else SECRET_KEPT)

    def of_sink(self) -> SinkKeys:
        """The keys of a sink."""
        return _read(SinkKeys, self.secrets, self.secret_id, SECRET_KEPT)


def _read(kind: type[K], secrets: Secrets, secret_id: str | None, kept_seconds: float) -> K:
    if not secret_id:
        return kind()
    try:
        return kind.parse(secrets.read(secret_id, kept_seconds))
    except AwsError as error:
        if error.code in ABSENT:
            return kind()
        raise
    except ValidationError as error:
        raise AwsTrouble(f"the secret {secret_id} holds no webhook keys: {faults_in(error, ' ')}") from None
