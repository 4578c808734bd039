"""The keys of the webhook endpoint, from one secret."""

from dataclasses import dataclass

from pydantic import ValidationError

from shared.aws.errors import AwsError
from shared.aws.secrets import ABSENT, Secrets
from shared.policy import SECRET_KEPT, SECRET_NEWEST
from shared.ports import AwsTrouble
from shared.settings import faults_in
from shared.signatures import Keys


@dataclass(frozen=True)
class WebhookKeys:
    """Without a secret that may be read there are no keys, and every request is rejected."""

    secrets: Secrets
    secret_id: str | None

    def keys(self, newest: bool = False) -> Keys:
        """Raises AwsTrouble, also for a secret that holds something else; the message shows none of it."""
        if not self.secret_id:
            return Keys()
        try:
            return Keys.parse(self.secrets.read(self.secret_id, SECRET_NEWEST if newest else SECRET_KEPT))
        except AwsError as error:
            if error.code in ABSENT:
                return Keys()
            raise
        except ValidationError as error:
            faults = faults_in(error, " ")
            raise AwsTrouble(f"the secret {self.secret_id} holds no webhook keys: {faults}") from None
