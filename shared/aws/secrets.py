"""Reads secrets from AWS Secrets Manager, with a cache."""

import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from shared.aws.client import SECRETS, AwsClient
from shared.aws.errors import AwsError, NoAnswer
from shared.certificates import is_here
from shared.model import ProjectId
from shared.policy import SECRET_AWAY, SECRET_KEPT, SECRET_KEPT_AT_MOST, SECRET_NEWEST
from shared.ports import AwsTrouble
from shared.quick import dataclass
from shared.settings import PROJECT, CloudCredentials, SettingsError, load


class NotJsonSecret(AwsTrouble):
    """The secret exists, and does not hold JSON."""


CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
"""Secrets Manager's names of the newest version of a secret and the one before."""

ABSENT = ("ResourceNotFoundException", "AccessDeniedException")
"""A missing secret may look like a denied one, since IAM checks the policy first."""


@dataclass
class Secrets:
    """Caches values by secret id. A rotated secret is used within five minutes, or at once after `forget`.

    While Secrets Manager does not answer, the cached value stays valid for SECRET_KEPT_AT_MOST seconds, but not for a
    caller that asks for a newer value after a refusal.
    """

    client: AwsClient
    clock: Callable[[], float] = time.monotonic
    _kept: dict[tuple[str, str], tuple[float, Any]] = field(default_factory=dict)
    _away: dict[tuple[str, str], tuple[float, AwsTrouble]] = field(default_factory=dict)

    def read(self, secret_id: str, kept_seconds: float = SECRET_KEPT, stage: str = CURRENT) -> Any:
        """The secret's JSON value, at most `kept_seconds` old; None for a missing earlier version.

        Raises AwsTrouble, also for a secret that is not JSON.
        """
        kept = self._kept.get((secret_id, stage))
        if kept and self.clock() < kept[0] + kept_seconds:
            return kept[1]
        asked = {"SecretId": secret_id, "VersionStage": stage}
        try:
            answer = self._asked((secret_id, stage), lambda: self.client.call(SECRETS, "GetSecretValue", asked))
            value = json.loads(str(answer.get("SecretString", "")))
        except AwsError as error:
            if stage == CURRENT or error.code != "ResourceNotFoundException":
                return self._still(kept, kept_seconds, error)
            value = None
        except NoAnswer as error:
            return self._still(kept, kept_seconds, error)
        except ValueError as error:
            raise NotJsonSecret(f"the secret {secret_id} is not JSON") from error
        self._kept[secret_id, stage] = (self.clock(), value)
        return value

    def made_at(self, secret_id: str) -> float:
        """When the secret was created, in seconds since 1970; new versions do not change it. Raises AwsTrouble."""
        asked = {"SecretId": secret_id}
        answer = self._asked((secret_id, ""), lambda: self.client.call(SECRETS, "DescribeSecret", asked))
        made = answer.get("CreatedDate")
        if not isinstance(made, int | float):
            raise AwsTrouble(f"DescribeSecret: no CreatedDate of {secret_id}")
        return made

    def forget(self, secret_id: str) -> None:
        self._kept.pop((secret_id, CURRENT), None)

    def _asked(self, what: tuple[str, str], ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """The answer of Secrets Manager; a missing answer is remembered for SECRET_AWAY seconds. Raises AwsTrouble."""
        until, trouble = self._away.get(what, (0.0, None))
        if trouble and self.clock() < until:
            raise trouble
        try:
            return ask()
        except (AwsError, NoAnswer) as error:
            if error.passing:
                self._away[what] = self.clock() + SECRET_AWAY, error
            raise

    def _still(self, kept: tuple[float, Any] | None, kept_seconds: float, error: AwsError | NoAnswer) -> Any:
        """The cached value if it may still be used; otherwise raises the error."""
        may_be_old = error.passing and kept_seconds >= SECRET_KEPT
        if kept and may_be_old and self.clock() < kept[0] + SECRET_KEPT_AT_MOST:
            return kept[1]
        raise error


@dataclass
class CloudSecret:
    """Credentials in a secret, under OpenStack's own names; `project_id` is the project if the secret names none."""

    secrets: Secrets
    secret_id: str
    project_id: str | None = None
    _last: tuple[object, CloudCredentials | None] = field(default=(None, None), repr=False, compare=False)
    """The value of the secret that was read last, and the credentials from it."""

    def __call__(self, kept_seconds: float) -> CloudCredentials:
        """Credentials at most that many seconds old. Raises SettingsError, or AwsTrouble if AWS does not answer."""
        try:
            values = self.secrets.read(self.secret_id, kept_seconds)
            value, known = self._last
            if known and value is values:
                return known
            if not isinstance(values, dict):
                raise SettingsError("must hold a JSON object of credentials")
            credentials = load(CloudCredentials, {"project_id": self.project_id or "", **values})
            if credentials.cacert and not credentials.insecure and not is_here(credentials.cacert):
                raise SettingsError("cacert: must be certificates in PEM, or name a file that the function has")
            self._last = values, credentials
            return credentials
        except (SettingsError, NotJsonSecret) as error:
            self.secrets.forget(self.secret_id)  # a corrected secret is used at once
            raise SettingsError(f"the secret {self.secret_id}: {error}") from None
        except AwsError as error:
            raise absent(self.secret_id, error) from error


@dataclass(frozen=True)
class ProjectList:
    """The served projects, as a list of ids in a secret; `pattern` makes the name of each project's own secret.

    A secret holds 64 KB, some 1,800 projects, and can be changed without a deployment.
    """

    secrets: Secrets
    secret_id: str
    pattern: str

    def __call__(self, project_id: str) -> CloudSecret | None:
        """The credentials of a listed project, or None. The newest list is read before a project is refused.

        Raises SettingsError, or AwsTrouble if AWS does not answer.
        """
        if any(project_id in self._read(kept) for kept in (SECRET_KEPT, SECRET_NEWEST)):
            return CloudSecret(self.secrets, self.pattern.replace(PROJECT, project_id), project_id)
        return None

    def _read(self, kept_seconds: float) -> frozenset[str]:
        try:
            return PROJECT_IDS.validate_python(self.secrets.read(self.secret_id, kept_seconds))
        except (ValidationError, NotJsonSecret):
            self.secrets.forget(self.secret_id)  # a corrected secret is used at once
            raise SettingsError(f'the secret {self.secret_id} must be a list of project ids: ["...", ...]') from None
        except AwsError as error:
            raise absent(self.secret_id, error) from error


PROJECT_IDS: TypeAdapter[frozenset[str]] = TypeAdapter(frozenset[ProjectId], config=ConfigDict(defer_build=True))


def absent(secret_id: str, error: AwsError) -> Exception:
    """The error to raise for a secret that could not be read, which may not exist."""
    if error.code not in ABSENT:
        return error
    return SettingsError(f"the secret {secret_id} does not exist, or may not be read: {error}")


SHORTEST_KEY = 32
"""Characters. The template creates a key of 64 letters and digits."""


@dataclass(frozen=True)
class MessageKey:
    """MACs (HMAC-SHA256, RFC 2104, in hex) with a key from a secret, `{"key": "..."}`, which the template creates.

    The current version of the secret signs, and the previous one is accepted too: to replace the key, put a new version
    into the secret. Nothing is read before the first message is signed or checked.
    """

    secrets: Secrets
    secret_id: str

    def mac(self, text: str) -> str:
        return self._of(text, self.secrets.read(self.secret_id))

    def is_mac(self, text: str, mac: str) -> bool:
        """Checks with the cached key, the newest one, and the one before."""
        versions = ((SECRET_KEPT, CURRENT), (SECRET_NEWEST, CURRENT), (SECRET_NEWEST, PREVIOUS))
        values = (self.secrets.read(self.secret_id, kept, stage) for kept, stage in versions)
        return any(value is not None and hmac.compare_digest(mac, self._of(text, value)) for value in values)

    def since(self) -> datetime:
        return datetime.fromtimestamp(self.secrets.made_at(self.secret_id), UTC)

    def _of(self, text: str, value: object) -> str:
        key = value.get("key") if isinstance(value, Mapping) else None
        if not isinstance(key, str) or len(key) < SHORTEST_KEY:
            raise AwsTrouble(f'the secret {self.secret_id} must be {{"key": "..."}} of {SHORTEST_KEY} characters')
        return hmac.digest(key.encode(), text.encode(), "sha256").hex()
